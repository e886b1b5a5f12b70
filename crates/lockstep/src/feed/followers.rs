//! Following logs for several sets of definitions at once: a thread for each, with consumers of its own, so that none waits for another.
//!
//! What is fed is decided anew when definitions or generations have changed, or the time has come for a version to be fed no more. A follower whose work stays goes on; one whose work
//! changes ends after the chunk under way, and its generations are taken up where they stand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressDrawTarget};
use lockstep_ingest::kafka::Kafka;
use lockstep_ingest::out::{Carriers, Outlets, Together};
use lockstep_ingest::pipeline::{self, Logs, Progress, StreamReport, Target, accept_gaps, follow};
use lockstep_ingest::push::{Push, PushLog};
use lockstep_ingest::source::Format;
use lockstep_model::{Clock, Error, EventTime, Generation, PartitionId, SystemClock};
use lockstep_serve::Lags;
use lockstep_store::{GenerationInfo, OnlineStore};

use super::wanted::{Why, Work, is_followable, lacks, note_in_step, planned, works};
use super::{Followed, Topics, outlets, say_stopped, stream_options};
use crate::output::Output;
use crate::owned::Owned;
use crate::progress::Display;

/// How often is looked whether to end, and how many looks apart whether something else is to be fed, or has come to its end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PLAN_EVERY: u32 = 10;
/// How often a generation is looked at that may have caught up, µs.
const NOTE_EVERY: i64 = 500_000;

/// What is followed, and who is told.
#[derive(Debug, Clone)]
pub struct How {
    /// The topics.
    pub topics: Topics,
    /// The push log, where somebody pushes.
    pub push: Option<Arc<PushLog>>,
    /// Told how logs stand.
    pub lags: Option<Arc<Lags>>,
    /// Where people are told.
    pub out: Output,
    /// Whether to go on until it is told to end, though nothing can be read any more: something else may come to be fed.
    pub stays: bool,
}

/// Followers of logs, that begin once they are told to.
#[derive(Debug)]
pub struct Followers {
    owned: Arc<Owned>,
    how: How,
    stop: Arc<AtomicBool>,
    outlets: Outlets,
    works: Vec<Work>,
    /// What the works were made from.
    seen: Seen,
}

/// What works are made from, as far as it changes.
#[derive(Debug, PartialEq)]
struct Seen {
    definitions: u64,
    /// How often the pointer to what serves was moved.
    epoch: u64,
    generations: Vec<GenerationInfo>,
}

/// A follower, or one that has ended and would come to the same end again.
struct Running {
    work: Key,
    why: Why,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<StreamReport, Error>>>,
}

/// What makes works the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    set: u64,
    serves: bool,
    generations: Vec<Generation>,
}

impl Key {
    fn of(work: &Work) -> Key {
        Key { set: work.set.version, serves: work.set.why == Why::Serves, generations: work.generations() }
    }
}

impl Followers {
    /// Decides what is to be fed, and goes on with logs that are not what was read where that is accepted.
    ///
    /// # Errors
    /// Where nothing is published; as [`accept_gaps`].
    pub fn new(owned: Arc<Owned>, how: How, stop: &Arc<AtomicBool>) -> Result<Followers> {
        let outlets = Outlets { together: Some(Arc::new(Together::default())), ..outlets(&owned, how.topics.instead.is_none()) };
        let seen = Seen::of(&owned)?;
        let works = super::published(&owned)?;
        let followers = Followers { owned, how, stop: Arc::clone(stop), outlets, works, seen };
        followers.works.iter().for_each(|work| followers.tell_lags(work));
        if followers.how.topics.accept_gap {
            followers.accept_gaps()?;
        }
        Ok(followers)
    }

    fn tell_lags(&self, work: &Work) {
        let Some(lags) = &self.how.lags else { return };
        for target in &work.targets {
            let sources: BTreeSet<&str> = target.sources.iter().map(|source| source.name.as_str()).collect();
            lags.follow(target.generation.generation, sources);
        }
    }

    fn accept_gaps(&self) -> Result<()> {
        for (work, sources) in self.followed(&self.works) {
            let follower = self.follower(work, sources, Arc::default())?;
            // None of them runs yet, and what a queue has may have to go back.
            let options = stream_options(
                &self.owned.project,
                (Format::Ndjson, Outlets { together: None, ..self.outlets.clone() }),
                &follower.sources,
                Vec::new(),
                &follower.stop,
            );
            let logs = Logs { kafka: follower.kafka.as_ref(), push: follower.push.as_ref() };
            for gap in accept_gaps(&*self.owned.store, &work.set.catalog, &work.targets, logs, &options)? {
                self.how.out.say(&format!("{} was read to {} and goes on at {}", gap.partition.partition, gap.read_to, gap.from));
            }
        }
        Ok(())
    }

