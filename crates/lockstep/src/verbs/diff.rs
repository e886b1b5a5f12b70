//! `diff`: in what two training sets differ, and why.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_row::{RowConverter, SortField};
use clap::Args;
use lockstep_model::Error;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::table::{Align, Cell, Table};
use crate::text::{counted, grouped};
use crate::train::{InputFile, Job, Manifest, Scores};
use crate::verify::same_at;

/// Examples of a feature.
const EXAMPLES_MAX: usize = 3;

const EXAMPLES: &str = "\
Examples:
  lockstep diff train_may/ train_june/
  lockstep diff old.parquet new.parquet --key account,request_time";

/// Compare two training sets, by key and feature
///
/// Rows are matched by what was asked and when (or by --key); values are compared as bits. What the manifests say is told as causes: other definitions, another clock,
/// other files. Exits with 1 if anything differs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A training set, or a Parquet file
    pub a: PathBuf,
    /// Another
    pub b: PathBuf,
    /// The columns that rows are matched by; by default what was asked, and the timestamp
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub key: Vec<String>,
}

/// In what two training sets differ.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SetsDiffer {
    /// The columns that rows were matched by.
    pub key: Vec<String>,
    /// Rows of the first.
    pub rows_a: u64,
    /// Rows of the second.
    pub rows_b: u64,
    /// Rows that both have.
    pub matched: u64,
    /// Columns that only one has, or of another type.
    pub columns: Vec<String>,
    /// Each column that both have and that is no key, in order.
    pub features: Vec<FeatureDiffers>,
    /// What the manifests say about it.
    pub causes: Vec<String>,
}

/// In what the values of a feature differ.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeatureDiffers {
    /// Its name.
    pub name: String,
    /// How many values differ, of the rows that both have.
    pub differing: u64,
    /// Of these, how many are NULL on one side.
    pub null_on_one_side: u64,
    /// The largest difference of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<f64>,
    /// Some of them: key, value, other value.
    pub examples: Vec<[String; 3]>,
}

/// A training set, or a file.
struct Set {
    rows: RecordBatch,
    manifest: Option<Manifest>,
}

/// Compares two training sets.
///
/// # Errors
/// NotFound where there is none; Invalid where they have no key in common.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let (a, b) = (Set::open(&arguments.a)?, Set::open(&arguments.b)?);
    let report = compare(&a, &b, &arguments.key)?;
    context.out.show(&report)?;
    let same = report.matched == report.rows_a && report.rows_a == report.rows_b && report.columns.is_empty();
    Ok(Outcome::of(same && report.features.iter().all(|feature| feature.differing == 0)))
}

impl Set {
    fn open(path: &Path) -> Result<Set> {
        if path.is_file() {
            return Ok(Set { rows: read(&[path.to_owned()])?, manifest: None });
        }
        let name = path.display();
        let text = fs::read_to_string(path.join("manifest.json"))
            .map_err(|_| Error::not_found(format!("{name} is no training set: it has no manifest.json · name one, or a Parquet file")))?;
        let manifest: Manifest = serde_json::from_str(&text).with_context(|| format!("read {name}/manifest.json"))?;
        let files: Vec<PathBuf> = manifest.parts.iter().map(|part| path.join(&part.file)).collect();
        Ok(Set { rows: read(&files)?, manifest: Some(manifest) })
    }

    /// What its rows were asked with, and when.
    fn key(&self) -> Vec<String> {
        let columns = self.manifest.iter().flat_map(|manifest| &manifest.columns);
        columns.filter(|column| column.role == "request" || column.role == "timestamp").map(|column| column.name.clone()).collect()
    }

    /// The rows by their keys, where one that comes again is another.
    fn by_key(&self, key: &[String]) -> Result<HashMap<Vec<u8>, usize>> {
        let columns = key.iter().map(|name| {
            let column = self.rows.column_by_name(name);
            column.cloned().ok_or_else(|| Error::invalid(format!("there is no column `{name}` to match rows by")))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_, Error>>()?;
        let converter = RowConverter::new(columns.iter().map(|column| SortField::new(column.data_type().clone())).collect())?;
        let rows = converter.convert_columns(&columns)?;
        let mut by_key = HashMap::with_capacity(self.rows.num_rows());
        let mut times: HashMap<Vec<u8>, u32> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let mut bytes = row.as_ref().to_vec();
            let time = times.entry(bytes.clone()).or_default();
            bytes.extend_from_slice(&time.to_be_bytes());
            *time += 1;
            by_key.insert(bytes, at);
        }
        Ok(by_key)
    }
}

fn read(files: &[PathBuf]) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    let mut schema = None;
    for path in files {
        let open = || -> Result<ParquetRecordBatchReaderBuilder<File>> { Ok(ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?) };
        let builder = open().with_context(|| format!("read {}", path.display()))?;
        schema.get_or_insert_with(|| builder.schema().clone());
        for batch in builder.build()? {
            batches.push(batch.with_context(|| format!("read {}", path.display()))?);
        }
    }
    let schema = schema.ok_or_else(|| Error::data("a training set without files"))?;
    Ok(concat_batches(&schema, &batches)?)
}

