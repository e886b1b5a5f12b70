//! Scores in the process of a Rust service: no server, no network, the bits that a server would answer. Run it in the directory of a project with a deployment:
//!
//!     cargo run --release --example embed -- .lockstep/store fraud card=c1 amount=250 country=FR

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::util::pretty::pretty_format_columns;
use lockstep_ingest::admission::AdmitNext;
use lockstep_model::SystemClock;
use lockstep_serve::Lags;
use lockstep_serve::live::Live;
use lockstep_serve::scoring::{Models, Scored, Scorer};
use lockstep_serve::server::BreakerSettings;
use lockstep_store::{Store, StoreOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, deployment, columns @ ..] = arguments.as_slice() else { return Err("embed STORE DEPLOYMENT COLUMN=VALUE …".into()) };
    let scorer = open(Path::new(store))?;
    let given: Vec<(&str, &str)> = columns.iter().filter_map(|column| column.split_once('=')).collect();
    let scored = score(&scorer, deployment, &given)?;
    for (field, values) in scorer.predicts(deployment)?.fields().iter().zip(&scored.predictions) {
        println!("{}", pretty_format_columns(field.name(), std::slice::from_ref(values))?);
    }
    println!("by {:?}", scored.ways[0]);
    Ok(())
}

/// Opens a store, which this process owns from then on, and loads the models that are deployed in what serves. A service does this once.
pub fn open(store: &Path) -> Result<Scorer, Box<dyn Error>> {
    let store = Arc::new(Store::open(store, StoreOptions::new("embed"))?);
    let models = Models::new(store.models(), BreakerSettings::default(), Arc::new(SystemClock));
    let live = Live::new(store, Arc::new(SystemClock), Arc::new(Lags::default()), Arc::new(AdmitNext))?;
    Ok(Scorer::new(Arc::new(live.scoring(models)?)))
}

/// Scores one row now, of texts that are cast to what the deployment is asked with. A service has its columns as they are.
pub fn score(scorer: &Scorer, deployment: &str, given: &[(&str, &str)]) -> Result<Scored, Box<dyn Error>> {
    let schema = scorer.asked_with(deployment)?;
    let column = |name: &str, data_type| {
        let value = given.iter().find(|(column, _)| *column == name).map(|(_, value)| *value);
        let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
        cast(&text, data_type)
    };
    let columns = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect::<Result<Vec<_>, _>>()?;
    Ok(scorer.score(deployment, &RecordBatch::try_new(schema, columns)?, &[])?)
}
