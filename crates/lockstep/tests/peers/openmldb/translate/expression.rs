//! Expressions, from their words to ours.

use super::*;

/// Where an expression stands.
pub(super) enum Place<'b, 'a> {
    /// Over the rows of one table.
    Row(&'b Side<'a>),
    /// Over the rows of a view's inputs, under the names that they have there.
    View(&'b [Branch<'a>]),
}

impl<'a> Work<'a> {
    /// An expression of a row, or of the rows of a view.
    pub(super) fn expression(&self, tokens: &[Token], place: &Place<'_, 'a>) -> Result<String, Reason> {
        let mut text = Vec::new();
        let mut rest = tokens;
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, rest) {
                (Token::Word(table), [dot, Token::Word(column), after @ ..]) if dot.is(".") => {
                    rest = after;
                    self.no_join(Some(table), column, place)?;
                    text.push(self.column(column, place)?);
                }
                (Token::Word(word), [open, ..]) if open.is("(") => text.push(function(word, &mut rest, |inside| self.expression(inside, place))?),
                (Token::Word(word), _) if is_keyword(word) => text.push(word.clone()),
                (Token::Word(word), _) => {
                    self.no_join(None, word, place)?;
                    text.push(self.column(word, place)?);
                }
                (other, _) => text.push(plain(other)),
            }
        }
        Ok(text.join(" "))
    }

    /// A window sees the rows of sources, not what is joined to them.
    fn no_join(&self, table: Option<&str>, column: &str, place: &Place<'_, 'a>) -> Result<(), Reason> {
        let joined = self.joins.iter().any(|joined| match table {
            Some(table) => joined.right.called(table) && !self.main.called(table),
            None => !self.main.has(column) && (joined.right.has(column) || joined.others.iter().any(|other| other.0 == column)),
        });
        if joined && matches!(place, Place::View(_)) { reason("a window over columns of a joined table") } else { Ok(()) }
    }

    pub(super) fn column(&self, name: &str, place: &Place<'_, 'a>) -> Result<String, Reason> {
        match place {
            Place::View(branches) => self.in_view(name, branches),
            Place::Row(side) => match side.column(name).as_slice() {
                [Token::Word(column)] => Ok(quoted(column)),
                computed => Ok(format!("({})", self.expression(computed, &Place::Row(&Side { columns: None, ..(*side).clone() }))?)),
            },
        }
    }
}

/// The type that a function of this name casts to.
pub(super) fn cast_to(function: &str) -> Option<&'static str> {
    Some(match function.to_lowercase().as_str() {
        "bigint" => "BIGINT",
        "int" => "INT",
        "smallint" => "SMALLINT",
        "double" => "DOUBLE",
        "float" => "REAL",
        "string" => "VARCHAR",
        "date" => "DATE",
        "timestamp" => "TIMESTAMP",
        _ => return None,
    })
}

/// A column, if `belongs` says so of it and of the name before it.
pub(super) fn column_of(tokens: &[Token], belongs: impl Fn(Option<&str>, &str) -> bool) -> Option<String> {
    match tokens {
        [Token::Word(column)] if belongs(None, column) => Some(column.clone()),
        [Token::Word(table), Token::Symbol("."), Token::Word(column)] if belongs(Some(table), column) => Some(column.clone()),
        _ => None,
    }
}

pub(super) fn mirrored(sign: &Token) -> Token {
    match sign {
        Token::Symbol("<") => Token::Symbol(">"),
        Token::Symbol(">") => Token::Symbol("<"),
        Token::Symbol("<=") => Token::Symbol(">="),
        Token::Symbol(">=") => Token::Symbol("<="),
        other => other.clone(),
    }
}

pub(super) fn is_keyword(word: &str) -> bool {
    ["CASE", "WHEN", "THEN", "ELSE", "END", "NULL", "AND", "OR", "NOT", "IS", "AS", "TRUE", "FALSE", "DISTINCT"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

pub(super) fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) => word.clone(),
        Token::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Token::Number(number) => number.clone(),
        Token::Symbol("==") => "=".to_owned(),
        Token::Symbol("!=") => "<>".to_owned(),
        Token::Symbol("!") => "NOT".to_owned(),
        Token::Symbol(symbol) => (*symbol).to_owned(),
    }
}

/// The arguments of a call whose parenthesis `rest` begins with, which they are taken from.
pub(super) fn arguments<'t>(rest: &mut &'t [Token]) -> Result<&'t [Token], Reason> {
    let mut depth = 0;
    let end = rest.iter().position(|token| {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        depth == 0
    });
    let Some(end) = end else { return reason("a parenthesis without its end") };
    let inside = &rest[1..end];
    *rest = &rest[end + 1..];
    Ok(inside)
}

/// A function that there is, with its arguments where it is written in another way here; `inner` writes what is in parentheses.
pub(super) fn function(name: &str, rest: &mut &[Token], mut inner: impl FnMut(&[Token]) -> Result<String, Reason>) -> Result<String, Reason> {
    let lower = name.to_lowercase();
    let inside = arguments(rest)?;
    if let Some(of) = cast_to(&lower) {
        return Ok(format!("CAST({} AS {of})", inner(inside)?));
    }
    match (lower.as_str(), inside) {
        ("cast", [value @ .., as_, Token::Word(of)]) if as_.is("AS") => {
            let Some(of) = cast_to(of) else { return reason(format!("a cast to `{of}`")) };
            Ok(format!("CAST({} AS {of})", inner(value)?))
        }
        ("if_null" | "ifnull" | "nvl", _) => {
            let parts = query::split(inside).iter().map(|part| inner(part)).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("coalesce({})", parts.join(", ")))
        }
        ("isnull", _) => Ok(format!("({} IS NULL)", inner(inside)?)),
        ("inc", _) => Ok(format!("({} + 1)", inner(inside)?)),
        _ => reason(format!("the function `{lower}`")),
    }
}
