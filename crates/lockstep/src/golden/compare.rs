//! What is not as a test expects.

use schemars::JsonSchema;
use serde::Serialize;

use super::file::{Step, TestFile, counters_text};
use super::paths::{Answer, Found, Outcome};

/// Something that is not as expected, or not the same down both paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// The line of the test.
    pub line: usize,
    /// What was asked: the entity and the moment, or a source.
    pub of: String,
    /// The feature; `rows` for what became of rows.
    pub feature: String,
    /// What the test expects; absent where it expects nothing and the paths differ.
    pub expected: Option<String>,
    /// What the offline driver gives.
    pub offline: String,
    /// What the store gives, for the first batch cut that differs or else the first.
    pub online: String,
}

/// All differences of a test, in its order, and how many values were compared with what it expects.
pub fn differences(test: &TestFile, found: &Found) -> (Vec<Difference>, usize) {
    let mut differences = Vec::new();
    let mut compared = 0;
    let asked = test.steps.iter().filter(|step| !matches!(step, Step::Events(_)));
    for (at, (step, offline)) in asked.zip(&found.offline).enumerate() {
        let online: Vec<&Outcome> = found.online.iter().map(|run| &run[at]).collect();
        compared += one(test, step, offline, &online, &mut differences);
    }
    (differences, compared)
}

fn one(test: &TestFile, step: &Step, offline: &Outcome, online: &[&Outcome], differences: &mut Vec<Difference>) -> usize {
    match (step, offline) {
        (Step::Rows(rows), Outcome::Rows(offline)) => {
            let counters = |outcome: &&&Outcome| matches!(outcome, Outcome::Rows(online) if online != offline);
            let other = online.iter().find(counters).copied();
            if other.is_some() || *offline != rows.counters {
                let online = match other {
                    Some(Outcome::Rows(online)) => online,
                    _ => offline,
                };
                differences.push(Difference {
                    line: test.line_of(rows.place.start),
                    of: rows.source.text.clone(),
                    feature: "rows".to_owned(),
                    expected: Some(counters_text(&rows.counters)),
                    offline: counters_text(offline),
                    online: counters_text(online),
                });
            }
            1
        }
        (Step::Ask(ask), Outcome::Answer(offline)) => {
            let online: Vec<&Answer> =
                online.iter().filter_map(|outcome| if let Outcome::Answer(answer) = outcome { Some(answer) } else { None }).collect();
            let of = ask.columns.iter().map(|(column, value)| format!("{column}={value} ")).collect::<String>() + &format!("at {}", ask.at);
            for (feature, name) in offline.names.iter().enumerate() {
                let expected = ask.expected.iter().find(|expected| expected.feature.text == *name);
                let other = online.iter().find(|answer| !answer.agrees(offline, feature));
                if other.is_none() && expected.is_none_or(|expected| offline.meets(feature, expected)) {
                    continue;
                }
                differences.push(Difference {
                    line: test.line_of(expected.map_or(ask.place.start, |expected| expected.place.start)),
                    of: of.clone(),
                    feature: name.clone(),
                    expected: expected.map(|expected| test.file.text[expected.value_place()].trim().to_owned()),
                    offline: shown(offline, feature),
                    online: shown(other.unwrap_or(&offline), feature),
                });
            }
            ask.expected.len()
        }
        _ => 0,
    }
}

fn shown(answer: &Answer, feature: usize) -> String {
    format!("{} {}", answer.value(feature), answer.remark(feature)).trim_end().to_owned()
}
