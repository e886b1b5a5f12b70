//! Words and cells of a line, with their places.

use std::ops::Range;

/// A piece of a line: its bytes in the file, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes in the file.
    pub place: Range<usize>,
    /// What it says, without quotes.
    pub text: String,
    /// Whether any of it was quoted.
    pub quoted: bool,
}

/// Splits a line that starts at byte `start` of the file at spaces outside quotes.
///
/// # Errors
/// The place of a quote that is not closed.
pub fn words(line: &str, start: usize) -> Result<Vec<Piece>, usize> {
    split(line, start, char::is_whitespace).map(|pieces| pieces.into_iter().filter(|piece| piece.quoted || !piece.text.is_empty()).collect())
}

/// Splits a line at commas outside quotes; spaces around a cell do not count.
///
/// # Errors
/// The place of a quote that is not closed.
pub fn cells(line: &str, start: usize) -> Result<Vec<Piece>, usize> {
    split(line, start, |c| c == ',')
}

fn split(line: &str, start: usize, separates: impl Fn(char) -> bool) -> Result<Vec<Piece>, usize> {
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut open = None;
    for (at, c) in line.char_indices() {
        match open {
            Some(_) if c == '"' => open = None,
            None if c == '"' => open = Some(at),
            None if separates(c) => {
                pieces.push(piece(line, from..at, start));
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if let Some(quote) = open {
        return Err(start + quote);
    }
    pieces.push(piece(line, from..line.len(), start));
    Ok(pieces)
}

fn piece(line: &str, range: Range<usize>, start: usize) -> Piece {
    let whole = &line[range.clone()];
    let trimmed = whole.trim();
    let from = start + range.start + (whole.len() - whole.trim_start().len());
    Piece { place: from..from + trimmed.len(), text: unquoted(trimmed), quoted: trimmed.contains('"') }
}

/// A text without its quotes; a doubled quote within quotes is one.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => {
                chars.next();
                out.push('"');
            }
            '"' => inside = !inside,
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: Vec<Piece>) -> Vec<String> {
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn cells_are_trimmed_and_quotes_keep_what_is_in_them() {
        let line = r#" 1,  a b , "x, ""y""" ,, "" "#;
        let pieces = cells(line, 10).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.quoted).collect::<Vec<_>>(), [false, false, true, false, true]);
        assert_eq!(&line[pieces[1].place.start - 10..pieces[1].place.end - 10], "a b");
        assert_eq!(texts(pieces), ["1", "a b", "x, \"y\"", "", ""]);
    }

    #[test]
    fn words_are_split_at_spaces() {
        let pieces = words(r#"at  now card="a b" x="" "#, 0).unwrap();
        assert_eq!(texts(pieces), ["at", "now", "card=a b", "x="]);
        assert_eq!(words("at \"now", 5), Err(8));
    }
}
