//! `REQUEST AS source`: a request that is the next event of a source, folded in for its own answer.
//!
//! Nothing is computed otherwise than for an event that has arrived: admission decides what the event comes to by what is remembered of its primary key, the row stage runs over
//! what changes, the changes are folded into the stored state, and the answer is read from that state, of which only the nodes written so lie in memory ([`Overlay`]). So the
//! answer is what the store would say at that moment had the event arrived just before, and once it has arrived it is the same event, not another.
//!
//! The event's time is the moment of its request, and so is its append time. It is never late and moves no watermark. In known time it counts from its availability on, as its
//! event will: `available_at` and `serving_lag` apply.
//!
//! A request sees its own event and no other request's, even where they are answered together.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::interleave;
use lockstep_model::{Error, KeyIndex, StateKey, StateRead, TimeMode};
use rustc_hash::FxHashMap;

use crate::catalog::SourcePlan;
use crate::changes::{SourceChanges, StagedChanges};
use crate::tiles::{self, EntityChanges, Request, Shape, Touch, Written};
use crate::transformation::{Features, Transformation};

/// Events that are folded in for an answer stay in the head of their entity: what it holds is read anyway, and nothing below it has to be written anew.
const SHAPE: Shape = Shape { leaf_rows_max: 384, buffer_rows_max: usize::MAX };

/// Decides what an event comes to: admission, as whoever answers requests needs it.
pub trait NextEvent: fmt::Debug + Send + Sync {
    /// Passes on what one row, of the source's declared columns, changes as the next event of its source, which is the `ordinal`-th of its view. `at` is its append time, µs;
    /// `keys` is what is remembered of the view's primary keys.
    ///
    /// # Errors
    /// Invalid where the row would be put aside as no event; where the keys cannot be read; as `take`.
    fn admit(
        &self,
        source: &Arc<SourcePlan>,
        ordinal: u16,
        row: &RecordBatch,
        at: i64,
        keys: &dyn KeyIndex,
        take: &mut dyn FnMut(SourceChanges<'_>) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// A view's state, and what is remembered of its primary keys.
#[derive(Clone, Copy)]
pub struct ViewState<'a> {
    /// Its state.
    pub state: &'a dyn StateRead,
    /// Its keys.
    pub keys: &'a dyn KeyIndex,
    /// Per source, by its number within the view: before which event time keys may be forgotten, µs. A request at a moment before that is one with an event that has arrived
    /// where their moments are the same, too.
    pub keys_before: &'a [(u16, i64)],
}

impl fmt::Debug for ViewState<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewState").field("keys_before", &self.keys_before).finish_non_exhaustive()
    }
}

/// How requests of a service are events.
#[derive(Debug)]
pub struct RequestAs {
    /// The source.
    pub source: Arc<SourcePlan>,
    pub(crate) next: Arc<dyn NextEvent>,
    /// Per declared column of the source: the request's column; `None` where a request does not give it.
    columns: Vec<Option<usize>>,
}

impl RequestAs {
    /// Requests with columns of these names as events of a source.
    pub(crate) fn new<'n>(source: &Arc<SourcePlan>, next: &Arc<dyn NextEvent>, names: impl Iterator<Item = &'n str> + Clone) -> RequestAs {
        let columns = source.schema.fields().iter().map(|field| names.clone().position(|name| name == field.name())).collect();
        RequestAs { source: Arc::clone(source), next: Arc::clone(next), columns }
    }

    /// The events that requests at these moments are.
    fn events(&self, request: &RecordBatch, moments: &[i64]) -> Result<RecordBatch, Error> {
        let column = |(at, given): (usize, &Option<usize>)| -> ArrayRef {
            match given {
                _ if at == self.source.event_time => Arc::new(TimestampMicrosecondArray::from(moments.to_vec())),
                Some(given) => Arc::clone(request.column(*given)),
                None => new_null_array(self.source.schema.field(at).data_type(), moments.len()),
            }
        };
        let columns = self.columns.iter().enumerate().map(column).collect();
        RecordBatch::try_new(Arc::clone(&self.source.schema), columns)
            .map_err(|error| Error::invalid(format!("the request's columns are not those of source `{}`: {error}", self.source.name)))
    }
}

/// What the requests of a batch change, view by view.
pub(crate) struct Events<'a> {
    of: &'a RequestAs,
    rows: RecordBatch,
    moments: &'a [i64],
    /// Per view that was read so far: its changes, per request.
    staged: Vec<(Arc<Transformation>, Arc<Vec<StagedChanges>>)>,
}

