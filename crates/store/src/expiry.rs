//! Expiry by compaction: what has passed its horizon, or belongs to a dropped generation, goes when RocksDB rewrites the file it
//! lies in. No scan, no deletes.
//!
//! Two things RocksDB does not see to are seen to here. A compaction filter ignores snapshots, so a filter is given the rules of the
//! oldest [`crate::Cut`] alive when it starts; and what it removes is gone for good even if the commit that raised the
//! horizon is lost in a power cut, so rules take effect only once that commit has been forced to the disk.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_model::Generation;
use lockstep_model::state::newest_time_below;
use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

use crate::{Horizon, KeyEntryHeader, layout};

/// What may go, by generation. A generation without a rule keeps everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Grows with every change, so that the later of two can be told.
    revision: u64,
    by_generation: BTreeMap<Generation, Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    Dropped,
    Before(Horizon),
}

impl Rules {
    /// Rules that let a dropped generation's data go.
    pub(crate) fn drop_generation(&mut self, generation: Generation) {
        self.set(generation, Rule::Dropped);
    }

    /// Rules that let what lies before a horizon go.
    pub(crate) fn expire_before(&mut self, generation: Generation, horizon: Horizon) {
        self.set(generation, Rule::Before(horizon));
    }

    fn set(&mut self, generation: Generation, rule: Rule) {
        self.revision += 1;
        self.by_generation.insert(generation, rule);
    }
}

impl Rule {
    fn is_dropped(&self) -> bool {
        matches!(self, Rule::Dropped)
    }

    fn lets_state_go(&self, key: &[u8]) -> bool {
        match self {
            Rule::Dropped => true,
            Rule::Before(horizon) => newest_time_below(key).is_some_and(|newest| newest < horizon.state_before.0),
        }
    }

    fn lets_entry_go(&self, key: &[u8], entry: &[u8]) -> bool {
        let Rule::Before(horizon) = self else { return true };
        let (Some((source, _)), Some((header, _))) = (layout::split_source(key), KeyEntryHeader::split(entry)) else { return false };
        horizon.keys_before.iter().any(|&(of, before)| of == source && header.event_time < before)
    }
}

/// The rules in force, and those that cuts still alive were taken under.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expiry {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    in_force: Arc<Rules>,
    /// By revision: the rules and how many cuts alive were taken under them.
    pinned: BTreeMap<u64, (Arc<Rules>, usize)>,
}

impl Expiry {
    /// Puts rules in force. The caller has made sure that the commit they come from is on the disk.
    pub(crate) fn enforce(&self, rules: Arc<Rules>) {
        let mut shared = self.lock();
        if rules.revision > shared.in_force.revision {
            shared.in_force = rules;
        }
    }

    /// Keeps everything readable that is readable now, until the pin goes. To be taken before the snapshot it protects.
    pub(crate) fn pin(&self) -> Pin {
        let mut shared = self.lock();
        let rules = Arc::clone(&shared.in_force);
        let revision = rules.revision;
        shared.pinned.entry(revision).or_insert((rules, 0)).1 += 1;
        Pin { expiry: self.clone(), revision }
    }

    /// Whether a cut is alive that was taken before a generation was dropped.
    pub(crate) fn is_pinned(&self, dropped: Generation) -> bool {
        let keeps = |rules: &Rules| !rules.by_generation.get(&dropped).is_some_and(Rule::is_dropped);
        self.lock().pinned.values().any(|(rules, _)| keeps(rules))
    }

    /// The rules a compaction starting now may go by.
    fn for_compaction(&self) -> Arc<Rules> {
        let shared = self.lock();
        let oldest = shared.pinned.values().next().map_or(&shared.in_force, |(rules, _)| rules);
        Arc::clone(oldest)
    }

    /// Every change under the lock is a single step, so that what a panicking thread left is sound.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the rules back for one cut.
#[derive(Debug)]
pub(crate) struct Pin {
    expiry: Expiry,
    revision: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shared = self.expiry.lock();
        if let Some((_, cuts)) = shared.pinned.get_mut(&self.revision) {
            *cuts -= 1;
            if *cuts == 0 {
                shared.pinned.remove(&self.revision);
            }
        }
    }
}

/// Which of a generation's families a filter looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Filtered {
    /// Heads and nodes.
    State,
    /// Dedup entries.
    Keys,
    /// Ledgers, of which only a dropped generation's go.
    Ledger,
}

/// Makes the filter of each compaction.
#[derive(Debug)]
pub(crate) struct ExpiryFilters {
    pub(crate) expiry: Expiry,
    pub(crate) filtered: Filtered,
}

impl CompactionFilterFactory for ExpiryFilters {
    type Filter = ExpiryFilter;

    fn create(&mut self, _context: CompactionFilterContext) -> ExpiryFilter {
        ExpiryFilter { rules: self.expiry.for_compaction(), filtered: self.filtered, current: None }
    }

    fn name(&self) -> &CStr {
        c"lockstep-expiry"
    }
}

/// One compaction's filter. Runs inside RocksDB: it never fails, and keeps whatever it does not understand.
#[derive(Debug)]
pub(crate) struct ExpiryFilter {
    rules: Arc<Rules>,
    filtered: Filtered,
    /// The rule of the generation last seen; keys come in order, so that it seldom changes.
    current: Option<(Generation, Option<Rule>)>,
}

impl ExpiryFilter {
    fn rule(&mut self, generation: Generation) -> Option<&Rule> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != generation) {
            self.current = Some((generation, self.rules.by_generation.get(&generation).cloned()));
        }
        self.current.as_ref().and_then(|(_, rule)| rule.as_ref())
    }

    fn lets_go(&mut self, key: &[u8], value: &[u8]) -> bool {
        let Some((generation, key)) = layout::split_generation(key) else { return false };
        let filtered = self.filtered;
        let Some(rule) = self.rule(generation) else { return false };
        match filtered {
            Filtered::State => rule.lets_state_go(key),
            Filtered::Keys => rule.lets_entry_go(key, value),
            Filtered::Ledger => rule.is_dropped(),
        }
    }
}

impl CompactionFilter for ExpiryFilter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        if self.lets_go(key, value) { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        c"lockstep-expiry"
    }
}

#[cfg(test)]
#[path = "expiry/tests.rs"]
mod tests;
