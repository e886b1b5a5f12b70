//! A project in a directory of its own, commands run in it, and transcripts of them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub status: i32,
}

/// A directory to run commands in.
pub struct Place {
    dir: tempfile::TempDir,
    transcript: String,
}

impl Place {
    /// An empty directory.
    pub fn empty() -> Place {
        Place { dir: tempfile::tempdir().unwrap(), transcript: String::new() }
    }

    /// A project as `init` makes it.
    pub fn project() -> Place {
        let place = Place::empty();
        assert_eq!(place.run(&["init"]).status, 0);
        place
    }

    /// A project that serves: applied and backfilled.
    pub fn serving() -> Place {
        let place = Place::project();
        for verb in ["apply", "backfill"] {
            let said = place.run(&[verb]);
            assert_eq!(said.status, 0, "{verb}: {}", said.stderr);
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Replaces a text in a file, where it must be.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} has no {old}");
        self.write(name, text.replacen(old, new, 1));
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, "")
    }

    /// Runs a command that reads `input`.
    pub fn run_with(&self, args: &[&str], input: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        command.args(args).current_dir(self.dir.path()).env("NO_COLOR", "1");
        // Who applies is told by name, and is another one on each machine.
        for name in ["LOCKSTEP_PROJECT", "LOCKSTEP_STORE", "LOCKSTEP_LOG", "USER", "LOGNAME"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that reads nothing may have closed its end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = Said {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code().unwrap_or(-1),
        };
        assert!(!said.stderr.contains("panicked"), "{args:?}: {}", said.stderr);
        said
    }

    /// Runs a command that succeeds; what it wrote to standard output.
    pub fn run_bytes(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new(env!("CARGO_BIN_EXE_lockstep")).args(args).current_dir(self.dir.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs a command and writes it down.
    pub fn say(&mut self, line: &str) {
        let args: Vec<&str> = line.split(' ').collect();
        let said = self.run(&args);
        let _ = write!(self.transcript, "$ lockstep {line}\n{}", said.stdout);
        for line in said.stderr.lines() {
            let _ = writeln!(self.transcript, "stderr: {line}");
        }
        if said.status != 0 {
            let _ = writeln!(self.transcript, "(exit {})", said.status);
        }
        self.transcript.push('\n');
    }

    /// Adds a remark to the transcript.
    pub fn note(&mut self, text: &str) {
        let _ = write!(self.transcript, "# {text}\n\n");
    }

    /// Compares all that was written down.
    pub fn check(&self, name: &str) {
        let said = self.masked();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(format!("{name}.txt"));
        if std::env::var_os("LOCKSTEP_BLESS").is_some() {
            fs::write(path, said).unwrap();
            return;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let line = said.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(said.lines().count().min(expected.lines().count()));
        assert!(
            said == expected,
            "{name}.txt differs from line {} on:\n{}\ninstead of\n{}\n\nLOCKSTEP_BLESS=1 writes what is said; read it in the diff",
            line + 1,
            said.lines().skip(line).take(12).collect::<Vec<_>>().join("\n"),
            expected.lines().skip(line).take(12).collect::<Vec<_>>().join("\n"),
        );
    }

    /// The transcript without what differs from run to run: the directory, the present moment, and sizes on the disk.
    fn masked(&self) -> String {
        let text = self.transcript.replace(&self.dir.path().display().to_string(), "<dir>");
        let mut masked = String::new();
        for line in text.lines() {
            let line = match line.strip_suffix(" on the disk").and_then(|line| line.rsplit_once(", ")) {
                Some((before, _)) => format!("{before}, <size> on the disk"),
                None => line.to_owned(),
            };
            let line = without_moments_in_json(line);
            let words: Vec<&str> = line.split(' ').map(|word| if is_now(word) { "<now>" } else { word }).collect();
            masked += &words.join(" ");
            masked.push('\n');
        }
        masked
    }
}

/// A line without the moments at which dead letters were put aside, which may be cut short with the row that they are in.
fn without_moments_in_json(line: String) -> String {
    const AT: &str = "\"at\":\"20";
    let mut parts = line.split(AT);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['"', '…']).unwrap_or(part.len());
        masked += &format!("\"at\":\"<now>{}", &part[end..]);
    }
    masked
}

/// Whether a word is a moment of this decade: those of the data are earlier.
fn is_now(word: &str) -> bool {
    let moment = word.trim_end_matches([',', '.']);
    moment.len() >= 20 && moment.ends_with('Z') && moment.starts_with("20") && moment.as_bytes()[10] == b'T' && &moment[..4] >= "2025"
}

/// A repository's directory.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
