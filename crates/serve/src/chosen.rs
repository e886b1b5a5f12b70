//! Which of the sets of definitions that were applied serves.

use lockstep_model::{Error, Generation};
use lockstep_store::{CutRead, Definitions, GenerationInfo};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::transformation::Transformation;

/// How the generations of a set of definitions stand, the least of all its views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// A view has no published generation.
    Filling,
    /// All are published, and one does not keep up with its logs.
    Published,
    /// All keep up with their logs.
    KeepsUp,
}

impl Stand {
    /// How the views of `catalog` stand by these generations.
    pub fn of(catalog: &Catalog, generations: &[GenerationInfo]) -> Stand {
        let stand = |view: &Transformation| match generation_of(view, generations) {
            // Nothing is followed for a run of predictions.
            Some(info) if info.caught_up_at.is_some() || info.run.is_some() => Stand::KeepsUp,
            Some(_) => Stand::Published,
            None => Stand::Filling,
        };
        catalog.views.values().map(|view| stand(view)).min().unwrap_or(Stand::KeepsUp)
    }
}

/// The published generation of a view, among those that were not dropped.
pub fn generation_of<'g>(view: &Transformation, generations: &'g [GenerationInfo]) -> Option<&'g GenerationInfo> {
    generations.iter().rfind(|info| info.published() && info.view == view.view && info.meaning == view.meaning && info.state == view.state)
}

/// The generations that a release reads, of all that there are: those that it names, and of each set of predictions the run that is published, whichever that is. Runs come and go oftener than releases.
pub fn read_by(mut generations: Vec<GenerationInfo>, named: &[Generation]) -> Vec<GenerationInfo> {
    let is_same = |a: &GenerationInfo, b: &GenerationInfo| a.view == b.view && a.meaning == b.meaning && a.state == b.state;
    let runs: Vec<GenerationInfo> = generations.iter().filter(|info| info.run.is_some() && info.published()).cloned().collect();
    let is_last = |info: &GenerationInfo| runs.iter().rfind(|run| is_same(run, info)).is_some_and(|run| run.generation == info.generation);
    let is_replaced = |info: &GenerationInfo| runs.iter().any(|run| is_same(run, info));
    generations.retain(|info| is_last(info) || (named.contains(&info.generation) && !is_replaced(info)));
    generations
}

/// The set of definitions that serves, as `compile` makes it: the newest all of whose generations keep up with their logs, so that no change of what serves goes back in time. Where none is
/// so, the newest whose views are all published; else that applied last. `None` where none was applied.
///
/// # Errors
/// Where the cut cannot be read; as `compile` has.
pub fn chosen<C, E: From<Error>>(
    cut: &dyn CutRead,
    mut compile: impl FnMut(&Definitions) -> Result<C, E>,
    catalog: impl Fn(&C) -> &Catalog,
) -> Result<Option<C>, E> {
    let (history, generations) = (cut.definitions_history()?, cut.generations()?);
    let any_keeps_up = generations.iter().any(|info| info.caught_up_at.is_some());
    let (mut published, mut latest) = (None, None);
    for definitions in history.iter().rev() {
        let compiled = compile(definitions)?;
        match Stand::of(catalog(&compiled), &generations) {
            Stand::KeepsUp => return Ok(Some(compiled)),
            Stand::Published if !any_keeps_up => return Ok(Some(compiled)),
            Stand::Published => published = published.or(Some(compiled)),
            Stand::Filling => latest = latest.or(Some(compiled)),
        }
    }
    Ok(published.or(latest))
}

#[cfg(test)]
mod tests {
    use lockstep_model::Fingerprint;
    use lockstep_store::{Commit, DefinitionText, NewDefinitions, NewGeneration, OnlineStore, Store, StoreOptions};
    use lockstep_transform::definition::{self, SourceFile};

    use super::*;

