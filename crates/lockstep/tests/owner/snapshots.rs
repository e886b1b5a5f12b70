//! Snapshots, with and without an owner, while a log is applied, and when they are damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::same::AT;
use crate::support::{Ended, Project, wait_for};

const VIEW: &str = "card_activity";

/// What is said, without what differs from one project to another: sizes and the present moment.
fn masked(ended: Ended) -> Ended {
    let is_unit = |word: &str| matches!(word, "B" | "KiB" | "MiB" | "GiB");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| match words[at] {
            word if words.get(at + 1).is_some_and(|next| is_unit(next.trim_end_matches([',', '.']))) || is_unit(word) => "(size)",
            word if word.starts_with("20") && word.ends_with('Z') && !word.starts_with("2024-") => "(now)",
            word => word,
        };
        (0..words.len()).map(word).collect::<Vec<_>>().join(" ")
    };
    Ended { out: ended.out.lines().map(line).collect::<Vec<_>>().join("\n"), ..ended }
}

/// JSON without sizes, files and present moments.
fn masked_json(ended: Ended) -> Value {
    fn mask(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for name in ["bytes", "own_bytes", "held_bytes", "files", "created_at"] {
                    members.remove(name);
                }
                members.values_mut().for_each(mask);
            }
            Value::Array(items) => items.iter_mut().for_each(mask),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(&ended.fine()).unwrap();
    mask(&mut value);
    value
}

/// What is said of snapshots in a project whose payments came in between the two.
fn outcomes(project: &Project, run: &dyn Fn(&[&str]) -> Ended) -> (Vec<Ended>, Vec<Value>) {
    let mut said: Vec<Ended> = Vec::new();
    let mut say = |args: &[&str]| said.push(masked(run(args)));
    say(&["snapshot", "list"]);
    say(&["snapshot", "create", "--reason", "a first look", "--by", "ada"]);
    say(&["snapshot", "create", "early", "--moment", "2024-03-05T00:00:00Z", "--keep"]);
    for refused in [
        &["snapshot", "create", "early"][..],
        &["snapshot", "create", "a/b"],
        &["snapshot", "create", "late", "--moment", "2030-01-01T00:00:00Z"],
        &["snapshot", "show", "nowhere"],
        &["snapshot", "drop", "nowhere"],
        &["snapshot", "export", "nowhere", "--out", "exported"],
        &["snapshot", "export", "early", "--out", "exported", "--view", "card_actvity"],
        &["get", VIEW, "card=c1", "--snapshot", "nowhere"],
        &["get", VIEW, "card=c1", "--snapshot", "early", "--as-of", AT],
        &["get", VIEW, "card=c1", "--snapshot", "early", "--explain"],
        &["get", "fraud_v1", "card=c1", "amount=250", "country=FR", "--snapshot", "early"],
        &["get", VIEW, "--from", "cards.ndjson", "--snapshot", "s0001"],
        &["snapshot", "show", "early"],
        &["snapshot", "list"],
        &["snapshot", "diff", "early", "s0001", "--values"],
        &["snapshot", "diff", "early", "early", "--values"],
        &["snapshot", "export", "early", "--out", "exported"],
    ] {
        say(refused);
    }
    let json = [&["snapshot", "show", "early", "--json"][..], &["snapshot", "list", "--json"]].map(|args| masked_json(run(args))).to_vec();
    say(&["snapshot", "drop", "early"]);
    assert!(project.dir.join("exported/manifest.json").exists());
    (said, json)
}

