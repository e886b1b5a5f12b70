//! An ingester that is killed at random moments, again and again, of topics of every kind.

use std::time::Duration;

use fastrand::Rng;
use lockstep_testkit::effort;
use lockstep_testkit::kafka::{Broker, Sent};
use lockstep_testkit::registry::Registry;

use crate::avro::{NEW, OLD, as_avro, avro_sales};
use crate::leaving::{assert_letters, assert_logged, leaving};
use crate::outcome::{assert_same, outcome};
use crate::rows::{PARTITIONS, records, sales};
use crate::support::{Project, topic_name};

/// Kills of an ingester of a plain topic, in one run, and of one of each other kind.
const KILLS: usize = 52;
const KILLS_OF_OTHERS: usize = 8;

/// An ingester that is killed again and again.
struct Killed<'a> {
    project: &'a Project,
    random: Rng,
    kills: usize,
    progress: u64,
}

impl<'a> Killed<'a> {
    fn new(project: &'a Project) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        Killed { project, random: Rng::with_seed(seed), kills: 0, progress: 0 }
    }

    /// Starts an ingester, produces while it runs, and kills it at work; now and then before it has begun.
    fn once(&mut self, produce: impl FnOnce()) {
        let following = self.project.follow(&["--batch-rows", "50"]);
        let waits = self.random.u32(0..4) > 0;
        for _ in 0..1000 {
            if !waits || self.owns() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        produce();
        std::thread::sleep(Duration::from_millis(self.random.u64(0..300)));
        following.kill();
        self.kills += 1;
        if self.kills.is_multiple_of(10) {
            let applied = self.project.applied("sales").unwrap_or(0);
            assert!(applied >= self.progress, "what was applied stays: {applied} after {}", self.progress);
            self.progress = applied;
        }
    }

    /// Whether an ingester owns the store.
    fn owns(&self) -> bool {
        std::fs::read_to_string(self.project.store().join("OWNER")).is_ok_and(|owner| owner.contains("ingest"))
    }
}

fn effort_kills(kills: usize) -> usize {
    kills * effort()
}

#[test]
fn an_ingester_that_is_killed_again_and_again_comes_to_the_same() {
    let (broker, _guard) = Broker::shared();
    let kills = effort_kills(KILLS);
    let (topic, letters) = (topic_name("killed"), topic_name("killed-dlq"));
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.create_topic(&letters, 1, &[]);
    let project = Project::new(Some(broker), &leaving(&topic, &letters));
    let rows = records(0, 120 * i64::try_from(kills).unwrap());
    let producer = broker.producer();
    let mut killed = Killed::new(&project);
    for (number, part) in rows.chunks(rows.len().div_ceil(kills)).enumerate() {
        // Some parts twice, as by a producer that has not heard that they were taken.
        let times = if number % 9 == 4 { 2 } else { 1 };
        killed.once(|| (0..times).for_each(|_| producer.send(&topic, part)));
    }
    println!("{} kills", killed.kills);
    assert!(killed.kills >= kills);
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
    assert_logged(&project);
    assert_letters(broker, &project, &letters);
}

#[test]
fn a_transactional_topic_comes_to_the_same_through_kills() {
    let Some((broker, _guard)) = Broker::real("transactions") else { return };
    let topic = topic_name("killed-transactional");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let rows = records(0, 2000);
    let mut killed = Killed::new(&project);
    let kills = effort_kills(KILLS_OF_OTHERS);
    for part in rows.chunks(rows.len().div_ceil(kills)) {
        killed.once(|| broker.produce_in_transactions(&topic, part, 30, |number| number % 3 != 1));
    }
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("transactions, killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}

#[test]
fn a_compacted_topic_comes_to_the_same_through_kills() {
    let Some((broker, _guard)) = Broker::real("compaction") else { return };
    let topic = topic_name("killed-prices");
    broker.create_topic(&topic, 1, &crate::equal::COMPACTED);
    let project = Project::new(Some(broker), &crate::equal::prices(&topic));
    let mut killed = Killed::new(&project);
    for round in 0..8 {
        let rows: Vec<Sent> = (0..200).map(|item| crate::equal::price(round, item)).collect();
        killed.once(|| broker.produce(&topic, &rows));
    }
    project.to_the_end().fine();
    project.run(&["verify"]).fine();
    let undisturbed = Project::new(Some(broker), &crate::equal::prices(&topic));
    undisturbed.to_the_end().fine();
    let [given, expected] = [&project, &undisturbed].map(|project| outcome(&project.store())["stock answers"].clone());
    assert!(expected.contains("PRESENT") && given == expected, "the answers differ");
}

#[test]
fn partitions_that_are_added_come_to_the_same_through_kills() {
    let Some((broker, _guard)) = Broker::real("added partitions") else { return };
    let topic = topic_name("killed-grown");
    broker.create_topic(&topic, 1, &[]);
    // A partition that is added is late from where the others have come to, which depends on when it is found: here nothing is too late.
    let sql = sales(&topic).replace("allowed_lateness = '10 minutes'", "allowed_lateness = 'unbounded'");
    let project = Project::new(Some(broker), &sql);
    let mut killed = Killed::new(&project);
    for part in 0..effort_kills(KILLS_OF_OTHERS) {
        let partitions = i32::try_from(part / 2 + 1).unwrap().min(PARTITIONS);
        if part == 2 || part == 4 {
            broker.add_partitions(&topic, usize::try_from(partitions).unwrap());
        }
        let rows = records(200 * i64::try_from(part).unwrap(), 200);
        let rows: Vec<Sent> = rows.into_iter().map(|sent| Sent { partition: sent.partition % partitions, ..sent }).collect();
        killed.once(|| broker.produce(&topic, &rows));
    }
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sql);
    undisturbed.to_the_end().fine();
    assert_same("partitions added, killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}

/// The broker goes and comes back while records are applied, and is away while the ingester begins and ends.
#[test]
fn a_broker_that_goes_and_comes_back_changes_nothing_through_kills() {
    let (broker, _guard) = Broker::alone();
    let topic = topic_name("killed-away");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let project = Project::new(Some(broker), &sales(&topic));
    let rows = records(0, 1600);
    let mut killed = Killed::new(&project);
    let kills = effort_kills(KILLS_OF_OTHERS);
    for (number, part) in rows.chunks(rows.len().div_ceil(kills)).enumerate() {
        match number % 4 {
            0 | 2 => killed.once(|| broker.produce(&topic, part)),
            1 => killed.once(|| {
                broker.produce(&topic, &part[..part.len() / 2]);
                broker.kill();
                broker.restart();
                broker.produce(&topic, &part[part.len() / 2..]);
            }),
            _ => {
                broker.kill();
                killed.once(|| {});
                broker.restart();
                broker.produce(&topic, part);
            }
        }
    }
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sales(&topic));
    undisturbed.to_the_end().fine();
    assert_same("the broker away, killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}

#[test]
fn a_topic_of_avro_comes_to_the_same_through_kills() {
    let (broker, _guard) = Broker::shared();
    let registry = Registry::start();
    registry.put(1, OLD);
    registry.put(2, NEW);
    let topic = topic_name("killed-avro");
    broker.create_topic(&topic, PARTITIONS, &[]);
    let sql = avro_sales(&topic, &format!("&registry={}", registry.url()));
    let project = Project::new(Some(broker), &sql);
    let rows = as_avro(&records(0, 2000));
    let mut killed = Killed::new(&project);
    let kills = effort_kills(KILLS_OF_OTHERS);
    for part in rows.chunks(rows.len().div_ceil(kills)) {
        killed.once(|| broker.produce(&topic, part));
    }
    project.to_the_end().fine();
    let undisturbed = Project::new(Some(broker), &sql);
    undisturbed.to_the_end().fine();
    assert_same("Avro, killed", &outcome(&project.store()), &outcome(&undisturbed.store()));
    project.run(&["verify"]).fine();
}
