//! The statements of the definition language, as written.

mod scoring;

use std::ops::Range;

use datafusion::sql::sqlparser::ast::{DataType as SqlType, Query};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use serde_json::Value;

use super::Diagnostic;
use super::lex::Statement;
use super::names::{Name, suggestion};
use super::options::WrittenOption;
use super::text::Span;

pub(super) use scoring::{WrittenFeatures, WrittenModel, WrittenPrediction, WrittenPredictions, WrittenStep};

/// A statement as written, and its name.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) statement: Statement,
    pub(super) name: Name,
    pub(super) body: Body,
}

/// What a statement defines.
#[derive(Debug)]
pub(super) enum Body {
    Entity { columns: Columns },
    Source { columns: Columns, options: Vec<WrittenOption> },
    View { entity: Name, options: Vec<WrittenOption>, query: Box<Query>, tokens: Range<usize> },
    Service { options: Vec<WrittenOption>, request: Request, query: Box<Query> },
    Model(Box<WrittenModel>),
    Deployment { steps: Vec<WrittenStep>, options: Vec<WrittenOption> },
    Predictions(Box<WrittenPredictions>),
}

/// Columns in parentheses.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) columns: Vec<WrittenColumn>,
    /// The names in PRIMARY KEY (…), or of the columns marked PRIMARY KEY.
    pub(super) primary_key: Vec<Name>,
    /// Where PRIMARY KEY is written.
    pub(super) primary_key_span: Option<Span>,
    pub(super) span: Span,
}

#[derive(Debug)]
pub(super) struct WrittenColumn {
    pub(super) name: Name,
    pub(super) data_type: SqlType,
    pub(super) type_span: Span,
}

/// `REQUEST (…)`, `REQUEST AS source`, with a name perhaps.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) columns: Option<Columns>,
    pub(super) source: Option<Name>,
    pub(super) alias: Option<Name>,
    pub(super) span: Span,
}

const STATEMENTS: &str =
    "definitions: CREATE ENTITY, CREATE SOURCE, CREATE FEATURE VIEW, CREATE FEATURE SERVICE, CREATE MODEL, CREATE DEPLOYMENT, CREATE PREDICTIONS";

/// Reads one statement.
pub(super) fn parse(statement: Statement) -> Result<Written, Diagnostic> {
    let mut ddl = Ddl { parser: statement.parser(0..statement.len()), statement: &statement, base: 0 };
    let (name, body) = ddl.definition()?;
    Ok(Written { statement, name, body })
}

struct Ddl<'a> {
    statement: &'a Statement,
    parser: Parser<'static>,
    /// The token at which the parser starts.
    base: usize,
}

