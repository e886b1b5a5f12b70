//! Alerting rules: YAML that Prometheus reads, of what is declared.

use serde_json::Value;

use crate::watched::{edit, get, project, serve};

#[test]
fn rules_are_of_what_is_declared() {
    let project = project("psi_max = 0.3");
    edit(&project, "feature_defs/payments.sql", "event_time = 'paid_at',", "event_time = 'paid_at', expect_events_every = '1 hour',");
    edit(&project, "feature_defs/card_activity.sql", "max_staleness = '1 minute',", "max_staleness = '1 minute', min_coverage = 0.9,");
    edit(&project, "feature_defs/fraud_v1.sql", "'default.avg_amount_7d' = 0", "min_coverage = 0.5, 'default.avg_amount_7d' = 0");
    let rules = project.run(&["alerts"]).fine();
    let read: Value = serde_yaml_ng::from_str(&rules).unwrap();
    let all: Vec<&Value> = read["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let expr = |alert: &str| {
        let rule = all.iter().find(|rule| rule["alert"].as_str() == Some(alert)).unwrap_or_else(|| panic!("{alert} in {rules}"));
        rule["expr"].as_str().unwrap().to_owned()
    };
    assert_eq!(expr("LockstepSourceSilent"), r#"lockstep_source_silence_seconds{source="payments"} > 3600"#);
    assert_eq!(expr("LockstepViewStale"), r#"lockstep_view_lag_seconds{view="card_activity"} > 60"#);
    assert!(rules.contains(r#"lockstep_coverage{target="fraud_v1"} < 0.5"#), "{rules}");
    assert_eq!(expr("LockstepLowCoverage"), r#"lockstep_signal{kind="low_coverage",subject="card_activity"} == 1"#);
    assert!(expr("LockstepDrift").starts_with("lockstep_feature_psi > 0.3 and lockstep_feature_sampled >= "));
    for rule in &all {
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{rule}");
        assert!(!rule["annotations"]["summary"].as_str().unwrap().is_empty() && rule["for"].is_string(), "{rule}");
    }
    project.run(&["apply"]).fine();
    // What a page shows has the shape that is described.
    let server = serve(&project);
    let watched = get(&server, "/v1/watch");
    assert!(watched["history"]["at"].as_array().is_some_and(|at| !at.is_empty()), "{watched}");
    let described = get(&server, "/openapi.json");
    for path in ["/v1/watch", "/v1/signals"] {
        assert!(described["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
    }
}
