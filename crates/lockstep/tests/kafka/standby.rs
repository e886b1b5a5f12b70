//! How long it takes until one that stands by has taken over from an owner that was killed.

use std::time::Duration;

use lockstep_model::{Clock, SystemClock};
use lockstep_testkit::kafka::Broker;

use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

const ROUNDS: i64 = 3;
/// What is wanted on an idle machine, and what is borne on a busy one.
const AIM: Duration = Duration::from_secs(5);
const BORNE: Duration = Duration::from_secs(30);

fn since(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(SystemClock.now().0 - micros).unwrap_or(0))
}

#[test]
fn one_that_stands_by_takes_over_from_an_owner_that_was_killed() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("standby");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let producer = broker.producer();
    let mut owner = project.follow(&[]);
    producer.send(&topic, &records(0, 300));
    let mut applied = wait_for("rows are applied", || project.applied("sales").filter(|applied| *applied >= 200));
    let mut took = Vec::new();
    for round in 1..=ROUNDS {
        let standby = project.follow(&["--standby"]);
        wait_for("it stands by", || standby.said().contains("standing by").then_some(()));
        let killed_at = SystemClock.now().0;
        owner.kill();
        producer.send(&topic, &records(300 * round, 300));
        wait_for("it takes over", || standby.said().contains("took over").then_some(()));
        let took_over = since(killed_at);
        applied = wait_for("what came since is applied", || project.applied("sales").filter(|now| *now > applied));
        took.push((took_over, since(killed_at)));
        owner = standby;
    }
    for (took_over, applied) in &took {
        println!(
            "took over {:.2} s after the owner was killed, and was seen to apply what came since after {:.2} s · aim: below {AIM:?}",
            took_over.as_secs_f64(),
            applied.as_secs_f64()
        );
    }
    assert!(took.iter().all(|(_, applied)| *applied < BORNE), "{took:?}");
    owner.kill();
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("handed on", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}
