//! What ONNX Runtime's library is not: each in a process of its own, since a process has one library.

use std::path::Path;
use std::process::Command;

use lockstep_score::{Runtime, load};

use crate::{models, read};

/// Runs this test in a child whose library is another file, and gives what the child says.
fn with_library(library: &Path) -> String {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "library::a_file_that_is_no_library_is_told", "--nocapture"])
        .env("LOCKSTEP_ONNXRUNTIME", library)
        .env("LOCKSTEP_TEST_LIBRARY", "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    said.lines().find_map(|line| line.split_once("said: ")).map(|(_, said)| said.to_owned()).unwrap()
}

#[test]
fn a_file_that_is_no_library_is_told() {
    if std::env::var_os("LOCKSTEP_TEST_LIBRARY").is_some() {
        let file = read(&models().join("text_codes.onnx")).unwrap();
        println!("said: {}", load(&file, Some(Runtime::OnnxRuntime)).unwrap_err().refusals[0]);
        return;
    }
    let model = models().join("text_codes.onnx");
    let said = with_library(&model);
    assert!(said.starts_with(&format!("onnxruntime: its library at `{}` cannot be used: failed to load", model.display())), "{said}");
    // A library, but another one: this process has the standard one of C open.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let other = maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.contains("/libc.so")).unwrap();
    let said = with_library(Path::new(other));
    assert!(said.contains("does not export `OrtGetApiBase`"), "{said}");
    assert!(with_library(Path::new("/nowhere/lib.so")).contains("there is no library at `/nowhere/lib.so`"));
}
