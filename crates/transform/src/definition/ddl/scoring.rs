//! CREATE MODEL, CREATE DEPLOYMENT and CREATE PREDICTIONS, as written.

use datafusion::sql::sqlparser::ast::DataType as SqlType;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Body, Columns, Ddl};
use crate::definition::names::Name;
use crate::definition::options::WrittenOption;
use crate::definition::text::Span;
use crate::definition::{Diagnostic, Pick};

/// `FROM 'path' USING service (…) PREDICT (…)`.
#[derive(Debug)]
pub(in crate::definition) struct WrittenModel {
    pub(in crate::definition) path: Name,
    pub(in crate::definition) service: Name,
    pub(in crate::definition) inputs: Vec<WrittenInput>,
    pub(in crate::definition) predictions: Vec<WrittenPrediction>,
    pub(in crate::definition) options: Vec<WrittenOption>,
}

/// `input => (feature, …)`.
#[derive(Debug)]
pub(in crate::definition) struct WrittenInput {
    pub(in crate::definition) name: Name,
    pub(in crate::definition) features: WrittenFeatures,
}

/// What goes into an input.
#[derive(Debug)]
pub(in crate::definition) enum WrittenFeatures {
    /// `(*)`.
    All(Span),
    Named(Vec<Name>),
}

/// `name TYPE FROM output['label']`.
#[derive(Debug)]
pub(in crate::definition) struct WrittenPrediction {
    pub(in crate::definition) name: Name,
    pub(in crate::definition) data_type: SqlType,
    pub(in crate::definition) type_span: Span,
    /// The output; that of the prediction's own name where none is named.
    pub(in crate::definition) output: Option<Name>,
    pub(in crate::definition) pick: Option<(Pick, Span)>,
}

/// `model`, or `name => model` within parentheses.
#[derive(Debug)]
pub(in crate::definition) struct WrittenStep {
    /// Its own name, in a chain.
    pub(in crate::definition) name: Option<Name>,
    pub(in crate::definition) model: Name,
}

/// `ENTITY entity (…) FROM deployment`.
#[derive(Debug)]
pub(in crate::definition) struct WrittenPredictions {
    pub(in crate::definition) entity: Name,
    pub(in crate::definition) columns: Columns,
    pub(in crate::definition) deployment: Name,
    pub(in crate::definition) options: Vec<WrittenOption>,
}

