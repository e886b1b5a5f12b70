//! Tables that are joined, each by a view of its newest row.

use super::expression::{column_of, mirrored};
use super::source::{Rows, event_time_name};
use super::*;

/// A view of a joined table, of which the newest row is taken.
pub(super) struct Joined<'a> {
    pub(super) right: Side<'a>,
    pub(super) view: usize,
    pub(super) descending: bool,
    /// Columns of what is joined to it within a subquery.
    pub(super) others: Vec<(String, Vec<Token>)>,
}

/// What a condition of a join comes to.
enum Condition {
    /// A column of the key, its type, and what it is equal to.
    Key(String, &'static str, Vec<Token>),
    /// A choice of the joined table's rows.
    Filter(String),
    /// Rows up to the moment of the row that is asked about.
    UpTo(Reading),
}

impl<'a> Work<'a> {
    /// A view of a table that is joined. A subquery that joins is joined by its first table, and what that is joined to is joined then: it
    /// depends on that table's row alone.
    pub(super) fn join(&mut self, join: &Join) -> Result<(), Reason> {
        let (right, others) = self.right(&join.right)?;
        let (mut keys, mut filters, mut reading) = (Vec::new(), Vec::new(), Reading::at_the_end());
        for term in &join.on {
            match self.condition(term, join, &right, &others)? {
                Condition::Key(column, of, equal) => keys.push((column, of, equal)),
                Condition::Filter(filter) => filters.push(filter),
                Condition::UpTo(moment) => reading = moment,
            }
        }
        if keys.is_empty() {
            return reason("a join without an equality");
        }
        let time = match &join.order {
            Some((order, _)) => Some(right.plain(order)?),
            // The order of the index that the peer finds rows by.
            None => {
                right.table.indexes.iter().find(|(columns, _)| keys.iter().any(|(key, ..)| columns.contains(key))).and_then(|index| index.1.clone())
            }
        };
        let descending = join.order.as_ref().is_some_and(|order| order.1);
        let partition = keys.iter().map(|(key, ..)| Ok(quoted(&right.plain(key)?))).collect::<Result<Vec<_>, Reason>>()?.join(", ");
        let frame = if descending { "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW" } else { "ROWS BETWEEN CURRENT ROW AND CURRENT ROW" };
        let over = format!("PARTITION BY {partition} ORDER BY {} {frame}", event_time_name(right.table, time.as_deref()));
        let source = self.source(Rows { table: right.number, time, asked: false, late: false, none: false })?;
        let branches = vec![Branch { source, side: right.clone() }];
        let view = self.view(keys, branches, ("w".to_owned(), over), reading);
        self.views[view].filter = filters.join(" AND ");
        self.joins.push(Joined { right, view, descending, others });
        join.right.joins.iter().try_for_each(|inner| self.join(inner))
    }

    /// The table that is joined, and the columns that come of what is joined to it.
    fn right(&self, relation: &Relation) -> Result<(Side<'a>, Vec<(String, Vec<Token>)>), Reason> {
        let right = side(self.case, relation)?;
        if relation.joins.is_empty() {
            return if relation.more.is_empty() { Ok((right, Vec::new())) } else { reason("a subquery of all columns and others") };
        }
        let known = |column: &str| right.table.columns.iter().any(|known| known.0 == column);
        let is_own = |of: &[Token]| column_of(of, |table, column| table.map_or_else(|| known(column), |table| right.called(table))).is_some();
        let columns = relation.columns.iter().flatten().chain(&relation.more).cloned();
        let (own, others): (Vec<_>, Vec<_>) = columns.partition(|(_, of)| is_own(of));
        let plain = |(name, of): (String, Vec<Token>)| (name, of.last().cloned().into_iter().collect());
        let columns = relation.columns.as_ref().map(|_| own.into_iter().map(plain).collect());
        Ok((Side { columns, ..right }, others))
    }

    fn condition(&self, term: &[Token], join: &Join, right: &Side<'a>, others: &[(String, Vec<Token>)]) -> Result<Condition, Reason> {
        let at = term.iter().position(|token| ["=", "==", "<", ">", "<=", ">=", "!=", "<>"].iter().any(|sign| token.is(sign)));
        let Some(at) = at else { return reason("a join by a condition that is no comparison") };
        let (mut one, mut sign, mut other) = (&term[..at], term[at].clone(), &term[at + 1..]);
        let of_right = |side: &[Token]| {
            column_of(side, |table, column| table.map_or_else(|| right.has(column) && !self.main.has(column), |table| right.called(table)))
        };
        if of_right(one).is_none() {
            (one, other) = (other, one);
            sign = mirrored(&sign);
        }
        let Some(column) = of_right(one) else { return reason("a join by a condition without the joined table") };
        if others.iter().any(|other| other.0 == column) {
            return reason("a join by a column of a join within it");
        }
        if matches!(other, [Token::Text(_) | Token::Number(_)]) {
            return Ok(Condition::Filter(self.expression(term, &Place::Row(right))?));
        }
        if sign.is("=") || sign.is("==") {
            let of = right.of_type(&column)?;
            return Ok(Condition::Key(column, of, other.to_vec()));
        }
        if !(sign.is("<=") || sign.is("<")) || join.order.as_ref().is_none_or(|(order, _)| *order != column) {
            return reason("a join by an inequality that is not the order of time");
        }
        let main = column_of(other, |table, _| table.is_none_or(|table| self.main.called(table)));
        let Some(main) = main else { return reason("a join by the time of another table than the first") };
        // All of the moment, or none of it.
        let later = if sign.is("<=") { 999 } else { -1 };
        Ok(Condition::UpTo(Reading { time: Some(self.main.plain(&main)?), own: false, later, next: false }))
    }
}
