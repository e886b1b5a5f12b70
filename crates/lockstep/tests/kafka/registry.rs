//! A schema registry that is away, keeps its schemas to itself, or is none.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lockstep_testkit::avro::{Avro, confluent};
use lockstep_testkit::kafka::{Broker, Sent};
use lockstep_testkit::registry::{Condition, Registry};

use crate::avro::{NEW, OLD, avro_sales};
use crate::rows::{START_MS, sale};
use crate::support::{Project, topic_name, wait_for};

fn sold(id: i64) -> Sent {
    let fields = vec![Avro::some(Avro::Number(id)), Avro::text("s1"), Avro::some(Avro::Double(1.5)), Avro::some(Avro::Number(START_MS + id))];
    Sent { value: Some(confluent(1, &Avro::Record(fields))), time_ms: START_MS + id, ..Sent::default() }
}

fn sold_anew(id: i64) -> Sent {
    let fields = vec![Avro::Number((START_MS + id) * 1000), Avro::Map(vec![]), Avro::Number(1), Avro::Double(1.5), Avro::Number(id)];
    Sent { value: Some(confluent(2, &Avro::Record(fields))), time_ms: START_MS + id, ..Sent::default() }
}

/// A view over two topics, one of Avro and one of JSON.
fn both(avro: &str, json: &str, registry: &str) -> String {
    let other = "CREATE SOURCE returns (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', allowed_lateness = '10 minutes', history = 'all', stream = 'kafka://TOPIC?format=json');
         CREATE FEATURE VIEW given_back ENTITY shop AS
         SELECT shop, count(*) OVER ever AS returns FROM returns
         WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);";
    format!("{}\n{}", avro_sales(avro, &format!("&registry={registry}")), other.replace("TOPIC", json))
}

#[test]
fn a_registry_that_is_away_is_waited_for_while_other_sources_go_on() {
    let (broker, _guard) = Broker::shared();
    let (avro, json) = (topic_name("avro"), topic_name("json"));
    [&avro, &json].iter().for_each(|topic| broker.create_topic(topic, 1, &[]));
    let registry = Registry::start();
    registry.put(1, OLD);
    registry.set(Condition::Away);
    broker.produce(&avro, &(0..5).map(sold).collect::<Vec<_>>());
    let project = Project::new(Some(broker), &both(&avro, &json, &registry.url()));
    let following = project.follow(&[]);
    wait_for("it says what it waits for", || following.said().contains("waits for the schema registry at http://127.0.0.1").then_some(()));
    broker
        .produce(&json, &(0..7).map(|id| Sent { value: Some(sale(id, id).into_bytes()), time_ms: START_MS, ..Sent::default() }).collect::<Vec<_>>());
    wait_for("the other source goes on", || (project.applied("returns") == Some(7)).then_some(()));
    assert_eq!(project.applied("sales").unwrap_or(0), 0);
    registry.set(Condition::Answers(503));
    std::thread::sleep(std::time::Duration::from_secs(1));
    registry.set(Condition::Well);
    wait_for("the registry answers", || (project.applied("sales") == Some(5)).then_some(()));
    // It goes away again: what is of known schemas is read on, and what is of new ones waits.
    registry.set(Condition::Away);
    broker.produce(&avro, &(5..8).map(sold).collect::<Vec<_>>());
    wait_for("schemas are remembered", || (project.applied("sales") == Some(8)).then_some(()));
    broker.produce(&avro, &(8..10).map(sold_anew).collect::<Vec<_>>());
    wait_for("it waits again", || following.said().contains("for schema 2").then_some(()));
    wait_for("its lag is known", || project.run(&["status"]).out.contains("newest 2024-01-01T00:00:00.007Z, 2 behind").then_some(()));
    registry.put(2, NEW);
    registry.set(Condition::Well);
    wait_for("the new schema is known", || (project.applied("sales") == Some(10)).then_some(()));
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    assert!(!project.run(&["dead-letters", "list"]).fine().contains("schema"));
    project.run(&["verify"]).fine();
}

#[test]
fn an_ingester_that_waits_for_a_registry_ends_when_told_and_loses_nothing() {
    let (broker, _guard) = Broker::shared();
    let avro = topic_name("avro");
    broker.create_topic(&avro, 1, &[]);
    let registry = Registry::start();
    registry.put(1, OLD);
    registry.set(Condition::Away);
    broker.produce(&avro, &(0..5).map(sold).collect::<Vec<_>>());
    let project = Project::new(Some(broker), &avro_sales(&avro, &format!("&registry={}", registry.url())));
    let following = project.follow(&[]);
    wait_for("it waits", || following.said().contains("waits for the schema registry").then_some(()));
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    let ended = project.to_the_end().error();
    assert!(ended.contains("does not answer") && ended.contains("run the command again when it is there"), "{ended}");
    registry.set(Condition::Well);
    project.to_the_end().fine();
    assert_eq!(project.applied("sales"), Some(5));
}

