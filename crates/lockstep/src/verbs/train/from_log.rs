//! Training sets of what was served: what they are told, and how they are made. What belongs to what is decided in [`crate::train::served`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use arrow::ipc::writer::StreamWriter;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use lockstep_model::{Clock, Error, EventTime, SystemClock, TimeMode};
use lockstep_transform::definition::{Interval, sql_name};

use super::{Arguments, FORMAT, PART_ROWS, Trained, check_stop};
use crate::feature_log::LogDir;
use crate::feed::stop_on_signals;
use crate::progress::Display;
use crate::reports::Reported;
use crate::requests::MOMENT;
use crate::text::grouped;
use crate::train::served::{
    By, Caps, Decisions, DecisionsReport, FromLog, Group, Joined, OUTCOMES, Outcomes, PROPENSITY, Propensity, Rows, Scan, ServedLog, ServedReport,
    Wants, Weighed, check_asked_with, columns_reported, join, weigh,
};
use crate::train::{Directory, Job, Manifest, ManifestColumn, ManifestPart, PartReport, TrainingReport, columns_in, digest, write_part};
use crate::verbs::Context;

/// What a training set from the feature log is told.
#[derive(Debug, Args)]
#[command(next_help_heading = "From the feature log")]
pub struct LogArguments {
    /// Make it of what `lockstep serve` has logged, as it was served
    #[arg(long, conflicts_with_all = ["spine", "spine_sql", "every", "timestamp", "before", "time", "until", "applied", "snapshot", "allow_own_events"])]
    pub from_log: bool,
    /// What became of it: Parquet, CSV or NDJSON files, or patterns, with a moment at which each outcome was known; by default what was reported to the server
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "from_log")]
    pub outcomes: Vec<String>,
    /// The outcomes' column of moments; by default outcome_time, or their only timestamp
    #[arg(long, value_name = "COLUMN", requires = "outcomes")]
    pub outcome_time: Option<String>,
    /// Only outcomes known by this moment; by default all, up to the newest
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse, requires = "from_log")]
    pub outcomes_until: Option<EventTime>,
    /// Columns of the request by which an outcome is of the newest row before it; by default it is found by request_id (and request_row)
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires_all = ["outcomes", "within"])]
    pub on: Vec<String>,
    /// A row for each ranked candidate that was answered, told by this output of the service, in place of a row of lists for each request; outcomes have a column of its name
    #[arg(long, value_name = "OUTPUT", requires = "from_log", conflicts_with = "on")]
    pub each_candidate: Option<String>,
    /// With --on: how long after a row its outcome comes at the latest, such as '30 days'
    #[arg(long, value_name = "INTERVAL", requires = "on")]
    pub within: Option<Interval>,
    /// Keep at most so many rows of a request, by a hash of its id, and weigh them for those that go
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..), requires = "from_log")]
    pub per_decision: Option<u64>,
    /// Keep at most so many rows of an entity, likewise
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..), requires = "from_log")]
    pub per_entity: Option<u64>,
    /// The columns of the request that are the entity; by default the only one
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "per_entity")]
    pub entity: Vec<String>,
    /// Weigh rows by one over the propensity in this column of the outcomes or the request; `propensity` is that of decisions
    #[arg(long, value_name = "COLUMN", requires_all = ["from_log", "weight_max"])]
    pub propensity: Option<String>,
    /// The largest weight there may be; larger ones are cut to it, and counted
    #[arg(long, value_name = "WEIGHT", value_parser = weight_max, requires = "propensity")]
    pub weight_max: Option<f64>,
    /// Only rows that mean what these definitions do, where the log has others too
    #[arg(long = "set", alias = "answered-by", value_name = "NUMBER", requires = "from_log")]
    pub answered_by: Option<u64>,
    /// The directory of the log, instead of the store's own
    #[arg(long, value_name = "DIR", requires = "from_log")]
    pub log: Option<PathBuf>,
}

