//! Leaders that move, in order and by force, while a topic is followed, and the ingester is killed each time.

use std::time::Duration;

use lockstep_testkit::kafka::Cluster;

use crate::leaving::{assert_letters, assert_logged, leaving};
use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

/// How often a leader goes.
const MOVES: usize = 4;

#[test]
fn leaders_that_move_while_a_topic_is_followed_change_nothing() {
    let cluster = Cluster::start(3);
    let (topic, letters) = (topic_name("moved"), topic_name("moved-dlq"));
    let safe = [("min.insync.replicas", "2")];
    cluster.create_topic(&topic, PARTITIONS, &safe);
    cluster.create_topic(&letters, 1, &safe);
    let project = Project::new(Some(&cluster), &leaving(&topic, &letters));
    let rows = records(0, 300 * i64::try_from(2 * MOVES).unwrap());
    let mut parts = rows.chunks(rows.len().div_ceil(2 * MOVES));
    let mut following = project.follow(&["--batch-rows", "50"]);
    let mut applied = 0;
    for number in 0..MOVES {
        cluster.produce(&topic, parts.next().unwrap_or_default());
        applied = wait_for("rows are applied", || project.applied("sales").filter(|now| *now > applied));
        let leader = wait_for("a leader", || cluster.leader(&topic, 0));
        // By turns in order, when it hands over what it leads, and by force.
        if number % 2 == 0 {
            cluster.stop_node(leader)
        } else {
            cluster.kill_node(leader)
        }
        let next = wait_for("another leader", || cluster.leader(&topic, 0).filter(|next| *next != leader));
        println!("partition 0 went from broker {leader} to {next}");
        cluster.produce(&topic, parts.next().unwrap_or_default());
        applied = wait_for("rows are applied by another leader", || project.applied("sales").filter(|now| *now > applied));
        // The ingester is killed while a broker is away.
        following.kill();
        following = project.follow(&["--batch-rows", "50"]);
        cluster.start_node(leader);
    }
    // Leaders go back to where they were, which moves them once more.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(following.ended(), None, "{}", following.said());
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(&cluster), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("moved", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
    assert_logged(&project);
    assert_letters(&cluster, &project, &letters);
}
