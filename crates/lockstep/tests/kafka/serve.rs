//! A server that follows topics: what comes in is answered soon, what cannot be read on is served with its lag.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use lockstep_client::{Client, Request};
use lockstep_testkit::kafka::{Broker, Sent};

use crate::outcome::{assert_same_but_for_forgotten, outcome, outcome_of};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

/// A running `serve`.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(project: &Project) -> Server {
        let mut child = project.command(&["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut address, mut line) = (String::new(), String::new());
        while !line.starts_with("ready") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
            if let Some(at) = line.strip_prefix("listening on ") {
                address = at.split(": ").next().unwrap().to_owned();
            }
        }
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| println!("serve: {line}")));
        Server { child, address }
    }

    fn get(&self, path: &str) -> serde_json::Value {
        let mut answered = ureq::get(format!("http://{}{path}", self.address)).call().unwrap();
        serde_json::from_str(&answered.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// The only source's status.
    fn source(&self) -> serde_json::Value {
        self.get("/v1/status")["sources"][0].clone()
    }

    fn terminate(mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sale of shop `b`, in the newest hour there is.
fn sale(number: u64) -> Sent {
    let value = format!(r#"{{"id": {}, "shop": "fresh", "amount": 1.5, "at": "2024-05-01T00:00:00.{number:06}Z"}}"#, 1_000_000 + number);
    Sent {
        partition: (number % PARTITIONS as u64) as i32,
        key: None,
        value: Some(value.into_bytes()),
        time_ms: 1_714_521_600_000,
        headers: Vec::new(),
    }
}

#[test]
fn what_is_produced_is_answered_soon_and_nothing_is_lost_or_counted_twice() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("served");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 600));
    let project = Project::new(Some(broker), &sales(&topic));
    let server = Server::start(&project);
    wait_for("it is at the end", || (server.source()["behind"] == 0 && !server.source()["lag_seconds"].is_null()).then_some(()));
    // Everything else works beside it.
    assert!(project.applied("sales").is_some_and(|applied| applied > 0));
    project.run(&["verify"]).fine();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(format!("http://{}", server.address))).unwrap();
    let names: serde_json::Value = server.get("/v1/views");
    let view = names["views"][0].as_str().unwrap().to_owned();
    let description = server.get(&format!("/v1/views/{view}"));
    let key = description["keys"][0]["name"].as_str().unwrap().to_owned();
    let at = 1_714_524_000_000_000_i64;
    let known = |client: &Client| {
        let answer = runtime.block_on(client.get_features(Request::new(view.clone()).column(key.clone(), ["fresh"]).as_of(at))).unwrap();
        answer.0.features[0].clone()
    };
    assert_eq!(known(&client).statuses().next(), Some(lockstep_client::proto::Status::NotFound));
    broker.produce(&topic, &(0..30).map(sale).collect::<Vec<_>>());
    wait_for("a sale is answered", || (known(&client).statuses().next() != Some(lockstep_client::proto::Status::NotFound)).then_some(()));
    wait_for("it is at the end again", || (project.applied("sales") == Some(applied_of(&server))).then_some(()));
    let metrics = ureq::get(format!("http://{}/metrics", server.address)).call().unwrap().body_mut().read_to_string().unwrap();
    for name in
        ["lockstep_source_lag_seconds{source=\"sales\"}", "lockstep_source_behind_rows{source=\"sales\"}", "lockstep_view_watermark_age_seconds"]
    {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert_eq!(server.terminate(), Some(0));
    project.run(&["verify"]).fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    project.to_the_end().fine();
    assert_same_but_for_forgotten("served", outcome(&project.store()), &outcome(&undisturbed.store()));
}

#[test]
fn what_is_served_of_a_topic_is_computed_again_though_its_beginning_is_gone() {
    let Some((broker, _guard)) = Broker::real("records that are deleted") else { return };
    let topic = topic_name("audited");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 600));
    let project = Project::new(Some(broker), &sales(&topic));
    let replay = "[watch.replay]\nevery = '1 second'\nshare = 1\nevents_max = 300\n[serve.feature_log]\nshare = 1\nroll = '50 milliseconds'\n";
    project.write("lockstep.toml", std::fs::read_to_string(project.path("lockstep.toml")).unwrap() + replay);
    let server = Server::start(&project);
    let at_the_end = || wait_for("it is at the end", || (server.source()["behind"] == 0 && !server.source()["lag_seconds"].is_null()).then_some(()));
    at_the_end();
    // Nobody can read them from the beginning any more.
    (0..PARTITIONS).for_each(|partition| broker.trim(&topic, partition, 100));
    std::thread::sleep(std::time::Duration::from_secs(3));
    let mut asked = 0;
    for round in 0..4 {
        broker.produce(&topic, &records(600 + round * 20, 20));
        for shop in 0..7 {
            for part in 0..3 {
                let features = server.get(&format!("/v1/features/takings?shop=s{shop}&_request_id=r{round}-{shop}-{part}"));
                assert!(features["features"].is_array(), "{features}");
                asked += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
    at_the_end();
    let replayed = wait_for("all of it is computed again", || {
        let replay = server.get("/v1/watch")["reading"]["replay"].clone();
        (replay["vectors"].as_u64() >= Some(asked)).then_some(replay)
    });
    let nothing = serde_json::json!({});
    assert!(replayed["differ"] == 0 && replayed["not_auditable"] == nothing && replayed["why_not"].is_null(), "{replayed}");
    assert!(replayed["hindsight_values"].as_u64() > Some(0), "{replayed}");
    assert_eq!(server.terminate(), Some(0));
}

/// Rows applied, by the server's own metrics.
fn applied_of(server: &Server) -> u64 {
    let metrics = ureq::get(format!("http://{}/metrics", server.address)).call().unwrap().body_mut().read_to_string().unwrap();
    let line = metrics.lines().find(|line| line.starts_with("lockstep_source_applied_rows{source=\"sales\"}")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_broker_that_is_away_makes_what_is_served_stale() {
    let (broker, _guard) = Broker::alone();
    let topic = topic_name("stale");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 300));
    let sql = sales(&topic);
    let sql = sql.replacen("ENTITY shop AS", "ENTITY shop WITH (max_staleness = '2 seconds') AS", 1);
    assert!(sql.contains("max_staleness"), "{sql}");
    let project = Project::new(Some(broker), &sql);
    let server = Server::start(&project);
    let stale = |view: &serde_json::Value| {
        let (view, key) = (view["name"].as_str().unwrap(), view["keys"][0]["name"].as_str().unwrap());
        let answer = server.get(&format!("/v1/features/{view}?{key}=nobody"));
        answer["features"][0]["stale"][0] == true
    };
    let names = server.get("/v1/views");
    let views: Vec<_> = names["views"].as_array().unwrap().iter().map(|name| server.get(&format!("/v1/views/{}", name.as_str().unwrap()))).collect();
    let view = views.iter().find(|view| view["max_staleness_seconds"] == 2.0).unwrap();
    wait_for("it is at the end", || (!stale(view)).then_some(()));
    broker.kill();
    wait_for("its values are stale", || stale(view).then_some(()));
    assert!(server.source()["lag_seconds"].as_f64().unwrap() > 2.0, "{}", server.source());
    // The source is told of first, and that the view is stale follows from it.
    let signals = || server.get("/v1/signals")["signals"].as_array().unwrap().clone();
    let told = wait_for("both are told", || Some(signals()).filter(|signals| signals.len() >= 2));
    assert_eq!((told[0]["kind"].as_str(), told[0]["subject"]["name"].as_str()), (Some("source_lagging"), Some("sales")), "{told:?}");
    assert!(told[0]["cause"].is_null() && told[1]["kind"] == "view_stale" && told[1]["cause"] == told[0]["id"], "{told:?}");
    broker.restart();
    wait_for("they are fresh again", || (!stale(view)).then_some(()));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_topic_that_was_made_anew_is_served_as_it_was() {
    let Some((broker, _guard)) = Broker::real("deleted topics") else { return };
    let topic = topic_name("anew-served");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 300));
    let project = Project::new(Some(broker), &sales(&topic));
    project.to_the_end().fine();
    broker.delete_topic(&topic);
    broker.create_topic(&topic, PARTITIONS, &[]);
    let server = Server::start(&project);
    let why = wait_for("the source stops", || server.source()["stopped"].as_str().map(str::to_owned));
    assert!(why.contains("--accept-gap"), "{why}");
    let told = wait_for("that is told", || Some(server.get("/v1/signals")["signals"][0].clone()).filter(|signal| !signal.is_null()));
    assert!(told["kind"] == "source_stopped" && told["what"].as_str().unwrap().contains("--accept-gap"), "{told}");
    // What there is is served, and nothing says that it is fresh.
    assert!(server.source()["lag_seconds"].is_null());
    assert_eq!(ureq::get(format!("http://{}/readyz", server.address)).call().unwrap().status(), 200);
    // That it stopped is in its exit status.
    assert_eq!(server.terminate(), Some(2));
}

/// The number of the definitions that serve, as the server says.
fn serving(server: &Server) -> u64 {
    server.get("/v1/status")["definitions"].as_u64().unwrap()
}

#[test]
fn a_new_version_reads_the_topic_from_its_beginning_while_the_old_one_serves() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("versions");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 900));
    let (old, new) = (sales(&topic), sales(&topic).replace("amount > 50", "amount > 60"));
    let project = Project::new(Some(broker), &old);
    let mut server = Server::start(&project);
    wait_for("it is at the end", || (server.source()["behind"] == 0 && !server.source()["lag_seconds"].is_null()).then_some(()));
    project.write("feature_defs/all.sql", &new);
    project.run(&["apply"]).fine();
    let mut produced = 900;
    for round in 0..4_u64 {
        // Records come all the time; the server is killed while the new version is filled, and while it catches up.
        broker.produce(&topic, &records(produced, 150));
        produced += 150;
        project.run(&["backfill"]).fine();
        std::thread::sleep(std::time::Duration::from_millis(60 + 120 * round));
        drop(server);
        server = Server::start(&project);
    }
    wait_for("the new version serves", || (serving(&server) == 2).then_some(()));
    broker.produce(&topic, &records(produced, 150));
    let applied = |status: &serde_json::Value| -> Vec<u64> {
        status["views"].as_array().unwrap().iter().map(|view| view["sources"][0]["applied"].as_u64().unwrap_or_default()).collect()
    };
    let status = || -> serde_json::Value { serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap() };
    let behind = |status: &serde_json::Value| -> u64 {
        let views = status["views"].as_array().unwrap().iter();
        views.flat_map(|view| view["sources"][0]["partitions"].as_array().unwrap()).map(|partition| partition["lag"].as_u64().unwrap_or(1)).sum()
    };
    let status = wait_for("both are at the end", || Some(status()).filter(|status| behind(status) == 0 && applied(status)[0] == applied(status)[1]));
    assert_eq!((&status["views"][0]["role"], &status["views"][1]["role"]), (&"previous".into(), &"serving".into()), "{status}");
    project.run(&["verify"]).fine();
    assert_eq!(server.terminate(), Some(0));
    // Each version is what it is in a store that never had another.
    let of_version = |version: u32, sql: &str| {
        let undisturbed = Project::new(Some(broker), sql);
        undisturbed.to_the_end().fine();
        assert_same_but_for_forgotten("versions", outcome_of(&project.store(), Some(version)), &outcome(&undisturbed.store()));
    };
    of_version(1, &old);
    of_version(2, &new);
}
