//! Training sets of random definitions over random rows: what a sweep over the history gives is what a store of it answers, in every bit.

use fastrand::Rng;
use lockstep_ingest::offline::training::Histories;
use lockstep_ingest::pipeline::BackfillOptions;
use lockstep_model::{Status, TimeMode};
use lockstep_store::OnlineStore;
use lockstep_testkit::effort;
use lockstep_transform::catalog::{Availability, Catalog, SourcePlan};
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::tiles::Request;

use super::case::Case;
use super::course::{Course, Project};
use super::outcome::{answers, same};
use super::rows::Row;
use super::{CASES, wanted};

/// Entities at moments, most of which see something.
const PROBES: usize = 600;

#[test]
fn training_sets_have_what_a_store_of_the_history_answers() {
    let seeds = match wanted() {
        Some(seed) => seed..seed + 1,
        None => 0..CASES * effort() as u64,
    };
    let mut values = 0;
    for seed in seeds {
        let case = Case::new(seed).in_history();
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let catalog = Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut course = Course::any(&case, &mut Rng::with_seed(seed));
        course.moves_rows = false;
        let project = Project::run(&case, &catalog, &course).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let view = &project.target.view;
        // Some in memory, and some on the disk, in as many passes as it takes.
        let memory_bytes = [usize::MAX, 30_000, 8_000][seed as usize % 3];
        let options = BackfillOptions { memory_bytes, ..project.backfill_options() };
        let dir = tempfile::tempdir().unwrap();
        let histories = Histories::read(&catalog, std::slice::from_ref(view), &options, Some(dir.path()), &mut |_| {});
        let histories = histories.unwrap_or_else(|error| panic!("seed {seed}: {error}")).unwrap();
        let cut = OnlineStore::cut(project.store());
        let generation = project.target.generation.generation;
        let from = cut.horizon(generation).unwrap().readable_from.0;
        let probes = case.probes(PROBES);
        let keys = view.entity_keys(&probes.keys).unwrap();
        let requests: Vec<Request<'_>> = probes.at.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at: at.max(from) }).collect();
        for mode in [TimeMode::Event, TimeMode::Known] {
            let expected = answers(&project, &cut.state(generation), &probes, from, mode).unwrap();
            let (swept, units) = histories.features(&view.view, &requests, mode, &*options.clock).unwrap();
            assert_eq!(expected.newest, swept.newest, "seed {seed}: the newest events in {mode:?} time\n{}", case.sql());
            let what = format!("the training set in {mode:?} time");
            if let Err(difference) = same(&what, &project, &probes, from, &expected, (&swept.columns, &swept.statuses)) {
                panic!("seed {seed}: {difference}\n{}", case.sql());
            }
            assert!(!units.0.is_empty());
            values += requests.len() * view.features.fields().len();
        }
        let counters = cut.counters(generation).unwrap();
        let tally = histories.tally.iter().map(|((_, source), counters)| (source.clone(), *counters)).collect();
        assert_eq!(counters, tally, "seed {seed}: what became of the rows");
    }
    println!("{values} values compared");
}

/// When a row of a source is known.
fn known_from(row: &Row, source: &SourcePlan) -> Option<i64> {
    let available = match &source.availability {
        Availability::None => return row.time,
        Availability::AppendTime | Availability::Noted | Availability::Expression(_) => row.moment("seen")?,
    };
    Some(available + source.serving_lag)
}

/// What was really answered, by a store that was fed each row when it was known, is what a training set of the whole history has for that moment.
#[test]
fn training_sets_in_known_time_have_what_was_answered_then() {
    const WANTED: usize = 12;
    let first = wanted().unwrap_or(0);
    let (mut seen, mut values, mut present) = (0, 0, 0);
    for seed in first..first + 2000 {
        let mut case = Case::new(seed).in_history();
        if !case.logs_have_no_order() {
            continue;
        }
        case.rows.retain(|(_, row)| !row.is_tombstone() && !row.is_garbage());
        let definitions = Definitions::parse(&[SourceFile::new("v.sql", case.sql())]).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let catalog = Catalog::compile(definitions).unwrap_or_else(|errors| panic!("{}", errors[0]));
        // A history does not say when its log took a row.
        if catalog.sources_of(&catalog.views["v"]).iter().any(|source| matches!(source.availability, Availability::AppendTime)) {
            continue;
        }
        let source = |row: &Row| &catalog.sources[["a", "b"][row.source]];
        let mut rows: Vec<(i64, Row)> = case.rows.iter().filter_map(|(_, row)| Some((known_from(row, source(row))?, row.clone()))).collect();
        if rows.len() < 20 || !rows.iter().any(|(_, row)| source(row).has_availability()) {
            continue;
        }
        rows.sort_by_key(|(known, _)| *known);
        let whole = Project::run(&case, &catalog, &Course::plain()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let view = &whole.target.view;
        let histories = Histories::read(&catalog, std::slice::from_ref(view), &whole.backfill_options(), None, &mut |_| {}).unwrap().unwrap();
        let mut empty = Case::new(seed);
        empty.rows.clear();
        let live = Project::run(&empty, &catalog, &Course::plain()).unwrap();
        let generation = live.target.generation.generation;
        let probes = case.probes(40);
        let keys = view.entity_keys(&probes.keys).unwrap();
        let mut log = Vec::new();
        let mut fed = 0;
        let stride = rows.len().div_ceil(15);
        for end in (0..rows.len()).step_by(stride) {
            let at = rows[end].0;
            while let Some((_, row)) = rows.get(fed).filter(|(known, _)| *known <= at) {
                log.extend(row.ndjson());
                fed += 1;
            }
            std::fs::write(live.dir().join("live.ndjson"), &log).unwrap();
            live.follow_file("live.ndjson").unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let cut = OnlineStore::cut(live.store());
            if cut.horizon(generation).unwrap().readable_from.0 > at {
                continue;
            }
            let requests: Vec<Request<'_>> = (0..keys.len()).map(|row| Request { entity: keys.get(row), at }).collect();
            let (trained, _) = histories.features(&view.view, &requests, TimeMode::Known, &*live.backfill_options().clock).unwrap();
            for mode in [TimeMode::Known, TimeMode::Event] {
                // What it has is known: by either clock it answers the same.
                let answered = view.read_at(&cut.state(generation), &requests, mode, None).unwrap();
                let what = format!("what was answered at {} in {mode:?} time", lockstep_model::EventTime(at));
                if let Err(difference) = same(&what, &live, &probes, i64::MAX, &trained, (&answered.columns, &answered.statuses)) {
                    panic!("seed {seed}: {difference}\n{}\n{}", case.sql(), String::from_utf8_lossy(&log));
                }
                values += answered.columns.len() * requests.len();
                present += answered.statuses.iter().flatten().filter(|status| **status == Status::Present).count();
            }
        }
        seen += 1;
        if seen == WANTED || wanted().is_some() {
            break;
        }
    }
    println!("{seen} cases, {values} values, {present} present");
    assert!(wanted().is_some() || (seen == WANTED && present * 10 > values), "{seen} {values} {present}");
}
