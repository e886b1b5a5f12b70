//! `doctor`: is everything there that Lockstep needs, and what is to be done where it is not?

mod machine;
mod project;
mod store;

use anyhow::Result;
use clap::Args;
use lockstep_serve::admin::Progress;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::table::{Align, Cell, Table};
use crate::text::counted;

/// Check everything that Lockstep needs, and say what to do
///
/// Settings, definitions and the models that they name; Kafka's brokers, their topics and the schema registry; the machine: its clock, memory, open files, the library of ONNX Runtime where a
/// model needs it; the store: its versions, room on its disk, whether topics are still the logs that it has read, snapshots. Works without a server and beside one, which answers for the store; changes nothing. Exits with 1 where a check fails.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Read every byte of the snapshots, and not only their sizes
    #[arg(long)]
    pub deep: bool,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Whether every byte of snapshots is to be read.
    pub deep: bool,
}

/// What was looked at.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Examined {
    /// Each check, in order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What.
    pub what: String,
    /// How it is.
    pub health: Health,
    /// What was found, and what to do where that is not well.
    pub found: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Well.
    Ok,
    /// It works, and may not for long.
    Warn,
    /// It does not work.
    Fail,
}

impl Check {
    fn new(what: impl Into<String>, health: Health, found: impl Into<String>) -> Check {
        Check { what: what.into(), health, found: found.into() }
    }

    fn ok(what: impl Into<String>, found: impl Into<String>) -> Check {
        Check::new(what, Health::Ok, found)
    }

    fn warn(what: impl Into<String>, found: impl Into<String>) -> Check {
        Check::new(what, Health::Warn, found)
    }

    /// What cannot be done, with why.
    fn fail(what: impl Into<String>, error: impl std::fmt::Display) -> Check {
        // An error of several lines says the rest where it belongs.
        let found = error.to_string();
        Check::new(what, Health::Fail, found.lines().next().unwrap_or_default())
    }
}

/// Looks at everything.
///
/// # Errors
/// Where the answer cannot be shown.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let mut examined = Examined::default();
    if context.global.server.is_none() {
        let project = match context.project() {
            Ok(project) => project,
            Err(error) => {
                examined.checks.push(Check::fail("settings", format!("{error:#}")));
                return examined.show(context);
            }
        };
        examined.checks.push(Check::ok("settings", format!("{} is read", project.dir.join(crate::config::FILE).display())));
        project::look(&project, &mut examined.checks);
        machine::look(&project, &mut examined.checks);
        if !project.store.exists() {
            examined.checks.push(Check::warn("store", format!("nothing was applied to {} yet · run `lockstep apply`", project.store.display())));
            return examined.show(context);
        }
    }
    match context.ask(&Question { deep: arguments.deep }) {
        Ok(of_store) => examined.checks.extend(of_store.checks),
        Err(error) => examined.checks.push(Check::fail("store", format!("{error:#}"))),
    }
    examined.show(context)
}

impl ask::Question for Question {
    const VERB: &'static str = "doctor";
    type Answer = Examined;

    fn answer(&self, owned: &Owned, progress: &Progress<'_>) -> Result<Examined> {
        let mut checks = Vec::new();
        store::look(owned, self.deep, &mut checks, progress)?;
        Ok(Examined { checks })
    }
}

impl Examined {
    fn show(&self, context: &Context) -> Result<Outcome> {
        context.out.show(self)?;
        Ok(Outcome::of(self.count(Health::Fail) == 0))
    }

    fn count(&self, health: Health) -> usize {
        self.checks.iter().filter(|check| check.health == health).count()
    }
}

impl Report for Examined {
    fn text(&self, paint: Paint) -> String {
        let mut table = Table::new(&[("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        for Check { what, health, found } in &self.checks {
            let health = match health {
                Health::Ok => Cell::painted("ok", |paint, text| paint.green(text)),
                Health::Warn => Cell::painted("warn", |paint, text| paint.yellow(text)),
                Health::Fail => Cell::painted("fail", |paint, text| paint.red(text)),
            };
            table.row([health, what.as_str().into(), found.as_str().into()]);
        }
        let [failed, warned] = [Health::Fail, Health::Warn].map(|health| self.count(health));
        let summary = match (failed, warned) {
            (0, 0) => paint.green("all is well"),
            (0, warned) => paint.yellow(format!("nothing fails · {}", counted(warned, "warning", "warnings"))),
            (failed, warned) => paint.red(format!("{} · {}", counted(failed, "failure", "failures"), counted(warned, "warning", "warnings"))),
        };
        format!("{}{summary}\n", table.render(paint))
    }
}
