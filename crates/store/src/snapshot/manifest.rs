//! What a snapshot says of itself.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use lockstep_model::{Error, EventTime, Fingerprint, Generation, PartitionId, Position};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::files::{SnapshotFile, hexadecimal};
use super::{Described, NewSnapshot, SNAPSHOT_FORMAT};
use crate::{CutRead, GenerationInfo, explain};

/// Name of the file.
pub(crate) const FILE: &str = "SNAPSHOT.json";
/// What the file begins with; the hash of all that comes after its own digits follows.
const HEAD: &str = "{\"xxh3\":\"";
/// Digits of a hash.
const DIGITS: usize = 32;

/// What is in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The snapshot's name.
    pub name: String,
    /// See [`SNAPSHOT_FORMAT`].
    pub format: u32,
    /// When it was made.
    pub created_at: EventTime,
    /// The moment up to which it answers: what came later was not, or not all, applied when it was made.
    pub moment: EventTime,
    /// The definitions it is read by; their texts are in the database.
    pub definitions: Option<DefinitionsMark>,
    /// The release that served when it was made.
    #[serde(default)]
    pub release: Option<u32>,
    /// Its generations.
    pub generations: Vec<SnapshotGeneration>,
    /// Who made it, where known.
    pub by: Option<String>,
    /// Why, where said.
    pub reason: Option<String>,
    /// Whether it is kept until it is dropped by hand.
    pub keep: bool,
    /// Whether it was made to validate a candidate on it.
    #[serde(default)]
    pub trial: bool,
    /// Every other file of it, by name.
    pub files: Vec<SnapshotFile>,
}

/// A set of definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionsMark {
    /// Its version.
    pub version: u64,
    /// Fingerprint of what it means.
    pub fingerprint: Fingerprint,
}

/// A generation in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotGeneration {
    /// Its number.
    pub generation: Generation,
    /// The feature view's name.
    pub view: String,
    /// The view's version.
    pub version: u32,
    /// Fingerprint of what the view means.
    pub meaning: Fingerprint,
    /// Fingerprint of how its state is encoded.
    pub state: Fingerprint,
    /// The earliest moment that may be asked for.
    pub readable_from: EventTime,
    /// Up to which event time its logs were applied, where that is known.
    pub watermark: Option<EventTime>,
    /// How far each partition had been applied.
    pub positions: Vec<PositionAt>,
}

/// How far a partition had been applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionAt {
    /// The partition.
    #[serde(flatten)]
    pub partition: PartitionId,
    /// How far.
    pub position: Position,
}

impl Manifest {
    /// The manifest of what a cut of the checkpoint shows.
    pub(super) fn new(
        name: String,
        created_at: EventTime,
        new: NewSnapshot,
        described: &Described,
        cut: &dyn CutRead,
        files: Vec<SnapshotFile>,
    ) -> Result<Manifest, Error> {
        let applied = cut.definitions_numbered(described.definitions)?;
        let definitions = applied.map(|applied| DefinitionsMark { version: applied.version, fingerprint: applied.applied.fingerprint });
        let release = cut.serving()?.map(|(release, _)| release.release);
        let generations = described.generations.iter().map(|&(generation, watermark)| of_generation(cut, generation, watermark));
        let generations = generations.collect::<Result<Vec<_>, Error>>()?;
        let NewSnapshot { by, reason, keep, trial, .. } = new;
        let moment = described.moment;
        Ok(Manifest { name, format: SNAPSHOT_FORMAT, created_at, moment, definitions, release, generations, by, reason, keep, trial, files })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes the manifest into the snapshot at `dir` and forces it to the disk.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let said = serde_json::to_string_pretty(self).map_err(|error| Error::internal(format!("a manifest cannot be encoded: {error}")))?;
        let rest = format!("\",\n\"snapshot\": {said}}}\n");
        let hash = hexadecimal(xxh3_128(rest.as_bytes()));
        let path = dir.join(FILE);
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(format!("{HEAD}{hash}{rest}").as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| explain::io(&path, "write the manifest of a snapshot", error))
    }

    /// Reads the manifest of the snapshot at `dir`.
    ///
    /// # Errors
    /// Data where it is not what was written; Invalid where a later release wrote it.
    pub fn read(dir: &Path) -> Result<Manifest, Error> {
        let path = dir.join(FILE);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(dir, FILE, "it is missing"),
            _ => explain::io(&path, "read the manifest of a snapshot", error),
        })?;
        let rest = bytes.strip_prefix(HEAD.as_bytes()).and_then(|bytes| bytes.split_at_checked(DIGITS));
        let Some((hash, rest)) = rest else { return Err(damaged(dir, FILE, "it does not begin as it was written")) };
        let found = hexadecimal(xxh3_128(rest));
        if hash != found.as_bytes() {
            let said = format!("its hash is {found} · expected: {}", String::from_utf8_lossy(hash));
            return Err(damaged(dir, FILE, &said));
        }
        let whole: Whole = serde_json::from_slice(&bytes).map_err(|error| damaged(dir, FILE, &format!("it cannot be read: {error}")))?;
        let Whole { snapshot } = whole;
        if snapshot.format > SNAPSHOT_FORMAT {
            return Err(Error::invalid(format!(
                "the snapshot at {} has format {} · this release reads formats up to {SNAPSHOT_FORMAT} · read it with the release that wrote it, or a later one",
                dir.display(),
                snapshot.format
            )));
        }
        Ok(snapshot)
    }
}

fn of_generation(cut: &dyn CutRead, generation: Generation, watermark: Option<EventTime>) -> Result<SnapshotGeneration, Error> {
    let GenerationInfo { view, version, meaning, state, .. } = cut.generation(generation)?;
    let positions = cut.positions(generation)?.into_iter().map(|(partition, position)| PositionAt { partition, position }).collect();
    let readable_from = cut.horizon(generation)?.readable_from;
    Ok(SnapshotGeneration { generation, view, version, meaning, state, readable_from, watermark, positions })
}

/// The whole file.
#[derive(Deserialize)]
struct Whole {
    snapshot: Manifest,
}

/// The error of a file of a snapshot that is not what it was when the snapshot was made.
pub(super) fn damaged(dir: &Path, file: &str, why: &str) -> Error {
    Error::data(format!("the snapshot at {} is damaged · {file}: {why} · read another snapshot, and drop this one", dir.display()))
}
