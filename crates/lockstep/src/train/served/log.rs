//! The rows of a feature log, read file by file: first what decides about them, then what they hold.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Fields, Float64Type, SchemaRef};
use lockstep_model::key::{Keys, is_key_type};
use lockstep_model::row::RowCodec;
use lockstep_model::{Error, Fingerprint, TimeMode};
use lockstep_serve::scoring::Decided;
use lockstep_transform::definition::sql_name;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::decisions::Served;
use super::outcomes::By;
use crate::bytes::Bytes;
use crate::feature_log::{LogDir, LogFile};
use crate::kept::{Kept, KeptFile, Logged, ViewAt};
use crate::text::did_you_mean;
use crate::train::{InputFile, ViewUsed};

/// Another function of the id than that by which a log picks its share.
const DRAW_SEED: u64 = 0x6c6f_636b_7374_6570;

/// The log of a service or view.
#[derive(Debug)]
pub struct ServedLog {
    name: String,
    files: Vec<LogFile>,
    /// Whether a row is a candidate that was answered.
    each_candidate: bool,
}

/// What of a row decides about it.
#[derive(Debug, Clone, Copy)]
pub struct Wants<'a> {
    /// How outcomes are found.
    pub by: &'a By,
    /// The columns that are an entity, where rows are capped by it: the only one that is asked with, if none is named.
    pub entity: Option<&'a [String]>,
    /// The column of propensities, where it is one that is asked with.
    pub propensity: Option<&'a str>,
}

/// What decides about the rows of a log.
#[derive(Debug, Default)]
pub struct Scan {
    /// The rows, in the order of the files.
    pub rows: Vec<Row>,
    /// Whose definitions answered.
    pub groups: Vec<Group>,
    /// The files, with the hashes of what was read.
    pub files: Vec<InputFile>,
    /// Shares of vectors that were logged.
    pub shares: Vec<f64>,
    /// Names of the actions that were answered.
    pub actions: Vec<String>,
}

/// A row. Keys are hashes of 128 bits, of which no two are expected to be alike in a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Whose definitions answered: its place among the groups.
    pub group: usize,
    /// Its place in its request.
    pub number: u64,
    /// The moment that was asked about, µs.
    pub moment: i64,
    /// When it was answered, µs.
    pub served_at: i64,
    /// What outcomes find it by; `None` where that has a NULL.
    pub key: Option<u128>,
    /// Its request, where that has an id.
    pub decision: Option<u128>,
    /// Its entity, where rows are capped by it.
    pub entity: Option<u128>,
    /// By which it stays or goes where rows are capped: a function of the request's id and the row, or of what was asked.
    pub draw: u64,
    /// Its propensity, where it was asked with one.
    pub propensity: Option<f64>,
    /// What reports find it by; `None` where its request has no id.
    pub report: Option<u128>,
    /// What was decided when it was answered, where anything was.
    pub served: Option<Served>,
    /// Which share of rows such as this is logged, where the log says so row by row.
    pub share: Option<f64>,
}

/// Rows that were answered by definitions of one meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What the service or view means; earlier releases did not say so.
    pub meaning: Option<Fingerprint>,
    /// Which clock counted events.
    pub time: TimeMode,
    /// Numbers of the definitions.
    pub definitions: BTreeSet<u64>,
    /// Rows.
    pub rows: u64,
    /// The views that were read.
    pub views: Vec<ViewUsed>,
    /// What it was asked with.
    pub request: SchemaRef,
    /// What it answered.
    pub outputs: Fields,
    /// Whether the log has of any row what was done with its candidates.
    pub ranked: bool,
}

impl ServedLog {
    /// The log of a service or view in a directory; with a row for each candidate that was answered, where that is wanted.
    ///
    /// # Errors
    /// NotFound where it has none.
    pub fn open(dir: &LogDir, name: &str, each_candidate: bool) -> Result<ServedLog> {
        let files = dir.files_of(name)?;
        if files.is_empty() {
            let names = dir.names()?;
            let known = if names.is_empty() { "nothing is logged there".to_owned() } else { format!("logged are {}", names.join(", ")) };
            let advice = "[serve.feature_log] in lockstep.toml has `lockstep serve` log what it serves, once a file is due";
            return Err(Error::not_found(format!("nothing of `{name}` is logged in {} · {known} · {advice}", dir.path().display())).into());
        }
        Ok(ServedLog { name: name.to_owned(), files, each_candidate })
    }

