//! Kafka topics as streams name them: `kafka://payments?format=avro&registry=http://registry:8081&key=account`.

mod avro;

use std::ops::RangeInclusive;

use super::names::suggestion;
pub use avro::{Avro, Wire};

/// A topic, and how its records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopic {
    /// Its name.
    pub name: String,
    /// How the values of its records are written.
    pub format: TopicFormat,
    /// The partitions that are read; all of them where it does not say.
    pub partitions: Option<Partitions>,
    /// What is taken of a record besides its value.
    pub mapped: Vec<Mapped>,
}

/// How the values of a topic's records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicFormat {
    /// One JSON object a record.
    Json,
    /// One Avro record each.
    Avro(Avro),
}

/// Partitions of a topic, as ranges of their numbers that do not overlap, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions(Vec<RangeInclusive<i32>>);

/// A part of a record that is the value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Which part.
    pub part: Part,
    /// Index of the column.
    pub column: usize,
}

/// What a record has besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Its key, as text.
    Key,
    /// When the log took it.
    AppendTime,
    /// The last of its headers of this name, as text.
    Header(String),
}

/// What is wrong with a location, and what to write instead.
pub(super) type Refused = (String, String);

/// Kafka's own bound.
const NAME_LEN_MAX: usize = 249;
/// The parameters of a topic.
const PARAMETERS: [&str; 8] = ["format", "wire", "schema", "registry", "partitions", "key", "append_time", "header."];

/// A topic whose columns are not looked up yet.
pub(super) struct WrittenTopic<'a> {
    pub(super) topic: KafkaTopic,
    /// Parts of records, and the names of the columns they go to.
    pub(super) mapped: Vec<(Part, &'a str)>,
}

impl KafkaTopic {
    /// A topic of JSON objects, all of whose partitions are read.
    pub fn json(name: impl Into<String>) -> KafkaTopic {
        KafkaTopic { name: name.into(), format: TopicFormat::Json, partitions: None, mapped: Vec::new() }
    }

    /// Whether a partition is one that is read.
    pub fn reads(&self, partition: i32) -> bool {
        self.partitions.as_ref().is_none_or(|partitions| partitions.contains(partition))
    }

    /// Reads what stands behind `kafka://`.
    pub(super) fn parse(text: &str) -> Result<WrittenTopic<'_>, Refused> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_name) || name == "." || name == ".." {
            let title = format!("`{name}` is no name of a topic");
            return Err((title, "write kafka://TOPIC?format=json; where the brokers are is a setting of the project".to_owned()));
        }
        let parameters = parameters(query)?;
        let mut topic = KafkaTopic::json(name);
        let mut mapped = Vec::new();
        let mut avro = avro::Written::default();
        let mut format = "json";
        for (key, value) in parameters {
            match key {
                "format" => format = value,
                "wire" => avro.wire = Some(value),
                "schema" => avro.schema = Some(value),
                "registry" => avro.registry = Some(value),
                "partitions" => topic.partitions = Some(Partitions::parse(value)?),
                "key" => mapped.push((Part::Key, value)),
                "append_time" => mapped.push((Part::AppendTime, value)),
                other => match other.strip_prefix("header.").filter(|name| !name.is_empty()) {
                    Some(name) => mapped.push((Part::Header(name.to_owned()), value)),
                    None => return Err(unknown(other)),
                },
            }
        }
        topic.format = match format {
            "json" => avro.unused().map(|()| TopicFormat::Json)?,
            "avro" => TopicFormat::Avro(avro.check()?),
            other => return Err((format!("the records of a topic cannot be read as `{other}`"), "write format=json or format=avro".to_owned())),
        };
        Ok(WrittenTopic { topic, mapped })
    }
}

/// The parameters behind the question mark, each of which is there once.
fn parameters(query: &str) -> Result<Vec<(&str, &str)>, Refused> {
    let mut parameters: Vec<(&str, &str)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if parameters.iter().any(|(known, _)| *known == key) {
            return Err((format!("parameter `{key}` of a topic is there twice"), "write it once".to_owned()));
        }
        parameters.push((key, value));
    }
    Ok(parameters)
}

fn unknown(name: &str) -> Refused {
    let known = suggestion(name, PARAMETERS).map(|name| if name == "header." { "header.NAME" } else { name });
    let help = known.map_or_else(|| "leave it out".to_owned(), |name| format!("did you mean `{name}`?"));
    (format!("unknown parameter `{name}` of a topic"), help)
}

impl Partitions {
    /// Reads `0-3,7`.
    fn parse(text: &str) -> Result<Partitions, Refused> {
        let wrong =
            || (format!("`{text}` does not name partitions"), "write numbers and ranges in ascending order, such as partitions=0-3,7".to_owned());
        let mut ranges: Vec<RangeInclusive<i32>> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten().ok_or_else(wrong);
            let range = number(first)?..=number(last)?;
            if range.is_empty() || ranges.last().is_some_and(|before| before.end() >= range.start()) {
                return Err(wrong());
            }
            ranges.push(range);
        }
        Ok(Partitions(ranges))
    }

    /// Whether a partition is among them.
    pub fn contains(&self, partition: i32) -> bool {
        self.0.iter().any(|range| range.contains(&partition))
    }

    /// The least of them that is beyond those that a topic with so many partitions has.
    pub fn beyond(&self, count: i32) -> Option<i32> {
        self.0.iter().find(|range| *range.end() >= count).map(|range| count.max(*range.start()))
    }
}

impl std::fmt::Display for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_numbers_and_ranges() {
        let partitions = Partitions::parse("0-3,7").unwrap();
        assert_eq!((0..9).filter(|number| partitions.contains(*number)).collect::<Vec<_>>(), [0, 1, 2, 3, 7]);
        assert_eq!(partitions.to_string(), "0-3,7");
        assert_eq!([9, 8, 7, 4, 2].map(|count| partitions.beyond(count)), [None, None, Some(7), Some(7), Some(2)]);
        for wrong in ["", "a", "3-1", "0,0", "1-3,2", "-1", "1-", "+1", "99999999999"] {
            assert!(Partitions::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_goes_with_which_wire() {
        let avro = |query: &str| match KafkaTopic::parse(&format!("t?format=avro{query}")) {
            Ok(WrittenTopic { topic: KafkaTopic { format: TopicFormat::Avro(avro), .. }, .. }) => avro.wire,
            Ok(_) => panic!("not Avro"),
            Err((title, help)) => panic!("{title} · {help}"),
        };
        assert_eq!(avro(""), Wire::Confluent);
        assert_eq!(avro("&registry=https://registry:8081"), Wire::Confluent);
        assert_eq!(avro("&schema=a.avsc"), Wire::SingleObject);
        assert_eq!(avro("&schema=a.avsc,b.avsc"), Wire::SingleObject);
        assert_eq!(avro("&schema=a.avsc&wire=plain"), Wire::Plain);
        assert_eq!(avro("&schema=a.avsc&registry=http://registry"), Wire::Confluent);
    }
}
