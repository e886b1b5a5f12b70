//! Runs of predictions in the store's directory: `STORE/predictions/NAME/v00001`, each with its events and a record, whole or not at all, and never changed.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lockstep_model::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::release::validate::Validation;
use crate::train::{ModelUsed, sync_dir, write_whole};

/// Where runs lie, in the store's directory.
const DIR: &str = "predictions";
/// What a run is, in its directory.
const RECORD: &str = "run.json";
/// Its events, there.
const EVENTS: &str = "events.parquet";
/// Held by who scores a run, or publishes it.
const LOCK: &str = "LOCK";

/// The version of the record.
pub const FORMAT: u32 = 1;

/// A run that was put into the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The version of this layout.
    pub format: u32,
    /// The predictions.
    pub name: String,
    /// Its number, from 1; never used twice.
    pub run: u32,
    /// The deployment that predicted.
    pub deployment: String,
    /// Digest of what that means.
    pub deployment_meaning: String,
    /// The models that were run.
    pub models: Vec<ModelUsed>,
    /// SHA-256 of what was done: of deployment, spine, definitions, and how far the store had come.
    pub job: String,
    /// SHA-256 of the scores' files.
    pub digest: String,
    /// What the features were read from: `the store` or `snapshot s0001`.
    pub origin: String,
    /// From when on it can be read, so that its predictions could be known. It is published at that moment.
    pub published_at: String,
    /// The earliest and the latest moment that a prediction is of; absent where there is none.
    pub computed: Option<[String; 2]>,
    /// Rows that were scored.
    pub rows: u64,
    /// Rows whose key is NULL, which nobody can ask for.
    pub without_key: u64,
    /// Predictions: an entity has one at a moment, or one list of them.
    pub events: u64,
    /// Entities that have one.
    pub entities: u64,
    /// Earlier runs that a generation of it holds too, by which moments of the past are answered.
    pub with: Vec<u32>,
    /// Bytes of the file of its events.
    pub bytes: u64,
    /// SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// What was found when it was compared with limits and with the run that served.
    pub validation: Validation,
    /// Whether it was published in spite of that.
    pub forced: bool,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// All runs of some predictions.
#[derive(Debug, Clone)]
pub struct Runs {
    dir: PathBuf,
}

impl Runs {
    /// Those in the directory of a store.
    pub fn of(store: &Path, name: &str) -> Runs {
        Runs { dir: store.join(DIR).join(file_name(name)) }
    }

    /// Every run, by number.
    ///
    /// # Errors
    /// Where the directory or a record cannot be read.
    pub fn all(&self) -> Result<Vec<Run>> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Ok(Vec::new()) };
        let mut runs = Vec::new();
        for entry in entries {
            if let Some(number) = entry?.file_name().to_str().and_then(numbered) {
                runs.push(self.find(number)?);
            }
        }
        runs.sort_by_key(|run: &Run| run.run);
        Ok(runs)
    }

    /// A run by its number.
    ///
    /// # Errors
    /// NotFound where there is none; Data where its record is no record.
    pub fn find(&self, run: u32) -> Result<Run> {
        let path = self.dir_of(run).join(RECORD);
        let text = fs::read(&path).map_err(|error| {
            let what = format!(
                "there is no run {run} here, or it is kept no longer · no file {} · `lockstep predictions list` has those that are",
                path.display()
            );
            Error::not_found(what).caused_by(error)
        })?;
        let damaged = |error| Error::data(format!("{} is damaged · {error} · publish the run again", path.display()));
        Ok(serde_json::from_slice(&text).map_err(damaged)?)
    }

    /// The number of the run that a file of events is of.
    pub fn number_of(events: &str) -> Option<u32> {
        let path = Path::new(events);
        (path.file_name()? == EVENTS).then(|| numbered(path.parent()?.file_name()?.to_str()?)).flatten()
    }

    /// The events of a run.
    pub fn events(&self, run: u32) -> PathBuf {
        self.dir_of(run).join(EVENTS)
    }

    /// Where rows are scored that are to be published.
    pub fn scores(&self) -> PathBuf {
        self.dir.join("scores")
    }

    /// Keeps others away from scoring and publishing these, until it is dropped.
    ///
    /// # Errors
    /// Unavailable where somebody does; where the directory cannot be made.
    pub fn alone(&self) -> Result<File> {
        fs::create_dir_all(&self.dir).with_context(|| format!("make {}", self.dir.display()))?;
        let path = self.dir.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
                Err(Error::unavailable(format!(
                    "another run of `{name}` is being scored or published · wait until it ends, and run the command again"
                ))
                .into())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// Begins a run: an empty directory for its events, which is not a run yet. What a killed process left there is gone.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn begin(&self, run: u32) -> Result<PathBuf> {
        let partial = self.partial(run);
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
        Ok(partial.join(EVENTS))
    }

    /// Gives up what was begun.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn give_up(&self, run: u32) -> Result<()> {
        let partial = self.partial(run);
        fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))
    }

    /// Writes the record of a run that was begun.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn write(&self, run: &Run) -> Result<()> {
        let partial = self.partial(run.run);
        write_whole(&partial.join(RECORD), serde_json::to_string_pretty(run)?.as_bytes())?;
        sync_dir(&partial)
    }

    /// Gives a run that is written its name. It is on the disk when this returns.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn name(&self, run: u32) -> Result<()> {
        let dir = self.dir_of(run);
        fs::rename(self.partial(run), &dir).with_context(|| format!("give {} its name", dir.display()))?;
        sync_dir(&self.dir)
    }

    /// Removes a run, and the scores that it was made of.
    ///
    /// # Errors
    /// Where the disk cannot be written.
    pub fn remove(&self, run: u32) -> Result<()> {
        let (dir, partial) = (self.dir_of(run), self.partial(run));
        // Under another name first: half a run is none.
        fs::rename(&dir, &partial).with_context(|| format!("remove {}", dir.display()))?;
        self.give_up(run)
    }

    fn dir_of(&self, run: u32) -> PathBuf {
        self.dir.join(format!("v{run:05}"))
    }

    fn partial(&self, run: u32) -> PathBuf {
        self.dir.join(format!("v{run:05}.partial"))
    }
}

/// The number in the name of a run's directory.
fn numbered(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('v')?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A name as a file can have it, whatever is in it.
fn file_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_the_path_of_its_events() {
        let runs = Runs::of(Path::new("store"), "a/b");
        assert_eq!(runs.events(12), Path::new("store/predictions/a%2fb/v00012/events.parquet"));
        assert_eq!(Runs::number_of("store/predictions/a%2fb/v00012/events.parquet"), Some(12));
        for other in ["store/predictions/late/v00012/run.json", "v1.partial/events.parquet", "data/events.parquet", "events.parquet"] {
            assert_eq!(Runs::number_of(other), None, "{other}");
        }
    }

    #[test]
    fn two_do_not_publish_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::of(dir.path(), "late");
        let alone = runs.alone().unwrap();
        let refused = runs.alone().unwrap_err().to_string();
        assert!(refused.starts_with("another run of `late` is being scored or published · "), "{refused}");
        drop(alone);
        runs.alone().unwrap();
    }
}
