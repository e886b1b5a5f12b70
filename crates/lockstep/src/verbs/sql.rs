//! `sql`: a query over histories, training sets and other files.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::Args;
use lockstep_ingest::source::Format;
use lockstep_model::Error;
use parquet::arrow::ArrowWriter;

use super::Context;
use crate::failure::Outcome;
use crate::query::Query;
use crate::table::{Align, Table};
use crate::text::{counted, grouped};

const EXAMPLES: &str = "\
Examples:
  lockstep sql 'SELECT carrier, count(*) FROM departures GROUP BY carrier'
  lockstep sql 'SELECT label, avg(payments_1h) FROM \"train/\" GROUP BY label'
  lockstep sql 'SELECT card, paid_at AS request_time FROM payments' --out spine.parquet";

/// Query histories, training sets and other files
///
/// Tables are the sources, of the types that are declared, and files or directories by their paths in double quotes. DataFusion runs the query; nothing is changed by
/// it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The query
    pub query: String,
    /// Show at most so many rows
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "out")]
    pub limit: usize,
    /// Write all rows to a Parquet, CSV or NDJSON file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Runs a query.
///
/// # Errors
/// As [`Query::start`]; where the file cannot be written.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    // A directory of files has no definitions, and can be queried all the same.
    let catalog = if project.definitions.is_dir() { Some(project.catalog()?) } else { None };
    let mut query = Query::start(catalog.as_ref(), &project.dir, &arguments.query, project.config.threads())?;
    if query.left_out > 0 {
        context.out.say(&format!(
            "{} {} could not be read and left out",
            context.out.err().yellow("warning:"),
            counted(query.left_out, "row", "rows")
        ));
    }
    match &arguments.out {
        Some(out) => {
            let rows = write(&mut query, out)?;
            context.out.say(&format!("{} in {}", counted(rows, "row", "rows"), out.display()));
        }
        None if context.out.json => show_json(context, &mut query, arguments.limit)?,
        None => show(context, &mut query, arguments.limit)?,
    }
    Ok(Outcome::Fine)
}

/// The first rows, and whether there are more.
fn first(query: &mut Query, limit: usize) -> Result<(Vec<RecordBatch>, bool)> {
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = query.next()? {
        let room = limit - rows;
        if batch.num_rows() > room {
            batches.push(batch.slice(0, room));
            return Ok((batches, true));
        }
        rows += batch.num_rows();
        batches.push(batch);
    }
    Ok((batches, false))
}

fn show(context: &Context, query: &mut Query, limit: usize) -> Result<()> {
    let schema = query.schema();
    let align = |numeric: bool| if numeric { Align::Right } else { Align::Left };
    let columns: Vec<(&str, Align)> = schema.fields().iter().map(|field| (field.name().as_str(), align(field.data_type().is_numeric()))).collect();
    let mut table = Table::new(&columns);
    let (batches, more) = first(query, limit)?;
    let options = FormatOptions::default().with_null("NULL");
    for batch in &batches {
        let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.row(formatters.iter().map(|formatter| formatter.value(row).to_string().into()));
        }
    }
    context.out.print(&table.render(context.out.out()))?;
    if more {
        context.out.say(&format!("the first {} rows · --limit shows more, --out writes all", grouped(limit as u64)));
    }
    Ok(())
}

fn show_json(context: &Context, query: &mut Query, limit: usize) -> Result<()> {
    let (batches, _) = first(query, limit)?;
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let mut text = writer.into_inner();
    if text.is_empty() {
        text.extend_from_slice(b"[]");
    }
    text.push(b'\n');
    Ok(context.out.write(&text)?)
}

/// Writes all rows; how many there are.
///
/// # Errors
/// Invalid where the name says no format; as writing does.
pub fn write(query: &mut Query, out: &Path) -> Result<u64> {
    let name = out.display().to_string();
    let format = Format::of(&name)
        .ok_or_else(|| Error::invalid(format!("the name of `{name}` does not say its format · give it the ending .parquet, .csv or .ndjson")))?;
    // Under another name until it is whole.
    let mut file = tempfile::NamedTempFile::new_in(out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        .with_context(|| format!("make {name}"))?;
    let rows = write_as(query, format, file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(out).with_context(|| format!("make {name}"))?;
    Ok(rows)
}

fn write_as(query: &mut Query, format: Format, file: &mut File) -> Result<u64> {
    let mut rows = 0;
    let mut buffered = io::BufWriter::new(file);
    match format {
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(&mut buffered, query.schema(), None)?;
            while let Some(batch) = query.next()? {
                rows += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            writer.close()?;
        }
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut buffered);
            while let Some(batch) = query.next()? {
                rows += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
        }
        Format::Ndjson => {
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut buffered);
            while let Some(batch) = query.next()? {
                rows += batch.num_rows() as u64;
                writer.write(&batch)?;
            }
            writer.finish()?;
        }
    }
    buffered.flush()?;
    Ok(rows)
}
