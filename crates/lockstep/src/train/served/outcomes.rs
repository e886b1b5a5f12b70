//! Outcomes: what became of what was served.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::source::zone::Zone;
use lockstep_model::key::{Keys, is_key_type};
use lockstep_model::{Error, EventTime};
use lockstep_transform::definition::sql_name;
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
    /// By the request's id, the row in it where they say it, and the output of the service that tells candidates apart: each row is a candidate that was answered.
    Candidate {
        /// The output.
        item: String,
        /// Whether outcomes say the row.
        with_row: bool,
    },
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
    /// How outcomes of these columns are found to belong to rows: by the columns named, else by ids, with the output `item` where rows are candidates.
    ///
    /// # Errors
    /// Invalid where they have none of these.
    pub fn of(on: &[String], within: Option<i64>, item: Option<&str>, found: &Schema) -> Result<By, Error> {
        let names = || found.fields().iter().map(|field| field.name().as_str());
        let has = |name: &str| names().any(|known| known == name);
        let missing = |name: &str, advice: &str| {
            let all = names().collect::<Vec<_>>().join(", ");
            Error::invalid(format!("outcomes have no column `{name}`{} · they have {all}{advice}", did_you_mean(name, names())))
        };
        match on {
            [] if !has(REQUEST_ID) => Err(missing(REQUEST_ID, " · name columns that both they and requests have with --on, and --within")),
            [] => match item {
                Some(item) if !has(item) => Err(missing(item, " · an outcome of a candidate says which one it is")),
                Some(item) => Ok(By::Candidate { item: item.to_owned(), with_row: has(REQUEST_ROW) }),
                None => Ok(if has(REQUEST_ROW) { By::RequestRow } else { By::Request }),
            },
            _ => match on.iter().find(|name| !has(name)) {
                Some(name) => Err(missing(name, "")),
                None => Ok(By::Columns { columns: on.to_vec(), within: within.unwrap_or_default() }),
            },
        }
    }

    /// The output that tells candidates apart, where rows are some.
    ///
    /// # Errors
    /// Invalid where there is none of the name, or it is no key.
    pub fn item(&self, group: &Group) -> Result<Option<Field>, Error> {
        if let By::Candidate { item, .. } = self { item_of(group, item).map(Some) } else { Ok(None) }
    }

    /// The columns of outcomes that rows are found by.
    pub fn columns(&self) -> Vec<String> {
        match self {
            By::Request => vec![REQUEST_ID.to_owned()],
            By::RequestRow => vec![REQUEST_ID.to_owned(), REQUEST_ROW.to_owned()],
            By::Candidate { item, with_row } => {
                let row = with_row.then(|| REQUEST_ROW.to_owned());
                [REQUEST_ID.to_owned()].into_iter().chain(row).chain([item.clone()]).collect()
            }
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
            By::Candidate { item, with_row } => {
                let row = with_row.then_some(row);
                Ok([id].into_iter().chain(row).chain([item_of(group, item)?]).collect())
            }
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
            By::Candidate { item, with_row } => {
                let at = kept.outputs.iter().position(|output| output.name() == item);
                Ok(at.map(|at| ids(kept, logged, *with_row).into_iter().chain([Arc::clone(&kept.values[at])]).collect()))
            }
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
            let item = if let By::Candidate { item, .. } = by { Some(item.as_str()) } else { None };
            let found = columns_in(from, OUTCOMES)?;
            By::of(on, None, item, &found)?;
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

    /// What was reported as outcomes, each of a row of a request ([`By::RequestRow`]), or of a candidate of it ([`By::Candidate`]) that the value `item` names.
    ///
    /// # Errors
    /// Invalid where there are none; where values of one name are of several types.
    pub fn reported(reported: &Reported, item: Option<Field>) -> Result<Outcomes> {
        let (ids, rows): (Vec<&str>, Vec<i64>) = reported.outcomes.keys().map(|((id, row), ..)| (id.as_str(), *row)).unzip();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(ids)), Arc::new(Int64Array::from(rows))];
        let mut fields = vec![Field::new(REQUEST_ID, DataType::Utf8, true), Field::new(REQUEST_ROW, DataType::Int64, true)];
        if let Some(field) = item {
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            let no = |error| Error::invalid(format!("what was reported as `{}` is no {} · {error}", field.name(), sql_name(field.data_type())));
            columns.push(cast_with_options(&values(field.name(), reported)?, field.data_type(), &strict).map_err(no)?);
            fields.push(field);
        }
        let keys = Keys::encode(&columns)?;
        let times: Vec<i64> = reported.outcomes.keys().map(|(_, time, _)| *time).collect();
        let moment: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.clone()));
        let mut carried = vec![(OUTCOMES.moment.to_owned(), moment)];
        for name in names(reported).into_iter().filter(|name| fields.iter().all(|field| field.name() != name)) {
            carried.push((name.to_owned(), values(name, reported)?));
        }
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
            keys: (0..times.len()).map(|row| (!keys.has_null(row)).then(|| xxh3_128(keys.get(row)))).collect(),
            times,
            found_by: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
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

/// The output that tells candidates apart.
fn item_of(group: &Group, item: &str) -> Result<Field, Error> {
    let names = || group.outputs.iter().map(|output| output.name().as_str());
    let found = group.outputs.iter().find(|output| output.name() == item).filter(|output| is_key_type(output.data_type()));
    found.map(|output| output.as_ref().clone()).ok_or_else(|| {
        let all = names().collect::<Vec<_>>().join(", ");
        Error::invalid(format!("`{item}` is no output that tells candidates apart{} · outputs: {all}", did_you_mean(item, names())))
    })
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
