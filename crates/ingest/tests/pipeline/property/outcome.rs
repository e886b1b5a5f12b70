//! What came of a course, compared in every bit.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use lockstep_ingest::offline::{Files, Replayed, replay};
use lockstep_ingest::source::{Format, Stores};
use lockstep_model::{Error, Generation, StateRead, Status, TimeMode};
use lockstep_store::{Counters, CutRead, DeadLetter, OnlineStore, Refusal};
use lockstep_transform::oracle::{self, Oracle, OracleFeatures};
use lockstep_transform::tiles::{Request, Shape};
use lockstep_transform::transformation::Features;

use super::case::{Case, Probes};
use super::course::{Course, Project};

const PROBES: usize = 400;

/// How much was seen of what the test is about.
#[derive(Debug, Default)]
pub struct Seen {
    statuses: BTreeMap<String, usize>,
    letters: BTreeMap<String, usize>,
    counters: Counters,
}

impl Seen {
    /// Fails where cases say too little.
    pub fn assert_telling(&self) {
        let values: usize = self.statuses.values().sum();
        let present = self.statuses.get("PRESENT").copied().unwrap_or(0);
        assert!(present * 4 > values, "too few values are there");
        let Counters { applied, duplicates, conflicts, refused, dead_lettered, null_keys, superseded, row_errors } = self.counters;
        for count in [applied, duplicates, conflicts, refused, dead_lettered, superseded] {
            assert!(count > 0, "{self:?}");
        }
        assert!(null_keys > 0 && row_errors > 0, "{self:?}");
        for reason in ["unreadable", "null_key", "null_event_time", "null_version", "no_availability", "ahead", "tombstone", "conflict"] {
            assert!(self.letters.contains_key(reason), "no {reason}: {self:?}");
        }
    }
}

/// Compares the answers of two courses with each other and with what a replay and the oracle say of each, and their ledgers.
pub fn compare(case: &Case, (plain, _): (&Project<'_>, &Course), (project, course): (&Project<'_>, &Course), seen: &mut Seen) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    let probes = case.probes(PROBES);
    let (one, other) = (OnlineStore::cut(plain.store()), OnlineStore::cut(project.store()));
    let horizons = [&one, &other].map(|cut| cut.horizon(generation(plain)).map_err(told));
    let [readable, more] = horizons.map(|horizon| horizon.map(|horizon| horizon.readable_from.0));
    let from = readable?.max(more?);
    for mode in [TimeMode::Event, TimeMode::Known] {
        let expected = answers(plain, &one.state(generation(plain)), &probes, from, mode).map_err(told)?;
        for status in expected.statuses.iter().flatten() {
            *seen.statuses.entry(status.to_string()).or_default() += 1;
        }
        let given = answers(project, &other.state(generation(project)), &probes, from, mode).map_err(told)?;
        if expected.newest != given.newest {
            return Err(format!("the newest events in {mode:?} time differ"));
        }
        same(&format!("the answers in {mode:?} time"), project, &probes, from, &expected, (&given.columns, &given.statuses))?;
        for (project, cut, what) in [(plain, &one, "the plain course"), (project, &other, "the course")] {
            let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: Some(project.push_dir()) };
            let replayed = replay(project.catalog, &project.target, &**cut, &files, Shape { leaf_rows_max: 5, buffer_rows_max: 2 }).map_err(told)?;
            let again = answers(project, &replayed.state, &probes, from, mode).map_err(told)?;
            same(&format!("the replay of {what} in {mode:?} time"), project, &probes, from, &expected, (&again.columns, &again.statuses))?;
            let oracle = asked(project, &replayed, &probes, from, mode).map_err(told)?;
            same(&format!("the oracle of {what} in {mode:?} time"), project, &probes, from, &expected, (&oracle.columns, &oracle.statuses))?;
            equal(&format!("the refusals of the replay of {what}"), &refusals(&**cut, project), &sorted(replayed.refusals))?;
        }
    }
    ledgers(case, (plain, project), course, seen)
}

fn generation(project: &Project<'_>) -> Generation {
    project.target.generation.generation
}

/// The features of every probe from the moment on from which the state can be read.
pub fn answers(project: &Project<'_>, state: &dyn StateRead, probes: &Probes, from: i64, mode: TimeMode) -> Result<Features, Error> {
    let view = &project.target.view;
    let keys = view.entity_keys(&probes.keys)?;
    let requests: Vec<Request<'_>> = probes.at.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at: at.max(from) }).collect();
    view.read_at(state, &requests, mode, None)
}

