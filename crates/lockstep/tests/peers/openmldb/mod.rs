//! OpenMLDB's cases: tables, a statement, and the rows that come of it.

mod case;
mod compare;
mod frame;
mod query;
mod translate;

use std::path::Path;

use case::{Case, Expected};
use serde_json::Value;
use translate::{Plan, translate};

use crate::engine::{self, Engine};
use crate::tally::{Outcome, Tally};
use crate::trained::Trained;

/// Runs all cases of a file, those that can be expressed in one project.
pub fn run(path: &Path, tally: &mut Tally) -> Trained {
    let file = path.file_name().unwrap().to_str().unwrap();
    let cases = case::read(&std::fs::read_to_string(path).unwrap());
    let mut files = vec![("lockstep.toml".to_owned(), String::new())];
    let mut plans: Vec<(&Case, Plan)> = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        match plan(case, &format!("c{number}")) {
            Err(outcome) => tally.add(file, &case.id, outcome),
            Ok(mut plan) => {
                files.append(&mut plan.files);
                files.push((format!("feature_defs/c{number}.sql"), plan.sql.clone()));
                plans.push((case, plan));
            }
        }
    }
    if plans.is_empty() {
        return Trained::default();
    }
    let engine = engine::serve(&files);
    for (case, plan) in &plans {
        let Expected::Rows { types, rows } = &case.expected else { continue };
        let found = rows_of(plan, case.tables[0].rows.len(), &engine);
        let outcome = compare::rows(types, rows, &found, plan.limit);
        if let Outcome::Differs(difference) = &outcome
            && std::env::var_os("LOCKSTEP_PEERS_EXPLAIN").is_some()
        {
            println!("{file}#{}: {difference}\n{}\n{}", case.id, case.sql, plan.sql);
        }
        tally.add(file, &case.id, outcome);
    }
    engine.trained
}

/// A case as something to ask, or what is known of it without.
fn plan(case: &Case, prefix: &str) -> Result<Plan, Outcome> {
    let plan = translate(case, prefix).map_err(|reason| Outcome::Inexpressible(reason.0))?;
    let refusal = engine::refusal(&plan.sql);
    match (&case.expected, refusal) {
        (Expected::Refusal, Some(_)) => Err(Outcome::Agrees),
        (Expected::Refusal, None) => Err(Outcome::Differs("it is accepted".into())),
        (Expected::Acceptance, None) => Err(Outcome::Agrees),
        (_, Some(refusal)) => {
            if std::env::var_os("LOCKSTEP_PEERS_EXPLAIN").is_some() {
                println!("#{}: {refusal}\n{}\n{}", case.id, case.sql, plan.sql);
            }
            Err(Outcome::Inexpressible(refusal))
        }
        (Expected::Rows { .. }, None) => Ok(plan),
    }
}

/// Every row that is asked about, with its items in the statement's order.
fn rows_of(plan: &Plan, count: usize, engine: &Engine) -> Vec<Vec<Value>> {
    let width = plan.items.iter().map(Vec::len).sum();
    let mut rows = vec![vec![Value::Null; width]; count];
    for (asking, items) in plan.askings.iter().zip(&plan.items) {
        for (values, item) in engine.ask(asking).into_iter().zip(items) {
            rows.iter_mut().zip(values).for_each(|(row, value)| row[*item] = value);
        }
    }
    rows
}
