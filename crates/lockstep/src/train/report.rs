//! What became of a training set's rows: told part by part, and put together at the end.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{Array, ArrayRef, StringArray, new_empty_array};
use arrow::compute::{filter, is_not_null};
use arrow::datatypes::DataType;
use lockstep_model::{Error, FilledBy, Status};
use lockstep_transform::profile::{Profile, Summary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answered, Own};
use super::scored::{ScoredPart, ScoredRows};
use super::served::ServedReport;
use crate::bytes::Bytes;
use crate::output::Paint;
use crate::table::{Align, Cell, Table};
use crate::text::{counted, grouped};

/// What a part of a training set is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PartReport {
    /// Its file.
    pub file: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Rows for which an event counts that may be their own.
    pub own_events: u64,
    /// Rows of which known and event time were compared.
    pub compared: u64,
    /// Rows that were served with a value of the last known good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_known_good: u64,
    /// Per feature.
    pub features: Vec<FeaturePart>,
    /// Which way its rows went, where they were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
}

/// The values of a feature in a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeaturePart {
    /// How many values have each status.
    pub statuses: Statuses,
    /// Values that the default filled.
    pub defaults: u64,
    /// Values that the last known good filled, where they were served.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_known_good: u64,
    /// Rows that were served without it, since it was not asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_asked: u64,
    /// Values that are other ones when counted by the other clock, among the rows compared.
    pub differing: u64,
    /// States of the profile, by the names of their aggregates, in base64.
    #[schemars(with = "BTreeMap<String, String>")]
    pub profile: BTreeMap<String, Bytes>,
}

/// How many values have each status, before anything is filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct Statuses {
    /// The entity had no event.
    pub not_found: u64,
    /// Its newest event was older than the ttl.
    pub expired: u64,
    /// It could not be computed.
    pub error: u64,
    /// NULL.
    pub null: u64,
    /// A value.
    pub present: u64,
}

impl Statuses {
    fn of(statuses: &[Status]) -> Statuses {
        let mut counts = Statuses::default();
        statuses.iter().for_each(|status| *counts.count(*status) += 1);
        counts
    }

    /// As [`Self::of`], of statuses by their names.
    fn named(names: &StringArray) -> Statuses {
        const ALL: [Status; 5] = [Status::NotFound, Status::Expired, Status::Error, Status::Null, Status::Present];
        let mut counts = Statuses::default();
        for status in ALL {
            let name = status.to_string();
            *counts.count(status) = names.iter().flatten().filter(|known| *known == name).count() as u64;
        }
        counts
    }

    fn count(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::NotFound => &mut self.not_found,
            Status::Expired => &mut self.expired,
            Status::Error => &mut self.error,
            Status::Null => &mut self.null,
            Status::Present => &mut self.present,
        }
    }

    fn add(&mut self, other: Statuses) {
        self.not_found += other.not_found;
        self.expired += other.expired;
        self.error += other.error;
        self.null += other.null;
        self.present += other.present;
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.not_found + self.expired + self.error + self.null + self.present
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl FeaturePart {
    /// No values.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn none(data_type: &DataType) -> Result<FeaturePart, Error> {
        FeaturePart::new(&new_empty_array(data_type), &[], &[])
    }

    /// Values as they were computed, with their statuses and what filled them.
    ///
    /// # Errors
    /// Where a value cannot be profiled.
    pub fn new(values: &ArrayRef, statuses: &[Status], filled_by: &[FilledBy]) -> Result<FeaturePart, Error> {
        let mut profile = Profile::new(values.data_type());
        profile.add(values)?;
        Ok(FeaturePart {
            statuses: Statuses::of(statuses),
            defaults: filled_by.iter().filter(|filled| **filled == FilledBy::Default).count() as u64,
            last_known_good: 0,
            not_asked: 0,
            differing: 0,
            profile: profile.states().into_iter().map(|(name, state)| (name, Bytes(state))).collect(),
        })
    }

    /// Values as they were served, with the names of their statuses (NULL where they were not asked for) and of what filled them.
    ///
    /// # Errors
    /// Where a value cannot be profiled.
    pub fn served(values: &ArrayRef, statuses: &StringArray, filled_by: &StringArray) -> Result<FeaturePart, Error> {
        let no = |error| Error::internal("a kernel refused values that were served").caused_by(error);
        let asked = filter(values, &is_not_null(statuses).map_err(no)?).map_err(no)?;
        let mut profile = Profile::new(values.data_type());
        profile.add(&asked)?;
        let filled = |by: FilledBy| {
            let name = by.to_string();
            filled_by.iter().flatten().filter(|filled| *filled == name).count() as u64
        };
        Ok(FeaturePart {
            statuses: Statuses::named(statuses),
            defaults: filled(FilledBy::Default),
            last_known_good: filled(FilledBy::LastKnownGood),
            not_asked: statuses.null_count() as u64,
            differing: 0,
            profile: profile.states().into_iter().map(|(name, state)| (name, Bytes(state))).collect(),
        })
    }
}