fn compare(a: &Set, b: &Set, key: &[String]) -> Result<SetsDiffer> {
    let key = if key.is_empty() {
        let key = if a.manifest.is_some() { a.key() } else { b.key() };
        if key.is_empty() {
            return Err(Error::invalid("nothing says what rows are matched by · name the columns with --key").into());
        }
        key
    } else {
        key.to_vec()
    };
    let (of_a, of_b) = (a.by_key(&key)?, b.by_key(&key)?);
    let mut pairs: Vec<(usize, usize)> = of_a.iter().filter_map(|(key, &row)| Some((row, *of_b.get(key)?))).collect();
    pairs.sort_unstable();
    let (schema_a, schema_b) = (a.rows.schema(), b.rows.schema());
    let mut columns = Vec::new();
    let mut features = Vec::new();
    for field in schema_a.fields().iter().filter(|field| !key.contains(field.name())) {
        match schema_b.field_with_name(field.name()) {
            Err(_) => columns.push(format!("`{}` is only in the first", field.name())),
            Ok(other) if other.data_type() != field.data_type() => {
                columns.push(format!("`{}` is {} in the first and {} in the second", field.name(), field.data_type(), other.data_type()));
            }
            Ok(_) => features.push(feature(field.name(), a, b, &key, &pairs)?),
        }
    }
    let only_b = schema_b.fields().iter().filter(|field| schema_a.field_with_name(field.name()).is_err());
    columns.extend(only_b.map(|field| format!("`{}` is only in the second", field.name())));
    Ok(SetsDiffer {
        rows_a: a.rows.num_rows() as u64,
        rows_b: b.rows.num_rows() as u64,
        matched: pairs.len() as u64,
        key,
        columns,
        features,
        causes: causes(a.manifest.as_ref(), b.manifest.as_ref()),
    })
}

fn feature(name: &str, a: &Set, b: &Set, key: &[String], pairs: &[(usize, usize)]) -> Result<FeatureDiffers> {
    let column = |set: &Set| set.rows.column_by_name(name).cloned().ok_or_else(|| Error::internal("a column that was there"));
    let (x, y) = (column(a)?, column(b)?);
    let mut report = FeatureDiffers { name: name.to_owned(), differing: 0, null_on_one_side: 0, largest: None, examples: Vec::new() };
    let numbers = (x.data_type().is_numeric()).then(|| Some((cast(&x, &DataType::Float64).ok()?, cast(&y, &DataType::Float64).ok()?))).flatten();
    let options = FormatOptions::default().with_null("NULL");
    let (shown_x, shown_y) = (ArrayFormatter::try_new(&x, &options)?, ArrayFormatter::try_new(&y, &options)?);
    for &(row_x, row_y) in pairs {
        if same_at(&x, row_x, &y, row_y) {
            continue;
        }
        report.differing += 1;
        report.null_on_one_side += u64::from(x.is_null(row_x) != y.is_null(row_y));
        if let Some((x, y)) = &numbers {
            let (x, y) = (x.as_primitive::<Float64Type>(), y.as_primitive::<Float64Type>());
            let apart = (x.is_valid(row_x) && y.is_valid(row_y)).then(|| (x.value(row_x) - y.value(row_y)).abs()).filter(|apart| !apart.is_nan());
            report.largest = report.largest.max_by(apart);
        }
        if report.examples.len() < EXAMPLES_MAX {
            report.examples.push([shown_key(a, key, row_x)?, shown_x.value(row_x).to_string(), shown_y.value(row_y).to_string()]);
        }
    }
    Ok(report)
}

/// The greater of two numbers that may be missing.
trait MaxBy {
    fn max_by(self, other: Self) -> Self;
}

impl MaxBy for Option<f64> {
    fn max_by(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        }
    }
}

fn shown_key(set: &Set, key: &[String], row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let shown = key.iter().filter_map(|name| set.rows.column_by_name(name).map(|column| (name, column))).map(|(name, column)| {
        let formatter = ArrayFormatter::try_new(column, &options)?;
        Ok(format!("{name}={}", formatter.value(row)))
    });
    Ok(shown.collect::<Result<Vec<_>>>()?.join(" "))
}

