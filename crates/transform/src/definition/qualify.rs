//! Columns written in one form: `"alias"."column"`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, VisitMut, VisitorMut};

use super::expr::as_column;
use super::scope::Scope;
use super::text::Origin;

/// A column of a relation.
pub(super) fn column(alias: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', alias), Ident::with_quote('"', name)])
}

/// An expression with every column of `scope` in that form; places stay.
pub(super) fn qualified(expr: &Expr, scope: &Scope, origin: &Origin) -> Expr {
    let mut expr = expr.clone();
    let _ = expr.visit(&mut Qualify { scope, origin });
    expr
}

struct Qualify<'a> {
    scope: &'a Scope,
    origin: &'a Origin,
}

impl VisitorMut for Qualify<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Nested(_)) {
            return ControlFlow::Continue(());
        }
        let replaced = as_column(expr).and_then(|(qualifier, name)| {
            let resolved = self.scope.resolve(qualifier, name, self.origin).ok()?;
            let relation = self.scope.relations.get(resolved.relation)?;
            let column = relation.columns.get(resolved.column)?;
            let ident = |value: &str, span| Ident::with_quote_and_span('"', span, value);
            Some(Expr::CompoundIdentifier(vec![ident(&relation.alias, qualifier.unwrap_or(name).span), ident(&column.name, name.span)]))
        });
        if let Some(replaced) = replaced {
            *expr = replaced;
        }
        ControlFlow::Continue(())
    }
}
