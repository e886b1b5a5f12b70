//! The thread that makes files of served vectors, and lets old ones go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::Fields;
use lockstep_model::{Clock, Error, EventTime};
use lockstep_serve::feature_log::{Pick, Vectors};
use lockstep_serve::live::{ReleaseAt, Standing};

use super::Shared;
use super::files::{LogDir, LogFile, Named};
use crate::kept::{self, Kept, KeptScores, Logged, ReadFrom, ServedBy, ViewAt, texts};
use crate::serving::FeatureLogConfig;

/// How often it looks whether a file is due.
const TICK: Duration = Duration::from_millis(100);
/// Answers that are held one by one before they become rows of one batch: columns of one row take many times what is in them.
const LOOSE_MAX: usize = 256;
/// What an answer takes while it is held one by one, and what each of its values does: about, for the bound on memory.
const LOOSE_BYTES: usize = 4096;
const VALUE_BYTES: usize = 48;
/// How long after a failure a file is tried again, µs.
const RETRY_AFTER: i64 = 1_000_000;
/// How often vectors that were dropped are told of, µs.
const TELL_EVERY: i64 = 10_000_000;

/// Keeps a feature log.
pub struct Keeper {
    dir: LogDir,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    file_bytes: usize,
    roll: i64,
    share: f64,
    all_explored: bool,
    keep: i64,
    size: u64,
    /// By what was answered.
    buffers: BTreeMap<Of, Buffer>,
    /// What the last answer of each was read from: mostly the next one is read from the same.
    known: BTreeMap<(String, u64), (Arc<Vec<Standing>>, Arc<ReadFrom>)>,
    /// Those that count, by number; `None` until they could be read.
    files: Option<Vec<LogFile>>,
    next_number: u64,
    /// When a file may be tried again.
    retry_at: i64,
    /// Vectors that were dropped when they were last told of, and when that was.
    told: (u64, i64),
}

/// What vectors of one file have in common: the service or view, the number of its definitions, and the deployment that they were scored by, if any.
type Of = (String, u64, Option<Arc<str>>);

/// Vectors that wait for their file.
#[derive(Default)]
struct Buffer {
    batches: Vec<RecordBatch>,
    loose: Vec<Kept>,
    bytes: usize,
    vectors: u64,
    oldest: i64,
    newest: i64,
}

/// How many vectors are to be logged.
pub fn count(vectors: &Vectors) -> u64 {
    match &vectors.pick {
        Pick::None => 0,
        Pick::All => vectors.moments.len() as u64,
        Pick::Some(rows) => rows.len() as u64,
    }
}

impl Keeper {
    /// One that has nothing yet.
    pub fn new(config: &FeatureLogConfig, dir: LogDir, clock: Arc<dyn Clock>, shared: Arc<Shared>) -> Keeper {
        Keeper {
            dir,
            clock,
            shared,
            file_bytes: config.file_size.0,
            roll: config.roll.micros(),
            share: config.share.0,
            all_explored: config.all_explored,
            keep: config.keep.micros(),
            size: config.size.0 as u64,
            buffers: BTreeMap::new(),
            known: BTreeMap::new(),
            files: None,
            next_number: 1,
            retry_at: i64::MIN,
            told: (0, i64::MIN),
        }
    }

