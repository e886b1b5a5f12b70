//! A scanner of strict JSON (RFC 8259): where the members of an object are, not yet what they mean.
//!
//! It exists because a row must be read exactly or be told apart as bad. arrow-json reads `1.5` as 1 into an integer column, rounds decimals, and lets an object run on
//! over the end of its line; serde_json would need features that change how every crate in the build parses numbers, to give them to us
//! unrounded. Here a value stays text until its column parses it.

use super::rows::{Cell, Kind};

/// Deepest nesting of arrays and objects.
const DEPTH_MAX: u32 = 128;

/// A member of an object. Offsets are into the text that was scanned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// The key, between its quotes.
    pub(super) key: Cell,
    /// The value.
    pub(super) value: Cell,
}

/// What is wrong, and at which byte of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// Finds the members of the object that `text[from..to]` is.
pub(super) fn members(text: &str, from: usize, to: usize, out: &mut Vec<Member>) -> Result<(), Syntax> {
    out.clear();
    let mut scanner = Scanner { bytes: &text.as_bytes()[..to], at: from };
    scanner.space();
    scanner.object(0, &mut |member| out.push(member))?;
    scanner.end()
}

/// Finds the elements of the array that `text` is.
pub(super) fn elements(text: &str, out: &mut Vec<Cell>) -> Result<(), Syntax> {
    out.clear();
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    scanner.space();
    scanner.array(0, &mut |element| out.push(element))?;
    scanner.end()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error<T>(&self, what: &'static str) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, what })
    }

    #[inline(always)]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), Syntax> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { self.error("text after the value") }
    }

    fn object(&mut self, depth: u32, found: &mut dyn FnMut(Member)) -> Result<(), Syntax> {
        if self.peek() != Some(b'{') {
            return self.error("not an object");
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.error("expected a member's name");
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return self.error("expected `:`");
            }
            self.at += 1;
            self.space();
            let value = self.value(depth)?;
            found(Member { key, value });
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.error("expected `,` or `}`"),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    fn array(&mut self, depth: u32, found: &mut dyn FnMut(Cell)) -> Result<(), Syntax> {
        if self.peek() != Some(b'[') {
            return self.error("not an array");
        }
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let value = self.value(depth)?;
            found(value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.error("expected `,` or `]`"),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn value(&mut self, depth: u32) -> Result<Cell, Syntax> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.literal(b"null", Kind::Null),
            Some(b't') => self.literal(b"true", Kind::Bare),
            Some(b'f') => self.literal(b"false", Kind::Bare),
            Some(b'{' | b'[') => self.nested(depth),
            Some(_) => self.error("expected a value"),
            None => self.error("the text ends within a value"),
        }
    }

    fn nested(&mut self, depth: u32) -> Result<Cell, Syntax> {
        if depth == DEPTH_MAX {
            return self.error("nested more than 128 deep");
        }
        let start = self.at;
        if self.peek() == Some(b'{') {
            self.object(depth + 1, &mut |_| ())?;
        } else {
            self.array(depth + 1, &mut |_| ())?;
        }
        Ok(Cell::new(Kind::Nested, start, self.at))
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<Cell, Syntax> {
        let start = self.at;
        if !self.bytes[start..].starts_with(word) {
            return self.error("expected a value");
        }
        self.at += word.len();
        Ok(Cell::new(kind, start, self.at))
    }

    fn number(&mut self) -> Result<Cell, Syntax> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.error("a number without digits"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Cell::new(Kind::Bare, start, self.at))
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Syntax> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.error("a number without digits") } else { Ok(()) }
    }

    /// At an opening quote.
    #[inline(always)]
    fn string(&mut self) -> Result<Cell, Syntax> {
        let start = self.at + 1;
        self.at = start;
        let mut kind = Kind::Text;
        loop {
            self.at += plain_len(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    kind = Kind::JsonEscaped;
                    self.escape()?;
                }
                Some(_) => return self.error("a control character within a string"),
                None => return self.error("the text ends within a string"),
            }
        }
        let cell = Cell::new(kind, start, self.at);
        self.at += 1;
        Ok(cell)
    }

    /// At a backslash.
    fn escape(&mut self) -> Result<(), Syntax> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if self.bytes.get(self.at + 2..self.at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => self.at += 6,
            _ => return self.error("an escape that JSON does not have"),
        }
        Ok(())
    }
}

/// How many bytes from the start are neither a quote, a backslash nor a control character: eight at a time.
#[inline(always)]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The high bit of each byte that is zero; bytes above the first such one may be wrong, which the first does not see.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut len = 0;
    while let Some(eight) = bytes.get(len..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let special = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | below_space;
        if special != 0 {
            return len + special.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|&&byte| byte != b'"' && byte != b'\\' && byte >= 0x20).count()
}

/// Appends the text that an escaped string stands for. The escapes themselves have been scanned.
pub(super) fn unescape(escaped: &str, out: &mut String) -> Result<(), &'static str> {
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let (character, used) = match after.as_bytes().first() {
            Some(b'b') => ('\u{8}', 1),
            Some(b'f') => ('\u{c}', 1),
            Some(b'n') => ('\n', 1),
            Some(b'r') => ('\r', 1),
            Some(b't') => ('\t', 1),
            Some(b'u') => unicode(after)?,
            Some(&other @ (b'"' | b'\\' | b'/')) => (char::from(other), 1),
            _ => return Err("an escape that JSON does not have"),
        };
        out.push(character);
        rest = &after[used..];
    }
    out.push_str(rest);
    Ok(())
}

