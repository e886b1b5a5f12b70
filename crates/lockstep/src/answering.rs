//! Requests answered while a log is applied: each as soon as the log has come to its moment, as if the log were happening now.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use lockstep_model::EventTime;
use lockstep_serve::{LookupRequest, Served};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;

use crate::kept::{self, Kept};
use crate::requests::{self, Requests};

/// Most requests of one lookup.
const BATCH: usize = 4096;

/// Requests that wait for their moment, and where the answers go.
pub struct Answering<'a> {
    store: &'a dyn OnlineStore,
    catalog: Arc<Catalog>,
    name: String,
    requests: Requests,
    /// Places of the requests that wait, the earliest moment last.
    waiting: Vec<u32>,
    keep: PathBuf,
    /// Answers given in this run.
    pub answered: u64,
}

impl std::fmt::Debug for Answering<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answering").field("name", &self.name).field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl<'a> Answering<'a> {
    /// Reads the requests in `from`. Those that `keep` holds answers to already are left out.
    ///
    /// # Errors
    /// As [`requests::read`]; Invalid where a request has no moment.
    pub fn new(store: &'a dyn OnlineStore, catalog: Arc<Catalog>, name: &str, from: &str, keep: PathBuf) -> Result<Answering<'a>> {
        let requests = requests::read(name, &requests::columns(&catalog, name)?, from)?;
        if let Some(row) = requests.moments.iter().position(Option::is_none) {
            let message = format!("row {} of {from} has no `{}` · requests are answered as the log comes to their moment", row + 1, requests::MOMENT);
            return Err(lockstep_model::Error::invalid(message).into());
        }
        let done: BTreeSet<u64> = kept::numbers(&keep)?.into_iter().collect();
        let mut waiting: Vec<u32> = (0..requests.moments.len() as u32).filter(|row| !done.contains(&u64::from(*row))).collect();
        waiting.sort_by_key(|&row| std::cmp::Reverse((requests.moments[row as usize], row)));
        Ok(Answering { store, catalog, name: name.to_owned(), requests, waiting, keep, answered: 0 })
    }

    /// Answers and keeps every request whose moment the log has come to; all of them where it has ended.
    ///
    /// # Errors
    /// As a lookup; where the answers cannot be kept.
    pub fn come_to(&mut self, watermark: Option<EventTime>) -> Result<()> {
        loop {
            let due = |row: &u32| watermark.is_none_or(|watermark| self.requests.moments[*row as usize] <= Some(watermark.0));
            let count = self.waiting.iter().rev().take(BATCH).take_while(|row| due(row)).count();
            if count == 0 {
                return Ok(());
            }
            let rows: Vec<u32> = self.waiting.split_off(self.waiting.len() - count).into_iter().rev().collect();
            self.answer(&rows)?;
        }
    }

    fn answer(&mut self, rows: &[u32]) -> Result<()> {
        let batch = take_record_batch(&self.requests.rows, &UInt32Array::from(rows.to_vec()))?;
        let moments: Vec<i64> = rows.iter().filter_map(|&row| self.requests.moments[row as usize]).collect();
        let cut = self.store.cut();
        let served = Served::new(Arc::clone(&self.catalog), &*cut)?;
        let request = LookupRequest { name: &self.name, rows: &batch, moments: &moments, time: None, explain: false };
        let lookup = served.lookup(&*cut, &request)?;
        let numbers = rows.iter().map(|&row| u64::from(row)).collect();
        Kept::new(&self.name, &*cut, &lookup, numbers, moments, batch)?.write(&self.keep)?;
        self.answered += rows.len() as u64;
        Ok(())
    }
}
