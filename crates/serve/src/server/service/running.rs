//! On which thread a request is answered, how long it waits for its turn, and what stands before the disk.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;
use tonic::Code;

use super::super::deadline::Until;
use super::super::failure::{About, Failure};
use super::{How, Origin, PUSHING_MAX, STREAMS_MAX, Service};

/// How many times as long as a small read a push may take.
const PUSH_TIMES: u32 = 5;

impl Service {
    /// Does what a request asks for, on the thread that took it where it is small and what it reads is in memory, else on one that may wait for the disk. Where the
    /// store fails or takes too long, it is done with what was read last.
    ///
    /// # Errors
    /// Those of `work`; Unavailable where the disk was seen not to answer; ResourceExhausted where too many wait for it already; DeadlineExceeded.
    pub async fn run<T, W>(self: &Arc<Self>, how: How, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: Fn(&Service, Origin) -> Result<T, Failure> + Send + Sync + 'static,
    {
        if how.is_small {
            match work(self, Origin::Memory) {
                Err(failure) if failure.about == About::Memory => {}
                done => return done,
            }
        }
        let work = Arc::new(work);
        let mut reading = pin!(self.read(how, Arc::clone(&work)));
        let Some(instead) = how.instead else { return reading.await };
        match timeout_at(instead, reading.as_mut()).await {
            Ok(Err(failure)) if failure.about == About::Reading => work(self, Origin::LastKnown).map_err(|_| failure),
            Ok(done) => done,
            Err(_) => match work(self, Origin::LastKnown) {
                Ok(done) => Ok(done),
                // There is still some time.
                Err(_) => reading.await,
            },
        }
    }

    /// Does work on a thread that may wait for the disk, when its turn comes. What nobody waits for any more by then is not done.
    async fn read<T, W>(self: &Arc<Self>, how: How, work: Arc<W>) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: Fn(&Service, Origin) -> Result<T, Failure> + Send + Sync + 'static,
    {
        if self.reads.is_open() {
            return Err(not_asked());
        }
        let queue = if how.is_small { &self.small } else { &self.large };
        let turn = queue.turn(&how.until).await?;
        let (teller, told) = oneshot::channel();
        let service = Arc::clone(self);
        spawn_blocking(move || {
            let _turn = turn;
            if !teller.is_closed() && how.until.check().is_ok() {
                // Whoever waited may be gone by now.
                let _ = teller.send(service.read_now(how.times, |service| work(service, Origin::Disk)));
            }
        });
        match timeout_at(how.until.at(), told).await {
            Ok(Ok(done)) => done,
            // Where the work was not begun in time, nothing is told.
            Ok(Err(_)) if how.until.check().is_ok() => {
                Err(Failure::new(Code::Internal, "the request was not answered · please report it with what the server printed"))
            }
            Ok(Err(_)) | Err(_) => Err(how.until.exceeded().of_reading()),
        }
    }

    /// Does work on this thread, which may wait for the disk; `times` as long as a small read may take.
    ///
    /// # Errors
    /// Those of `work`; Unavailable where the disk was seen not to answer.
    pub fn read_now<T>(&self, times: u32, work: impl FnOnce(&Service) -> Result<T, Failure>) -> Result<T, Failure> {
        let pass = self.reads.admit(times).map_err(|_| not_asked())?;
        let done = work(self);
        // What is damaged is read as well as anything: it says nothing of the rest.
        let failed = done.as_ref().is_err_and(|failure| failure.about == About::Reading && failure.code != Code::DataLoss);
        pass.ended(!failed);
        done
    }

    /// A place among the answers that are streamed.
    ///
    /// # Errors
    /// ResourceExhausted where there is none.
    pub fn stream(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let full = |_| Failure::new(Code::ResourceExhausted, format!("{STREAMS_MAX} answers are streamed already · try again in a moment"));
        Arc::clone(&self.streams).try_acquire_owned().map_err(full)
    }

    /// A place among the requests whose rows a shadow scores; `None` where there is none.
    pub fn shadows(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.shadows).try_acquire_owned().ok()
    }

    /// Does what writes to the disk on a thread of its own.
    ///
    /// # Errors
    /// Those of `work`; Unavailable where the disk was seen not to answer; ResourceExhausted where too many wait already; DeadlineExceeded.
    pub async fn push<T: Send + 'static>(&self, until: Until, work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
        let full = |_| Failure::new(Code::ResourceExhausted, format!("{PUSHING_MAX} pushes wait already · try again in a moment"));
        let place = Arc::clone(&self.pushing).try_acquire_owned().map_err(full)?;
        let not_asked =
            |_| Failure::new(Code::Unavailable, "the disk has not answered lately, and is tried again in a moment · nothing was taken: push again");
        let pass = self.writes.admit(PUSH_TIMES).map_err(not_asked)?;
        // Not dropped with who asked: what was begun is written.
        let pushing = spawn_blocking(move || {
            let _place = place;
            let done = work();
            // A disk that says that it is full has answered.
            pass.ended(true);
            done
        });
        let unknown = |why: &str| format!("whether the push was taken is not known: {why} · repeat it");
        let late = |_| Failure { message: unknown(&until.exceeded().message), ..until.exceeded() };
        let lost = |error: tokio::task::JoinError| Failure::new(Code::Internal, unknown(&error.to_string()));
        timeout_at(until.at(), pushing).await.map_err(late)?.map_err(lost)?
    }
}

fn not_asked() -> Failure {
    let message = "reading the store has failed or stalled several times, and is tried again in a moment · its disk has to be looked at";
    Failure::new(Code::Unavailable, message).of_reading()
}
