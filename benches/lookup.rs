//! Lookups in process, warm: 20 features over three windows against one MultiGet of as many values of 256 bytes as there are views and windows.

mod support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use lockstep_serve::{LookupRequest, Served};
use lockstep_store::OnlineStore;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::tiles::ReadStats;
use support::{HOUR, Payments, SPAN, START, at_best, compile, fill, heading, lookup_options, open, row, source, targets, thread_seconds, view};

const LOOKUPS: usize = 2_000;

/// How often each figure is taken; more of them for a profile.
fn rounds() -> usize {
    std::env::var("LOCKSTEP_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(7)
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    main_case(dir.path());
    by_window(dir.path());
    by_heat(dir.path());
}

/// 20 features over three windows, of accounts with 300 payments each.
fn main_case(dir: &Path) {
    let payments = Payments { count: 3_000_000, accounts: 10_000, hot: false, span: SPAN };
    let store = Filled::new(dir, "main", payments, view("v", 20, &["1 hour", "1 day", "30 days"]));
    heading("a lookup of 20 features over three windows, 10,000 accounts of 300 payments over 60 days", "µs");
    for batch in [1, 10, 100] {
        let (micros, stats) = store.lookup("v", batch, &|number| asked(&payments, number));
        row(&format!("{batch} at a time"), micros, floor(dir, 3, batch), "5 at most");
        tell(&stats);
    }
}

/// An account, and a moment in the last third of the payments.
fn asked(payments: &Payments, number: usize) -> (i64, i64) {
    (payments.account(number * 37 + 1), START + SPAN * 2 / 3 + (number as i64 * 7919 * 1_000_003) % (SPAN / 3))
}

/// One window at a time: a lookup should not care how long it is.
fn by_window(dir: &Path) {
    let payments = Payments { count: 3_000_000, accounts: 1_000, hot: false, span: SPAN };
    let lengths = ["1 hour", "1 day", "7 days", "30 days"];
    let views: String = lengths.iter().enumerate().map(|(at, length)| view(&format!("v{at}"), 7, &[length])).collect();
    let store = Filled::new(dir, "windows", payments, views);
    heading("a lookup of 7 features over one window, 1,000 accounts of 3,000 payments over 60 days; floor: the shortest window", "µs");
    let mut shortest = None;
    for (at, length) in lengths.iter().enumerate() {
        let (micros, stats) = store.lookup(&format!("v{at}"), 1, &|number| asked(&payments, number));
        row(length, micros, *shortest.get_or_insert(micros), "flat");
        tell(&stats);
    }
}

/// All events of an account within the last hour, from a hundred to a million.
fn by_heat(dir: &Path) {
    heading("a lookup of 20 features over three windows, all payments of the account within the last hour; floor: a hundred of them", "µs");
    let mut coolest = None;
    for count in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let payments = Payments { count, accounts: 1, hot: false, span: HOUR };
        let store = Filled::new(dir, &format!("heat{count}"), payments, view("v", 20, &["1 hour", "1 day", "30 days"]));
        let (micros, stats) = store.lookup("v", 1, &|number| (0, START + HOUR + (number as i64 * 7919) % HOUR));
        row(&format!("{count} payments"), micros, *coolest.get_or_insert(micros), "flat");
        tell(&stats);
    }
}

fn tell(stats: &ReadStats) {
    let per = |count: u64| count as f64 / LOOKUPS as f64;
    let ReadStats { keys, bytes, rows, tiles, .. } = *stats;
    println!("      {:.1} keys, {:.0} bytes, {:.1} events folded and {:.1} tiles merged a lookup", per(keys), per(bytes), per(rows), per(tiles));
}

struct Filled {
    store: lockstep_store::Store,
    catalog: Arc<Catalog>,
}

impl Filled {
    fn new(dir: &Path, name: &str, payments: Payments, views: String) -> Filled {
        let file = dir.join(format!("{name}.parquet"));
        payments.write_parquet(&file);
        let catalog = compile(source(&file) + &views);
        let store = open(&dir.join(format!("{name}.store")));
        let targets = targets(&store, &catalog);
        fill(&store, &catalog, &targets, 2);
        store.compact().expect("compacted");
        Filled { store, catalog }
    }

    /// Microseconds a lookup, and what all of them touched.
    fn lookup(&self, view: &str, batch: usize, asked: &dyn Fn(usize) -> (i64, i64)) -> (f64, ReadStats) {
        let cut = OnlineStore::cut(&self.store);
        let served = Served::new(Arc::clone(&self.catalog), &*cut).expect("published views");
        let all: Vec<(i64, i64)> = (0..LOOKUPS).map(asked).collect();
        let requests: Vec<(RecordBatch, Vec<i64>)> = all.chunks(batch).map(request).collect();
        let mut stats = ReadStats::default();
        let seconds = at_best(rounds(), thread_seconds, || {
            stats = ReadStats::default();
            for (rows, moments) in &requests {
                let request = LookupRequest { name: view, rows, moments, time: None, explain: false };
                stats += black_box(served.lookup(&*cut, &request).expect("an answer")).stats;
            }
        });
        (seconds * 1e6 / LOOKUPS as f64, stats)
    }
}

fn request(asked: &[(i64, i64)]) -> (RecordBatch, Vec<i64>) {
    let accounts: ArrayRef = Arc::new(Int64Array::from_iter_values(asked.iter().map(|(account, _)| *account)));
    (RecordBatch::try_from_iter([("account", accounts)]).expect("a batch"), asked.iter().map(|(_, at)| *at).collect())
}

/// Microseconds for one MultiGet of `values` values of 256 bytes for each of `batch` entities, per entity, with the store's own settings of RocksDB.
fn floor(dir: &Path, values: usize, batch: usize) -> f64 {
    const ENTITIES: u64 = 10_000;
    let options = lookup_options();
    let path = dir.join(format!("floor-{values}-{batch}"));
    let family = rocksdb::ColumnFamilyDescriptor::new("default", options.clone());
    let db = rocksdb::DB::open_cf_descriptors(&options, path, [family]).expect("a database");
    let key = |entity: u64, value: usize| [entity.to_be_bytes().as_slice(), &[value as u8]].concat();
    for entity in 0..ENTITIES {
        for value in 0..values {
            let words = (0..32).map(|i| (entity << 8 | i).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            db.put(key(entity, value), words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()).expect("put");
        }
    }
    db.flush().expect("flushed");
    db.compact_range(None::<&[u8]>, None::<&[u8]>);
    let asked: Vec<Vec<Vec<u8>>> = (0..LOOKUPS as u64)
        .collect::<Vec<_>>()
        .chunks(batch)
        .map(|entities| {
            let mut keys: Vec<_> = entities.iter().flat_map(|entity| (0..values).map(move |value| key(entity * 37 % ENTITIES, value))).collect();
            keys.sort();
            keys
        })
        .collect();
    let family = db.cf_handle("default").expect("the default family");
    let seconds = at_best(rounds(), thread_seconds, || {
        for keys in &asked {
            for value in db.batched_multi_get_cf(&family, keys, true) {
                black_box(value.expect("read").expect("there").len());
            }
        }
    });
    seconds * 1e6 / LOOKUPS as f64
}
