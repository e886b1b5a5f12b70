//! Outcomes: what became of what was served.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::source::zone::Zone;
use lockstep_model::key::Keys;
use lockstep_model::{Error, EventTime};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::log::{Group, as_numbers, columns_by, ids};
use super::{REQUEST_ID, REQUEST_ROW};
use crate::kept::{Kept, Logged};
use crate::reports::Reported;
use crate::text::did_you_mean;
use crate::train::{InputFile, Spine, SpineOf, Told, columns_in};

/// Outcomes are read as spines are.
pub const OUTCOMES: Told = Told { noun: "file of outcomes", moment: "outcome_time", option: "--outcome-time" };

/// Outcomes that are read at once; all of them are held.
const READ_ROWS: usize = 1 << 20;

/// How outcomes are found to belong to rows of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// By the request's id alone.
    Request,
    /// By the request's id, and the row in it.
    RequestRow,
    /// By columns that both have, and a bound on how long after a row its outcome comes, µs.
    Columns {
        /// The columns.
        columns: Vec<String>,
        /// The bound.
        within: i64,
    },
}

/// Outcomes, in the order of their files.
#[derive(Debug)]
pub struct Outcomes {
    /// Their files.
    pub files: Vec<InputFile>,
    /// The column that says when each was known.
    pub timestamp: String,
    /// What goes into the training set: all columns but those that rows are found by.
    pub carried: RecordBatch,
    /// When each was known, µs.
    pub times: Vec<i64>,
    /// What rows are found by, as hashes; `None` where there is a NULL.
    pub keys: Vec<Option<u128>>,
    /// The same for people.
    found_by: RecordBatch,
}

impl By {
    /// How outcomes of these columns are found to belong to rows: by the columns named, else by ids.
    ///
    /// # Errors
    /// Invalid where they have none of these.
    pub fn of(on: &[String], within: Option<i64>, found: &Schema) -> Result<By, Error> {
        let names = || found.fields().iter().map(|field| field.name().as_str());
        let has = |name: &str| names().any(|known| known == name);
        let missing = |name: &str, advice: &str| {
            let all = names().collect::<Vec<_>>().join(", ");
            Error::invalid(format!("outcomes have no column `{name}`{} · they have {all}{advice}", did_you_mean(name, names())))
        };
        match on {
            [] if !has(REQUEST_ID) => Err(missing(REQUEST_ID, " · name columns that both they and requests have with --on, and --within")),
            [] => Ok(if has(REQUEST_ROW) { By::RequestRow } else { By::Request }),
            _ => match on.iter().find(|name| !has(name)) {
                Some(name) => Err(missing(name, "")),
                None => Ok(By::Columns { columns: on.to_vec(), within: within.unwrap_or_default() }),
            },
        }
    }

    /// The columns of outcomes that rows are found by.
    pub fn columns(&self) -> Vec<String> {
        match self {
            By::Request => vec![REQUEST_ID.to_owned()],
            By::RequestRow => vec![REQUEST_ID.to_owned(), REQUEST_ROW.to_owned()],
            By::Columns { columns, .. } => columns.clone(),
        }
    }

    /// These columns and their types, as rows of the log have them.
    ///
    /// # Errors
    /// Invalid where these were not asked with one.
    fn fields(&self, group: &Group) -> Result<Fields, Error> {
        let (id, row) = (Field::new(REQUEST_ID, DataType::Utf8, true), Field::new(REQUEST_ROW, DataType::Int64, true));
        match self {
            By::Request => Ok(vec![id].into()),
            By::RequestRow => Ok(vec![id, row].into()),
            By::Columns { columns, .. } => columns
                .iter()
                .map(|name| {
                    super::log::check_asked_with(group, name)?;
                    let field = group.request.field_with_name(name);
                    field.cloned().map_err(|error| Error::internal("a column that was there").caused_by(error))
                })
                .collect(),
        }
    }

