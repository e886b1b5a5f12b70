//! Sources and entities: columns, keys, options.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use chrono_tz::Tz;
use lockstep_model::key::is_key_type;

use super::data_type::{arrow_type, sql_name};
use super::ddl::{Columns, WrittenColumn};
use super::embedded::expression;
use super::expr::{Checker, Clause};
use super::lex::Statement;
use super::names::{Name, did_you_mean, list, quoted, suggestion};
use super::options::{BatchFormat, WrittenOption, WrittenSourceOptions, read, value_span};
use super::relation::relation_of;
use super::scope::Scope;
use super::text::{Origin, Span};
use super::{
    AvailableAt, Column, DeadLetterSink, Diagnostic, Entity, History, Interval, KafkaTopic, Lateness, Mapped, Part, Source, SourceOptions, Version,
};

/// The columns that the log of applied events has beside those of its source.
pub const APPLIED_LOG_COLUMNS: [&str; 9] =
    ["_source", "_append_time", "_tombstone", "_outcome", "_partition", "_row", "_cluster", "_topic_id", "_applied_at"];

/// Checks an entity.
pub(super) fn entity(statement: &Statement, name: &Name, written: &Columns, found: &mut Vec<Diagnostic>) -> Option<Entity> {
    let before = found.len();
    let keys = columns(statement, &written.columns, found);
    if written.columns.is_empty() {
        found.push(statement.origin.at(written.span).error(format!("entity `{}` has no key", name.text)).help("name a column: (airport VARCHAR)"));
    }
    if let Some(span) = written.primary_key_span {
        found.push(statement.origin.at(span).error("an entity's key is all of its columns").help("leave PRIMARY KEY out"));
    }
    for (column, written) in keys.iter().zip(&written.columns) {
        key_type(statement, column, written.type_span, "the key of an entity", found);
    }
    (found.len() == before).then(|| Entity { name: name.text.clone(), origin: statement.origin.at(name.span), keys })
}

fn key_type(statement: &Statement, column: &Column, span: Span, what: &str, found: &mut Vec<Diagnostic>) {
    if is_key_type(&column.data_type) {
        return;
    }
    let diagnostic = statement.origin.at(span).error(format!("{what} cannot have a column of type {}", sql_name(&column.data_type)));
    found.push(match column.data_type {
        DataType::Float32 | DataType::Float64 => diagnostic
            .note("floats are equal that differ in bits, and differ where a decimal says they are equal")
            .help("write DECIMAL(18, 2), BIGINT or VARCHAR"),
        _ => diagnostic.note("a key is one value").help("write VARCHAR, BIGINT or another type of single values"),
    });
}

/// Checks declared columns: types, and names that are there once.
pub(super) fn columns(statement: &Statement, written: &[WrittenColumn], found: &mut Vec<Diagnostic>) -> Vec<Column> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut columns = Vec::new();
    for column in written {
        let Name { text, span } = &column.name;
        if let Some(first) = seen.insert(text.to_lowercase(), text) {
            let title = if first == text {
                format!("column `{text}` is there twice")
            } else {
                format!("column `{text}` differs from `{first}` by case alone")
            };
            found.push(statement.origin.at(*span).error(title).help("give one of them another name"));
        }
        match arrow_type(&column.data_type) {
            Ok(data_type) => columns.push(Column { name: text.clone(), data_type, span: *span }),
            Err(refused) => {
                let at = statement.origin.at(column.type_span);
                let title = format!("column `{text}` cannot be of type {}", at.file.slice(at.span));
                found.push(at.error(title).note(refused.note).help_opt(refused.help));
            }
        }
    }
    columns
}

/// Checks a source.
pub(super) fn source(
    statement: &Statement,
    name: &Name,
    written: &Columns,
    options: &[WrittenOption],
    found: &mut Vec<Diagnostic>,
) -> Option<Source> {
    let before = found.len();
    let columns = columns(statement, &written.columns, found);
    let types_known = found.len() == before;
    let mut read: WrittenSourceOptions = read(options, "options of a source", &[], &statement.origin, found);
    let check = SourceCheck { statement, name, written, options, columns: &columns };
    if !types_known {
        // What is said of the columns is enough; their options would only echo it.
        return None;
    }
    let available_at_text = read.available_at.take();
    let primary_key = check.primary_key(found);
    let event_time = check.event_time(&read, found);
    let checked = check.options(read, found);
    let available = check.place("available_at");
    let mut source = Source {
        name: name.text.clone(),
        origin: statement.origin.at(name.span),
        statement: statement.origin.span,
        primary_key,
        event_time: event_time?,
        options: checked?,
        columns,
    };
    source.options.available_at = available_at_text.and_then(|text| available_at(&text, &available, &source, found));
    (found.len() == before).then_some(source)
}

