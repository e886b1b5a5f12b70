//! The columns that expressions of one statement can name.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::Ident;

use super::Diagnostic;
use super::names::{did_you_mean, list, normalise, quoted};
use super::text::Origin;

/// Relations by their alias.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
}

/// Columns under one alias.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) alias: String,
    /// What its columns are, in the plural: `columns`, `features`.
    pub(super) plural: &'static str,
    pub(super) columns: Vec<ScopeColumn>,
    /// Names that exist and are not to be used, each with the way to say it.
    pub(super) hidden: Vec<(String, String)>,
}

/// A name and, where it is declared, a type.
#[derive(Debug, Clone)]
pub(super) struct ScopeColumn {
    pub(super) name: String,
    pub(super) data_type: Option<DataType>,
}

/// A relation and one of its columns, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) relation: usize,
    pub(super) column: usize,
}

impl Relation {
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }
}

impl Scope {
    pub(super) fn of(relation: Relation) -> Scope {
        Scope { relations: vec![relation] }
    }

    /// The column a name means, or what is wrong with the name. `origin` is anywhere in the statement.
    pub(super) fn resolve(&self, qualifier: Option<&Ident>, column: &Ident, origin: &Origin) -> Result<Resolved, Box<Diagnostic>> {
        match qualifier {
            Some(qualifier) => self.qualified(qualifier, column, origin),
            None => self.unqualified(column, origin),
        }
        .map_err(Box::new)
    }

    fn qualified(&self, qualifier: &Ident, column: &Ident, origin: &Origin) -> Result<Resolved, Diagnostic> {
        let (alias, name) = (normalise(qualifier), normalise(column));
        let Some(index) = self.relations.iter().position(|relation| relation.alias == alias) else {
            let aliases: Vec<_> = self.relations.iter().map(|relation| relation.alias.as_str()).collect();
            return Err(did_you_mean(origin.of_ident(qualifier).error(format!("unknown alias `{alias}`")), &alias, "aliases", &aliases));
        };
        let relation = &self.relations[index];
        if let Some(position) = relation.position(&name) {
            return Ok(Resolved { relation: index, column: position });
        }
        let diagnostic = origin.of_ident(column).error(format!("`{alias}` has no `{name}`"));
        if let Some((_, instead)) = relation.hidden.iter().find(|(hidden, _)| *hidden == name) {
            return Err(diagnostic.help(instead.clone()));
        }
        Err(did_you_mean(diagnostic, &name, relation.plural, &relation.names()))
    }

    fn unqualified(&self, column: &Ident, origin: &Origin) -> Result<Resolved, Diagnostic> {
        let name = normalise(column);
        let found: Vec<Resolved> = (self.relations.iter().enumerate())
            .filter_map(|(index, relation)| relation.position(&name).map(|column| Resolved { relation: index, column }))
            .collect();
        match found.as_slice() {
            [resolved] => Ok(*resolved),
            [] => Err(self.unknown(column, &name, origin)),
            several => {
                let choices: Vec<_> =
                    several.iter().map(|one| format!("{}.{}", quoted(&self.relations[one.relation].alias), quoted(&name))).collect();
                let diagnostic = origin.of_ident(column).error(format!("`{name}` could be any of several"));
                Err(diagnostic.note(format!("there are {}", choices.join(", "))).help(format!("write which one: {}", choices[0])))
            }
        }
    }

    fn unknown(&self, column: &Ident, name: &str, origin: &Origin) -> Diagnostic {
        let diagnostic = origin.of_ident(column).error(format!("unknown column `{name}`"));
        let hidden = self.relations.iter().flat_map(|relation| &relation.hidden).find(|(hidden, _)| hidden == name);
        if let Some((_, instead)) = hidden {
            return diagnostic.help(instead.clone());
        }
        let names: Vec<&str> = self.relations.iter().flat_map(Relation::names).collect();
        match self.relations.as_slice() {
            [relation] => did_you_mean(diagnostic, name, relation.plural, &names),
            relations => {
                let diagnostic = relations.iter().fold(diagnostic, |diagnostic, relation| {
                    diagnostic.note(format!("{} of `{}`: {}", relation.plural, relation.alias, list(relation.names())))
                });
                diagnostic.help_opt(super::names::suggestion(name, names).map(|name| format!("did you mean `{}`?", quoted(name))))
            }
        }
    }
}
