//! Draws are what they are said to be: propensities are frequencies, and rows that are weighed by them tell what would have been.

use std::collections::BTreeMap;

use arrow::array::Int64Array;
use arrow::datatypes::{Field, Schema};

use super::*;

const ROWS: usize = 1_000_000;
/// So many go through at once.
const AT_ONCE: usize = 10_000;

fn actions(names: &[&str], by: DecideBy) -> Actions {
    Actions { names: names.iter().map(|name| (*name).to_owned()).collect(), by }
}

fn policy(actions: Option<Actions>, explore: Option<Explore>) -> Policy {
    let scores = match &actions {
        Some(Actions { names, by: DecideBy::Scores }) => (0..names.len()).collect(),
        Some(_) => vec![0],
        None => Vec::new(),
    };
    Policy { deployment: "late".to_owned(), actions, explore, scores }
}

fn column(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

/// Names of requests, which differ from run to run.
fn seed() -> u64 {
    let seed = std::env::var("LOCKSTEP_TEST_SEED").ok().and_then(|text| text.parse().ok());
    // Another one in each process.
    let another = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "seed");
    let seed = seed.unwrap_or_else(another);
    println!("LOCKSTEP_TEST_SEED={seed}");
    seed
}

/// Requests of one row each, with an id: what is decided of each, with its scores.
fn decided(policy: &Policy, seed: u64, scores: impl Fn(usize) -> Vec<f64>) -> Vec<(Vec<f64>, String, f64, bool)> {
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let mut all = Vec::with_capacity(ROWS);
    for first in (0..ROWS).step_by(AT_ONCE) {
        let rows: Vec<Vec<f64>> = (first..first + AT_ONCE).map(&scores).collect();
        let draws: Vec<Draw> = (first..first + AT_ONCE).flat_map(|row| policy.draws(&format!("{seed}-{row}"), &none, &[0])).collect();
        let columns: Vec<ArrayRef> = (0..rows[0].len()).map(|at| column(&rows.iter().map(|row| Some(row[at])).collect::<Vec<_>>())).collect();
        let decided = policy.decide(&draws, &columns, &[Way::Model; AT_ONCE]).unwrap();
        for (row, scores) in rows.into_iter().enumerate() {
            let (action, propensity) = (decided.actions.value(row).to_owned(), decided.propensities.value(row));
            all.push((scores, action, propensity, decided.explored.value(row)));
        }
    }
    all
}