    /// The works that have anything to follow, with the sources that are asked for. Where none has, the first says why.
    fn followed<'w>(&self, works: &'w [Work]) -> Vec<(&'w Work, Vec<String>)> {
        let followed: Vec<_> = works.iter().filter_map(|work| Some((work, self.sources(work)?))).collect();
        if followed.is_empty() { works.iter().take(1).map(|work| (work, self.how.topics.sources.clone())).collect() } else { followed }
    }

    fn sources(&self, work: &Work) -> Option<Vec<String>> {
        let (asked, read) = (&self.how.topics.sources, work.sources());
        let wanted: Vec<&str> = read.into_iter().filter(|name| asked.is_empty() || asked.iter().any(|asked| asked == name)).collect();
        let has_topic = |name: &&str| work.set.catalog.sources.get(*name).is_some_and(|source| source.options.topic.is_some());
        let is_followed = self.how.push.is_some() || self.how.topics.instead.is_some() || wanted.iter().any(has_topic);
        (is_followed && !wanted.is_empty()).then(|| if asked.is_empty() { Vec::new() } else { wanted.into_iter().map(str::to_owned).collect() })
    }

    /// Follows until it is told to stop, or nothing can be read any more.
    ///
    /// # Errors
    /// Where the store cannot be read or written.
    pub fn run(mut self) -> Result<Followed> {
        let (store, clock) = (Arc::clone(&self.owned.store) as Arc<dyn OnlineStore>, Arc::new(SystemClock));
        let carriers = Carriers::new(store, self.outlets.clone(), clock);
        let works = std::mem::take(&mut self.works);
        let mut run = Run { carriers, running: Vec::new(), followed: Followed::default(), failed: None, displays: displays() };
        self.start(works, &mut run);
        self.watch(&mut run);
        run.running.iter().for_each(|running| running.stop.store(true, Ordering::Relaxed));
        run.running.iter_mut().for_each(|running| running.join(&self, &mut run.followed, &mut run.failed));
        let Run { carriers, followed, failed, .. } = run;
        let carried = carriers.finish();
        failed.map_or(Ok(()), Err)?;
        carried?;
        if self.how.topics.until_end && self.how.topics.instead.is_none() && followed.report.complete {
            note_in_step(&self.owned)?;
        }
        Ok(followed)
    }

    /// Until all have ended, or it is told to end.
    fn watch(&mut self, run: &mut Run) {
        let (mut looks, mut told) = (0_u32, None);
        while !self.stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
            looks = looks.wrapping_add(1);
            for running in run.running.iter_mut().filter(|running| running.thread.as_ref().is_some_and(JoinHandle::is_finished)) {
                running.join(self, &mut run.followed, &mut run.failed);
            }
            if !self.how.stays && run.is_over(self.how.topics.until_end) {
                return;
            }
            if self.how.topics.until_end || !looks.is_multiple_of(PLAN_EVERY) {
                continue;
            }
            let planned = self.plan_again(run).map_err(|error| format!("{error:#}"));
            if let Err(error) = &planned
                && told.as_ref() != Some(error)
            {
                tracing::error!("decide what is to be fed: {error}");
            }
            told = planned.err();
        }
    }

    /// Ends the followers whose work has changed, and starts those that are missing.
    fn plan_again(&mut self, run: &mut Run) -> Result<()> {
        let now = SystemClock.now();
        let is_over = |running: &Running| matches!(running.why, Why::Until(until) if until <= now);
        let seen = Seen::of(&self.owned)?;
        if seen == self.seen && !run.running.iter().any(is_over) {
            return Ok(());
        }
        let works = {
            let _alone = self.owned.change();
            works(&self.owned)?
        };
        let keys: Vec<Key> = works.iter().map(Key::of).collect();
        let (stay, mut end): (Vec<Running>, Vec<Running>) =
            std::mem::take(&mut run.running).into_iter().partition(|running| keys.contains(&running.work));
        run.running = stay;
        end.iter().for_each(|running| running.stop.store(true, Ordering::Relaxed));
        for running in &mut end {
            running.join(self, &mut run.followed, &mut run.failed);
            self.owned.leave(&running.work.generations);
        }
        self.start(works, run);
        // Only now: what failed is tried again.
        self.seen = seen;
        Ok(())
    }

    /// Starts a follower of each work that has none.
    fn start(&self, works: Vec<Work>, run: &mut Run) {
        // The first of a name that is read says how what leaves is carried.
        run.carriers.carry(works.iter().flat_map(|work| work.targets.iter().flat_map(|target| &target.sources)));
        let followed: Vec<(Key, Vec<String>)> = self.followed(&works).into_iter().map(|(work, sources)| (Key::of(work), sources)).collect();
        for work in works {
            let key = Key::of(&work);
            let Some((_, sources)) = followed.iter().find(|(followed, _)| *followed == key) else { continue };
            if let Some(running) = run.running.iter_mut().find(|running| running.work == key) {
                running.why = work.set.why;
                continue;
            }
            self.owned.change().extend(&key.generations);
            self.tell_lags(&work);
            let stop = Arc::<AtomicBool>::default();
            let why = work.set.why;
            // One that cannot be begun ends as one that fails does.
            let follower = self.follower(&work, sources.clone(), Arc::clone(&stop));
            let display = Display::among(&run.displays);
            let thread = thread::spawn(move || follower.and_then(|follower| follower.run(work, display)));
            run.running.push(Running { work: key, why, stop, thread: Some(thread) });
        }
    }

    fn follower(&self, work: &Work, sources: Vec<String>, stop: Arc<AtomicBool>) -> Result<Follower, Error> {
        let How { topics, push, lags, .. } = &self.how;
        let push = push.clone().map(|log| Push { log, until_end: topics.until_end });
        let has_topic = || work.set.catalog.sources.values().any(|source| source.options.topic.is_some());
        let settings = (push.is_none() || has_topic()).then(|| self.owned.project.kafka()).transpose()?;
        let tells = work.set.why == Why::Serves;
        let kafka = settings.map(|settings| Kafka { settings, until_end: topics.until_end, instead: topics.instead.clone(), tells });
        let notes = topics.sources.is_empty() && topics.instead.is_none();
        Ok(Follower { owned: Arc::clone(&self.owned), outlets: self.outlets.clone(), lags: lags.clone(), kafka, push, sources, notes, stop })
    }

    fn say_ended(&self, work: &Key, error: &Error) {
        let is_expected = self.stop.load(Ordering::Relaxed) || (!self.how.stays && work.serves);
        if !is_expected {
            let what = if work.serves {
                "nothing more is applied, and what is there is served".to_owned()
            } else {
                format!("nothing more is applied for version {} of the definitions", work.set)
            };
            self.how.out.say(&format!("{what}: {error}"));
        }
    }
}

