//! The statements' own syntax, as far as they are of use: what is selected, windows, and last joins. Expressions stay as they are written, in words.

use std::iter::Peekable;

/// Why a statement has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(pub String);

pub fn reason<T>(text: impl Into<String>) -> Result<T, Reason> {
    Err(Reason(text.into()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// In quotes, single or double.
    Text(String),
    /// A number, with its unit where it has one: `2s`.
    Number(String),
    Symbol(&'static str),
}

impl Token {
    pub fn is(&self, word: &str) -> bool {
        match self {
            Token::Word(this) => this.eq_ignore_ascii_case(word),
            Token::Symbol(this) => *this == word,
            _ => false,
        }
    }
}

#[derive(Debug)]
pub struct Query {
    pub items: Vec<Vec<Token>>,
    pub from: Relation,
    pub joins: Vec<Join>,
    pub windows: Vec<(String, Window)>,
    pub limit: Option<usize>,
}

/// A table, or a projection of one.
#[derive(Debug, Clone)]
pub struct Relation {
    pub table: String,
    /// What it is called in the statement.
    pub alias: String,
    /// The columns, each with what it is of the table's; all of them by default.
    pub columns: Option<Vec<(String, Vec<Token>)>>,
    /// Columns besides all of them.
    pub more: Vec<(String, Vec<Token>)>,
    /// What is joined to it, where it is a subquery that joins.
    pub joins: Vec<Join>,
}

#[derive(Debug, Clone)]
pub struct Join {
    pub right: Relation,
    /// The column that says which of several rows is the last.
    pub order: Option<(String, bool)>,
    pub on: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, Default)]
pub struct Window {
    pub unions: Vec<Relation>,
    pub partition: Vec<Column>,
    pub order: Option<Column>,
    pub frame: Option<Frame>,
    pub size_max: Option<i64>,
    pub without_row: bool,
    pub without_time: bool,
    pub without_table: bool,
}

/// A column, and the table that is named with it.
#[derive(Debug, Clone)]
pub struct Column {
    pub table: Option<String>,
    pub name: String,
}

#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub rows: bool,
    pub start: Edge,
    pub end: Edge,
}

/// How far back, in rows or milliseconds: without end, or at least so far, or farther.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge(pub Option<i64>);

const SYMBOLS: [&str; 20] = ["==", "!=", "<>", ">=", "<=", "(", ")", ",", ".", "+", "-", "*", "/", "%", "=", "<", ">", "!", ";", ":"];

pub fn tokens(sql: &str) -> Result<Vec<Token>, Reason> {
    let mut found = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' | '`' => {
                let Some(end) = rest[1..].find(first) else { return reason("a quote without its end") };
                let inner = rest[1..=end].to_owned();
                found.push(if first == '`' { Token::Word(inner) } else { Token::Text(inner) });
                end + 2
            }
            _ if first.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                found.push(Token::Number(rest[..end].to_owned()));
                end
            }
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(Token::Word(rest[..end].to_owned()));
                end
            }
            _ => {
                let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) else {
                    return reason(format!("`{first}` in the statement"));
                };
                found.push(Token::Symbol(symbol));
                symbol.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

/// Reads a statement.
pub fn parse(sql: &str) -> Result<Query, Reason> {
    let mut tokens = tokens(sql)?;
    while tokens.last().is_some_and(|last| last.is(";")) {
        tokens.pop();
    }
    let mut reader = Reader { tokens: &tokens };
    reader.query()
}

struct Reader<'a> {
    tokens: &'a [Token],
}

