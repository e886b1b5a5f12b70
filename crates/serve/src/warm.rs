//! Warming up: the first request is not to wait for what every later one finds in memory.

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::Fields;
use lockstep_model::{Error, ErrorKind, EventTime};
use lockstep_store::CutRead;
use lockstep_transform::tiles::Request;
use lockstep_transform::transformation::Transformation;
use std::sync::Arc;

use crate::LookupRequest;
use crate::live::{Live, Reach, State};

/// Entities of each view that are looked up.
const ENTITIES: usize = 512;
/// Of one batch.
const BATCH: usize = 64;

/// Looks up some entities of every view, and a row of NULLs of every service: indexes, filters and blocks near the root come into the cache, and code into
/// the processor's.
///
/// # Errors
/// Where the store cannot be read.
pub fn warm(live: &Live) -> Result<(), Error> {
    let (state, now) = (live.state(Reach::Disk)?, live.now());
    for (name, view) in &state.catalog().views {
        if state.served.generation(name).is_some() {
            warm_view(&state, name, view, now)?;
        }
    }
    for (name, service) in &state.catalog().services {
        if service.joins.iter().all(|join| state.served.generation(&join.view).is_some()) {
            let row = nulls(service.request.fields())?;
            let asked =
                state.served.lookup(state.cut(Reach::Disk), &LookupRequest { name, rows: &row, moments: &[now.0], time: None, explain: false });
            match asked {
                // NULLs are no event; its views are warm.
                Err(error) if service.request_as.is_some() && error.kind() == ErrorKind::Invalid => {}
                asked => drop(asked?),
            }
        }
    }
    // What every full response says.
    state.catalog().views.keys().try_for_each(|view| state.standing(view, Reach::Disk).map(|_| ()))
}

fn warm_view(state: &State, name: &str, view: &Transformation, now: EventTime) -> Result<(), Error> {
    let Some(info) = state.served.generation(name) else { return Ok(()) };
    let cut: &dyn CutRead = state.cut(Reach::Disk);
    let mut entities: Vec<Vec<u8>> = Vec::new();
    let mut enough = false;
    let seen = cut.each_entity(info.generation, &mut |entity, _| {
        entities.push(entity.to_vec());
        enough = entities.len() == ENTITIES;
        if enough { Err(Error::unavailable("enough")) } else { Ok(()) }
    });
    if !enough {
        seen?;
    }
    let (view_state, time) = (cut.state(info.generation), state.catalog().time_mode(view));
    for entities in entities.chunks(BATCH) {
        let requests: Vec<Request<'_>> = entities.iter().map(|entity| Request { entity, at: now.0 }).collect();
        view.read_at(&view_state, &requests, time, None)?;
    }
    Ok(())
}

fn nulls(fields: &Fields) -> Result<RecordBatch, Error> {
    let columns = fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    let fields: Fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| Error::internal("NULLs of declared types").caused_by(error))
}
