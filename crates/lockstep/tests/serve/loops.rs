//! The example of a model that learns from its own decisions, and of one that explores.

#[path = "../../../../examples/loop/main.rs"]
#[allow(dead_code, reason = "a program by itself")]
mod example;

use std::path::Path;

use serde_json::json;

#[test]
fn a_week_alone_leaves_a_model_as_wrong_as_it_was_and_exploring_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let sides = example::run(Path::new(env!("CARGO_BIN_EXE_lockstep")), dir.path()).unwrap();
    example::print(&sides);
    let [closed, open] = sides;
    // What it never does, it never learns of.
    assert_eq!((closed.risks[6], closed.risks[7]), (0.55, 0.60));
    assert_eq!(closed.report["served"]["decisions"]["model_share"], json!(1.0));
    assert!(closed.report["warnings"][0].as_str().unwrap().contains("none is of `decline`"), "{}", closed.report);
    // Chance has shown that these bands pay back; that the last two do not is known to both.
    assert!(open.risks[6] < 0.3 && open.risks[7] < 0.3 && open.risks[8] > 0.3 && open.risks[9] > 0.3, "{:?}", open.risks);
    assert!(open.report["served"]["decisions"]["model_share"].as_f64().unwrap() < 1.0 && open.report["warnings"] == json!([]), "{}", open.report);
    let (last_alone, last) = (closed.days.last().unwrap(), open.days.last().unwrap());
    assert!(last.1 > last_alone.1 && last.0 > last_alone.0, "{last:?} after {last_alone:?}");
}
