//! Training sets of all that a store has applied, from history, logs and pushes in any course: what the store answers, in every bit.

use std::collections::BTreeMap;

use fastrand::Rng;
use lockstep_ingest::offline::Files;
use lockstep_ingest::offline::applied::Applied;
use lockstep_ingest::offline::training::Histories;
use lockstep_ingest::pipeline::BackfillOptions;
use lockstep_ingest::source::Stores;
use lockstep_model::TimeMode;
use lockstep_store::{Counters, OnlineStore};
use lockstep_testkit::effort;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::tiles::Request;

use super::case::Case;
use super::course::{Course, Project};
use super::outcome::{answers, same};
use super::{CASES, wanted};

/// Entities at moments, most of which see something.
const PROBES: usize = 400;

#[test]
fn training_sets_of_all_that_was_applied_have_what_the_store_answers() {
    let seeds = match wanted() {
        Some(seed) => seed..seed + 1,
        None => 0..CASES * effort() as u64,
    };
    let (mut values, mut counted) = (0, Counters::default());
    for seed in seeds {
        let case = Case::new(seed);
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let catalog = Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let is_pushed = seed % 3 == 2;
        let case = if is_pushed { case.pushed(&catalog) } else { case };
        let mut rng = Rng::with_seed(seed);
        let course = if is_pushed { Course::pushing(&case, &mut rng) } else { Course::any(&case, &mut rng) };
        let project = Project::run(&case, &catalog, &course).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let cut = OnlineStore::cut(project.store());
        let generation = project.target.generation.generation;
        let applied = Applied::of(&*cut, [cut.generation(generation).unwrap()]).unwrap();
        // As it is sent by who owns the store.
        let applied: Applied = serde_json::from_str(&serde_json::to_string(&applied).unwrap()).unwrap();
        let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(project.push_dir()) };
        let memory_bytes = [usize::MAX, 30_000, 8_000][seed as usize % 3];
        let options = BackfillOptions { memory_bytes, ..project.backfill_options() };
        let dir = tempfile::tempdir().unwrap();
        let views = std::slice::from_ref(&project.target.view);
        let histories = Histories::read_applied(&catalog, views, (&applied, &files), &options, Some(dir.path()), &mut |_| {});
        let histories = histories.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{course:?}")).unwrap();
        let from = cut.horizon(generation).unwrap().readable_from.0;
        let probes = case.probes(PROBES);
        let view = &project.target.view;
        let keys = view.entity_keys(&probes.keys).unwrap();
        let requests: Vec<Request<'_>> = probes.at.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at: at.max(from) }).collect();
        for mode in [TimeMode::Event, TimeMode::Known] {
            let expected = answers(&project, &cut.state(generation), &probes, from, mode).unwrap();
            let (swept, _) = histories.features(&view.view, &requests, mode, &*options.clock).unwrap();
            let what = format!("the training set in {mode:?} time");
            if let Err(difference) = same(&what, &project, &probes, from, &expected, (&swept.columns, &swept.statuses)) {
                panic!("seed {seed}: {difference}\n{course:?}\n{}", case.sql());
            }
            assert_eq!(expected.newest, swept.newest, "seed {seed}: the newest events in {mode:?} time\n{}", case.sql());
            values += requests.len() * view.features.fields().len();
        }
        let tally: BTreeMap<String, Counters> = histories.tally.iter().map(|((_, source), counters)| (source.clone(), *counters)).collect();
        if course.keeps_order() || is_pushed {
            // A log without rows has counted none.
            let mut expected = cut.counters(generation).unwrap();
            expected.retain(|source, counters| tally.contains_key(source) || *counters != Counters::default());
            assert_eq!(expected, tally, "seed {seed}: what became of the rows\n{course:?}");
        }
        tally.values().for_each(|&more| counted += more);
    }
    println!("{values} values compared, {counted:?}");
    if wanted().is_none() {
        let Counters { duplicates, conflicts, refused, dead_lettered, superseded, .. } = counted;
        assert!([duplicates, conflicts, refused, dead_lettered, superseded].iter().all(|count| *count > 0), "{counted:?}");
    }
}
