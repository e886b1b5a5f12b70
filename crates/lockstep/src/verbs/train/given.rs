//! Which rows are wanted, and which events their features are computed from.

use clap::Args;
use lockstep_ingest::source::zone::Zone;
use lockstep_model::EventTime;
use lockstep_transform::definition::Interval;

use crate::verbs::verify::Time;

/// Rows of a spine.
#[derive(Debug, Args)]
pub struct Given {
    /// The spine: a Parquet, CSV or NDJSON file, or a pattern
    #[arg(long, value_name = "FILE", requires = "target")]
    pub spine: Option<String>,
    /// A query whose rows are the spine, over sources and files as `lockstep sql` has them
    #[arg(long, value_name = "QUERY", conflicts_with = "spine", requires = "target")]
    pub spine_sql: Option<String>,
    /// In place of a spine: every entity, once in so long a time, such as '1 hour'
    #[arg(long, value_name = "INTERVAL", conflicts_with_all = ["spine", "spine_sql", "timestamp"], requires_all = ["from", "to", "target"])]
    pub every: Option<Interval>,
    /// The first moment of --every
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse, requires = "every")]
    pub from: Option<EventTime>,
    /// The last moment of --every
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse, requires = "every")]
    pub to: Option<EventTime>,
    /// The spine's column of moments; by default request_time, or its only timestamp
    #[arg(long, value_name = "COLUMN")]
    pub timestamp: Option<String>,
    /// Ask this long before the timestamp, such as '2 hours'
    #[arg(long, value_name = "INTERVAL", default_value = "0 seconds")]
    pub before: Interval,
    /// The zone of the spine's timestamps that say none
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: Zone,
    /// Which clock counts events; that of knowledge by default, where the definitions have it
    #[arg(long, value_enum)]
    pub time: Option<Time>,
}

/// Which events the features of rows are computed from.
#[derive(Debug, Args)]
pub struct Events {
    /// Only what was known before this moment, of batch files
    #[arg(long, value_name = "MOMENT", value_parser = EventTime::parse)]
    pub until: Option<EventTime>,
    /// Compute from all that the store has applied by now, logs, topics and pushes included, by the definitions that it serves
    #[arg(long, conflicts_with = "until")]
    pub applied: bool,
    /// Compute from all that a snapshot of the store has, by its definitions; moments after its own are refused
    #[arg(long, value_name = "NAME", conflicts_with_all = ["until", "applied"])]
    pub snapshot: Option<String>,
}