/// What stock DataFusion says of the view's own SQL over the rows that stand.
fn asked(project: &Project<'_>, replayed: &Replayed, probes: &Probes, from: i64, mode: TimeMode) -> Result<OracleFeatures, Error> {
    let oracle = Oracle::new(project.catalog, "v")?;
    let probes = oracle::Probes { keys: probes.keys.clone(), at: probes.at.iter().map(|&at| at.max(from)).collect() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { oracle.load(&replayed.winners).await?.answer(&probes, mode).await })
}

pub fn same(
    what: &str,
    project: &Project<'_>,
    probes: &Probes,
    from: i64,
    expected: &Features,
    (columns, statuses): (&[ArrayRef], &[Vec<Status>]),
) -> Result<(), String> {
    for (index, field) in project.target.view.features.fields().iter().enumerate() {
        let (one, other) = (&expected.columns[index], &columns[index]);
        if one.to_data() == other.to_data() && expected.statuses[index] == statuses[index] {
            continue;
        }
        for (row, (status, their_status)) in expected.statuses[index].iter().zip(&statuses[index]).enumerate() {
            let (value, theirs) = (one.slice(row, 1), other.slice(row, 1));
            if status != their_status || value.to_data() != theirs.to_data() {
                let key: Vec<String> = probes.keys.iter().map(|key| format!("{:?}", key.slice(row, 1))).collect();
                let (name, at) = (field.name(), lockstep_model::EventTime(probes.at[row].max(from)));
                return Err(format!("{what}: {name} at {at} of {}: {status} {value:?} is {their_status} {theirs:?}", key.join(", ")));
            }
        }
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, given: &T) -> Result<(), String> {
    if expected == given { Ok(()) } else { Err(format!("{what} differ:\n{expected:?}\nis\n{given:?}")) }
}

fn sorted(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    refusals.sort_by(|a, b| (&a.partition, a.row).cmp(&(&b.partition, b.row)));
    refusals
}

/// Refusals without the places of their rows.
fn wherever(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    for refusal in &mut refusals {
        (refusal.partition.partition, refusal.row) = (String::new(), 0);
    }
    refusals
        .sort_by(|a, b| (&a.partition, a.event_time, &a.primary_key, a.watermark).cmp(&(&b.partition, b.event_time, &b.primary_key, b.watermark)));
    refusals
}

fn refusals(cut: &dyn CutRead, project: &Project<'_>) -> Vec<Refusal> {
    sorted(cut.refusals(generation(project)).collect::<Result<_, _>>().unwrap())
}

fn dead_letters(cut: &dyn CutRead, project: &Project<'_>) -> Vec<DeadLetter> {
    cut.dead_letters(generation(project)).collect::<Result<_, _>>().unwrap()
}

fn ledgers(case: &Case, (plain, project): (&Project<'_>, &Project<'_>), course: &Course, seen: &mut Seen) -> Result<(), String> {
    let (one, other) = (OnlineStore::cut(plain.store()), OnlineStore::cut(project.store()));
    let told = |refusals: Vec<Refusal>| if course.pushes { wherever(refusals) } else { refusals };
    equal("the refusals", &told(refusals(&*one, plain)), &told(refusals(&*other, project)))?;
    let (letters, theirs) = (dead_letters(&*one, plain), dead_letters(&*other, project));
    let (counters, their_counters) = (one.counters(generation(plain)).unwrap(), other.counters(generation(project)).unwrap());
    for letter in &letters {
        *seen.letters.entry(letter.reason.clone()).or_default() += 1;
    }
    counters.values().for_each(|&more| seen.counters += more);
    let settled = |c: &Counters| c.applied + c.duplicates + c.refused + c.dead_lettered;
    equal("the rows and what became of them", &(case.rows.len() as u64), &counters.values().map(settled).sum())?;
    if course.keeps_order() {
        equal("the dead letters", &letters, &theirs)?;
        return equal("the counters", &counters, &their_counters);
    }
    if course.moves_rows {
        return Ok(());
    }
    let format = if course.pushes { Format::Parquet } else { course.format };
    equal("the dead letters by reason", &by_reason(&letters, format), &by_reason(&theirs, format))?;
    let by_source = |counters: &BTreeMap<String, Counters>| -> Vec<(String, u64)> {
        counters.iter().map(|(source, counters)| (source.clone(), settled(counters))).collect()
    };
    equal("the rows settled", &by_source(&counters), &by_source(&their_counters))
}

/// What is told of dead letters wherever they were read. Rows that came in another format have other bytes.
fn by_reason(letters: &[DeadLetter], format: Format) -> Vec<(&str, &[u8])> {
    let keeps_bytes = format == Format::Ndjson;
    let mut told: Vec<_> = letters.iter().map(|letter| (letter.reason.as_str(), if keeps_bytes { letter.bytes.as_slice() } else { &[] })).collect();
    told.sort_unstable();
    told
}