fn weight_max(text: &str) -> Result<f64, String> {
    let weight: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if weight >= 1.0 && weight.is_finite() { Ok(weight) } else { Err(format!("{text} bounds no weight: write a number of 1 or more, such as 20")) }
}

/// All that a training set of what was served is made from.
struct Serving<'a> {
    arguments: &'a Arguments,
    log: &'a ServedLog,
    scan: &'a Scan,
    group: &'a Group,
    by: &'a By,
    outcomes: &'a Outcomes,
    until: Option<EventTime>,
    joined: &'a Joined,
    weighed: &'a Weighed,
    /// How rows are put together.
    rows: Rows<'a>,
}

/// Makes a training set of what was served.
///
/// # Errors
/// NotFound where nothing is logged; Invalid where outcomes cannot be found to belong to rows, or rows do not mean the same; where files cannot be read.
pub fn make(context: &Context, arguments: &Arguments) -> Result<Trained> {
    let (told, name) = (&arguments.log, arguments.name.as_str());
    let dir = told.log.clone().map_or_else(|| Ok::<_, anyhow::Error>(context.project()?.feature_log_dir()), Ok)?;
    let stop = stop_on_signals()?;
    let mut display = Display::new();
    let each_candidate = told.each_candidate.as_deref();
    let reported = Reported::read(&dir, each_candidate)?;
    let found = match told.outcomes.first() {
        Some(first) => columns_in(first, OUTCOMES)?,
        None => columns_reported(&reported)?.into(),
    };
    let by = By::of(&told.on, told.within.map(|within| within.micros()), each_candidate, &found)?;
    let log = ServedLog::open(&LogDir::new(dir), name, each_candidate.is_some())?;
    let of_outcomes = told.propensity.as_deref().filter(|column| found.field_with_name(column).is_ok());
    let mut of_request = told.propensity.as_deref().filter(|_| of_outcomes.is_none());
    let wants = Wants { by: &by, entity: told.per_entity.map(|_| told.entity.as_slice()), propensity: of_request };
    let scan = log.scan(&wants, &mut |rows| {
        display.step(&format!("reading the log · {} rows", grouped(rows as u64)));
        check_stop(&stop)
    })?;
    let chosen = scan.choose(name, told.answered_by)?;
    let group = &scan.groups[chosen];
    // That of decisions, where rows were not asked with a column of its name.
    let is_of_decisions = of_request == Some(PROPENSITY) && group.request.field_with_name(PROPENSITY).is_err();
    of_request = of_request.filter(|_| !is_of_decisions);
    of_request.iter().copied().chain(told.entity.iter().map(String::as_str)).try_for_each(|column| check_asked_with(group, column))?;
    let outcomes = match told.outcomes.as_slice() {
        [] => Outcomes::reported(&reported, by.item(group)?)?,
        files => Outcomes::read(files, told.outcome_time.as_deref(), arguments.given.time_zone, &by, group)?,
    };
    // What callers say that they did is said of rows of requests; of a candidate it is its place that was decided.
    let decisions = Decisions::of(&scan, each_candidate.is_none().then_some(&reported))?;
    let until = told.outcomes_until.or(outcomes.newest());
    let joined = join(&scan.rows, &outcomes, &by, until)?;
    let propensity = told.propensity.as_deref().zip(told.weight_max).map(|(column, weight_max)| {
        let of_decisions = is_of_decisions.then(|| decisions.as_ref().map(Decisions::propensities).ok_or_else(no_decisions)).transpose()?;
        let of_outcomes = of_outcomes.map(|column| outcomes.propensities(column)).transpose()?.flatten();
        Ok::<_, Error>(Propensity { column, of_outcomes, of_decisions, weight_max })
    });
    let caps = Caps { per_decision: told.per_decision, per_entity: told.per_entity };
    let weighed = weigh(&scan, chosen, caps, &joined.outcomes, propensity.transpose()?.as_ref())?;
    let rows = Rows::new(group, &outcomes, decisions.as_ref(), arguments.statuses)?;
    let serving = Serving { arguments, log: &log, scan: &scan, group, by: &by, outcomes: &outcomes, until, joined: &joined, weighed: &weighed, rows };
    let mut report = ServedReport::new(&scan, chosen, &joined, &weighed);
    report.outcomes_until = until.map(|until| until.to_string());
    report.decisions = decisions.as_ref().map(|decisions| decisions.report(&weighed.stays, &joined.outcomes));
    let trained = serving.write(report, &stop, &mut display);
    display.finish();
    trained
}

