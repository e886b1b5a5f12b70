//! What admission asks of each row, column by column.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::TimestampMicrosecondType;
use lockstep_model::key::{self, Keys};
use lockstep_model::row::RowEncoder;
use lockstep_model::state::PRIMARY_KEY_LEN_MAX;
use lockstep_model::{Error, EventTime};
use lockstep_transform::catalog::{Availability, SourcePlan};
use lockstep_transform::definition::{Interval, Version};

use super::{Admission, Arrivals, Kind};

/// Why a row is put aside, and the details for people.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

/// The words dead letters are filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Unreadable,
    NullKey,
    LongKey,
    NullEventTime,
    NullVersion,
    NoAvailability,
    Ahead,
    Tombstone,
    Conflict,
}

impl Reason {
    pub(super) fn word(self) -> &'static str {
        match self {
            Reason::Unreadable => "unreadable",
            Reason::NullKey => "null_key",
            Reason::LongKey => "long_key",
            Reason::NullEventTime => "null_event_time",
            Reason::NullVersion => "null_version",
            Reason::NoAvailability => "no_availability",
            Reason::Ahead => "ahead",
            Reason::Tombstone => "tombstone",
            Reason::Conflict => "conflict",
        }
    }
}

/// What admission makes of the columns of a batch, row by row, before it decides anything.
pub(super) struct Columns {
    now: EventTime,
    kind: Kind,
    keys: Keys,
    versions: VersionKeys,
    available: Available,
}

/// A batch as admission looks at it.
pub(super) struct Batch<'a> {
    pub(super) plan: &'a SourcePlan,
    pub(super) arrivals: &'a Arrivals<'a>,
    columns: &'a Columns,
    event_times: &'a PrimitiveArray<TimestampMicrosecondType>,
}

/// The version of each row as bytes that order as versions do.
enum VersionKeys {
    Absent,
    Column {
        index: usize,
        keys: Keys,
    },
    /// Nine bytes a row: 0 for history and 1 for a log, and the row's number. A log supersedes the history that was taken of it.
    Position(Vec<[u8; 9]>),
}

enum Available {
    /// With the event.
    Always,
    /// With the event; when the log took it is noted, where it says so.
    Noted,
    AppendTime,
    /// NULL where the expression is, or failed.
    Column(ArrayRef),
}

