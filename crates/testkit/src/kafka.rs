//! A broker for tests: one per test binary. It is Apache Kafka, started and ended by `scripts/kafka.sh`; where that cannot be had, librdkafka's mock cluster stands in, and tests that need what
//! it has not are left out, each with a line that says so.

mod mock;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use self::mock::Mock;

/// Set where tests must fail instead of running on the mock cluster.
pub const REQUIRED: &str = "LOCKSTEP_REQUIRE_KAFKA";
/// Set to `mock` where tests are to run on the mock cluster though a broker could be had.
pub const CHOSEN: &str = "LOCKSTEP_KAFKA";
/// How the script says that there is no Java, no Maven or no download.
const UNAVAILABLE: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker, and who may take it away from others for a while.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    address: String,
    restarts: RwLock<()>,
    /// On how many brokers each partition is kept.
    replicas: i32,
}

#[derive(Debug)]
enum Kind {
    /// Apache Kafka, which keeps everything in a directory.
    Real(PathBuf),
    /// librdkafka's mock cluster, in this process.
    Mock(Mock),
}

/// Brokers that keep every partition on each of them, of which one may be taken away.
#[derive(Debug)]
pub struct Cluster(Broker);

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, as text.
    pub headers: Vec<(String, String)>,
}

/// A record to be produced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// The partition.
    pub partition: i32,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none deletes the key.
    pub value: Option<Vec<u8>>,
    /// Its timestamp, in milliseconds.
    pub time_ms: i64,
    /// Its headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Broker {
    /// The broker of this process, and a guard against its restarts.
    ///
    /// # Panics
    /// Where the real one is required and there can be none, or it does not start.
    pub fn shared() -> (&'static Broker, RwLockReadGuard<'static, ()>) {
        let broker = Broker::of_process();
        (broker, broker.restarts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Self::shared`], for a test that takes the broker away: no other test uses it meanwhile.
    ///
    /// # Panics
    /// As [`Self::shared`].
    pub fn alone() -> (&'static Broker, RwLockWriteGuard<'static, ()>) {
        let broker = Broker::of_process();
        (broker, broker.restarts.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Self::shared`], for what the mock cluster has not: `None`, and a line that says what was left out and why, where that stands in.
    ///
    /// # Panics
    /// As [`Self::shared`].
    pub fn real(what_it_needs: &str) -> Option<(&'static Broker, RwLockReadGuard<'static, ()>)> {
        let (broker, guard) = Broker::shared();
        if matches!(broker.kind, Kind::Real(_)) {
            return Some((broker, guard));
        }
        tell(&format!("left out: {} · it needs a real broker: {what_it_needs}", std::thread::current().name().unwrap_or("main")));
        None
    }

    fn of_process() -> &'static Broker {
        static BROKER: OnceLock<Broker> = OnceLock::new();
        // Its data go with the build: it is ended by the script's watch once this process is gone.
        BROKER.get_or_init(|| Broker::start(None))
    }

    /// Starts a broker by the script, or a cluster of so many; or the mock of them.
    fn start(cluster_of: Option<u8>) -> Broker {
        match std::env::var(CHOSEN).as_deref() {
            Ok("mock") => return Broker::mock(cluster_of, &format!("{CHOSEN} is set to it")),
            Ok(other) => panic!("{CHOSEN} is `{other}` · known: mock"),
            Err(_) => {}
        }
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let (path, process) = (dir.display().to_string(), std::process::id().to_string());
        let started = match cluster_of {
            None => script(&["start", &path, &process]),
            Some(nodes) => script(&["cluster", &path, &nodes.to_string(), &process]),
        };
        match started {
            Ok(address) => Broker::of(Kind::Real(dir), address, cluster_of),
            Err((Some(UNAVAILABLE), said)) => Broker::mock(cluster_of, said.trim()),
            Err((_, said)) => panic!("the broker does not start: {said}"),
        }
    }

    fn mock(cluster_of: Option<u8>, why: &str) -> Broker {
        assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and there is no real broker: {why}");
        tell(&format!("tests run on librdkafka's mock cluster instead of a broker: {why}"));
        let mock = Mock::start(cluster_of.unwrap_or(1));
        let address = mock.address();
        Broker::of(Kind::Mock(mock), address, cluster_of)
    }

    fn of(kind: Kind, address: String, cluster_of: Option<u8>) -> Broker {
        Broker { kind, address, restarts: RwLock::new(()), replicas: i32::from(cluster_of.unwrap_or(1)) }
    }

    /// What the mock cluster does not do, or says wrong, no test may ask of it.
    #[track_caller]
    fn assert_real(&self) {
        assert!(matches!(self.kind, Kind::Real(_)), "the mock cluster cannot do this · ask for `Broker::real`");
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it as a power cut would.
    pub fn kill(&self) {
        match &self.kind {
            Kind::Real(dir) => drop(script(&["kill", &dir.display().to_string()]).expect("it ends")),
            Kind::Mock(mock) => mock.stop(),
        }
    }

    /// Starts it again, at the same address and with the same data.
    pub fn restart(&self) {
        match &self.kind {
            Kind::Real(dir) => {
                let address = script(&["start", &dir.display().to_string(), &std::process::id().to_string()]).expect("it starts again");
                assert_eq!(address, self.address);
            }
            Kind::Mock(mock) => mock.start_again(),
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("message.max.bytes", "33554432");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.assert_real();
        self.config().create().expect("an admin client")
    }

    /// Makes a topic.
    pub fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        if let Kind::Mock(mock) = &self.kind {
            return mock.create_topic(name, partitions, self.replicas, config);
        }
        let topic =
            config.iter().fold(NewTopic::new(name, partitions, TopicReplication::Fixed(self.replicas)), |topic, (key, value)| topic.set(key, value));
        let made = block_on(self.admin().create_topics(&[topic], &options())).expect("an answer");
        made.into_iter().for_each(|result| drop(result.expect("a topic is made")));
    }

    /// Deletes a topic, and waits until it is gone.
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &options())).expect("an answer");
        deleted.into_iter().for_each(|result| drop(result.expect("a topic is deleted")));
        std::thread::sleep(Duration::from_secs(1));
    }

    /// Gives a topic more partitions.
    pub fn add_partitions(&self, name: &str, partitions: usize) {
        let made = block_on(self.admin().create_partitions(&[NewPartitions::new(name, partitions)], &options())).expect("an answer");
        made.into_iter().for_each(|result| drop(result.expect("partitions are added")));
    }

    /// Deletes the records of a partition before an offset.
    pub fn trim(&self, name: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, partition, Offset::Offset(before)).expect("an offset");
        block_on(self.admin().delete_records(&list, &options())).expect("records are deleted");
    }

    /// A producer of records.
    pub fn producer(&self) -> Producer {
        Producer(self.config().create().expect("a producer"))
    }

    /// Produces records, in their order.
    pub fn produce(&self, topic: &str, records: &[Sent]) {
        self.producer().send(topic, records);
    }

    /// Produces records in transactions of so many, each of which `commits` or not by its number.
    pub fn produce_in_transactions(&self, topic: &str, records: &[Sent], of: usize, commits: impl Fn(usize) -> bool) {
        self.assert_real();
        let producer: BaseProducer = self.config().set("transactional.id", topic).create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("transactions");
        for (number, records) in records.chunks(of).enumerate() {
            producer.begin_transaction().expect("a transaction");
            send(&producer, topic, records);
            let ended = if commits(number) { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
            ended.expect("a transaction ends");
        }
    }

    /// Every committed record of a topic, partition by partition.
    pub fn records(&self, topic: &str) -> Vec<Got> {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let mut config = self.config();
        let consumer: BaseConsumer = config.set("group.id", "test").set("enable.partition.eof", "true").create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, i32::try_from(partition).expect("few"), Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let (mut got, mut ends) = (Vec::new(), 0);
        while ends < partitions {
            match consumer.poll(PATIENCE).expect("records in time") {
                Ok(message) => got.push(Got::of(&message)),
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
            }
        }
        got
    }

    /// The offsets that a group has committed in a topic.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let consumer: BaseConsumer = self.config().set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(list, PATIENCE).expect("committed offsets");
        committed.elements().iter().map(|element| element.offset().to_raw().filter(|offset| *offset >= 0)).collect()
    }
}

