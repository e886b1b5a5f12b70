//! SQL over what is in files: the histories of sources as they are declared, training sets, and any Parquet, CSV or NDJSON.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext};
use datafusion::sql::resolve::resolve_table_references;
use futures::StreamExt;
use lockstep_ingest::pipeline::{dialect_of, file_format, schema_of};
use lockstep_ingest::source::{Format, ReadRequest, SourceReader, Stores, locate};
use lockstep_model::Error;
use lockstep_transform::catalog::{Catalog, SourcePlan};
use tokio::runtime::Runtime;

use crate::text::did_you_mean;

/// A query that runs.
pub struct Query {
    runtime: Runtime,
    stream: SendableRecordBatchStream,
    /// Rows of sources that could not be read, and are left out.
    pub left_out: u64,
}

impl Query {
    /// Starts a query. Names of sources are tables of their batch files; other names are paths or patterns, in double quotes.
    ///
    /// # Errors
    /// Invalid where it is no query, or names what is not there; as reading does.
    pub fn start(catalog: Option<&Catalog>, base: &Path, sql: &str, threads: usize) -> Result<Query> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build()?;
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads.max(1)));
        let mut left_out = 0;
        let statement = context.state().sql_to_statement(sql, &datafusion::config::Dialect::Generic).map_err(invalid)?;
        let (tables, _) = resolve_table_references(&statement, true).map_err(invalid)?;
        for table in tables {
            left_out += runtime.block_on(register(&context, catalog, base, &table))?;
        }
        let stream = runtime.block_on(async {
            // A query reads: nothing is made, changed or written by it.
            let options = datafusion::execution::context::SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            context.sql_with_options(sql, options).await?.execute_stream().await
        });
        Ok(Query { runtime, stream: stream.map_err(invalid)?, left_out })
    }

    /// Names and types of its columns.
    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.stream.schema()
    }

    /// The next rows.
    ///
    /// # Errors
    /// As reading and computing do.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.runtime.block_on(self.stream.next()).transpose().map_err(invalid)?)
    }
}

/// What DataFusion says of a query is about the query.
fn invalid(error: datafusion::error::DataFusionError) -> Error {
    Error::invalid(error.strip_backtrace())
}

/// Makes a table known; how many of its rows could not be read.
async fn register(context: &SessionContext, catalog: Option<&Catalog>, base: &Path, table: &TableReference) -> Result<u64> {
    let name = table.table();
    if let Some(source) = catalog.and_then(|catalog| catalog.sources.get(name)).filter(|_| table.schema().is_none()) {
        let (rows, left_out) = source_rows(source, base)?;
        context.register_table(table.clone(), Arc::new(MemTable::try_new(Arc::clone(&source.schema), vec![rows])?))?;
        return Ok(left_out);
    }
    let path = Path::new(name);
    let unknown = || {
        let sources: Vec<&str> = catalog.into_iter().flat_map(|catalog| catalog.sources.keys().map(String::as_str)).collect();
        let known = if sources.is_empty() { String::new() } else { format!(" · sources: {}", sources.join(", ")) };
        let meant = did_you_mean(name, sources.iter().copied());
        Error::not_found(format!("no source and no file `{name}`{meant}{known} · a path stands in double quotes, as in FROM \"train/\""))
    };
    if path.is_dir() {
        context.register_parquet(table.clone(), &with_slash(name), ParquetReadOptions::default()).await?;
        return Ok(0);
    }
    if !name.contains(['*', '?', '[']) && !path.exists() {
        return Err(unknown().into());
    }
    match Format::of(name) {
        Some(Format::Parquet) => context.register_parquet(table.clone(), name, ParquetReadOptions::default()).await?,
        Some(Format::Csv) => context.register_csv(table.clone(), name, CsvReadOptions::new().file_extension(extension(name))).await?,
        Some(Format::Ndjson) => context.register_json(table.clone(), name, JsonReadOptions::default().file_extension(extension(name))).await?,
        None => return Err(unknown().into()),
    }
    Ok(0)
}

fn with_slash(name: &str) -> String {
    if name.ends_with('/') { name.to_owned() } else { format!("{name}/") }
}

fn extension(name: &str) -> &str {
    name.rfind('.').map_or("", |at| &name[at..])
}

/// All rows of a source's batch files, of the declared types.
fn source_rows(source: &SourcePlan, base: &Path) -> Result<(Vec<RecordBatch>, u64)> {
    if source.options.batch.is_empty() {
        return Err(Error::invalid(format!("source `{}` has no batch files", source.name)).into());
    }
    let (mut rows, mut left_out) = (Vec::new(), 0);
    for location in &source.options.batch {
        for file in locate(location, base, &Stores::local())? {
            let request = ReadRequest { csv: dialect_of(source), ..ReadRequest::new(schema_of(source), file_format(source, &file)?) };
            let mut reader = SourceReader::open(&file, request)?;
            while let Some(chunk) = reader.next_chunk()? {
                for batch in chunk.batches {
                    left_out += batch.bad.len() as u64;
                    rows.push(RecordBatch::try_new(Arc::clone(&source.schema), batch.batch.columns().to_vec())?);
                }
            }
        }
    }
    Ok((rows, left_out))
}