#[test]
fn with_and_without_an_owner_and_through_a_server() {
    let [alone, beside, served] = [(); 3].map(|()| {
        let project = Project::new();
        fs::write(project.dir.join("cards.ndjson"), "{\"card\":\"c1\"}\n{\"card\":\"c2\",\"request_time\":\"2024-03-06\"}\n{\"card\":\"nobody\"}\n")
            .unwrap();
        project
    });
    let of_alone = outcomes(&alone, &|args| alone.run(args));
    let owner = beside.owner();
    let of_beside = outcomes(&beside, &|args| beside.run(args));
    owner.finish().fine();
    let server = served.server();
    let through = |args: &[&str]| {
        let mut command = served.command(args);
        command.env("LOCKSTEP_SERVER", server.url()).env("LOCKSTEP_STORE", "/nowhere");
        Ended::from(command.output().unwrap())
    };
    let of_served = outcomes(&served, &through);
    assert_eq!(of_alone.0.len(), of_beside.0.len());
    for ((alone, beside), served) in of_alone.0.iter().zip(&of_beside.0).zip(&of_served.0) {
        assert_eq!(alone, beside);
        assert_eq!(alone, served);
    }
    assert_eq!((&of_alone.1, &of_alone.1), (&of_beside.1, &of_served.1));
    let exported = |project: &Project| fs::read(project.dir.join("exported").join(format!("{VIEW}.parquet"))).unwrap();
    assert_eq!(exported(&alone), exported(&beside));
    assert_eq!(exported(&alone), exported(&served));
}

fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// The only Parquet file of a directory of kept answers.
fn kept(dir: &Path) -> RecordBatch {
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    read(&files[0])
}

/// Payments of a moment after the history, of old and new cards.
fn payments(round: u64) -> String {
    let line = |i: u64| {
        let n = round * 20 + i;
        let (day, second) = (8 + n / 80_000 % 20, n % 80_000);
        format!(
            "{{\"payment_id\":{},\"card\":\"c{}\",\"merchant\":\"m\",\"country\":\"FR\",\"amount\":{}.25,\"paid_at\":\"2024-03-{day:02}T{:02}:{:02}:{:02}Z\"}}\n",
            1_000_000 + n,
            n % 70,
            n % 90 + 1,
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    };
    (0..20).map(line).collect()
}

/// What is exported of a snapshot and what is read of it are the same bits, of every entity, whatever is applied meanwhile.
#[test]
fn exports_and_pinned_reads_agree_while_a_log_is_applied() {
    let project = Project::with_much_history();
    let mut owner = project.owner();
    let stop = AtomicBool::new(false);
    let rows = || {
        let status: Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
        let sources = status["views"][0]["sources"].as_array().unwrap();
        sources.iter().map(|source| source["applied"].as_u64().unwrap()).sum::<u64>()
    };
    thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            for round in 0..20_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                owner.feed(&payments(round));
                thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let begun = rows();
        wait_for("the log is applied", || (rows() > begun).then_some(()));
        let mut seen: BTreeMap<String, RecordBatch> = BTreeMap::new();
        for name in ["one", "two"] {
            let before = rows();
            project.run(&["snapshot", "create", name]).fine();
            project.run(&["snapshot", "export", name, "--out", name]).fine();
            wait_for("the log goes on", || (rows() > before).then_some(()));
            seen.insert(name.to_owned(), agree(&project, name));
        }
        assert_ne!(seen["one"], seen["two"], "the log has changed values between the two");
        for (name, values) in &seen {
            project.run(&["snapshot", "export", name, "--out", "again"]).fine();
            assert_eq!(read(&project.dir.join(format!("again/{VIEW}.parquet"))), *values, "{name} answers the same");
            fs::remove_dir_all(project.dir.join("again")).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        feeder.join().unwrap();
    });
    owner.finish().fine();
}