/// In what the jobs of two training sets differ.
fn causes(a: Option<&Manifest>, b: Option<&Manifest>) -> Vec<String> {
    let (Some(a), Some(b)) = (a, b) else { return vec!["one of them has no manifest: nothing says what it was made from".to_owned()] };
    let (a, b) = (&a.job, &b.job);
    let mut causes = Vec::new();
    let mut tell = |differs: bool, text: String| causes.extend(differs.then_some(text));
    tell(a.name != b.name, format!("they are of `{}` and of `{}`", a.name, b.name));
    for view in &a.views {
        if let Some(other) = b.views.iter().find(|other| other.view == view.view) {
            tell(other.meaning != view.meaning, format!("the view `{}` means something else", view.view));
        }
    }
    tell(a.name == b.name && a.meaning != b.meaning && a.views == b.views, format!("the service `{}` means something else", a.name));
    let is_served = |job: &Job| job.from_log.is_some();
    tell(is_served(a) && !is_served(b), "the first is what was served, the second is computed from history".to_owned());
    tell(!is_served(a) && is_served(b), "the first is computed from history, the second is what was served".to_owned());
    let is_of_store = |job: &Job| job.from_store.is_some();
    if !is_served(a) && !is_served(b) {
        let (whole, files) = ("all that a store had applied", "batch files");
        tell(is_of_store(a) && !is_of_store(b), format!("the first is computed from {whole}, the second from {files}"));
        tell(!is_of_store(a) && is_of_store(b), format!("the first is computed from {files}, the second from {whole}"));
    }
    if let (Some(a), Some(b)) = (&a.scores, &b.scores) {
        tell(a.models != b.models, format!("they are scored by {}, and by {}", models(a), models(b)));
    }
    tell(a.time != b.time, format!("events are counted in {} time, and in {} time", a.time, b.time));
    tell(a.before != b.before, "rows are asked at other distances before their timestamps".to_owned());
    tell(a.until != b.until, format!("what was known is read until {} and until {}", shown_until(a.until.as_ref()), shown_until(b.until.as_ref())));
    tell(a.release != b.release, format!("they were made by releases {} and {}", a.release, b.release));
    // What was served says in other ways what it was read from.
    if is_served(a) || is_served(b) {
        tell(is_served(a) && is_served(b) && a.spine != b.spine, "they are of other files of the log".to_owned());
        return causes;
    }
    let (inputs_a, inputs_b) = (by_file(&a.inputs), by_file(&b.inputs));
    for (at, input) in &inputs_a {
        let file = shown_input(input);
        match inputs_b.get(at) {
            None => tell(true, format!("{file} is read for the first only")),
            Some(other) => tell(
                (other.size, &other.identity, other.rows) != (input.size, &input.identity, input.rows),
                format!("{file} is not the same: it had {} and has {}", rows_of(input), rows_of(other)),
            ),
        }
    }
    let only_b = inputs_b.iter().filter(|(at, _)| !inputs_a.contains_key(*at));
    only_b.for_each(|(_, input)| tell(true, format!("{} is read for the second only", shown_input(input))));
    causes
}

/// The models of scores, each with its hash.
fn models(scores: &Scores) -> String {
    let models = scores.models.iter().map(|used| format!("{} ({})", used.model, used.sha256.get(..12).unwrap_or(&used.sha256)));
    models.collect::<Vec<_>>().join(", ")
}

/// Inputs by source and place.
fn by_file(inputs: &[InputFile]) -> BTreeMap<(Option<&str>, &str), &InputFile> {
    inputs.iter().map(|input| ((input.source.as_deref(), input.file.as_str()), input)).collect()
}

/// An input for people: what is pushed has the name of its source alone.
fn shown_input(input: &InputFile) -> String {
    match &input.source {
        Some(source) if input.file == "push" => format!("what was pushed to `{source}`"),
        _ => input.file.clone(),
    }
}

fn shown_until(until: Option<&String>) -> &str {
    until.map_or("the end", String::as_str)
}

fn rows_of(input: &InputFile) -> String {
    input.rows.map_or_else(|| "other bytes".to_owned(), |rows| counted(rows, "row", "rows"))
}

impl Report for SetsDiffer {
    fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let differing = self.features.iter().filter(|feature| feature.differing > 0).count();
        let _ = writeln!(
            out,
            "{} and {}, {} in both (by {})",
            counted(self.rows_a, "row", "rows"),
            grouped(self.rows_b),
            grouped(self.matched),
            self.key.join(", ")
        );
        if differing == 0 {
            let text = format!("{} the same in every bit", if self.features.len() == 1 { "the column is" } else { "all columns are" });
            let _ = writeln!(out, "  {}", paint.green(text));
        } else {
            let mut table = Table::new(&[
                ("column", Align::Left),
                ("differ", Align::Right),
                ("of rows", Align::Right),
                ("largest", Align::Right),
                ("such as", Align::Left),
            ])
            .indented(2);
            for feature in self.features.iter().filter(|feature| feature.differing > 0) {
                let share = format!("{:.2} %", 100.0 * feature.differing as f64 / self.matched.max(1) as f64);
                let largest = feature.largest.map_or_else(|| "–".to_owned(), |largest| format!("{largest:.6}"));
                let example = feature.examples.first().map_or_else(String::new, |[key, x, y]| format!("{x} → {y} at {key}"));
                let cells: [Cell; 5] = [feature.name.clone().into(), grouped(feature.differing).into(), share.into(), largest.into(), example.into()];
                table.row(cells);
            }
            out.push_str(&table.render(paint));
            let _ = writeln!(out, "  {} of {} differ", counted(differing as u64, "column", "columns"), self.features.len());
        }
        self.columns.iter().for_each(|column| {
            let _ = writeln!(out, "  {}", paint.yellow(column));
        });
        if !self.causes.is_empty() {
            let _ = writeln!(out, "  {}", paint.bold("what their manifests say:"));
            self.causes.iter().for_each(|cause| {
                let _ = writeln!(out, "  · {cause}");
            });
        }
        out
    }
}
