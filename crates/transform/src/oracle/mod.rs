//! The third opinion of `verify`: stock DataFusion runs the view's own SQL over the events themselves, at given moments.
//!
//! Nothing of the compiler, the tiles or the calendar is used here. What is shared with the engine is the definition's syntax tree, the
//! aggregates as DataFusion functions under their SQL names, and the model crate. There are two oracles:
//!
//! - [`Kind::Windows`], in event time: DataFusion's window operators evaluate every `f(x) OVER w` of the body as it is written.
//! - [`Kind::Groups`], in known time and for views with a `resolution`, where which rows count depends on the moment they are seen
//!   from: every moment is given the rows it can see, and `f(x) OVER w` becomes `f(x) FILTER (WHERE in the frame of w)`, grouped by moment.
//!
//! The rewrites, all of them:
//!
//! 1. Rows come from `FROM … WHERE …` of the body, unchanged, over tables of winners. A row whose entity key has a NULL belongs to no
//!    entity. They are put in the order of (event time, branch of the `UNION ALL`, primary key), which is the order of peers.
//! 2. What windows read of a row are the columns of that query: the arguments, the FILTERs, the entity key (cast to the entity's types) and the
//!    `date_trunc`s of the body. Where one fails, its rows are found one by one; there it is NULL, or no row in the case of WHERE.
//!    Intervals of frames are written in microseconds.
//! 3. A moment t is a row whose event time is t, which is in its own frame and which no aggregate counts: `FILTER (WHERE <no moment> AND …)`.
//! 4. A `ROWS` frame is evaluated at the events alone; its value at t is that of the last event of its partition at or before t, and
//!    that of the aggregate over no rows where there is none.
//! 5. The items of the SELECT list are evaluated over the values of their windows.
//! 6. Where every row was known when it happened and none was superseded since, known time is event time, and windows answer for both.
//! 7. An aggregate that cannot be computed is NULL in SQL. It is ERROR where rows that count say it should have a value.

mod body;
mod events;
mod finish;
mod groups;
mod isolate;
mod session;
mod windows;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{FieldRef, TimestampMicrosecondType};
use lockstep_model::{Error, Status, TimeMode};

use crate::catalog::{Catalog, SourcePlan};
use body::Body;
use events::Events;
use session::Session;

/// Every row of a source that ever was visible.
#[derive(Debug, Clone)]
pub struct Winners {
    /// Declared columns of the source.
    pub rows: RecordBatch,
    /// Per row: from when it was known, µs; `i64::MIN` where the source says nothing of availability.
    pub known_from: Vec<i64>,
    /// Per row: until when, µs; `i64::MAX` for one that nothing supersedes.
    pub known_until: Vec<i64>,
}

/// Entities at moments.
#[derive(Debug, Clone)]
pub struct Probes {
    /// Key columns in the entity's order and types, without NULLs.
    pub keys: Vec<ArrayRef>,
    /// Moments, µs.
    pub at: Vec<i64>,
}

/// What the oracle says.
#[derive(Debug)]
pub struct OracleFeatures {
    /// One column per feature, in the order of the view: one value per probe.
    pub columns: Vec<ArrayRef>,
    /// Per feature, one status per probe.
    pub statuses: Vec<Vec<Status>>,
    /// Per feature: how it was computed.
    pub kinds: Vec<Kind>,
}

/// How an oracle computes the values of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// By DataFusion's window operators.
    Windows,
    /// By a `GROUP BY` of the moments, each with the rows that it sees.
    Groups,
}

/// An aggregate over a window, as the body writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallText {
    /// The function's name.
    pub function: String,
    /// The frame, with the calendar of the window where it has one.
    pub frame: String,
}

/// The oracle of one view.
#[derive(Debug)]
pub struct Oracle<'a> {
    name: &'a str,
    body: Body,
    entity: &'a [FieldRef],
    /// Per branch.
    sources: Vec<&'a SourcePlan>,
    ttl: Option<i64>,
    /// The grid that edges are floored to, µs.
    resolution: Option<i64>,
    session: Session,
}

/// An oracle with events to look at.
#[derive(Debug)]
pub struct Loaded<'a> {
    oracle: &'a Oracle<'a>,
    events: Events,
}

/// What the windows of a view gave, one value per probe in each.
struct WindowValues {
    /// Per call.
    values: Vec<ArrayRef>,
    /// Per call that can fail: how many rows say that it has a value.
    counted: Vec<Option<ArrayRef>>,
    /// Event time of the newest row that counts.
    newest: ArrayRef,
}

