//! Statements as tokens with their places in the file.
//!
//! The parser's own spans are partial: a window has none, a call ends at its last argument. So a statement keeps its tokens, and the
//! checks find keywords, parentheses and clauses among them.

use std::ops::Range;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Spanned;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::Diagnostic;
use super::text::{Origin, SourceFile, Span};

/// The dialect of DataFusion's sessions by default, so that a body means the same to them.
pub(super) static DIALECT: GenericDialect = GenericDialect {};

/// The tokens a statement may have; it bounds the recursion of whoever walks its tree.
const TOKENS_MAX: usize = 20_000;

/// A token that is no whitespace, and its bytes.
#[derive(Debug, Clone)]
pub(super) struct Lexeme {
    pub(super) token: TokenWithSpan,
    pub(super) span: Span,
}

/// One statement of a file, without its semicolon; never empty.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) origin: Origin,
    lexemes: Vec<Lexeme>,
}

/// Splits a file into its statements.
pub(super) fn statements(file: &Arc<SourceFile>) -> Result<Vec<Statement>, Diagnostic> {
    let mut statements = Vec::new();
    let mut lexemes = Vec::new();
    for lexeme in lexemes_of(file)? {
        if lexeme.token.token == Token::SemiColon {
            statements.extend(Statement::new(file, std::mem::take(&mut lexemes))?);
        } else {
            lexemes.push(lexeme);
        }
    }
    statements.extend(Statement::new(file, lexemes)?);
    Ok(statements)
}

/// The tokens of a text that are no whitespace.
pub(super) fn lexemes_of(file: &Arc<SourceFile>) -> Result<Vec<Lexeme>, Diagnostic> {
    let tokens = Tokenizer::new(&DIALECT, &file.text).tokenize_with_location().map_err(|error| {
        let start = file.byte(error.location);
        Diagnostic::new(file, Span { start, end: start }, sentence(&error.message))
    })?;
    let mut cursor = Cursor { rest: file.text.char_indices(), at: 0, location: Location::new(1, 1) };
    let mut lexemes = Vec::new();
    for token in tokens {
        let start = cursor.advance(token.span.start);
        let end = cursor.advance(token.span.end);
        if !matches!(token.token, Token::Whitespace(_)) {
            lexemes.push(Lexeme { token, span: Span { start, end } });
        }
    }
    Ok(lexemes)
}

/// Walks a text once, from the tokenizer's locations to bytes.
struct Cursor<'a> {
    rest: std::str::CharIndices<'a>,
    at: usize,
    location: Location,
}

impl Cursor<'_> {
    fn advance(&mut self, to: Location) -> usize {
        while (self.location.line, self.location.column) < (to.line, to.column) {
            let Some((_, c)) = self.rest.next() else { break };
            self.at = self.rest.offset();
            if c == '\n' {
                self.location = Location::new(self.location.line + 1, 1);
            } else {
                self.location.column += 1;
            }
        }
        self.at
    }
}

impl Statement {
    fn new(file: &Arc<SourceFile>, lexemes: Vec<Lexeme>) -> Result<Option<Statement>, Diagnostic> {
        let (Some(first), Some(last)) = (lexemes.first(), lexemes.last()) else { return Ok(None) };
        let origin = Origin { file: Arc::clone(file), span: first.span.to(last.span) };
        if lexemes.len() > TOKENS_MAX {
            let title = format!("this statement has {} tokens, and {TOKENS_MAX} are the most", lexemes.len());
            return Err(origin.at(first.span).error(title).help("split it into several views"));
        }
        Ok(Some(Statement { origin, lexemes }))
    }

    /// Tokens that are no statement of a file's own.
    pub(super) fn of(origin: Origin, lexemes: Vec<Lexeme>) -> Statement {
        Statement { origin, lexemes }
    }

    /// How many tokens it has.
    pub(super) fn len(&self) -> usize {
        self.lexemes.len()
    }

    /// A token; none past the end.
    pub(super) fn token(&self, index: usize) -> Option<&Token> {
        self.lexemes.get(index).map(|lexeme| &lexeme.token.token)
    }

    /// The place of a token; the end of the statement past its last.
    pub(super) fn token_span(&self, index: usize) -> Span {
        let end = self.origin.span.end;
        self.lexemes.get(index).map_or(Span { start: end, end }, |lexeme| lexeme.span)
    }

    /// The place of several tokens.
    pub(super) fn range_span(&self, range: &Range<usize>) -> Span {
        self.token_span(range.start).to(self.token_span(range.end.saturating_sub(1).max(range.start)))
    }

