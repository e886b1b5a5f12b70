//! That no verb is forgotten where answers are compared.

use crate::same::CASES;
use crate::scored::{SAID, SAID_HERE};
use crate::support::Project;

/// Verbs that are compared in another place, or have nobody to answer them but whoever is asked.
const OTHERS: &[(&str, &str)] = &[
    ("alerts", "writes rules of definitions, and asks no store"),
    ("diff", "compares files"),
    ("doctor", "looks at the machine as well: tests/watch/doctor.rs has it alone, beside a server and through one"),
    ("ingest", "owns the store"),
    ("init", "writes a project"),
    ("replay-dlq", "owns the store"),
    ("reports", "reads the files of the log"),
    ("schema", "knows what this binary answers"),
    ("serve", "owns the store"),
    ("snapshot create", "snapshots.rs"),
    ("snapshot diff", "snapshots.rs"),
    ("snapshot export", "snapshots.rs"),
    ("sql", "reads files"),
    ("test", "has a store of its own"),
];

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    listed
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Every verb, with that of what it is said with.
fn verbs(project: &Project) -> Vec<String> {
    let below = |verb: String| {
        let under = commands(&project.run(&[&verb, "--help"]).fine());
        if under.is_empty() { vec![verb] } else { under.into_iter().map(|name| format!("{verb} {name}")).collect() }
    };
    commands(&project.run(&["--help"]).fine()).into_iter().flat_map(below).collect()
}

#[test]
fn every_verb_is_compared_three_ways_or_says_why_not() {
    let verbs = verbs(&Project::unapplied());
    assert!(verbs.len() > 30, "{verbs:?}");
    let is_of = |verb: &str, args: &[&str]| args.join(" ").strip_prefix(verb).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    let is_compared = |verb: &str| [CASES, SAID, SAID_HERE].into_iter().flatten().any(|args| is_of(verb, args));
    for verb in &verbs {
        let elsewhere = OTHERS.iter().any(|(other, _)| other == verb);
        assert!(is_compared(verb) != elsewhere, "`{verb}` is to have a case here or in scored.rs, or a reason among the others, and not both");
    }
    for (other, _) in OTHERS {
        assert!(verbs.iter().any(|verb| verb == other), "there is no `{other}` any more");
    }
}
