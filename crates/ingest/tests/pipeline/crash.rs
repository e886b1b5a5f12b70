//! Crashes at every named point and at random times: what is left was once true, and the work goes on from there to the same end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lockstep_store::{CrashPlan, CrashPoint};
use lockstep_testkit::{effort, syncfs};

use crate::work::{Load, Outcome, Work, assert_same, write_inputs};

/// How the child exits when the work fails.
pub const FAILED: i32 = 3;

/// Makes a command do the work in a process of its own.
pub fn in_a_child(mut command: Command, inputs: &Path, root: &Path, load: Load, plan: &str) -> Command {
    command.args(["--exact", "crash::child", "--ignored", "--nocapture"]);
    command.env("WORK_INPUTS", inputs).env("WORK_ROOT", root).env("WORK_LOAD", format!("{load:?}")).env("WORK_CRASH", plan);
    command
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(inputs), Some(root), Some(load)) = (variable("WORK_INPUTS"), variable("WORK_ROOT"), variable("WORK_LOAD")) else { return };
    let load = Load::ALL.into_iter().find(|known| format!("{known:?}") == load).unwrap();
    let plan = CrashPlan::parse(&variable("WORK_CRASH").unwrap_or_default()).unwrap();
    let work = Work::new(inputs.as_ref(), root.as_ref(), load);
    if let Err(error) = work.run(plan, &mut |step| syncfs::mark(step).unwrap()) {
        eprintln!("{:?}: {error}", error.kind());
        std::process::exit(FAILED);
    }
}

/// Inputs, and what an undisturbed run of each kind comes to.
pub struct Undisturbed {
    inputs: tempfile::TempDir,
    pub load: Load,
    pub outcome: Outcome,
    pub answers: BTreeMap<u64, [String; 2]>,
}

impl Undisturbed {
    pub fn new(load: Load) -> Undisturbed {
        let (inputs, whole, steps) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_inputs(inputs.path());
        let work = Work::new(inputs.path(), whole.path(), load);
        work.run(CrashPlan::default(), &mut |_| {}).unwrap();
        let answers = Work::new(inputs.path(), steps.path(), load).answers_by_row();
        assert!(answers.len() > 10, "a run of several commits");
        Undisturbed { outcome: work.outcome(), answers, inputs, load }
    }

    pub fn inputs(&self) -> &Path {
        self.inputs.path()
    }

    pub fn work(&self, root: &Path) -> Work {
        Work::new(self.inputs(), root, self.load)
    }

    /// Fails unless what is left below `root` was once true, and the work goes on from there to the same end.
    pub fn assert_goes_on(&self, root: &Path, place: &str) {
        let work = self.work(root);
        work.assert_once_true(&self.answers, &self.outcome, place);
        work.run(CrashPlan::default(), &mut |_| {}).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_same(place, &work.outcome(), &self.outcome);
    }

    fn crash(&self, root: &Path, plan: &str) -> Output {
        let command = Command::new(std::env::current_exe().unwrap());
        in_a_child(command, self.inputs(), root, self.load, plan).output().unwrap()
    }
}

#[test]
fn the_work_goes_on_after_a_crash_at_any_point() {
    let mut hit = BTreeMap::new();
    for load in Load::ALL {
        let undisturbed = Undisturbed::new(load);
        for (name, _) in CrashPoint::NAMES {
            // The first hits, and some of the later ones.
            for nth in [1, 2, 3, 8, 21, 34].into_iter().take(4 + 2 * effort()) {
                let root = tempfile::tempdir().unwrap();
                let plan = format!("{name}:{nth}");
                let output = undisturbed.crash(root.path(), &plan);
                if output.status.success() {
                    break;
                }
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.signal(), Some(6), "{load:?}, {plan}: {said}");
                *hit.entry(name).or_insert(0) += 1;
                undisturbed.assert_goes_on(root.path(), &format!("{load:?}, {plan}"));
            }
        }
    }
    // Candidates are validated, and runs published, by the command line, whose tests come by those points.
    let comes_by = |name: &&str| !["validate.", "run.", "takeback."].iter().any(|elsewhere| name.starts_with(elsewhere));
    let missed: Vec<&str> = CrashPoint::NAMES.iter().map(|(name, _)| *name).filter(comes_by).filter(|name| !hit.contains_key(name)).collect();
    assert!(missed.is_empty(), "no run came by {missed:?}");
    println!("crashes: {hit:?}");
}

#[test]
fn the_work_goes_on_after_kills_at_any_time() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for load in Load::ALL {
        let undisturbed = Undisturbed::new(load);
        for round in 0..2 * effort() {
            let root = tempfile::tempdir().unwrap();
            let mut kills = 0;
            for _ in 0..12 {
                let command = in_a_child(Command::new(std::env::current_exe().unwrap()), undisturbed.inputs(), root.path(), load, "");
                let mut child = { command }.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(random.u64(10..150)));
                // It may have ended by itself.
                let _ = child.kill();
                kills += usize::from(child.wait().unwrap().signal() == Some(9));
                undisturbed.work(root.path()).assert_once_true(
                    &undisturbed.answers,
                    &undisturbed.outcome,
                    &format!("{load:?}, seed {seed}, round {round}, kill {kills}"),
                );
            }
            undisturbed.assert_goes_on(root.path(), &format!("{load:?}, seed {seed}, round {round}, after {kills} kills"));
        }
    }
}
