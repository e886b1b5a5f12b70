//! `audit`: what was served, computed again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use lockstep_model::{Error, EventTime};
use lockstep_serve::admin::Progress;
use lockstep_store::OnlineStore;
use serde::{Deserialize, Serialize};

use super::{Context, verify};
use crate::ask;
use crate::audit::{Audited, Inputs, Versions, audit};
use crate::failure::Outcome;
use crate::feature_log::{Expired, LogDir};
use crate::kept::{Kept, KeptFile};
use crate::owned::Owned;

const EXAMPLES: &str = "\
Examples:
  lockstep audit                                   everything that the server has logged
  lockstep audit --service fraud_v1 --since 2024-03-08T00:00:00Z
  lockstep audit --log answers/                    answers that `get --keep` kept, or a log from elsewhere

Exit statuses: 0 every vector that was computed again is as it was served · 1 one is not · 2 an error, or nothing could be computed again";

/// Compute what was served again, as it was then and with all that is known by now
///
/// `lockstep serve` logs a share of the vectors that it serves where `[serve.feature_log]` says so. Each is computed twice from the inputs. Replay, at the positions it was served from, must give
/// the same bits, and so must the models on them, where vectors were scored; exits with 1 if anything differs. Hindsight, with all that is known by now, tells which values are others today, and why: events that lagged, that were late, that were
/// corrected or refused, and answers from the last known good. What cannot be computed any more is counted as not auditable; where that is all, it is an error.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The directory of the log, instead of the store's own
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// Only vectors of this feature service or view
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only vectors that were served at this moment or later
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub since: Option<EventTime>,
}

/// Audits a log.
///
/// # Errors
/// NotFound where there is none, or nothing of it can be computed again; where the store cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { log, service, since } = arguments;
    let log = log.as_deref().map(Log::read).transpose()?;
    let audited = context.ask(&Question { log, service: service.clone(), since: *since })?;
    context.out.show(&audited)?;
    match audited.nothing() {
        Some(nothing) => Err(nothing.into()),
        None => Ok(Outcome::of(audited.holds())),
    }
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// The log that the command line names; else the store's own.
    pub log: Option<Log>,
    /// Only vectors of this service or view.
    pub service: Option<String>,
    /// Only vectors that were served since.
    pub since: Option<EventTime>,
}

/// A log as it is read by who asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Log {
    /// Its files.
    pub files: Vec<KeptFile>,
    /// What is past its retention.
    pub expired: Expired,
}

impl Log {
    /// Reads the log in a directory.
    ///
    /// # Errors
    /// NotFound where there is none.
    pub fn read(dir: &Path) -> Result<Log> {
        let (files, expired) = LogDir::new(dir.to_owned()).read()?;
        if files.is_empty() && expired == Expired::default() {
            let advice = "[serve.feature_log] in lockstep.toml has `lockstep serve` log what it serves, once a file is due";
            return Err(Error::not_found(format!("nothing that was served is logged in {} · {advice}", dir.display())).into());
        }
        Ok(Log { files, expired })
    }

    /// The log that a question brings, or the store's own.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of(given: Option<&Log>, owned: &Owned) -> Result<Log> {
        match given {
            Some(Log { files, expired }) => Ok(Log { files: files.clone(), expired: *expired }),
            None => Log::read(&owned.project.feature_log_dir()),
        }
    }
}

impl ask::Question for Question {
    const VERB: &'static str = "audit";
    type Answer = Audited;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Audited> {
        progress("reading the log")?;
        let log = Log::of(self.log.as_ref(), owned)?;
        let mut kept: Vec<Kept> = Vec::new();
        for file in &log.files {
            kept.extend(file.read()?.into_iter().filter(|kept| self.is_wanted(kept)));
        }
        let cut = OnlineStore::cut(&*owned.store);
        let (files, models) = (verify::files(owned, &*cut)?, owned.models());
        let inputs = Inputs { files: &files, models: &models, since: None };
        let mut audited = audit(&*cut, &Versions::of(&*cut, &kept)?, inputs, &kept, false, progress)?;
        audited.past_retention(log.expired.vectors);
        Ok(audited)
    }
}

impl Question {
    fn is_wanted(&self, kept: &Kept) -> bool {
        let is_since = |since: EventTime| kept.logged.as_ref().is_none_or(|logged| logged.served_at.iter().any(|served| *served >= since.0));
        self.service.as_ref().is_none_or(|name| *name == kept.from.name) && self.since.is_none_or(is_since)
    }
}
