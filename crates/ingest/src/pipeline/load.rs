//! Loading a history: trees and remembered keys, as sorted files, in parts that a killed run need not make again.

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicU32};
use std::thread;

use lockstep_model::{Error, EventTime, Fingerprint};
use lockstep_store::{BulkJob, BulkLoader, BulkPart, Commit, OnlineStore, Store};
use lockstep_transform::changes::StagedChanges;
use lockstep_transform::tiles;
use sha2::{Digest, Sha256};

use super::backfill::{BackfillOptions, BackfillReport};
use super::history::{BUCKETS, History, KeyShare};
use super::step::{Pending, Target};
use super::{Observer, PUBLISHING, Progress};
use crate::admission::{KeyEntry, KeyTable, MemoryKeyIndex};

/// Parts of a bulk load: what a killed run loses at most, and what threads share.
const PARTS: u32 = 16;

/// Builds the trees of a history, loads them and publishes the generations.
///
/// # Errors
/// Where the store cannot be written; Invalid where a generation was begun with other inputs.
pub(super) fn load(
    mut history: History,
    store: &Store,
    targets: &[Target],
    options: &BackfillOptions,
    observe: &mut Observer<'_>,
) -> Result<BackfillReport, Error> {
    let mut report = BackfillReport { rows: history.rows, ..BackfillReport::default() };
    let mut commits = Vec::with_capacity(targets.len());
    for (at, target) in targets.iter().enumerate() {
        let staged: Vec<StagedChanges> = history.shares.iter_mut().map(|share| std::mem::take(&mut share.pending[at].staged)).collect();
        let rows = staged.iter().map(|staged| staged.len() as u64).sum();
        observe(&Progress { stage: format!("loading {}", target.view.view), rows, ..Progress::default() });
        report.events += rows;
        let fingerprint = fingerprint(target, options, &history.inputs);
        let loader = store.bulk_load(BulkJob { generation: target.generation.generation, epoch: store.epoch(), fingerprint, parts: PARTS })?;
        let load = Load { target, loader: &loader, staged: staged.iter().collect(), keys: KeyRanges::new(target, &history.shares), options };
        if !load.run(&loader.missing()?)? {
            return Ok(BackfillReport { stopped: true, ..report });
        }
        let pending = std::mem::take(&mut history.pending[at]);
        let commit = commit(store, target, options, pending, history.shares.iter_mut().map(|share| std::mem::take(&mut share.pending[at])));
        for (source, counters) in &commit.counters {
            *report.tally.entry((target.view.view.clone(), source.clone())).or_default() += *counters;
        }
        commits.push(commit);
    }
    if !may_publish(&report, options, observe) {
        return Ok(BackfillReport { stopped: true, ..report });
    }
    store.publish(commits)?;
    report.published = targets.iter().map(|target| target.view.view.clone()).collect();
    Ok(report)
}

/// Whether nobody stops a backfill that has come to its last step.
pub(super) fn may_publish(report: &BackfillReport, options: &BackfillOptions, observe: &mut Observer<'_>) -> bool {
    observe(&Progress { stage: PUBLISHING.to_owned(), rows: report.rows, ..Progress::default() });
    !options.stop.load(atomic::Ordering::Relaxed)
}

/// What is loaded, and how it is cut into parts.
fn fingerprint(target: &Target, options: &BackfillOptions, inputs: &str) -> Fingerprint {
    let job = format!(
        "lockstep backfill 2\nmeaning {}\nstate {}\nuntil {:?}\nshape {:?}\n{inputs}",
        target.view.meaning, target.view.state, options.until, options.shape
    );
    Fingerprint(Sha256::digest(job.as_bytes()).into())
}

/// What goes in with the publication: where the inputs stand, and what became of rows that are no events.
fn commit(store: &Store, target: &Target, options: &BackfillOptions, mut all: Pending, shares: impl Iterator<Item = Pending>) -> Commit {
    for share in shares {
        all.dead_letters.extend(share.dead_letters);
        for (source, counters) in share.counters {
            *all.counters.entry(source).or_default() += counters;
        }
    }
    all.dead_letters.sort_by(|a, b| (&a.partition, a.row).cmp(&(&b.partition, b.row)));
    let mut commit = Commit::new(target.generation.generation, store.epoch());
    commit.positions = all.positions;
    commit.counters = all.counters.into_iter().collect();
    commit.dead_letters = all.dead_letters;
    commit.history_until = Some(options.until.unwrap_or(EventTime::MAX));
    commit
}

/// The buckets of staged changes that make a part.
fn buckets_of(part: u32) -> std::ops::Range<usize> {
    let first = |part: u32| (part * BUCKETS / PARTS) as usize;
    first(part)..first(part + 1)
}

/// A bulk load of one generation.
struct Load<'a> {
    target: &'a Target,
    loader: &'a BulkLoader<'a>,
    /// By share.
    staged: Vec<&'a StagedChanges>,
    keys: KeyRanges<'a>,
    options: &'a BackfillOptions,
}