impl PartReport {
    /// What a part is of rows that were served, of which some have values of the last known good; but for its file.
    pub fn served(rows: u64, last_known_good: u64, features: Vec<FeaturePart>) -> PartReport {
        PartReport { file: String::new(), rows, bytes: 0, sha256: String::new(), own_events: 0, compared: 0, last_known_good, features, scored: None }
    }

    /// What a part is, but for its file.
    ///
    /// # Errors
    /// Where a value cannot be profiled.
    pub fn new(answered: &Answered, types: &[DataType], compared: u64, differing: &[u64]) -> Result<PartReport, Error> {
        let feature = |at: usize| {
            let part = FeaturePart::new(&answered.columns[at], &answered.statuses[at], &answered.filled_by[at])?;
            Ok(FeaturePart { differing: differing.get(at).copied().unwrap_or(0), ..part })
        };
        Ok(PartReport {
            file: String::new(),
            rows: answered.own.counted.len() as u64,
            bytes: 0,
            sha256: String::new(),
            own_events: answered.own.counted.iter().filter(|counted| **counted).count() as u64,
            compared,
            last_known_good: 0,
            features: (0..types.len()).map(feature).collect::<Result<_, Error>>()?,
            scored: None,
        })
    }

    /// What a part is of rows that were scored; but for its file.
    pub fn scored(rows: u64, features: Vec<FeaturePart>, scored: ScoredPart) -> PartReport {
        PartReport { scored: Some(scored), ..PartReport::served(rows, 0, features) }
    }
}

/// What a training set's rows came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingReport {
    /// Rows of the spine, and of the training set.
    pub rows: u64,
    /// Rows for which an event counts that may be their own.
    pub own_events: u64,
    /// The columns that tell a row's own event; empty where it is told only by being of the same entity and moment.
    pub own_event_key: Vec<String>,
    /// Rows of which known and event time were compared, evenly spread over the spine.
    pub compared: u64,
    /// Per feature, in order.
    pub features: Vec<FeatureReport>,
    /// What deserves a look.
    pub warnings: Vec<String>,
    /// What became of the log's rows and of the outcomes, where it is made of what was served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedReport>,
    /// Which way the rows went and what was predicted, where they were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredRows>,
    /// How long the units of work took, ms: the median, the 99th percentile and the longest.
    pub unit_ms: [f64; 3],
}

/// The values of a feature.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureReport {
    /// Its name.
    pub name: String,
    /// How many values have each status.
    pub statuses: Statuses,
    /// Values that the default filled.
    pub defaults: u64,
    /// Values that the last known good filled, where they were served.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub last_known_good: u64,
    /// Rows that were served without it, since it was not asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_asked: u64,
    /// Values that are other ones when counted by the other clock, among the rows compared.
    pub differing: u64,
    /// What the values are like.
    pub summary: Summary,
    /// States of the profile, by the names of their aggregates, in base64: a profile of what is served later is compared with them.
    #[schemars(with = "BTreeMap<String, String>")]
    pub profile: BTreeMap<String, Bytes>,
}

impl FeatureReport {
    /// Puts the parts of a feature together.
    ///
    /// # Errors
    /// Where one of them is not there, or does not decode.
    pub fn new<'a>(name: &str, data_type: &DataType, parts: impl Iterator<Item = Result<&'a FeaturePart, Error>>) -> Result<FeatureReport, Error> {
        let mut feature = FeatureReport { name: name.to_owned(), ..FeatureReport::default() };
        let mut profile = Profile::new(data_type);
        for part in parts {
            let part = part?;
            feature.statuses.add(part.statuses);
            feature.defaults += part.defaults;
            feature.last_known_good += part.last_known_good;
            feature.not_asked += part.not_asked;
            feature.differing += part.differing;
            profile.merge(&part.profile.iter().map(|(name, state)| (name.clone(), state.0.clone())).collect())?;
        }
        feature.summary = profile.summary();
        feature.profile = profile.states().into_iter().map(|(name, state)| (name, Bytes(state))).collect();
        Ok(feature)
    }
}

