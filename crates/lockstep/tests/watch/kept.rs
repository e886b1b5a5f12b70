//! What a server has seen, after it was started again.

use std::fs;

use serde_json::{Value, json};

use crate::project::wait_for;
use crate::skew::{amount_of, amounts, score, trained};
use crate::support::Server;
use crate::watched::{get, push, serve};

/// How many values of a feature by status over time a server knows of.
fn over_time(server: &Server) -> u64 {
    let watched = get(server, "/v1/watch/fraud_v1");
    let present = watched["features"]["amount"]["present"].as_array().cloned().unwrap_or_default();
    assert!(present.is_empty() || present.len() == watched["at"].as_array().unwrap().len(), "{watched}");
    present.iter().filter_map(Value::as_u64).sum()
}

#[test]
fn windows_go_on_after_a_restart_and_begin_anew_where_they_are_damaged() {
    let project = trained();
    let server = serve(&project);
    push(&server, 1000, 30);
    score(&server, &amounts(2, 1600));
    // Until no more come: what was answered is sampled a moment later.
    let mut last = None;
    let before = wait_for("answers were sampled", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let amount = amount_of(&server).filter(|amount| amount["sampled"].as_u64() >= Some(1500));
        let is_all = amount.is_some() && amount == last;
        last = amount.clone();
        amount.filter(|_| is_all)
    });
    assert_eq!(server.terminate().status, Some(0));

    // Nothing is asked any more, and all is known.
    let server = serve(&project);
    let after = wait_for("windows go on", || amount_of(&server));
    assert_eq!((&after["drift"]["against"], &after["drift"]["psi"]), (&json!("training"), &before["drift"]["psi"]));
    assert_eq!((&after["by_status"], &after["values"]), (&before["by_status"], &before["values"]));
    wait_for("coverage over time goes on", || (over_time(&server) >= 1500).then_some(()));
    let (_, metrics) = server.get("/metrics");
    let values = after["values"]["present"].as_u64().unwrap();
    assert!(
        metrics.contains(&format!(r#"lockstep_feature_values_sampled_total{{target="fraud_v1",feature="amount",status="present"}} {values}"#)),
        "{metrics}"
    );
    assert_eq!(server.get("/v1/watch/nothing").0, 404);
    assert_eq!(server.terminate().status, Some(0));

    // One that was cut off says nothing, once.
    let path = project.store().join("watched");
    let kept = fs::read(&path).unwrap();
    fs::write(&path, &kept[..kept.len() / 2]).unwrap();
    let server = serve(&project);
    assert_eq!(amount_of(&server), None);
    let ended = server.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // It is written anew, and can be read.
    assert_ne!(fs::read(&path).unwrap(), kept[..kept.len() / 2]);
}