impl<'a> Reader<'a> {
    fn at(&self, word: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(word))
    }

    fn take(&mut self, word: &str) -> bool {
        let at = self.at(word);
        if at {
            self.tokens = &self.tokens[1..];
        }
        at
    }

    fn need(&mut self, word: &str) -> Result<(), Reason> {
        if self.take(word) { Ok(()) } else { reason(format!("`{word}` is missing in the statement")) }
    }

    fn word(&mut self) -> Result<String, Reason> {
        match self.tokens {
            [Token::Word(word), rest @ ..] => {
                self.tokens = rest;
                Ok(word.clone())
            }
            _ => reason("a name is missing in the statement"),
        }
    }

    /// What stands before one of these words, outside of parentheses.
    fn until(&mut self, words: &[&str]) -> &'a [Token] {
        let mut depth = 0;
        let ends = |token: &Token| {
            let here = depth == 0 && words.iter().any(|word| token.is(word));
            depth += i32::from(token.is("(")) - i32::from(token.is(")"));
            here || depth < 0
        };
        let end = self.tokens.iter().position(ends).unwrap_or(self.tokens.len());
        let (before, rest) = self.tokens.split_at(end);
        self.tokens = rest;
        before
    }

    /// What the parentheses hold that stand here.
    fn inside(&mut self) -> Result<&'a [Token], Reason> {
        self.need("(")?;
        let inside = self.until(&[]);
        self.need(")")?;
        Ok(inside)
    }

    fn query(&mut self) -> Result<Query, Reason> {
        self.need("SELECT")?;
        let items = split(self.until(&["FROM"]));
        self.need("FROM")?;
        let from = self.relation(&["LAST", "WINDOW", "LIMIT", "WHERE", "GROUP"])?;
        let mut joins = Vec::new();
        while self.take("LAST") {
            joins.push(self.join()?);
        }
        if self.at("WHERE") || self.at("GROUP") {
            return reason("rows are chosen or grouped after windows and joins");
        }
        let mut windows = Vec::new();
        if self.take("WINDOW") {
            loop {
                let name = self.word()?.to_lowercase();
                self.need("AS")?;
                windows.push((name, window(self.inside()?)?));
                if !self.take(",") {
                    break;
                }
            }
        }
        let limit = if self.take("LIMIT") { Some(self.count()?) } else { None };
        if self.tokens.is_empty() {
            Ok(Query { items, from, joins, windows, limit })
        } else {
            reason(format!("{:?} at the end of the statement", self.tokens))
        }
    }

    fn count(&mut self) -> Result<usize, Reason> {
        match self.tokens {
            [Token::Number(number), rest @ ..] => {
                self.tokens = rest;
                number.parse().map_err(|_| Reason(format!("`{number}` is no number of rows")))
            }
            _ => reason("a number of rows is missing"),
        }
    }

    /// A table or a projection, with its alias, before one of these words.
    fn relation(&mut self, ends: &[&str]) -> Result<Relation, Reason> {
        let mut relation = if self.at("(") {
            let mut inner = Reader { tokens: self.inside()? }.query()?;
            if !inner.windows.is_empty() || inner.items.iter().flatten().any(|token| token.is("OVER")) {
                return reason("a subquery with windows of its own");
            }
            if inner.from.columns.is_some() || !inner.from.joins.is_empty() {
                return reason("a subquery of a subquery");
            }
            let (stars, others): (Vec<_>, Vec<_>) = inner.items.iter().partition(|item| item.last().is_some_and(|last| last.is("*")));
            let columns = others.into_iter().map(|item| named(item)).collect::<Result<Vec<_>, _>>()?;
            if stars.is_empty() {
                inner.from.columns = Some(columns);
            } else {
                inner.from.more = columns;
            }
            inner.from.joins = inner.joins;
            inner.from
        } else {
            let table = self.word()?;
            Relation { alias: table.clone(), table, columns: None, more: Vec::new(), joins: Vec::new() }
        };
        if self.take("AS") || matches!(self.tokens.first(), Some(Token::Word(word)) if !ends.iter().any(|end| word.eq_ignore_ascii_case(end))) {
            relation.alias = self.word()?;
        }
        Ok(relation)
    }

    fn join(&mut self) -> Result<Join, Reason> {
        self.need("JOIN")?;
        let right = self.relation(&["ORDER", "ON"])?;
        let mut order = None;
        if self.take("ORDER") {
            self.need("BY")?;
            let column = self.until(&["ASC", "DESC", "ON"]);
            let descending = self.take("DESC");
            self.take("ASC");
            order = Some((self::column(column)?.name, descending));
        }
        self.need("ON")?;
        let mut on = Vec::new();
        loop {
            on.push(self.until(&["AND", "LAST", "WINDOW", "LIMIT", "WHERE", "GROUP"]).to_vec());
            if !self.take("AND") {
                break;
            }
        }
        Ok(Join { right, order, on })
    }
}

/// `t1.c1`, or `c1`.
fn column(tokens: &[Token]) -> Result<Column, Reason> {
    match tokens {
        [Token::Word(name)] => Ok(Column { table: None, name: name.clone() }),
        [Token::Word(table), Token::Symbol("."), Token::Word(name)] => Ok(Column { table: Some(table.clone()), name: name.clone() }),
        _ => reason("rows are ordered or grouped by an expression"),
    }
}

