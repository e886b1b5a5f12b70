//! `serve`: owns the store, applies what comes, and answers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use arrow::array::RecordBatch;
use clap::Args;
use lockstep_ingest::push::PushLog;
use lockstep_model::{Clock, Error, EventTime, SystemClock};
use lockstep_serve::admin::{Admin, Answer, Description, Progress};
use lockstep_serve::feature_log::{FeatureLog, Taker};
use lockstep_serve::live::Live;
use lockstep_serve::metrics::Metrics;
use lockstep_serve::server::{Running, ServerOptions, Service, start};
use lockstep_serve::usage::Usage;
use lockstep_serve::{Lags, Pushes, Reports, warm};
use lockstep_transform::catalog::SourcePlan;

use super::Context;
use crate::ask;
use crate::failure::{self, Outcome};
use crate::feature_log::KeptLog;
use crate::feed::followers::{Followers, How};
use crate::feed::wanted::works;
use crate::feed::{self, Topics};
use crate::output::Output;
use crate::owned::Owned;
use crate::project::next_event;
use crate::release::watch::Watch;
use crate::reports::ReportLog;
use crate::watching::Watching;

/// How often a server looks whether it is to end, and whether other definitions serve by now.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const REFRESH_EVERY: u32 = 10;
/// How long it may take, once requests are over, until what was read is committed.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The file in the store's directory that says when what was asked for.
const USAGE: &str = "usage.json";

/// Answer requests for features, and apply what comes meanwhile
///
/// Owns the store, follows the Kafka topics of its sources, and answers over gRPC, and as JSON over HTTP, at one address. It says that it is ready once it is
/// warm, and ends when it is asked to (SIGTERM, or Ctrl-C): it takes no more requests, answers those it has, and commits what it has read. `[serve]` in lockstep.toml
/// says where it listens, whom it lets in and what a request may ask.
///
/// Every other verb works beside it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Address and port to listen on, instead of the project's setting
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Answer only: apply nothing
    #[arg(long)]
    pub no_ingest: bool,
    /// Where another process owns the store, stand by and take over when it ends or dies
    #[arg(long)]
    pub standby: bool,
}

/// Serves until it is asked to end.
///
/// # Errors
/// Where the store is another's, nothing is published, or the address is taken.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut project = context.project()?;
    if let Some(listen) = &arguments.listen {
        project.config.serve.listen.clone_from(listen);
    }
    let [drain, linger] = project.config.serve.ending();
    let stop = feed::stop_on_signals_within(drain + linger + END_WITHIN)?;
    let held = if arguments.standby { context.own_in_turn(&project, "serve", &stop)? } else { Some(context.own(&project, "serve")?) };
    let Some(held) = held else { return Ok(Outcome::Fine) };
    let owned = held.shared();
    let push = if arguments.no_ingest { None } else { Some(owned.project.push_log()?) };
    let lags = Arc::new(Lags::default());
    let followers = push.as_ref().map(|push| followers(&owned, push, &lags, context.out, &stop)).transpose()?;
    if followers.is_none() && works(&owned)?.is_empty() {
        return Err(feed::nothing_published().into());
    }
    let live = Live::new(Arc::clone(&owned.store), Arc::new(SystemClock), Arc::clone(&lags), next_event())?;
    let live = Arc::new(live.scoring(owned.models())?);
    owned.serves(&live);
    let log =
        owned.project.config.serve.feature_log.as_ref().map(|config| KeptLog::start(config, owned.project.feature_log_dir(), Arc::new(SystemClock)));
    let reports =
        owned.project.config.serve.feature_log.as_ref().map(|config| {
            Arc::new(ReportLog::new(&owned.project.feature_log_dir(), config.keep.micros(), Arc::new(SystemClock))) as Arc<dyn Reports>
        });
    let metrics = Arc::new(Metrics::new());
    let usage = Arc::new(usage(&owned));
    let watch = Watch::default();
    let watching = Watching::new(&owned.project.config.watch);
    owned.watched_by(&watching);
    let seen_by = SeenBy { log: log.clone(), reports, takers: vec![watch.taker(), watching.taker()], watching: &watching, usage: &usage };
    let (running, service) = listen(&owned, &live, push.as_ref(), seen_by, &metrics)?;
    let at = running.address();
    context.out.say(&format!("listening on {at}: gRPC, and JSON over HTTP"));
    warm(&live)?;
    running.ready();
    context.out.say(&format!("ready · {}", what_is_there(&live)));
    let ingester = followers.map(|followers| thread::spawn(move || followers.run()));
    watching.start(&owned, &live, &service)?;
    drop(service);
    look_after(&owned, &live, (&metrics, watch, &watching, &usage), (&context.out, &stop));
    context.out.say("ending: no more requests are taken");
    running.stop();
    watching.finish(&owned);
    live.finish();
    if let Some(log) = log {
        log.finish();
    }
    if let Err(error) = usage.finish() {
        tracing::warn!(%error, "note what is asked for");
    }
    let followed = ingester.map(|ingester| ingester.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    drop((live, owned));
    if let Some(followed) = followed {
        feed::say_stopped(&followed?.report.stopped)?;
    }
    Ok(Outcome::Fine)
}

/// What is known of what was asked for. A file that does not say it costs nothing but that.
fn usage(owned: &Owned) -> Usage {
    let (path, now) = (owned.project.store.join(USAGE), SystemClock.now());
    Usage::open(path.clone(), now).unwrap_or_else(|error| {
        tracing::warn!(%error, "when what was asked for is noted anew");
        Usage::anew(path, now)
    })
}

