//! A topic of Avro and a topic of JSON with the same rows.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use lockstep_testkit::avro::{Avro, confluent, fingerprint, single_object};
use lockstep_testkit::kafka::{Broker, Sent};
use lockstep_testkit::registry::Registry;

use crate::outcome::{Outcome, assert_same, outcome};
use crate::rows::{PARTITIONS, START_MS, records, sale, sales};
use crate::support::{Project, topic_name};

/// Sales as two releases of their producer write them.
pub const OLD: &str = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
    {"name":"id","type":["null","long"]},
    {"name":"shop","type":"string"},
    {"name":"amount","type":["null","double"]},
    {"name":"at","type":["null",{"type":"long","logicalType":"timestamp-millis"}]}]}"#;
pub const NEW: &str = r#"{"type":"record","name":"Sale","namespace":"shop","fields":[
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"note","type":{"type":"map","values":"string"}},
    {"name":"shop","type":{"type":"enum","name":"Shop","symbols":["s0","s1","s2","s3","s4","s5","s6"]}},
    {"name":"amount","type":"double"},
    {"name":"id","type":"int"}]}"#;

/// A sale, as its JSON says it.
struct Row {
    id: Option<i64>,
    shop: String,
    amount: Option<f64>,
    at_ms: Option<i64>,
}

impl Row {
    /// `None` where the JSON is no sale.
    fn parse(value: &[u8]) -> Option<Row> {
        let text = std::str::from_utf8(value).ok()?;
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let amount = text.split_once("\"amount\":").map(|(_, rest)| rest.split(',').next().unwrap().parse().unwrap());
        let at = json["at"].as_str().map(|at| string_to_timestamp_nanos(at).unwrap() / 1_000_000);
        let id = if json["id"].is_null() { None } else { Some(json["id"].as_i64()?) };
        Some(Row { id, shop: json["shop"].as_str()?.to_owned(), amount, at_ms: at })
    }

    fn as_old(&self) -> Avro {
        let or_null = |value: Option<Avro>| value.map_or_else(Avro::none, Avro::some);
        Avro::Record(vec![
            or_null(self.id.map(Avro::Number)),
            Avro::text(self.shop.as_str()),
            or_null(self.amount.map(Avro::Double)),
            or_null(self.at_ms.map(Avro::Number)),
        ])
    }

    /// `None` where that release has no such sales.
    fn as_new(&self) -> Option<Avro> {
        let note = Avro::Map(vec![("by".to_owned(), Avro::text("a test"))]);
        let shop = Avro::Number(self.shop.strip_prefix('s')?.parse().ok()?);
        Some(Avro::Record(vec![Avro::Number(self.at_ms? * 1000), note, shop, Avro::Double(self.amount?), Avro::Number(self.id?)]))
    }
}

/// The same records as Avro, the releases taking turns; what is no sale is damaged in one way or another.
pub fn as_avro(records: &[Sent]) -> Vec<Sent> {
    let whole = confluent(1, &Row { id: Some(1), shop: "s1".to_owned(), amount: Some(1.0), at_ms: Some(START_MS) }.as_old());
    let damaged = |number: usize, value: &[u8]| match number % 4 {
        0 => value.to_vec(),
        1 => confluent(99, &Avro::Null),
        2 => whole[..whole.len() - 1].to_vec(),
        _ => [&whole[..], &[0]].concat(),
    };
    let value = |number: usize, value: &[u8]| match Row::parse(value) {
        None => damaged(number, value),
        Some(row) => row.as_new().filter(|_| number % 2 == 1).map_or_else(|| confluent(1, &row.as_old()), |new| confluent(2, &new)),
    };
    let record = |(number, sent): (usize, &Sent)| Sent { value: sent.value.as_deref().map(|json| value(number, json)), ..sent.clone() };
    records.iter().enumerate().map(record).collect()
}

/// Without what is said of rows that are none, which is said of their bytes.
fn without_reasons(mut outcome: Outcome) -> Outcome {
    let letters = outcome.get_mut("takings dead letters").unwrap();
    let of_row = |line: &str| if line.contains("ahead") { line.to_owned() } else { line.split_once(' ').unwrap().0.to_owned() };
    *letters = letters.lines().map(of_row).collect::<Vec<_>>().join("\n");
    outcome
}

