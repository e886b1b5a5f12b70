//! The feature log, and whoever else looks at what was served: what they are told.
//!
//! A request is never held up for it. Which rows are to be logged is decided where they are answered, by their bytes alone; what is logged of them are the columns of the answer, which are
//! shared and not copied, and it is handed over once the answer is on its way to its caller: what nobody was given is not logged.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray};
use arrow::datatypes::SchemaRef;
use lockstep_model::{Error, FilledBy, Status, TimeMode};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::service::ByRequest;

use crate::Role;
use crate::desk::{Answered, Feature, Wanted};
use crate::live::{Reach, ReleaseAt, Standing, State};
use crate::scoring::Decided;

/// Takes a share of what was served. Neither call waits for anything.
pub trait Taker: Send + Sync {
    /// Which rows of a request to a service or view are to be taken.
    fn pick(&self, request: &Asked<'_>) -> Pick;

    /// Takes vectors that were served; what there is no room for is dropped.
    fn take(&self, vectors: Vectors);

    /// Whether scored rows that explore are taken too, whatever was picked.
    fn takes_explored(&self) -> bool {
        false
    }
}

/// Keeps what it takes, and counts what it drops.
pub trait FeatureLog: Taker {
    /// How it stands.
    fn figures(&self) -> Figures;
}

/// A request, as far as it decides what of it is taken.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What its caller calls it; empty where it has no name.
    pub request_id: &'a str,
    /// The service or view that is asked.
    pub name: &'a str,
    /// What it is asked with.
    pub rows: &'a RecordBatch,
    /// The moment of each row, µs.
    pub moments: &'a [i64],
}

/// Which rows of a request are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// None.
    None,
    /// All of them.
    All,
    /// These, ascending.
    Some(Vec<u32>),
}

impl Pick {
    /// The same with these rows too, ascending, of so many.
    #[must_use]
    pub fn with(self, more: &[u32], rows: usize) -> Pick {
        let picked = match self {
            Pick::All => return Pick::All,
            all if more.is_empty() => return all,
            Pick::None => more.to_vec(),
            Pick::Some(picked) => {
                let mut both: Vec<u32> = picked.into_iter().chain(more.iter().copied()).collect();
                both.sort_unstable();
                both.dedup();
                both
            }
        };
        if picked.len() == rows { Pick::All } else { Pick::Some(picked) }
    }
}

/// Vectors of one service or view that were served together. Of candidates, a vector is what a request was answered with: lists.
#[derive(Debug)]
pub struct Vectors {
    /// What their caller calls the request; empty where it has no name.
    pub request_id: String,
    /// The service or view.
    pub name: String,
    /// The number of the definitions that answered.
    pub definitions: u64,
    /// The release that answered, where one was promoted.
    pub release: Option<ReleaseAt>,
    /// The definitions.
    pub catalog: Arc<Catalog>,
    /// What was asked.
    pub rows: RecordBatch,
    /// The moment of each row, µs.
    pub moments: Vec<i64>,
    /// Which clock counted.
    pub time: TimeMode,
    /// Which of the rows were picked; never [`Pick::None`] where they are taken.
    pub pick: Pick,
    /// What was answered: some of the outputs, or all.
    pub outputs: Vec<Output>,
    /// The views that were read, in each role.
    pub roles: Vec<Role>,
    /// Where they stood.
    pub stood: Stood,
    /// What was predicted of them, where they were looked up to be scored.
    pub predicted: Option<Predicted>,
}

impl Vectors {
    /// Notes what was predicted of them. Where those that explore are taken, they are picked too.
    pub(crate) fn scored_as(&mut self, predicted: Predicted, takes_explored: bool) {
        if let Some(decided) = predicted.decided.as_ref().filter(|_| takes_explored) {
            let picked = std::mem::replace(&mut self.pick, Pick::None);
            self.pick = picked.with(&decided.explored().collect::<Vec<_>>(), self.moments.len());
        }
        self.predicted = Some(predicted);
    }
}

/// What of an answer is handed on once it was given.
#[derive(Debug, Default)]
pub struct Picked {
    pub(crate) logged: Vec<Vectors>,
    /// With the number of who looks at each.
    pub(crate) watched: Vec<(usize, Vectors)>,
}

impl Picked {
    /// What is logged of it.
    pub fn logged(&mut self) -> &mut Vec<Vectors> {
        &mut self.logged
    }

    /// What of it is looked at.
    pub fn watched(&mut self) -> impl Iterator<Item = &mut Vectors> {
        self.watched.iter_mut().map(|(_, vectors)| vectors)
    }
}

