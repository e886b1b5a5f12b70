//! Asking: by this process where it can own the store, else by the one that does.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use lockstep_client::Security;
use lockstep_model::Error;
use lockstep_serve::admin::{AskError, Client, Progress};
use lockstep_store::Taken;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::owned::{Held, Owned};
use crate::progress::Display;
use crate::project::Project;
use crate::requests;
use crate::verbs::{
    Context, applied_log, apply, audit, backfill, dead_letters, doctor, drop, explain, get, migrate, model, plan, predictions, refusals, release,
    requested, score, snapshot, status, train, verify,
};

/// How long to try when an owner comes, goes or does not answer: longer than one that ends takes for what it has begun.
const PATIENCE: Duration = Duration::from_secs(20);
/// The first and the longest pause between two tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];
/// How often one that stands by looks whether it is its turn.
const STANDBY_PAUSE: Duration = Duration::from_millis(200);

/// The verbs of owners that stay, and feed.
const FEEDS: [&str; 2] = ["serve", "ingest"];

/// What a verb asks about a store. It holds whatever the owner needs: files that the command line names are read, and written, by who asks.
pub trait Question: Serialize + DeserializeOwned {
    /// The verb.
    const VERB: &'static str;
    /// Whether the store is another afterwards, so that a question is not asked twice where the first may have been answered. Such a question tells of no
    /// progress once it has changed anything.
    const WRITES: bool = false;
    /// Whether one that was cut short goes on where it was, asked again: then it is asked again though it writes, and tells of progress.
    const RESUMES: bool = false;
    /// Whether the store is made where it is not there.
    const MAKES_STORE: bool = false;
    /// What is answered.
    type Answer: Serialize + DeserializeOwned;

    /// Answers from an open store, while others may be writing to it: everything is read from one cut.
    ///
    /// # Errors
    /// The verb's own; and that of `progress`, which wants the work to end.
    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Self::Answer>;
}