impl Got {
    fn of(message: &rdkafka::message::BorrowedMessage<'_>) -> Got {
        use rdkafka::message::{Headers, Message};
        let text = |header: Header<'_, &[u8]>| (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
        let headers = message.headers().map(|headers| headers.iter().map(text).collect()).unwrap_or_default();
        Got { key: message.key().map(<[u8]>::to_vec), value: message.payload().map(<[u8]>::to_vec), headers }
    }
}

impl Cluster {
    /// Starts so many brokers, for this process alone, or the mock of them.
    ///
    /// # Panics
    /// Where the real ones are required and there can be none, or they do not start.
    pub fn start(nodes: u8) -> Cluster {
        Cluster(Broker::start(Some(nodes)))
    }

    fn node(&self, node: i32, verb: &str) {
        match (&self.0.kind, verb) {
            (Kind::Real(dir), _) => {
                script(&[verb, &dir.join(node.to_string()).display().to_string(), &std::process::id().to_string()]).expect("a broker obeys");
            }
            (Kind::Mock(mock), "start") => mock.start_node(node),
            (Kind::Mock(mock), _) => mock.stop_node(node),
        }
    }

    /// Ends a broker as a power cut would.
    pub fn kill_node(&self, node: i32) {
        self.node(node, "kill");
    }

