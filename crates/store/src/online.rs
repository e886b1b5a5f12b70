//! What the engine asks of a store of online state.

use std::collections::BTreeMap;

use lockstep_model::{Error, Fingerprint, Generation, PartitionId, Position, StateKey};

use crate::{
    Commit, Counters, DeadLetter, Definitions, Epoch, GenerationInfo, Horizon, NewDefinitions, NewGeneration, NewRelease, NewSwitch, Queue, Refusal,
    Release, Switch,
};

/// A store of online state, with one writer and any number of readers. Everything comes and goes in batches.
pub trait OnlineStore: Send + Sync {
    /// A view of the whole store at one moment. Commits that come later do not show in it.
    fn cut(&self) -> Box<dyn CutRead + '_>;

    /// The epoch that commits must carry.
    fn epoch(&self) -> Epoch;

    /// Starts a new epoch, so that commits of writers that have an earlier one are refused from now on.
    fn fence(&self) -> Result<Epoch, Error>;

    /// Applies commits, of one or several generations, all or none.
    fn commit_all(&self, commits: Vec<Commit>) -> Result<(), Error>;

    /// Applies one commit, whole or not at all.
    fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.commit_all(vec![commit])
    }

    /// Forces every commit made so far to the disk.
    fn sync(&self) -> Result<(), Error>;

    /// Starts a generation, unpublished. A view's version has at most one at a time.
    fn create_generation(&self, new: NewGeneration) -> Result<GenerationInfo, Error>;

    /// Applies commits and publishes the generations they are of, all or none, and forces it to the disk. A generation with an
    /// unfinished bulk load is refused.
    fn publish(&self, commits: Vec<Commit>) -> Result<(), Error>;

    /// Drops a generation with all it holds. Cuts taken before still see it. One of the release that serves is refused.
    fn drop_generation(&self, generation: Generation) -> Result<(), Error>;

    /// Forgets the rows of a queue before row `to`, `bytes` of them, which have left the store; forces it to the disk.
    fn take_out(&self, queue: &str, to: u64, bytes: u64) -> Result<(), Error>;

    /// Appends a set of definitions, provided that `expected` is the version applied last (0 for none); otherwise another apply came
    /// first, and this one is refused.
    fn apply_definitions(&self, expected: u64, new: NewDefinitions) -> Result<Definitions, Error>;

    /// Makes a release and lets it serve, by one forced write, provided that `expected` is the epoch of the last switch (0 for none); otherwise another switch came
    /// first, and this one is refused as Unavailable. Refuses definitions that are not known, and generations that are not published, were dropped, or are two of one view.
    fn promote(&self, expected: u64, release: NewRelease, switch: NewSwitch) -> Result<(Release, Switch), Error>;

    /// Lets release `to` serve again, likewise. Refuses one of whose generations one was dropped.
    fn roll_back(&self, expected: u64, to: u32, switch: NewSwitch) -> Result<Switch, Error>;
}

/// Reads everything of a store at one moment.
pub trait CutRead: Send + Sync {
    /// Calls `found(i, bytes)` for each state key in order, with `None` where there is nothing. `keys` need not be sorted.
    fn get_state(&self, generation: Generation, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error>;

    /// Calls `found(i, entry)` for each primary key of a source in order, with `None` where it is not known. `keys` need not be sorted.
    fn get_keys(&self, generation: Generation, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error>;

    /// How far each partition has been applied, in order of source and partition.
    fn positions(&self, generation: Generation) -> Result<Vec<(PartitionId, Position)>, Error>;

    /// What became of the rows of each source.
    fn counters(&self, generation: Generation) -> Result<BTreeMap<String, Counters>, Error>;

    /// What can be read and what may be forgotten.
    fn horizon(&self, generation: Generation) -> Result<Horizon, Error>;

    /// A generation that was not dropped; NotFound otherwise.
    fn generation(&self, generation: Generation) -> Result<GenerationInfo, Error>;

    /// Generations that were not dropped, published or not, in order of their numbers.
    fn generations(&self) -> Result<Vec<GenerationInfo>, Error>;

    /// The version that a view of this meaning and encoding has, or would have: that of a generation of it, a dropped one included, else one more than the greatest.
    /// No number comes to mean two things.
    fn version_for(&self, view: &str, meaning: Fingerprint, state: Fingerprint) -> Result<u32, Error>;

    /// Rows that came too late, by partition and row.
    fn refusals(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<Refusal, Error>> + '_>;

    /// Rows put aside, by partition and row.
    fn dead_letters(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_>;

    /// Rows of a partition that were put aside, from a row on.
    fn dead_letters_from(
        &self,
        generation: Generation,
        partition: &PartitionId,
        row: u64,
    ) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_>;

    /// Calls `visit(entity key, head)` for each entity, in order of state keys, until it fails.
    fn each_entity(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error>;

    /// The keys of up to `count` entities, in order of state keys: the first ones, or those that come after an entity.
    fn entities_after(&self, generation: Generation, entity: Option<&[u8]>, count: usize) -> Result<Vec<Vec<u8>>, Error>;

    /// Calls `visit(state key, bytes)` for each head and node, in order, until it fails. For checksums and checks, not for lookups.
    fn each_state(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error>;

    /// Calls `visit(source ordinal, primary key, entry)` for each dedup entry, in order, until it fails.
    fn each_key(&self, generation: Generation, visit: &mut dyn FnMut(u16, &[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error>;

    /// The queues of the outbox, by name.
    fn queues(&self) -> Result<BTreeMap<String, Queue>, Error>;

    /// How far each partition has been put into a queue.
    fn reached(&self, queue: &str) -> Result<BTreeMap<PartitionId, u64>, Error>;

    /// Calls `visit(first row, rows)` for what waits in a queue, in order, for as long as it says so.
    fn each_outgoing(&self, queue: &str, visit: &mut dyn FnMut(u64, &[u8]) -> Result<bool, Error>) -> Result<(), Error>;

    /// The definitions applied last.
    fn definitions(&self) -> Result<Option<Definitions>, Error>;

    /// The set of definitions of a number; `None` where there is none.
    fn definitions_numbered(&self, number: u64) -> Result<Option<Definitions>, Error> {
        Ok(self.definitions_history()?.into_iter().find(|known| known.version == number))
    }

    /// Every set of definitions ever applied, oldest first.
    fn definitions_history(&self) -> Result<Vec<Definitions>, Error>;

    /// Every release ever made, oldest first.
    fn releases(&self) -> Result<Vec<Release>, Error>;

    /// Every move of the pointer to the release that serves, oldest first.
    fn switches(&self) -> Result<Vec<Switch>, Error>;

    /// The release that serves, and the switch by which it does; `None` where nothing was ever promoted.
    fn serving(&self) -> Result<Option<(Release, Switch)>, Error>;
}
