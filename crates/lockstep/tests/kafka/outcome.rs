//! What a store holds in the end, as text that shows every bit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::StringArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::pipeline::Target;
use lockstep_model::TimeMode;
use lockstep_store::{CutRead, OnlineStore, Store, StoreOptions};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};
use lockstep_transform::tiles::Request;

use crate::rows::START_MS;

/// By part: counters, what was put aside, keys, answers.
pub type Outcome = BTreeMap<String, String>;

/// What the store in a directory that nobody owns has come to.
pub fn outcome(dir: &Path) -> Outcome {
    outcome_of(dir, None)
}

/// As [`outcome`], of one version of the views; of the only one where none is said.
pub fn outcome_of(dir: &Path, version: Option<u32>) -> Outcome {
    let store = Store::open(dir, StoreOptions::new("test")).unwrap();
    // What may be forgotten is forgotten sooner or later.
    store.compact().unwrap();
    let cut = OnlineStore::cut(&store);
    let compile = |definitions: lockstep_store::Definitions| {
        let files: Vec<SourceFile> = definitions.applied.texts.iter().map(|text| SourceFile::new(text.path.clone(), text.text.clone())).collect();
        Catalog::compile(Definitions::parse(&files).unwrap()).unwrap()
    };
    let catalogs: Vec<Catalog> = cut.definitions_history().unwrap().into_iter().map(compile).collect();
    let mut outcome = Outcome::new();
    for info in cut.generations().unwrap().into_iter().filter(|info| version.is_none_or(|version| info.version == version)) {
        let means = |catalog: &&Catalog| catalog.views.get(&info.view).is_some_and(|view| view.meaning == info.meaning);
        let catalog = catalogs.iter().find(means).unwrap();
        let view = &catalog.views[&info.view];
        let target = Target::new(catalog, view, info).unwrap();
        let generation = target.generation.generation;
        let mut keys = String::new();
        cut.each_key(generation, &mut |source, key, value| {
            let _ = writeln!(keys, "{source} {key:?} {value:?}");
            Ok(())
        })
        .unwrap();
        let mut refusals: Vec<String> =
            cut.refusals(generation).map(|refusal| refusal.unwrap()).map(|refusal| format!("{} {}", refusal.row, refusal.watermark)).collect();
        let mut letters: Vec<String> =
            cut.dead_letters(generation).map(|letter| letter.unwrap()).map(|letter| format!("{} {}", letter.row, letter.reason)).collect();
        refusals.sort();
        letters.sort();
        let parts = [
            ("counters", format!("{:#?}", cut.counters(generation).unwrap())),
            ("refusals", refusals.join("\n")),
            ("dead letters", letters.join("\n")),
            ("keys", keys),
            ("answers", answers(&*cut, &target)),
        ];
        outcome.extend(parts.map(|(part, text)| (format!("{} {part}", view.view), text)));
    }
    outcome
}

/// Says what differs, part by part.
#[track_caller]
pub fn assert_same(what: &str, given: &Outcome, expected: &Outcome) {
    for (part, text) in expected {
        let given = given.get(part).map_or("", String::as_str);
        let differs = given.lines().zip(text.lines()).find(|(given, expected)| given != expected);
        assert!(given == text, "{what}: {part} differ, first at {differs:?}; {} lines, and {} expected", given.lines().count(), text.lines().count());
    }
}

/// As [`assert_same`], where `given` may remember keys that `expected` has forgotten: a key that is old enough to be forgotten counts for nothing while it is there.
#[track_caller]
pub fn assert_same_but_for_forgotten(what: &str, mut given: Outcome, expected: &Outcome) {
    for (part, text) in expected.iter().filter(|(part, _)| part.ends_with(" keys")) {
        let known: BTreeSet<&str> = text.lines().collect();
        let kept = given.entry(part.clone()).or_default();
        *kept = kept.lines().filter(|line| known.contains(line)).map(|line| format!("{line}\n")).collect();
    }
    assert_same(what, &given, expected);
}

/// Every feature of all shops, at moments some minutes apart over the first day.
fn answers(cut: &dyn CutRead, target: &Target) -> String {
    const SHOPS: usize = 8;
    let shops: Vec<String> = (0..SHOPS).map(|shop| format!("s{shop}")).collect();
    let keys = target.view.entity_keys(&[Arc::new(StringArray::from(shops))]).unwrap();
    let moments: Vec<i64> = (0..200).map(|step| (START_MS + step * 421_337) * 1000).collect();
    let requests: Vec<Request<'_>> =
        moments.iter().flat_map(|&at| (0..SHOPS).map(move |shop| (shop, at))).map(|(shop, at)| Request { entity: keys.get(shop), at }).collect();
    let state = cut.state(target.generation.generation);
    let mut text = String::new();
    for mode in [TimeMode::Event, TimeMode::Known] {
        let features = target.view.read_at(&state, &requests, mode, None).unwrap();
        for (column, statuses) in features.columns.iter().zip(&features.statuses) {
            let values = ArrayFormatter::try_new(column, &FormatOptions::new().with_null("NULL")).unwrap();
            for (row, status) in statuses.iter().enumerate() {
                writeln!(text, "{} {status}", values.value(row)).unwrap();
            }
        }
    }
    text
}