impl<'a> Oracle<'a> {
    /// The oracle of a view of the catalog.
    ///
    /// # Errors
    /// Not found where there is no such view.
    pub fn new(catalog: &'a Catalog, view: &str) -> Result<Oracle<'a>, Error> {
        let unknown =
            || Error::not_found(format!("no feature view `{view}` · views: {}", catalog.views.keys().cloned().collect::<Vec<_>>().join(", ")));
        let definition = catalog.definitions.views.get(view).ok_or_else(unknown)?;
        let transformation = catalog.views.get(view).ok_or_else(unknown)?;
        let options = &definition.options;
        Ok(Oracle {
            name: &definition.name,
            body: Body::of(definition)?,
            entity: &transformation.entity,
            sources: catalog.sources_of(transformation).into_iter().map(|source| source.as_ref()).collect(),
            ttl: options.ttl.map(|ttl| ttl.micros()),
            resolution: options.resolution.map(|resolution| resolution.micros()).filter(|&resolution| resolution > 1),
            session: Session::new(options.limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))),
        })
    }

    /// Which oracle answers in a mode, whatever the events.
    pub fn kind(&self, mode: TimeMode) -> Kind {
        if mode == TimeMode::Event && self.resolution.is_none() { Kind::Windows } else { Kind::Groups }
    }

    /// Per feature, the windows it is made of.
    pub fn windows_of_features(&self) -> Vec<Vec<CallText>> {
        let text = |&call: &usize| self.body.calls[call].text(&self.body);
        self.body.features.iter().map(|feature| feature.calls.iter().map(text).collect()).collect()
    }

    /// Takes in the events: one `Winners` per source of the view's FROM, in its order.
    ///
    /// # Errors
    /// Invalid where they do not fit the sources; internal where DataFusion does not run what the definition's checks let through.
    pub async fn load(&self, winners: &[Winners]) -> Result<Loaded<'_>, Error> {
        Ok(Loaded { oracle: self, events: Events::load(self, winners).await? })
    }
}

impl Loaded<'_> {
    /// Which oracle answers in a mode, given these events.
    pub fn kind(&self, mode: TimeMode) -> Kind {
        let Events { times, known_from, known_until, .. } = &self.events;
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let plain = || known_until.iter().all(|&until| until == i64::MAX) && known_from.iter().zip(times).all(|(from, time)| from <= time);
        if mode == TimeMode::Known && self.oracle.resolution.is_none() && plain() { Kind::Windows } else { self.oracle.kind(mode) }
    }

    /// The features of all probes by the oracle that is meant for the mode.
    ///
    /// # Errors
    /// Invalid where the probes do not fit the view; internal where DataFusion does not run what the definition's checks let through.
    pub async fn answer(&self, probes: &Probes, mode: TimeMode) -> Result<OracleFeatures, Error> {
        self.answer_by(self.kind(mode), probes, mode).await
    }

    /// The features of all probes by an oracle of choice.
    ///
    /// # Errors
    /// Invalid where the oracle cannot answer: windows know nothing of known time and of a resolution.
    pub async fn answer_by(&self, kind: Kind, probes: &Probes, mode: TimeMode) -> Result<OracleFeatures, Error> {
        self.check(kind, probes, mode)?;
        let values = match kind {
            Kind::Windows => windows::values(self, probes).await?,
            Kind::Groups => groups::values(self, probes, mode).await?,
        };
        finish::features(self.oracle, values, probes, kind).await
    }

    fn check(&self, kind: Kind, probes: &Probes, mode: TimeMode) -> Result<(), Error> {
        let entity = self.oracle.entity;
        let typed = probes.keys.len() == entity.len() && probes.keys.iter().zip(entity).all(|(keys, field)| keys.data_type() == field.data_type());
        if !typed || probes.keys.iter().any(|keys| keys.len() != probes.at.len() || keys.null_count() > 0) {
            let keys: Vec<String> = entity.iter().map(|key| format!("{} {}", key.name(), key.data_type())).collect();
            return Err(Error::invalid(format!(
                "probes do not fit view `{}` · its key: {} · give a key without NULLs for each moment",
                self.oracle.name,
                keys.join(", ")
            )));
        }
        if kind == Kind::Windows && self.kind(mode) == Kind::Groups {
            return Err(Error::invalid("windows see the same rows from every moment · use the oracle of groups in known time and with a resolution"));
        }
        Ok(())
    }
}

impl WindowValues {
    /// Per call: the probes at which it could not be computed.
    fn failed(&self, body: &Body) -> Vec<Option<BooleanArray>> {
        use arrow::array::Array;
        use arrow::datatypes::Int64Type;
        let calls = body.calls.iter().zip(&self.values).zip(&self.counted);
        let failed = |((call, values), counted): ((&body::Call, &ArrayRef), &Option<ArrayRef>)| match (&call.failure, counted) {
            (body::Failure::Never, _) => None,
            (body::Failure::WhereNull, _) => Some((0..values.len()).map(|row| Some(values.is_null(row))).collect()),
            (body::Failure::WhereNullOver(_), None) => None,
            (body::Failure::WhereNullOver(_), Some(counted)) => {
                let counted = counted.as_primitive::<Int64Type>();
                Some((0..values.len()).map(|row| Some(values.is_null(row) && counted.value(row) > 0)).collect())
            }
        };
        calls.map(failed).collect()
    }

    fn newest(&self) -> impl Iterator<Item = Option<i64>> + '_ {
        self.newest.as_primitive::<TimestampMicrosecondType>().iter()
    }
}

/// An error of a kernel or a plan on what the definition's checks let through.
fn internal(what: &str) -> impl Fn(datafusion::error::DataFusionError) -> Error + '_ {
    move |error| Error::internal(format!("{what}: {}", error.strip_backtrace()))
}

fn kernel(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("a kernel refused columns of the oracle: {error}"))
}

#[cfg(test)]
mod tests;
