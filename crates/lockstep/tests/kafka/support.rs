//! Projects whose sources are topics, and the processes that ingest them.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use lockstep_testkit::kafka::Broker;
use tempfile::TempDir;

/// How often and how long something is waited for: a minute or so.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until `done` gives something.
#[track_caller]
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(done) = done() {
            return done;
        }
        sleep(PAUSE);
    }
    panic!("waited in vain: {what}")
}

/// A name that no other topic has.
pub fn topic_name(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What a run of the binary came to.
#[derive(Debug, Clone)]
pub struct Ended {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.status, Some(0), "{self:#?}");
        self.out
    }

    #[track_caller]
    pub fn error(self) -> String {
        assert_eq!(self.status, Some(2), "{self:#?}");
        self.err
    }
}

impl From<std::process::Output> for Ended {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// A project whose definitions were applied and published.
pub struct Project {
    root: TempDir,
}

impl Project {
    /// A project with these definitions, which speaks to a broker.
    pub fn new(broker: Option<&Broker>, sql: &str) -> Project {
        Project::with_files(broker, sql, &[])
    }

    /// As [`Self::new`], with files of a history.
    pub fn with_files(broker: Option<&Broker>, sql: &str, files: &[(&str, String)]) -> Project {
        let project = Project { root: tempfile::tempdir().unwrap() };
        let kafka = broker.map(|broker| format!("[kafka]\nbootstrap.servers = \"{}\"\ntopic.metadata.refresh.interval.ms = 500\n", broker.address()));
        project.write("lockstep.toml", kafka.unwrap_or_default());
        project.write("feature_defs/all.sql", sql);
        files.iter().for_each(|(name, text)| project.write(name, text));
        for verb in ["apply", "backfill"] {
            project.run(&[verb]).fine();
        }
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn store(&self) -> PathBuf {
        self.path(".lockstep/store")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(self.root.path()).args(arguments).stdin(Stdio::null());
        // What it says of its topics is shown where a test fails.
        command.env_remove("LOCKSTEP_STORE").env_remove("LOCKSTEP_PROJECT").env("LOCKSTEP_LOG", "warn,lockstep_ingest=info");
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let ended: Ended = self.command(arguments).output().unwrap().into();
        println!("lockstep {arguments:?}: {:?}\n{}{}", ended.status, ended.out.get(..2000).unwrap_or(&ended.out), ended.err);
        ended
    }

    /// Ingests the topics to their ends.
    pub fn to_the_end(&self) -> Ended {
        self.run(&["ingest", "--until-end"])
    }

    /// As [`Self::to_the_end`], so many rows a commit.
    pub fn to_the_end_in(&self, rows: &str) -> Ended {
        self.run(&["ingest", "--until-end", "--batch-rows", rows])
    }

    /// Starts an ingester that follows the topics.
    pub fn follow(&self, more: &[&str]) -> Following {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (log, out) = (self.path(&format!("follow-{number}.err")), self.path(&format!("follow-{number}.out")));
        let mut command = self.command(&["ingest"]);
        command.args(more).stdout(fs::File::create(out).unwrap()).stderr(fs::File::create(&log).unwrap());
        Following { child: command.spawn().unwrap(), log }
    }

    /// Rows applied of a source, as the owner of the store says.
    pub fn applied(&self, source: &str) -> Option<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.run(&["status", "--json"]).out).ok()?;
        let views = status.get("views")?.as_array()?;
        let mut sources = views.iter().filter_map(|view| view.get("sources")?.as_array()).flatten();
        sources.find(|known| known["source"] == source)?["applied"].as_u64()
    }
}

/// An ingester that follows topics.
pub struct Following {
    child: Child,
    log: PathBuf,
}

impl Following {
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Asks it to end; what it came to.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        (status.code(), self.said())
    }

    /// Ends it as a power cut would, unless it has ended.
    pub fn kill(self) {}

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().and_then(|status| status.code())
    }

    /// What it has said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