/// Answers a question to one verb, both as JSON.
type Answerer = fn(&Owned, &str, &Progress<'_>) -> Result<String>;

/// Every verb that asks, how it is answered, and whether the store is another afterwards.
const ANSWERS: &[(&str, Answerer, bool)] = &[
    of::<plan::Question>(),
    of::<apply::Question>(),
    of::<apply::NewestQuestion>(),
    of::<apply::ListQuestion>(),
    of::<backfill::Question>(),
    of::<explain::Question>(),
    of::<requests::Question>(),
    of::<get::Question>(),
    of::<requested::Question>(),
    of::<score::Question>(),
    of::<predictions::PublishQuestion>(),
    of::<predictions::RollBackQuestion>(),
    of::<predictions::ListQuestion>(),
    of::<predictions::ShowQuestion>(),
    of::<train::origin::Question>(),
    of::<verify::Question>(),
    of::<audit::Question>(),
    of::<status::Question>(),
    of::<doctor::Question>(),
    of::<dead_letters::Question>(),
    of::<refusals::Question>(),
    of::<applied_log::Question>(),
    of::<drop::Question>(),
    of::<migrate::Question>(),
    of::<migrate::CheckQuestion>(),
    of::<release::promote::Question>(),
    of::<release::promote::ValidateQuestion>(),
    of::<release::rollback::Question>(),
    of::<release::ListQuestion>(),
    of::<release::ShowQuestion>(),
    of::<model::ListQuestion>(),
    of::<model::ShowQuestion>(),
    of::<release::DiffQuestion>(),
    of::<snapshot::create::Question>(),
    of::<snapshot::list::Question>(),
    of::<snapshot::show::Question>(),
    of::<snapshot::diff::Question>(),
    of::<snapshot::export::Question>(),
    of::<snapshot::validate::Question>(),
    of::<snapshot::drop::Question>(),
];

const fn of<Q: Question>() -> (&'static str, Answerer, bool) {
    (Q::VERB, answer_json::<Q>, Q::WRITES)
}

/// Whether a verb changes the store; one that is not known is refused later.
pub fn writes(verb: &str) -> bool {
    ANSWERS.iter().any(|(known, _, writes)| *known == verb && *writes)
}

fn answer_json<Q: Question>(owned: &Owned, question: &str, progress: &Progress<'_>) -> Result<String> {
    let unreadable = |error| Error::invalid(format!("this is no question to `lockstep {}`: {error}", Q::VERB));
    let question: Q = serde_json::from_str(question).map_err(unreadable)?;
    Ok(serde_json::to_string(&question.answer(owned, progress)?)?)
}

/// Answers a question to `verb`, both as JSON.
///
/// # Errors
/// Unavailable for a verb that this release does not know; the verb's own.
pub fn answer(owned: &Owned, verb: &str, question: &str, progress: &Progress<'_>) -> Result<String> {
    let Some((_, answer, _)) = ANSWERS.iter().find(|(known, ..)| *known == verb) else {
        let release = env!("CARGO_PKG_VERSION");
        let advice = "stop the owner, or have it run the same release";
        return Err(Error::unavailable(format!("the owner of the store, lockstep {release}, does not know `lockstep {verb}` · {advice}")).into());
    };
    answer(owned, question, progress)
}

impl Context {
    /// Has a question answered, by this process or by the owner of the store. The answer takes the same way from either, so that it is the same.
    ///
    /// # Errors
    /// The verb's own; Unavailable where there is an owner that does not answer.
    pub fn ask<Q: Question>(&self, question: &Q) -> Result<Q::Answer> {
        let question = serde_json::to_string(question)?;
        let display = RefCell::new(Display::new());
        if let Some(server) = &self.global.server {
            let answer = self.ask_server(server, Q::VERB, question, &mut |text| display.borrow_mut().step(text));
            display.borrow().finish();
            return Ok(serde_json::from_str(&answer?).map_err(unreadable)?);
        }
        let mut patience = Patience::default();
        let answer = loop {
            let project = self.project()?;
            if !Q::MAKES_STORE && !project.store.exists() {
                return Err(project.nothing_applied().into());
            }
            let taken = match Held::claim(project, Q::VERB)? {
                Ok(held) => {
                    let tell = |text: &str| {
                        display.borrow_mut().step(text);
                        Ok(())
                    };
                    break answer(&held, Q::VERB, &question, &tell);
                }
                Err(taken) => taken,
            };
            match ask_owner(&taken, Q::VERB, &question, &mut |text| display.borrow_mut().step(text)) {
                Ok(answer) => break Ok(answer),
                Err(AskError::Failed(error)) => break Err(error.into()),
                Err(AskError::Ended { begun: true, why }) if Q::WRITES && !Q::RESUMES => break Err(unfinished(Q::VERB, &taken, &why).into()),
                Err(AskError::Ended { why, .. }) if !patience.wait() => break Err(silent(&taken, &why).into()),
                Err(AskError::Ended { .. }) => {}
            }
        };
        display.borrow().finish();
        Ok(serde_json::from_str(&answer?).map_err(unreadable)?)
    }

    /// Whether there is a store to ask: that of the project, or a server's.
    pub fn has_store(&self, project: &Project) -> bool {
        self.global.server.is_some() || project.store.exists()
    }

    /// Has a server answer a question.
    fn ask_server(&self, server: &str, verb: &str, question: String, progress: &mut dyn FnMut(&str)) -> Result<String> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::invalid(format!("read {}: {error}", path.display())).caused_by(error));
        let security =
            Security { token: self.global.token.clone(), authority: self.global.authority.as_ref().map(read).transpose()?, identity: None };
        let asked = Client::connect_to(server, &security).and_then(|mut client| client.ask(verb, question, progress));
        asked.map_err(|error| match error {
            AskError::Failed(error) => error.into(),
            AskError::Ended { begun: true, why } => {
                Error::unavailable(format!("the server at {server} ended while it answered: {why} · whether it was done is not known; ask again"))
                    .into()
            }
            AskError::Ended { why, .. } => {
                Error::unavailable(format!("the server at {server} does not answer: {why} · is it there, and is this its address?")).into()
            }
        })
    }

    /// Refuses what needs the store itself where a server is to be asked.
    fn no_server(&self, verb: &str) -> Result<(), Error> {
        match &self.global.server {
            Some(_) => Err(Error::invalid(format!("`lockstep {verb}` needs the store itself · run it where the store is, without --server"))),
            None => Ok(()),
        }
    }

    /// Owns the store for `verb` and answers others until it is dropped. Waits a little for an owner that only answers a question.
    ///
    /// # Errors
    /// Unavailable where another process owns it, which it names; where the store cannot be opened.
    pub fn own(&self, project: &Project, verb: &str) -> Result<Held> {
        self.no_server(verb)?;
        self.claim(project, verb)?.map_err(|taken| Error::from(taken).into())
    }

    /// As [`Self::own`]; `None` where the one to be asked is a server, or an owner that stays and can do the same beside its work.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn own_or_ask(&self, project: &Project, verb: &str) -> Result<Option<Held>> {
        if self.global.server.is_some() {
            return Ok(None);
        }
        match self.claim(project, verb)? {
            Ok(held) => Ok(Some(held)),
            Err(taken) if taken.owner.as_ref().is_some_and(|owner| FEEDS.contains(&owner.verb.as_str())) => Ok(None),
            Err(taken) => Err(Error::from(taken).into()),
        }
    }

    /// The store, or who has it once it was waited for those who will be gone in a moment.
    fn claim(&self, project: &Project, verb: &str) -> Result<Result<Held, Taken>> {
        let mut patience = Patience::default();
        loop {
            if !project.store.exists() {
                return Err(project.nothing_applied().into());
            }
            match Held::claim(project.clone(), verb)? {
                Err(taken) if is_passing(&taken) && patience.wait() => {}
                claimed => return Ok(claimed),
            }
        }
    }

    /// As [`Self::own`], but stands by while another process owns the store, however long, and takes over when that ends or dies; `None` where it is told to stop
    /// before. The lock goes with its process, so that there is never a moment with two.
    ///
    /// # Errors
    /// As [`Self::own`], but for the owner.
    pub fn own_in_turn(&self, project: &Project, verb: &str, stop: &AtomicBool) -> Result<Option<Held>> {
        self.no_server(verb)?;
        let mut told = None;
        while !stop.load(Ordering::Relaxed) {
            if !project.store.exists() {
                return Err(project.nothing_applied().into());
            }
            let taken = match Held::claim(project.clone(), verb)? {
                Ok(held) => {
                    if told.is_some() {
                        self.out.say("took over");
                    }
                    return Ok(Some(held));
                }
                Err(taken) => taken.to_string(),
            };
            if told.as_ref() != Some(&taken) {
                self.out.say(&format!("standing by: {taken}"));
                told = Some(taken);
            }
            sleep(STANDBY_PAUSE);
        }
        Ok(None)
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::internal(format!("the owner's answer cannot be read · {error} · ask with the owner's release, or stop the owner"))
}

