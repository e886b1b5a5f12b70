//! Splits CSV into records and fields as RFC 4180 has it, keeping apart what is quoted: `,,` is NULL and `,"",` the empty string.

use super::rows::{Cell, Kind};

/// How a CSV file is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// What stands between fields: ASCII, and no quote or end of line.
    pub delimiter: u8,
    /// What stands for NULL, where it is not quoted.
    pub null: String,
}

impl Default for Dialect {
    /// A comma, and nothing.
    fn default() -> Self {
        Dialect { delimiter: b',', null: String::new() }
    }
}

/// What stands at a place in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A record, whose fields have been written out; the next one starts at `next`.
    Fields {
        /// Offset behind the record's line end.
        next: usize,
    },
    /// An empty line; the next record starts at `next`.
    Empty {
        /// Offset behind the line end.
        next: usize,
    },
    /// Not a record. Reading goes on at the next line: the one after the mistake, or after the line where a quote was opened and never closed.
    Bad {
        /// What is wrong with it.
        reason: &'static str,
        /// Offset behind the line end.
        next: usize,
    },
    /// The record is not whole: there must be more text.
    Incomplete,
}

/// Reads the record that starts at `from`. At `eof` the text ends for good and the last line needs no end.
pub(super) fn record(bytes: &[u8], from: usize, eof: bool, dialect: &Dialect, fields: &mut Vec<Cell>) -> Record {
    fields.clear();
    if let Some(next) = line_end(bytes, from, eof) {
        return Record::Empty { next };
    }
    let mut at = from;
    loop {
        let field = if bytes.get(at) == Some(&b'"') { quoted(bytes, at, dialect) } else { unquoted(bytes, at, dialect) };
        let (cell, end) = match field {
            Field::Whole(cell, end) => (cell, end),
            Field::Open if eof => return Record::Bad { reason: "a quote that is never closed", next: line_after(bytes, from) },
            Field::Open => return Record::Incomplete,
            Field::Bad(reason, end) => {
                let next = line_after(bytes, end);
                let whole = eof || bytes[..next].last() == Some(&b'\n');
                return if whole { Record::Bad { reason, next } } else { Record::Incomplete };
            }
        };
        fields.push(cell);
        match bytes.get(end) {
            Some(&byte) if byte == dialect.delimiter => at = end + 1,
            // Whether this `\r` is part of a line end shows when there is more.
            Some(b'\r') if !eof && end + 1 == bytes.len() => return Record::Incomplete,
            Some(_) => return Record::Fields { next: line_after(bytes, end) },
            None if eof => return Record::Fields { next: end },
            None => return Record::Incomplete,
        }
    }
}

/// If a line ends right at `at`, the offset behind its end.
fn line_end(bytes: &[u8], at: usize, eof: bool) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\r'] if eof => Some(at + 1),
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    }
}

/// The offset behind the first line end from `at` on, or the end of the text.
pub(super) fn line_after(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map_or(bytes.len(), |line| at + line + 1)
}

