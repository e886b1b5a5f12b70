//! librdkafka's own mock cluster, for machines on which no Kafka can be started.
//!
//! It listens at ports of the loopback interface as Kafka does, so that other processes read it, and lives in the process that made it. It cannot delete, compact, trim or grow topics, shows the records of
//! aborted transactions, and keeps the last 5 MB of each partition: tests of such things say that they need the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};

/// Settings of a topic that change nothing here: every record is taken, and none is lost.
const IMMATERIAL: [(&str, &str); 2] = [("min.insync.replicas", "2"), ("max.message.bytes", "33554432")];
/// The broker that leads nothing, and that administrators ask.
const CONTROLLER: i32 = 0;
/// How all brokers are called at once.
const ALL: i32 = -1;

/// A cluster, and the client on whose threads it runs.
pub(super) struct Mock {
    client: BaseProducer,
    nodes: i32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The broker that leads each partition of a topic.
    leaders: BTreeMap<(String, i32), i32>,
    /// Brokers that were taken away.
    away: BTreeSet<i32>,
}

impl Mock {
    /// Starts a cluster of so many brokers, numbered from 1 on.
    pub(super) fn start(nodes: u8) -> Mock {
        let client: BaseProducer =
            ClientConfig::new().set("test.mock.num.brokers", nodes.to_string()).create().expect("a client with a mock cluster");
        add_controller(&client);
        Mock { client, nodes: i32::from(nodes), known: Mutex::default() }
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.client.client().mock_cluster().expect("the client was made with a cluster")
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its brokers listen.
    pub(super) fn address(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Makes a topic whose partitions are led by the brokers in turn.
    pub(super) fn create_topic(&self, name: &str, partitions: i32, replicas: i32, config: &[(&str, &str)]) {
        let unknown = config.iter().find(|setting| !IMMATERIAL.contains(setting));
        assert_eq!(unknown, None, "topic {name}: the mock cluster has no such setting, so that the test needs a real broker");
        self.cluster().create_topic(name, partitions, replicas).expect("a topic is made");
        for partition in 0..partitions {
            self.lead(name, partition, partition % self.nodes + 1);
        }
    }

    fn lead(&self, topic: &str, partition: i32, node: i32) {
        self.cluster().partition_leader(topic, partition, Some(node)).expect("a partition is led");
        self.known().leaders.insert((topic.to_owned(), partition), node);
    }

    /// Takes all brokers away, with the connections to them; what they keep stays.
    pub(super) fn stop(&self) {
        self.cluster().broker_down(ALL).expect("brokers go");
    }

    /// Has all brokers back, at the same ports.
    pub(super) fn start_again(&self) {
        self.cluster().broker_up(ALL).expect("brokers come back");
    }

    /// Takes a broker away; what it led, the next one that is there leads.
    pub(super) fn stop_node(&self, node: i32) {
        self.known().away.insert(node);
        let (led, next) = {
            let known = self.known();
            let led: Vec<(String, i32)> =
                known.leaders.iter().filter(|(_, leader)| **leader == node).map(|(partition, _)| partition.clone()).collect();
            let others = (1..self.nodes).map(|step| (node - 1 + step) % self.nodes + 1);
            (led, others.into_iter().find(|other| !known.away.contains(other)).expect("a broker is left"))
        };
        led.iter().for_each(|(topic, partition)| self.lead(topic, *partition, next));
        self.cluster().broker_down(node).expect("a broker goes");
    }

    /// Has a broker back.
    pub(super) fn start_node(&self, node: i32) {
        self.known().away.remove(&node);
        self.cluster().broker_up(node).expect("a broker comes back");
    }
}

/// The cluster says that its controller is broker 0, and has none of that number: whoever asks the controller, as for the description of a topic, would wait for ever.
#[allow(unsafe_code, reason = "librdkafka is a C library, and the crate over it lacks this call")]
fn add_controller(client: &BaseProducer) {
    // SAFETY: the client is alive, was made with a cluster that lives as long as it does, and the call may come from any thread.
    let error = unsafe {
        let cluster = rdkafka::bindings::rd_kafka_handle_mock_cluster(client.client().native_ptr());
        assert!(!cluster.is_null(), "the client was made with a cluster");
        rdkafka::bindings::rd_kafka_mock_broker_add(cluster, CONTROLLER)
    };
    assert_eq!(error, rdkafka::bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "a controller is added");
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mock").field("nodes", &self.nodes).field("known", &self.known).finish_non_exhaustive()
    }
}
