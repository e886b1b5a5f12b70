//! How a deployment ranks candidates: by which predictions, and how many of a request are answered.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::Expr;

use super::lex::Statement;
use super::names::{Name, did_you_mean};
use super::options::{WrittenDeploymentOptions, WrittenOption, value_span};
use super::text::Origin;
use super::{Diagnostic, Prediction, Ranking, Service};

/// A deployment, as far as it decides on its ranking.
pub(super) struct Ranked<'a> {
    pub(super) statement: &'a Statement,
    pub(super) options: &'a [WrittenOption],
    pub(super) read: &'a WrittenDeploymentOptions,
    /// The services of its steps, under the steps' names; at least one.
    pub(super) services: &'a [(&'a Name, &'a Service)],
    pub(super) predictions: &'a [Prediction],
}

/// Checks how candidates are ranked; nothing where there are none.
pub(super) fn ranking(ranked: &Ranked<'_>, found: &mut Vec<Diagnostic>) -> Option<Ranking> {
    let (_, first) = ranked.services.first()?;
    if let Some((step, service)) = ranked.services.iter().skip(1).find(|(_, service)| service.candidates.is_some()) {
        let diagnostic = ranked.statement.origin.at(step.span).error(format!("step `{}` unnests candidates, and is not the first", step.text));
        let diagnostic = diagnostic.note(format!("`{}` gives several rows for each row of the step before", service.name));
        found.push(diagnostic.help("let the first step be the one with candidates"));
        return None;
    }
    if first.candidates.is_none() {
        for option in ["rank_by", "top"] {
            if let Some(at) = ranked.place(option) {
                let diagnostic = at.error(format!("option `{option}` is for deployments over candidates"));
                let diagnostic = diagnostic.note(format!("`{}` gives one row for each request", first.name));
                found.push(diagnostic.help("leave it out, or use a service with CROSS JOIN UNNEST(…)"));
            }
        }
        return None;
    }
    let items = items(first);
    if items.is_empty() {
        let (step, _) = ranked.services.first()?;
        let diagnostic = ranked.statement.origin.at(step.span).error(format!("no output of `{}` says which candidate a row is", first.name));
        let diagnostic = diagnostic.note("a prediction is answered together with what was unnested");
        found.push(diagnostic.help("let its SELECT list have a column of its UNNEST as it is, such as i.item"));
    }
    if let Some(at) = ranked.place("actions") {
        let diagnostic = at.error("a deployment that ranks candidates has no actions");
        let diagnostic = diagnostic.note("what is decided of a request is the order of its candidates, and that has a propensity already: an action each would be a second decision of one answer");
        let help = "leave `actions` out, `explore` alone has a share of requests answered in an order of chance; or let a model of a service without UNNEST decide of one candidate";
        found.push(diagnostic.help(help));
    }
    if ranked.read.top == Some(0) {
        let at = ranked.place("top")?;
        found.push(at.error("option `top` is from 1").help("leave it out for all candidates"));
    }
    Some(Ranking { by: ranked.by(found), top: ranked.read.top, items })
}

/// The outputs that are columns of what is unnested, as they are.
fn items(service: &Service) -> Vec<String> {
    let Some(candidates) = &service.candidates else { return Vec::new() };
    let is_item = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(parts) if parts.first().is_some_and(|alias| alias.value == candidates.alias));
    service.outputs.iter().filter(|output| is_item(&output.expr)).map(|output| output.name.clone()).collect()
}

impl Ranked<'_> {
    /// Where an option's value is written.
    fn place(&self, option: &str) -> Option<Origin> {
        value_span(self.options, option).map(|span| self.statement.origin.at(span))
    }

    /// `prediction ASC, prediction DESC`.
    fn by(&self, found: &mut Vec<Diagnostic>) -> Vec<(String, bool)> {
        let (Some(text), Some(at)) = (&self.read.rank_by, self.place("rank_by")) else { return Vec::new() };
        let mut by = Vec::new();
        for key in text.split(',') {
            let words: Vec<&str> = key.split_whitespace().collect();
            let descending = match words.as_slice() {
                [_] => Some(false),
                [_, direction] if direction.eq_ignore_ascii_case("asc") => Some(false),
                [_, direction] if direction.eq_ignore_ascii_case("desc") => Some(true),
                _ => None,
            };
            let (Some(name), Some(descending)) = (words.first(), descending) else {
                found.push(at.error("candidates are ranked by predictions").help("write rank_by = 'delay ASC', or several with commas between them"));
                return Vec::new();
            };
            by.extend(self.key(name, &at, found).map(|name| (name, descending)));
        }
        by
    }

    fn key(&self, name: &str, at: &Origin, found: &mut Vec<Diagnostic>) -> Option<String> {
        let names: Vec<&str> = self.predictions.iter().map(|prediction| prediction.name.as_str()).collect();
        let Some(prediction) = self.predictions.iter().find(|prediction| prediction.name == name) else {
            found.push(did_you_mean(at.error(format!("unknown prediction `{name}`")), name, "predictions", &names));
            return None;
        };
        if matches!(prediction.data_type, DataType::List(_)) {
            let diagnostic = at.error(format!("prediction `{name}` is a list, and has no order"));
            found.push(diagnostic.help("rank by a prediction that is one value"));
            return None;
        }
        Some(prediction.name.clone())
    }
}