enum Field {
    /// A field, and the offset of what follows: a delimiter, a line end, or nothing.
    Whole(Cell, usize),
    /// The text ends within quotes.
    Open,
    /// What is wrong, and where.
    Bad(&'static str, usize),
}

fn unquoted(bytes: &[u8], from: usize, dialect: &Dialect) -> Field {
    let rest = bytes.get(from..).unwrap_or_default();
    let len = memchr::memchr3(dialect.delimiter, b'\n', b'"', rest).unwrap_or(rest.len());
    let mut end = from + len;
    match bytes.get(end) {
        Some(b'"') => return Field::Bad("a quote within a field that is not quoted", end),
        // The `\r` of a line end is none of the field's; where the text ends, neither.
        Some(b'\n') | None if len > 0 && bytes[end - 1] == b'\r' => end -= 1,
        _ => {}
    }
    let kind = if bytes[from..end] == *dialect.null.as_bytes() { Kind::Null } else { Kind::Text };
    Field::Whole(Cell::new(kind, from, end), end)
}

/// At an opening quote.
fn quoted(bytes: &[u8], from: usize, dialect: &Dialect) -> Field {
    let start = from + 1;
    let mut at = start;
    let mut kind = Kind::Text;
    loop {
        match memchr::memchr(b'"', bytes.get(at..).unwrap_or_default()) {
            Some(len) => at += len,
            None => return Field::Open,
        }
        match bytes.get(at + 1..).unwrap_or_default() {
            [b'"', ..] => {
                kind = Kind::CsvEscaped;
                at += 2;
            }
            [] | [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'] => return Field::Whole(Cell::new(kind, start, at), at + 1),
            [next, ..] if *next == dialect.delimiter => return Field::Whole(Cell::new(kind, start, at), at + 1),
            _ => return Field::Bad("text between a closing quote and the next field", at + 1),
        }
    }
}

/// Appends the text that a field with doubled quotes stands for.
pub(super) fn unescape(escaped: &str, out: &mut String) {
    let mut parts = escaped.split("\"\"");
    out.extend(parts.next());
    for part in parts {
        out.push('"');
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every record of a text: fields as `N` for NULL or quoted values, or the mistake in brackets.
    fn records(text: &str) -> Vec<String> {
        let (mut at, mut fields, mut out) = (0, Vec::new(), Vec::new());
        while at < text.len() {
            at = match record(text.as_bytes(), at, true, &Dialect::default(), &mut fields) {
                Record::Fields { next } => {
                    out.push(fields.iter().map(|cell| shown(text, *cell)).collect::<Vec<_>>().join(" "));
                    next
                }
                Record::Empty { next } => next,
                Record::Bad { reason, next } => {
                    out.push(format!("[{reason}]"));
                    next
                }
                Record::Incomplete => panic!("incomplete at the end of the text: {text:?}"),
            };
        }
        out
    }

    fn shown(text: &str, cell: Cell) -> String {
        match cell.kind() {
            Kind::Null => "N".to_owned(),
            Kind::CsvEscaped => {
                let mut out = String::new();
                unescape(cell.of(text), &mut out);
                format!("{out:?}")
            }
            _ => format!("{:?}", cell.of(text)),
        }
    }

    #[test]
    fn null_and_the_empty_string_are_two_things() {
        assert_eq!(records("a,,\"\",b\n"), [r#""a" N "" "b""#]);
        assert_eq!(records(",\n"), ["N N"]);
        assert_eq!(records("a,"), [r#""a" N"#]);
    }

    #[test]
    fn other_delimiters_and_other_nulls() {
        let dialect = Dialect { delimiter: b';', null: "NA".to_owned() };
        let (text, mut fields) = ("a,b;NA;\"NA\";;\"x;y\"\n", Vec::new());
        assert_eq!(record(text.as_bytes(), 0, true, &dialect, &mut fields), Record::Fields { next: text.len() });
        let shown: Vec<String> = fields.iter().map(|cell| shown(text, *cell)).collect();
        assert_eq!(shown, [r#""a,b""#, "N", r#""NA""#, r#""""#, r#""x;y""#]);
    }

    #[test]
    fn line_ends_of_all_kinds() {
        for text in ["a,b\nc,d\n", "a,b\r\nc,d\r\n", "a,b\nc,d", "a,b\r\n\r\n\nc,d\r"] {
            assert_eq!(records(text), [r#""a" "b""#, r#""c" "d""#], "{text:?}");
        }
        assert_eq!(records("\"a\r\nb\",\"c\"\r\n"), [r#""a\r\nb" "c""#]);
    }

    #[test]
    fn a_badly_quoted_record_costs_no_other() {
        assert_eq!(records("1,a\n2,5\" pipe\n3,c\n"), [r#""1" "a""#, "[a quote within a field that is not quoted]", r#""3" "c""#]);
        assert_eq!(records("1,\"a\"x,y\n3,c\n"), ["[text between a closing quote and the next field]", r#""3" "c""#]);
        assert_eq!(records("1,\"a\n2,b\n3,c\n"), ["[a quote that is never closed]", r#""2" "b""#, r#""3" "c""#]);
    }

    fn field() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a\"\r\n, é]{0,4}")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in proptest::collection::vec(proptest::collection::vec(field(), 2..4), 0..5), cut in any::<prop::sample::Index>()) {
            let written = |field: &Option<String>| field.as_ref().map_or(String::new(), |text| format!("\"{}\"", text.replace('"', "\"\"")));
            let line = |row: &Vec<Option<String>>| row.iter().map(written).collect::<Vec<_>>().join(",") + "\n";
            let text: String = rows.iter().map(line).collect();
            let shown = |row: &Vec<Option<String>>| row.iter().map(|f| f.as_ref().map_or("N".to_owned(), |t| format!("{t:?}"))).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(records(&text), rows.iter().map(shown).collect::<Vec<_>>());

            // A text cut anywhere gives whole records of the uncut one, then asks for more.
            let mut end = cut.index(text.len() + 1);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let (mut at, mut fields) = (0, Vec::new());
            while let Record::Fields { next } = record(&text.as_bytes()[..end], at, false, &Dialect::default(), &mut fields) {
                let mut whole = Vec::new();
                prop_assert_eq!(record(text.as_bytes(), at, true, &Dialect::default(), &mut whole), Record::Fields { next });
                prop_assert_eq!(&whole, &fields);
                at = next;
            }
            prop_assert_eq!(record(&text.as_bytes()[..end], at, false, &Dialect::default(), &mut fields), Record::Incomplete);
        }

        #[test]
        fn any_text_is_split_to_its_end(text in "[ab\",\r\n]{0,30}") {
            records(&text);
        }
    }
}
