//! `dead-letters`: rows that could not be taken as events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use lockstep_ingest::pipeline::history_path;
use lockstep_ingest::source::{Format, SOURCE_MEMBER};
use lockstep_model::Error;
use lockstep_serve::admin::Progress;
use lockstep_store::{DeadLetter, OnlineStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use crate::ask;
use crate::failure::Outcome;
use crate::ledger::{self, Entry, Wanted};
use crate::output::{Paint, Report};
use crate::owned::Owned;
use crate::project::Project;
use crate::text::counted;

const EXAMPLES: &str = "\
Examples:
  lockstep dead-letters list --source payments
  lockstep dead-letters export mended.ndjson     then mend the rows, and
  lockstep ingest --from mended.ndjson           take them in as a log of their own";

/// Show rows that could not be taken as events, or write them out to be mended
///
/// What becomes of a row is a function of its log, the same in every replay. So a row that was put aside stays put aside; mended, it comes in by another log, where it
/// is admitted like any other row.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show them, with their place, the reason and the row
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Write their rows to a new file, to be mended and ingested: an .ndjson file takes JSON rows, a .csv file those of CSV
    Export {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        which: Which,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
struct Which {
    /// Only rows of this source
    #[arg(long)]
    source: Option<String>,
    /// Only rows that this view should have had
    #[arg(long)]
    view: Option<String>,
    /// Only rows put aside for this reason, such as `unreadable`, `ahead` or `conflict`
    #[arg(long)]
    reason: Option<String>,
}

/// What the owner of the store is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Which dead letters.
    pub wanted: Wanted,
    /// Only those with this reason.
    pub reason: Option<String>,
}

/// Dead letters, by partition and row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetters {
    /// The first of them.
    pub letters: Vec<Letter>,
    /// Whether there are more.
    pub more: bool,
}

/// A row that was put aside.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Letter {
    /// The source.
    pub source: String,
    /// The file it was read from; `-` for standard input.
    pub partition: String,
    /// Whether that is history.
    pub history: bool,
    /// Its number in the file, from 0.
    pub row: u64,
    /// Why, in one word.
    pub reason: String,
    /// Why.
    pub detail: String,
    /// The views that should have had it.
    pub views: Vec<String>,
    /// The row as it was, where it is UTF-8.
    pub text: Option<String>,
    /// Its bytes in hexadecimal digits, where it is not.
    pub hex: Option<String>,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Exported {
    /// The file.
    pub file: String,
    /// Rows in it.
    pub rows: usize,
    /// Rows that do not fit into it, since they are of another format.
    pub left_out: usize,
}

/// Lists or exports.
///
/// # Errors
/// NotFound for an unknown source or view; Invalid where the file is there already; where the store cannot be read.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let project = context.project()?;
    let (which, limit) = match &arguments.action {
        Action::List { which, limit } => (which, *limit),
        Action::Export { file, which } => {
            refuse_overwriting(file)?;
            (which, usize::MAX)
        }
    };
    let wanted = Wanted { source: which.source.clone(), view: which.view.clone(), limit };
    let question = Question { wanted, reason: which.reason.clone() };
    let letters = context.ask(&question)?;
    match &arguments.action {
        Action::List { .. } => context.out.show(&letters)?,
        Action::Export { file, .. } => context.out.show(&export(&project, file, &letters.letters)?)?,
    }
    Ok(Outcome::Fine)
}

impl ask::Question for Question {
    const VERB: &'static str = "dead-letters";
    type Answer = DeadLetters;

    fn answer(&self, owned: &Owned, _: &Progress<'_>) -> Result<DeadLetters> {
        let (store, catalog) = (&*owned.store, &*owned.catalog()?);
        let cut = OnlineStore::cut(store);
        let keep = |letter: &DeadLetter| self.reason.as_ref().is_none_or(|reason| *reason == letter.reason);
        let place = |letter: &DeadLetter| (letter.partition.clone(), letter.row);
        let found = ledger::read(&*cut, catalog, &self.wanted, |cut, generation| cut.dead_letters(generation), place, keep)?;
        Ok(DeadLetters { letters: found.entries.into_iter().map(Letter::from).collect(), more: found.more })
    }
}

impl From<Entry<DeadLetter>> for Letter {
    fn from(Entry { item, views }: Entry<DeadLetter>) -> Self {
        let DeadLetter { partition, row, reason, detail, bytes, at: _ } = item;
        let history = history_path(&partition.partition).map(str::to_owned);
        let (text, hex) = match String::from_utf8(bytes) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())),
        };
        let (is_history, partition_name) = (history.is_some(), history.unwrap_or(partition.partition));
        Letter { source: partition.source, partition: partition_name, history: is_history, row, reason, detail, views, text, hex }
    }
}

fn refuse_overwriting(file: &Path) -> Result<(), Error> {
    if file.symlink_metadata().is_ok() {
        return Err(Error::invalid(format!("{} is there already · name another file", file.display())));
    }
    match Format::of(&file.display().to_string()) {
        Some(Format::Ndjson | Format::Csv) => Ok(()),
        _ => Err(Error::invalid(format!("rows are not written to {} · name a file that ends in .ndjson or .csv", file.display()))),
    }
}

