//! Rows that hold all that can be wrong with rows, as records of a topic and as lines of files.

use lockstep_model::EventTime;
use lockstep_testkit::kafka::Sent;

/// 2024-01-01, in milliseconds.
pub const START_MS: i64 = 1_704_067_200_000;
pub const PARTITIONS: i32 = 3;

/// Sales of a topic, and what is computed of them.
pub fn sales(topic: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, at TIMESTAMP)
           WITH (event_time = 'at', allowed_lateness = '10 minutes', available_at = 'append_time', history = 'all',
                 stream = 'kafka://{topic}?format=json');
         CREATE FEATURE VIEW takings ENTITY shop AS
         SELECT shop, count(*) OVER h AS sales_1h, sum(amount) OVER h AS sum_1h, avg(amount) OVER ever AS avg_ever,
                last_value(id) OVER ever AS last_id, count(*) FILTER (WHERE amount > 50) OVER h AS large_1h
         FROM sales
         WINDOW h AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
                ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);"
    )
}

/// A sale as JSON.
pub fn sale(id: i64, second: i64) -> String {
    let at = EventTime((START_MS + second * 1000) * 1000);
    format!(r#"{{"id":{id},"shop":"s{}","amount":{}.{},"at":"{at}"}}"#, id % 7, id * 37 % 101, id % 10)
}

/// The records of `count` sales from `first` on, a second apart: in their partitions, with repeats, late ones, and such as are no sales.
pub fn records(first: i64, count: i64) -> Vec<Sent> {
    let mut records = Vec::new();
    for id in first..first + count {
        let partition = i32::try_from(id % i64::from(PARTITIONS)).unwrap();
        let mut push =
            |value: &[u8]| records.push(Sent { partition, key: None, value: Some(value.to_vec()), time_ms: START_MS + id * 1000, ..Sent::default() });
        push(sale(id, id - id * 13 % 300).as_bytes());
        match id % 50 {
            // Again, and again with other content.
            7 => push(sale(id, id - id * 13 % 300).as_bytes()),
            11 => push(sale(id, id - id * 13 % 300).replace("\"amount\":", "\"amount\":1").as_bytes()),
            // Far too late, and from the far future.
            17 => push(sale(id + 10_000_000, id - 3600).as_bytes()),
            19 => push(sale(id + 20_000_000, 75 * 365 * 86_400).as_bytes()),
            // No sales at all.
            23 => push(b"no json"),
            29 => push(b"{\"id\":\"\xff\"}"),
            31 => push(br#"{"id":1.5,"shop":"s1","at":"2024-01-01T00:00:00Z"}"#),
            37 => push(br#"{"id":null,"shop":"s1","at":"2024-01-01T00:00:00Z"}"#),
            41 => push(format!(r#"{{"id":{},"shop":"s1"}}"#, id + 30_000_000).as_bytes()),
            _ => {}
        }
    }
    records
}

/// The same rows as lines, a file for each partition.
pub fn files(records: &[Sent]) -> Vec<Vec<u8>> {
    let mut files = vec![Vec::new(); usize::try_from(PARTITIONS).unwrap()];
    for Sent { partition, value, time_ms, .. } in records {
        let file = &mut files[usize::try_from(*partition).unwrap()];
        let value = value.as_deref().unwrap_or_default();
        match value.strip_prefix(b"{") {
            Some(rest) => {
                file.extend_from_slice(format!("{{\"_append_time\":\"{}\",", EventTime(time_ms * 1000)).as_bytes());
                file.extend_from_slice(rest);
            }
            None => file.extend_from_slice(value),
        }
        file.push(b'\n');
    }
    files
}
