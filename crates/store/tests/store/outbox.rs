//! Rows on their way out: put with a commit, seen in order, gone once taken.

use lockstep_model::ErrorKind;
use lockstep_store::{Commit, CutRead, OnlineStore, Outgoing, Queue, Store};

use crate::support::{assert_says, new_generation, open, partition};

fn outgoing(queue: &str, rows: u64, bytes: &[u8], reached: u64) -> Outgoing {
    Outgoing { queue: queue.to_owned(), rows, bytes: bytes.to_vec(), partition: partition("log"), reached }
}

fn waiting(store: &Store, queue: &str) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |first: u64, bytes: &[u8]| {
        found.push((first, bytes.to_vec()));
        Ok(true)
    };
    store.cut().each_outgoing(queue, &mut visit).unwrap();
    found
}

#[test]
fn rows_wait_in_order_until_they_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let generation = new_generation(&store);
    let put = |out: Vec<Outgoing>| store.commit(Commit { out, ..Commit::new(generation, store.epoch()) }).unwrap();
    put(vec![outgoing("a", 3, b"one", 10), outgoing("ab", 1, b"other", 10)]);
    put(vec![outgoing("a", 2, b"two", 20)]);
    put(vec![outgoing("a", 0, b"", 25)]);
    assert_eq!(waiting(&store, "a"), [(0, b"one".to_vec()), (3, b"two".to_vec())]);
    assert_eq!(waiting(&store, "ab"), [(0, b"other".to_vec())]);
    let stands = |store: &Store, queue: &str| store.cut().queues().unwrap()[queue];
    assert_eq!(stands(&store, "a"), Queue { put: 5, taken: 0, bytes: 6 });
    assert_eq!(store.cut().reached("a").unwrap(), [(partition("log"), 25)].into());

    let before = store.cut();
    store.take_out("a", 3, 3).unwrap();
    assert_eq!((waiting(&store, "a"), stands(&store, "a")), (vec![(3, b"two".to_vec())], Queue { put: 5, taken: 3, bytes: 3 }));
    let mut seen = 0;
    before
        .each_outgoing("a", &mut |_, _| {
            seen += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(seen, 2, "a cut from before sees what waited then");
    drop(before);
    // Taken again, as after a crash: nothing more goes.
    store.take_out("a", 3, 0).unwrap();
    assert_says(store.take_out("a", 6, 0), ErrorKind::Internal, &["6 rows of the queue a", "5 were put"]);
    store.compact().unwrap();
    drop(store);

    let store = open(dir.path());
    assert_eq!((waiting(&store, "a"), stands(&store, "a")), (vec![(3, b"two".to_vec())], Queue { put: 5, taken: 3, bytes: 3 }));
    store.take_out("a", 5, 3).unwrap();
    assert!(waiting(&store, "a").is_empty() && waiting(&store, "none").is_empty());
    store.commit(Commit { out: vec![outgoing("a", 1, b"three", 30)], ..Commit::new(generation, store.epoch()) }).unwrap();
    assert_eq!(waiting(&store, "a"), [(5, b"three".to_vec())]);
    // What a generation leaves behind is not the generation's.
    store.drop_generation(generation).unwrap();
    assert_eq!(waiting(&store, "a"), [(5, b"three".to_vec())]);
}