    /// Its files, by number.
    pub fn files(&self) -> &[LogFile] {
        &self.files
    }

    /// Reads what decides about its rows. `progress` is told how many were read.
    ///
    /// # Errors
    /// Where a file is gone meanwhile, or is none of a log; Invalid where what is wanted is no key or no number.
    pub fn scan(&self, wants: &Wants<'_>, progress: &mut dyn FnMut(usize) -> Result<()>) -> Result<Scan> {
        let mut scan = Scan::default();
        for file in &self.files {
            let (answers, sha256) = self.read(file)?;
            let before = scan.rows.len();
            answers.iter().try_for_each(|kept| scan.add(&self.name, kept, wants))?;
            let rows = (scan.rows.len() - before) as u64;
            scan.files.push(InputFile {
                source: None,
                file: file.path.display().to_string(),
                size: Some(file.bytes),
                identity: sha256,
                rows: Some(rows),
            });
            progress(scan.rows.len())?;
        }
        Ok(scan)
    }

    /// The answers in a file, and the SHA-256 of the file.
    ///
    /// # Errors
    /// Unavailable where it is gone; Data where it is none of a log.
    pub fn read(&self, file: &LogFile) -> Result<(Vec<Kept>, String)> {
        let shown = file.path.display();
        let bytes = match fs::read(&file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::unavailable(format!("{shown} went past the log's retention while it was read · run it again")).into());
            }
            read => read.with_context(|| format!("read {shown}"))?,
        };
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let answers = KeptFile { name: shown.to_string(), bytes: Bytes(bytes) }.read()?;
        if let Some(other) = answers.iter().find(|kept| kept.from.name != self.name || kept.logged.is_none()) {
            return Err(Error::data(format!(
                "{shown} holds answers of `{}` that were not logged as `{}` · take it out of the log",
                other.from.name, self.name
            ))
            .into());
        }
        let answers = if self.each_candidate { answers.iter().map(Kept::each_candidate).collect::<Result<_>>()? } else { answers };
        Ok((answers, sha256))
    }
}

