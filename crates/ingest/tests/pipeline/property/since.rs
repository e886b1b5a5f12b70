//! What came since an earlier moment, computed on from what the store had then: what the store answers at every later moment, in every bit.

use fastrand::Rng;
use lockstep_ingest::offline::{Files, Replay, Since};
use lockstep_ingest::source::Stores;
use lockstep_model::{KeyIndex, StateRead, TimeMode};
use lockstep_store::{CutRead, Snapshot};
use lockstep_testkit::effort;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::tiles::Shape;

use super::case::Case;
use super::course::{Course, Project};
use super::outcome::{answers, same};
use super::{CASES, wanted};

/// Entities at moments that are looked at.
const PROBES: usize = 200;
/// Moments that are computed from, of each case.
const BASES: usize = 3;
const SHAPE: Shape = Shape { leaf_rows_max: 5, buffer_rows_max: 2 };

#[test]
fn what_is_computed_on_from_any_moment_is_what_the_store_answers_later() {
    let seeds = match wanted() {
        Some(seed) => seed..seed + 1,
        None => 0..CASES / 2 * effort() as u64,
    };
    let (mut steps, mut rows) = (0, 0);
    for seed in seeds {
        let case = Case::new(seed);
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let catalog = Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut rng = Rng::with_seed(seed);
        let is_pushed = seed % 3 == 2;
        let case = if is_pushed { case.pushed(&catalog) } else { case };
        let course = if is_pushed { Course::pushing(&case, &mut rng) } else { Course::any(&case, &mut rng) };
        let course = course.holding();
        let project = Project::run(&case, &catalog, &course).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let told = |difference: String| format!("seed {seed}: {difference}\n{course:?}\n{}", case.sql());
        let held: Vec<Snapshot> =
            project.held.iter().map(|name| project.snapshot(name)).filter(|snapshot| is_published(snapshot, &project)).collect();
        for _ in 0..BASES {
            let base = rng.usize(..held.len());
            // Trees are built anew, or taken as they are.
            let events_max = if rng.bool() { u64::MAX } else { rng.u64(..40) };
            match since(&case, &project, &held[base..], events_max) {
                Ok((more, read)) => (steps, rows) = (steps + more, rows + read),
                Err(difference) => panic!("{}", told(format!("from moment {base} with {events_max}: {difference}"))),
            }
        }
    }
    println!("{steps} moments computed from earlier ones, over {rows} rows");
    if wanted().is_none() {
        assert!(steps > 100 && rows > 1000, "{steps} moments, {rows} rows");
    }
}

fn is_published(snapshot: &Snapshot, project: &Project<'_>) -> bool {
    snapshot.cut().generation(project.target.generation.generation).is_ok_and(|info| info.published())
}

/// Goes on from the first of some moments to each of the others; how many they are, and how many rows lie between.
fn since(case: &Case, project: &Project<'_>, held: &[Snapshot], events_max: u64) -> Result<(usize, u64), String> {
    let told = |error: lockstep_model::Error| error.to_string();
    let generation = project.target.generation.generation;
    let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(project.push_dir()) };
    let (base, last) = (held[0].cut(), held[held.len() - 1].cut());
    let begun = Since { cut: &base, events_max };
    let mut replay = Replay::since(project.catalog, &project.target, &last, &files, (SHAPE, begun)).map_err(told)?;
    let probes = case.probes(PROBES);
    let rows = |cut: &dyn CutRead| cut.positions(generation).unwrap().iter().map(|(_, position)| position.rows()).sum::<u64>();
    for snapshot in held {
        let cut = snapshot.cut();
        replay.advance(&cut.positions(generation).map_err(told)?).map_err(told)?;
        let from = cut.horizon(generation).map_err(told)?.readable_from.0;
        for mode in [TimeMode::Event, TimeMode::Known] {
            let stored = answers(project, &State(&cut, generation), &probes, from, mode).map_err(told)?;
            let again = answers(project, replay.state(), &probes, from, mode).map_err(told)?;
            same(&format!("in {mode:?} time"), project, &probes, from, &stored, (&again.columns, &again.statuses))?;
            if stored.newest != again.newest {
                return Err(format!("the newest events in {mode:?} time differ"));
            }
        }
        keys(project, &cut, replay.keys())?;
    }
    Ok((held.len(), rows(&last) - rows(&base)))
}

/// Every key that the store remembers is remembered as the store does.
fn keys(project: &Project<'_>, cut: &dyn CutRead, again: &dyn KeyIndex) -> Result<(), String> {
    let mut differs = None;
    let mut look = |source: u16, key: &[u8], entry: &[u8]| {
        again.get_many(source, &[key], &mut |_, found| {
            if found != Some(entry) {
                differs = Some(format!("{entry:?} is remembered of {key:?}, and {found:?} again"));
            }
        })
    };
    cut.each_key(project.target.generation.generation, &mut look).map_err(|error| error.to_string())?;
    differs.map_or(Ok(()), Err)
}

/// The state of a generation at a cut.
struct State<'a>(&'a dyn CutRead, lockstep_model::Generation);

impl StateRead for State<'_> {
    fn get_many(&self, keys: &[lockstep_model::StateKey], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<(), lockstep_model::Error> {
        self.0.get_state(self.1, keys, found)
    }
}
