//! The definition language: entities, sources, feature views, feature services, models, deployments and published predictions, as plain SQL.
//!
//! Text goes in, checked types or diagnostics come out; nothing here reads a file or asks the time. What a view's body says is checked
//! on its syntax tree and handed on as it is, so that stock DataFusion can run it over tables named like the sources.
//!
//! ```
//! use lockstep_transform::definition::{Definitions, SourceFile};
//!
//! let sql = "
//!     CREATE ENTITY airport (airport VARCHAR);
//!     CREATE SOURCE departures (id BIGINT PRIMARY KEY, origin VARCHAR, departed_at TIMESTAMP) WITH (event_time = 'departed_at');
//!     CREATE FEATURE VIEW load ENTITY airport AS
//!     SELECT origin AS airport, count(*) OVER w AS departures_1h FROM departures
//!     WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);";
//! let definitions = Definitions::parse(&[SourceFile::new("load.sql", sql)]).unwrap();
//! assert_eq!(definitions.views["load"].features[0].name, "departures_1h");
//!
//! let errors = Definitions::parse(&[SourceFile::new("load.sql", sql.replace("origin ORDER", "orgin ORDER"))]).unwrap_err();
//! assert_eq!(errors[0].to_string(), "load.sql:6:31: unknown column `orgin`");
//! ```
//!
//! The order of the modules is that of the work: [`lex`](self) finds statements, `ddl` reads them, `source`, `view`, `service`, `model`, `deployment` and `predictions` check them.

mod actions;
mod call;
mod candidates;
mod chain;
mod data_type;
mod ddl;
mod deployment;
mod diagnostic;
mod embedded;
mod expr;
mod frame;
mod functions;
mod interval;
mod join;
mod lex;
mod model;
mod names;
mod options;
pub(crate) mod predictions;
mod qualify;
mod ranking;
mod registry;
mod relation;
mod request;
mod scope;
mod scoring;
mod service;
mod shape;
mod source;
mod text;
mod topic;
mod types;
mod view;
mod window;

pub use actions::{Actions, DecideBy, Explore, ExploreBy};
pub use data_type::sql_name;
pub use diagnostic::{Diagnostic, DiagnosticJson, Style};
pub use frame::ROWS_MAX;
pub(crate) use frame::interval_text;
pub use interval::{Interval, IntervalError};
pub(crate) use names::normalise;
pub use names::{quoted, suggestion};
pub use options::{
    BatchFormat, Best, Locations, ModelOptions, PredictionsOptions, RuntimeName, ServiceOptions, ViewOptions, WrittenDeploymentOptions,
    WrittenSourceOptions, schemas,
};
pub use predictions::{COMPUTED_AT, ITEMS, OLDEST_INPUT_AT, PUBLISHED_AT, RUN, SCORES};
pub use scoring::{Deployment, DeploymentOptions, Model, ModelPlaces, Pick, Prediction, Ranking, Step, When};
pub use source::APPLIED_LOG_COLUMNS;
pub use text::{Origin, Position, SourceFile, Span};
pub use topic::{Avro, KafkaTopic, Mapped, Part, Partitions, TopicFormat, Wire};
pub use types::{
    AvailableAt, Branch, Candidates, Column, DeadLetterSink, Definitions, Entity, Fallback, FeatureItem, History, Join, JoinKey, KeyItem, Lateness,
    Literal, Output, Placed, Predictions, REQUEST_TIME, RankedList, Service, SortKey, Source, SourceOptions, Version, View,
};
