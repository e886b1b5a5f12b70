//! `lockstep test`.

use crate::support::{Place, repository};

#[test]
fn the_tests_of_the_repository_pass() {
    let dir = repository().canonicalize().unwrap().display().to_string();
    let said = Place::empty().run(&["--project", &dir, "test"]);
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("fine: 9 tests with"), "{}", said.stdout);
}

/// The expected values were made outside Rust, with exact fractions: tests/golden/frames/make.py.
#[test]
fn every_frame_with_every_aggregate_comes_to_what_exact_fractions_do() {
    let dir = repository().join("tests/golden/frames").canonicalize().unwrap().display().to_string();
    let said = Place::empty().run(&["--project", &dir, "test"]);
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("24,552 values, down both paths"), "{}", said.stdout);
}

#[test]
fn the_tests_of_a_new_project_pass() {
    let said = Place::project().run(&["test"]);
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.starts_with("fine: 2 tests with"), "{}", said.stdout);
}

#[test]
fn what_differs_is_told_with_its_place() {
    let mut place = Place::project();
    place.edit("feature_defs/card_activity.test", "spent_1h           56.36", "spent_1h           56.35");
    place.edit("feature_defs/card_activity.test", "4 applied, 1 duplicates", "5 applied");
    place.edit("feature_defs/card_activity.test", "payments_7d   0\n", "payments_7d   NULL\n");
    place.say("test card_activity");
    place.edit("feature_defs/card_activity.sql", "avg(amount)                            OVER d7", "max(amount)                            OVER d7");
    place.say("test");
    place.check("test_differs");
}

#[test]
fn blessing_writes_what_comes_out_and_keeps_the_rest() {
    let mut place = Place::project();
    let before = place.read("feature_defs/card_activity.test");
    place.edit("feature_defs/card_activity.test", "spent_1h           56.36", "spent_1h           1");
    place.edit("feature_defs/card_activity.test", "4 applied, 1 duplicates", "9 applied");
    let short = "events payments\n  payment_id, card, amount, paid_at\n  1, c1, 0.1, 2024-03-03T12:00:00Z\n  2, c1, 0.2, 2024-03-03T12:00:00Z\n\n\
                 at 2024-03-03T12:00:00Z card=c1 amount=1\n-- the end\n";
    place.write("feature_defs/fraud_v1.test", short);
    place.say("test --bless");
    place.say("test --bless");
    place.say("test");
    assert_eq!(place.read("feature_defs/card_activity.test"), before);
    let text = place.read("feature_defs/fraud_v1.test");
    assert!(text.ends_with("\n-- the end\n"), "{text}");
    place.note(&text.replace('\n', "\n# "));
    place.check("test_bless");
}

#[test]
fn wrong_tests_are_told_like_wrong_definitions() {
    let mut place = Place::project();
    for (name, text) in [
        ("card_activity", "events pyments\n  payment_id\n  1\n"),
        ("card_activity", "events payments\n  payment_id, amonut\n  1, 2\n"),
        ("card_activity", "at 2024-03-03 card=c1\n  spent_1hour 3\n"),
        ("card_activity", "at 2024-03-03 crad=c1\n  spent_1h 3\n"),
        ("card_activity", "at noon card=c1\n"),
        ("card_activity", "evnts payments\n"),
        ("fraud_v1", "at 2024-03-03 amount=much\n  amount 1\n"),
        ("nothing", "at 2024-03-03 card=c1\n"),
    ] {
        let path = format!("feature_defs/{name}.test");
        place.write(&path, text);
        place.say("test");
        std::fs::remove_file(place.path(&path)).unwrap();
    }
    place.say("test fraud_v2");
    place.say("test fraud_v1");
    place.say("test");
    place.check("test_wrong");
}

#[test]
fn a_moment_whose_state_may_be_gone_is_told_so() {
    let mut place = Place::project();
    let sql = "CREATE SOURCE clicks (id BIGINT PRIMARY KEY, card VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
        CREATE FEATURE VIEW clicked ENTITY card AS SELECT card, count(*) OVER h AS clicks_1h FROM clicks
        WINDOW h AS (PARTITION BY card ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);";
    place.write("feature_defs/clicked.sql", sql);
    let first = "events clicks\n  id, card, at\n  1, c1, 2024-03-03T12:00:00Z\n\nat 2024-03-03T12:00:00Z card=c1\n  clicks_1h 1\n";
    let second = "\nevents clicks\n  id, card, at\n  2, c1, 2024-03-03T14:00:00Z\n\nat 2024-03-03T14:00:00Z card=c1\n  clicks_1h 1\n";
    place.write("feature_defs/clicked.test", format!("{first}{second}"));
    place.say("test clicked");
    place.write("feature_defs/clicked.test", format!("{first}{second}\nat 2024-03-03T12:00:00Z card=c1\n  clicks_1h 1\n"));
    place.say("test clicked");
    place.check("test_gone");
}

#[test]
fn corrections_deletes_and_known_time_are_tested_down_both_paths() {
    let mut place = Place::project();
    let sql = "CREATE ENTITY \"the shop\" (\"Shop No\" VARCHAR);
        CREATE SOURCE sales (id BIGINT, \"Shop No\" VARCHAR, amount DECIMAL(12, 2), note VARCHAR, at TIMESTAMP, v BIGINT, PRIMARY KEY (id)) WITH (
          event_time = 'at', version = 'v', available_at = 'append_time', allowed_lateness = 'unbounded',
          batch = 'sales.csv', csv_delimiter = ';', csv_null = 'NA');
        CREATE FEATURE VIEW takings ENTITY \"the shop\" WITH (limit = 5) AS
        SELECT \"Shop No\", count(*) OVER w AS n, sum(amount) OVER w AS total, last_value(note) OVER w AS \"last note\", array_agg(note) OVER w AS notes
        FROM sales WINDOW w AS (PARTITION BY \"Shop No\" ORDER BY at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW);";
    place.write("feature_defs/takings.sql", sql);
    place.write(
        "feature_defs/takings.test",
        r#"events sales
  id, "Shop No", amount, note,       at,                   v, _append_time,         _tombstone
  1,  a;b,       10.10,  NA,         2024-03-03T10:00:00Z, 1, 2024-03-03T10:00:01Z,
  2,  a;b,       5,      ,           2024-03-03T11:00:00Z, 1, 2024-03-03T11:00:01Z,
  -- The second sale was another's, and the first is taken back.
  2,  c,         6,      "x; ""y""", 2024-03-03T11:00:00Z, 2, 2024-03-03T12:00:00Z,
  1,  ,          ,       ,           ,                     2, 2024-03-03T13:00:00Z, true
  -- Too old a version to count.
  2,  a;b,       7,      late,       2024-03-03T11:00:00Z, 1, 2024-03-03T13:00:01Z,

at 2024-03-03T11:30:00Z "Shop No=a;b"
  n            2
  total        15.1
  "last note"  NULL
  notes        ["NA", NULL]

at 2024-03-03T12:30:00Z "Shop No=a;b"
at 2024-03-03T12:30:00Z "Shop No=c"
at 2024-03-03T13:30:00Z "Shop No=a;b"

time event
at 2024-03-03T11:30:00Z "Shop No=c"
"#,
    );
    place.say("test takings");
    place.say("test takings --bless");
    place.say("test takings");
    place.note(&place.read("feature_defs/takings.test").replace('\n', "\n# "));
    place.check("test_corrections");
}