    /// The same of answers; `None` where they were not asked with one of the columns.
    pub(super) fn of_log(&self, kept: &Kept, logged: &Logged) -> Result<Option<Vec<ArrayRef>>, Error> {
        match self {
            By::Request => Ok(Some(ids(kept, logged, false))),
            By::RequestRow => Ok(Some(ids(kept, logged, true))),
            By::Columns { columns, .. } => columns_by(&kept.requests, columns),
        }
    }
}

impl Outcomes {
    /// Reads outcomes of rows such as those of `group`.
    ///
    /// # Errors
    /// Where a file is missing, or a row cannot be read; Invalid where files have other columns than the first.
    pub fn read(from: &[String], timestamp: Option<&str>, zone: Zone, by: &By, group: &Group) -> Result<Outcomes> {
        let request = by.fields(group)?;
        let keys = by.columns();
        if let Some(name) = timestamp.filter(|name| keys.iter().any(|key| key == name)) {
            return Err(Error::invalid(format!(
                "`{name}` cannot say both which row an outcome is of and when it was known · name another column with --outcome-time"
            ))
            .into());
        }
        let (mut files, mut first, mut batches, mut found_by, mut times) = (Vec::new(), None, Vec::new(), Vec::new(), Vec::new());
        for from in from {
            // Says what is missing as it is said of the first.
            let on = if let By::Columns { columns, .. } = by { columns.as_slice() } else { &[] };
            let found = columns_in(from, OUTCOMES)?;
            By::of(on, None, &found)?;
            let mut read = Spine::open(SpineOf { name: "the outcomes", request: &request, from, timestamp, zone, told: OUTCOMES })?;
            let (columns, at) = first.get_or_insert_with(|| (read.columns.clone(), read.timestamp));
            if *columns != read.columns || *at != read.timestamp {
                return Err(Error::invalid(format!(
                    "`{from}` has other columns than the outcomes before it: {} · give it the same",
                    listed(&read.columns)
                ))
                .into());
            }
            files.extend(read.files());
            while let Some(rows) = read.next(READ_ROWS)? {
                batches.push(rows.rows);
                found_by.push(rows.request);
                times.extend(rows.moments);
            }
        }
        let (columns, at) = first.ok_or_else(|| Error::invalid("there are no outcomes · name a file with --outcomes"))?;
        let rows = concat_batches(&columns, &batches)?;
        let schema = Arc::new(Schema::new(request));
        let found_by = RecordBatch::try_new(
            schema.clone(),
            match found_by.as_slice() {
                [] => schema.fields().iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect(),
                some => concat_batches(&some[0].schema(), some)?.columns().to_vec(),
            },
        )?;
        let encoded = Keys::encode(found_by.columns())?;
        let carried: Vec<usize> = (0..columns.fields().len()).filter(|&column| !keys.contains(columns.field(column).name())).collect();
        Ok(Outcomes {
            files,
            timestamp: columns.field(at).name().clone(),
            carried: rows.project(&carried)?,
            keys: (0..times.len()).map(|row| (!encoded.has_null(row)).then(|| xxh3_128(encoded.get(row)))).collect(),
            times,
            found_by,
        })
    }