impl TrainingReport {
    /// Puts parts together.
    ///
    /// # Errors
    /// Data where a part is of other features.
    pub fn new(names: &[String], types: &[DataType], parts: &[PartReport], own: Option<&Own>) -> Result<TrainingReport, Error> {
        let mut report = TrainingReport { own_event_key: own.map_or_else(Vec::new, |own| own.key.clone()), ..TrainingReport::default() };
        for part in parts {
            report.rows += part.rows;
            report.own_events += part.own_events;
            report.compared += part.compared;
        }
        for (at, (name, data_type)) in names.iter().zip(types).enumerate() {
            let parts = parts.iter().map(|part| part.features.get(at).ok_or_else(|| Error::data("a part of the training set has other features")));
            report.features.push(FeatureReport::new(name, data_type, parts)?);
        }
        Ok(report)
    }

    /// Coverage, NULLs and leakage per feature, as a table.
    pub fn table(&self, paint: Paint) -> String {
        let share = |part: u64, whole: u64| if whole == 0 { "–".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) };
        let mut columns = vec![("feature", Align::Left), ("present", Align::Right), ("null", Align::Right), ("not found", Align::Right)];
        columns.extend([
            ("expired", Align::Right),
            ("error", Align::Right),
            ("default", Align::Right),
            ("mean", Align::Right),
            ("median", Align::Right),
        ]);
        let (is_recalled, is_part) =
            (self.features.iter().any(|feature| feature.last_known_good > 0), self.features.iter().any(|feature| feature.not_asked > 0));
        if is_recalled {
            columns.push(("last known good", Align::Right));
        }
        if is_part {
            columns.push(("not asked", Align::Right));
        }
        if self.compared > 0 {
            columns.push(("other by event time", Align::Right));
        }
        let mut table = Table::new(&columns).indented(2);
        for feature in &self.features {
            let all = feature.statuses.all();
            let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
            let mut cells: Vec<Cell> =
                vec![feature.name.clone().into(), share(feature.statuses.present, all).into(), share(feature.statuses.null, all).into()];
            cells.extend([
                share(feature.statuses.not_found, all).into(),
                share(feature.statuses.expired, all).into(),
                share(feature.statuses.error, all).into(),
            ]);
            cells.push(share(feature.defaults, all).into());
            cells.push(number(feature.summary.mean).into());
            cells.push(number(feature.summary.quantiles.as_ref().and_then(|quantiles| quantiles.get(3).copied())).into());
            if is_recalled {
                cells.push(share(feature.last_known_good, all).into());
            }
            if is_part {
                cells.push(share(feature.not_asked, self.rows).into());
            }
            if self.compared > 0 {
                let text = share(feature.differing, self.compared);
                cells.push(if feature.differing > 0 { Cell::painted(text, |paint, text| paint.yellow(text)) } else { text.into() });
            }
            table.row(cells);
        }
        table.render(paint)
    }

    /// The report as people read it.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = self.table(paint);
        if self.compared > 0 {
            let differing = self.features.iter().filter(|feature| feature.differing > 0).count();
            let _ = writeln!(
                out,
                "\n  The last column: of {}, how many values would be other ones if events counted from when they happened, and not from when they were known.",
                counted(self.compared, "row", "rows that were compared")
            );
            if differing > 0 {
                let _ =
                    writeln!(out, "  {} would have told the model what serving does not know yet.", counted(differing as u64, "feature", "features"));
            }
        }
        let told = match (self.own_events, self.own_event_key.is_empty()) {
            (0, _) => String::new(),
            (own, true) => format!("{} an event of the same entity at its very moment counted", are(own)),
            (own, false) => format!("{} their own event counted (by {})", are(own), self.own_event_key.join(", ")),
        };
        if !told.is_empty() {
            let _ = writeln!(out, "\n  {}", paint.yellow(told));
        }
        if let Some(served) = &self.served {
            out.push_str(&served.text(self.rows, paint));
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "  {} {warning}", paint.yellow("warning:"));
        }
        out
    }
}

fn are(rows: u64) -> String {
    format!("{} {} {}", grouped(rows), if rows == 1 { "row" } else { "rows" }, if rows == 1 { "has" } else { "have" })
}

/// A number in about four digits.
pub(super) fn short(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (0.01..1e6).contains(&magnitude) {
        let digits = if magnitude >= 100.0 { 1 } else { 3 };
        format!("{value:.digits$}")
    } else {
        format!("{value:.3e}")
    }
}
