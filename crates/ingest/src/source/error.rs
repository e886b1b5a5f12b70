//! What can be wrong with a file.

use lockstep_model::Error;

/// Why a file could not be read, or not be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such file, or nothing matches the pattern.
    #[error("there is no file `{location}`{hint}")]
    NotFound {
        /// As it was given.
        location: String,
        /// What is known, with its separator; may be empty.
        hint: String,
    },
    /// The location cannot be understood or is not supported by this build.
    #[error("cannot read `{location}`: {reason}")]
    Location {
        /// As it was given.
        location: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The file cannot be read now.
    #[error("cannot read `{file}`: {cause}")]
    Io {
        /// Its path or URL.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// The file is not what its format says.
    #[error("`{file}` {what}")]
    Damaged {
        /// Its path or URL.
        file: String,
        /// What is wrong, what is known, what to do.
        what: String,
    },
    /// A column is missing or has a type that the declared one cannot take.
    #[error("`{file}`: column `{column}` {found}, but source `{source_name}` declares {declared} · {remedy}")]
    Drift {
        /// Its path or URL.
        file: String,
        /// The column's name.
        column: String,
        /// What the file has.
        found: String,
        /// The source.
        source_name: String,
        /// The declared type.
        declared: String,
        /// What to do.
        remedy: String,
    },
    /// The file is not the one that the position was taken in.
    #[error(
        "`{file}` has changed since source `{source_name}` was read to row {rows}: {what} · put the file back, or read what it is now under another name"
    )]
    Changed {
        /// Its path or URL.
        file: String,
        /// The source.
        source_name: String,
        /// Rows done.
        rows: u64,
        /// How it is seen.
        what: String,
    },
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        let kind = match &error {
            SourceError::NotFound { .. } => Error::not_found(message),
            SourceError::Location { .. } => Error::invalid(message),
            SourceError::Io { .. } => Error::unavailable(message),
            SourceError::Damaged { .. } | SourceError::Drift { .. } | SourceError::Changed { .. } => Error::data(message),
        };
        kind.caused_by(error)
    }
}