impl<'a> Events<'a> {
    pub(crate) fn new(of: &'a RequestAs, request: &RecordBatch, moments: &'a [i64]) -> Result<Events<'a>, Error> {
        Ok(Events { of, rows: of.events(request, moments)?, moments, staged: Vec::new() })
    }

    /// What each request changes in a view.
    fn staged(&mut self, view: &Arc<Transformation>, state: ViewState<'_>) -> Result<Arc<Vec<StagedChanges>>, Error> {
        if let Some((_, staged)) = self.staged.iter().find(|(known, _)| Arc::ptr_eq(known, view)) {
            return Ok(Arc::clone(staged));
        }
        let staged = (0..self.moments.len()).map(|row| self.stage(view, state, row)).collect::<Result<Vec<_>, _>>()?;
        let staged = Arc::new(staged);
        self.staged.push((Arc::clone(view), Arc::clone(&staged)));
        Ok(staged)
    }

    fn stage(&self, view: &Transformation, state: ViewState<'_>, row: usize) -> Result<StagedChanges, Error> {
        let mut staged = StagedChanges::default();
        let (source, at) = (&self.of.source, self.moments[row]);
        for (branch, _) in view.branches.iter().enumerate().filter(|(_, branch)| branch.source == source.name) {
            let ordinal = branch as u16;
            let is_forgotten = state.keys_before.iter().any(|&(of, before)| of == ordinal && at < before);
            // Expiry takes keys at some time or other; what a request comes to may not depend on when.
            let keys = if is_forgotten { &NoKeys } else { state.keys };
            self.of.next.admit(source, ordinal, &self.rows.slice(row, 1), at, keys, &mut |changes| {
                if is_forgotten && changes.sign == [true] {
                    // If it has arrived already, it is the row of its order key, and that goes first.
                    staged.stage(view, branch, SourceChanges { sign: &[false], ..changes })?;
                }
                staged.stage(view, branch, changes)
            })?;
        }
        Ok(staged)
    }

    /// Reads a view for all requests, each with its own event folded in.
    pub(crate) fn read(
        &mut self,
        view: &Arc<Transformation>,
        state: ViewState<'_>,
        requests: &[Request<'_>],
        mode: TimeMode,
        mut touches: Option<&mut Vec<Touch>>,
    ) -> Result<Features, Error> {
        let staged = self.staged(view, state)?;
        let rounds = Rounds::of(&staged, requests);
        let mut read = Vec::with_capacity(rounds.rounds.len());
        for Round { rows, changes } in rounds.rounds {
            let overlay = Overlay::new(view, state.state, changes)?;
            let some: Vec<Request<'_>> = rows.iter().map(|&row| requests[row]).collect();
            let mut touched = touches.as_ref().map(|_| Vec::new());
            read.push((view.read_at(&overlay, &some, mode, touched.as_mut())?, rows.clone()));
            if let (Some(touches), Some(touched)) = (touches.as_deref_mut(), touched) {
                touches.extend(touched.into_iter().map(|touch| Touch { request: rows[touch.request], ..touch }));
            }
        }
        together(read, requests.len())
    }
}

/// What is remembered of keys that are forgotten.
struct NoKeys;

impl KeyIndex for NoKeys {
    fn get_many(&self, _: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        (0..keys.len()).for_each(|i| found(i, None));
        Ok(())
    }
}

/// Requests that can be read together: no two of them change the entity that either reads.
#[derive(Default)]
struct Round<'a> {
    rows: Vec<usize>,
    changes: Vec<EntityChanges<'a>>,
}

struct Rounds<'a> {
    rounds: Vec<Round<'a>>,
}

impl<'a> Rounds<'a> {
    /// First those that read what they do not change; then, of each entity, one request a round.
    fn of(staged: &'a [StagedChanges], requests: &[Request<'_>]) -> Rounds<'a> {
        let mut rounds: Vec<Round<'a>> = Vec::new();
        let mut met: FxHashMap<&[u8], usize> = FxHashMap::default();
        let mut plain = Round::default();
        for (row, (staged, request)) in staged.iter().zip(requests).enumerate() {
            let Some(changes) = staged.by_entity().into_iter().find(|changes| changes.entity == request.entity) else {
                plain.rows.push(row);
                continue;
            };
            let before = met.entry(request.entity).or_default();
            if rounds.len() == *before {
                rounds.push(Round::default());
            }
            rounds[*before].rows.push(row);
            rounds[*before].changes.push(changes);
            *before += 1;
        }
        if !plain.rows.is_empty() || rounds.is_empty() {
            rounds.push(plain);
        }
        Rounds { rounds }
    }
}

/// Stored state with changes folded into it: what they have written, and the state for everything else.
struct Overlay<'a> {
    base: &'a dyn StateRead,
    written: Written,
}

impl<'a> Overlay<'a> {
    fn new(view: &Transformation, base: &'a dyn StateRead, mut changes: Vec<EntityChanges<'_>>) -> Result<Overlay<'a>, Error> {
        let writes = if changes.is_empty() { Vec::new() } else { tiles::apply(&view.measures, SHAPE, base, &mut changes)? };
        let mut written = Written::default();
        written.write(writes);
        Ok(Overlay { base, written })
    }
}

impl StateRead for Overlay<'_> {
    fn get_many(&self, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.written.over(self.base).get_many(keys, found)
    }
}

/// Puts what was read in rounds together again, in the order of the requests.
fn together(mut read: Vec<(Features, Vec<usize>)>, requests: usize) -> Result<Features, Error> {
    if let [_] = read.as_slice()
        && let Some((features, _)) = read.pop()
    {
        return Ok(features);
    }
    let mut places = vec![(0, 0); requests];
    for (round, (_, rows)) in read.iter().enumerate() {
        rows.iter().enumerate().for_each(|(at, &row)| places[row] = (round, at));
    }
    let Some((first, _)) = read.first() else { return Err(Error::internal("nothing was read")) };
    let column = |feature: usize| {
        let parts: Vec<&dyn Array> = read.iter().map(|(features, _)| &*features.columns[feature]).collect();
        interleave(&parts, &places).map_err(|error| Error::internal("features of one view differ in type").caused_by(error))
    };
    let columns = (0..first.columns.len()).map(column).collect::<Result<_, _>>()?;
    let statuses = (0..first.columns.len()).map(|feature| places.iter().map(|&(round, at)| read[round].0.statuses[feature][at]).collect()).collect();
    let newest = places.iter().map(|&(round, at)| read[round].0.newest[at]).collect();
    let mut stats = tiles::ReadStats::default();
    read.iter().for_each(|(features, _)| stats += features.stats);
    Ok(Features { columns, statuses, newest, stats })
}
