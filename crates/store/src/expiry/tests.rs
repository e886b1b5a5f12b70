use lockstep_model::{EventTime, StateKey};

use super::*;

const GENERATION: Generation = Generation(3);

fn state_key(generation: Generation, micros: i64) -> Vec<u8> {
    let order_key = (micros as u64 ^ (1 << 63)).to_be_bytes();
    let mut key = Vec::new();
    layout::state_key(&mut key, generation, StateKey::node(b"EWR", Some((16, &order_key))).as_bytes());
    key
}

fn entry(generation: Generation, source: u16, micros: i64) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    layout::entry_key(&mut key, generation, source, b"pk");
    KeyEntryHeader { event_time: EventTime(micros) }.put(&mut value);
    (key, value)
}

fn horizon(state: i64, keys: i64) -> Horizon {
    Horizon { readable_from: EventTime(state), state_before: EventTime(state), keys_before: vec![(1, EventTime(keys))] }
}

fn filter(expiry: &Expiry, filtered: Filtered) -> ExpiryFilter {
    ExpiryFilter { rules: expiry.for_compaction(), filtered, current: None }
}

fn expiring(state: i64, keys: i64) -> Expiry {
    let expiry = Expiry::default();
    let mut rules = Rules::default();
    rules.expire_before(GENERATION, horizon(state, keys));
    expiry.enforce(Arc::new(rules));
    expiry
}

#[test]
fn only_what_lies_before_the_horizon_goes() {
    let mut filter = filter(&expiring(100, 0), Filtered::State);
    assert!(filter.lets_go(&state_key(GENERATION, 99), b""));
    assert!(!filter.lets_go(&state_key(GENERATION, 100), b""));
    assert!(!filter.lets_go(&state_key(Generation(4), 99), b""), "another generation's");
    let mut head = Vec::new();
    layout::state_key(&mut head, GENERATION, StateKey::head(b"EWR").as_bytes());
    assert!(!filter.lets_go(&head, b""), "heads stay");
}

#[test]
fn dedup_entries_go_by_their_own_source() {
    let mut filter = filter(&expiring(0, 100), Filtered::Keys);
    let goes = |filter: &mut ExpiryFilter, (key, value): (Vec<u8>, Vec<u8>)| filter.lets_go(&key, &value);
    assert!(goes(&mut filter, entry(GENERATION, 1, 99)));
    assert!(!goes(&mut filter, entry(GENERATION, 1, 100)));
    assert!(!goes(&mut filter, entry(GENERATION, 2, 99)), "no horizon for this source");
}

#[test]
fn what_is_not_understood_stays() {
    for filtered in [Filtered::State, Filtered::Keys, Filtered::Ledger] {
        let mut filter = filter(&expiring(i64::MAX, i64::MAX), filtered);
        for key in [b"".as_slice(), b"\0\0\0", b"\0\0\0\x03", b"\0\0\0\x03\0", b"\0\0\0\x03\0\x01", b"\0\0\0\x03\0\0\xff\xff"] {
            assert!(!filter.lets_go(key, b"short"), "{filtered:?} {key:?}");
        }
    }
}

#[test]
fn a_dropped_generation_goes_whole() {
    let expiry = Expiry::default();
    let mut rules = Rules::default();
    rules.drop_generation(GENERATION);
    expiry.enforce(Arc::new(rules));
    for filtered in [Filtered::State, Filtered::Keys, Filtered::Ledger] {
        assert!(filter(&expiry, filtered).lets_go(&state_key(GENERATION, 99), b""));
        assert!(!filter(&expiry, filtered).lets_go(&state_key(Generation(4), 99), b""));
    }
}

#[test]
fn a_live_cut_holds_the_rules_it_was_taken_under() {
    let expiry = expiring(100, 0);
    let pin = expiry.pin();
    let later = expiry.pin();
    let mut rules = (*expiry.for_compaction()).clone();
    rules.expire_before(GENERATION, horizon(200, 0));
    expiry.enforce(Arc::new(rules));

    let key = state_key(GENERATION, 150);
    assert!(!filter(&expiry, Filtered::State).lets_go(&key, b""));
    drop(pin);
    assert!(!filter(&expiry, Filtered::State).lets_go(&key, b""));
    drop(later);
    assert!(filter(&expiry, Filtered::State).lets_go(&key, b""));
}

#[test]
fn a_dropped_generation_is_pinned_by_cuts_from_before_alone() {
    let expiry = expiring(100, 0);
    let before = expiry.pin();
    let mut rules = (*expiry.for_compaction()).clone();
    rules.drop_generation(GENERATION);
    rules.expire_before(Generation(4), horizon(100, 0));
    expiry.enforce(Arc::new(rules));
    let after = expiry.pin();
    assert!(expiry.is_pinned(GENERATION));
    drop(before);
    assert!(!expiry.is_pinned(GENERATION) && expiry.is_pinned(Generation(4)));
    drop(after);
}

#[test]
fn rules_that_come_late_do_not_undo_newer_ones() {
    let expiry = Expiry::default();
    let mut rules = Rules::default();
    rules.expire_before(GENERATION, horizon(100, 0));
    let earlier = Arc::new(rules.clone());
    rules.expire_before(GENERATION, horizon(200, 0));
    expiry.enforce(Arc::new(rules));
    expiry.enforce(earlier);
    assert!(filter(&expiry, Filtered::State).lets_go(&state_key(GENERATION, 150), b""));
}