struct SourceCheck<'a> {
    statement: &'a Statement,
    name: &'a Name,
    written: &'a Columns,
    options: &'a [WrittenOption],
    columns: &'a [Column],
}

impl SourceCheck<'_> {
    fn primary_key(&self, found: &mut Vec<Diagnostic>) -> Vec<usize> {
        if self.written.primary_key.is_empty() {
            let diagnostic = self.statement.origin.at(self.name.span).error(format!("source `{}` has no primary key", self.name.text));
            let note = "it names an event, so that a repeat is known for one and a correction finds what it corrects";
            found.push(diagnostic.note(note).help("add PRIMARY KEY (…) after the columns"));
        }
        let mut key = Vec::new();
        for name in &self.written.primary_key {
            let at = self.statement.origin.at(name.span);
            match self.columns.iter().position(|column| column.name == name.text) {
                None => found.push(self.unknown_column(&name.text, &at)),
                Some(index) if key.contains(&index) => {
                    found.push(at.error(format!("`{}` is in the primary key twice", name.text)).help("name it once"))
                }
                Some(index) => {
                    key_type(self.statement, &self.columns[index], name.span, "a primary key", found);
                    key.push(index);
                }
            }
        }
        key
    }

    fn event_time(&self, read: &WrittenSourceOptions, found: &mut Vec<Diagnostic>) -> Option<usize> {
        let timestamps =
            || self.columns.iter().filter(|column| matches!(column.data_type, DataType::Timestamp(..))).map(|column| column.name.as_str());
        let Some(name) = &read.event_time else {
            if value_span(self.options, "event_time").is_none() {
                let diagnostic = self.statement.origin.at(self.name.span).error(format!("source `{}` has no event time", self.name.text));
                let example = timestamps().next().map_or("departed_at", |name| name);
                let diagnostic = diagnostic.note("everything is computed as of the moment an event happened");
                found.push(diagnostic.help(format!("declare WITH (event_time = '{example}')")));
            }
            return None;
        };
        let index = self.column("event_time", name, found)?;
        if matches!(self.columns[index].data_type, DataType::Timestamp(..)) {
            return Some(index);
        }
        let diagnostic = self
            .place("event_time")
            .error(format!("the event time is a TIMESTAMP, and `{name}` is of type {}", sql_name(&self.columns[index].data_type)));
        let others = list(timestamps());
        let diagnostic = if others.is_empty() { diagnostic } else { diagnostic.note(format!("columns of type TIMESTAMP: {others}")) };
        found
            .push(diagnostic.help(format!("declare {} TIMESTAMP, which texts and microseconds are read into, or name another column", quoted(name))));
        None
    }

    /// The column an option names: as it is, or else as SQL would read it.
    fn column(&self, option: &str, name: &str, found: &mut Vec<Diagnostic>) -> Option<usize> {
        let find = |name: &str| self.columns.iter().position(|column| column.name == name);
        let index = find(name).or_else(|| find(&name.to_ascii_lowercase()));
        if index.is_none() {
            found.push(self.unknown_column(name, &self.place(option)));
        }
        index
    }

    fn unknown_column(&self, name: &str, at: &Origin) -> Diagnostic {
        let names: Vec<_> = self.columns.iter().map(|column| column.name.as_str()).collect();
        did_you_mean(at.error(format!("unknown column `{name}`")), name, "columns", &names)
    }

    fn place(&self, option: &str) -> Origin {
        self.statement.origin.at(value_span(self.options, option).unwrap_or(self.name.span))
    }

    fn options(&self, read: WrittenSourceOptions, found: &mut Vec<Diagnostic>) -> Option<SourceOptions> {
        let before = found.len();
        let time_zone = read.time_zone.as_deref().map_or(Ok(Tz::UTC), |name| time_zone(name, &self.place("time_zone")));
        let time_zone = time_zone.map_err(|diagnostic| found.push(diagnostic)).ok();
        let version = read.version.as_deref().and_then(|name| self.version(name, found));
        let csv_delimiter = read.csv_delimiter.unwrap_or(',');
        self.csv(&read, found);
        for location in &read.batch.0 {
            self.location("batch", location, &["file", "s3", "gs", "az", "abfs"], found);
        }
        if let Some(location) = &read.stream {
            self.location("stream", location, &["kafka", "file"], found);
        }
        let dead_letters = read.dead_letters.as_deref().and_then(|location| self.dead_letters(location, &read, found));
        self.applied_log(&read, found);
        let topic = read.stream.as_deref().and_then(|location| self.topic(location.strip_prefix("kafka://")?, found));
        (found.len() == before).then_some(SourceOptions {
            time_zone: time_zone?,
            allowed_lateness: read.allowed_lateness.unwrap_or(Lateness::Within(Interval::ZERO)),
            history: read.history.unwrap_or(History::Within(Interval::ZERO)),
            max_ahead: read.max_ahead.unwrap_or(Interval::hours(1)),
            batch: read.batch.0,
            batch_format: read.batch_format,
            csv_delimiter,
            csv_null: read.csv_null.unwrap_or_default(),
            stream: read.stream,
            topic,
            version,
            available_at: None,
            serving_lag: read.serving_lag.unwrap_or(Interval::ZERO),
            expect_events_every: read.expect_events_every,
            applied_log: read.applied_log,
            dead_letters,
        })
    }

    fn csv(&self, read: &WrittenSourceOptions, found: &mut Vec<Diagnostic>) {
        if read.csv_delimiter.is_some_and(|delimiter| !delimiter.is_ascii() || "\"\r\n".contains(delimiter)) {
            let diagnostic = self.place("csv_delimiter").error("a CSV delimiter is one ASCII character, and no quote or end of line");
            found.push(diagnostic.help("write ',' or ';' or a tab"));
        }
        let other = read.batch_format.filter(|format| *format != BatchFormat::Csv);
        for (name, given) in [("csv_delimiter", read.csv_delimiter.is_some()), ("csv_null", read.csv_null.is_some())] {
            if given && other.is_some() {
                let diagnostic = self.place(name).error(format!("option `{name}` goes with CSV files, and `batch_format` says otherwise"));
                found.push(diagnostic.help("leave one of them out"));
            }
        }
    }

    fn version(&self, name: &str, found: &mut Vec<Diagnostic>) -> Option<Version> {
        let named_position = self.columns.iter().any(|column| column.name == "position");
        if name == "position" {
            if named_position {
                let diagnostic = self.place("version").error("`position` could be the column or the place in the log");
                found.push(diagnostic.help("give the column another name"));
            }
            return Some(Version::Position);
        }
        let index = self.column("version", name, found)?;
        let column = &self.columns[index];
        use DataType::*;
        if matches!(column.data_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Timestamp(..) | Date32 | Decimal128(..)) {
            return Some(Version::Column(index));
        }
        let diagnostic = self.place("version").error(format!("a version cannot be of type {}", sql_name(&column.data_type)));
        let note = match column.data_type {
            Utf8 => "texts order `v10` before `v9`",
            Float32 | Float64 => "floats have values that no order holds",
            _ => "versions need an order, since the greatest one wins",
        };
        found.push(
            diagnostic.note(note).help("name an integer, a decimal, a DATE or a TIMESTAMP, or write version = 'position' for the place in the log"),
        );
        None
    }

    fn topic(&self, text: &str, found: &mut Vec<Diagnostic>) -> Option<KafkaTopic> {
        let written = KafkaTopic::parse(text).map_err(|(title, help)| found.push(self.place("stream").error(title).help(help))).ok()?;
        let mut topic = written.topic;
        for (part, name) in written.mapped {
            let column = self.column("stream", name, found)?;
            if let Err((title, help)) = self.mapping(&part, column, &topic.mapped) {
                found.push(self.place("stream").error(title).help(help));
                return None;
            }
            topic.mapped.push(Mapped { part, column });
        }
        Some(topic)
    }

    /// Whether a column can have a part of records.
    fn mapping(&self, part: &Part, column: usize, before: &[Mapped]) -> Result<(), (String, String)> {
        let Column { name, data_type, .. } = &self.columns[column];
        if before.iter().any(|mapped| mapped.column == column) {
            return Err((format!("column `{name}` cannot be two parts of a record"), "give each a column of its own".to_owned()));
        }
        if *part == Part::AppendTime && !matches!(data_type, DataType::Timestamp(..)) {
            let title = format!("the append time is a TIMESTAMP, and column `{name}` is of type {}", sql_name(data_type));
            return Err((title, format!("declare {} TIMESTAMP, or name another column", quoted(name))));
        }
        Ok(())
    }

    /// Where dead letters go: not back into the log that they are of.
    fn dead_letters(&self, location: &str, read: &WrittenSourceOptions, found: &mut Vec<Diagnostic>) -> Option<DeadLetterSink> {
        let before = found.len();
        self.location("dead_letters", location, &["kafka", "file"], found);
        let place = self.place("dead_letters");
        let sink = match location.strip_prefix("kafka://") {
            Some(topic) if topic.contains('?') => {
                found.push(
                    place.error("a topic of dead letters has no parameters").help("its records are the rows as they were: write kafka://TOPIC"),
                );
                return None;
            }
            Some(topic) => {
                let written = KafkaTopic::parse(topic).map_err(|(title, help)| found.push(place.error(title).help(help))).ok()?;
                DeadLetterSink::Topic(written.topic.name)
            }
            None => DeadLetterSink::File(location.strip_prefix("file://").unwrap_or(location).to_owned()),
        };
        let own = read.stream.as_deref().map(|stream| stream.split_once('?').map_or(stream, |(stream, _)| stream));
        if own == Some(location) {
            found.push(
                self.place("dead_letters").error("dead letters would go back into the log that they are of").help("name another topic or file"),
            );
        }
        if matches!(&sink, DeadLetterSink::File(path) if !path.ends_with(".ndjson")) {
            let diagnostic = self.place("dead_letters").error("a file of dead letters is NDJSON");
            found.push(diagnostic.help("give it a name that ends in .ndjson, so that it can be read as a log"));
        }
        (found.len() == before).then_some(sink)
    }

    /// The log of applied events has columns of its own.
    fn applied_log(&self, read: &WrittenSourceOptions, found: &mut Vec<Diagnostic>) {
        if read.applied_log.is_none() {
            return;
        }
        if let Some(column) = self.columns.iter().find(|column| APPLIED_LOG_COLUMNS.contains(&column.name.as_str())) {
            let diagnostic = self.place("applied_log").error(format!("the log of applied events has a column `{}` of its own", column.name));
            found
                .push(diagnostic.note(format!("its columns: {}", APPLIED_LOG_COLUMNS.join(", "))).help("give the column of the source another name"));
        }
    }

    fn location(&self, option: &str, location: &str, schemes: &[&str], found: &mut Vec<Diagnostic>) {
        let place = self.place(option);
        if location.trim().is_empty() {
            found.push(place.error(format!("option `{option}` is an empty location")).help("write a path or a URL, or leave it out"));
        } else if let Some((scheme, _)) = location.split_once("://")
            && !schemes.contains(&scheme)
        {
            let diagnostic = place.error(format!("option `{option}` cannot read from `{scheme}://`"));
            let help = suggestion(scheme, schemes.iter().copied()).map(|scheme| format!("did you mean `{scheme}://`?"));
            found.push(
                diagnostic
                    .note(format!("locations: paths, and {}", schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")))
                    .help_opt(help),
            );
        }
    }
}

/// A zone by its IANA name.
pub(super) fn time_zone(name: &str, at: &Origin) -> Result<Tz, Diagnostic> {
    name.parse::<Tz>().map_err(|_| {
        let help = suggestion(name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        (at.error(format!("unknown time zone `{name}`")))
            .note("zones are those of the IANA database, such as America/New_York or UTC; an offset such as +02:00 is no zone")
            .help_opt(help.map(|name| format!("did you mean `{name}`?")))
    })
}

/// When its events could first be known, as declared: the append time, or an expression over its columns.
fn available_at(text: &str, origin: &Origin, source: &Source, found: &mut Vec<Diagnostic>) -> Option<AvailableAt> {
    if text.trim() == "append_time" {
        return Some(AvailableAt::AppendTime);
    }
    let (statement, expr) = expression(text, origin).map_err(|diagnostic| found.push(diagnostic)).ok()?;
    let scope = Scope::of(relation_of(source, &source.name));
    Checker { statement: &statement, scope: &scope, found, near: origin.span }.scalar(&expr, Clause::AvailableAt);
    Some(AvailableAt::Expression { expr: Box::new(expr), text: text.to_owned(), origin: origin.clone() })
}
