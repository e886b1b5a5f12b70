use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};

use super::*;
use crate::catalog::Catalog;
use crate::compile::tests::{catalog, sales};

/// A change: does it come, shop, event time, primary key.
type Change = (bool, Option<String>, i64, u8);

fn compiled() -> Catalog {
    catalog(&sales("count(*) OVER w AS n FROM sales WHERE price > 0 WINDOW w AS ({w} RANGE UNBOUNDED PRECEDING)")).unwrap()
}

fn staged(catalog: &Catalog, batches: &[&[Change]]) -> StagedChanges {
    let mut staged = StagedChanges::default();
    batches.iter().for_each(|changes| stage_into(&mut staged, catalog, changes));
    staged
}

fn stage_into(staged: &mut StagedChanges, catalog: &Catalog, changes: &[Change]) {
    let n = changes.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| i64::from(change.3)))),
        Arc::new(changes.iter().map(|change| change.1.clone()).collect::<StringArray>()),
        Arc::new(StringArray::from(vec!["tea"; n])),
        Arc::new(Float64Array::from_iter_values(changes.iter().map(|change| if change.3 == 0 { -1.0 } else { 1.0 }))),
        Arc::new(Int32Array::from(vec![1; n])),
        Arc::new(BooleanArray::from(vec![true; n])),
        Arc::new(changes.iter().map(|change| (change.2 >= 0).then_some(change.2)).collect::<TimestampMicrosecondArray>()),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&catalog.sources["sales"].schema), columns).unwrap();
    let sign: Vec<bool> = changes.iter().map(|change| change.0).collect();
    let known_from: Vec<i64> = (0..n as i64).collect();
    let known_until = vec![i64::MAX; n];
    let keys: Vec<[u8; 1]> = changes.iter().map(|change| [change.3]).collect();
    let suffix = |row: usize| (keys[row].as_slice(), [].as_slice());
    staged
        .stage(
            &catalog.views["v"],
            0,
            SourceChanges { rows: &rows, sign: &sign, known_from: &known_from, known_until: &known_until, suffix: &suffix },
        )
        .unwrap();
}

fn shop(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// Per entity: `-key` of what goes, `+key@known` of what comes.
fn shown(changes: &[EntityChanges<'_>]) -> Vec<Vec<String>> {
    let key = |key: &[u8]| format!("{}:{}", order::time_of(key), key.last().unwrap());
    let of_entity = |changes: &EntityChanges<'_>| {
        let goes = changes.removes.iter().map(|removed| format!("-{}", key(removed)));
        goes.chain(changes.upserts.iter().map(|row| format!("+{}@{}", key(row.key), row.known_from))).collect()
    };
    changes.iter().map(of_entity).collect()
}

#[test]
fn of_one_key_the_last_change_stands() {
    let catalog = compiled();
    let a = |comes: bool, time: i64, key: u8| (comes, shop("a"), time, key);
    let of = |batches: &[&[Change]]| shown(&staged(&catalog, batches).by_entity());
    assert_eq!(of(&[&[a(true, 5, 1), a(true, 3, 2)]]), [["+3:2@1", "+5:1@0"]]);
    assert_eq!(of(&[&[a(false, 5, 1), a(true, 5, 1)]]), [["-5:1", "+5:1@1"]]);
    assert_eq!(of(&[&[a(true, 5, 1), a(false, 5, 1)]]), [["-5:1"]]);
    assert_eq!(of(&[&[a(true, 5, 1)], &[a(false, 5, 1), a(true, 5, 1)], &[a(false, 5, 1)], &[a(true, 5, 1)]]), [["-5:1", "+5:1@0"]]);
    // A correction that moves an event to another moment and shop.
    let moved = of(&[&[a(false, 5, 1), (true, shop("b"), 6, 1)]]);
    assert!(moved.contains(&vec!["-5:1".to_owned()]) && moved.contains(&vec!["+6:1@1".to_owned()]), "{moved:?}");
}

#[test]
fn what_belongs_to_no_entity_is_counted() {
    let catalog = compiled();
    let long = "x".repeat(ENTITY_KEY_LEN_MAX);
    let changes = [(true, None, 5, 1), (true, Some(long), 5, 2), (true, shop("a"), -1, 3), (true, shop("a"), 5, 0), (true, shop("a"), 5, 4)];
    let staged = staged(&catalog, &[&changes]);
    assert_eq!((staged.len(), staged.null_keys, staged.failed), (1, 3, 0));
    assert_eq!(shown(&staged.by_entity()), [["+5:4@4"]]);
}

#[test]
fn buckets_are_the_whole_in_the_order_of_state_keys() {
    let catalog = compiled();
    // Shops with names beyond what a place holds, too.
    let changes: Vec<Change> = (0..2000u32)
        .map(|i| (i % 3 > 0, shop(&format!("{} shop {}", "of a chain of ".repeat(i as usize % 2), i % 50)), i64::from(i % 7), 1 + (i % 5) as u8))
        .collect();
    let whole = staged(&catalog, &[&changes]);
    let whole = whole.by_entity();
    let keys: Vec<lockstep_model::StateKey> = whole.iter().map(|changes| lockstep_model::StateKey::head(changes.entity)).collect();
    assert!(keys.is_sorted() && keys.len() == 50, "{}", keys.len());
    // One order key's changes stay together, as a hash of the primary key keeps them.
    let share = |number: u8| changes.iter().filter(|change| change.3 % 2 == number).cloned().collect::<Vec<Change>>();
    let (even, odd) = (share(0), share(1));
    for buckets in [1, 2, 64, 256] {
        let stage = |changes: &[Change]| {
            let mut all = StagedChanges::in_buckets(buckets);
            changes.chunks(97).for_each(|changes| stage_into(&mut all, &catalog, changes));
            all
        };
        let (even, odd) = (stage(&even), stage(&odd));
        let together: Vec<EntityChanges<'_>> =
            (0..buckets as usize).flat_map(|bucket| StagedChanges::bucket_by_entity(&[&even, &odd], bucket)).collect();
        let times = |changes: &[EntityChanges<'_>]| {
            shown(changes)
                .into_iter()
                .map(|entity| entity.into_iter().map(|change| change.split('@').next().unwrap().to_owned()).collect())
                .collect::<Vec<Vec<String>>>()
        };
        assert_eq!(times(&together), times(&whole));
        assert!(together.iter().map(|changes| changes.entity).eq(whole.iter().map(|changes| changes.entity)));
    }
}

#[test]
fn pieces_that_are_full_are_followed_by_others() {
    let catalog = compiled();
    let changes: Vec<Change> = (0..20_000i64).map(|i| (true, shop(&format!("shop {}", i % 3)), i * 7919 % 20_000, 1)).collect();
    let staged = staged(&catalog, &[&changes]);
    assert!(staged.buckets[0].0.len() > 2 && staged.len() == 20_000);
    let by_entity = staged.by_entity();
    assert_eq!(by_entity.iter().map(|changes| changes.upserts.len()).sum::<usize>(), 20_000);
    assert!(by_entity.iter().all(|changes| changes.upserts.is_sorted_by_key(|row| row.key)));
}

#[test]
fn cleared_changes_are_none() {
    let catalog = compiled();
    let mut staged = staged(&catalog, &[&[(true, None, 5, 1), (true, shop("a"), 5, 2)]]);
    assert!(!staged.is_empty() && staged.size() > 0);
    staged.clear();
    assert!(staged.is_empty() && staged.by_entity().is_empty() && staged.null_keys == 0 && staged.size() == 0);
}