impl Scan {
    /// Takes in what decides about the rows of answers.
    ///
    /// # Errors
    /// As [`ServedLog::scan`].
    pub fn add(&mut self, name: &str, kept: &Kept, wants: &Wants<'_>) -> Result<()> {
        let Some(logged) = &kept.logged else { return Err(Error::internal("an answer that was not logged").into()) };
        let group = self.group(kept)?;
        if let Some(share) = kept.from.share.filter(|share| !self.shares.contains(share)) {
            self.shares.push(share);
        }
        let keys = match wants.by.of_log(kept, logged)? {
            Some(columns) => Some(Keys::encode(&columns)?),
            None => None,
        };
        let reports = Keys::encode(&ids(kept, logged, true))?;
        let decided = kept.predicted.as_ref().and_then(|predicted| predicted.decided.as_ref());
        let entities = wants.entity.map(|columns| entities(name, &kept.requests, columns)).transpose()?.flatten();
        let propensities = wants.propensity.map(|column| propensities(&kept.requests, column)).transpose()?.flatten();
        let codec = RowCodec::new(kept.requests.schema()).ok();
        let encoder = codec.as_ref().and_then(|codec| codec.encoder(kept.requests.columns()).ok());
        let mut bytes = Vec::new();
        for row in 0..kept.len() {
            let request_id = kept.request_id(row);
            bytes.clear();
            match (request_id, &encoder) {
                (Some(request_id), _) => bytes.extend_from_slice(request_id.as_bytes()),
                (None, Some(encoder)) => encoder.write(row, &mut bytes),
                (None, None) => {}
            }
            if request_id.is_none() {
                bytes.extend_from_slice(&kept.moments[row].to_le_bytes());
            }
            bytes.extend_from_slice(&kept.numbers[row].to_le_bytes());
            // Of the candidates of a row each is drawn by itself.
            if let (By::Candidate { .. }, Some(keys)) = (wants.by, &keys) {
                bytes.extend_from_slice(keys.get(row));
            }
            let served = decided.map(|kept| self.served(&kept.decided, row));
            self.rows.push(Row {
                group,
                number: kept.numbers[row],
                moment: kept.moments[row],
                served_at: logged.served_at[row],
                key: keys.as_ref().filter(|keys| !keys.has_null(row)).map(|keys| xxh3_128(keys.get(row))),
                decision: request_id.map(|request_id| xxh3_128(request_id.as_bytes())),
                entity: entities.as_ref().map(|entities| xxh3_128(entities.get(row))),
                draw: xxh3_64_with_seed(&bytes, DRAW_SEED),
                propensity: propensities.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row)),
                report: (!reports.has_null(row)).then(|| xxh3_128(reports.get(row))),
                served,
                share: decided.map(|kept| kept.shares.value(row)),
            });
        }
        Ok(())
    }

    /// What was decided of a row when it was answered.
    fn served(&mut self, decided: &Decided, row: usize) -> Served {
        let action = decided.actions.is_valid(row).then(|| decided.actions.value(row));
        let action = action.map(|action| {
            let known = self.actions.iter().position(|known| known == action);
            known.unwrap_or_else(|| {
                self.actions.push(action.to_owned());
                self.actions.len() - 1
            }) as u32
        });
        let propensity = decided.propensities.is_valid(row).then(|| decided.propensities.value(row));
        Served { action, propensity, explored: decided.explored.value(row) }
    }

    fn group(&mut self, kept: &Kept) -> Result<usize> {
        let from = &kept.from;
        let known = self.groups.iter().position(|group| group.meaning == from.meaning && group.time == from.time);
        let at = known.unwrap_or(self.groups.len());
        if known.is_none() {
            self.groups.push(Group {
                meaning: from.meaning,
                time: from.time,
                definitions: BTreeSet::new(),
                rows: 0,
                views: from.views.iter().map(used).collect(),
                request: kept.requests.schema(),
                outputs: kept.outputs.clone(),
                ranked: false,
            });
        }
        let group = &mut self.groups[at];
        let same =
            |a: &Fields, b: &Fields| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same(&group.outputs, &kept.outputs) || !same(group.request.fields(), kept.requests.schema().fields()) {
            return Err(Error::data(format!("answers of `{}` have other columns under one meaning · the log is not whole", from.name)).into());
        }
        group.definitions.extend(from.definitions);
        group.ranked |= kept.predicted.as_ref().is_some_and(|predicted| predicted.ranked.is_some());
        group.rows += kept.len() as u64;
        Ok(at)
    }

    /// The rows to take: those of the newest definitions, unless others are asked for.
    ///
    /// # Errors
    /// NotFound for definitions that answered nothing; Invalid where there are rows of other meanings, and nobody said which count.
    pub fn choose(&self, name: &str, definitions: Option<u64>) -> Result<usize, Error> {
        let told = |group: &Group| match (group.definitions.first(), group.definitions.last()) {
            (Some(first), Some(last)) if first != last => format!("{} to {} ({} rows)", first, last, group.rows),
            (Some(only), _) => format!("{only} ({} rows)", group.rows),
            _ => format!("unknown ones of an earlier release ({} rows)", group.rows),
        };
        let mut groups: Vec<(usize, &Group)> = self.groups.iter().enumerate().collect();
        groups.sort_by_key(|(_, group)| group.definitions.last().copied());
        let all = groups.iter().map(|(_, group)| told(group)).collect::<Vec<_>>().join(", ");
        if let Some(number) = definitions {
            let found = groups.iter().find(|(_, group)| group.definitions.contains(&number));
            let unknown =
                || Error::not_found(format!("no row of `{name}` was answered by definitions {number} · by meaning, rows are of definitions {all}"));
            return found.map(|(at, _)| *at).ok_or_else(unknown);
        }
        match groups[..] {
            [(only, _)] => Ok(only),
            [.., (_, newest)] => {
                let number = newest.definitions.last().map_or_else(|| "N".to_owned(), u64::to_string);
                Err(Error::invalid(format!(
                    "rows of `{name}` do not all mean the same · by meaning, they are of definitions {all} · --set {number} takes those that mean what definitions {number} do, \
                     and leaves the others out"
                )))
            }
            [] => Err(Error::data(format!("the log of `{name}` has no rows · wait until more is served"))),
        }
    }

    /// A row for people: where it is.
    pub fn place(&self, row: usize) -> String {
        let mut before = 0;
        for file in &self.files {
            let rows = file.rows.unwrap_or(0) as usize;
            if row < before + rows {
                return format!("row {} of {}", row - before + 1, file.file);
            }
            before += rows;
        }
        format!("row {} of the log", row + 1)
    }
}

