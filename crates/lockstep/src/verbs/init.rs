//! `init`: a small project that runs at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use lockstep_model::Error;
use schemars::JsonSchema;
use serde::Serialize;

use super::Context;
use crate::failure::Outcome;
use crate::output::{Paint, Report};

/// The files of a new project, by their paths in it.
const FILES: [(&str, &str); 10] = [
    ("README.md", include_str!("../../template/README.md")),
    ("lockstep.toml", include_str!("../../template/lockstep.toml")),
    (".gitignore", include_str!("../../template/gitignore")),
    ("feature_defs/payments.sql", include_str!("../../template/payments.sql")),
    ("feature_defs/card_activity.sql", include_str!("../../template/card_activity.sql")),
    ("feature_defs/fraud_v1.sql", include_str!("../../template/fraud_v1.sql")),
    ("data/payments.csv", include_str!("../../template/payments.csv")),
    ("data/new_payments.ndjson", include_str!("../../template/new_payments.ndjson")),
    ("feature_defs/fraud_v1.test", include_str!("../../template/fraud_v1.test")),
    ("feature_defs/card_activity.test", include_str!("../../template/card_activity.test")),
];

const EXAMPLES: &str = "\
Examples:
  lockstep init                in this directory
  lockstep init shop           in a new directory";

/// Make a small project that runs at once
///
/// Writes settings, definitions, a little data, a test, and a README with the commands to try. Never overwrites a file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where; created if it is not there
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// A project that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    /// Where.
    pub dir: String,
    /// Its files, by their paths in it.
    pub files: Vec<String>,
    /// What to run next, in its directory.
    pub next: Vec<String>,
}

/// Makes a project.
///
/// # Errors
/// Invalid where a file of it is there already, before any is written; as writing does.
pub fn run(context: &Context, arguments: &Arguments) -> Result<Outcome> {
    let dir = &arguments.dir;
    refuse_overwriting(dir)?;
    for (path, text) in FILES {
        write(&dir.join(path), text)?;
    }
    let next = ["lockstep check", "lockstep apply", "lockstep backfill"].map(str::to_owned).to_vec();
    context.out.show(&Made { dir: dir.display().to_string(), files: FILES.map(|(path, _)| path.to_owned()).to_vec(), next })?;
    Ok(Outcome::Fine)
}

fn refuse_overwriting(dir: &Path) -> Result<(), Error> {
    let taken: Vec<&str> = FILES.iter().map(|(path, _)| *path).filter(|path| dir.join(path).symlink_metadata().is_ok()).collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is not empty · there already: {} · name another directory: lockstep init DIR", dir.display(), taken.join(", "))))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    let mut file = fs::File::create_new(path).with_context(|| format!("write {}", path.display()))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

impl Report for Made {
    fn text(&self, paint: Paint) -> String {
        let mut text = format!("{} {}\n", paint.green("made"), self.dir);
        self.files.iter().for_each(|file| text += &format!("  {file}\n"));
        text += &format!("\n{}\n", paint.bold("next"));
        if self.dir != "." {
            text += &format!("  {}\n", paint.cyan(format!("cd {}", self.dir)));
        }
        self.next.iter().for_each(|command| text += &format!("  {}\n", paint.cyan(command)));
        text
    }
}