/// Compares what was exported of a snapshot to the directory of its name with what is looked up in it, entity by entity.
fn agree(project: &Project, name: &str) -> RecordBatch {
    let exported = read(&project.dir.join(name).join(format!("{VIEW}.parquet")));
    let cards = exported.column_by_name("card").unwrap().as_string::<i32>().iter().map(Option::unwrap);
    let requests: String = cards.map(|card| format!("{{\"card\":\"{card}\"}}\n")).collect();
    assert!(exported.num_rows() >= 50, "all cards of the history");
    fs::write(project.dir.join("cards.ndjson"), requests).unwrap();
    let dir = format!("kept-{name}");
    project.run(&["get", VIEW, "--from", "cards.ndjson", "--snapshot", name, "--keep", &dir, "--json"]).fine();
    let kept = kept(&project.dir.join(&dir));
    let part = |part: &str| kept.column_by_name(part).unwrap().as_struct().clone();
    let (values, statuses) = (part("value"), part("status"));
    for (field, value) in values.fields().iter().zip(values.columns()) {
        let of_export = |suffix: &str| -> ArrayRef { exported.column_by_name(&format!("{}{suffix}", field.name())).unwrap().clone() };
        assert_eq!(of_export("").to_data(), value.to_data(), "{name}: {}", field.name());
        let status = statuses.column_by_name(field.name()).unwrap();
        assert_eq!(
            of_export("_status").as_string::<i32>().iter().collect::<Vec<_>>(),
            status.as_string::<i32>().iter().collect::<Vec<_>>(),
            "{name}"
        );
    }
    exported
}

/// Damage of a snapshot is told to who reads it, by the file's name; the store goes on answering.
#[test]
fn damage_is_named_and_the_server_goes_on() {
    let project = Project::new();
    let server = project.server();
    let ask = |args: &[&str]| project.run(args);
    ask(&["snapshot", "create", "whole"]).fine();
    ask(&["snapshot", "create", "torn"]).fine();
    let torn = project.store().join("snapshots/torn");
    let now = ask(&["get", VIEW, "card=c1", "--as-of", AT]).fine();
    let files: Vec<_> = fs::read_dir(torn.join("db")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Tables are links: what is damaged would be the store's too.
        if !["MANIFEST", "CURRENT", "OPTIONS"].iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[0] ^= 1;
        fs::remove_file(&path).unwrap();
        for damage in [None, Some(flipped)] {
            if let Some(flipped) = damage {
                fs::write(&path, flipped).unwrap();
            }
            let error = ask(&["get", VIEW, "card=c1", "--snapshot", "torn"]).error();
            assert!(error.contains("is damaged") && error.contains(&format!("db/{name}")), "{error}");
            assert_eq!(ask(&["get", VIEW, "card=c1", "--as-of", AT]).fine(), now);
            ask(&["get", VIEW, "card=c1", "--snapshot", "whole"]).fine();
        }
        fs::write(&path, bytes).unwrap();
        ask(&["get", VIEW, "card=c1", "--snapshot", "torn"]).fine();
        // Open by now; made anew, it is checked anew.
        ask(&["snapshot", "drop", "torn"]).fine();
        ask(&["snapshot", "create", "torn"]).fine();
    }
    fs::write(torn.join("SNAPSHOT.json"), "{}").unwrap();
    let listed = ask(&["snapshot", "list"]).fine();
    assert!(listed.contains("is damaged · SNAPSHOT.json"), "{listed}");
    drop(server);
}

#[test]
fn old_snapshots_go() {
    let project = Project::new();
    let settings = fs::read_to_string(project.dir.join("lockstep.toml")).unwrap();
    fs::write(project.dir.join("lockstep.toml"), format!("{settings}\n[snapshots]\nkeep_last = 2\n")).unwrap();
    project.run(&["snapshot", "create", "kept", "--keep"]).fine();
    let made: Vec<String> = (0..4).map(|_| project.run(&["snapshot", "create"]).fine()).collect();
    assert!(made[2].contains("dropped: s0001, which nothing kept") && made[3].contains("dropped: s0002, which nothing kept"), "{made:?}");
    let list: Value = serde_json::from_str(&project.run(&["snapshot", "list", "--json"]).fine()).unwrap();
    let names: Vec<&str> = list["snapshots"].as_array().unwrap().iter().map(|listed| listed["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kept", "s0003", "s0004"]);
}