pub fn avro_sales(topic: &str, parameters: &str) -> String {
    sales(topic).replace("?format=json", &format!("?format=avro{parameters}"))
}

#[test]
fn a_topic_of_avro_comes_to_what_json_of_its_rows_comes_to() {
    let (broker, _guard) = Broker::shared();
    let registry = Registry::start();
    registry.put(1, OLD);
    registry.put(2, NEW);
    let rows = records(0, 6000);
    let (json, avro) = (topic_name("json"), topic_name("avro"));
    [&json, &avro].iter().for_each(|topic| broker.create_topic(topic, PARTITIONS, &[]));
    broker.produce(&json, &rows);
    broker.produce(&avro, &as_avro(&rows));
    let of_json = Project::new(Some(broker), &sales(&json));
    of_json.to_the_end().fine();
    let expected = without_reasons(outcome(&of_json.store()));
    assert!(expected["takings dead letters"].lines().count() > 500, "{}", expected["takings dead letters"]);
    for rows in ["8192", "7"] {
        let of_avro = Project::new(Some(broker), &avro_sales(&avro, &format!("&registry={}", registry.url())));
        of_avro.to_the_end_in(rows).fine();
        assert_same("the topic of Avro", &without_reasons(outcome(&of_avro.store())), &expected);
        of_avro.run(&["verify"]).fine();
        let shown = of_avro.run(&["dead-letters", "list", "--limit", "1000"]).fine();
        for what in ["schema 99 is not in the registry", "Schema not found", "is behind its last field", "the record ends in it"] {
            assert!(shown.contains(what), "{what}: {shown}");
        }
    }
    let asked = registry.asked();
    let count = |path: &str| asked.iter().filter(|asked| *asked == path).count();
    // Once by each ingester, and once for each partition that is verified.
    let readers = 2 * (1 + PARTITIONS as usize);
    assert_eq!((count("/schemas/ids/1"), count("/schemas/ids/2")), (readers, readers), "{asked:?}");
}

#[test]
fn single_objects_and_plain_records_need_no_registry() {
    let (broker, _guard) = Broker::shared();
    let rows: Vec<Sent> = records(0, 600).into_iter().filter(|sent| Row::parse(sent.value.as_deref().unwrap()).is_some()).collect();
    let canonical = r#"{"name":"shop.Sale","type":"record","fields":[{"name":"id","type":["null","long"]},{"name":"shop","type":"string"},{"name":"amount","type":["null","double"]},{"name":"at","type":["null","long"]}]}"#;
    let single = |row: &Row| single_object(fingerprint(canonical), &row.as_old());
    let plain = |row: &Row| row.as_old().encode();
    let files = [("schemas/old.avsc", OLD.to_owned()), ("schemas/new.avsc", NEW.to_owned())];
    let json = topic_name("json");
    broker.create_topic(&json, PARTITIONS, &[]);
    broker.produce(&json, &rows);
    let of_json = Project::new(Some(broker), &sales(&json));
    of_json.to_the_end().fine();
    let expected = outcome(&of_json.store());
    let wires: [(&str, &dyn Fn(&Row) -> Vec<u8>); 3] = [
        ("&schema=schemas/old.avsc", &single),
        ("&wire=single-object&schema=schemas/new.avsc,schemas/old.avsc", &single),
        ("&wire=plain&schema=schemas/old.avsc", &plain),
    ];
    for (parameters, encode) in wires {
        let topic = topic_name("avro");
        broker.create_topic(&topic, PARTITIONS, &[]);
        let written = rows.iter().map(|sent| Sent { value: Some(encode(&Row::parse(sent.value.as_deref().unwrap()).unwrap())), ..sent.clone() });
        broker.produce(&topic, &written.collect::<Vec<_>>());
        let project = Project::with_files(Some(broker), &avro_sales(&topic, parameters), &files);
        project.to_the_end().fine();
        assert_same(parameters, &outcome(&project.store()), &expected);
        project.run(&["verify"]).fine();
    }
}

