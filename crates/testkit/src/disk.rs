//! A disk between a store and who reads it, that a test makes stall or fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use lockstep_model::{Error, Fingerprint, Generation, PartitionId, Position, StateKey};
use lockstep_store::{
    Counters, CutRead, DeadLetter, Definitions, GenerationInfo, Horizon, NotInMemory, Queue, Refusal, Release, SharedCut, SharedRead, Switch,
};

/// How a disk behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Everything is in memory.
    #[default]
    InMemory,
    /// Nothing is in memory, and the disk answers.
    Answers,
    /// Nothing is in memory, and the disk does not answer until it behaves otherwise.
    Stalls,
    /// Nothing is in memory, and the disk fails.
    Fails,
}

/// A disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    behaviour: Behaviour,
    /// Reads that wait for it.
    waiting: usize,
}

impl Disk {
    /// It behaves so from now on; what waits for it goes on, where it does not stall any more.
    pub fn behave(&self, behaviour: Behaviour) {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).behaviour = behaviour;
        self.0.changed.notify_all();
    }

    /// How many reads wait for it.
    pub fn waiting(&self) -> usize {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    /// The store under it.
    pub fn over(&self, cut: SharedCut) -> Box<dyn SharedRead> {
        let cut: Arc<dyn SharedRead> = Arc::new(cut);
        let read = |reach| Read { disk: self.clone(), reach, cut: Arc::clone(&cut) };
        Box::new(Both { whole: read(Reach::Disk), in_memory: read(Reach::Memory) })
    }

    fn ask(&self, reach: Reach) -> Result<(), Error> {
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        if reach == Reach::Memory {
            return if now.behaviour == Behaviour::InMemory { Ok(()) } else { Err(NotInMemory.into()) };
        }
        now.waiting += 1;
        now = self.0.changed.wait_while(now, |now| now.behaviour == Behaviour::Stalls).unwrap_or_else(PoisonError::into_inner);
        now.waiting -= 1;
        if now.behaviour == Behaviour::Fails { Err(Error::unavailable("the disk of the test fails")) } else { Ok(()) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Memory,
    Disk,
}

struct Both {
    whole: Read,
    in_memory: Read,
}

impl SharedRead for Both {
    fn whole(&self) -> &dyn CutRead {
        &self.whole
    }

    fn in_memory(&self) -> &dyn CutRead {
        &self.in_memory
    }
}

struct Read {
    disk: Disk,
    reach: Reach,
    cut: Arc<dyn SharedRead>,
}

impl Read {
    /// The store, once the disk has answered.
    fn asked(&self) -> Result<&dyn CutRead, Error> {
        self.disk.ask(self.reach)?;
        // Whether the test's store has it in memory is not the test's question.
        Ok(self.cut.whole())
    }
}

impl CutRead for Read {
    fn get_state(&self, generation: Generation, keys: &[StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.asked()?.get_state(generation, keys, found)
    }

    fn get_keys(&self, generation: Generation, source: u16, keys: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), Error> {
        self.asked()?.get_keys(generation, source, keys, found)
    }

    fn positions(&self, generation: Generation) -> Result<Vec<(PartitionId, Position)>, Error> {
        self.asked()?.positions(generation)
    }

    fn counters(&self, generation: Generation) -> Result<BTreeMap<String, Counters>, Error> {
        self.asked()?.counters(generation)
    }

    fn horizon(&self, generation: Generation) -> Result<Horizon, Error> {
        self.asked()?.horizon(generation)
    }

    fn generation(&self, generation: Generation) -> Result<GenerationInfo, Error> {
        self.asked()?.generation(generation)
    }

    fn generations(&self) -> Result<Vec<GenerationInfo>, Error> {
        self.asked()?.generations()
    }

    fn version_for(&self, view: &str, meaning: Fingerprint, state: Fingerprint) -> Result<u32, Error> {
        self.asked()?.version_for(view, meaning, state)
    }

    fn refusals(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<Refusal, Error>> + '_> {
        match self.asked() {
            Ok(cut) => cut.refusals(generation),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn dead_letters(&self, generation: Generation) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_> {
        match self.asked() {
            Ok(cut) => cut.dead_letters(generation),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn dead_letters_from(
        &self,
        generation: Generation,
        partition: &PartitionId,
        row: u64,
    ) -> Box<dyn Iterator<Item = Result<DeadLetter, Error>> + '_> {
        match self.asked() {
            Ok(cut) => cut.dead_letters_from(generation, partition, row),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn each_entity(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.asked()?.each_entity(generation, visit)
    }

    fn entities_after(&self, generation: Generation, entity: Option<&[u8]>, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        self.asked()?.entities_after(generation, entity, count)
    }

    fn each_state(&self, generation: Generation, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.asked()?.each_state(generation, visit)
    }

    fn each_key(&self, generation: Generation, visit: &mut dyn FnMut(u16, &[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.asked()?.each_key(generation, visit)
    }

    fn queues(&self) -> Result<BTreeMap<String, Queue>, Error> {
        self.asked()?.queues()
    }

    fn reached(&self, queue: &str) -> Result<BTreeMap<PartitionId, u64>, Error> {
        self.asked()?.reached(queue)
    }

    fn each_outgoing(&self, queue: &str, visit: &mut dyn FnMut(u64, &[u8]) -> Result<bool, Error>) -> Result<(), Error> {
        self.asked()?.each_outgoing(queue, visit)
    }

    fn definitions(&self) -> Result<Option<Definitions>, Error> {
        self.asked()?.definitions()
    }

    fn definitions_history(&self) -> Result<Vec<Definitions>, Error> {
        self.asked()?.definitions_history()
    }

    fn releases(&self) -> Result<Vec<Release>, Error> {
        self.asked()?.releases()
    }

    fn switches(&self) -> Result<Vec<Switch>, Error> {
        self.asked()?.switches()
    }

    fn serving(&self) -> Result<Option<(Release, Switch)>, Error> {
        self.asked()?.serving()
    }
}