fn ask_owner(taken: &Taken, verb: &str, question: &str, progress: &mut dyn FnMut(&str)) -> Result<String, AskError> {
    Client::connect(&taken.dir)?.ask(verb, question.to_owned(), progress)
}

/// Whether an owner is one that asks a question, and will be gone when it is answered. A backfill may take long.
fn is_passing(taken: &Taken) -> bool {
    let passes = |verb: &str| verb != backfill::Question::VERB && ANSWERS.iter().any(|(known, ..)| *known == verb);
    taken.owner.as_ref().is_none_or(|owner| passes(&owner.verb))
}

fn silent(taken: &Taken, why: &str) -> Error {
    Error::unavailable(format!("{taken} · it does not answer: {why} · stop it, or wait until it ends"))
}

fn unfinished(verb: &str, taken: &Taken, why: &str) -> Error {
    Error::unavailable(format!("{taken} · it ended while it answered: {why} · whether it was done is not known; run `lockstep {verb}` again"))
}

/// How long to go on trying.
#[derive(Debug, Default)]
struct Patience {
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Waits before another try; false where it was tried for long enough.
    #[allow(clippy::disallowed_methods, reason = "how long to wait for another process; nothing is computed from it")]
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + PATIENCE);
        self.pause = (self.pause * 2).clamp(PAUSES[0], PAUSES[1]);
        sleep(self.pause);
        now < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_are_of_one_verb() {
        let mut verbs: Vec<&str> = ANSWERS.iter().map(|(verb, ..)| *verb).collect();
        verbs.sort_unstable();
        assert!(verbs.is_sorted_by(|a, b| a < b), "{verbs:?}");
    }
}