    /// Keeps what comes until it is told to end.
    pub fn run(mut self, receiver: &Receiver<Vectors>) {
        let mut looked_at = i64::MIN;
        loop {
            let came = receiver.recv_timeout(TICK);
            let (is_idle, is_gone) = (came.is_err(), matches!(came, Err(RecvTimeoutError::Disconnected)));
            if let Ok(vectors) = came {
                let count = count(&vectors);
                self.shared.waiting.fetch_sub(count, Ordering::Relaxed);
                self.hold(vectors, count);
            }
            let now = self.clock.now().0;
            // Where requests come one after the other there is no pause to look in.
            if is_idle || self.is_full() || now.saturating_sub(looked_at) >= TICK.as_micros() as i64 || now < looked_at {
                looked_at = now;
                self.tend(now);
            }
            if is_gone || (is_idle && self.shared.ending.load(Ordering::Relaxed)) {
                self.retry_at = i64::MIN;
                self.roll(now, |_| true);
                return;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.buffers.values().any(|buffer| buffer.bytes >= self.file_bytes)
    }

    /// Writes the files that are due, and lets those go that are past their time.
    fn tend(&mut self, now: i64) {
        let (roll, most) = (self.roll, self.file_bytes);
        self.roll(now, |buffer| buffer.bytes >= most || now.saturating_sub(buffer.oldest) >= roll);
        if let Err(error) = self.expire(now) {
            self.fail(now, &error);
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.told.0 && now.saturating_sub(self.told.1) >= TELL_EVERY {
            tracing::warn!(vectors = dropped - self.told.0, dir = %self.dir.path().display(), "served vectors were not logged: there was no room for them");
            self.told = (dropped, now);
        }
    }

    /// Takes vectors in, as far as there is room.
    fn hold(&mut self, vectors: Vectors, count: u64) {
        let now = self.clock.now().0;
        let held: usize = self.buffers.values().map(|buffer| buffer.bytes).sum();
        if held >= self.file_bytes.saturating_mul(2) {
            self.shared.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        let key = (vectors.name.clone(), vectors.definitions, vectors.predicted.as_ref().map(|predicted| Arc::clone(&predicted.deployment)));
        let kept = self.kept(vectors, now).and_then(|kept| self.buffers.entry(key).or_default().push(kept, now));
        match kept {
            Ok(()) => {
                self.shared.held.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(%error, "log served vectors");
                self.shared.dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Served vectors as they are kept.
    fn kept(&mut self, vectors: Vectors, now: i64) -> Result<Kept> {
        let outputs = outputs(&vectors)?;
        let rows = match &vectors.pick {
            Pick::Some(rows) => Some(UInt32Array::from(rows.clone())),
            Pick::All | Pick::None => None,
        };
        let all = vectors.moments.len();
        let numbers: Vec<u32> = rows.as_ref().map_or_else(|| (0..all as u32).collect(), |rows| rows.values().to_vec());
        let some = |column: ArrayRef| -> Result<ArrayRef> { Ok(rows.as_ref().map_or(Ok(Arc::clone(&column)), |rows| take(&column, rows, None))?) };
        let requests = rows.as_ref().map_or_else(|| Ok(vectors.rows.clone()), |rows| take_record_batch(&vectors.rows, rows))?;
        let moments: Vec<i64> = numbers.iter().map(|&row| vectors.moments[row as usize]).collect();
        let count = moments.len();
        let (mut values, mut statuses, mut filled_by, mut event_times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, field) in outputs.iter().enumerate() {
            let Some(output) = vectors.outputs.iter().find(|output| output.index == index) else {
                values.push(new_null_array(field.data_type(), count));
                statuses.push(StringArray::new_null(count));
                filled_by.push(StringArray::new_null(count));
                event_times.push(TimestampMicrosecondArray::new_null(count));
                continue;
            };
            values.push(some(Arc::clone(&output.values))?);
            statuses.extend(texts(&[numbers.iter().map(|&row| output.statuses[row as usize]).collect::<Vec<_>>()]));
            filled_by.extend(texts(&[numbers.iter().map(|&row| output.filled_by[row as usize]).collect::<Vec<_>>()]));
            event_times.push(numbers.iter().map(|&row| output.event_times[row as usize]).collect());
        }
        let request_id = (!vectors.request_id.is_empty()).then_some(vectors.request_id.as_str());
        let logged = Logged { request_ids: StringArray::from(vec![request_id; count]), served_at: vec![now; count], event_times };
        let share_of = |explored: bool| if explored && self.all_explored { 1.0 } else { self.share };
        let predicted = vectors.predicted.as_ref().map(|predicted| KeptScores::of(predicted, &numbers, &some, &share_of)).transpose()?;
        let numbers = numbers.into_iter().map(u64::from).collect();
        let from = self.read_from(vectors)?;
        Ok(Kept { from, numbers, moments, requests, values, outputs, statuses, filled_by, logged: Some(logged), predicted })
    }

    /// What vectors were read from. Where nobody has looked yet where the views stood, this waits for the disk.
    fn read_from(&mut self, vectors: Vectors) -> Result<Arc<ReadFrom>> {
        let Vectors { name, definitions, release, catalog, time, roles, stood, .. } = vectors;
        let served_by = release.map(|ReleaseAt { release, epoch }| ServedBy { release, epoch });
        let key = (name, definitions);
        let standings = stood.find()?;
        if let (Some(standings), Some((known, from))) = (&standings, self.known.get(&key))
            && Arc::ptr_eq(standings, known)
            && (from.time, from.served_by) == (time, served_by)
        {
            return Ok(Arc::clone(from));
        }
        let mut views: Vec<ViewAt> = Vec::new();
        for role in &roles {
            if views.iter().all(|known| known.generation != role.generation) {
                let standing = standings.iter().flat_map(|standings| standings.iter()).find(|standing| standing.generation == role.generation);
                let positions = standing.map(|standing| standing.positions.clone()).unwrap_or_default();
                let (view, meaning) = (role.view.view.clone(), Some(role.view.meaning));
                views.push(ViewAt { view, version: role.version, meaning, generation: role.generation, positions });
            }
        }
        let service = catalog.services.get(&key.0).map(|service| service.meaning);
        let from = Arc::new(ReadFrom {
            name: key.0.clone(),
            time,
            views,
            definitions: Some(definitions),
            meaning: service.or_else(|| catalog.views.get(&key.0).map(|view| view.meaning)),
            served_by,
            release: Some(env!("CARGO_PKG_VERSION").to_owned()),
            share: Some(self.share),
            recalled: standings.is_none(),
        });
        if let Some(standings) = standings {
            self.known.insert(key, (standings, Arc::clone(&from)));
        }
        Ok(from)
    }

    /// Writes a file of each buffer that is due.
    fn roll(&mut self, now: i64, is_due: impl Fn(&Buffer) -> bool) {
        if now < self.retry_at {
            return;
        }
        let due: Vec<Of> = self.buffers.iter().filter(|(_, buffer)| is_due(buffer)).map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Err(error) = self.write(&key) {
                self.fail(now, &error);
                return;
            }
            self.buffers.remove(&key);
            self.retry_at = i64::MIN;
            self.shared.fails(None);
        }
    }

    fn write(&mut self, key: &Of) -> Result<()> {
        self.settle()?;
        let Some(buffer) = self.buffers.get_mut(key) else { return Ok(()) };
        buffer.gather()?;
        let (oldest, newest) = (EventTime(buffer.oldest), EventTime(buffer.newest));
        let named = Named { number: self.next_number, oldest, newest, vectors: buffer.vectors };
        let file = self.dir.write(&key.0, named, &kept::encode(&buffer.batches)?)?;
        self.next_number += 1;
        self.shared.held.fetch_sub(file.named.vectors, Ordering::Relaxed);
        self.shared.logged.fetch_add(file.named.vectors, Ordering::Relaxed);
        self.files.get_or_insert_default().push(file);
        self.count_files();
        Ok(())
    }

    /// Finds what is there already, once.
    fn settle(&mut self) -> Result<()> {
        if self.files.is_none() {
            self.dir.settle()?;
            let (files, expired) = (self.dir.files()?, self.dir.expired()?);
            self.next_number = files.last().map_or(expired.through, |file| file.named.number.max(expired.through)) + 1;
            self.files = Some(files);
            self.count_files();
        }
        Ok(())
    }

    /// Lets files go that are older than they are kept, and the oldest where there is more than may be.
    fn expire(&mut self, now: i64) -> Result<()> {
        if now < self.retry_at {
            return Ok(());
        }
        self.settle()?;
        let Some(files) = &mut self.files else { return Ok(()) };
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let is_past = |file: &LogFile, bytes: u64| file.named.newest.0 < now.saturating_sub(self.keep) || bytes > self.size;
        let mut gone = 0;
        while let Some(file) = files.get(gone).filter(|file| is_past(file, bytes)) {
            bytes -= file.bytes;
            gone += 1;
        }
        if gone > 0 {
            self.dir.expire(&files[..gone])?;
            files.drain(..gone);
            self.count_files();
        }
        Ok(())
    }

    fn count_files(&self) {
        let files = self.files.as_deref().unwrap_or_default();
        self.shared.files.store(files.len() as u64, Ordering::Relaxed);
        self.shared.bytes.store(files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
    }

    fn fail(&mut self, now: i64, error: &anyhow::Error) {
        let why = format!("{error:#}");
        if self.retry_at == i64::MIN {
            tracing::warn!(
                error = why,
                "the feature log cannot be written: what is served is held in memory, as far as there is room, and tried again"
            );
        }
        self.shared.fails(Some(why));
        self.retry_at = now.saturating_add(RETRY_AFTER);
    }
}

impl Buffer {
    fn push(&mut self, kept: Kept, now: i64) -> Result<()> {
        if self.vectors == 0 {
            self.oldest = now;
        }
        self.newest = now;
        self.vectors += kept.len() as u64;
        self.bytes += LOOSE_BYTES + kept.len() * kept.outputs.len() * VALUE_BYTES;
        self.loose.push(kept);
        if self.loose.len() >= LOOSE_MAX { self.gather() } else { Ok(()) }
    }

    /// Makes rows of one batch of what is held one by one.
    fn gather(&mut self) -> Result<()> {
        if self.loose.is_empty() {
            return Ok(());
        }
        self.batches.push(kept::batch(&self.loose.iter().collect::<Vec<_>>())?);
        self.loose.clear();
        self.bytes = self.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        Ok(())
    }
}

/// The outputs of the service or view that was asked.
fn outputs(vectors: &Vectors) -> Result<Fields, Error> {
    let catalog = &vectors.catalog;
    let service = catalog.services.get(&vectors.name).map(|service| service.schema_by_request().fields().clone());
    let outputs = service.or_else(|| catalog.views.get(&vectors.name).map(|view| view.features.fields().clone()));
    outputs.ok_or_else(|| Error::internal(format!("`{}` was answered and is not defined", vectors.name)))
}
