//! `--json`: every verb prints JSON, and its schema says what is in it.

use serde_json::Value;

use crate::support::Place;

#[test]
fn what_is_printed_is_what_the_schema_says() {
    let place = Place::serving();
    let schemas: Value = serde_json::from_str(&place.run(&["schema", "--json"]).stdout).unwrap();
    for (schema, line) in [
        ("check", "check"),
        ("test", "test"),
        ("plan", "plan"),
        ("plan", "plan --values"),
        ("apply", "apply"),
        ("applied", "apply --list"),
        ("backfill", "backfill"),
        ("get", "get fraud_v1 card=c1 --explain --as-of 2024-03-08T12:00:00Z"),
        ("ingest", "ingest --from data/new_payments.ndjson"),
        ("explain", "explain card_activity --entity card=c1"),
        ("status", "status"),
        ("dead_letters", "dead-letters list"),
        ("refusals", "refusals list"),
        ("applied_log", "applied-log"),
        ("replay_dlq", "replay-dlq data/new_payments.ndjson"),
        ("snapshot_made", "snapshot create"),
        ("snapshots", "snapshot list"),
        ("snapshot", "snapshot show s0001"),
        ("snapshots_differ", "snapshot diff s0001 s0001 --values"),
        ("snapshot_export", "snapshot export s0001 --out exported"),
        ("snapshot_validation", "snapshot validate s0001 --against serving"),
        ("migrated", "migrate"),
        ("snapshot_dropped", "snapshot drop s0001"),
        ("models", "model list"),
        ("columns", "schema --view card_activity"),
    ] {
        let args: Vec<&str> = line.split(' ').chain(["--json"]).collect();
        let said = place.run(&args);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{line}");
        let value: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{line}: {error}\n{}", said.stdout));
        check(&schemas[schema], &schemas[schema], &value, line);
    }
}

#[test]
fn an_error_is_json_on_standard_error() {
    let place = Place::empty();
    let schemas: Value = serde_json::from_str(&place.run(&["schema", "--json"]).stdout).unwrap();
    for (line, kind) in [("check", "not_found"), ("status", "not_found"), ("test nothing", "not_found")] {
        let args: Vec<&str> = line.split(' ').chain(["--json"]).collect();
        let said = place.run(&args);
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{line}");
        let value: Value = serde_json::from_str(&said.stderr).unwrap();
        assert_eq!(value["kind"], kind, "{line}: {value}");
        check(&schemas["error"], &schemas["error"], &value, line);
    }
}

/// Holds a value against the parts of a schema that say which members there are and of what types.
fn check(root: &Value, schema: &Value, value: &Value, place: &str) {
    assert!(schema.is_object() || schema.is_boolean(), "{place}: no schema");
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        return check(root, &root["$defs"][name], value, place);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let inner = any.iter().find(|inner| (inner["type"] == "null") == value.is_null());
        return check(root, inner.unwrap_or_else(|| panic!("{place}: {value} is none of {any:?}")), value, place);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_of = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => value.is_number(),
    };
    assert!(types.is_empty() || types.iter().any(is_of), "{place}: {value} is not of {types:?}");
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(name).is_some(), "{place}: {name} is missing");
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, member) in members {
            let inner = properties.get(name).unwrap_or_else(|| panic!("{place}: the schema has no {name}"));
            check(root, inner, member, &format!("{place}.{name}"));
        }
    }
    if let (true, Some(items)) = (schema["items"].is_object(), value.as_array()) {
        items.iter().for_each(|item| check(root, &schema["items"], item, &format!("{place}[]")));
    }
}