impl Columns {
    pub(super) fn new(plan: &SourcePlan, arrivals: &Arrivals<'_>, now: EventTime, kind: Kind) -> Result<Self, Error> {
        let columns = arrivals.batch.columns();
        let lengths = [Some(arrivals.rows.len()), arrivals.tombstone.map(Array::len), arrivals.append_time.map(Array::len)];
        if columns.len() != plan.schema.fields().len() || lengths.into_iter().flatten().any(|len| len != arrivals.batch.num_rows()) {
            return Err(Error::internal(format!("a batch that is not of source `{}`", plan.name)));
        }
        let primary_key: Vec<ArrayRef> = plan.primary_key.iter().map(|&column| columns[column].clone()).collect();
        let versions = match plan.version {
            None => VersionKeys::Absent,
            Some(Version::Column(index)) => VersionKeys::Column { index, keys: Keys::encode(std::slice::from_ref(&columns[index]))? },
            Some(Version::Position) => VersionKeys::Position(arrivals.rows.iter().map(|&row| position_version(kind, row)).collect()),
        };
        Ok(Columns { now, kind, keys: Keys::encode(&primary_key)?, versions, available: available(&plan.availability, arrivals)? })
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(plan: &'a SourcePlan, arrivals: &'a Arrivals<'a>, columns: &'a Columns) -> Result<Self, Error> {
        let event_times = arrivals.batch.column(plan.event_time).as_primitive_opt();
        let event_times = event_times.ok_or_else(|| Error::internal("event time is not a timestamp in µs"))?;
        Ok(Batch { plan, arrivals, columns, event_times })
    }

    /// What the clock says.
    pub(super) fn now(&self) -> EventTime {
        self.columns.now
    }

    pub(super) fn len(&self) -> usize {
        self.arrivals.batch.num_rows()
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        self.columns.keys.get(row)
    }

    /// Bytes that order as the versions of the source do; empty where it has none.
    pub(super) fn version(&self, row: usize) -> &[u8] {
        match &self.columns.versions {
            VersionKeys::Absent => &[],
            VersionKeys::Column { keys, .. } => keys.get(row),
            VersionKeys::Position(versions) => &versions[row],
        }
    }

    /// The version for people.
    pub(super) fn version_text(&self, row: usize) -> String {
        match &self.columns.versions {
            VersionKeys::Absent | VersionKeys::Position(_) => self.arrivals.rows[row].to_string(),
            VersionKeys::Column { keys, .. } => key::display(keys.get(row)),
        }
    }

    pub(super) fn key_text(&self, row: usize) -> String {
        key::display(self.key(row))
    }

    pub(super) fn is_tombstone(&self, row: usize) -> bool {
        self.arrivals.tombstone.is_some_and(|tombstone| tombstone.is_valid(row) && tombstone.value(row))
    }

    /// The event time of a row that passed the screen.
    pub(super) fn event_time(&self, row: usize) -> i64 {
        self.event_times.value(row)
    }

    /// When the log took the row, where it says so.
    pub(super) fn append_time(&self, row: usize) -> Option<i64> {
        self.arrivals.append_time.filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    /// From when the row was known, the pipeline's delay included. What says nothing of it (a tombstone without a moment of its own; history of a source that goes by append time) was known
    /// when the log had come there: at `newest`, the largest event time of its partition up to it. The clock has no say: the same log would come to something else tomorrow.
    ///
    /// Never `i64::MAX`: what it supersedes would be known until then, which is to say for ever.
    pub(super) fn known_from(&self, row: usize, newest: i64) -> i64 {
        let available = match &self.columns.available {
            Available::Always => return i64::MIN,
            Available::Noted => match self.append_time(row) {
                Some(time) => time,
                None => return i64::MIN,
            },
            Available::Column(times) if times.is_valid(row) => times.as_primitive::<TimestampMicrosecondType>().value(row),
            Available::Column(_) => self.append_time(row).unwrap_or(newest),
            Available::AppendTime if self.is_tombstone(row) => self.append_time(row).unwrap_or(newest),
            Available::AppendTime => self.append_time(row).unwrap_or(self.event_time(row)),
        };
        available.saturating_add(self.plan.serving_lag).min(i64::MAX - 1)
    }

    /// An encoder of contents: the declared columns and nothing else.
    pub(super) fn contents(&self, admission: &Admission) -> Result<RowEncoder<'a>, Error> {
        admission.codec.encoder(self.arrivals.batch.columns())
    }

    /// The event time of a row that can be taken, `None` of a tombstone; or what is wrong with it, which is a matter of the row alone.
    pub(super) fn check(&self, row: usize) -> Result<Option<i64>, Fault> {
        if self.columns.keys.has_null(row) {
            return Err(self.null_key(row));
        }
        if self.key(row).len() > PRIMARY_KEY_LEN_MAX {
            return Err(self.long_key(row));
        }
        if let VersionKeys::Column { index, keys } = &self.columns.versions
            && keys.has_null(row)
        {
            return Err(Fault { reason: Reason::NullVersion, detail: format!("version `{}` is NULL", self.column_name(*index)) });
        }
        if self.is_tombstone(row) {
            return if self.plan.version.is_some() { Ok(None) } else { Err(unversioned_tombstone()) };
        }
        if self.event_times.is_null(row) {
            let detail = format!("event time `{}` is NULL", self.column_name(self.plan.event_time));
            return Err(Fault { reason: Reason::NullEventTime, detail });
        }
        self.check_ahead(row).map(Some)
    }

    fn check_ahead(&self, row: usize) -> Result<i64, Fault> {
        let (base, what) = match &self.columns.available {
            Available::Column(times) if times.is_null(row) => {
                let detail = "available_at gives no moment for the row: it is NULL, or fails".to_owned();
                return Err(Fault { reason: Reason::NoAvailability, detail });
            }
            Available::AppendTime if self.columns.kind == Kind::Stream && self.append_time(row).is_none() => {
                let detail = "available_at is the append time, and the log does not say it".to_owned();
                return Err(Fault { reason: Reason::NoAvailability, detail });
            }
            Available::Column(times) => (times.as_primitive::<TimestampMicrosecondType>().value(row), "its availability"),
            Available::Always | Available::Noted | Available::AppendTime => match self.append_time(row) {
                Some(time) => (time, "its append time"),
                None => (self.now().0, "the clock"),
            },
        };
        let event_time = self.event_time(row);
        if event_time <= base.saturating_add(self.plan.max_ahead) {
            return Ok(event_time);
        }
        let max_ahead = length(self.plan.max_ahead);
        let detail = format!("event time {} is too far past {what}, {} · max_ahead: {max_ahead}", EventTime(event_time), EventTime(base));
        Err(Fault { reason: Reason::Ahead, detail })
    }

    fn null_key(&self, row: usize) -> Fault {
        let is_null = |&&column: &&usize| self.arrivals.batch.column(column).is_null(row);
        let null = self.plan.primary_key.iter().find(is_null).map_or("", |&column| self.column_name(column));
        Fault { reason: Reason::NullKey, detail: format!("`{null}` of the primary key is NULL") }
    }

    fn long_key(&self, row: usize) -> Fault {
        let detail = format!("the primary key takes {} bytes · longest: {PRIMARY_KEY_LEN_MAX}", self.key(row).len());
        Fault { reason: Reason::LongKey, detail }
    }

    fn column_name(&self, index: usize) -> &str {
        self.plan.schema.field(index).name()
    }
}

fn unversioned_tombstone() -> Fault {
    let detail = "a tombstone for a source without versions · declare version = '<column>' or 'position', so that what it deletes can be told";
    Fault { reason: Reason::Tombstone, detail: detail.to_owned() }
}

fn position_version(kind: Kind, row: u64) -> [u8; 9] {
    let mut version = [u8::from(kind == Kind::Stream); 9];
    version[1..].copy_from_slice(&row.to_be_bytes());
    version
}

fn available(availability: &Availability, arrivals: &Arrivals<'_>) -> Result<Available, Error> {
    Ok(match availability {
        Availability::None => Available::Always,
        Availability::Noted => Available::Noted,
        Availability::AppendTime => Available::AppendTime,
        Availability::Expression(expression) => {
            let values = expression.evaluate(arrivals.batch)?.values;
            if values.as_primitive_opt::<TimestampMicrosecondType>().is_none() {
                return Err(Error::internal("available_at is not a timestamp in µs"));
            }
            Available::Column(values)
        }
    })
}

/// A length of time for people.
pub(super) fn length(micros: i64) -> String {
    Interval::from_micros(micros).map_or_else(|| format!("{micros} µs"), |interval| interval.to_string())
}
