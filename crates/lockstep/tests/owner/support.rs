//! A project in a temporary directory, and a process that owns its store.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// How often and how long something is waited for: 30 s.
const TRIES: u32 = 1500;
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `done` gives something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(done) = done() {
            return done;
        }
        sleep(PAUSE);
    }
    panic!("waited in vain: {what}")
}

/// What a run of the binary came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.status, Some(0), "{self:?}");
        self.out
    }

    #[track_caller]
    pub fn error(self) -> String {
        assert_eq!((self.status, self.out.as_str()), (Some(2), ""), "{self:?}");
        self.err
    }
}

impl From<std::process::Output> for Ended {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ended { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// The project that `init` makes.
pub struct Project {
    /// Removed with the project; its parents may have been given names of their own.
    _root: TempDir,
    pub dir: PathBuf,
}

impl Project {
    /// A project whose definitions were applied and backfilled.
    pub fn new() -> Self {
        Project::below("shop")
    }

    /// As [`Self::new`], in a directory below a temporary one.
    pub fn below(path: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join(path);
        fs::create_dir_all(&dir).unwrap();
        let project = Project { _root: root, dir };
        project.run_all(&["init", "apply", "backfill"])
    }

    /// A project whose definitions are still to be applied.
    pub fn unapplied() -> Self {
        let root = tempfile::tempdir().unwrap();
        Project { dir: root.path().to_owned(), _root: root }.run_all(&["init"])
    }

    /// A project of these files alone, applied and backfilled.
    #[allow(dead_code, reason = "other systems' cases are such projects")]
    pub fn of(files: &[(String, String)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let project = Project { dir: root.path().to_owned(), _root: root };
        project.run_all(&["apply", "backfill"])
    }

    /// A project with so much history that it takes a while to verify.
    pub fn with_much_history() -> Self {
        let project = Project::unapplied();
        let line = |i: u32| format!("{i},c{},shoes,DE,{}.5,2024-03-0{}T{:02}:{:02}:{:02}Z\n", i % 50, i % 97, 1 + i % 7, i % 23, i % 59, i % 57);
        let lines: String = (0..30_000).map(line).collect();
        fs::write(project.dir.join("data/payments.csv"), format!("payment_id,card,merchant,country,amount,paid_at\n{lines}")).unwrap();
        project.run_all(&["apply", "backfill"])
    }

    /// A copy of it, with its store, which nobody owns.
    pub fn copy(&self) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("copy");
        assert!(Command::new("cp").arg("-a").args([&self.dir, &dir]).status().unwrap().success());
        Project { dir, _root: root }
    }

    fn run_all(self, verbs: &[&str]) -> Self {
        verbs.iter().for_each(|verb| drop(self.run(&[verb]).fine()));
        self
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.current_dir(&self.dir).args(args).stdin(Stdio::null()).env_remove("LOCKSTEP_STORE").env_remove("LOCKSTEP_PROJECT");
        command
    }

    /// Runs a verb to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join(".lockstep/store")
    }

    /// Payments that come in after the history.
    pub fn new_payments(&self) -> String {
        fs::read_to_string(self.dir.join("data/new_payments.ndjson")).unwrap()
    }

    /// Makes another view of the definitions.
    pub fn change_a_view(&self) {
        let path = self.dir.join("feature_defs/card_activity.sql");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("WHERE amount > 0", "WHERE amount > 1")).unwrap();
    }

    /// Makes a third view of the changed one.
    pub fn change_a_view_again(&self) {
        let path = self.dir.join("feature_defs/card_activity.sql");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("WHERE amount > 1", "WHERE amount > 2")).unwrap();
    }

    /// A server of the store, which is killed when this is dropped.
    pub fn server(&self) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut server = Server { child, address: String::new() };
        let mut line = String::new();
        while !line.starts_with("ready") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended before it was ready");
            if let Some(at) = line.strip_prefix("listening on ") {
                server.address = at.split(": ").next().unwrap().to_owned();
            }
        }
        // What it says later is read, so that it never waits for that.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        server
    }

    /// An `ingest` of standard input, which owns the store until it is told to end.
    pub fn owner(&self) -> Owner {
        let mut command = self.command(&["ingest", "--from", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = child.stdin.take();
        let owner = Owner { child: Some(child), log };
        wait_for("the owner listens", || (socket_of(&self.store())?.exists() && owner.owns(&self.store())).then_some(()));
        owner
    }
}

/// A running `serve`.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the owner of a store listens, by what it left in the store's directory.
pub fn socket_of(store: &Path) -> Option<PathBuf> {
    let dir = fs::canonicalize(store).ok()?.join("admin");
    let elsewhere = fs::read_to_string(dir.join("path")).ok().map(PathBuf::from);
    Some(elsewhere.unwrap_or_else(|| dir.join("socket")))
}

/// A running `ingest`.
pub struct Owner {
    child: Option<Child>,
    log: Option<ChildStdin>,
}

impl Owner {
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn owns(&self, store: &Path) -> bool {
        lockstep_store::read_owner(store).is_some_and(|owner| owner.pid == self.pid())
    }

    /// Gives it a piece of its log.
    pub fn feed(&mut self, lines: &str) {
        let log = self.log.as_mut().unwrap();
        log.write_all(lines.as_bytes()).and_then(|()| log.flush()).unwrap();
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap().success());
    }

    /// Kills it without warning.
    pub fn kill(mut self) {
        self.stop();
    }

    /// Ends its log, and waits for it to end.
    pub fn finish(mut self) -> Ended {
        self.log = None;
        self.wait()
    }

    /// Waits for it to end.
    pub fn wait(mut self) -> Ended {
        self.child.take().unwrap().wait_with_output().unwrap().into()
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}