/// What follows topics and pushes until it is told to stop. What cannot be read on is told, and served with the lag that it has.
fn followers(owned: &Arc<Owned>, push: &Arc<PushLog>, lags: &Arc<Lags>, out: Output, stop: &Arc<AtomicBool>) -> Result<Followers> {
    let topics = Topics { sources: Vec::new(), until_end: false, accept_gap: false, instead: None };
    let how = How { topics, push: Some(Arc::clone(push)), lags: Some(Arc::clone(lags)), out, stays: true };
    Followers::new(Arc::clone(owned), how, stop)
}

/// Who looks at what is served, and what is kept of it.
struct SeenBy<'a> {
    log: Option<Arc<KeptLog>>,
    reports: Option<Arc<dyn Reports>>,
    takers: Vec<Arc<dyn Taker>>,
    watching: &'a Watching,
    usage: &'a Arc<Usage>,
}

fn listen(
    owned: &Arc<Owned>,
    live: &Arc<Live>,
    push: Option<&Arc<PushLog>>,
    SeenBy { log, reports, takers, watching, usage }: SeenBy<'_>,
    metrics: &Arc<Metrics>,
) -> Result<(Running, Arc<Service>)> {
    let config = &owned.project.config;
    let service = Service::new(Arc::clone(live), push.cloned().map(pushes), config.serve.limits(), Arc::clone(metrics));
    let service = service.logging(log.map(|log| log as Arc<dyn FeatureLog>)).watched(takers).watching(Some(watching.watcher()));
    let service = Arc::new(service.used(Arc::clone(usage)).reporting(reports));
    let asked = Arc::clone(owned);
    let answer = move |verb: &str, question: &str, progress: &Progress<'_>| {
        ask::answer(&asked, verb, question, progress).map_err(|error| failure::as_told(&error))
    };
    let answer: Arc<Answer> = Arc::new(answer);
    let description = Description::new("serve", owned.project.store.display().to_string(), SystemClock.now());
    let [drain, linger] = config.serve.ending();
    let options = ServerOptions {
        listen: config.serve.address()?,
        security: config.serve.security(&owned.project.dir)?,
        threads: config.serve.threads.map_or_else(|| config.threads(), std::num::NonZeroUsize::get),
        drain,
        linger,
    };
    let running = start(Arc::clone(&service), Some(Admin::new(description, answer, ask::writes)), options)?;
    Ok((running, service))
}

fn what_is_there(live: &Live) -> String {
    let catalog = &live.definitions().catalog;
    let deployments = catalog.definitions.deployments.keys();
    let names: Vec<&str> = deployments.chain(catalog.services.keys()).chain(catalog.views.keys()).map(String::as_str).collect();
    names.join(", ")
}

/// A push log as the server sees it.
struct Pushed(Arc<PushLog>);

fn pushes(log: Arc<PushLog>) -> Box<dyn Pushes> {
    Box::new(Pushed(log))
}

impl Pushes for Pushed {
    fn append(&self, source: &SourcePlan, rows: RecordBatch) -> Result<Range<u64>, Error> {
        self.0.append(source, rows).map(|appended| appended.first_row..appended.next_row)
    }

    fn heartbeat(&self, source: &SourcePlan, event_time: EventTime) -> Result<Range<u64>, Error> {
        self.0.heartbeat(source, event_time).map(|appended| appended.first_row..appended.next_row)
    }
}

/// How long is waited before what could not be taken up, such as a model that does not load, is tried again: each time twice as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    /// How often was looked meanwhile.
    looked: u32,
    /// How often is looked before it is tried.
    length: u32,
}

impl Pause {
    /// The longest: about a minute.
    const LOOKS_MAX: u32 = 64;

    fn after(before: Option<Pause>) -> Pause {
        Pause { looked: 0, length: before.map_or(1, |before| before.length.saturating_mul(2).min(Pause::LOOKS_MAX)) }
    }

    fn is_over(&mut self) -> bool {
        self.looked += 1;
        self.looked >= self.length
    }
}

/// Takes up what is to serve. Where that fails it is told once, until it has succeeded.
fn take_up(live: &Live, failing: &mut Option<Pause>) {
    let refreshed: Result<(), Error> = live.refresh();
    *failing = match refreshed {
        Ok(()) => None,
        Err(error) => {
            if failing.is_none() {
                tracing::error!(%error, "take up what has changed: what served goes on serving, and it is tried again with growing pauses");
            }
            Some(Pause::after(*failing))
        }
    };
}

/// Waits to be told to end. Meanwhile it takes up what is to serve, and takes a release back that answers worse than it may.
fn look_after(
    owned: &Owned,
    live: &Live,
    (metrics, mut watch, watching, usage): (&Metrics, Watch, &Watching, &Usage),
    (out, stop): (&Output, &AtomicBool),
) {
    let mut looked = 0_u32;
    let mut failing: Option<Pause> = None;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK_EVERY);
        looked = looked.wrapping_add(1);
        if looked.is_multiple_of(REFRESH_EVERY) {
            if failing.as_mut().is_none_or(Pause::is_over) {
                take_up(live, &mut failing);
            }
            if let Err(error) = usage.look(&metrics.answers(), live.now()) {
                tracing::warn!(%error, "note what is asked for");
            }
            if let Err(error) = watching.measure(owned, live) {
                tracing::debug!("read what is watched: {error:#}");
            }
            match watch.look(owned, live, || metrics.answers()) {
                Ok(None) => {}
                Ok(Some(reason)) => out.say(&format!("went back to the release before: {reason}")),
                Err(error) => tracing::error!(%error, "take a release back"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut pause = Pause::after(None);
        let mut tried = Vec::new();
        for look in 1..200 {
            if pause.is_over() {
                tried.push(look);
                pause = Pause::after(Some(pause));
            }
        }
        assert_eq!(tried, [1, 3, 7, 15, 31, 63, 127, 191]);
    }
}