#[test]
fn a_schema_that_is_not_there_stops_its_source_and_says_where_it_should_be() {
    let (broker, _guard) = Broker::shared();
    let topic = topic_name("avro");
    broker.create_topic(&topic, 1, &[]);
    let project = Project::new(Some(broker), &avro_sales(&topic, "&wire=plain&schema=no/such.avsc"));
    let said = project.to_the_end().error();
    assert!(said.contains("no/such.avsc cannot be read") && said.contains("correct `schema` in the stream"), "{said}");
}

/// Prices, of which the last one counts.
fn prices(topic: &str, parameters: &str) -> String {
    format!(
        "CREATE ENTITY shop (shop VARCHAR);
         CREATE SOURCE prices (item VARCHAR, lot BIGINT, shop VARCHAR, price DOUBLE, at TIMESTAMP, PRIMARY KEY (item, lot))
           WITH (event_time = 'at', version = 'position', allowed_lateness = 'unbounded', history = 'all', stream = 'kafka://{topic}{parameters}');
         CREATE FEATURE VIEW takings ENTITY shop AS
         SELECT shop, count(*) OVER ever AS items, sum(price) OVER ever AS worth FROM prices
         WINDOW ever AS (PARTITION BY shop ORDER BY at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);"
    )
}

#[test]
fn a_key_that_is_avro_deletes_what_its_json_deletes() {
    let (broker, _guard) = Broker::shared();
    let registry = Registry::start();
    registry.put(1, r#"{"type":"record","name":"Key","fields":[{"name":"item","type":"string"},{"name":"lot","type":"long"}]}"#);
    registry.put(
        2,
        r#"{"type":"record","name":"Price","fields":[{"name":"item","type":"string"},{"name":"lot","type":"long"},{"name":"shop","type":"string"},
            {"name":"price","type":"double"},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#,
    );
    let (json, avro) = (topic_name("json"), topic_name("avro"));
    let (mut as_json, mut as_avro) = (Vec::new(), Vec::new());
    for number in 0..600i64 {
        let (item, lot, shop, at) = (format!("i{}", number % 40), number % 3, format!("s{}", number % 7), START_MS + number * 1000);
        let deletes = number % 11 == 5;
        let key = format!(r#"{{"item":"{item}","lot":{lot}}}"#);
        let moment = lockstep_model::EventTime(at * 1000);
        let value = format!(r#"{{"item":"{item}","lot":{lot},"shop":"{shop}","price":{number}.25,"at":"{moment}"}}"#);
        let (avro_item, avro_lot) = (Avro::text(item), Avro::Number(lot));
        let avro_key = confluent(1, &Avro::Record(vec![avro_item.clone(), avro_lot.clone()]));
        let price = Avro::Double(number as f64 + 0.25);
        let avro_value = confluent(2, &Avro::Record(vec![avro_item, avro_lot, Avro::text(shop), price, Avro::Number(at)]));
        let sent = |key: Vec<u8>, value: Vec<u8>| Sent { key: Some(key), value: (!deletes).then_some(value), time_ms: at, ..Sent::default() };
        as_json.push(sent(key.into_bytes(), value.into_bytes()));
        as_avro.push(sent(avro_key, avro_value));
    }
    let outcomes = [(&json, as_json, "?format=json".to_owned()), (&avro, as_avro, format!("?format=avro&registry={}", registry.url()))].map(
        |(topic, rows, parameters)| {
            broker.create_topic(topic, 1, &[]);
            broker.produce(topic, &rows);
            let project = Project::new(Some(broker), &prices(topic, &parameters));
            project.to_the_end().fine();
            project.run(&["verify"]).fine();
            outcome(&project.store())
        },
    );
    assert!(outcomes[0]["takings dead letters"].is_empty(), "{}", outcomes[0]["takings dead letters"]);
    assert!(outcomes[0]["takings answers"].contains("PRESENT"));
    assert_same("the topic of Avro", &outcomes[1], &outcomes[0]);
}

#[test]
fn a_sale_is_what_it_was() {
    let row = Row::parse(sale(8, 5).as_bytes()).unwrap();
    assert_eq!((row.id, row.shop.as_str(), row.amount, row.at_ms), (Some(8), "s1", Some(94.8), Some(START_MS + 5000)));
}
