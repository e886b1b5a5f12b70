//! Signals, from findings that last: raised once, grouped by what explains them, and gone once all has been well for a while.

use std::collections::BTreeMap;

use lockstep_model::EventTime;

use super::judge::{Finding, judge, reaches};
use super::limits::Limits;
use super::reading::Reading;
use super::shares::Shares;
use super::signal::{Kind, Severity, Signal, Subject};

/// By how much what explains something may have begun later, µs: both are noticed by windows and looks, and not when they begin.
const LATER_BY: i64 = 300_000_000;

/// What is known of a server from look to look.
#[derive(Debug)]
pub struct Watch {
    limits: Limits,
    shares: Shares,
    known: BTreeMap<(Kind, Subject), Known>,
}

/// Something that was found.
#[derive(Debug, Clone)]
struct Known {
    finding: Finding,
    /// When it was first found, in a row.
    first: i64,
    /// When it was found last.
    last: i64,
    /// When it became a signal.
    raised: Option<i64>,
    /// What explained it first: that stays, though it be over before.
    cause: Option<(Kind, Subject)>,
}

/// Signals of one cause.
type Group<'a> = Vec<(&'a (Kind, Subject), &'a Known)>;

impl Watch {
    /// One that knows nothing yet.
    pub fn new(limits: Limits) -> Watch {
        Watch { limits, shares: Shares::default(), known: BTreeMap::new() }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Looks at a reading: fills in what of it is of a window, and gives the signals that there are now, each cause with what it explains behind it. Readings are to come in
    /// the order of their moments.
    pub fn look(&mut self, reading: &mut Reading) -> Vec<Signal> {
        self.shares.fill(reading, &self.limits);
        let now = reading.at_micros;
        for finding in judge(reading, &self.limits) {
            self.found(finding, now);
        }
        let clear_after = self.limits.clear_after;
        self.known.retain(|_, known| known.last == now || (known.raised.is_some() && now.saturating_sub(known.last) < clear_after));
        self.raise(reading);
        self.signals()
    }

    fn found(&mut self, finding: Finding, now: i64) {
        let key = (finding.kind, finding.subject.clone());
        match self.known.get_mut(&key) {
            Some(known) => {
                // When it began is what was known of it first.
                let began = known.finding.began.min(finding.began);
                (known.finding, known.last) = (Finding { began, ..finding }, now);
            }
            None => drop(self.known.insert(key, Known { finding, first: now, last: now, raised: None, cause: None })),
        }
    }

    /// Raises what has lasted. What something explains that may still come to be a signal waits for it, so that a cause is never told after what follows from it.
    fn raise(&mut self, reading: &Reading) {
        let now = reading.at_micros;
        // In the order of kinds, in which causes come first.
        let keys: Vec<(Kind, Subject)> = self.known.keys().cloned().collect();
        for key in &keys {
            let known = &self.known[key];
            let is_due = key.0.is_at_once() || now.saturating_sub(known.first) >= self.limits.raise_after;
            let is_new = known.raised.is_none();
            if is_new && (!is_due || self.explaining(reading, key).any(|(_, other)| other.raised.is_none())) {
                continue;
            }
            let root = self.explaining(reading, key).find(|(_, other)| other.raised.is_some()).map(|(root, _)| root.clone());
            let Some(known) = self.known.get_mut(key) else { continue };
            known.raised.get_or_insert(now);
            known.cause = known.cause.take().or(root);
        }
    }

    /// What explains something, the first cause first.
    fn explaining<'a>(&'a self, reading: &'a Reading, of: &'a (Kind, Subject)) -> impl Iterator<Item = (&'a (Kind, Subject), &'a Known)> {
        let began = self.known[of].finding.began;
        let may = move |((kind, subject), other): &(&(Kind, Subject), &Known)| {
            let explains = *kind > Kind::ReplayDiffers && *kind < of.0 && of.0 > Kind::ReplayDiffers;
            explains && other.finding.began <= began.saturating_add(LATER_BY) && reaches(reading, (*kind, subject), &of.1)
        };
        self.known.iter().filter(may)
    }

    fn signals(&self) -> Vec<Signal> {
        let raised: Vec<(&(Kind, Subject), &Known)> = self.known.iter().filter(|(_, known)| known.raised.is_some()).collect();
        let mut groups: BTreeMap<&(Kind, Subject), Group<'_>> = BTreeMap::new();
        for (key, known) in raised {
            groups.entry(self.root(key)).or_default().push((key, known));
        }
        // The cause comes first in its group, since it is the one that nothing explains.
        groups.iter_mut().for_each(|(root, group)| group.sort_by_key(|(key, known)| (key != root, known.raised, *key)));
        // A cause is as bad as the worst that follows from it.
        let worst = |group: &Group<'_>| group.iter().map(|(key, _)| key.0.severity()).min().unwrap_or(Severity::Warning);
        let mut groups: Vec<(&(Kind, Subject), Group<'_>)> = groups.into_iter().collect();
        groups.sort_by_key(|(root, group)| (worst(group), group.first().and_then(|(_, known)| known.raised), *root));
        let told = |(root, group): (&(Kind, Subject), Group<'_>)| {
            let of = |(key, known): &(&(Kind, Subject), &Known)| signal(key, known, if *key == root { worst(&group) } else { key.0.severity() });
            group.iter().map(of).collect::<Vec<_>>()
        };
        groups.into_iter().flat_map(told).collect()
    }

    /// What explains something in the end. A cause is always of an earlier kind, so that this ends.
    fn root<'a>(&'a self, mut key: &'a (Kind, Subject)) -> &'a (Kind, Subject) {
        while let Some((cause, known)) = self.known[key].cause.as_ref().and_then(|cause| self.known.get_key_value(cause))
            && known.raised.is_some()
        {
            key = cause;
        }
        key
    }
}

/// What a signal is called.
fn id((kind, subject): &(Kind, Subject)) -> String {
    format!("{kind}: {subject}")
}

fn signal(key: &(Kind, Subject), known: &Known, severity: Severity) -> Signal {
    let Finding { kind, subject, began, value, limit, what, todo } = known.finding.clone();
    Signal {
        id: id(key),
        kind,
        severity,
        subject,
        since: EventTime(known.raised.unwrap_or(known.first)).to_string(),
        began: EventTime(began).to_string(),
        value,
        limit,
        unit: kind.unit(),
        what,
        todo,
        cause: known.cause.as_ref().map(id),
    }
}
