//! What a power cut, a full disk and a kill leave of a watched directory.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use lockstep_testkit::syncfs::{Fault, Journal, Layer, Watch, mark};

/// Runs a scenario of [`child`] in a watched directory.
fn run(dir: &Path, scenario: &str, fault: Fault) -> (Output, Journal) {
    let root = dir.join("root");
    fs::create_dir_all(&root).unwrap();
    let watch = Watch::start(&Layer::build(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap(), &root, &dir.join("shadow")).unwrap();
    let mut child = watch.command(&std::env::current_exe().unwrap(), fault);
    let child = child.args(["--exact", "child", "--ignored", "--nocapture"]).env("SCENARIO", scenario).env("ROOT", &root);
    let output = child.output().unwrap();
    (output, watch.journal().unwrap())
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn child() {
    let (Ok(root), Ok(scenario)) = (std::env::var("ROOT"), std::env::var("SCENARIO")) else { return };
    let root = Path::new(&root);
    match scenario.as_str() {
        "files" => files(root).unwrap(),
        "names" => names(root).unwrap(),
        "writes" => writes(root).unwrap(),
        other => panic!("no scenario `{other}`"),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Bytes that are safe and bytes that are not.
fn files(root: &Path) -> io::Result<()> {
    let [mut appended, mut rewritten, mut cut, mut emptied] =
        ["appended", "rewritten", "cut", "emptied"].map(|name| File::create(root.join(name)).unwrap());
    for file in [&mut appended, &mut rewritten, &mut cut, &mut emptied] {
        file.write_all(b"safe")?;
        file.sync_data()?;
    }
    fs::write(root.join("unforced"), "lost")?;
    sync(root)?;
    mark("names are safe")?;
    appended.write_all(b"lost")?;
    rewritten.rewind()?;
    rewritten.write_all(b"LOST")?;
    cut.set_len(2)?;
    File::create(root.join("emptied"))?;
    mark("done")
}

/// Names that are safe and names that are not.
fn names(root: &Path) -> io::Result<()> {
    for name in ["old", "doomed", "replaced"] {
        fs::write(root.join(name), name)?;
        sync(&root.join(name))?;
    }
    fs::create_dir_all(root.join("a/b"))?;
    fs::write(root.join("a/b/file"), "in b")?;
    sync(&root.join("a/b/file"))?;
    [root, &root.join("a"), &root.join("a/b")].into_iter().try_for_each(sync)?;
    mark("names are safe")?;
    fs::rename(root.join("old"), root.join("replaced"))?;
    fs::remove_file(root.join("doomed"))?;
    fs::hard_link(root.join("a/b/file"), root.join("a/link"))?;
    fs::rename(root.join("a/b"), root.join("a/c"))?;
    fs::write(root.join("nameless"), "forced")?;
    sync(&root.join("nameless"))?;
    mark("not safe yet")?;
    sync(root)?;
    sync(&root.join("a"))?;
    mark("done")
}

/// Four writes of four bytes.
fn writes(root: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(root.join("file"))?;
    for i in 0..4u8 {
        if let Err(error) = file.write_all(&[b'0' + i; 4]) {
            mark(&format!("write {i}: {:?}", error.kind()))?;
        }
    }
    Ok(())
}

/// Path below the root and text of each file, as a power cut leaves them.
fn after_power_cut(dir: &Path, journal: &Journal, at: usize, seed: Option<u64>) -> Vec<(String, String)> {
    let to = dir.join(format!("cut-{at}-{seed:?}"));
    journal.power_cut(at, seed, &to).unwrap();
    let mut found = Vec::new();
    let mut dirs = vec![to.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push((path.strip_prefix(&to).unwrap().display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn moment(journal: &Journal, mark: &str) -> usize {
    (0..=journal.lines()).find(|&at| journal.marks(at).any(|said| said == mark)).expect("the child got so far")
}

#[track_caller]
fn assert_left(left: &[(String, String)], expected: &[(&str, &str)]) {
    let left: Vec<_> = left.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(left, expected);
}

#[test]
fn bytes_are_safe_once_forced() {
    let dir = tempfile::tempdir().unwrap();
    let (output, journal) = run(dir.path(), "files", Fault::None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let safe = [("appended", "safe"), ("cut", "safe"), ("emptied", "safe"), ("rewritten", "safe"), ("unforced", "")];
    for mark in ["names are safe", "done"] {
        assert_left(&after_power_cut(dir.path(), &journal, moment(&journal, mark), None), &safe);
    }
    let appended: std::collections::BTreeSet<String> =
        (0..100).map(|seed| after_power_cut(dir.path(), &journal, journal.lines(), Some(seed)).swap_remove(0).1).collect();
    let possible: Vec<String> = (0..=4)
        .flat_map(|kept| ["", "\0\0\0\0"].map(|zeros| format!("safe{}{}", &"lost"[..kept], &zeros[..zeros.len().saturating_sub(kept)])))
        .collect();
    assert!(appended.iter().all(|text| possible.contains(text)), "{appended:?}");
    assert!(appended.len() > 5, "chance leaves more or less of it: {appended:?}");
}

#[test]
fn names_are_safe_once_their_directory_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    let (output, journal) = run(dir.path(), "names", Fault::None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let before = [("a/b/file", "in b"), ("doomed", "doomed"), ("old", "old"), ("replaced", "replaced")];
    for mark in ["names are safe", "not safe yet"] {
        assert_left(&after_power_cut(dir.path(), &journal, moment(&journal, mark), None), &before);
    }
    let after = [("a/c/file", "in b"), ("a/link", "in b"), ("nameless", "forced"), ("replaced", "old")];
    assert_left(&after_power_cut(dir.path(), &journal, journal.lines(), None), &after);
    assert_left(&after_power_cut(dir.path(), &journal, 0, None), &[]);
}

#[test]
fn what_was_there_before_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("root/below")).unwrap();
    fs::write(dir.path().join("root/below/before"), "was there").unwrap();
    let (_, journal) = run(dir.path(), "writes", Fault::None);
    assert_eq!(journal.writes(), 4);
    assert_left(&after_power_cut(dir.path(), &journal, journal.lines(), None), &[("below/before", "was there")]);
}

#[test]
fn a_full_disk_takes_half_a_write_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (output, journal) = run(dir.path(), "writes", Fault::NoSpaceAt(2));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<_> = journal.marks(journal.lines()).collect();
    assert_eq!(said, ["write 1: StorageFull", "write 2: StorageFull", "write 3: StorageFull"]);
    assert_eq!(fs::read_to_string(dir.path().join("root/file")).unwrap(), "000011");
}

#[test]
fn a_process_is_killed_within_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let (output, _) = run(dir.path(), "writes", Fault::KillAt(3));
    assert_eq!(output.status.signal(), Some(9));
    assert_eq!(fs::read_to_string(dir.path().join("root/file")).unwrap(), "0000111122");
}
