//! Kafka topics as streams name them: `kafka://departures?format=json`.

use super::names::suggestion;

/// A topic, and how its records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopic {
    /// Its name.
    pub name: String,
    /// How the values of its records are written.
    pub format: TopicFormat,
}

/// How the values of a topic's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicFormat {
    /// One JSON object a record.
    Json,
}

/// What is wrong with a location, and what to write instead.
pub(super) type Refused = (String, String);

/// Kafka's own bound.
const NAME_LEN_MAX: usize = 249;

impl KafkaTopic {
    /// Reads what stands behind `kafka://`.
    pub(super) fn parse(text: &str) -> Result<KafkaTopic, Refused> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_name) || name == "." || name == ".." {
            let title = format!("`{name}` is no name of a topic");
            return Err((title, "write kafka://TOPIC?format=json; where the brokers are is a setting of the project".to_owned()));
        }
        let mut format = TopicFormat::Json;
        for (key, value) in query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, ""))) {
            format = match (key, value) {
                ("format", "json") => TopicFormat::Json,
                ("format", other) => {
                    return Err((format!("the records of a topic cannot be read as `{other}`"), "write format=json".to_owned()));
                }
                (other, _) => {
                    let help = suggestion(other, ["format"]);
                    let help = help.map_or_else(|| "leave it out".to_owned(), |name| format!("did you mean `{name}`?"));
                    return Err((format!("unknown parameter `{other}` of a topic"), help));
                }
            };
        }
        Ok(KafkaTopic { name: name.to_owned(), format })
    }
}