/// How far counts are from what is expected of them, as a number that is about normal where the expectation is right: the transform of Wilson and Hilferty.
fn surprise(counts: &[(f64, f64)]) -> f64 {
    let chi_square: f64 = counts.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
    let degrees = (counts.len() - 1) as f64;
    let spread = 2.0 / (9.0 * degrees);
    ((chi_square / degrees).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// A standard normal number is above it one time in 10⁹.
const ONE_IN_A_BILLION: f64 = 5.998;

#[test]
fn propensities_are_the_frequencies_of_actions() {
    let seed = seed();
    let names = ["hold", "rebook", "refund"];
    for (by, share) in [(ExploreBy::Random, 0.05), (ExploreBy::Random, 1.0), (ExploreBy::Softmax(0.5), 0.3)] {
        let policy = policy(Some(actions(&names, DecideBy::Scores)), Some(Explore { share, by }));
        // A few kinds of rows, so that each action is counted where its propensity is the same.
        let kinds = [[0.9, 0.1, 0.5], [0.2, 0.8, 0.7], [-1.0, 0.0, 1.0], [0.4, 0.4, 0.1]];
        let all = decided(&policy, seed, |row| kinds[row % kinds.len()].to_vec());
        for kind in kinds {
            let of_kind: Vec<_> = all.iter().filter(|(scores, ..)| *scores == kind).collect();
            let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
            for (_, action, propensity, _) in &of_kind {
                let count = counts.entry(action).or_insert((0.0, propensity * of_kind.len() as f64));
                count.0 += 1.0;
                assert_eq!(count.1, propensity * of_kind.len() as f64, "one action of one row has one propensity");
            }
            let expected: f64 = counts.values().map(|(_, expected)| expected).sum();
            assert!((expected / of_kind.len() as f64 - 1.0).abs() < 1e-12, "propensities of all actions make up 1: {counts:?}");
            let surprise = surprise(&counts.values().copied().collect::<Vec<_>>());
            assert!(surprise < ONE_IN_A_BILLION, "{by} {share} {kind:?}: {counts:?} are {surprise} from what is expected");
        }
        let explored = all.iter().filter(|(.., explored)| *explored).count() as f64;
        let expected = share * ROWS as f64;
        let off = (explored - expected).abs() / (expected * (1.0 - share)).sqrt().max(1.0);
        assert!(off < 6.2, "{explored} rows explored, {expected} expected");
    }
}

#[test]
fn rows_weighed_by_propensity_tell_what_another_policy_would_have_come_to() {
    let seed = seed();
    let bounds = DecideBy::Thresholds { prediction: "risk".to_owned(), bounds: vec![0.5] };
    let policy = policy(Some(actions(&["approve", "decline"], bounds)), Some(Explore { share: 0.05, by: ExploreBy::Random }));
    // The model is wrong about a tenth of all rows: they look risky, and are as good as any.
    let is_misjudged = |row: usize| row % 10 == 9;
    let risk = |row: usize| vec![if is_misjudged(row) { 0.8 } else { 0.1 + 0.05 * (row % 7) as f64 }];
    let gain = |row: usize| if is_misjudged(row) { 2.0 } else { 1.0 - 0.1 * (row % 7) as f64 };
    let all = decided(&policy, seed, risk);
    // What approving everything brings, which nobody has done.
    let truth = (0..ROWS).map(gain).sum::<f64>() / ROWS as f64;
    let terms: Vec<f64> =
        all.iter().enumerate().map(|(row, (_, action, propensity, _))| if action == "approve" { gain(row) / propensity } else { 0.0 }).collect();
    let estimate = terms.iter().sum::<f64>() / ROWS as f64;
    // The variance of the estimate is that of the draws alone: what rows there are is given.
    let variance: f64 = (0..ROWS)
        .map(|row| {
            let chance = if is_misjudged(row) { 0.025 } else { 0.975 };
            gain(row).powi(2) * (1.0 / chance - 1.0)
        })
        .sum();
    let error = variance.sqrt() / ROWS as f64;
    assert!((estimate - truth).abs() < 6.2 * error, "estimated {estimate} ± {error}, and it is {truth}");
    // The mean of what was approved, unweighed, is another thing: it has next to none of the rows that the model declines.
    let approved: Vec<f64> = all.iter().enumerate().filter(|(_, (_, action, ..))| action == "approve").map(|(row, _)| gain(row)).collect();
    let naive = approved.iter().sum::<f64>() / approved.len() as f64;
    assert!((naive - truth).abs() > 20.0 * error, "{naive} against {truth}");
}

#[test]
fn draws_are_the_same_everywhere_and_frozen() {
    let policy = policy(Some(actions(&["a", "b", "c"], DecideBy::Scores)), Some(Explore { share: 0.5, by: ExploreBy::Random }));
    let schema = Arc::new(Schema::new(vec![Field::new("card", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2, 1, 1]))]).unwrap();
    let by_id = policy.draws("r1", &rows, &[0, 0, 0, 1]);
    // By the id and the row alone.
    assert_eq!(by_id, policy.draws("r1", &rows, &[9, 9, 9, 9]));
    assert_ne!(by_id[0], by_id[2]);
    assert_ne!(by_id[0], policy.draws("r2", &rows, &[0])[0]);
    // Without one by what is asked, and when.
    let by_row = policy.draws("", &rows, &[0, 0, 0, 1]);
    assert_eq!(by_row[0], by_row[2]);
    assert!(by_row[0] != by_row[1] && by_row[0] != by_row[3]);
    let frozen = Draw::of(b"late\0r1\0\0\0\0\0\0\0\0");
    assert_eq!(by_id[0], frozen);
    let seeded = |seed| xxh3_64_with_seed(b"late\0r1\0\0\0\0\0\0\0\0", seed);
    assert_eq!((frozen.share, frozen.choice), (seeded(0x6578_706c_6f72_6501), seeded(0x6578_706c_6f72_6502)));
}

#[test]
fn actions_follow_from_predictions() {
    let explore = Some(Explore { share: 1.0, by: ExploreBy::Random });
    let draws = |rows: usize| vec![Draw { share: 0, choice: u64::MAX }; rows];
    let bounds = DecideBy::Thresholds { prediction: "risk".to_owned(), bounds: vec![0.25, 0.5] };
    let three = actions(&["approve", "review", "decline"], bounds);
    let risks = column(&[Some(0.1), Some(0.25), Some(0.4999), Some(0.5), None, Some(f64::NAN)]);
    let greedy = policy(Some(three.clone()), None).decide(&draws(6), &[Arc::clone(&risks)], &[Way::Model; 6]).unwrap();
    let expected = [Some("approve"), Some("review"), Some("review"), Some("decline"), None, None];
    assert_eq!(greedy.actions, StringArray::from(expected.to_vec()));
    assert!(greedy.propensities.iter().all(|propensity| propensity == Some(1.0)) && greedy.explored().next().is_none());
    // All rows explore but those that another than the model has scored, or nobody has.
    let ways = [Way::Model, Way::Fallback, Way::Default, Way::LastKnownGood, Way::Model, Way::None];
    let explored = policy(Some(three), explore).decide(&draws(6), &[risks], &ways).unwrap();
    assert_eq!(explored.explored().collect::<Vec<_>>(), [0]);
    assert_eq!((explored.actions.value(0), explored.propensities.value(0)), ("decline", 1.0 / 3.0));
    assert_eq!((explored.actions.value(1), explored.propensities.value(1)), ("review", 1.0));
    // The largest score, of equal ones the first, and none without any.
    let two = || Some(actions(&["a", "b"], DecideBy::Scores));
    let scores = [column(&[Some(1.0), Some(1.0), None, None]), column(&[Some(2.0), Some(1.0), Some(-9.0), None])];
    let greedy = policy(two(), None).decide(&draws(4), &scores, &[Way::Model; 4]).unwrap();
    assert_eq!(greedy.actions, StringArray::from(vec![Some("b"), Some("a"), Some("b"), None]));
    // Softmax never draws what has no score, and scores without a bound are no trouble.
    let soft = policy(two(), Some(Explore { share: 1.0, by: ExploreBy::Softmax(1.0) }));
    let scores = [column(&[None, Some(f64::NEG_INFINITY), Some(f64::INFINITY)]), column(&[Some(3.0), Some(0.0), Some(0.0)])];
    let decided = soft.decide(&draws(3), &scores, &[Way::Model; 3]).unwrap();
    assert_eq!(decided.actions, StringArray::from(vec!["b", "b", "a"]));
    assert_eq!(decided.propensities, Float64Array::from(vec![1.0, 1.0, 1.0]));
    // Where there are no actions, it is only said which rows explore.
    let caller = policy(None, explore).decide(&draws(2), &[], &[Way::Model, Way::Default]).unwrap();
    assert_eq!((caller.explored().collect::<Vec<_>>(), caller.actions.null_count(), caller.propensities.null_count()), (vec![0], 2, 2));
}

#[test]
fn ranked_candidates_of_a_share_of_requests_stand_in_an_order_of_chance() {
    let seed = seed();
    let policy = policy(None, Some(Explore { share: 0.3, by: ExploreBy::Random }));
    // Requests of four candidates each: how often each stands at each place, and what is said of that.
    let (requests, places) = (ROWS / 10, 4);
    let of_row: Vec<u32> = (0..requests as u32).flat_map(|request| [request; 4]).collect();
    let draws: Vec<Draw> = (0..requests).map(|request| Draw::of(format!("{seed}-{request}").as_bytes())).collect();
    let Reordered { order, decided } = policy.reorder(&draws, &of_row, &vec![Way::Model; of_row.len()]);
    let mut counts = vec![(0.0, 0.0); places * places];
    for (row, &from) in order.iter().enumerate() {
        let (place, candidate) = (row % places, from as usize % places);
        assert_eq!(from as usize / places, row / places, "candidates stay with their request");
        let expected = if place == candidate { 0.7 + 0.3 / 4.0 } else { 0.3 / 4.0 };
        assert!((decided.propensities.value(row) - expected).abs() < 1e-15);
        let count = &mut counts[place * places + candidate];
        *count = (count.0 + 1.0, expected * requests as f64);
    }
    for of_place in counts.chunks(places) {
        assert!(surprise(of_place) < ONE_IN_A_BILLION, "{of_place:?}");
    }
    let explored = decided.explored.iter().flatten().filter(|explored| *explored).count() / places;
    assert!((explored as f64 - 0.3 * requests as f64).abs() < 6.2 * (0.21 * requests as f64).sqrt(), "{explored} requests explore");
    // All orders of those that explore are about as frequent.
    let mut orders: BTreeMap<[u32; 4], (f64, f64)> = BTreeMap::new();
    for row in (0..order.len()).step_by(places).filter(|&row| decided.explored.value(row)) {
        orders.entry([0, 1, 2, 3].map(|place| order[row + place] % 4)).or_insert((0.0, explored as f64 / 24.0)).0 += 1.0;
    }
    assert!(orders.len() == 24 && surprise(&orders.values().copied().collect::<Vec<_>>()) < ONE_IN_A_BILLION, "{orders:?}");
    // A request of which another than the model has scored one stays as it is.
    let mut ways = vec![Way::Model; of_row.len()];
    ways.iter_mut().step_by(places).for_each(|way| *way = Way::Fallback);
    let stays = policy.reorder(&draws, &of_row, &ways);
    assert!(stays.order.is_sorted() && stays.decided.explored().next().is_none());
    assert!(stays.decided.propensities.values().iter().all(|propensity| *propensity == 1.0));
}
