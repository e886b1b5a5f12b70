//! Dead letters on their way: as they wait in the outbox, and as they are in a file.
//!
//! In a topic, a letter's value is the row as it was, byte for byte, and its key is its place (`kafka://payments/3@1234`), by which a letter that was sent twice can be told; headers say the rest
//! ([`Letter::headers`]). In a file, it is a line that can be read as a row of a log: the row itself where that is a JSON object, with `_source` and a member `_dead_letter` before its
//! members; else an object of these alone, which holds the row as text, or in hexadecimal digits where it is not UTF-8.

use lockstep_model::codec::{Reader, put_bytes};
use lockstep_model::{Error, PartitionId};
use lockstep_store::{DeadLetter, OnlineStore};
use lockstep_transform::definition::DeadLetterSink;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::carry::Carrier;
use super::file_sink::FileSink;
use super::topic_sink::TopicSink;
use super::{AdmittedNow, LetterRoutes, letters_queue, log_of};
use crate::source::SOURCE_MEMBER;

/// The member of a row in a file that says why it was put aside; no source declares it.
pub const DEAD_LETTER_MEMBER: &str = "_dead_letter";

/// The header that says which source a record is of.
pub const SOURCE_HEADER: &str = "lockstep.source";

/// A dead letter, and the log it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The id of the Kafka cluster it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The id of the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

/// The letters of rows from number `from` on, and how many: for each `length ‖ letter as JSON ‖ length ‖ row`.
///
/// # Errors
/// Where one cannot be encoded.
pub(super) fn encode(now: &AdmittedNow<'_>, from: u64) -> Result<(u64, Vec<u8>), Error> {
    let (cluster, topic_id) = log_of(now.position);
    let (mut rows, mut bytes) = (0, Vec::new());
    for letter in now.letters.iter().filter(|letter| letter.row >= from) {
        let letter = Letter { letter: letter.clone(), cluster: cluster.map(str::to_owned), topic_id: topic_id.map(str::to_owned) };
        let json = serde_json::to_vec(&letter).map_err(|error| Error::internal(format!("a dead letter cannot be encoded: {error}")))?;
        put_bytes(&mut bytes, &json);
        put_bytes(&mut bytes, &letter.letter.bytes);
        rows += 1;
    }
    Ok((rows, bytes))
}

/// The letters in these bytes.
///
/// # Errors
/// Data where they do not decode.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Letter>, Error> {
    let undecodable =
        |why: &str| Error::data(format!("dead letters that wait to be sent do not decode · {why} · open the store with the release that wrote it"));
    let mut reader = Reader::new(bytes);
    let mut letters = Vec::new();
    while !reader.is_empty() {
        let mut part = || reader.bytes().map_err(|error| undecodable(error.what));
        let (json, row) = (part()?, part()?);
        let letter: Letter = serde_json::from_slice(json).map_err(|error| undecodable(&error.to_string()))?;
        letters.push(Letter { letter: DeadLetter { bytes: row.to_vec(), ..letter.letter }, ..letter });
    }
    Ok(letters)
}

impl Letter {
    /// The place of the row, the same however often it is sent.
    pub fn place(&self) -> String {
        format!("{}@{}", self.letter.partition.partition, self.letter.row)
    }

    /// What the headers of its record say.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let DeadLetter { partition: PartitionId { source, partition }, row, reason, detail, at, bytes: _ } = &self.letter;
        let mut headers = vec![
            (SOURCE_HEADER, source.clone()),
            ("lockstep.partition", partition.clone()),
            ("lockstep.row", row.to_string()),
            ("lockstep.reason", reason.clone()),
            ("lockstep.detail", detail.clone()),
            ("lockstep.at", at.to_string()),
        ];
        headers.extend(self.cluster.clone().map(|cluster| ("lockstep.cluster", cluster)));
        headers.extend(self.topic_id.clone().map(|topic| ("lockstep.topic_id", topic)));
        headers
    }

    /// Its line in a file.
    pub fn line(&self) -> String {
        let DeadLetter { partition: PartitionId { source, partition }, row, reason, detail, at, bytes } = &self.letter;
        let mut about = Map::new();
        for (name, value) in [("partition", json!(partition)), ("row", json!(row)), ("reason", json!(reason)), ("detail", json!(detail))] {
            about.insert(name.to_owned(), value);
        }
        about.insert("at".to_owned(), json!(at.to_string()));
        about.extend(self.topic_id.iter().map(|id| ("topic_id".to_owned(), json!(id))));
        let members = object(bytes);
        match std::str::from_utf8(bytes) {
            _ if members.is_some() => {}
            Ok(text) => drop(about.insert("text".to_owned(), json!(text))),
            Err(_) => drop(about.insert("hex".to_owned(), Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))),
        }
        let source = match members {
            Some(members) if members.contains(&format!("\"{SOURCE_MEMBER}\"")) => String::new(),
            _ => format!("\"{SOURCE_MEMBER}\":{},", json!(source)),
        };
        let members = members
            .map(|members| members.trim_start())
            .filter(|members| *members != "}")
            .map_or_else(|| "}".to_owned(), |members| format!(",{members}"));
        format!("{{{source}\"{DEAD_LETTER_MEMBER}\":{}{members}", Value::Object(about))
    }
}