/// `u0041…` or a surrogate pair `ud83d\ude00…`: the character and how many bytes stand for it.
fn unicode(text: &str) -> Result<(char, usize), &'static str> {
    let hex = |from: usize| text.get(from..from + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = hex(1).ok_or("an escape that JSON does not have")?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 5));
    }
    let second = text.get(5..7).filter(|&escape| escape == "\\u").and_then(|_| hex(7));
    match second {
        Some(second @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            let character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            character.map(|character| (character, 11)).ok_or("half of a surrogate pair")
        }
        _ => Err("half of a surrogate pair"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Reads a cell the way serde_json would, for comparison.
    fn value(text: &str, cell: Cell) -> Value {
        match cell.kind() {
            Kind::Text => Value::from(cell.of(text)),
            Kind::JsonEscaped => {
                let mut out = String::new();
                unescape(cell.of(text), &mut out).unwrap();
                Value::from(out)
            }
            _ => serde_json::from_str(cell.of(text)).unwrap(),
        }
    }

    /// Agrees with serde_json on what is an object, and on its members.
    fn agrees(text: &str) -> Result<(), TestCaseError> {
        let mut found = Vec::new();
        let ours = members(text, 0, text.len(), &mut found);
        match serde_json::from_str::<serde_json::Map<String, Value>>(text) {
            Ok(expected) => {
                prop_assert_eq!(ours, Ok(()), "{}", text);
                for Member { key, value: cell } in found {
                    let key = value(text, key);
                    let theirs = &expected[key.as_str().unwrap()];
                    // Members that occur twice are the reader's business; serde_json keeps the last.
                    if text.matches(key.as_str().unwrap()).count() == 1 {
                        prop_assert_eq!(&value(text, cell), theirs);
                    }
                }
            }
            // Numbers beyond f64 and halves of surrogate pairs are found when the value is read.
            Err(error) if error.to_string().contains("out of range") || error.to_string().contains("surrogate") => {}
            Err(error) => prop_assert!(ours.is_err(), "{} · {}", text, error),
        }
        Ok(())
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn objects_are_found_as_serde_json_finds_them(members in proptest::collection::vec((any::<String>(), json()), 0..6), pretty in any::<bool>()) {
            let object = Value::Object(members.into_iter().collect());
            agrees(&if pretty { format!("{object:#}") } else { object.to_string() })?;
        }

        #[test]
        fn damaged_objects_are_refused_as_serde_json_refuses_them(
            members in proptest::collection::vec(("[a-c]{0,2}", json()), 1..4), at in any::<prop::sample::Index>(), by in r#"[\[\]{}:,"\\ 0-9eE.+ntfu\x01-]?"#
        ) {
            let mut text = Value::Object(members.into_iter().collect()).to_string();
            let mut at = at.index(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            let len = text[at..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(at..at + len, &by);
            agrees(&text)?;
        }

        #[test]
        fn plain_bytes_are_counted_as_one_by_one(bytes in proptest::collection::vec(prop_oneof![0x18u8..0x28, Just(b'\\'), Just(b'a'), any::<u8>()], 0..40)) {
            let expected = bytes.iter().take_while(|&&byte| byte != b'"' && byte != b'\\' && byte >= 0x20).count();
            prop_assert_eq!(plain_len(&bytes), expected);
        }
    }

    #[test]
    fn what_is_not_strict_json_is_refused_where_it_is_wrong() {
        let error = |text: &str| members(text, 0, text.len(), &mut Vec::new()).unwrap_err();
        assert_eq!(error("[1]"), Syntax { at: 0, what: "not an object" });
        assert_eq!(error(r#"{"a":1,}"#), Syntax { at: 7, what: "expected a member's name" });
        assert_eq!(error(r#"{"a":01}"#), Syntax { at: 6, what: "expected `,` or `}`" });
        assert_eq!(error(r#"{"a":1 "b":2}"#), Syntax { at: 7, what: "expected `,` or `}`" });
        assert_eq!(error(r#"{"a":NaN}"#), Syntax { at: 5, what: "expected a value" });
        assert_eq!(error(r#"{"a":1}{"a":2}"#), Syntax { at: 7, what: "text after the value" });
        assert_eq!(error(r#"{"a":"#), Syntax { at: 5, what: "the text ends within a value" });
        assert_eq!(error(&format!(r#"{{"a":{}"#, "[".repeat(100_000))), Syntax { at: 5 + 128, what: "nested more than 128 deep" });
    }

    #[test]
    fn escapes_become_characters() {
        let read = |text: &str| {
            let mut out = String::new();
            unescape(text, &mut out).map(|()| out)
        };
        assert_eq!(read(r#"a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00z"#), Ok("a\"\\/\u{8}\u{c}\n\r\tA😀z".to_owned()));
        for half in [r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00\ud83d", r"\ud83d\ud83d"] {
            assert_eq!(read(half), Err("half of a surrogate pair"), "{half}");
        }
    }
}