/// What a deployment predicted of vectors, for all rows.
#[derive(Debug, Clone)]
pub struct Predicted {
    /// The deployment.
    pub deployment: Arc<str>,
    /// The models that were run, in order: what the deployment calls each, the model, and the SHA-256 of its file.
    pub models: Vec<[String; 3]>,
    /// Names and types of the predictions.
    pub schema: SchemaRef,
    /// The predictions.
    pub values: Vec<ArrayRef>,
    /// How each row came to them.
    pub ways: Vec<&'static str>,
    /// What was decided of each row, where the deployment has actions or explores.
    pub decided: Option<Decided>,
    /// Where the deployment ranks: what was done with each candidate of a row, as [`crate::scoring::Deployed::places`] says.
    pub ranked: Option<StructArray>,
}

/// An output that was answered, for all rows.
#[derive(Debug)]
pub struct Output {
    /// Its place among the outputs of the service or view.
    pub index: usize,
    /// Its values.
    pub values: ArrayRef,
    /// Their statuses.
    pub statuses: Vec<Status>,
    /// What filled each.
    pub filled_by: Arc<[FilledBy]>,
    /// Time of the newest event behind each, µs.
    pub event_times: Arc<[Option<i64>]>,
}

impl Output {
    /// An output as it was answered. Of candidates it is a list for each request, so that a vector is what a request was answered with.
    fn new(index: usize, feature: &Feature, by_request: Option<&ByRequest>) -> Output {
        let Feature { values, statuses, filled_by, event_times, .. } = feature;
        match by_request {
            None => Output {
                index,
                values: Arc::clone(values),
                statuses: statuses.clone(),
                filled_by: Arc::clone(filled_by),
                event_times: Arc::clone(event_times),
            },
            Some(by) => Output::new(index, &feature.by_requests(by), None),
        }
    }
}

/// Where the logs stood that an answer was read at.
#[derive(Debug)]
pub enum Stood {
    /// Known already.
    At(Arc<Vec<Standing>>),
    /// To be read off the state, which may have to ask the disk.
    In(Arc<State>),
    /// Nowhere: the store did not answer, and the last known good was given.
    Recalled,
}

impl Stood {
    /// Where each view stood; may wait for the disk. `None` where the last known good was given.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn find(self) -> Result<Option<Arc<Vec<Standing>>>, Error> {
        match self {
            Stood::At(standings) => Ok(Some(standings)),
            Stood::In(state) => state.standings(Reach::Disk).map(Some),
            Stood::Recalled => Ok(None),
        }
    }
}

/// How a feature log stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// The share of vectors that is logged.
    pub share: f64,
    /// Vectors that are in files, of this run.
    pub logged: u64,
    /// Vectors that were to be logged, and there was no room for them.
    pub dropped: u64,
    /// Vectors that wait for their file.
    pub waiting: u64,
    /// Files that are kept.
    pub files: u64,
    /// What they take.
    pub bytes: u64,
    /// Why files cannot be written, where they cannot.
    pub failing: Option<String>,
}

/// What of an answer is taken, service by service or view by view; also what nothing was picked of, where some of it may be taken later.
///
/// # Errors
/// Internal where the columns are not those that are declared.
pub(crate) fn picked(
    taker: &dyn Taker,
    (state, is_recalled): (&Arc<State>, bool),
    (wanted, rows, moments): (&Wanted, &RecordBatch, &[i64]),
    answered: &Answered,
    (request_id, later): (&str, bool),
) -> Result<Vec<Vectors>, Error> {
    let mut all = Vec::new();
    let only_part = wanted.parts().len() == 1;
    for (number, part) in wanted.parts().iter().enumerate() {
        let rows = part.rows(rows)?;
        let pick = taker.pick(&Asked { request_id, name: &part.name, rows: &rows, moments });
        if pick == Pick::None && !later {
            continue;
        }
        // Parts beside others are views, each of which is read once.
        let reads = if only_part { answered.reads.as_slice() } else { answered.reads.get(number..=number).unwrap_or_default() };
        let outputs = wanted.outputs().iter().zip(&answered.features).filter(|(output, _)| output.part == number);
        all.push(Vectors {
            request_id: request_id.to_owned(),
            name: part.name.clone(),
            definitions: state.version,
            release: state.release,
            catalog: Arc::clone(state.catalog()),
            rows: rows.into_owned(),
            moments: moments.to_vec(),
            time: answered.time,
            pick,
            outputs: outputs.map(|(output, feature)| Output::new(output.index, feature, answered.by_request.as_deref())).collect(),
            roles: reads.iter().map(|read| read.role.clone()).collect(),
            stood: match state.known_standings() {
                _ if is_recalled => Stood::Recalled,
                Some(standings) => Stood::At(standings),
                None => Stood::In(Arc::clone(state)),
            },
            predicted: None,
        });
    }
    Ok(all)
}
