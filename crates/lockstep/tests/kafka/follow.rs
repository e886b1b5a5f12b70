//! Topics that are followed: what is added, what is idle, and how it ends.

use lockstep_testkit::kafka::Broker;

use crate::outcome::{assert_same, assert_same_but_for_forgotten, outcome};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name, wait_for};

#[test]
fn a_topic_is_followed_until_the_process_is_asked_to_end() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("followed");
    // One partition more than there are rows for.
    broker.create_topic(&topic, PARTITIONS + 1, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let following = project.follow(&[]);
    let rows = records(0, 900);
    for (number, part) in rows.chunks(100).enumerate() {
        broker.produce(&topic, part);
        if number == 4 {
            wait_for("rows are applied while it is followed", || project.applied("sales").filter(|applied| *applied > 100));
        }
    }
    let mut last = None;
    wait_for("all rows are applied", || {
        let applied = project.applied("sales");
        let settled = applied.is_some_and(|applied| applied >= 900) && applied == last;
        last = applied;
        settled.then_some(())
    });
    // The group is told, a second later at most.
    wait_for("the group is told", || {
        let committed = broker.committed("lockstep", &topic, PARTITIONS);
        (committed.iter().flatten().sum::<i64>() == rows.len() as i64).then_some(())
    });
    wait_for("nothing is behind", || (lags(&project) == vec![Some(0); PARTITIONS as usize]).then_some(()));
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(lags(&project), vec![None; PARTITIONS as usize], "nobody knows of the ends of what is not followed");
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    // A partition that is empty while it is followed holds back forgetting for a while.
    assert_same_but_for_forgotten("followed", outcome(&project.store()), &outcome(&undisturbed.store()));
}

/// How far behind each partition of sales is, by what `status` says.
fn lags(project: &Project) -> Vec<Option<u64>> {
    let status: serde_json::Value = serde_json::from_str(&project.run(&["status", "--json"]).fine()).unwrap();
    let partitions = status["views"][0]["sources"][0]["partitions"].as_array().unwrap();
    partitions.iter().map(|partition| partition["lag"].as_u64()).collect()
}

#[test]
fn partitions_of_a_new_topic_are_late_from_themselves_alone() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("new");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let following = project.follow(&[]);
    // One partition after the other, each far behind where the one before has come to.
    for partition in 0..PARTITIONS {
        let rows: Vec<_> = records(0, 3000).into_iter().filter(|row| row.partition == partition).collect();
        broker.produce(&topic, &rows);
        let due = 1000 * u64::try_from(partition + 1).unwrap();
        wait_for("a partition is applied", || project.applied("sales").filter(|applied| *applied >= due));
    }
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("one after the other", &outcome(&project.store()), &outcome(&undisturbed.store()));
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let Some((broker, _guard)) = Broker::real("added partitions") else { return };
    let topic = topic_name("grown");
    broker.create_topic(&topic, 2, &[]);
    let rows = records(0, 600);
    let (before, after): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.partition < 2);
    broker.produce(&topic, &before);
    let project = Project::new(Some(broker), &sales(&topic));
    let following = project.follow(&[]);
    wait_for("the first partitions are applied", || project.applied("sales").filter(|applied| *applied >= 400));
    broker.add_partitions(&topic, 3);
    broker.produce(&topic, &after);
    let count = project.applied("sales").unwrap();
    // It is late from the watermark that the others had: some of its first rows are refused.
    wait_for("the partition that was added is applied", || project.applied("sales").filter(|applied| *applied >= count + 150));
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    project.to_the_end().fine();
    assert!(project.applied("sales").is_some_and(|applied| applied < 600), "some were too late");
    project.run(&["verify"]).fine();
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let (broker, _guard) = Broker::alone();
    let topic = topic_name("away");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let rows = records(0, 600);
    let (before, after) = rows.split_at(300);
    broker.produce(&topic, before);
    let project = Project::new(Some(broker), &sales(&topic));
    let mut following = project.follow(&[]);
    wait_for("rows are applied", || project.applied("sales").filter(|applied| *applied >= 200));
    broker.kill();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(following.ended(), None, "{}", following.said());
    broker.restart();
    broker.produce(&topic, after);
    wait_for("rows are applied again", || project.applied("sales").filter(|applied| *applied >= 600));
    let (status, said) = following.terminate();
    assert_eq!(status, Some(0), "{said}");
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("through a restart", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}
