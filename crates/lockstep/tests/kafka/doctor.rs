//! The doctor beside a real broker: what it finds of topics, of the logs that were read, and of clocks.

use lockstep_model::{Clock, KafkaPosition, SystemClock};
use lockstep_testkit::kafka::{Broker, Sent};
use serde_json::Value;

use crate::resume::tamper;
use crate::rows::{PARTITIONS, records, sale, sales};
use crate::support::{Project, topic_name};

/// A project that has read a topic to its end.
fn read(broker: &Broker) -> (Project, String) {
    let topic = topic_name("examined");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, &records(0, 300));
    let project = Project::new(Some(broker), &sales(&topic));
    project.to_the_end().fine();
    (project, topic)
}

/// How the doctor finds something, and what it says of it.
#[track_caller]
fn found(project: &Project, what: &str) -> (String, String) {
    let ended = project.run(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let checks = said["checks"].as_array().unwrap();
    let fails = checks.iter().any(|check| check["health"] == "fail");
    assert_eq!(ended.status, Some(i32::from(fails)), "{ended:?}");
    let check = checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what} in {checks:#?}"));
    let text = |name: &str| check[name].as_str().unwrap().to_owned();
    (text("health"), text("found"))
}

#[test]
fn what_is_well_is_well_beside_an_ingester_and_without_one() {
    let (broker, _guard) = Broker::shared();
    let (project, topic) = read(broker);
    let well = |project: &Project| {
        assert_eq!(found(project, &format!("topic {topic}")), ("ok".to_owned(), "3 partitions for source sales".to_owned()));
        assert_eq!(found(project, &format!("log {topic}")).0, "ok");
        assert_eq!(found(project, "brokers' clock").0, "ok");
    };
    well(&project);
    let following = project.follow(&[]);
    crate::support::wait_for("it owns the store", || project.run(&["doctor"]).out.contains("owned by `lockstep ingest`").then_some(()));
    well(&project);
    drop(following);
}

#[test]
fn a_topic_that_is_missing_is_named_with_what_to_do() {
    let Some((broker, _guard)) = Broker::real("deleted topics") else { return };
    let (project, topic) = read(broker);
    broker.delete_topic(&topic);
    crate::support::wait_for("it is gone", || (found(&project, &format!("topic {topic}")).0 == "fail").then_some(()));
    let (_, said) = found(&project, &format!("topic {topic}"));
    assert!(said.contains(&topic) && said.contains(" · "), "{said}");
    assert_eq!(found(&project, &format!("log {topic}")).0, "fail");
    // One of that name that is made anew is another log.
    broker.create_topic(&topic, PARTITIONS, &[]);
    crate::support::wait_for("it is there again", || (found(&project, &format!("topic {topic}")).0 == "ok").then_some(()));
    let (health, said) = found(&project, &format!("log {topic}"));
    assert!(health == "fail" && said.contains("has been made anew since") && said.contains("--accept-gap"), "{said}");
}

#[test]
fn another_cluster_and_records_that_are_gone_are_told_before_anybody_reads_on() {
    let Some((broker, _guard)) = Broker::real("records that are deleted") else { return };
    let (project, topic) = read(broker);
    tamper(&project, &topic, |position| KafkaPosition { cluster: "elsewhere".to_owned(), ..position });
    let (health, said) = found(&project, &format!("log {topic}"));
    assert!(health == "fail" && said.contains("was read in cluster elsewhere, and this is cluster"), "{said}");
    assert!(said.contains("name the brokers of that cluster in [kafka]"), "{said}");
    // The topic itself is well: it is another's.
    assert_eq!(found(&project, &format!("topic {topic}")).0, "ok");

    let (project, topic) = read(broker);
    broker.produce(&topic, &records(300, 300));
    broker.trim(&topic, 0, 150);
    let (health, said) = found(&project, &format!("log {topic}"));
    assert!(health == "fail" && said.contains("the records between are gone"), "{said}");
}

#[test]
fn brokers_that_do_not_answer_and_clocks_that_do_not_agree_are_told() {
    let (broker, _guard) = Broker::shared();
    let (project, topic) = read(broker);
    // A producer whose clock is half an hour ahead: brokers refuse what is further.
    let ahead = SystemClock.now().0 / 1000 + 30 * 60_000;
    let record = Sent { partition: 0, value: Some(sale(9_000_001, 400).into_bytes()), time_ms: ahead, ..Sent::default() };
    broker.produce(&topic, &[record]);
    project.to_the_end().fine();
    let (health, said) = found(&project, "brokers' clock");
    assert!(health == "fail" && said.contains("set this clock, or the brokers', by NTP"), "{said}");
    // Nobody listens there.
    let settings = std::fs::read_to_string(project.path("lockstep.toml")).unwrap();
    project.write("lockstep.toml", settings.replace(broker.address(), "127.0.0.1:1"));
    for what in ["topic", "log"] {
        let (health, said) = found(&project, &format!("{what} {topic}"));
        assert!(health == "fail" && said.contains("127.0.0.1:1"), "{said}");
    }
}
