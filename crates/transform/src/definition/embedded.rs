//! Expressions within text literals, such as the value of `available_at`.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan, Token, Tokenizer};

use super::Diagnostic;
use super::expr::check_depth;
use super::lex::{DIALECT, Lexeme, Statement, lexemes_of};
use super::text::{Origin, SourceFile, Span};

/// Parses the expression that a literal at `literal` holds. The statement has its tokens, at their places in the file.
pub(super) fn expression(text: &str, literal: &Origin) -> Result<(Statement, Expr), Diagnostic> {
    let unreadable = |diagnostic: Diagnostic| {
        let title = format!("this expression cannot be read: {}", diagnostic.title);
        literal.at(diagnostic.span).error(title).help("write an expression over the columns, such as 'departed_at + INTERVAL ''5 minutes'''")
    };
    let statement = statement(text, literal)?;
    let mut parser = statement.parser(0..statement.len());
    let expr = parser.parse_expr().map_err(|error| unreadable(statement.syntax_error(error)))?;
    if parser.peek_token_ref().token != Token::EOF {
        let span = statement.token_span(parser.index());
        return Err(unreadable(literal.at(span).error("something follows it")));
    }
    check_depth(&expr, &statement)?;
    Ok((statement, expr))
}

/// The text's tokens. A doubled quote is two characters in the file and one in the text; with such, all of them are at the whole literal.
fn statement(text: &str, literal: &Origin) -> Result<Statement, Diagnostic> {
    if Tokenizer::new(&DIALECT, text).tokenize().map_or(true, |tokens| tokens.iter().all(|token| matches!(token, Token::Whitespace(_)))) {
        return Err(literal.error("this expression cannot be read").help("write an expression over the columns, or 'append_time'"));
    }
    let inner = SourceFile::new(literal.file.name.clone(), text);
    let exact = literal.file.slice(literal.span).len() == text.len() + 2;
    let place =
        |span: Span| if exact { Span { start: literal.span.start + 1 + span.start, end: literal.span.start + 1 + span.end } } else { literal.span };
    let lexemes = lexemes_of(&inner.into())?
        .into_iter()
        .map(|Lexeme { mut token, span }| {
            let span = place(span);
            token.span = sql_span(&literal.file, span);
            Lexeme { token, span }
        })
        .collect();
    Ok(Statement::of(literal.clone(), lexemes))
}

fn sql_span(file: &SourceFile, span: Span) -> SqlSpan {
    let location = |byte| {
        let position = file.position(byte);
        Location::new(position.line as u64, position.column as u64)
    };
    SqlSpan { start: location(span.start), end: location(span.end) }
}
