//! When each service, view and deployment was asked last: whoever wants to know which features nobody reads any more looks here.
//!
//! Nothing is done when a request is answered: what is counted then anyway is looked at now and then. It is kept in a file, since a server may have begun yesterday.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lockstep_model::{Error, EventTime};
use serde::{Deserialize, Serialize};

use crate::metrics::Answers;

/// How often the file is written at most, µs.
const WRITE_EVERY: i64 = 60_000_000;

/// When what was asked last.
#[derive(Debug)]
pub struct Usage {
    path: PathBuf,
    noted: Mutex<Noted>,
}

#[derive(Debug)]
struct Noted {
    known: Known,
    /// Rows that had been asked for when it was looked last.
    rows: BTreeMap<String, u64>,
    written_at: i64,
}

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Since when it is noted.
    pub since: EventTime,
    /// When each name was asked last.
    pub asked: BTreeMap<String, EventTime>,
}

impl Usage {
    /// Goes on with what is known at `path`, or begins there.
    ///
    /// # Errors
    /// Data where the file is there and says something else.
    pub fn open(path: PathBuf, now: EventTime) -> Result<Usage, Error> {
        let known = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Usage::anew(path, now)),
            Err(error) => return Err(Error::unavailable(format!("read {}", path.display())).caused_by(error)),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::data(format!("{} does not say when what was asked for: {error} · it begins anew", path.display())))?,
        };
        Ok(Usage::of(path, known, now))
    }

    /// Knows nothing yet.
    pub fn anew(path: PathBuf, now: EventTime) -> Usage {
        Usage::of(path, Known { since: now, asked: BTreeMap::new() }, now)
    }

    fn of(path: PathBuf, known: Known, now: EventTime) -> Usage {
        Usage { path, noted: Mutex::new(Noted { known, rows: BTreeMap::new(), written_at: now.0 }) }
    }

    /// Notes who was asked since it was looked last, and writes that down now and then.
    ///
    /// # Errors
    /// Where the file cannot be written; what was noted is tried again.
    pub fn look(&self, answers: &BTreeMap<String, Answers>, now: EventTime) -> Result<(), Error> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let Noted { known, rows, written_at } = &mut *noted;
        for (name, answered) in answers {
            if rows.insert(name.clone(), answered.rows).unwrap_or_default() < answered.rows {
                known.asked.insert(name.clone(), now);
            }
        }
        if now.0.saturating_sub(*written_at) < WRITE_EVERY {
            return Ok(());
        }
        *written_at = now.0;
        self.write(known)
    }

    /// Writes down what is known.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(&self) -> Result<(), Error> {
        self.write(&self.noted.lock().unwrap_or_else(PoisonError::into_inner).known)
    }

    /// When what was asked last.
    pub fn known(&self) -> Known {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    fn write(&self, known: &Known) -> Result<(), Error> {
        let partial = self.path.with_extension("partial");
        let text = serde_json::to_vec_pretty(known).map_err(|error| Error::internal("write when what was asked").caused_by(error))?;
        let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &self.path));
        written.map_err(|error| Error::unavailable(format!("write {}", self.path.display())).caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rows: &[(&str, u64)]) -> BTreeMap<String, Answers> {
        rows.iter().map(|&(name, rows)| (name.to_owned(), Answers { rows, ..Answers::default() })).collect()
    }

    #[test]
    fn a_name_is_asked_when_its_rows_grow_and_a_restart_forgets_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage.json");
        let at = |seconds: i64| EventTime(seconds * 1_000_000);
        let usage = Usage::open(path.clone(), at(10)).unwrap();
        usage.look(&answers(&[("a", 1), ("b", 0)]), at(20)).unwrap();
        usage.look(&answers(&[("a", 1), ("b", 0)]), at(30)).unwrap();
        assert!(!path.exists(), "a minute has not gone by");
        usage.look(&answers(&[("a", 1), ("b", 3)]), at(70)).unwrap();
        let known = Known { since: at(10), asked: BTreeMap::from([("a".to_owned(), at(20)), ("b".to_owned(), at(70))]) };
        assert_eq!(usage.known(), known);
        // What a new process counts begins at nothing.
        let again = Usage::open(path.clone(), at(100)).unwrap();
        assert_eq!(again.known(), known);
        again.look(&answers(&[("a", 2)]), at(110)).unwrap();
        again.finish().unwrap();
        let last = Usage::open(path.clone(), at(120)).unwrap().known();
        assert_eq!((last.since, last.asked["a"], last.asked["b"]), (at(10), at(110), at(70)));
        fs::write(&path, "{").unwrap();
        assert!(Usage::open(path, at(130)).unwrap_err().to_string().contains("it begins anew"));
    }
}
