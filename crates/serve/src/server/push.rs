//! Events that are pushed: read, checked and handed on, whatever the protocol.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use lockstep_model::{Error, EventTime};
use lockstep_transform::catalog::SourcePlan;
use lockstep_transform::definition::suggestion;

use super::failure::Failure;
use super::service::Service;

/// The column that says which rows delete their key.
const TOMBSTONE: &str = "_tombstone";

/// Events of a source, found to be some.
#[derive(Debug)]
pub struct Pushed {
    source: Arc<SourcePlan>,
    rows: RecordBatch,
    heartbeat: Option<i64>,
}

/// The source of a push.
///
/// # Errors
/// NotFound where there is none of that name; Unavailable where nothing is applied here.
pub fn source(service: &Service, name: &str) -> Result<Arc<SourcePlan>, Error> {
    if service.pushes.is_none() {
        return Err(Error::unavailable("this server applies nothing: it runs with --no-ingest · push to the one that does"));
    }
    let sources = &service.live.definitions().catalog.sources;
    if sources.get(name).is_some_and(|source| source.predicted_by.is_some()) {
        let what = format!("`{name}` are predictions, and events of theirs come of runs alone");
        return Err(Error::invalid(format!("{what} · `lockstep score … --publish {name}` makes one")));
    }
    sources.get(name).cloned().ok_or_else(|| {
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        let meant = suggestion(name, names.iter().copied()).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"));
        Error::not_found(format!("no source named `{name}` · there are: {}{meant}", names.join(", ")))
    })
}

impl Pushed {
    /// Finds the columns of a push. `read` reads the values of one; those that are not given are NULL.
    ///
    /// # Errors
    /// Invalid where a column is unknown, given twice or of another length, or a row has no event time or primary key.
    pub fn new(
        source: Arc<SourcePlan>,
        given: &[&str],
        tombstones: &[bool],
        heartbeat: Option<i64>,
        read: impl Fn(usize, &DataType) -> Result<ArrayRef, Error>,
    ) -> Result<Pushed, Error> {
        let fields = source.schema.fields();
        if let Some(unknown) = given.iter().find(|name| fields.find(name).is_none()) {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            let meant = suggestion(unknown, names.iter().copied()).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"));
            return Err(Error::invalid(format!("source `{}` has no column `{unknown}` · columns: {}{meant}", source.name, names.join(", "))));
        }
        if let Some((_, twice)) = given.iter().enumerate().find(|(at, name)| given[..*at].contains(name)) {
            return Err(Error::invalid(format!("column `{twice}` is given twice")));
        }
        let column = |field: &Arc<Field>| {
            let at = given.iter().position(|name| name == field.name());
            let named = |error: Error| Error::new(error.kind(), format!("column `{}`: {error}", field.name()));
            at.map(|at| read(at, field.data_type()).map_err(named)).transpose()
        };
        let columns = fields.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let rows = columns.iter().flatten().next().map_or(0, |column| column.len());
        let rows = batch(&source, columns, rows, tombstones)?;
        check_keys(&source, &rows)?;
        Ok(Pushed { source, rows, heartbeat })
    }

    /// Hands them on, and waits until they are on the disk.
    ///
    /// # Errors
    /// As [`crate::Pushes::append`].
    pub fn append(self, service: &Service) -> Result<Range<u64>, Failure> {
        let Pushed { source, rows, heartbeat } = self;
        let pushes = service.pushes.as_ref().ok_or_else(|| Error::internal("a source was found where nothing is applied"))?;
        let mut appended = pushes.append(&source, rows)?;
        if let Some(heartbeat) = heartbeat {
            let beaten = pushes.heartbeat(&source, EventTime(heartbeat))?;
            // A heartbeat alone is all there is.
            appended = if appended.is_empty() { beaten } else { appended.start..beaten.end };
        }
        Ok(appended)
    }
}

fn batch(source: &SourcePlan, columns: Vec<Option<ArrayRef>>, rows: usize, tombstones: &[bool]) -> Result<RecordBatch, Error> {
    let mut fields: Vec<Arc<Field>> = source.schema.fields().iter().cloned().collect();
    let mut arrays = Vec::with_capacity(fields.len() + 1);
    for (field, column) in fields.iter().zip(columns) {
        let column = column.unwrap_or_else(|| new_null_array(field.data_type(), rows));
        if column.len() != rows {
            return Err(Error::invalid(format!("column `{}` has {} values, and others have {rows}", field.name(), column.len())));
        }
        arrays.push(column);
    }
    if !tombstones.is_empty() {
        if tombstones.len() != rows {
            return Err(Error::invalid(format!("{} tombstones are given for {rows} events · give one for each, or none", tombstones.len())));
        }
        fields.push(Arc::new(Field::new(TOMBSTONE, DataType::Boolean, true)));
        arrays.push(Arc::new(BooleanArray::from(tombstones.to_vec())));
    }
    let schema = Arc::new(Schema::new(fields.into_iter().collect::<Fields>()));
    RecordBatch::try_new(schema, arrays).map_err(|error| Error::internal("columns as declared").caused_by(error))
}

/// Refuses at once what would only be put aside later, since whoever can mend it is here now.
fn check_keys(source: &SourcePlan, rows: &RecordBatch) -> Result<(), Error> {
    let tombstones = rows.column_by_name(TOMBSTONE);
    let deletes = |row: usize| tombstones.and_then(|column| column.as_any().downcast_ref::<BooleanArray>()).is_some_and(|column| column.value(row));
    for &key in &source.primary_key {
        if let Some(row) = (0..rows.num_rows()).find(|&row| rows.column(key).is_null(row)) {
            return Err(Error::invalid(format!("event {row} has no `{}`, which is of the primary key", source.schema.field(key).name())));
        }
    }
    match (0..rows.num_rows()).find(|&row| rows.column(source.event_time).is_null(row) && !deletes(row)) {
        Some(row) => Err(Error::invalid(format!("event {row} has no `{}`, which is its time", source.schema.field(source.event_time).name()))),
        None => Ok(()),
    }
}