impl Ddl<'_> {
    pub(super) fn model(&mut self, name: Name) -> Result<Body, Diagnostic> {
        let path = self.path(&name)?;
        let service = self.used_service(&name)?;
        let inputs = self.listed(&name, "takes nothing in", "input => (*)", Self::input)?;
        if !self.word("PREDICT") {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("model `{}` does not say what it predicts", name.text));
            return Err(diagnostic.help("write PREDICT (late_probability DOUBLE FROM probabilities['1']) after its inputs"));
        }
        let predictions = self.listed(&name, "predicts nothing", "is_late BOOLEAN FROM label", Self::prediction)?;
        let options = self.options()?;
        Ok(Body::Model(Box::new(WrittenModel { path, service, inputs, predictions, options })))
    }

    pub(super) fn deployment(&mut self, name: Name) -> Result<Body, Diagnostic> {
        if !self.parser.parse_keyword(Keyword::AS) {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("deployment `{}` names no model", name.text));
            return Err(diagnostic.help(format!("write CREATE DEPLOYMENT {} AS late_v1, or AS (candidates => gen_v1, ranker => rank_v1)", name.text)));
        }
        let steps = if self.parser.peek_token_ref().token == Token::LParen {
            self.listed(&name, "has no steps", "candidates => gen_v1, ranker => rank_v1", Self::step)?
        } else {
            vec![WrittenStep { name: None, model: self.name()? }]
        };
        Ok(Body::Deployment { steps, options: self.options()? })
    }

    pub(super) fn predictions(&mut self, name: Name) -> Result<Body, Diagnostic> {
        let example = format!("CREATE PREDICTIONS {} ENTITY flight (late_probability DOUBLE) FROM late", name.text);
        if !self.word("ENTITY") {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("predictions `{}` name no entity", name.text));
            return Err(diagnostic.note("a prediction is found again by the key of an entity").help(format!("write {example}")));
        }
        let entity = self.name()?;
        let columns = self.columns()?;
        if !self.parser.parse_keyword(Keyword::FROM) {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("predictions `{}` name no deployment", name.text));
            return Err(diagnostic.note("what predicts is a deployment, in runs of `lockstep score`").help(format!("write {example}")));
        }
        let deployment = self.name()?;
        Ok(Body::Predictions(Box::new(WrittenPredictions { entity, columns, deployment, options: self.options()? })))
    }

    /// `FROM 'path'`.
    fn path(&mut self, name: &Name) -> Result<Name, Diagnostic> {
        let missing = |ddl: &Self| {
            let diagnostic = ddl.statement.origin.at(ddl.here()).error(format!("model `{}` names no file", name.text));
            diagnostic
                .note("a model is an ONNX file, by its path from the project's directory")
                .help(format!("write CREATE MODEL {} FROM 'models/{}.onnx' USING …", name.text, name.text))
        };
        if !self.parser.parse_keyword(Keyword::FROM) {
            return Err(missing(self));
        }
        let span = self.here();
        match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) if !text.is_empty() => {
                let path = Name { text: text.clone(), span };
                self.parser.next_token();
                Ok(path)
            }
            _ => Err(missing(self)),
        }
    }

    /// `USING service`.
    fn used_service(&mut self, name: &Name) -> Result<Name, Diagnostic> {
        if !self.word("USING") {
            let diagnostic = self.statement.origin.at(self.here()).error(format!("model `{}` names no feature service", name.text));
            return Err(diagnostic.note("its inputs are features of one service").help("write USING delay_v1 (input => (*)) after its file"));
        }
        self.name()
    }

    /// A list in parentheses, with something in it.
    fn listed<T>(&mut self, name: &Name, empty: &str, example: &str, item: fn(&mut Self) -> Result<T, Diagnostic>) -> Result<Vec<T>, Diagnostic> {
        let first = self.index();
        let mut items = Vec::new();
        if self.parser.consume_token(&Token::LParen) {
            while self.parser.peek_token_ref().token != Token::RParen {
                items.push(item(self)?);
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
            self.token(&Token::RParen)?;
        }
        if items.is_empty() {
            let span = self.statement.range_span(&(first..self.index().max(first + 1)));
            let diagnostic = self.statement.origin.at(span).error(format!("`{}` {empty}", name.text));
            return Err(diagnostic.help(format!("write ({example})")));
        }
        Ok(items)
    }

    fn input(&mut self) -> Result<WrittenInput, Diagnostic> {
        let name = self.name()?;
        self.token(&Token::RArrow)?;
        let first = self.index();
        self.token(&Token::LParen)?;
        let is_all = self.parser.consume_token(&Token::Mul);
        let named = if is_all { Vec::new() } else { self.names()? };
        self.token(&Token::RParen)?;
        let features = if is_all { WrittenFeatures::All(self.statement.range_span(&(first..self.index()))) } else { WrittenFeatures::Named(named) };
        Ok(WrittenInput { name, features })
    }

    fn prediction(&mut self) -> Result<WrittenPrediction, Diagnostic> {
        let column = self.column()?;
        let output = if self.parser.parse_keyword(Keyword::FROM) { Some(self.name()?) } else { None };
        let pick = if output.is_some() && self.parser.peek_token_ref().token == Token::LBracket { Some(self.pick()?) } else { None };
        Ok(WrittenPrediction { name: column.name, data_type: column.data_type, type_span: column.type_span, output, pick })
    }

    /// `['label']`, `[0]`.
    fn pick(&mut self) -> Result<(Pick, Span), Diagnostic> {
        let first = self.index();
        self.token(&Token::LBracket)?;
        let pick = match self.parser.next_token().token {
            Token::SingleQuotedString(label) => Some(Pick::Label(label)),
            Token::Number(digits, _) => digits.parse().ok().map(Pick::Index),
            _ => None,
        };
        let Some(pick) = pick else {
            let span = self.statement.token_span(self.index().max(1) - 1);
            let diagnostic = self.statement.origin.at(span).error("this does not say which value of a row is meant");
            return Err(diagnostic.help("write a label in quotes, ['1'], or a position from 0, [0]"));
        };
        self.token(&Token::RBracket)?;
        Ok((pick, self.statement.range_span(&(first..self.index()))))
    }

    fn step(&mut self) -> Result<WrittenStep, Diagnostic> {
        let name = self.name()?;
        self.token(&Token::RArrow)?;
        Ok(WrittenStep { name: Some(name), model: self.name()? })
    }
}
