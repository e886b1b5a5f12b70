//! What became of each case, against a table of those that do not agree, each with its reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Agrees,
    /// What came out instead.
    Differs(String),
    /// What there is no way to say.
    Inexpressible(String),
}

/// The committed table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    #[serde(default)]
    differs: Vec<Group>,
    #[serde(default)]
    inexpressible: Vec<Group>,
}

/// Cases, as `file#id`, that have one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    reason: String,
    cases: Vec<String>,
}

/// The outcomes of all cases.
#[derive(Debug, Default)]
pub struct Tally {
    outcomes: BTreeMap<String, Outcome>,
}

impl Tally {
    pub fn add(&mut self, file: &str, id: &str, outcome: Outcome) {
        let case = format!("{file}#{id}");
        assert!(self.outcomes.insert(case.clone(), outcome).is_none(), "{case} twice");
    }

    /// How many agree, differ and cannot be expressed.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for outcome in self.outcomes.values() {
            let which = match outcome {
                Outcome::Agrees => 0,
                Outcome::Differs(_) => 1,
                Outcome::Inexpressible(_) => 2,
            };
            counts[which] += 1;
        }
        counts
    }

    /// Holds the outcomes to the table: what does not agree is listed there with its reason, and what is listed does not agree.
    pub fn hold_to(&self, table: &str) {
        let listed: Listed = toml::from_str(table).unwrap();
        let mut wrong = String::new();
        let mut known: BTreeMap<&str, bool> = BTreeMap::new();
        for (group, differs) in listed.differs.iter().map(|group| (group, true)).chain(listed.inexpressible.iter().map(|group| (group, false))) {
            assert!(!group.reason.is_empty(), "{:?} without a reason", group.cases);
            for case in &group.cases {
                assert!(known.insert(case, differs).is_none(), "{case} is listed twice");
            }
        }
        for (case, outcome) in &self.outcomes {
            let listed = known.remove(case.as_str());
            let fits = match outcome {
                Outcome::Agrees => listed.is_none(),
                Outcome::Differs(_) => listed == Some(true),
                Outcome::Inexpressible(_) => listed == Some(false),
            };
            if !fits {
                writeln!(wrong, "{case} {}: {outcome:?}", if listed.is_some() { "is listed otherwise" } else { "is not listed" }).unwrap();
            }
        }
        for case in known.keys() {
            writeln!(wrong, "{case} is listed, and there is no such case").unwrap();
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}