impl Ddl<'_> {
    fn definition(&mut self) -> Result<(Name, Body), Diagnostic> {
        let kinds: [(&[&str], fn(&mut Self, Name) -> Result<Body, Diagnostic>); 7] = [
            (&["CREATE", "ENTITY"], Self::entity),
            (&["CREATE", "SOURCE"], Self::source),
            (&["CREATE", "FEATURE", "VIEW"], Self::view),
            (&["CREATE", "FEATURE", "SERVICE"], Self::service),
            (&["CREATE", "MODEL"], Self::model),
            (&["CREATE", "DEPLOYMENT"], Self::deployment),
            (&["CREATE", "PREDICTIONS"], Self::predictions),
        ];
        let Some((words, body)) = kinds.into_iter().find(|(words, _)| self.statement.are_words(0, words)) else {
            return Err(self.unknown_statement());
        };
        for _ in words {
            self.parser.next_token();
        }
        let name = self.definition_name()?;
        let body = body(self, name.clone())?;
        if self.index() < self.statement.len() {
            let error = self.parser.expected_ref::<()>("the end of the definition", self.parser.peek_token_ref());
            return Err(error.map_or_else(|error| self.statement.syntax_error(error), |()| self.statement.origin.error("unexpected text")));
        }
        Ok((name, body))
    }

    fn unknown_statement(&self) -> Diagnostic {
        let word = |index| self.statement.word(index).map(str::to_ascii_uppercase);
        let create = word(0).as_deref() == Some("CREATE");
        let more = create && word(1).is_some_and(|second| ["FEATURE", "OR"].contains(&second.as_str())) && word(2).is_some();
        let last = usize::from(create && word(1).is_some()) + usize::from(more);
        let words: Vec<_> = (0..=last).filter_map(word).collect();
        let shown = if words.is_empty() { "this".to_owned() } else { format!("`{}`", words.join(" ")) };
        let diagnostic = self.statement.origin.at(self.statement.range_span(&(0..last + 1))).error(format!("{shown} is no definition"));
        diagnostic.note(STATEMENTS).help_opt(meant(word(0).as_deref(), word(1).as_deref(), word(2).as_deref()))
    }

    /// The name of what is defined.
    fn definition_name(&mut self) -> Result<Name, Diagnostic> {
        if self.statement.are_words(self.index(), &["IF", "NOT", "EXISTS"]) {
            let span = self.statement.range_span(&(self.index()..self.index() + 3));
            let diagnostic = self.statement.origin.at(span).error("IF NOT EXISTS has no place in a definition");
            return Err(diagnostic.note("definition files say what there is, whatever there was before").help("leave it out"));
        }
        let name = self.name()?;
        if self.parser.peek_token_ref().token == Token::Period {
            let diagnostic = self.statement.origin.at(name.span).error(format!("`{}` is no name by itself", name.text));
            return Err(diagnostic.note("definitions have no schemas").help("use a name without a point, or quote it"));
        }
        Ok(name)
    }

    fn entity(&mut self, _: Name) -> Result<Body, Diagnostic> {
        Ok(Body::Entity { columns: self.columns()? })
    }

    fn source(&mut self, _: Name) -> Result<Body, Diagnostic> {
        Ok(Body::Source { columns: self.columns()?, options: self.options()? })
    }

    fn view(&mut self, name: Name) -> Result<Body, Diagnostic> {
        if !self.word("ENTITY") {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("feature view `{}` names no entity", name.text));
            return Err(diagnostic.help(format!("write CREATE FEATURE VIEW {} ENTITY airport AS …", name.text)));
        }
        let (entity, options) = (self.name()?, self.options()?);
        self.keyword(Keyword::AS)?;
        let tokens = self.index()..self.statement.len();
        let query = self.parsed(Parser::parse_query)?;
        Ok(Body::View { entity, options, query, tokens })
    }

    fn service(&mut self, name: Name) -> Result<Body, Diagnostic> {
        let options = self.options()?;
        self.keyword(Keyword::AS)?;
        let tokens = self.index()..self.statement.len();
        let Some(from) = self.statement.find(tokens.clone(), &["FROM", "REQUEST"]) else {
            return Err(self.no_request(&name, tokens));
        };
        let (request, request_tokens) = self.request(from + 1)?;
        let query = self.service_query(tokens, request_tokens)?;
        Ok(Body::Service { options, request, query })
    }

    fn no_request(&self, name: &Name, tokens: Range<usize>) -> Diagnostic {
        let from = self.statement.find(tokens, &["FROM"]);
        let span = from.map_or(name.span, |from| self.statement.range_span(&(from..from + 2)));
        let diagnostic = self.statement.origin.at(span).error(format!("feature service `{}` reads from no request", name.text));
        diagnostic
            .note("a service answers requests: its FROM is the request, and views are joined to it by their keys")
            .help("write FROM REQUEST (origin VARCHAR) r LEFT JOIN airport_load o ON o.airport = r.origin")
    }

    /// The request, from its word at `start` on, and its tokens.
    fn request(&self, start: usize) -> Result<(Request, Range<usize>), Diagnostic> {
        let mut ddl = Ddl { parser: self.statement.parser(start..self.statement.len()), statement: self.statement, base: start };
        ddl.parser.next_token();
        let columns = if ddl.parser.peek_token_ref().token == Token::LParen { Some(ddl.columns()?) } else { None };
        let source = if ddl.word("AS") { Some(ddl.name()?) } else { None };
        let alias = match &ddl.parser.peek_token_ref().token {
            Token::Word(word) if !RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword) => Some(ddl.name()?),
            _ => None,
        };
        let tokens = start..ddl.index();
        Ok((Request { columns, source, alias, span: self.statement.range_span(&tokens) }, tokens))
    }

    /// Parses the body with one name in place of the request. Tokens keep their places, so nothing moves.
    fn service_query(&mut self, tokens: Range<usize>, request: Range<usize>) -> Result<Box<Query>, Diagnostic> {
        let placeholder = Token::Word(Word { value: "request".to_owned(), quote_style: None, keyword: Keyword::NoKeyword });
        let span = self.parser.peek_nth_token_ref(request.start - tokens.start).span;
        let replaced = request.len() - 1;
        let mut parser = self.statement.parser_with(tokens, request, TokenWithSpan { token: placeholder, span });
        let query = parser.parse_query().map_err(|error| self.statement.syntax_error(error))?;
        for _ in 0..parser.index() + replaced {
            self.parser.next_token();
        }
        Ok(query)
    }

    /// `(name TYPE, …, PRIMARY KEY (name, …))`.
    fn columns(&mut self) -> Result<Columns, Diagnostic> {
        let first = self.index();
        self.token(&Token::LParen)?;
        let mut columns = Columns { columns: Vec::new(), primary_key: Vec::new(), primary_key_span: None, span: self.here() };
        while self.parser.peek_token_ref().token != Token::RParen {
            self.column_or_key(&mut columns)?;
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        columns.span = self.statement.range_span(&(first..self.index()));
        Ok(columns)
    }

    fn column_or_key(&mut self, columns: &mut Columns) -> Result<(), Diagnostic> {
        let start = self.index();
        if self.statement.are_words(start, &["PRIMARY", "KEY"]) && self.statement.token(start + 2) == Some(&Token::LParen) {
            self.parser.next_token();
            self.parser.next_token();
            self.token(&Token::LParen)?;
            let key = self.names()?;
            self.token(&Token::RParen)?;
            return self.set_primary_key(columns, key, start);
        }
        let column = self.column()?;
        let name = column.name.clone();
        columns.columns.push(column);
        let constraint = self.index();
        match self.statement.token(constraint) {
            None | Some(Token::Comma | Token::RParen) => Ok(()),
            _ if self.parser.parse_keywords(&[Keyword::PRIMARY, Keyword::KEY]) => self.set_primary_key(columns, vec![name], constraint),
            _ => Err(self.constraint()),
        }
    }

    fn set_primary_key(&self, columns: &mut Columns, key: Vec<Name>, start: usize) -> Result<(), Diagnostic> {
        let span = self.statement.range_span(&(start..self.index()));
        if columns.primary_key_span.replace(span).is_some() {
            let diagnostic = self.statement.origin.at(span).error("a second primary key");
            return Err(diagnostic.help("name all columns of the key in one PRIMARY KEY (…)"));
        }
        columns.primary_key = key;
        Ok(())
    }

    fn constraint(&mut self) -> Diagnostic {
        let diagnostic = self.statement.origin.at(self.here()).error("a column has a name and a type, and no more");
        diagnostic
            .note("nothing checks NOT NULL, DEFAULT, UNIQUE or REFERENCES on events as they come")
            .help("leave it out, or filter with WHERE in the views; `PRIMARY KEY` may stand here")
    }

    fn column(&mut self) -> Result<WrittenColumn, Diagnostic> {
        let name = self.name()?;
        if matches!(self.parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            let diagnostic = self.statement.origin.at(name.span).error(format!("column `{}` has no type", name.text));
            return Err(diagnostic.help(format!("write {} VARCHAR, or another type", name.text)));
        }
        let start = self.index();
        let data_type = self.parsed(Parser::parse_data_type)?;
        Ok(WrittenColumn { name, data_type, type_span: self.statement.range_span(&(start..self.index())) })
    }

    fn names(&mut self) -> Result<Vec<Name>, Diagnostic> {
        let mut names = vec![self.name()?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    /// `WITH (name = value, …)`, if it is there.
    fn options(&mut self) -> Result<Vec<WrittenOption>, Diagnostic> {
        let mut options = Vec::new();
        if !self.parser.parse_keyword(Keyword::WITH) {
            return Ok(options);
        }
        self.token(&Token::LParen)?;
        while self.parser.peek_token_ref().token != Token::RParen {
            options.push(self.option()?);
            if !self.parser.consume_token(&Token::Comma) {
                break;
            }
        }
        self.token(&Token::RParen)?;
        Ok(options)
    }

    fn option(&mut self) -> Result<WrittenOption, Diagnostic> {
        let span = self.here();
        let name = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) => {
                let name = Name { text: text.clone(), span };
                self.parser.next_token();
                name
            }
            _ => self.name()?,
        };
        self.token(&Token::Eq)?;
        let start = self.index();
        let Some(value) = self.literal() else {
            let index = self.index().max(start + 1) - 1;
            let shown = self.statement.origin.file.slice(self.statement.token_span(index));
            let diagnostic =
                self.statement.origin.at(self.statement.token_span(index)).error(format!("option `{}` has no literal for a value", name.text));
            return Err(diagnostic.note("values are texts, numbers, true and false, and lists of texts or numbers in brackets").help(format!(
                "write {} = '{}'",
                name.text,
                shown.trim_matches('"').replace('\'', "''")
            )));
        };
        Ok(WrittenOption { name, value, value_span: self.statement.range_span(&(start..self.index())) })
    }

    /// A literal, consumed; nothing where there is none.
    fn literal(&mut self) -> Option<Value> {
        match self.parser.next_token().token {
            Token::SingleQuotedString(text) => Some(Value::String(text)),
            Token::Number(number, _) => json_number(&number),
            Token::Minus | Token::Plus if matches!(self.parser.peek_token_ref().token, Token::Number(..)) => {
                let negative = self.parser.get_current_token().token == Token::Minus;
                let Token::Number(number, _) = self.parser.next_token().token else { return None };
                json_number(&if negative { format!("-{number}") } else { number })
            }
            Token::Word(word) if word.keyword == Keyword::TRUE => Some(Value::Bool(true)),
            Token::Word(word) if word.keyword == Keyword::FALSE => Some(Value::Bool(false)),
            Token::Word(word) if word.keyword == Keyword::NULL => Some(Value::Null),
            Token::LBracket => self.list(),
            _ => None,
        }
    }

    fn list(&mut self) -> Option<Value> {
        let mut values = Vec::new();
        while !self.parser.consume_token(&Token::RBracket) {
            values.push(match self.parser.next_token().token {
                Token::SingleQuotedString(text) => Value::String(text),
                Token::Number(number, _) => json_number(&number)?,
                Token::Minus => {
                    let Token::Number(number, _) = self.parser.next_token().token else { return None };
                    json_number(&format!("-{number}"))?
                }
                _ => return None,
            });
            if !self.parser.consume_token(&Token::Comma) && self.parser.peek_token_ref().token != Token::RBracket {
                return None;
            }
        }
        Some(Value::Array(values))
    }

    fn name(&mut self) -> Result<Name, Diagnostic> {
        let span = self.here();
        if let Token::SingleQuotedString(text) = &self.parser.peek_token_ref().token {
            let diagnostic = self.statement.origin.at(span).error("a name in single quotes is a text");
            return Err(diagnostic.help(format!("write \"{text}\"")));
        }
        let ident = self.parsed(Parser::parse_identifier)?;
        Ok(Name { text: super::names::normalise(&ident), span })
    }

    /// Consumes a word that is no keyword of the parser's.
    fn word(&mut self, word: &str) -> bool {
        let here = self.statement.are_words(self.index(), &[word]);
        if here {
            self.parser.next_token();
        }
        here
    }

    fn keyword(&mut self, keyword: Keyword) -> Result<(), Diagnostic> {
        self.parsed(|parser| parser.expect_keyword_is(keyword))
    }

    fn token(&mut self, token: &Token) -> Result<(), Diagnostic> {
        self.parsed(|parser| parser.expect_token(token).map(drop))
    }

    fn parsed<T>(&mut self, read: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>) -> Result<T, Diagnostic> {
        read(&mut self.parser).map_err(|error| self.statement.syntax_error(error))
    }

    /// The token the parser reads next.
    fn index(&self) -> usize {
        self.base + self.parser.index()
    }

    fn here(&self) -> Span {
        self.statement.token_span(self.index())
    }
}

