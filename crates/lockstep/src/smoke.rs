//! Running a model in a process of its own, before this one loads it: ONNX Runtime is a library in another language, and a file that it does not like may end the process.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use lockstep_model::Error;
use lockstep_score::{ModelFile, smoke};
use lockstep_transform::definition::{self, Diagnostic};

use crate::failure::Outcome;

/// The verb that the process is asked by.
pub const VERB: &str = "smoke-model";

/// Rows that the model is run on.
const ROWS: usize = 16;
/// How long it may take to load and run them.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// Run a model that comes on standard input on sample rows, in ONNX Runtime
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs the model that comes on standard input.
///
/// # Errors
/// Where it cannot be read or run.
pub fn run(_: &Arguments) -> Result<Outcome> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let file = ModelFile::read(&bytes).map_err(|error| Error::invalid(error.to_string()))?;
    smoke(&file, ROWS).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Outcome::Fine)
}

/// Runs a model in a process of its own.
///
/// # Errors
/// What that process said, or how it ended.
pub fn in_child(model: &definition::Model, bytes: &[u8]) -> Result<(), Diagnostic> {
    let ran = || -> std::io::Result<Ended> {
        let program = std::env::current_exe()?;
        let child = Command::new(program).arg(VERB).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        ended(child, bytes, PATIENCE)
    };
    let at = &model.places.path;
    let failed = |why: String, help: &str| Err(at.error(format!("model `{}` fails in ONNX Runtime", model.name)).note(why).help(help));
    let again = "export it again, for an older opset or with simpler operators";
    match ran() {
        Ok(Ended::By(status, _)) if status.success() => Ok(()),
        Ok(Ended::By(status, said)) => match status.signal() {
            Some(signal) => failed(format!("the process that ran it was ended by signal {signal} ({})", signal_name(signal)), again),
            None => failed(if said.is_empty() { format!("the process that ran it ended with {status}") } else { said }, again),
        },
        Ok(Ended::Not) => failed(format!("it did not end within {} seconds", PATIENCE.as_secs()), again),
        Err(error) => failed(format!("the process that was to run it could not be started: {error}"), "try again"),
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
enum Ended {
    By(ExitStatus, String),
    /// It was ended, since it took too long.
    Not,
}

/// Gives a process its input and waits for it, so long and no longer.
#[allow(clippy::disallowed_methods, reason = "how long to wait for another process; nothing is computed from it")]
fn ended(mut child: Child, bytes: &[u8], patience: Duration) -> std::io::Result<Ended> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    std::thread::scope(|scope| {
        // A process that ends early does not read it all, which its status says.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
        let said = scope.spawn(move || {
            let mut said = String::new();
            stderr.map(|stderr| stderr.take(1 << 16).read_to_string(&mut said));
            said.trim().trim_start_matches("error: ").to_owned()
        });
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Ended::By(status, said.join().unwrap_or_default()));
            }
            if begun.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                return Ok(Ended::Not);
            }
            sleep(PAUSE);
        }
    })
}

/// The signals by which a fault ends a process.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "an instruction that this processor has not",
        6 => "it gave up",
        7 => "a fault of memory",
        8 => "a fault of arithmetic",
        9 => "killed: out of memory, perhaps",
        11 => "a fault of memory",
        _ => "from outside",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a script in place of the process that runs a model.
    fn of(script: &str, patience: Duration) -> Ended {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        ended(child, &[7; 1 << 20], patience).unwrap()
    }

    #[test]
    fn a_process_is_told_by_how_it_ended() {
        let long = Duration::from_secs(20);
        assert!(matches!(of("cat > /dev/null", long), Ended::By(status, said) if status.success() && said.is_empty()));
        assert!(
            matches!(of("echo error: no such operator >&2; exit 2", long), Ended::By(status, said) if status.code() == Some(2) && said == "no such operator")
        );
        assert!(matches!(of("kill -SEGV $$", long), Ended::By(status, _) if status.signal() == Some(11)));
        assert!(matches!(of("exec sleep 60", Duration::from_millis(50)), Ended::Not));
    }
}
