//! `test`: are features what their tests expect, down both paths?

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use lockstep_model::Error;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::SourceFile;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::{Outcome, Wrong};
use crate::golden::{self, Difference, Step, TestFile};
use crate::output::{Paint, Report};
use crate::project::Project;
use crate::text::{counted, did_you_mean};

const EXAMPLES: &str = "\
A test is a text beside the definitions, feature_defs/VIEW.test:

  events payments
    payment_id, card, amount, paid_at
    1,          c1,   42.5,   2024-03-03T12:00:00Z

  at 2024-03-03T12:45:00Z  card=c1
    spent_1h   42.5

Examples:
  lockstep test                   all tests
  lockstep test card_activity     that of one view
  lockstep test --bless           write down what comes out; read it in the diff";

/// Run the tests of views and services
///
/// Each is run down both paths: by the offline driver, and by a store of its own that is fed in several batch cuts. All must agree in every bit, and
/// with what the test expects. Exits with 1 if anything differs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only the tests of these views and services
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    /// Write down what comes out as what is expected, where both paths agree
    #[arg(long)]
    bless: bool,
}

/// What tests found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tested {
    /// Whether nothing differs.
    pub ok: bool,
    /// The tests, by file.
    pub tests: Vec<TestedFile>,
    /// Views that have no test.
    pub untested: Vec<String>,
}

/// What one test found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestedFile {
    /// The file.
    pub file: String,
    /// The view or service.
    pub name: String,
    /// Values compared with what the test expects.
    pub compared: usize,
    /// Whether it was rewritten.
    pub blessed: bool,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// Runs tests.
///
/// # Errors
/// [`Wrong`] where definitions or tests cannot be understood; NotFound where there are none.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let catalog = Arc::new(project.catalog()?);
    let paths = chosen(&project, &catalog, &arguments.views)?;
    let mut tests = Vec::with_capacity(paths.len());
    for path in &paths {
        tests.push(test(&catalog, path, arguments.bless)?);
    }
    let is_tested = |view: &&String| paths.iter().any(|path| name_of(path) == view.as_str());
    let untested = if arguments.views.is_empty() { catalog.views.keys().filter(|view| !is_tested(view)).cloned().collect() } else { Vec::new() };
    let ok = tests.iter().all(|test| test.differences.is_empty());
    context.out.show(&Tested { ok, tests, untested })?;
    Ok(if ok { Outcome::Fine } else { Outcome::Differs })
}

fn name_of(path: &Path) -> &str {
    path.file_stem().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The files of the tests that are wanted.
fn chosen(project: &Project, catalog: &Catalog, wanted: &[String]) -> Result<Vec<PathBuf>> {
    let mut paths = project.tests()?;
    let known = || catalog.views.keys().chain(catalog.services.keys()).map(String::as_str);
    for path in &paths {
        let name = name_of(path);
        if !known().any(|known| known == name) {
            let meant = did_you_mean(name, known());
            let message = format!("{} is the test of no view and no service · it is called like what it tests{meant}", path.display());
            return Err(Error::invalid(message).into());
        }
    }
    for name in wanted {
        if !known().any(|known| known == name) {
            let all: Vec<&str> = known().collect();
            let meant = did_you_mean(name, known());
            return Err(Error::not_found(format!("no view or service named `{name}` · there are: {}{meant}", all.join(", "))).into());
        }
        if !paths.iter().any(|path| name_of(path) == name) {
            let place = project.definitions.join(format!("{name}.test"));
            return Err(Error::not_found(format!("`{name}` has no test · write {} · `lockstep test --help` shows how", place.display())).into());
        }
    }
    paths.retain(|path| wanted.is_empty() || wanted.iter().any(|name| name == name_of(path)));
    if paths.is_empty() {
        let dir = project.definitions.display();
        return Err(Error::not_found(format!("there are no tests in {dir} · they are called like what they test, such as card_activity.test")).into());
    }
    Ok(paths)
}

fn test(catalog: &Arc<Catalog>, path: &Path, bless: bool) -> Result<TestedFile> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("read {file}"))?;
    let test = TestFile::parse(SourceFile::new(file.clone(), text)).map_err(|wrong| Wrong(vec![wrong]))?;
    let name = name_of(path);
    let found = golden::run(catalog, name, &test)?;
    check_names(&test, &found)?;
    let (mut differences, compared) = golden::differences(&test, &found);
    let mut blessed = false;
    // Where the paths differ there is nothing to write down.
    if bless && differences.iter().all(|difference| difference.offline == difference.online) {
        let text = golden::bless(&test, &found);
        blessed = text != test.file.text;
        if blessed {
            fs::write(path, text).with_context(|| format!("write {file}"))?;
        }
        differences.clear();
    }
    Ok(TestedFile { file, name: name.to_owned(), compared, blessed, differences })
}

/// Refuses expectations of features that are not there.
fn check_names(test: &TestFile, found: &golden::Found) -> Result<(), Wrong> {
    let asked = test.steps.iter().filter(|step| !matches!(step, Step::Events(_)));
    for (step, outcome) in asked.zip(&found.offline) {
        let (Step::Ask(ask), golden::Outcome::Answer(answer)) = (step, outcome) else { continue };
        if let Some(unknown) = ask.expected.iter().find(|expected| answer.find(&expected.feature.text).is_none()) {
            let name = &unknown.feature.text;
            let meant = did_you_mean(name, answer.names.iter().map(String::as_str));
            let wrong = test.error(unknown.feature.place.clone(), format!("there is no feature `{name}`{meant}"));
            return Err(Wrong(vec![wrong.note(format!("features: {}", answer.names.join(", ")))]));
        }
    }
    Ok(())
}

impl Report for Tested {
    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for test in &self.tests {
            test.differences.iter().for_each(|difference| text += &difference_text(&test.file, difference, paint));
        }
        for test in self.tests.iter().filter(|test| test.blessed) {
            text += &format!("{} {}\n", paint.yellow("rewritten:"), test.file);
        }
        let failed = self.tests.iter().filter(|test| !test.differences.is_empty()).count();
        let compared: usize = self.tests.iter().map(|test| test.compared).sum();
        let what = format!("{} with {}, down both paths", counted(self.tests.len(), "test", "tests"), counted(compared, "value", "values"));
        text += &match failed {
            0 => format!("{} {what}\n", paint.green("fine:")),
            n => format!("{} {} of {what}\n", paint.red("failed:"), counted(n, "test", "tests")),
        };
        if !self.untested.is_empty() {
            text += &format!("{} {}\n", paint.dim("without a test:"), self.untested.join(", "));
        }
        text
    }
}

fn difference_text(file: &str, difference: &Difference, paint: Paint) -> String {
    let Difference { line, of, feature, expected, offline, online } = difference;
    let mut text = format!("{} {of}\n", paint.bold(format!("{file}:{line}:")));
    if let Some(expected) = expected {
        text += &paint.red(format!("  - {feature}  {expected}"));
        text.push('\n');
    }
    if offline == online {
        text += &paint.green(format!("  + {feature}  {offline}"));
    } else {
        text += &paint.green(format!("  + {feature}  {offline}   offline\n  + {feature}  {online}   online"));
    }
    text + "\n\n"
}