#[test]
fn who_asks_a_registry_is_said_in_the_settings_and_nowhere_shown() {
    let (broker, _guard) = Broker::shared();
    let avro = topic_name("avro");
    broker.create_topic(&avro, 1, &[]);
    broker.produce(&avro, &(0..3).map(sold).collect::<Vec<_>>());
    let registry = Registry::start();
    registry.put(1, OLD);
    // user:hunter2
    registry.protect("Basic dXNlcjpodW50ZXIy");
    let project = Project::new(Some(broker), &avro_sales(&avro, ""));
    let settings = |more: &str| {
        let brokers = format!("[kafka]\nbootstrap.servers = \"{}\"\n", broker.address());
        project.write("lockstep.toml", format!("{brokers}{}", more.replace("URL", &registry.url())));
    };
    let said = project.to_the_end().error();
    assert!(
        said.contains("nothing says where the schema registry is · write registry=http://HOST:PORT in the stream, or registry.url in [kafka]"),
        "{said}"
    );
    settings("registry = \"URL\"\n");
    let said = project.to_the_end().error();
    assert!(said.contains("does not let its schemas be read: 401 · give registry.user and registry.password"), "{said}");
    settings("registry.url = \"URL\"\nregistry.user = \"user\"\nregistry.password = { file = \"secret\" }\n");
    project.write("secret", "wrong\n");
    let said = project.to_the_end().error();
    assert!(said.contains("401") && !said.contains("wrong"), "{said}");
    project.write("secret", "hunter2\n");
    let ended = project.to_the_end();
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    ended.fine();
    assert_eq!(project.applied("sales"), Some(3));
}

#[test]
fn what_is_no_registry_stops_the_source_and_makes_no_dead_letters() {
    let (broker, _guard) = Broker::shared();
    let avro = topic_name("avro");
    broker.create_topic(&avro, 1, &[]);
    broker.produce(&avro, &(0..3).map(sold).collect::<Vec<_>>());
    let registry = Registry::start();
    registry.set(Condition::NoRegistry);
    let project = Project::new(Some(broker), &avro_sales(&avro, &format!("&registry={}", registry.url())));
    let said = project.to_the_end().error();
    assert!(said.contains("is no schema registry: it answers 404 to /schemas/ids/1"), "{said}");
    // A schema that comes late is known when it comes.
    registry.set(Condition::Well);
    registry.put(1, OLD);
    project.to_the_end().fine();
    assert_eq!(project.applied("sales"), Some(3));
}

#[test]
fn schemas_that_use_others_are_read_with_them() {
    let (broker, _guard) = Broker::shared();
    let avro = topic_name("avro");
    broker.create_topic(&avro, 1, &[]);
    let registry = Registry::start();
    let at = r#"{"type":"record","name":"When","namespace":"time","fields":[{"name":"zone","type":"string"}]}"#;
    let using = r#"{"type":"record","name":"Sale","fields":[{"name":"when","type":"time.When"},{"name":"id","type":"long"},
        {"name":"shop","type":"string"},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
    registry.put_subject("a time/zone", 3, serde_json::json!({"subject": "a time/zone", "version": 3, "schema": at}));
    let subject = "a%20time%2Fzone";
    registry.put_subject(subject, 3, serde_json::json!({"schema": at}));
    let reference =
        |version: u32| serde_json::json!({"schema": using, "references": [{"name": "time.When", "subject": "a time/zone", "version": version}]});
    registry.put_whole(5, reference(3));
    registry.put_whole(6, reference(4));
    registry.put_whole(7, serde_json::json!({"schema": "message A {}", "schemaType": "PROTOBUF"}));
    let row = |schema: u32, id: i64| {
        let fields = vec![Avro::Record(vec![Avro::text("UTC")]), Avro::Number(id), Avro::text("s1"), Avro::Number(START_MS + id)];
        Sent { value: Some(confluent(schema, &Avro::Record(fields))), time_ms: START_MS, ..Sent::default() }
    };
    broker.produce(&avro, &[row(5, 1), row(6, 2), row(7, 3), row(5, 4)]);
    let project = Project::new(Some(broker), &avro_sales(&avro, &format!("&registry={}", registry.url())));
    project.to_the_end().fine();
    assert_eq!(project.applied("sales"), Some(2));
    let shown = project.run(&["dead-letters", "list"]).fine();
    assert!(shown.contains("schema 6 refers to version 4 of `a time/zone`, which is not in the registry: Subject not found"), "{shown}");
    assert!(shown.contains("schema 7 is PROTOBUF, not Avro"), "{shown}");
}

/// OpenSSL's own server, which serves files below a directory over TLS.
struct Secure(Child, u16);

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `None` where there is no OpenSSL.
fn serve_securely(dir: &Path, certificate: &str, key: &str) -> Option<Secure> {
    fs::write(dir.join("certificate.pem"), certificate).unwrap();
    fs::write(dir.join("key.pem"), key).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-WWW", "-cert", "certificate.pem", "-key", "key.pem", "-accept", &format!("127.0.0.1:{port}")]);
    let server = command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let server = Secure(server, port);
    wait_for("it listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    Some(server)
}

#[test]
fn a_registry_over_tls_is_believed_by_its_certificate_alone() {
    let (broker, _guard) = Broker::shared();
    let files = tempfile::tempdir().unwrap();
    fs::create_dir_all(files.path().join("schemas/ids")).unwrap();
    fs::write(files.path().join("schemas/ids/1"), serde_json::json!({"schema": OLD}).to_string()).unwrap();
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let Some(server) = serve_securely(files.path(), &cert.pem(), &signing_key.serialize_pem()) else {
        println!("skipped: there is no openssl");
        return;
    };
    let avro = topic_name("avro");
    broker.create_topic(&avro, 1, &[]);
    broker.produce(&avro, &(0..3).map(sold).collect::<Vec<_>>());
    let project = Project::new(Some(broker), &avro_sales(&avro, &format!("&registry=https://localhost:{}", server.1)));
    let said = project.to_the_end().error();
    assert!(said.contains("does not answer") && said.to_lowercase().contains("certificate"), "{said}");
    project.write("ca.pem", cert.pem());
    project.write("lockstep.toml", format!("[kafka]\nbootstrap.servers = \"{}\"\nregistry.ca = \"ca.pem\"\n", broker.address()));
    project.to_the_end().fine();
    assert_eq!(project.applied("sales"), Some(3));
}
