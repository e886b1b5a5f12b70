//! An ingester that is killed at random moments, again and again.

use std::time::Duration;

use lockstep_testkit::effort;
use lockstep_testkit::kafka::Broker;

use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

const KILLS: u32 = 12;

#[test]
fn an_ingester_that_is_killed_again_and_again_comes_to_the_same() {
    let Some((broker, _guard)) = Broker::shared() else { return };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let kills = KILLS * u32::try_from(effort()).unwrap_or(1);
    let topic = topic_name("killed");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let rows = records(0, 500 * i64::from(kills));
    let mut progress = 0;
    for part in rows.chunks(rows.len().div_ceil(kills as usize)) {
        // Produced while the ingester runs, so that it is killed at work.
        let following = project.follow(&["--batch-rows", "50"]);
        wait_for("the ingester runs", || following_has_begun(&project).then_some(()));
        broker.produce(&topic, part);
        std::thread::sleep(Duration::from_millis(rng.u64(0..300)));
        following.kill();
        let applied = project.applied("sales").unwrap_or(0);
        assert!(applied >= progress, "what was applied stays: {applied} after {progress}");
        progress = applied;
    }
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}

/// Whether an ingester owns the store.
fn following_has_begun(project: &Project) -> bool {
    std::fs::read_to_string(project.store().join("OWNER")).is_ok_and(|owner| owner.contains("ingest"))
}