fn no_decisions() -> Error {
    let what = "nothing says with which propensity it was decided what to do with rows";
    let advice = "declare actions and explore in CREATE DEPLOYMENT, or report decisions with propensities (ReportDecision)";
    Error::invalid(format!("{what} · the log has no decisions, and none were reported · {advice}"))
}

impl Serving<'_> {
    /// Writes the training set to where it is to be.
    fn write(&self, report: ServedReport, stop: &AtomicBool, display: &mut Display) -> Result<Trained> {
        let (parts, directory) = if self.arguments.out.as_os_str() == "-" {
            (self.stream(stop)?, None)
        } else {
            let job = self.job();
            let mut directory = Directory::begin(&self.arguments.out, &job)?;
            let skip = usize::try_from(directory.rows())?;
            let mut done = directory.rows();
            self.parts(skip, directory.parts.is_empty(), stop, &mut |rows, report| {
                done += report.rows;
                display.step(&format!("writing · {} rows", grouped(done)));
                let part = write_part(directory.partial(), directory.parts.len(), rows, &job, report)?;
                directory.parts.push(part);
                Ok(())
            })?;
            (directory.parts.clone(), Some((directory, job)))
        };
        let digest = directory.is_some().then(|| digest(&parts));
        let trained = Trained {
            name: self.arguments.name.clone(),
            out: directory.is_some().then(|| self.arguments.out.display().to_string()),
            time: self.group.time,
            files: if directory.is_some() { parts.len() as u64 } else { 0 },
            bytes: parts.iter().map(|part| part.bytes).sum(),
            digest: digest.clone(),
            events: 0,
            origin: "the feature log".to_owned(),
            put_aside: Vec::new(),
            report: self.report(&parts, report)?,
        };
        if let (Some((directory, job)), Some(digest)) = (directory, digest) {
            directory.finish(&self.manifest(job, &parts, digest, trained.report.clone()))?;
        }
        Ok(trained)
    }

    /// Writes the training set to standard output.
    fn stream(&self, stop: &AtomicBool) -> Result<Vec<PartReport>> {
        let mut writer = StreamWriter::try_new(io::BufWriter::new(io::stdout().lock()), &self.rows.schema)?;
        let mut parts = Vec::new();
        self.parts(0, true, stop, &mut |rows, report| {
            parts.push(report);
            Ok(writer.write(rows)?)
        })?;
        writer.finish()?;
        Ok(parts)
    }

    /// Reads the log again and gives the rows that stay, but for the first few, in parts. Where there are none, one without rows if it `may_be_empty`.
    fn parts(
        &self,
        mut skip: usize,
        may_be_empty: bool,
        stop: &AtomicBool,
        give: &mut dyn FnMut(&RecordBatch, PartReport) -> Result<()>,
    ) -> Result<()> {
        let mut waiting = self.rows.waiting();
        let (mut before, mut given) = (0, false);
        for (file, scanned) in self.log.files().iter().zip(&self.scan.files) {
            check_stop(stop)?;
            let (answers, sha256) = self.log.read(file)?;
            if sha256 != scanned.identity {
                return Err(Error::unavailable(format!("{} changed while it was read · run it again", scanned.file)).into());
            }
            for kept in &answers {
                let mut stay: Vec<usize> = (0..kept.len()).filter(|row| self.weighed.stays[before + row]).collect();
                let skipped = skip.min(stay.len());
                skip -= skipped;
                stay.drain(..skipped);
                waiting.push(self.rows.of(kept, &stay, before, self.joined, self.weighed)?);
                before += kept.len();
                while let Some(all) = waiting.take(PART_ROWS)? {
                    self.give(&all, give)?;
                    given = true;
                }
            }
        }
        let last = waiting.rest()?;
        if last.num_rows() > 0 || (!given && may_be_empty) {
            self.give(&last, give)?;
        }
        Ok(())
    }

    fn give(&self, all: &RecordBatch, give: &mut dyn FnMut(&RecordBatch, PartReport) -> Result<()>) -> Result<()> {
        let (rows, features) = self.rows.part(all)?;
        give(&rows, PartReport::served(rows.num_rows() as u64, self.rows.recalled(&rows), features))
    }

    fn report(&self, parts: &[PartReport], mut served: ServedReport) -> Result<TrainingReport> {
        let names: Vec<String> = self.group.outputs.iter().map(|field| field.name().clone()).collect();
        let types: Vec<_> = self.group.outputs.iter().map(|field| field.data_type().clone()).collect();
        let mut report = TrainingReport::new(&names, &types, parts, None)?;
        served.last_known_good = parts.iter().map(|part| part.last_known_good).sum();
        report.warnings.extend(self.warnings());
        report.warnings.extend(served.decisions.as_ref().and_then(DecisionsReport::warning));
        report.served = Some(served);
        Ok(report)
    }

    /// What deserves a look.
    fn warnings(&self) -> Vec<String> {
        let shares = &self.scan.shares;
        let listed = shares.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        let is_part = shares.iter().any(|share| *share < 1.0);
        [
            (shares.len() > 1).then(|| format!("the share that is logged was changed: {listed} · weights do not undo that")),
            (is_part && matches!(self.by, By::Columns { .. })).then(|| {
                format!(
                    "a share of {listed} is logged: an outcome may be of a request that is not in the log, and is taken for that of an earlier one"
                )
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn job(&self) -> Job {
        let told = &self.arguments.log;
        let within = if let By::Columns { within, .. } = self.by { Some(*within) } else { None };
        let from_log = FromLog {
            outcomes: self.outcomes.files.clone(),
            joined_by: self.by.columns(),
            each_candidate: told.each_candidate.clone(),
            within,
            outcome_time: self.outcomes.timestamp.clone(),
            outcomes_until: self.until.map(|until| until.to_string()),
            answered_by: told.answered_by,
            shares: self.scan.shares.clone(),
            per_decision: told.per_decision,
            per_entity: told.per_entity,
            entity: told.entity.clone(),
            propensity: told.propensity.clone(),
            weight_max: told.weight_max,
        };
        Job {
            format: FORMAT,
            name: self.arguments.name.clone(),
            meaning: self.group.meaning.map_or_else(String::new, |meaning| meaning.to_string()),
            views: self.group.views.clone(),
            time: if self.group.time == TimeMode::Known { "known" } else { "event" }.to_owned(),
            spine: self.scan.files.clone(),
            timestamp: MOMENT.to_owned(),
            before: 0,
            statuses: self.arguments.statuses,
            until: None,
            inputs: Vec::new(),
            part_rows: PART_ROWS as u64,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            from_log: Some(from_log),
            from_store: None,
            scores: None,
        }
    }

    fn manifest(&self, job: Job, parts: &[PartReport], digest: String, report: TrainingReport) -> Manifest {
        let column = |(field, role): (&Arc<Field>, &&str)| ManifestColumn {
            name: field.name().clone(),
            data_type: sql_name(field.data_type()),
            role: (*role).to_owned(),
        };
        Manifest {
            job,
            created_at: SystemClock.now().to_string(),
            columns: self.rows.schema.fields().iter().zip(&self.rows.roles).map(column).collect(),
            parts: parts.iter().map(ManifestPart::of).collect(),
            digest,
            report,
        }
    }
}