    /// Whether the tokens from `index` on are these words, unquoted, in any case.
    pub(super) fn are_words(&self, index: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.word(index + offset).is_some_and(|found| found.eq_ignore_ascii_case(word)))
    }

    /// An unquoted word at `index`.
    pub(super) fn word(&self, index: usize) -> Option<&str> {
        match self.token(index) {
            Some(Token::Word(word)) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    /// A parser over some of its tokens.
    pub(super) fn parser(&self, range: Range<usize>) -> Parser<'static> {
        let tokens = self.lexemes.get(range).unwrap_or_default().iter().map(|lexeme| lexeme.token.clone()).collect();
        Parser::new(&DIALECT).with_tokens_with_locations(tokens)
    }

    /// Its tokens with those of `range` replaced by one.
    pub(super) fn parser_with(&self, tokens: Range<usize>, replaced: Range<usize>, by: TokenWithSpan) -> Parser<'static> {
        let clone = |range: Range<usize>| self.lexemes.get(range).unwrap_or_default().iter().map(|lexeme| lexeme.token.clone());
        let tokens = clone(tokens.start..replaced.start).chain([by]).chain(clone(replaced.end..tokens.end)).collect();
        Parser::new(&DIALECT).with_tokens_with_locations(tokens)
    }

    /// The token at a byte, or the first after it.
    pub(super) fn index_at(&self, byte: usize) -> usize {
        self.lexemes.partition_point(|lexeme| lexeme.span.end <= byte)
    }

    /// The token that closes the parenthesis or bracket at `open`; the statement's end where nothing does.
    pub(super) fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for index in open..self.len() {
            match self.token(index) {
                Some(Token::LParen | Token::LBracket) => depth += 1,
                Some(Token::RParen | Token::RBracket) => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return index;
            }
        }
        self.len()
    }

    /// Where these words stand among the tokens of `range`, outside of parentheses that open there.
    pub(super) fn find(&self, range: Range<usize>, words: &[&str]) -> Option<usize> {
        let mut index = range.start;
        while index < range.end.min(self.len()) {
            match self.token(index) {
                Some(Token::LParen | Token::LBracket) => index = self.closing(index),
                Some(Token::RParen | Token::RBracket) => return None,
                _ if self.are_words(index, words) => return Some(index),
                _ => {}
            }
            index += 1;
        }
        None
    }

    /// The place of a node of the tree, widened to whole calls and parentheses; the statement's first word where the parser did not
    /// know.
    pub(super) fn place(&self, node: &impl Spanned) -> Span {
        self.place_or(node, self.token_span(0))
    }

    /// The same, and `near` where the parser did not know.
    pub(super) fn place_or(&self, node: &impl Spanned, near: Span) -> Span {
        self.origin.file.span(node.span()).map_or(near, |span| self.cover(span))
    }

    /// The least run of tokens around `span` in which parentheses match and every call is whole, with its FILTER and OVER.
    fn cover(&self, span: Span) -> Span {
        let mut first = self.index_at(span.start);
        let mut last = self.index_at(span.end.saturating_sub(1).max(span.start));
        if first >= self.len() {
            return span;
        }
        loop {
            let (opened, closed) = self.unmatched(first..last + 1);
            if opened > 0 && last + 1 < self.len() {
                last = self.closing_from(last + 1, opened);
            } else if closed > 0 && first > 0 {
                first = self.opening_before(first);
            } else {
                break;
            }
        }
        last = self.end_of_call(last);
        self.token_span(first).to(self.token_span(last.min(self.len() - 1)))
    }

    /// Parentheses that open or close within a run without a partner in it.
    fn unmatched(&self, range: Range<usize>) -> (usize, usize) {
        let (mut opened, mut closed) = (0, 0);
        for index in range {
            match self.token(index) {
                Some(Token::LParen | Token::LBracket) => opened += 1,
                Some(Token::RParen | Token::RBracket) if opened > 0 => opened -= 1,
                Some(Token::RParen | Token::RBracket) => closed += 1,
                _ => {}
            }
        }
        (opened, closed)
    }

    fn closing_from(&self, from: usize, mut opened: usize) -> usize {
        for index in from..self.len() {
            match self.token(index) {
                Some(Token::LParen | Token::LBracket) => opened += 1,
                Some(Token::RParen | Token::RBracket) => opened -= 1,
                _ => {}
            }
            if opened == 0 {
                return index;
            }
        }
        self.len() - 1
    }

    /// The function's name before the parenthesis that is open at `from`, or the parenthesis where there is none.
    fn opening_before(&self, from: usize) -> usize {
        let mut closed = 0_usize;
        for index in (0..from).rev() {
            match self.token(index) {
                Some(Token::RParen | Token::RBracket) => closed += 1,
                Some(Token::LParen | Token::LBracket) if closed > 0 => closed -= 1,
                Some(Token::LParen | Token::LBracket) => {
                    let named = index > 0 && matches!(self.token(index - 1), Some(Token::Word(_)));
                    return if named { index - 1 } else { index };
                }
                _ => {}
            }
        }
        0
    }

    /// The last token of a call whose arguments, or whose name alone, end at `last`.
    fn end_of_call(&self, last: usize) -> usize {
        let mut last = last;
        if matches!(self.token(last), Some(Token::Word(_))) && self.token(last + 1) == Some(&Token::LParen) {
            last = self.closing(last + 1);
        }
        if self.token(last) != Some(&Token::RParen) {
            return last;
        }
        self.call_tail(last).end
    }

    /// What follows the arguments of a call that close at `closing`.
    fn call_tail(&self, closing: usize) -> CallTail {
        let mut tail = CallTail { end: closing, over: None };
        loop {
            let next = tail.end + 1;
            if self.are_words(next, &["FILTER"]) && self.token(next + 1) == Some(&Token::LParen) {
                tail.end = self.closing(next + 1);
            } else if self.are_words(next, &["WITHIN", "GROUP"]) && self.token(next + 2) == Some(&Token::LParen) {
                tail.end = self.closing(next + 2);
            } else if self.are_words(next, &["IGNORE", "NULLS"]) || self.are_words(next, &["RESPECT", "NULLS"]) {
                tail.end = next + 1;
            } else if self.are_words(next, &["OVER"]) {
                let parenthesised = self.token(next + 1) == Some(&Token::LParen);
                tail.end = if parenthesised { self.closing(next + 1) } else { next + 1 };
                tail.over = Some(next + 1..tail.end + 1);
                return tail;
            } else {
                return tail;
            }
        }
    }

    /// The tokens of a call whose name is written at `name`.
    pub(super) fn call(&self, name: Span) -> CallTokens {
        let start = self.index_at(name.start);
        if self.token(start + 1) != Some(&Token::LParen) {
            return CallTokens { whole: start..start + 1, over: None };
        }
        let tail = self.call_tail(self.closing(start + 1));
        CallTokens { whole: start..(tail.end + 1).min(self.len()), over: tail.over }
    }

    /// What the parser could not read, as a diagnostic.
    pub(super) fn syntax_error(&self, error: ParserError) -> Diagnostic {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return self.origin.at(self.token_span(0)).error("this statement nests too deep").help("write fewer parentheses within one another");
            }
        };
        let (message, place) = match message.split_once(" at Line: ") {
            Some((message, place)) => (message.to_owned(), parse_location(place)),
            None => (message, None),
        };
        let span = place.map_or(self.token_span(self.len()), |location| self.token_span(self.index_at(self.origin.file.byte(location))));
        let index = self.index_at(span.start);
        if self.are_words(index, &["EXCLUDE"]) {
            return super::frame::exclude(&self.origin.at(span));
        }
        self.origin.at(span).error(sentence(&message))
    }
}