fn displays() -> MultiProgress {
    MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8))
}

/// What a run has going.
struct Run {
    carriers: Carriers,
    running: Vec<Running>,
    followed: Followed,
    failed: Option<Error>,
    displays: MultiProgress,
}

impl Run {
    /// Whether nothing goes on: nothing at all, or, of what has no end, nothing for what serves.
    fn is_over(&self, until_end: bool) -> bool {
        let serves = self.running.iter().any(|running| running.work.serves);
        let goes_on = |running: &Running| running.thread.is_some() && (until_end || running.work.serves || !serves);
        !self.running.iter().any(goes_on)
    }
}

impl Running {
    /// Waits for its end, and adds what it did.
    fn join(&mut self, followers: &Followers, followed: &mut Followed, failed: &mut Option<Error>) {
        let Some(thread) = self.thread.take() else { return };
        match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Ok(report) => {
                if let Err(error) = say_stopped(&report.stopped) {
                    followers.say_ended(&self.work, &error);
                }
                followed.add(self.work.serves, self.work.set, report);
            }
            Err(error) => {
                followers.say_ended(&self.work, &error);
                if let Some(lags) = &followers.how.lags {
                    self.work.generations.iter().for_each(|generation| lags.stopped(*generation, &error.to_string()));
                }
                failed.get_or_insert(error);
            }
        }
    }
}

/// One follower.
struct Follower {
    owned: Arc<Owned>,
    outlets: Outlets,
    lags: Option<Arc<Lags>>,
    kafka: Option<Kafka>,
    push: Option<Push>,
    sources: Vec<String>,
    /// Whether to note which generations have caught up.
    notes: bool,
    stop: Arc<AtomicBool>,
}

