//! Where what nobody is to see is kept: in the environment or in a file, and not in the settings.

use std::path::{Path, PathBuf};

use lockstep_model::Error;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this environment variable.
    Environment(String),
    /// In this file, as its only line.
    File(PathBuf),
}

impl Place {
    /// The secret of the setting that is called `what`; a file is named as seen from `dir`.
    ///
    /// # Errors
    /// Invalid where it is not there.
    pub fn read(&self, what: &str, dir: &Path) -> Result<String, Error> {
        match self {
            Place::Environment(variable) => std::env::var(variable)
                .map_err(|_| Error::invalid(format!("{what} is in the environment variable {variable}, which is not set · set it"))),
            Place::File(path) => {
                let path = dir.join(path);
                let refused = |error| Error::invalid(format!("{what} is in {}, which cannot be read: {error}", path.display()));
                Ok(std::fs::read_to_string(&path).map_err(refused)?.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}
