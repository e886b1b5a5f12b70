//! The store as it was at some moments of the last while: each vector of the log was served after one of them, and not long after.
//!
//! A moment of the store costs what was replaced since, on the disk: so there are a handful of them, as far back as a vector may wait for its file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;
use lockstep_model::{EventTime, Generation};
use lockstep_store::CutRead;

use crate::audit::Audited;
use crate::kept::Kept;
use crate::text::grouped;

/// How long a vector may wait for its file beside what the log says, µs.
const SLACK: i64 = 2_000_000;
/// How many moments are held of the time that a vector may wait, and at most: so many rows as come between two of them are read again for a vector.
const HELD: i64 = 16;
const HELD_MAX: usize = 64;

/// Moments of a store, the oldest first.
pub struct Held<'s> {
    /// How far back they go, µs.
    back: i64,
    moments: VecDeque<Moment<'s>>,
}

struct Moment<'s> {
    at: EventTime,
    cut: Box<dyn CutRead + 's>,
}

/// Vectors that are computed from one moment of the store on.
#[derive(Debug)]
pub struct Group {
    /// The moment: the last one before they were served.
    pub base: usize,
    /// The moment that hindsight is of; `None` for the present.
    pub today: Option<usize>,
    /// The vectors.
    pub kept: Vec<Kept>,
}

impl<'s> Held<'s> {
    /// Of a log whose files hold what was served within so much time, µs.
    pub fn new(roll: i64) -> Held<'s> {
        Held { back: roll.saturating_add(SLACK), moments: VecDeque::new() }
    }

    /// A moment that is held.
    pub fn cut(&self, moment: usize) -> &dyn CutRead {
        &*self.moments[moment].cut
    }

    /// Whether the last moment that is held is old enough.
    pub fn is_due(&self, now: EventTime) -> bool {
        self.moments.back().is_none_or(|last| now.0.saturating_sub(last.at.0) >= self.back / HELD)
    }

    /// Holds the store as it was at a moment, or a little before it. Where rounds are so far apart that there are too many, the oldest goes.
    pub fn hold(&mut self, at: EventTime, cut: Box<dyn CutRead + 's>) {
        self.moments.push_back(Moment { at, cut });
        if self.moments.len() > HELD_MAX {
            self.moments.pop_front();
        }
    }

    /// Lets go of moments that no vector needs which comes to the log from `begun` on.
    pub fn let_go(&mut self, begun: EventTime) {
        while self.moments.get(1).is_some_and(|second| second.at.0 <= begun.0.saturating_sub(self.back)) {
            self.moments.pop_front();
        }
    }

    /// Puts vectors with the moments that they are computed from, the newest first, such that no more than `events_max` rows have to be read again for any. Beside them, how many cannot be computed.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn groups(&self, now: &dyn CutRead, kept: Vec<Kept>, events_max: u64) -> Result<(Vec<Group>, Audited)> {
        let stands = self.moments.iter().map(|moment| Stands::of(&*moment.cut)).collect::<Result<Vec<_>>>()?;
        let now = Stands::of(now)?;
        let mut by_base: BTreeMap<usize, Vec<Kept>> = BTreeMap::new();
        let mut early = Audited::default();
        for kept in kept {
            match stands.iter().rposition(|stands| stands.is_before(&kept)) {
                Some(base) => by_base.entry(base).or_default().push(kept),
                None => early.cannot(&kept, "they were served before this server looked first, or from a version that was filled since"),
            }
        }
        let mut groups = Vec::new();
        for (base, kept) in by_base.into_iter().rev() {
            let later = (base + 1..stands.len()).rev().map(|held| (Some(held), &stands[held]));
            let is_after = |stands: &Stands| kept.iter().all(|kept| stands.is_after(kept));
            let candidates = || [(None, &now)].into_iter().chain(later.clone()).filter(|(_, today)| is_after(today));
            let rows = |today: &Stands| stands[base].rows_to(today, &kept);
            let found = candidates().find(|(_, today)| rows(today) <= events_max).map(|(today, _)| today);
            match found {
                Some(today) => groups.push(Group { base, today, kept }),
                None => {
                    let least = candidates().map(|(_, today)| rows(today)).min().unwrap_or_default();
                    let why = format!("{} rows came since, and [watch.replay] events_max is {}", grouped(least), grouped(events_max));
                    kept.iter().for_each(|kept| early.cannot(kept, &why));
                }
            }
        }
        Ok((groups, early))
    }
}

/// How far each generation has come that is filled: rows applied.
#[derive(Debug)]
struct Stands(BTreeMap<Generation, u64>);

impl Stands {
    fn of(cut: &dyn CutRead) -> Result<Stands> {
        let mut stands = BTreeMap::new();
        for info in cut.generations()?.into_iter().filter(lockstep_store::GenerationInfo::published) {
            stands.insert(info.generation, cut.positions(info.generation)?.iter().map(|(_, position)| position.rows()).sum());
        }
        Ok(Stands(stands))
    }

    /// Whether an answer was read from this or from later on.
    fn is_before(&self, kept: &Kept) -> bool {
        kept.from.views.iter().all(|view| self.0.get(&view.generation).is_some_and(|rows| *rows <= view.rows_applied()))
    }

    /// Whether it was read from this or from earlier.
    fn is_after(&self, kept: &Kept) -> bool {
        kept.from.views.iter().all(|view| self.0.get(&view.generation).is_none_or(|rows| *rows >= view.rows_applied()))
    }

    /// How many rows came between this and later, of what answers were read from.
    fn rows_to(&self, later: &Stands, kept: &[Kept]) -> u64 {
        let generations: BTreeSet<Generation> = kept.iter().flat_map(|kept| &kept.from.views).map(|view| view.generation).collect();
        let rows = |stands: &Stands, generation| stands.0.get(generation).copied().unwrap_or_default();
        generations.iter().map(|generation| rows(later, generation).saturating_sub(rows(self, generation))).sum()
    }
}
