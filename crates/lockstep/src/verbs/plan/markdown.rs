//! A plan as Markdown, for the discussion of a change.

use std::fmt::Write;

use super::values::{COLUMNS, ViewValues};
use super::{Change, Planned, PlannedModel, PlannedView, StatementDiff};
use crate::diff;
use crate::output::Paint;

/// Bytes of text differences that are shown; comments of pull requests hold 65,536 in all.
const DIFFERENCES_MAX: usize = 40_000;

impl Planned {
    /// The plan as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = "### `lockstep plan`\n\n".to_owned();
        let mut room = DIFFERENCES_MAX;
        for view in &self.views {
            text += &view_markdown(view, &mut room);
        }
        for service in self.services.iter().filter(|service| service.change != Change::Unchanged) {
            let _ = writeln!(text, "- **{}** service `{}`", word(service.change), service.service);
        }
        for model in self.models.iter().filter(|model| model.change != Change::Unchanged || model.other_features.is_some()) {
            text += &model_markdown(model, &mut room);
        }
        for deployment in self.deployments.iter().filter(|deployment| deployment.change != Change::Unchanged) {
            let _ = writeln!(text, "- **{}** deployment `{}` of {}", word(deployment.change), deployment.deployment, deployment.models.join(", "));
        }
        for values in self.values.iter().flatten() {
            text += &values_markdown(values);
        }
        let backfill = self.backfill_text(Paint(false));
        if !backfill.is_empty() {
            let _ = write!(text, "\n<details><summary>What a backfill would read</summary>\n\n{}\n</details>\n", fenced("text", &backfill));
        }
        let _ = write!(text, "\n{}", self.next(Paint(false)));
        text
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::New => "new",
        Change::Changed => "changed",
        Change::Unchanged => "unchanged",
        Change::Gone => "gone",
    }
}

fn view_markdown(view: &PlannedView, room: &mut usize) -> String {
    let mut text = format!("- **{}** `{}` {}\n", word(view.change), view.view, view.about());
    if let Some(cost) = &view.cost {
        let _ = writeln!(text, "  - costs {}", cost.text());
    }
    if view.rows_changed {
        text += "  - its rows change, and with them every feature\n";
    }
    for (what, features) in view.features() {
        if view.change == Change::Changed && !features.is_empty() {
            let _ = writeln!(text, "  - {what}: {}", features.iter().map(|feature| format!("`{feature}`")).collect::<Vec<_>>().join(", "));
        }
    }
    text + &differences_markdown(&view.view, &view.differences, room)
}

fn model_markdown(model: &PlannedModel, room: &mut usize) -> String {
    let mut text = format!("- **{}** model `{}` {}\n", word(model.change), model.model, model.about());
    if let Some(why) = &model.other_features {
        let _ = writeln!(text, "  - it would meet other features: {why}");
    }
    text + &differences_markdown(&model.model, &model.differences, room)
}

fn differences_markdown(name: &str, differences: &[StatementDiff], room: &mut usize) -> String {
    let of = |difference: &StatementDiff| format!("# {}\n{}", difference.of, diff::text(&difference.lines, "", Paint(false)));
    let differences: String = differences.iter().map(of).collect();
    if differences.is_empty() {
        return String::new();
    }
    if differences.len() > *room {
        return "  - its text changes by more than is shown here\n".to_owned();
    }
    *room -= differences.len();
    format!("\n<details><summary>The text of <code>{name}</code></summary>\n\n{}\n</details>\n\n", fenced("diff", &differences))
}

/// A code block that ends where it is to, whatever the text has in it.
fn fenced(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{text}{fence}\n")
}

fn values_markdown(values: &ViewValues) -> String {
    let mut text = format!("\n`{}`: {}\n", values.view, values.about());
    if values.features.is_empty() {
        return text;
    }
    let _ = writeln!(text, "\n| {} |\n|---|---:|---:|---:|---:|", COLUMNS.join(" | "));
    for feature in &values.features {
        let [name, rest @ ..] = feature.cells();
        let _ = writeln!(text, "| `{name}` | {} |", rest.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_longer_fenced_than_what_is_in_it() {
        assert_eq!(fenced("diff", "+ a\n"), "```diff\n+ a\n```\n");
        assert_eq!(fenced("diff", "+ ```` a\n"), "`````diff\n+ ```` a\n`````\n");
    }
}
