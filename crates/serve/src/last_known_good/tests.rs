//! What is kept, for how long, and in how much memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::Float64Type;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, SourceFile};

use super::*;

const SQL: &str = "CREATE ENTITY shop (shop VARCHAR);
CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, amount DOUBLE, buyer VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
CREATE FEATURE VIEW shop_sales ENTITY shop WITH (ttl = '1 minute') AS
SELECT shop, count(*) OVER w AS sales, max(amount) OVER w AS largest, last_value(buyer) OVER w AS buyer
FROM sales WINDOW w AS (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);";

const SECOND: i64 = 1_000_000;

fn view() -> Arc<Transformation> {
    let catalog = Catalog::compile(Definitions::parse(&[SourceFile::new("all.sql", SQL)]).unwrap()).unwrap();
    Arc::clone(&catalog.views["shop_sales"])
}

fn of(view: &Transformation) -> Of<'_> {
    Of { view, generation: Generation(3), time: TimeMode::Event }
}

fn keep(memory_bytes: usize) -> LastKnownGood {
    LastKnownGood::new(Keep { memory_bytes, age_micros: 600 * SECOND })
}

/// Features of so many entities, whose newest events came at these moments.
fn features(largest: &[Option<f64>], newest: &[Option<i64>]) -> Features {
    let count = largest.len();
    let sales: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
    let buyers: ArrayRef = Arc::new(StringArray::from((0..count).map(|row| (row % 2 == 0).then(|| format!("buyer {row}"))).collect::<Vec<_>>()));
    let status = |value: bool| if value { Status::Present } else { Status::Null };
    Features {
        columns: vec![sales, Arc::new(Float64Array::from(largest.to_vec())), buyers],
        statuses: vec![
            vec![Status::Present; count],
            largest.iter().map(|value| status(value.is_some())).collect(),
            (0..count).map(|row| status(row % 2 == 0)).collect(),
        ],
        newest: newest.to_vec(),
        stats: ReadStats::default(),
    }
}

fn requests<'a>(entities: &[&'a [u8]], at: i64) -> Vec<Request<'a>> {
    entities.iter().map(|entity| Request { entity, at }).collect()
}

#[test]
fn what_is_recalled_is_what_was_read_bit_for_bit() {
    let (view, known) = (view(), keep(1 << 20));
    let largest = [Some(-0.0), None, Some(f64::from_bits(0x7ff8_0000_0000_0001)), Some(f64::NEG_INFINITY)];
    let read = features(&largest, &[Some(0); 4]);
    let entities: [&[u8]; 4] = [b"a", b"b", b"c", b""];
    known.remember(of(&view), &requests(&entities, 5), &read).unwrap();
    // In any order, and as often as asked for.
    let asked: [&[u8]; 5] = [b"c", b"", b"a", b"b", b"c"];
    let rows = [2, 3, 0, 1, 2];
    let (recalled, read_at) = known.recall(of(&view), &requests(&asked, 7)).unwrap().unwrap();
    assert_eq!(read_at, [5; 5]);
    for (column, statuses) in recalled.statuses.iter().enumerate() {
        assert_eq!(*statuses, rows.map(|row: usize| read.statuses[column][row]));
    }
    let bits = |array: &ArrayRef, row: usize| array.is_valid(row).then(|| array.as_primitive::<Float64Type>().value(row).to_bits());
    for (at, row) in rows.into_iter().enumerate() {
        assert_eq!(bits(&recalled.columns[1], at), bits(&read.columns[1], row));
        for column in [0, 2] {
            assert_eq!(recalled.columns[column].slice(at, 1), read.columns[column].slice(row, 1));
        }
    }
    assert_eq!(known.kept().entities, 4);
}

#[test]
fn it_is_of_one_view_one_state_and_one_clock() {
    let (view, known) = (view(), keep(1 << 20));
    known.remember(of(&view), &requests(&[b"a"], 0), &features(&[None], &[None])).unwrap();
    let recall = |of: Of<'_>| known.recall(of, &requests(&[b"a"], 0)).unwrap().is_some();
    assert!(recall(of(&view)));
    assert!(!recall(Of { generation: Generation(4), ..of(&view) }));
    assert!(!recall(Of { time: TimeMode::Known, ..of(&view) }));
    assert!(known.recall(of(&view), &requests(&[b"a", b"b"], 0)).unwrap().is_none());
}

#[test]
fn it_grows_old_and_what_expires_meanwhile_is_absent() {
    let (view, known) = (view(), keep(1 << 20));
    known.remember(of(&view), &requests(&[b"a"], 0), &features(&[Some(1.0)], &[Some(0)])).unwrap();
    let recall = |at: i64| known.recall(of(&view), &requests(&[b"a"], at)).unwrap();
    let (alive, _) = recall(60 * SECOND).unwrap();
    assert_eq!((alive.statuses[1][0], alive.columns[1].null_count()), (Status::Present, 0));
    let (expired, _) = recall(60 * SECOND + 1).unwrap();
    assert!(expired.columns.iter().all(|column| column.null_count() == 1) && expired.statuses.iter().all(|statuses| statuses[0] == Status::Expired));
    assert!(recall(600 * SECOND).is_some() && recall(600 * SECOND + 1).is_none());
    // A second later it is kept anew, and not before.
    for (at, read_at) in [(SECOND - 1, 0), (SECOND, SECOND)] {
        known.remember(of(&view), &requests(&[b"a"], at), &features(&[Some(2.0)], &[Some(at)])).unwrap();
        assert_eq!(recall(2 * SECOND).unwrap().1, [read_at]);
    }
}

#[test]
fn memory_is_bounded_and_what_is_read_again_stays() {
    const MEMORY: usize = 256 << 10;
    let (view, known) = (view(), keep(MEMORY));
    let one = features(&[Some(1.0)], &[Some(0)]);
    for number in 0..20_000_u32 {
        let at = i64::from(number) * 1000;
        known.remember(of(&view), &requests(&[&number.to_be_bytes()], at), &one).unwrap();
        known.remember(of(&view), &requests(&[b"hot"], at), &one).unwrap();
        assert!(known.kept().bytes <= MEMORY, "{:?}", known.kept());
    }
    let kept = known.kept();
    assert!(kept.bytes > MEMORY / 3 && kept.entities < 20_000, "{kept:?}");
    let recall = |entity: &[u8]| known.recall(of(&view), &requests(&[entity], 20 * SECOND)).unwrap().is_some();
    assert!(recall(b"hot") && recall(&19_999_u32.to_be_bytes()) && !recall(&0_u32.to_be_bytes()));
}