    /// Ends a broker in order: it hands over what it leads. With the mock, being killed is the same.
    pub fn stop_node(&self, node: i32) {
        self.node(node, "stop");
    }

    /// Starts a broker again, with the same data.
    pub fn start_node(&self, node: i32) {
        self.node(node, "start");
    }

    /// The broker that leads a partition, where one does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        use rdkafka::consumer::{BaseConsumer, Consumer};
        let consumer: BaseConsumer = self.0.config().create().ok()?;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        partitions.iter().find(|known| known.id() == partition).map(|known| known.leader()).filter(|leader| *leader > 0)
    }
}

impl std::ops::Deref for Cluster {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

/// A producer of records.
pub struct Producer(BaseProducer);

impl Producer {
    /// Produces records, in their order, and waits until they are taken.
    pub fn send(&self, topic: &str, records: &[Sent]) {
        send(&self.0, topic, records);
    }
}

/// Says a line past the capture of tests, so that it is seen.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn send(producer: &BaseProducer, topic: &str, records: &[Sent]) {
    for Sent { partition, key, value, time_ms, headers: given } in records {
        let from = OwnedHeaders::new().insert(Header { key: "from", value: Some("a test") });
        let headers = given.iter().fold(from, |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }));
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(*partition).timestamp(*time_ms).headers(headers);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        while let Err((error, again)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull), "{error}");
            producer.poll(Duration::from_millis(10));
            record = again;
        }
    }
    producer.flush(PATIENCE).expect("records are taken");
}

/// Runs the script; what it prints, or its status and what it says.
fn script(arguments: &[&str]) -> Result<String, (Option<i32>, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Errors go to a file, not to a pipe, which the broker would keep open.
    let said = tempfile::NamedTempFile::new().map_err(|error| (None, error.to_string()))?;
    let stderr = said.reopen().map_err(|error| (None, error.to_string()))?;
    let run = Command::new(root.join("scripts/kafka.sh")).args(arguments).stdin(Stdio::null()).stderr(stderr).output();
    let output = run.map_err(|error| (None, error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let why = || std::fs::read_to_string(said.path()).unwrap_or_default();
    if output.status.success() { Ok(text) } else { Err((output.status.code(), why())) }
}
