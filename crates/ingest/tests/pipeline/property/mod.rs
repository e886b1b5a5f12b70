//! Random definitions over random rows: whichever way the rows come in, the answers are those of one plain run, of a replay and of the oracle, in
//! every bit.
//!
//! A failure prints the seed, the course and the fewest rows that still fail. `PIPELINE_SEED=n` runs that one case.

mod applied;
mod case;
mod course;
mod files;
mod outcome;
mod requests;
mod rows;
mod since;
mod training;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use lockstep_testkit::effort;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};

use case::Case;
use course::{Course, Project};
use outcome::{Seen, compare};

const CASES: u64 = 36;
/// Courses a case, besides the plain one.
const COURSES: usize = 2;
/// How often a failing case is tried with fewer rows.
const TRIES: usize = 150;

/// The one case that is wanted.
fn wanted() -> Option<u64> {
    std::env::var("PIPELINE_SEED").ok().and_then(|seed| seed.parse().ok())
}

#[test]
fn every_course_comes_to_the_same() {
    let seeds = match wanted() {
        Some(seed) => seed..seed + 1,
        None => 0..CASES * effort() as u64,
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let case = Case::new(seed);
        let mut rng = Rng::with_seed(seed);
        let courses: Vec<Course> = (0..COURSES).map(|_| Course::any(&case, &mut rng)).collect();
        for course in &courses {
            if let Err(difference) = check(&case, course, &mut seen) {
                panic!("{}", smallest(case, course, difference));
            }
        }
    }
    println!("{seen:?}");
    if wanted().is_none() {
        seen.assert_telling();
    }
}

#[test]
fn what_is_pushed_comes_to_the_same_as_a_log_of_it() {
    let seeds = match wanted() {
        Some(seed) => seed..seed + 1,
        None => 0..CASES / 2 * effort() as u64,
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let case = Case::new(seed);
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let case = case.pushed(&Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0])));
        let course = Course::pushing(&case, &mut Rng::with_seed(seed));
        if let Err(difference) = check(&case, &course, &mut seen) {
            panic!("{}", smallest(case, &course, difference));
        }
    }
    println!("{seen:?}");
}

/// Runs a case by a course and plainly, and says in what they differ.
fn check(case: &Case, course: &Course, seen: &mut Seen) -> Result<(), String> {
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).map_err(|errors| errors[0].to_string())?;
        let catalog = Catalog::compile(definitions).map_err(|errors| errors[0].to_string())?;
        let plain = Project::run(case, &catalog, &Course::plain()).map_err(|error| format!("the plain course: {error}"))?;
        let project = Project::run(case, &catalog, course).map_err(|error| error.to_string())?;
        compare(case, (&plain, &Course::plain()), (&project, course), seen)
    }));
    checked.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(format!("panic: {}", said.unwrap_or_default()))
    })
}

/// Takes rows away for as long as it still fails, and tells what is left.
fn smallest(mut case: Case, course: &Course, mut difference: String) -> String {
    let mut tries = 0;
    let mut size = case.rows.len() / 2;
    while size > 0 && tries < TRIES {
        let mut at = 0;
        let mut shrunk = false;
        while at < case.rows.len() && tries < TRIES {
            tries += 1;
            let rows = case.rows.clone();
            case.rows.drain(at..(at + size).min(rows.len()));
            match check(&case, course, &mut Seen::default()) {
                Err(smaller) => (difference, shrunk) = (smaller, true),
                Ok(()) => {
                    case.rows = rows;
                    at += size;
                }
            }
        }
        if !shrunk || size > 1 {
            size /= 2;
        }
    }
    let mut files: BTreeMap<_, String> = BTreeMap::new();
    for (place, row) in &case.rows {
        *files.entry(format!("{place:?}")).or_default() += &String::from_utf8_lossy(&row.ndjson());
    }
    let files: Vec<String> = files.into_iter().map(|(place, rows)| format!("{place}:\n{rows}")).collect();
    format!("seed {}: {difference}\n{course:?}\n{}\n{}", case.seed, case.sql(), files.join(""))
}
