//! Writing down what came out.

use std::ops::Range;

use super::file::{Ask, Expected, Step, TestFile, counters_text};
use super::paths::{Answer, Found, Outcome};

/// The text of a test with what came out in place of what it wrongly expected. An `at` that expects nothing gets all features.
pub fn bless(test: &TestFile, found: &Found) -> String {
    let asked = test.steps.iter().filter(|step| !matches!(step, Step::Events(_)));
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for (step, outcome) in asked.zip(&found.offline) {
        match (step, outcome) {
            (Step::Rows(rows), Outcome::Rows(counters)) if rows.counters != *counters => edits.push((rows.place.clone(), counters_text(counters))),
            (Step::Ask(ask), Outcome::Answer(answer)) => edits.extend(expectations(ask, answer)),
            _ => {}
        }
    }
    let mut text = test.file.text.clone();
    for (place, new) in edits.into_iter().rev() {
        text.replace_range(place, &new);
    }
    text
}

fn expectations(ask: &Ask, answer: &Answer) -> Vec<(Range<usize>, String)> {
    let named = |feature: usize| (quoted(&answer.names[feature]), answer.value(feature), answer.remark(feature));
    if ask.expected.is_empty() {
        let lines: Vec<_> = (0..answer.names.len()).map(named).collect();
        let text = aligned(&lines).into_iter().map(|line| format!("\n  {line}")).collect();
        return vec![(ask.place.end..ask.place.end, text)];
    }
    let known: Vec<(&Expected, usize)> = ask.expected.iter().filter_map(|expected| Some((expected, answer.find(&expected.feature.text)?))).collect();
    let lines: Vec<_> = known.iter().map(|(_, feature)| named(*feature)).collect();
    let wrong = known.into_iter().zip(aligned(&lines)).filter(|((expected, feature), _)| !answer.meets(*feature, expected));
    wrong.map(|((expected, _), line)| (expected.place.clone(), line)).collect()
}

/// Lines of name, value and remark, in columns.
fn aligned(lines: &[(String, String, String)]) -> Vec<String> {
    let width = |of: fn(&(String, String, String)) -> &String| lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0);
    let (names, values) = (width(|line| &line.0), width(|line| &line.1).min(24));
    lines.iter().map(|(name, value, remark)| format!("{name:<names$}  {value:<values$}  {remark}").trim_end().to_owned()).collect()
}

/// A name as a word.
fn quoted(name: &str) -> String {
    let is_word = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '"') && !name.starts_with("--");
    if is_word { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