impl Follower {
    fn run(self, work: Work, mut display: Display) -> Result<StreamReport, Error> {
        let mut options = stream_options(&self.owned.project, (Format::Ndjson, self.outlets.clone()), &self.sources, Vec::new(), &self.stop);
        options.seen = self.lags.clone().map(|lags| {
            Arc::new(move |generation: Generation, entities: &mut dyn Iterator<Item = (&[u8], u64)>| {
                lags.entities().came(generation, SystemClock.now(), entities);
            }) as Arc<pipeline::Seen>
        });
        let logs = Logs { kafka: self.kafka.as_ref(), push: self.push.as_ref() };
        let mut noting = Noting::new(&work.targets, self.notes);
        let report = follow(&*self.owned.store, &work.set.catalog, &work.targets, logs, &options, &mut |progress| {
            self.owned.tell_ends(work.set.version, Some(&progress.ends));
            self.tell_lags(&work.targets, progress);
            noting.look(&self.owned, progress);
            display.show_as(&about(&work), progress);
        });
        self.owned.tell_ends(work.set.version, None);
        display.finish();
        report
    }

    fn tell_lags(&self, targets: &[Target], progress: &Progress) {
        let Some(lags) = &self.lags else { return };
        for target in targets {
            for source in &target.sources {
                let Some(lag) = lags.source(target.generation.generation, &source.name) else { continue };
                let logs = || progress.logs.iter().filter(|log| log.name == source.name);
                lag.told(logs().map(|log| log.behind).sum(), caught_up_at(progress, &source.name).flatten());
                if let Some(why) = logs().find_map(|log| log.stopped.as_ref()) {
                    lag.stopped(why);
                }
            }
        }
    }
}

/// What is said before the progress of a work that does not serve.
fn about(work: &Work) -> String {
    match work.set.why {
        Why::Serves => String::new(),
        Why::Next => format!("version {} of the definitions, to serve next · ", work.set.version),
        Why::Until(_) => format!("version {} of the definitions, that served · ", work.set.version),
    }
}

/// When the logs of a source were last all at their ends, where they have been; `None` where none of them is followed.
fn caught_up_at(progress: &Progress, source: &str) -> Option<Option<EventTime>> {
    let mut logs = progress.logs.iter().filter(|log| log.name == source).peekable();
    logs.peek()?;
    Some(logs.map(|log| log.caught_up_at).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min()))
}

/// The generations that have not caught up yet, of those that one follower feeds.
struct Noting<'a> {
    waiting: Vec<&'a Target>,
    looked_at: EventTime,
}

impl<'a> Noting<'a> {
    fn new(targets: &'a [Target], notes: bool) -> Self {
        let waiting = targets.iter().filter(|target| notes && target.generation.caught_up_at.is_none()).collect();
        Noting { waiting, looked_at: EventTime::MIN }
    }

    /// Notes which have come to the end of all their logs.
    fn look(&mut self, owned: &Owned, progress: &Progress) {
        let now = SystemClock.now();
        if self.waiting.is_empty() || now.0.saturating_sub(self.looked_at.0) < NOTE_EVERY {
            return;
        }
        self.looked_at = now;
        match self.caught_up(owned, progress) {
            Ok(noted) => self.waiting.retain(|target| !noted.contains(&target.generation.generation)),
            Err(error) => tracing::error!("note what has caught up: {error:#}"),
        }
    }

    fn caught_up(&self, owned: &Owned, progress: &Progress) -> Result<Vec<Generation>> {
        let at_ends = |target: &&&Target| target.sources.iter().all(|source| caught_up_at(progress, &source.name).is_none_or(|at| at.is_some()));
        let at_ends: Vec<&&Target> = self.waiting.iter().filter(at_ends).collect();
        if at_ends.is_empty() {
            return Ok(Vec::new());
        }
        let served = planned(owned)?.into_iter().find(|work| work.set.why == Why::Serves).map(|work| work.generations()).unwrap_or_default();
        let cut = OnlineStore::cut(&*owned.store);
        let mut noted = Vec::new();
        for target in at_ends {
            // Logs that nobody follows, such as files, must have been applied as far as they were to what serves.
            let counts = |id: &PartitionId| !(is_followable(&id.partition) && caught_up_at(progress, &id.source).is_some());
            if lacks(&*cut, target, &served, counts)?.is_empty() {
                noted.push(target.generation.generation);
            }
        }
        owned.store.note_keeping_up(&noted.iter().map(|generation| (*generation, true)).collect::<Vec<_>>())?;
        Ok(noted)
    }
}

impl Seen {
    fn of(owned: &Owned) -> Result<Seen> {
        let (definitions, epoch) = (owned.store.definitions_version(), owned.store.serving_epoch());
        Ok(Seen { definitions, epoch, generations: OnlineStore::cut(&*owned.store).generations()? })
    }
}
