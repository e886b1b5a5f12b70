//! Fingerprints change with the meaning of a definition and with nothing else.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::catalog::Catalog;
use crate::definition::{Definitions, SourceFile};

const ENTITY: &str = "CREATE ENTITY shop (shop VARCHAR);";

const SOURCE: &str =
    "CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, item VARCHAR, price DOUBLE, rev BIGINT, seen TIMESTAMP, sold_at TIMESTAMP)
WITH (event_time = 'sold_at', allowed_lateness = '1 hour', stream = 'log.ndjson', batch = 'a.parquet');";

const VIEW: &str = "CREATE FEATURE VIEW v ENTITY shop WITH (ttl = '7 days', max_staleness = '1 minute', limit = 100) AS
SELECT shop, count(*) OVER h AS n, sum(price) FILTER (WHERE item = 'tea') OVER d / 2 AS tea, count(DISTINCT item) OVER d AS items,
  max(price) OVER r AS top, avg(price) OVER today AS today
FROM sales
WHERE price > 0
WINDOW h AS (PARTITION BY shop ORDER BY sold_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
  d AS (PARTITION BY shop ORDER BY sold_at RANGE BETWEEN INTERVAL '1 day' PRECEDING AND INTERVAL '1 hour' PRECEDING),
  r AS (PARTITION BY shop ORDER BY sold_at ROWS BETWEEN 4 PRECEDING AND CURRENT ROW),
  today AS (PARTITION BY shop, date_trunc('day', sold_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York') ORDER BY sold_at RANGE UNBOUNDED PRECEDING);";

const SERVICE: &str = "CREATE FEATURE SERVICE s WITH ('default.n' = 0) AS
SELECT a.n AS n, a.tea + r.amount AS sum FROM REQUEST (shop VARCHAR, amount DOUBLE) r LEFT JOIN v a ON a.shop = r.shop;";

fn compile(files: &[&str]) -> Catalog {
    let files: Vec<SourceFile> = files.iter().enumerate().map(|(at, text)| SourceFile::new(format!("{at}.sql"), text.to_string())).collect();
    let definitions = Definitions::parse(&files).unwrap_or_else(|errors| panic!("{files:?}\n{errors:?}"));
    Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{files:?}\n{errors:?}"))
}

/// Meaning of the view, state of the view, meaning of the service.
fn fingerprints(files: &[&str]) -> [String; 3] {
    let catalog = compile(files);
    let (view, service) = (&catalog.views["v"], &catalog.services["s"]);
    [view.meaning.to_string(), view.state.to_string(), service.meaning.to_string()]
}

/// The definitions after an edit, which has to have changed them.
fn edited(from: &str, to: &str) -> [String; 4] {
    let before = [ENTITY, SOURCE, VIEW, SERVICE];
    let after = before.map(|text| text.replace(from, to));
    assert_ne!(after.each_ref().map(String::as_str), before, "nothing to edit: {from}");
    after
}

#[test]
fn spelling_means_nothing() {
    let base = fingerprints(&[ENTITY, SOURCE, VIEW, SERVICE]);
    let same = |files: &[&str], what: &str| assert_eq!(fingerprints(files), base, "{what}");
    same(&[SERVICE, VIEW, SOURCE, ENTITY], "the order of files");
    same(&[&[VIEW, SERVICE, ENTITY, SOURCE].join("\n")], "the number of files");
    for (from, to) in [
        ("SELECT shop,", "-- words\nSELECT /* more */ shop,"),
        ("WHERE price > 0", "WHERE\n\n  price   >   0"),
        ("WHERE price > 0", "where PRICE > 0"),
        ("WHERE price > 0", "WHERE (price > 0)"),
        ("WHERE price > 0", "WHERE \"price\" > 0"),
        ("WHERE price > 0", "WHERE sales.price > 0"),
        ("h AS (", "hour_of_shop AS ("),
        ("FROM sales\n", "FROM sales AS events\n"),
        ("BETWEEN INTERVAL '1 day' PRECEDING", "BETWEEN INTERVAL '24 hours' PRECEDING"),
        ("RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW", "RANGE INTERVAL '60 minutes' PRECEDING"),
        ("max_staleness = '1 minute'", "max_staleness = '2 minutes'"),
        ("ttl = '7 days'", "ttl = '168 hours'"),
        ("stream = 'log.ndjson'", "stream = 'other.ndjson'"),
        ("batch = 'a.parquet'", "batch = 'b.parquet'"),
        ("allowed_lateness = '1 hour'", "expect_events_every = '1 hour', allowed_lateness = '1 hour'"),
        ("avg(price)", "mean(price)"),
    ] {
        // A renamed window is renamed where it is used too.
        let files = edited(from, to).map(|text| if to.starts_with("hour_of") { text.replace("OVER h ", "OVER hour_of_shop ") } else { text });
        same(&files.each_ref().map(String::as_str), &format!("{from} → {to}"));
    }
    let inline = edited("OVER r AS", "OVER (PARTITION BY shop ORDER BY sold_at ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS");
    same(&inline.each_ref().map(String::as_str), "a window in its place");
    let role = edited("v a ON a.shop = r.shop", "v z ON r.shop = z.shop").map(|text| text.replace("a.n", "z.n").replace("a.tea", "z.tea"));
    assert_eq!(fingerprints(&role.each_ref().map(String::as_str))[..2], base[..2]);
}

#[test]
fn every_other_edit_means_something() {
    let base = fingerprints(&[ENTITY, SOURCE, VIEW, SERVICE]);
    let mut seen = vec![base.clone()];
    for (from, to) in [
        ("INTERVAL '1 hour' PRECEDING AND CURRENT ROW", "INTERVAL '2 hours' PRECEDING AND CURRENT ROW"),
        ("INTERVAL '1 hour' PRECEDING),\n  r", "INTERVAL '1 microsecond' PRECEDING),\n  r"),
        ("ROWS BETWEEN 4 PRECEDING AND CURRENT", "ROWS BETWEEN 5 PRECEDING AND CURRENT"),
        ("ROWS BETWEEN 4 PRECEDING AND CURRENT ROW", "ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING"),
        ("America/New_York", "America/Chicago"),
        ("date_trunc('day'", "date_trunc('week'"),
        ("count(*)", "count(price)"),
        ("count(DISTINCT item)", "count(item)"),
        ("max(price)", "min(price)"),
        ("avg(price) OVER", "avg(price + 1) OVER"),
        ("avg(price) OVER", "avg(CAST(rev AS DOUBLE)) OVER"),
        ("item = 'tea'", "item = 'jam'"),
        ("FILTER (WHERE item = 'tea') ", ""),
        ("OVER d / 2", "OVER d / 3"),
        ("OVER d / 2", "OVER d * 2"),
        ("AS n, sum", "AS m, sum"),
        ("price > 0", "price >= 0"),
        ("price > 0", "price > 1"),
        ("ttl = '7 days'", "ttl = '8 days'"),
        ("limit = 100", "limit = 101"),
        ("limit = 100", "limit = 100, resolution = '1 minute'"),
        ("price DOUBLE", "price REAL"),
        ("item VARCHAR", "item VARCHAR, extra INT"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '2 hours'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = 'unbounded'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', max_ahead = '5 minutes'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', version = 'rev'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', version = 'position'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', available_at = 'seen'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', available_at = 'append_time'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', available_at = 'seen', serving_lag = '1 second'"),
        ("allowed_lateness = '1 hour'", "allowed_lateness = '1 hour', time_zone = 'Europe/Paris'"),
        ("BIGINT PRIMARY KEY, shop VARCHAR", "BIGINT, shop VARCHAR PRIMARY KEY"),
    ] {
        // What a service reads by the name that has changed.
        let files = edited(from, to).map(|text| if to.starts_with("AS m") { text.replace("a.n AS", "a.m AS") } else { text });
        let found = fingerprints(&files.each_ref().map(String::as_str));
        assert!(seen.iter().all(|seen| seen[0] != found[0]), "the view means the same: {from} → {to}");
        assert!(seen.iter().all(|seen| seen[2] != found[2]), "the service means the same: {from} → {to}");
        seen.push(found);
    }
    for (from, to) in [("'default.n' = 0", "'default.n' = 1"), ("a.tea + r.amount", "a.tea - r.amount"), ("amount DOUBLE", "amount REAL")] {
        let found = fingerprints(&edited(from, to).each_ref().map(String::as_str));
        assert_eq!(found[..2], base[..2], "{from} → {to}");
        assert!(seen.iter().all(|seen| seen[2] != found[2]), "the service means the same: {from} → {to}");
        seen.push(found);
    }
}

/// A view in two roles has features of one name, which only their roles tell apart; so has a request a column of such a name.
#[test]
fn a_service_with_its_roles_exchanged_means_something_else() {
    let of = |outputs: &str| {
        let roles = "LEFT JOIN v o ON o.shop = r.origin LEFT JOIN v d ON d.shop = r.dest";
        let service = format!("CREATE FEATURE SERVICE s AS SELECT {outputs} FROM REQUEST (origin VARCHAR, dest VARCHAR, n BIGINT) r {roles};");
        let [_, _, meaning] = fingerprints(&[ENTITY, SOURCE, VIEW, &service]);
        meaning
    };
    let meanings = [
        of("o.n AS a, d.n AS b"),
        of("d.n AS a, o.n AS b"),
        of("r.n AS a, o.n AS b"),
        of("o.n + d.n AS a, o.n AS b"),
        of("d.n + o.n AS a, o.n AS b"),
    ];
    for (at, meaning) in meanings.iter().enumerate() {
        assert!(!meanings[..at].contains(meaning), "{at}");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn demo() -> Vec<String> {
    let entries = std::fs::read_dir(repository().join("feature_defs")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "sql")).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// A release that changes one of these orphans stores: raise the versions that are in them, and migrate.
#[test]
fn fingerprints_are_what_they_were() {
    let mut text = "# view, meaning, state; service, meaning. Written by BLESS=1.\n".to_owned();
    let demo = demo();
    for files in [vec![ENTITY, SOURCE, VIEW, SERVICE], demo.iter().map(String::as_str).collect()] {
        let catalog = compile(&files);
        for (name, view) in &catalog.views {
            let _ = writeln!(text, "view {name} {} {}", view.meaning, view.state);
        }
        for (name, service) in &catalog.services {
            let _ = writeln!(text, "service {name} {}", service.meaning);
        }
    }
    let path = repository().join("tests/golden/fingerprints.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "BLESS=1 rewrites {}", path.display());
}