/// What commas separate, outside of parentheses. One at the end separates nothing.
pub fn split(tokens: &[Token]) -> Vec<Vec<Token>> {
    let (mut parts, mut depth) = (vec![Vec::new()], 0);
    for token in tokens {
        depth += i32::from(token.is("(")) - i32::from(token.is(")"));
        if depth == 0 && token.is(",") {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(token.clone());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// An item without its alias.
pub fn bare(item: &[Token]) -> &[Token] {
    match item {
        [before @ .., as_, Token::Word(_)] if as_.is("AS") && !before.is_empty() => before,
        _ => item,
    }
}

/// What an item of a subquery is called.
fn named(item: &[Token]) -> Result<(String, Vec<Token>), Reason> {
    match item {
        [.., as_, Token::Word(name)] if as_.is("AS") => Ok((name.clone(), bare(item).to_vec())),
        _ => Ok((column(item)?.name, item.to_vec())),
    }
}

pub fn window(tokens: &[Token]) -> Result<Window, Reason> {
    let mut reader = Reader { tokens };
    let mut window = Window::default();
    if reader.take("UNION") {
        loop {
            window.unions.push(reader.relation(&["PARTITION"])?);
            if !reader.take(",") {
                break;
            }
        }
    }
    if reader.take("PARTITION") {
        reader.need("BY")?;
        for written in split(reader.until(&["ORDER", "ROWS", "ROWS_RANGE"])) {
            window.partition.push(column(&written)?);
        }
    }
    if reader.take("ORDER") {
        reader.need("BY")?;
        window.order = Some(column(reader.until(&["ROWS", "ROWS_RANGE"]))?);
    }
    let rows = reader.take("ROWS");
    if rows || reader.take("ROWS_RANGE") {
        reader.need("BETWEEN")?;
        let start = edge(reader.until(&["AND"]), rows, 1)?;
        reader.need("AND")?;
        let end = edge(reader.until(&["MAXSIZE", "EXCLUDE", "INSTANCE_NOT_IN_WINDOW"]), rows, -1)?;
        window.frame = Some(Frame { rows, start, end });
    }
    if reader.take("MAXSIZE") {
        window.size_max = Some(i64::try_from(reader.count()?).unwrap_or(i64::MAX));
    }
    while !reader.tokens.is_empty() {
        match () {
            () if reader.take("INSTANCE_NOT_IN_WINDOW") => window.without_table = true,
            () if reader.take("EXCLUDE") && reader.take("CURRENT_ROW") => window.without_row = true,
            () if reader.take("CURRENT_TIME") => window.without_time = true,
            () => return reason(format!("{:?} at the end of a window", reader.tokens)),
        }
    }
    Ok(window)
}

/// An edge; `inwards` is where the frame lies from it: what is open leaves out a row or a millisecond.
fn edge(tokens: &[Token], rows: bool, farther: i64) -> Result<Edge, Reason> {
    let mut words = tokens.iter().peekable();
    if next(&mut words, "CURRENT") && next(&mut words, "ROW") {
        return Ok(Edge(Some(0)));
    }
    if next(&mut words, "UNBOUNDED") {
        return Ok(Edge(None));
    }
    let sign = if next(&mut words, "-") { -1 } else { 1 };
    let Some(Token::Number(number)) = words.next() else { return reason("an edge of a frame is no number") };
    let open = next(&mut words, "OPEN");
    if !next(&mut words, "PRECEDING") || words.next().is_some() {
        return reason("an edge of a frame that does not precede");
    }
    let split = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let (digits, unit) = number.split_at(split);
    let each = match (unit, rows) {
        ("", _) => 1,
        (_, true) => return reason("a frame of rows with a length of time"),
        ("s", _) => 1000,
        ("m", _) => 60_000,
        ("h", _) => 3_600_000,
        ("d", _) => 86_400_000,
        _ => return reason(format!("`{number}` in a frame")),
    };
    let count = digits.parse::<i64>().map_err(|_| Reason(format!("`{number}` in a frame")))?;
    Ok(Edge(Some(sign * count * each - if open { farther } else { 0 })))
}

fn next<'a>(words: &mut Peekable<impl Iterator<Item = &'a Token>>, word: &str) -> bool {
    words.next_if(|token| token.is(word)).is_some()
}