fn json_number(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number))
}

/// What an unknown statement was likely meant to be.
fn meant(first: Option<&str>, second: Option<&str>, third: Option<&str>) -> Option<String> {
    let likely = match (first?, second) {
        ("CREATE", Some("OR")) => return Some("leave out OR REPLACE: definition files say what there is".to_owned()),
        ("CREATE", Some("TABLE" | "EXTERNAL" | "STREAM")) => "CREATE SOURCE",
        ("CREATE", Some("VIEW" | "MATERIALIZED")) => "CREATE FEATURE VIEW",
        ("CREATE", Some("SERVICE")) => "CREATE FEATURE SERVICE",
        ("CREATE", Some("FEATURE")) => match suggestion(third?, ["VIEW", "SERVICE"])? {
            "VIEW" => "CREATE FEATURE VIEW",
            _ => "CREATE FEATURE SERVICE",
        },
        ("CREATE", Some(second)) => match suggestion(second, ["ENTITY", "SOURCE", "FEATURE", "MODEL", "DEPLOYMENT", "PREDICTIONS"])? {
            "ENTITY" => "CREATE ENTITY",
            "SOURCE" => "CREATE SOURCE",
            "MODEL" => "CREATE MODEL",
            "DEPLOYMENT" => "CREATE DEPLOYMENT",
            "PREDICTIONS" => "CREATE PREDICTIONS",
            _ => "CREATE FEATURE VIEW",
        },
        ("DROP", _) => return Some("remove the definition from its file; `lockstep drop` removes what was made of it".to_owned()),
        ("ALTER", _) => return Some("change the definition in its file; applying it makes a new version beside the old".to_owned()),
        ("INSERT" | "COPY" | "UPDATE" | "DELETE" | "MERGE", _) => {
            return Some("events come from where a source's options `batch` and `stream` say".to_owned());
        }
        ("SELECT" | "WITH", _) => {
            return Some("write it as the body of a feature view: CREATE FEATURE VIEW name ENTITY airport AS SELECT …".to_owned());
        }
        (first, _) if suggestion(first, ["CREATE"]).is_some() => return Some("did you mean `CREATE`?".to_owned()),
        _ => return None,
    };
    Some(format!("did you mean `{likely}`?"))
}
