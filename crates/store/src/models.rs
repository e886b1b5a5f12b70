//! Files of models, and of the training sets they name: by their hashes, beside the store.
//!
//! A file is `STORE/models/SHA256.onnx` (or `.json`), whole or not at all, and never changed. Which of them a set of definitions means is in its record
//! ([`NewDefinitions::models`](crate::NewDefinitions::models)), so that one that is put in and not applied harms nobody. Who reads one sees by its hash whether it is what was applied.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lockstep_model::{Error, EventTime};
use sha2::{Digest, Sha256};

use crate::format::sync_dir;
use crate::{AppliedModel, OnlineStore, Store, explain};

/// Where the files lie, in the directory of a store.
const MODELS: &str = "models";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelPart {
    /// The model itself.
    Model,
    /// The manifest of its training set.
    TrainingSet,
}

impl ModelPart {
    fn ending(self) -> &'static str {
        match self {
            ModelPart::Model => "onnx",
            ModelPart::TrainingSet => "json",
        }
    }

    fn file_name(self, sha256: &str) -> String {
        format!("{sha256}.{}", self.ending())
    }

    fn name(self) -> &'static str {
        match self {
            ModelPart::Model => "the model",
            ModelPart::TrainingSet => "the manifest of the training set",
        }
    }
}

/// The files of models of a store. They can be read by whoever sees the directory, also beside its owner.
#[derive(Debug, Clone)]
pub struct Models {
    dir: PathBuf,
}

impl Store {
    /// The files of its models.
    pub fn models(&self) -> Models {
        Models::of(self.dir())
    }

    /// Removes files that no set of definitions names, which were put in before a moment: what was put in lately may be about to be applied. Every set counts that was ever applied, since
    /// releases, snapshots and logs of what was served go by their numbers. How many were removed.
    ///
    /// # Errors
    /// Where the directory cannot be read, or a file cannot be removed.
    pub fn collect_models(&self, before: EventTime) -> Result<usize, Error> {
        let mut named = HashSet::new();
        for definitions in OnlineStore::cut(self).definitions_history()? {
            for AppliedModel { sha256, training_set, .. } in definitions.applied.models {
                named.insert(ModelPart::Model.file_name(&sha256));
                named.extend(training_set.map(|set| ModelPart::TrainingSet.file_name(&set.sha256)));
            }
        }
        let models = self.models();
        models.remove_all_but(&named, before).map_err(|error| explain::io(&models.dir, "remove models that nothing names", error))
    }
}

impl Models {
    /// Those of the store in a directory.
    pub fn of(store: &Path) -> Models {
        Models { dir: store.join(MODELS) }
    }

    /// Puts a file in, unless it is there, and says its SHA-256 in hexadecimal. It is on the disk, with its name, when this returns.
    ///
    /// # Errors
    /// Where the disk is full or cannot be written.
    pub fn put(&self, part: ModelPart, bytes: &[u8]) -> Result<String, Error> {
        let sha256 = sha256(bytes);
        let path = self.path(part, &sha256);
        // One that was damaged is replaced.
        if fs::read(&path).is_ok_and(|known| known == bytes) {
            return Ok(sha256);
        }
        let partial = path.with_extension(format!("{}.partial", part.ending()));
        let write = || -> io::Result<()> {
            if !self.dir.is_dir() {
                fs::create_dir_all(&self.dir)?;
                sync_dir(self.dir.parent().unwrap_or(Path::new(".")))?;
            }
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            sync_dir(&self.dir)
        };
        write().map_err(|error| explain::io(&path, "write a model", error))?;
        Ok(sha256)
    }

    /// A file by its SHA-256.
    ///
    /// # Errors
    /// NotFound where it is not there; Data where it is not what its name says.
    pub fn read(&self, part: ModelPart, sha256: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(part, sha256);
        let what = part.name();
        let advice = "apply the definitions again from where the file is";
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Error::not_found(format!("{what} {} is not in the store · no file {} · {advice}", short(sha256), path.display()))
            }
            _ => explain::io(&path, "read a model", error),
        })?;
        let found = self::sha256(&bytes);
        if found == sha256 {
            return Ok(bytes);
        }
        let (size, found) = (bytes.len(), short(&found));
        Err(Error::data(format!("{what} {} is damaged · {} has {size} bytes of another hash, {found} · {advice}", short(sha256), path.display())))
    }

    /// Where a file lies.
    pub fn path(&self, part: ModelPart, sha256: &str) -> PathBuf {
        self.dir.join(part.file_name(sha256))
    }

    fn remove_all_but(&self, named: &HashSet<String>, before: EventTime) -> io::Result<usize> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries?,
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry?;
            let since = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let is_old = i64::try_from(since.as_micros()).is_ok_and(|micros| micros < before.0);
            if is_old && !entry.file_name().to_str().is_some_and(|name| named.contains(name)) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_put_in_is_read_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::of(dir.path());
        assert_eq!(models.put(ModelPart::Model, b"abc").unwrap(), ABC);
        assert_eq!(models.put(ModelPart::Model, b"abc").unwrap(), ABC);
        assert_eq!(models.read(ModelPart::Model, ABC).unwrap(), b"abc");
        assert_eq!(models.read(ModelPart::TrainingSet, ABC).unwrap_err().kind(), lockstep_model::ErrorKind::NotFound);
        let names: Vec<_> = fs::read_dir(dir.path().join(MODELS)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [format!("{ABC}.onnx").as_str()]);
    }

    #[test]
    fn what_nothing_names_is_removed_unless_it_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::of(dir.path());
        assert_eq!(models.remove_all_but(&HashSet::new(), EventTime(i64::MAX)).unwrap(), 0);
        let named = HashSet::from([ModelPart::Model.file_name(&models.put(ModelPart::Model, b"abc").unwrap())]);
        let other = models.put(ModelPart::Model, b"abd").unwrap();
        assert_eq!(models.remove_all_but(&named, EventTime(0)).unwrap(), 0);
        assert_eq!(models.remove_all_but(&named, EventTime(i64::MAX)).unwrap(), 1);
        assert!(models.read(ModelPart::Model, ABC).is_ok() && models.read(ModelPart::Model, &other).is_err());
    }

    #[test]
    fn damage_is_named_and_mended_by_putting_it_in_again() {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::of(dir.path());
        models.put(ModelPart::Model, b"abc").unwrap();
        fs::write(models.path(ModelPart::Model, ABC), b"abd").unwrap();
        let error = models.read(ModelPart::Model, ABC).unwrap_err();
        assert_eq!(error.kind(), lockstep_model::ErrorKind::Data);
        assert!(error.to_string().starts_with("the model ba7816bf8f01 is damaged · "), "{error}");
        models.put(ModelPart::Model, b"abc").unwrap();
        assert_eq!(models.read(ModelPart::Model, ABC).unwrap(), b"abc");
    }
}