impl Load<'_> {
    /// Loads the missing parts on several threads; false where it was told to stop.
    fn run(&self, missing: &[u32]) -> Result<bool, Error> {
        let mut missing = missing.to_vec();
        // The largest first, since an entity may hold half of all events: begun last, it would be waited for.
        missing.sort_by_key(|&part| std::cmp::Reverse(self.size(part)));
        let next = AtomicU32::new(0);
        let work = || -> Result<(), Error> {
            while let Some(&part) = missing.get(next.fetch_add(1, atomic::Ordering::Relaxed) as usize) {
                if self.options.stop.load(atomic::Ordering::Relaxed) {
                    return Ok(());
                }
                let mut files = self.loader.part(part)?;
                self.load_state(part, &mut files)?;
                self.keys.load(part, &mut files)?;
                files.finish()?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let busy = self.options.threads.max(1);
            // And one more, since a part that is done waits for the disk.
            let threads: Vec<_> = (0..busy + usize::from(busy > 1)).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(!self.options.stop.load(atomic::Ordering::Relaxed))
    }

    /// Bytes of changes in a part.
    fn size(&self, part: u32) -> usize {
        buckets_of(part).flat_map(|bucket| self.staged.iter().map(move |staged| staged.bucket_size(bucket))).sum()
    }

    fn load_state(&self, part: u32, files: &mut BulkPart<'_>) -> Result<(), Error> {
        for bucket in buckets_of(part) {
            StagedChanges::each_entity(&self.staged, bucket, |changes| {
                if changes.upserts.is_empty() {
                    return Ok(());
                }
                let mut writes = tiles::build(&self.target.view.measures, self.options.shape, changes.entity, &changes.upserts)?;
                writes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                writes.iter().try_for_each(|write| files.put_state(&write.key, write.value.as_deref().unwrap_or_default()))
            })?;
        }
        Ok(())
    }
}

/// What is remembered of a generation's primary keys, cut into [`PARTS`] ranges of nearly one size. Where they are cut follows from the keys alone, so that every
/// run of a job makes the same parts.
struct KeyRanges<'a> {
    tables: Tables<'a>,
    /// By share: the keys of each range, in no order.
    shares: Vec<Vec<Vec<PlacedKey>>>,
}

/// By share, then by the target's source.
struct Tables<'a>(Vec<Vec<Option<&'a KeyTable>>>);

/// A key, and as much of it as registers hold: most keys differ in that.
#[derive(Clone, Copy)]
struct PlacedKey {
    start: [u64; 2],
    number: u32,
    ordinal: u16,
    share: u16,
}

/// About as many keys say where ranges are cut.
const SAMPLE: usize = 1 << 14;

impl<'a> Tables<'a> {
    fn new(target: &Target, shares: &'a [KeyShare]) -> Self {
        let of = |share: &'a KeyShare| target.sources.iter().map(|source| share.keys.get(&source.name).and_then(MemoryKeyIndex::only)).collect();
        Tables(shares.iter().map(of).collect())
    }

    /// The keys of a share.
    fn of(&self, share: usize) -> impl Iterator<Item = (PlacedKey, KeyEntry<'a>)> {
        self.0[share].iter().enumerate().filter_map(|(ordinal, table)| Some((ordinal, (*table)?))).flat_map(move |(ordinal, table)| {
            table.iter().map(move |(number, key)| {
                let mut start = [0; 16];
                let len = key.key.len().min(16);
                start[..len].copy_from_slice(&key.key[..len]);
                let start = u128::from_be_bytes(start);
                let start = [(start >> 64) as u64, start as u64];
                (PlacedKey { start, number, ordinal: ordinal as u16, share: share as u16 }, key)
            })
        })
    }

    fn get(&self, at: &PlacedKey) -> Option<KeyEntry<'a>> {
        self.0[usize::from(at.share)][usize::from(at.ordinal)].and_then(|table| table.numbered(at.number))
    }

    fn compare(&self, a: &PlacedKey, b: &PlacedKey) -> Ordering {
        let key = |at| self.get(at).map(|key| key.key);
        a.ordinal.cmp(&b.ordinal).then_with(|| a.start.cmp(&b.start)).then_with(|| key(a).cmp(&key(b)))
    }

    /// Where ranges are cut.
    fn bounds(&self) -> Vec<PlacedKey> {
        let all: usize = self.0.iter().flatten().flatten().map(|table| table.len()).sum();
        let mask = (all / SAMPLE).next_power_of_two() as u64 - 1;
        let keys = (0..self.0.len()).flat_map(|share| self.of(share));
        let mut sample: Vec<PlacedKey> = keys.filter(|(_, key)| key.hash & mask == 0).map(|(at, _)| at).collect();
        sample.sort_unstable_by(|a, b| self.compare(a, b));
        (1..PARTS as usize).filter_map(|part| sample.get(sample.len() * part / PARTS as usize)).copied().collect()
    }
}

impl<'a> KeyRanges<'a> {
    fn new(target: &Target, shares: &'a [KeyShare]) -> Self {
        let tables = Tables::new(target, shares);
        let bounds = tables.bounds();
        let cut = |share: usize| {
            let keys: usize = tables.0[share].iter().flatten().map(|table| table.len()).sum();
            let room = keys / PARTS as usize;
            let mut ranges: Vec<Vec<PlacedKey>> = (0..PARTS).map(|_| Vec::with_capacity(room + room / 16)).collect();
            tables.of(share).for_each(|(key, _)| ranges[bounds.partition_point(|bound| tables.compare(bound, &key).is_le())].push(key));
            ranges
        };
        let shares = thread::scope(|scope| {
            let threads: Vec<_> = (0..shares.len()).map(|share| scope.spawn(move || cut(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        KeyRanges { tables, shares }
    }

    fn load(&self, part: u32, files: &mut BulkPart<'_>) -> Result<(), Error> {
        let mut keys: Vec<PlacedKey> = self.shares.iter().flat_map(|ranges| &ranges[part as usize]).copied().collect();
        // Where keys ascend as rows do, each share is a run already, which a stable sort notices.
        keys.sort_by(|a, b| self.tables.compare(a, b));
        for at in &keys {
            if let Some(key) = self.tables.get(at) {
                files.put_key(at.ordinal, key.key, key.entry)?;
            }
        }
        Ok(())
    }
}
