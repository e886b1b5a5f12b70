//! Logs that are no longer what was read: that source stops, says why and what to do; the others go on.

use lockstep_model::{KafkaPosition, PartitionId, Position, RecordMark};
use lockstep_store::{Commit, OnlineStore, Store, StoreOptions};
use lockstep_testkit::kafka::Broker;

use crate::rows::{records, sales};
use crate::support::{Project, topic_name, wait_for};

/// Sales of one topic and returns of another, into one view each.
fn two_sources(one: &str, other: &str) -> String {
    let mut returns = sales(other);
    for (from, to) in [
        ("CREATE ENTITY shop (shop VARCHAR);", ""),
        ("SOURCE sales", "SOURCE returns"),
        ("FROM sales", "FROM returns"),
        ("VIEW takings", "VIEW given_back"),
    ] {
        returns = returns.replace(from, to);
    }
    sales(one) + &returns
}

/// A project that has read two topics of three partitions to their ends.
fn read(broker: &Broker) -> (Project, String, String) {
    let (one, other) = (topic_name("one"), topic_name("other"));
    let project_of = || Project::new(Some(broker), &two_sources(&one, &other));
    for topic in [&one, &other] {
        broker.create_topic(topic, 3, &[]);
        broker.produce(topic, &records(0, 300));
    }
    let project = project_of();
    project.to_the_end().fine();
    (project, one, other)
}

/// Changes the position of the first partition of a topic, as if it had been taken in another log.
pub fn tamper(project: &Project, topic: &str, change: impl Fn(KafkaPosition) -> KafkaPosition) {
    let store = Store::open(project.store(), StoreOptions::new("test")).unwrap();
    let cut = OnlineStore::cut(&store);
    for info in cut.generations().unwrap() {
        let positions = cut.positions(info.generation).unwrap().into_iter().filter_map(|(id, position)| match position {
            Position::Kafka(position) if id.partition == format!("kafka://{topic}/0") => Some((id, Position::Kafka(change(position)))),
            _ => None,
        });
        let positions: Vec<(PartitionId, Position)> = positions.collect();
        store.commit(Commit { positions, ..Commit::new(info.generation, store.epoch()) }).unwrap();
    }
}

#[test]
fn a_topic_that_goes_while_it_is_followed_stops_its_source_alone() {
    let Some((broker, _guard)) = Broker::real("deleted topics") else { return };
    let (project, one, other) = read(broker);
    let mut following = project.follow(&[]);
    broker.delete_topic(&one);
    wait_for("it is said", || following.said().contains("source `sales` stopped").then_some(()));
    let returns = project.applied("returns").unwrap();
    broker.produce(&other, &records(300, 30));
    wait_for("the other goes on", || project.applied("returns").filter(|applied| *applied == returns + 30));
    assert_eq!(following.ended(), None);
    let (status, said) = following.terminate();
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains(&format!("there is no topic `{one}`")), "{said}");
}

/// The first source stops, with a text; the second goes on. Told to accept it, the first goes on as well. Sales are numbered from `first` on.
#[track_caller]
fn stops_and_is_gone_on_with(broker: &Broker, project: &Project, (one, other): (&str, &str), first: i64, says: &[&str]) {
    let applied = || (project.applied("sales").unwrap(), project.applied("returns").unwrap());
    let (sales, returns) = applied();
    broker.produce(other, &records(first, 30));
    let said = project.to_the_end().error();
    for text in says.iter().chain(&["source `sales` stopped", "lockstep ingest --source sales --accept-gap"]) {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert_eq!(applied(), (sales, returns + 30));
    project.run(&["ingest", "--until-end", "--source", "sales", "--accept-gap"]).fine();
    broker.produce(one, &records(first, 60));
    project.to_the_end().fine();
    assert!(applied().0 >= sales + 60, "{sales} {:?}", applied());
}

#[test]
fn a_topic_that_was_made_anew_stops_its_source_alone() {
    let Some((broker, _guard)) = Broker::real("deleted topics") else { return };
    let (project, one, other) = read(broker);
    broker.delete_topic(&one);
    let said = project.run(&["ingest", "--until-end", "--source", "sales"]).error();
    assert!(said.contains(&format!("there is no topic `{one}`")), "{said}");
    broker.create_topic(&one, 3, &[]);
    stops_and_is_gone_on_with(broker, &project, (&one, &other), 300, &["has been made anew since"]);
    let said = project.run(&["verify"]).error();
    assert!(said.contains("lockstep verify --served"), "{said}");
}

#[test]
fn a_log_that_was_trimmed_past_a_position_stops_its_source_alone() {
    let Some((broker, _guard)) = Broker::real("trimmed logs") else { return };
    let (project, one, other) = read(broker);
    // What is trimmed has been read: nothing is missing.
    broker.trim(&one, 1, 10);
    project.to_the_end().fine();
    broker.produce(&one, &records(300, 150));
    broker.trim(&one, 0, 130);
    stops_and_is_gone_on_with(
        broker,
        &project,
        (&one, &other),
        600,
        &[&format!("kafka://{one}/0"), "begins at 130 now: the records between are gone"],
    );
}

#[test]
fn a_position_of_another_log_stops_its_source_alone() {
    let (broker, _guard) = Broker::shared();
    let (project, one, other) = read(broker);
    let cases: [(&str, fn(KafkaPosition) -> KafkaPosition); 3] = [
        ("was read in cluster elsewhere", |position| KafkaPosition { cluster: "elsewhere".to_owned(), ..position }),
        ("it has lost records", |position| KafkaPosition { offset: 1_000_000, ..position }),
        ("has another record at offset", |position| {
            let last = position.last.map(|last| RecordMark { hash: last.hash ^ 1, ..last });
            KafkaPosition { last, ..position }
        }),
    ];
    for ((says, change), first) in cases.into_iter().zip([300, 400, 500]) {
        tamper(&project, &one, change);
        stops_and_is_gone_on_with(broker, &project, (&one, &other), first, &[says]);
    }
}
