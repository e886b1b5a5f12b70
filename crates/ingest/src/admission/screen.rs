//! What is decided of a row by its log alone: dead letters and lateness.

use lockstep_model::EventTime;
use lockstep_store::{Counters, DeadLetter, Refusal};
use xxhash_rust::xxh3::xxh3_64;

use super::batch::{Batch, Fault, Reason, length};
use super::{Fate, Kind, Taken, Unreadable};

/// What became of rows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) refusals: Vec<Refusal>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) counters: Counters,
    pub(super) taken: Vec<Taken>,
}

impl Ledger {
    /// Puts a row aside.
    pub(super) fn put_aside(&mut self, batch: &Batch<'_>, row: usize, fault: Fault) {
        let bytes = (batch.arrivals.original)(row);
        self.push(batch, batch.arrivals.rows[row], fault.reason, fault.detail, bytes);
    }

    fn put_aside_unreadable(&mut self, batch: &Batch<'_>, bad: &Unreadable<'_>) {
        self.push(batch, bad.row, Reason::Unreadable, bad.reason.to_owned(), bad.bytes.to_vec());
    }

    fn push(&mut self, batch: &Batch<'_>, row: u64, reason: Reason, detail: String, bytes: Vec<u8>) {
        let partition = batch.arrivals.partition.clone();
        self.dead_letters.push(DeadLetter { partition, row, reason: reason.word().to_owned(), detail, bytes, at: batch.now() });
        self.counters.dead_lettered += 1;
    }

    /// Counts a row that is taken.
    pub(super) fn take(&mut self, row: u32, fate: Fate) {
        self.taken.push(Taken { row, fate });
        self.counters.applied += 1;
    }

    fn refuse(&mut self, batch: &Batch<'_>, row: usize, event_time: i64, newest: i64, lateness: i64) {
        let behind = length(newest.saturating_sub(event_time));
        self.refusals.push(Refusal {
            partition: batch.arrivals.partition.clone(),
            row: batch.arrivals.rows[row],
            event_time: EventTime(event_time),
            primary_key: batch.key_text(row),
            watermark: EventTime(newest),
            reason: format!("{behind} behind the newest event of its partition · allowed_lateness: {}", length(lateness)),
        });
        self.counters.refused += 1;
    }
}

/// Rows that go on to be looked up.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) rows: Vec<u32>,
    /// Per row: the partition's largest event time up to it, µs; `i64::MIN` where there is none yet.
    pub(super) newest: Vec<i64>,
    /// Per row: keys of events before this moment are forgotten, whether or not the store still has them.
    pub(super) forgotten_before: Vec<i64>,
}

impl Passed {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Passed { rows: Vec::with_capacity(rows), newest: Vec::with_capacity(rows), forgotten_before: Vec::with_capacity(rows) }
    }

    pub(super) fn push(&mut self, row: u32, newest: i64, forgotten_before: i64) {
        self.rows.push(row);
        self.newest.push(newest);
        self.forgotten_before.push(forgotten_before);
    }

    /// The rows in as many shares; all rows of a key, in their order, in the same one.
    pub(super) fn shares(&self, batch: &Batch<'_>, shares: usize) -> Vec<Passed> {
        let mut all: Vec<Passed> = (0..shares).map(|_| Passed::with_capacity(2 * self.rows.len() / shares.max(1))).collect();
        for ((&row, &newest), &forgotten_before) in self.rows.iter().zip(&self.newest).zip(&self.forgotten_before) {
            let hash = xxh3_64(batch.key(row as usize)) as u32;
            all[((u64::from(hash) * shares as u64) >> 32) as usize].push(row, newest, forgotten_before);
        }
        all
    }
}

/// Rows that go on to be looked up, and what became of the others.
#[derive(Debug)]
pub(super) struct Screened {
    pub(super) passed: Passed,
    pub(super) ledger: Ledger,
    pub(super) event_time_max: Option<i64>,
}

/// Goes through the rows by position.
pub(super) fn screen(batch: &Batch<'_>, kind: Kind, event_time_max: Option<i64>) -> Screened {
    let mut ledger = Ledger::default();
    batch.arrivals.bad.iter().for_each(|bad| ledger.put_aside_unreadable(batch, bad));
    let lateness = batch.plan.lateness.filter(|_| kind == Kind::Stream);
    let mut newest = event_time_max;
    let mut passed = Passed::with_capacity(batch.len());
    for row in 0..batch.len() {
        match (batch.check(row), newest, lateness) {
            (Err(fault), ..) => ledger.put_aside(batch, row, fault),
            (Ok(Some(time)), Some(newest), Some(lateness)) if time < newest.saturating_sub(lateness) => {
                ledger.refuse(batch, row, time, newest, lateness);
            }
            (Ok(time), ..) => {
                newest = newest.max(time);
                let forgotten_before = newest.zip(lateness).map_or(i64::MIN, |(newest, lateness)| newest.saturating_sub(lateness));
                passed.push(row as u32, newest.unwrap_or(i64::MIN), forgotten_before);
            }
        }
    }
    Screened { passed, ledger, event_time_max: newest }
}