    /// What was reported as outcomes, each of a row of a request ([`By::RequestRow`]).
    ///
    /// # Errors
    /// Invalid where there are none; where values of one name are of several types.
    pub fn reported(reported: &Reported) -> Result<Outcomes> {
        let (ids, rows): (Vec<&str>, Vec<i64>) = reported.outcomes.keys().map(|((id, row), _)| (id.as_str(), *row)).unzip();
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(ids)), Arc::new(Int64Array::from(rows))];
        let keys = Keys::encode(&columns)?;
        let times: Vec<i64> = reported.outcomes.keys().map(|(_, time)| *time).collect();
        let moment: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.clone()));
        let mut carried = vec![(OUTCOMES.moment.to_owned(), moment)];
        for name in names(reported) {
            carried.push((name.to_owned(), values(name, reported)?));
        }
        let fields = [Field::new(REQUEST_ID, DataType::Utf8, true), Field::new(REQUEST_ROW, DataType::Int64, true)];
        let file = InputFile {
            source: None,
            file: reported.dir.display().to_string(),
            size: None,
            identity: reported.digest.clone(),
            rows: Some(times.len() as u64),
        };
        Ok(Outcomes {
            files: vec![file],
            timestamp: OUTCOMES.moment.to_owned(),
            carried: RecordBatch::try_from_iter_with_nullable(carried.into_iter().map(|(name, column)| (name, column, true)))?,
            keys: (0..times.len()).map(|row| Some(xxh3_128(keys.get(row)))).collect(),
            times,
            found_by: RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns)?,
        })
    }

    /// All of them, with what they are of.
    ///
    /// # Errors
    /// Internal where their columns are not equally long.
    pub fn rows(&self) -> Result<RecordBatch, Error> {
        let columns = [&self.found_by, &self.carried]
            .into_iter()
            .flat_map(|part| part.schema().fields().iter().cloned().zip(part.columns().to_vec()).collect::<Vec<_>>());
        let (fields, columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = columns.unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Error::internal("columns of outcomes").caused_by(error))
    }

    /// When the newest was known.
    pub fn newest(&self) -> Option<EventTime> {
        self.times.iter().copied().max().map(EventTime)
    }

    /// Propensities, where the outcomes say them.
    ///
    /// # Errors
    /// Invalid where the column holds no numbers.
    pub fn propensities(&self, column: &str) -> Result<Option<Float64Array>, Error> {
        self.carried.column_by_name(column).map(|values| as_numbers(values, column)).transpose()
    }

    /// An outcome for people: what it is of.
    pub fn called(&self, outcome: usize) -> String {
        let options = FormatOptions::default().with_null("NULL");
        let shown = |(field, column): (&Arc<Field>, &ArrayRef)| {
            ArrayFormatter::try_new(column, &options)
                .map_or_else(|_| field.name().clone(), |formatter| format!("{}={}", field.name(), formatter.value(outcome)))
        };
        self.found_by.schema().fields().iter().zip(self.found_by.columns()).map(shown).collect::<Vec<_>>().join(" ")
    }
}

/// The columns that reported outcomes have.
///
/// # Errors
/// Invalid where nothing was reported.
pub fn columns_reported(reported: &Reported) -> Result<Schema, Error> {
    if reported.outcomes.is_empty() {
        return Err(Error::invalid(format!(
            "there are no outcomes · none were reported, in {} · report them to the server (ReportOutcome), or name a file with --outcomes",
            reported.dir.display()
        )));
    }
    let own = [REQUEST_ID, REQUEST_ROW, OUTCOMES.moment].into_iter().map(str::to_owned);
    // Their types are found when they are read.
    let fields = own.chain(names(reported).into_iter().map(str::to_owned)).map(|name| Field::new(name, DataType::Null, true));
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The names of values that were reported, in order.
fn names(reported: &Reported) -> BTreeSet<&str> {
    reported.outcomes.values().flat_map(|values| values.keys().map(String::as_str)).collect()
}

/// The values of a name: truth values, whole numbers, numbers or texts.
fn values(name: &str, reported: &Reported) -> Result<ArrayRef, Error> {
    let all: Vec<Option<&Value>> = reported.outcomes.values().map(|values| values.get(name).filter(|value| !value.is_null())).collect();
    let are = |is: fn(&Value) -> bool| all.iter().flatten().all(|value| is(value));
    Ok(if are(Value::is_boolean) {
        Arc::new(all.iter().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
    } else if are(Value::is_i64) {
        Arc::new(all.iter().map(|value| value.and_then(Value::as_i64)).collect::<Int64Array>())
    } else if are(Value::is_number) {
        Arc::new(all.iter().map(|value| value.and_then(Value::as_f64)).collect::<Float64Array>())
    } else if are(Value::is_string) {
        Arc::new(all.iter().map(|value| value.and_then(Value::as_str)).collect::<StringArray>())
    } else {
        return Err(Error::invalid(format!(
            "what is `{name}` of a reported outcome? · some are truth values, numbers and others texts · write the outcomes that count to a file, and name it with --outcomes"
        )));
    })
}

fn listed(columns: &SchemaRef) -> String {
    columns.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ")
}
