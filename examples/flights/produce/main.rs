//! Produces the log of July, as `flights_stream` wrote it, to a broker: a topic for each source, in partitions by what the primary key begins with.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use lockstep_model::EventTime;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

const TOPICS: [&str; 4] = ["departures", "arrivals", "cancellations", "weather"];
const PATIENCE: Duration = Duration::from_secs(60);

/// Produces the log of July to a broker.
#[derive(Parser)]
struct Arguments {
    /// Where the brokers are.
    #[arg(long)]
    brokers: String,
    /// The log.
    #[arg(long, default_value = "target/flights/july.ndjson")]
    from: PathBuf,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 3)]
    partitions: i32,
}

fn main() -> Result<()> {
    let Arguments { brokers, from, partitions } = Arguments::parse();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    make_topics(&config.create()?, partitions)?;
    let producer: BaseProducer = config.create()?;
    let log = File::open(&from).with_context(|| format!("open {}", from.display()))?;
    let mut count = 0;
    for line in BufReader::new(log).lines() {
        let line = line?;
        let record = Record::of(&line).with_context(|| format!("read {line}"))?;
        record.send(&producer, partitions)?;
        count += 1;
    }
    producer.flush(PATIENCE)?;
    println!("{count} records produced to {}", TOPICS.join(", "));
    Ok(())
}

fn make_topics(admin: &AdminClient<DefaultClientContext>, partitions: i32) -> Result<()> {
    let topics = TOPICS.map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in futures::executor::block_on(admin.create_topics(&topics, &options))? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => bail!("topic {topic} cannot be made: {error}"),
        }
    }
    Ok(())
}

/// A line of the log: what the broker says of it itself stands in front.
struct Record {
    topic: String,
    time_ms: i64,
    key: String,
    value: String,
}

impl Record {
    fn of(line: &str) -> Result<Record> {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line)?;
        let text = |name: &str| row.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"));
        let topic = text("_source")?.to_owned();
        let time_ms = EventTime::parse(text("_append_time")?).map_err(anyhow::Error::msg)?.0 / 1000;
        // A flight's number, a station's name: every row of a key is in one partition, and in its order.
        let key = row.get("flight_id").or_else(|| row.get("origin")).context("no key")?.to_string();
        let mut members = row;
        members.retain(|name, _| !name.starts_with('_'));
        Ok(Record { topic, time_ms, key, value: Value::Object(members).to_string() })
    }

    fn send(&self, producer: &BaseProducer, partitions: i32) -> Result<()> {
        let hash = self.key.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
        let partition = i32::try_from(hash % partitions.unsigned_abs().max(1))?;
        let mut record = BaseRecord::to(&self.topic).partition(partition).timestamp(self.time_ms).key(&self.key).payload(&self.value);
        while let Err((error, again)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            record = again;
        }
        producer.poll(Duration::ZERO);
        Ok(())
    }
}