fn export(project: &Project, file: &Path, letters: &[Letter]) -> Result<Exported> {
    let is_csv = Format::of(&file.display().to_string()) == Some(Format::Csv);
    let of_format = |letter: &&Letter| (Format::of(&letter.partition) == Some(Format::Csv)) == is_csv;
    let fitting: Vec<&Letter> = letters.iter().filter(of_format).collect();
    let header = if is_csv { csv_header(project, &fitting)? } else { None };
    let writing = || format!("write {}", file.display());
    let mut out = BufWriter::new(File::create_new(file).with_context(writing)?);
    if let Some(header) = header {
        writeln!(out, "{header}").with_context(writing)?;
    }
    for letter in &fitting {
        out.write_all(&row(letter, is_csv)).and_then(|()| out.write_all(b"\n")).with_context(writing)?;
    }
    out.flush().with_context(writing)?;
    Ok(Exported { file: file.display().to_string(), rows: fitting.len(), left_out: letters.len() - fitting.len() })
}

/// The row as it is to be mended. A JSON object that does not name its source is given it, since the file may hold rows of several.
fn row(letter: &Letter, is_csv: bool) -> Vec<u8> {
    let Some(text) = &letter.text else {
        let hex = letter.hex.as_deref().unwrap_or_default().as_bytes();
        return hex.chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    };
    let rest = text.trim_start().strip_prefix('{').filter(|rest| !is_csv && !rest.contains(&format!("\"{SOURCE_MEMBER}\"")));
    match rest {
        Some(rest) => {
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            format!("{{\"{SOURCE_MEMBER}\":{}{comma}{rest}", serde_json::Value::from(letter.source.as_str())).into_bytes()
        }
        None => text.clone().into_bytes(),
    }
}

/// The first line of the files that rows of CSV were read from. They must have the same columns to share a file.
fn csv_header(project: &Project, letters: &[&Letter]) -> Result<Option<String>> {
    let mut headers: BTreeMap<String, &str> = BTreeMap::new();
    let mut read: Vec<&str> = Vec::new();
    for letter in letters {
        if read.contains(&letter.partition.as_str()) {
            continue;
        }
        read.push(&letter.partition);
        headers.insert(first_line(project, letter)?, &letter.partition);
    }
    if headers.len() > 1 {
        let files: Vec<&str> = headers.into_values().collect();
        let message = format!("the rows are of files with different columns · {} · export one source at a time, with --source", files.join(", "));
        return Err(Error::invalid(message).into());
    }
    Ok(headers.into_keys().next())
}

fn first_line(project: &Project, letter: &Letter) -> Result<String> {
    // What a definition names lies below the project; what a command named, where it was run.
    let below = project.dir.join(&letter.partition);
    let path = if letter.history || fs::exists(&below).unwrap_or(false) { below } else { PathBuf::from(&letter.partition) };
    let reading = || format!("read the names of the columns from {}", path.display());
    let mut line = String::new();
    BufReader::new(File::open(&path).with_context(reading)?).read_line(&mut line).with_context(reading)?;
    Ok(line.trim_start_matches('\u{feff}').trim_end().to_owned())
}

/// Longest part of a row that people are shown.
const SHOWN_MAX: usize = 160;

impl Report for DeadLetters {
    fn text(&self, paint: Paint) -> String {
        if self.letters.is_empty() {
            return "no dead letters\n".to_owned();
        }
        let text = letters_text(&self.letters, paint);
        let (count, more) = (counted(self.letters.len(), "row", "rows"), if self.more { ", and more · --limit shows them" } else { "" });
        text + &format!("{count}{more}\n")
    }
}

/// Dead letters for people: place, reason, row, and who misses it.
pub fn letters_text(letters: &[Letter], paint: Paint) -> String {
    let mut text = String::new();
    for letter in letters {
        let Letter { source, partition, history, row, reason, detail, views, .. } = letter;
        let kind = if *history { "history " } else { "" };
        let place = format!("{kind}{partition} row {row}");
        let _ = writeln!(text, "{} {source}, {place}: {detail}", paint.yellow(reason));
        let _ = writeln!(text, "  {}", shown(letter));
        let _ = writeln!(text, "  {}", paint.dim(format!("missed by {}", views.join(", "))));
    }
    text
}

fn shown(letter: &Letter) -> String {
    let whole = letter.text.as_ref().or(letter.hex.as_ref()).map_or("", String::as_str);
    // A row may hold anything, and a terminal obeys escape sequences.
    let plain: String = whole.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let cut = if whole.chars().nth(SHOWN_MAX).is_some() { "…" } else { "" };
    let bytes = if letter.hex.is_some() { "bytes " } else { "" };
    format!("{bytes}{plain}{cut}")
}

impl Report for Exported {
    fn text(&self, paint: Paint) -> String {
        let Exported { file, rows, left_out } = self;
        let mut text = format!("{} {} to {file}\n", paint.green("wrote"), counted(*rows, "row", "rows"));
        if *left_out > 0 {
            let other = if file.ends_with(".csv") { ".ndjson" } else { ".csv" };
            let _ = writeln!(text, "{} of another format · export them to a file that ends in {other}", counted(*left_out, "row is", "rows are"));
        }
        text + &format!("mend the rows, then run {}\n", paint.cyan(format!("lockstep ingest --from {file}")))
    }
}