/// The end of a call, and the tokens after its OVER, parentheses included.
struct CallTail {
    end: usize,
    over: Option<Range<usize>>,
}

/// The tokens of a call.
pub(super) struct CallTokens {
    /// All of them: name, arguments, FILTER and OVER.
    pub(super) whole: Range<usize>,
    /// Those after OVER: a name, or a parenthesised window.
    pub(super) over: Option<Range<usize>>,
}

/// `X, Column: Y`, as the parser writes it.
fn parse_location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    let digits = column.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Location::new(line.parse().ok()?, digits.parse().ok()?))
}

/// A message of the parser's in the manner of ours.
fn sentence(message: &str) -> String {
    if let Some((expected, found)) = message.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        let punctuation = expected.chars().all(|c| c.is_ascii_punctuation());
        let expected = if punctuation { format!("`{expected}`") } else { expected.to_owned() };
        return match found.trim() {
            "EOF" => format!("expected {expected}, found the end of the statement"),
            found => format!("expected {expected}, found `{found}`"),
        };
    }
    let mut chars = message.trim_end_matches('.').chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        let file = Arc::new(SourceFile::new("x.sql", text));
        statements(&file).unwrap().remove(0)
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_texts_and_comments() {
        let file = Arc::new(SourceFile::new("x.sql", "a 'x;y' -- ;\n; ; /* ; */ b"));
        let statements = statements(&file).unwrap();
        let texts: Vec<_> = statements.iter().map(|statement| file.slice(statement.origin.span)).collect();
        assert_eq!(texts, ["a 'x;y'", "b"]);
    }

    #[test]
    fn a_place_widens_to_whole_calls() {
        let text = "SELECT 1 + CAST(sum(ä) FILTER (WHERE b) OVER (ORDER BY t) AS INT) AS x";
        let statement = statement(text);
        let shown = |part: &str| {
            let start = text.find(part).unwrap();
            statement.origin.file.slice(statement.cover(Span { start, end: start + part.len() })).to_owned()
        };
        assert_eq!(shown("sum"), "sum(ä) FILTER (WHERE b) OVER (ORDER BY t)");
        assert_eq!(shown("sum(ä"), "sum(ä) FILTER (WHERE b) OVER (ORDER BY t)");
        assert_eq!(shown("ä) FILTER (WHERE b"), "sum(ä) FILTER (WHERE b) OVER (ORDER BY t)");
        assert_eq!(shown("1"), "1");
    }

    #[test]
    fn the_parsers_errors_keep_their_place() {
        let statement = statement("SELECT a\n  FROM )");
        let error = statement.parser(0..statement.len()).parse_query().unwrap_err();
        assert_eq!(statement.syntax_error(error).to_string(), "x.sql:2:8: expected identifier, found `)`");
    }
}