fn used(view: &ViewAt) -> ViewUsed {
    ViewUsed { view: view.view.clone(), meaning: view.meaning.map_or_else(String::new, |meaning| meaning.to_string()), state: None }
}

/// Columns that outcomes are found by, as answers to requests have them; `None` where these were not asked with one of them.
pub(super) fn columns_by(requests: &RecordBatch, columns: &[String]) -> Result<Option<Vec<ArrayRef>>, Error> {
    let found: Option<Vec<ArrayRef>> = columns.iter().map(|name| requests.column_by_name(name).cloned()).collect();
    for (name, column) in columns.iter().zip(found.iter().flatten()) {
        if !is_key_type(column.data_type()) {
            return Err(Error::invalid(format!("`{name}` is {}, which is no key · name another column", sql_name(column.data_type()))));
        }
    }
    Ok(found)
}

/// The ids of answers and, where wanted, their rows.
pub(super) fn ids(kept: &Kept, logged: &Logged, with_rows: bool) -> Vec<ArrayRef> {
    let ids: ArrayRef = Arc::new(logged.request_ids.clone());
    let rows = with_rows.then(|| Arc::new(numbers(kept)) as ArrayRef);
    [Some(ids), rows].into_iter().flatten().collect()
}

/// The places of answers in their requests.
pub fn numbers(kept: &Kept) -> Int64Array {
    kept.numbers.iter().map(|number| i64::try_from(*number).ok()).collect()
}

fn entities(name: &str, requests: &RecordBatch, columns: &[String]) -> Result<Option<Keys>, Error> {
    let schema = requests.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let only: Vec<String> = if columns.is_empty() { names.iter().map(|name| (*name).to_owned()).collect() } else { columns.to_vec() };
    if columns.is_empty() && only.len() != 1 {
        return Err(Error::invalid(format!(
            "which columns are the entity that --per-entity counts? · `{name}` is asked with {} · name them with --entity",
            names.join(", ")
        )));
    }
    columns_by(requests, &only)?.map(|columns| Keys::encode(&columns)).transpose()
}

fn propensities(requests: &RecordBatch, column: &str) -> Result<Option<Float64Array>, Error> {
    requests.column_by_name(column).map(|values| as_numbers(values, column)).transpose()
}

/// A column of numbers.
///
/// # Errors
/// Invalid where it has none.
pub fn as_numbers(values: &ArrayRef, name: &str) -> Result<Float64Array, Error> {
    let no = || Error::invalid(format!("`{name}` is {}, which is no propensity · name a column of numbers", sql_name(values.data_type())));
    if !values.data_type().is_numeric() {
        return Err(no());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let numbers = cast_with_options(values, &DataType::Float64, &strict).map_err(|error| no().caused_by(error))?;
    Ok(numbers.as_primitive::<Float64Type>().clone())
}

/// Refuses a column that rows were not asked with.
///
/// # Errors
/// Invalid where it is none of theirs.
pub fn check_asked_with(group: &Group, name: &str) -> Result<(), Error> {
    let names = || group.request.fields().iter().map(|field| field.name().as_str());
    if names().any(|known| known == name) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "rows of the log were not asked with `{name}`{} · they were with {}",
        did_you_mean(name, names()),
        names().collect::<Vec<_>>().join(", ")
    )))
}

/// Ids that are NULL, for answers of which none has any.
pub fn request_ids(kept: &Kept) -> StringArray {
    kept.logged.as_ref().map_or_else(|| StringArray::new_null(kept.len()), |logged| logged.request_ids.clone())
}
