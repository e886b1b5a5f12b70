//! Memory while a backlog is read that is larger than what may be held.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use lockstep_testkit::kafka::{Broker, Sent};

use crate::rows::{PARTITIONS, START_MS, sale, sales};
use crate::support::{Project, topic_name};

/// Bytes of a record, most of which nobody has declared.
const RECORD: usize = 96 << 10;
/// Records of a small backlog, and how many times as many a large one has.
const SMALL: i64 = 240;
const TIMES: i64 = 16;

/// Produces sales with a long note each, which nothing compresses.
fn produce(broker: &Broker, topic: &str, count: i64) {
    let producer = broker.producer();
    let mut random = fastrand::Rng::with_seed(7);
    let mut record = |id: i64| {
        let note: String = std::iter::repeat_with(|| random.alphanumeric()).take(RECORD).collect();
        let value = sale(id, id).replace("\"shop\":", &format!("\"note\":\"{note}\",\"shop\":"));
        let partition = i32::try_from(id % i64::from(PARTITIONS)).unwrap();
        Sent { partition, value: Some(value.into_bytes()), time_ms: START_MS + id * 1000, ..Sent::default() }
    };
    for first in (0..count).step_by(64) {
        let records: Vec<Sent> = (first..count.min(first + 64)).map(&mut record).collect();
        producer.send(topic, &records);
    }
}

/// The most memory that an ingester has which reads a topic to its end, in MiB.
fn peak(project: &Project) -> u64 {
    let mut child = project.command(&["ingest", "--until-end"]).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let most =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = most.map_or(peak, |kibibytes| kibibytes >> 10);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn memory_does_not_grow_with_the_backlog() {
    let Some((broker, _guard)) = Broker::real("a backlog of 350 MB") else { return };
    let [small, large] = [SMALL, SMALL * TIMES].map(|count| {
        let topic = topic_name("backlog");
        broker.create_topic(&topic, PARTITIONS, &[]);
        produce(broker, &topic, count);
        let project = Project::new(Some(broker), &sales(&topic));
        let peak = peak(&project);
        assert_eq!(project.applied("sales"), Some(u64::try_from(count).unwrap()));
        peak
    });
    let backlog = ((SMALL * TIMES) as u64 * RECORD as u64) >> 20;
    println!("{small} MiB for a backlog of {} MiB, {large} MiB for one of {backlog} MiB", backlog / TIMES as u64);
    assert!(large.saturating_sub(small) < backlog / 3, "{small} MiB, then {large} MiB");
}