/// Where letters are sent.
pub(super) trait Sink: Send {
    /// Sends letters, and waits until they are there to stay.
    ///
    /// # Errors
    /// Where they cannot be; some may be there. They are to be sent again.
    fn send(&mut self, letters: &[Letter]) -> Result<(), Error>;
}

/// Most bytes of letters that are sent in one go, beyond the first.
const SEND_BYTES: usize = 4 << 20;

/// Sends the dead letters of a source.
pub(super) struct Letters<'a> {
    store: &'a dyn OnlineStore,
    routes: &'a LetterRoutes,
    source: String,
    queue: String,
    to: &'a DeadLetterSink,
    sink: Option<Box<dyn Sink>>,
}

impl<'a> Letters<'a> {
    pub(super) fn new(store: &'a dyn OnlineStore, routes: &'a LetterRoutes, source: &str, to: &'a DeadLetterSink) -> Self {
        Letters { store, routes, source: source.to_owned(), queue: letters_queue(source), to, sink: None }
    }

    /// Opened when there is something to send.
    fn open(&self) -> Result<Box<dyn Sink>, Error> {
        match (self.to, &self.routes.kafka) {
            (DeadLetterSink::File(path), _) => Ok(Box::new(FileSink::open(&self.routes.base.join(path))?)),
            (DeadLetterSink::Topic(topic), Some(settings)) => Ok(Box::new(TopicSink::open(settings, topic)?)),
            (DeadLetterSink::Topic(topic), None) => {
                Err(Error::invalid(format!("topic `{topic}` cannot be written to · [kafka] does not say where its brokers are · write it there")))
            }
        }
    }

    /// What has waited longest, and how much that is: rows and bytes.
    fn waiting(&self) -> Result<(Vec<Letter>, u64, u64), Error> {
        let (mut letters, mut end, mut bytes_taken) = (Vec::new(), 0, 0);
        self.store.cut().each_outgoing(&self.queue, &mut |first, bytes| {
            let more = decode(bytes)?;
            end = first + more.len() as u64;
            bytes_taken += bytes.len() as u64;
            letters.extend(more);
            Ok(bytes_taken < SEND_BYTES as u64)
        })?;
        Ok((letters, end, bytes_taken))
    }
}

impl Carrier for Letters<'_> {
    fn name(&self) -> String {
        format!("dead letters of source `{}`", self.source)
    }

    fn look(&mut self, _: bool) -> Result<(), Error> {
        loop {
            let (letters, end, bytes_taken) = self.waiting()?;
            if letters.is_empty() {
                return Ok(());
            }
            let mut sink = self.sink.take().map_or_else(|| self.open(), Ok)?;
            sink.send(&letters)?;
            // One that has failed is opened anew.
            self.sink = Some(sink);
            self.store.take_out(&self.queue, end, bytes_taken)?;
        }
    }
}

/// What follows the opening brace of a row that is a JSON object on one line.
fn object(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim_ascii();
    let rest = text.strip_prefix('{').filter(|rest| !rest.contains(['\n', '\r']))?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    use lockstep_model::EventTime;

    use super::*;

    fn letter(bytes: &[u8]) -> Letter {
        let partition = PartitionId { source: "sales".to_owned(), partition: "kafka://sales/3".to_owned() };
        let letter =
            DeadLetter { partition, row: 7, reason: "ahead".to_owned(), detail: "too \"far\"".to_owned(), bytes: bytes.to_vec(), at: EventTime(0) };
        Letter { letter, cluster: Some("c".to_owned()), topic_id: Some("t".to_owned()) }
    }

    #[test]
    fn a_line_is_a_row_where_the_letter_was_one_and_holds_it_where_not() {
        let about = r#""_dead_letter":{"partition":"kafka://sales/3","row":7,"reason":"ahead","detail":"too \"far\"","at":"1970-01-01T00:00:00Z","topic_id":"t""#;
        let cases: [(&[u8], String); 6] = [
            (br#"{"id":1, "a":{"b":2}}"#, format!(r#"{{"_source":"sales",{about}}},"id":1, "a":{{"b":2}}}}"#)),
            (b" {} ", format!(r#"{{"_source":"sales",{about}}}}}"#)),
            (br#"{"_source":"sales","id":1}"#, format!(r#"{{{about}}},"_source":"sales","id":1}}"#)),
            (b"{\"id\":", format!(r#"{{"_source":"sales",{about},"text":"{{\"id\":"}}}}"#)),
            (b"{\"id\":\n1}", format!(r#"{{"_source":"sales",{about},"text":"{{\"id\":\n1}}"}}}}"#)),
            (b"\xff", format!(r#"{{"_source":"sales",{about},"hex":"ff"}}}}"#)),
        ];
        for (bytes, line) in cases {
            assert_eq!(letter(bytes).line(), line);
            serde_json::from_str::<Value>(&line).unwrap();
        }
    }

    #[test]
    fn letters_wait_as_they_were() {
        let mut bytes = Vec::new();
        for letter in [letter(b"a"), letter(b"")] {
            put_bytes(&mut bytes, &serde_json::to_vec(&letter).unwrap());
            put_bytes(&mut bytes, &letter.letter.bytes);
        }
        assert_eq!(decode(&bytes).unwrap(), [letter(b"a"), letter(b"")]);
        assert!(decode(&bytes[..9]).is_err());
        assert_eq!(letter(b"").place(), "kafka://sales/3@7");
    }
}