    const SQL: &str = "CREATE ENTITY shop (shop VARCHAR);
CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
CREATE FEATURE VIEW quick ENTITY shop AS SELECT shop, count(*) OVER (PARTITION BY shop ORDER BY at
    RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS sales_1h FROM sales;
CREATE FEATURE VIEW slow ENTITY shop AS SELECT shop, count(*) OVER (PARTITION BY shop ORDER BY at
    RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW) AS sales_1d FROM sales;";

    fn compile(text: &str) -> Catalog {
        Catalog::compile(definition::Definitions::parse(&[SourceFile::new("all.sql", text)]).unwrap()).unwrap()
    }

    /// Applies definitions; the generations of their views, made where they are not there.
    fn apply(store: &Store, text: &str) -> Vec<Generation> {
        let texts = vec![DefinitionText { path: "all.sql".to_owned(), text: text.to_owned() }];
        let new = NewDefinitions { texts, fingerprint: Fingerprint([7; 32]), by: None, reason: None, models: Vec::new() };
        store.apply_definitions(store.definitions_version(), new).unwrap();
        let generation = |view: &Transformation| {
            let cut = OnlineStore::cut(store);
            let known = cut.generations().unwrap().into_iter().find(|info| info.view == view.view && info.meaning == view.meaning);
            let version = cut.version_for(&view.view, view.meaning, view.state).unwrap();
            let new = NewGeneration { view: view.view.clone(), version, meaning: view.meaning, state: view.state };
            known.unwrap_or_else(|| store.create_generation(new).unwrap()).generation
        };
        compile(text).views.values().map(|view| generation(view)).collect()
    }

    fn publish(store: &Store, generations: &[Generation]) {
        store.publish(generations.iter().map(|generation| Commit::new(*generation, store.epoch())).collect()).unwrap();
    }

    /// The number of what serves, and how many sets were compiled to know it.
    fn serves(store: &Store) -> Option<(u64, usize)> {
        let mut compiled = 0;
        let compile = |definitions: &Definitions| -> Result<(u64, Catalog), Error> {
            compiled += 1;
            Ok((definitions.version, compile(&definitions.applied.texts[0].text)))
        };
        chosen(&*OnlineStore::cut(store), compile, |(_, catalog)| catalog).unwrap().map(|(version, _)| (version, compiled))
    }

    #[test]
    fn a_newer_set_serves_once_all_of_it_keeps_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::new("test")).unwrap();
        assert_eq!(serves(&store), None);
        let first = apply(&store, SQL);
        assert_eq!(serves(&store), Some((1, 1)), "nothing else was applied");
        publish(&store, &first);
        assert_eq!(serves(&store), Some((1, 1)));
        store.note_keeping_up(&first.iter().map(|generation| (*generation, true)).collect::<Vec<_>>()).unwrap();

        let second = apply(&store, &SQL.replace("1 day", "2 days"));
        assert_eq!(second[0], first[0]);
        assert_eq!(serves(&store), Some((1, 2)), "a view of it is not filled");
        publish(&store, &second[1..]);
        assert_eq!(serves(&store), Some((1, 2)), "and does not keep up");
        store.note_keeping_up(&[(second[1], true)]).unwrap();
        assert_eq!(serves(&store), Some((2, 1)));

        // What is fed no more serves no more, though it was applied again.
        store.note_keeping_up(&[(first[1], false)]).unwrap();
        assert_eq!(apply(&store, SQL), first);
        assert_eq!(serves(&store), Some((2, 2)));
        store.note_keeping_up(&[(first[1], true)]).unwrap();
        assert_eq!(serves(&store), Some((3, 1)));
    }

    #[test]
    fn a_release_reads_what_it_names_and_the_last_run_that_was_not_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::new("test")).unwrap();
        let plain = apply(&store, SQL);
        publish(&store, &plain);
        let of = |generation: Generation| OnlineStore::cut(&store).generation(generation).unwrap();
        let quick = of(plain[0]);
        let run = |number| {
            let new = NewGeneration { view: quick.view.clone(), version: quick.version, meaning: quick.meaning, state: quick.state };
            let generation = store.create_run(new, number).unwrap().generation;
            publish(&store, &[generation]);
            generation
        };
        let read = |named: &[Generation]| {
            let all = OnlineStore::cut(&store).generations().unwrap();
            read_by(all, named).into_iter().map(|info| info.generation).collect::<Vec<_>>()
        };
        assert_eq!(read(&plain), plain);
        assert_eq!(read(&plain[1..]), plain[1..]);
        let runs = [run(1), run(2)];
        // Whatever is named: a run takes the place of what its view had before.
        assert_eq!((read(&plain), read(&plain[1..])), (vec![plain[1], runs[1]], vec![plain[1], runs[1]]));
        store.take_back(&[(runs[1], true)]).unwrap();
        assert_eq!(read(&plain), [plain[1], runs[0]]);
        assert_eq!(Stand::of(&compile(SQL), &OnlineStore::cut(&store).generations().unwrap()), Stand::Published);
    }

    #[test]
    fn without_logs_that_are_followed_what_is_published_serves() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::new("test")).unwrap();
        let first = apply(&store, SQL);
        publish(&store, &first);
        let second = apply(&store, &SQL.replace("1 day", "2 days"));
        assert_eq!(serves(&store), Some((1, 2)));
        publish(&store, &second[1..]);
        assert_eq!(serves(&store), Some((2, 1)));
    }

    #[test]
    fn a_note_stays_what_it_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::new("test")).unwrap();
        let first = apply(&store, SQL);
        let noted = || OnlineStore::cut(&store).generations().unwrap()[0].caught_up_at;
        store.note_keeping_up(&[(first[0], true)]).unwrap();
        let at = noted();
        assert!(at.is_some());
        store.note_keeping_up(&[(first[0], true)]).unwrap();
        assert_eq!(noted(), at);
        store.note_keeping_up(&[(first[0], false)]).unwrap();
        assert_eq!(noted(), None);
    }
}
