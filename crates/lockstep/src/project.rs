//! A project: its directory, its settings, its definitions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use lockstep_ingest::admission::AdmitNext;
use lockstep_ingest::kafka::Settings;
use lockstep_ingest::push::{PushLog, PushOptions};
use lockstep_model::Error;
use lockstep_store::DefinitionText;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, Diagnostic, SourceFile};
use lockstep_transform::next_event::NextEvent;

use crate::cli::Global;
use crate::config::{self, Config};
use crate::failure::Wrong;

/// A project, with the command line's say over its settings.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its directory; paths in definitions start here.
    pub dir: PathBuf,
    /// Its settings.
    pub config: Config,
    /// Where the definitions are.
    pub definitions: PathBuf,
    /// Where the online state is.
    pub store: PathBuf,
}

impl Project {
    /// Finds the project: the directory given, or the nearest one from here up that has a `lockstep.toml`, or this one with default settings.
    ///
    /// # Errors
    /// Invalid where a directory given is none; [`Wrong`] where its settings are.
    pub fn find(global: &Global) -> Result<Project> {
        let dir = match &global.project {
            Some(dir) if !dir.is_dir() => {
                return Err(Error::invalid(format!("{} is no directory · `lockstep init {}` makes a project", dir.display(), dir.display())).into());
            }
            Some(dir) => dir.clone(),
            None => nearest_project(Path::new(".")).unwrap_or_else(|| PathBuf::from(".")),
        };
        let config = read_config(&dir)?;
        let place = |given: &Option<PathBuf>, set: &Path| given.clone().unwrap_or_else(|| join(&dir, set));
        Ok(Project { definitions: place(&global.definitions, &config.definitions), store: place(&global.store, &config.store), config, dir })
    }

    /// The definition files, by name.
    ///
    /// # Errors
    /// NotFound where there are none; as reading does.
    pub fn files(&self) -> Result<Vec<SourceFile>> {
        let dir = &self.definitions;
        if !dir.is_dir() {
            let advice = "`lockstep init` makes a project, --project names one, and --definitions a directory of *.sql files";
            return Err(Error::not_found(format!("there are no definitions here · no directory {} · {advice}", dir.display())).into());
        }
        let paths = files_below(dir, "sql")?;
        if paths.is_empty() {
            return Err(Error::not_found(format!("{} has no definitions · they are files whose names end in .sql", dir.display())).into());
        }
        paths.iter().map(|path| read_text(path)).collect()
    }

    /// The tests of views and services, by name.
    ///
    /// # Errors
    /// As reading does.
    pub fn tests(&self) -> Result<Vec<PathBuf>> {
        files_below(&self.definitions, "test")
    }

    /// The definition files as the store keeps them: by their paths below the project.
    pub fn texts(&self, files: &[SourceFile]) -> Vec<DefinitionText> {
        let below = |name: &str| Path::new(name).strip_prefix(&self.dir).map_or_else(|_| name.to_owned(), |path| path.display().to_string());
        files.iter().map(|file| DefinitionText { path: below(&file.name), text: file.text.clone() }).collect()
    }

    /// The error of a store that is not there yet, or holds nothing.
    pub fn nothing_applied(&self) -> Error {
        Error::not_found(format!("no definitions were applied to {} · run `lockstep apply` first", self.store.display()))
    }

    /// Where what is pushed is kept.
    pub fn push_dir(&self) -> PathBuf {
        self.store.join("push")
    }

    /// Where what is served is logged.
    pub fn feature_log_dir(&self) -> PathBuf {
        let set = self.config.serve.feature_log.as_ref().and_then(|log| log.dir.as_ref());
        set.map_or_else(|| self.store.join("served"), |dir| join(&self.dir, dir))
    }

    /// The push log. Whoever opens it owns the store.
    ///
    /// # Errors
    /// As [`PushLog::open`].
    pub fn push_log(&self) -> Result<Arc<PushLog>, Error> {
        let retention = self.config.push.retention.map(|retention| retention.micros());
        PushLog::open(&self.push_dir(), PushOptions { retention, ..PushOptions::default() }).map(Arc::new)
    }

    /// How to speak to the brokers.
    ///
    /// # Errors
    /// Invalid where the settings do not say where they are, or a secret is not where they say.
    pub fn kafka(&self) -> Result<Arc<Settings>, Error> {
        self.config.kafka.settings(&self.dir).map(Arc::new)
    }

    /// The definitions, compiled.
    ///
    /// # Errors
    /// As [`Self::files`]; [`Wrong`] where they do not check out.
    pub fn catalog(&self) -> Result<Catalog> {
        Ok(compile(&self.files()?).map_err(Wrong)?)
    }
}

/// Parses and compiles definitions.
///
/// # Errors
/// Everything wrong with them.
pub fn compile(files: &[SourceFile]) -> Result<Catalog, Vec<Diagnostic>> {
    Catalog::compile_with(Definitions::parse(files)?, &next_event())
}

/// What a request comes to that is an event.
pub fn next_event() -> Arc<dyn NextEvent> {
    Arc::new(AdmitNext)
}

/// Definitions as the store keeps them, as files.
pub fn sources_of_texts(texts: &[DefinitionText]) -> Vec<SourceFile> {
    texts.iter().map(|text| SourceFile::new(text.path.clone(), text.text.clone())).collect()
}

fn nearest_project(from: &Path) -> Option<PathBuf> {
    let absolute = fs::canonicalize(from).ok()?;
    let depth = absolute.ancestors().position(|dir| dir.join(config::FILE).is_file())?;
    // As seen from here, so that messages show short paths.
    Some(if depth == 0 { from.to_owned() } else { std::iter::repeat_n("..", depth).collect() })
}

fn read_config(dir: &Path) -> Result<Config> {
    let path = join(dir, Path::new(config::FILE));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Config::parse(&path.display().to_string(), &text).map_err(|diagnostic| Wrong(vec![diagnostic]))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// A path below a directory, without `./` before it.
fn join(dir: &Path, path: &Path) -> PathBuf {
    if dir == Path::new(".") { path.to_owned() } else { dir.join(path) }
}

/// The files of a directory and those below it whose names end so, sorted.
fn files_below(dir: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(dir, ending, &mut found).with_context(|| format!("read {}", dir.display()))?;
    found.sort();
    Ok(found)
}

fn collect(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, ending, found)?;
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<SourceFile> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("read {name}"))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile::new(name, text)),
        Err(error) => Err(Error::invalid(format!("{name} is not UTF-8 · at byte {} · save it as UTF-8", error.utf8_error().valid_up_to())).into()),
    }
}
