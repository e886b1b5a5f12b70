use std::fs;

use arrow::array::{Float64Array, RecordBatch, StringArray};
use lockstep_model::EventTime;

use super::files::Named;
use super::*;

fn named(number: u64, vectors: u64) -> Named {
    Named { number, oldest: EventTime(10), newest: EventTime(20), vectors }
}

fn log() -> (tempfile::TempDir, LogDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = LogDir::new(dir.path().join("served"));
    (dir, log)
}

#[test]
fn files_count_once_they_are_whole_and_until_they_expire() {
    let (_dir, log) = log();
    assert_eq!((log.files().unwrap(), log.expired().unwrap()), (Vec::new(), Expired::default()));
    for number in 1..=4 {
        log.write("a service, named / so", named(number, 10 * number), b"bytes").unwrap();
    }
    let files = log.files().unwrap();
    assert_eq!(files.iter().map(|file| (file.named, file.bytes)).collect::<Vec<_>>(), (1..=4).map(|n| (named(n, 10 * n), 5)).collect::<Vec<_>>());
    let parent = files[0].path.parent().unwrap().to_owned();
    fs::write(parent.join("000000000005-1-2-3.unfinished"), "torn").unwrap();
    log.expire(&files[..2]).unwrap();
    assert_eq!(log.expired().unwrap(), Expired { through: 2, vectors: 30 });
    assert_eq!(log.files().unwrap().iter().map(|file| file.named.number).collect::<Vec<_>>(), [3, 4]);
    let (read, expired) = log.read().unwrap();
    assert_eq!((read.len(), expired.vectors), (2, 30));
    // A crash between writing it down and removing it: what is written down is gone.
    fs::write(parent.join("000000000002-0000000000000010-0000000000000020-00000020.parquet"), "bytes").unwrap();
    assert_eq!((log.files().unwrap().len(), log.read().unwrap().0.len()), (2, 2));
    log.settle().unwrap();
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 2);
}

fn asked<'a>(rows: &'a RecordBatch, moments: &'a [i64], request_id: &'a str) -> Asked<'a> {
    Asked { request_id, name: "s", rows, moments }
}

#[test]
fn a_share_is_picked_by_what_is_asked_alone() {
    let count = 20_000;
    let cards: StringArray = (0..count).map(|number| Some(format!("c{number}"))).collect();
    let amounts: Float64Array = (0..count).map(|number| (number % 3 > 0).then_some(f64::from(number))).collect();
    let rows = RecordBatch::try_from_iter([("card", Arc::new(cards) as arrow::array::ArrayRef), ("amount", Arc::new(amounts))]).unwrap();
    let moments = vec![5; count as usize];
    for share in [0.01, 0.5, 0.99] {
        let sampler = Sampler::new(share);
        let Pick::Some(picked) = sampler.pick(&asked(&rows, &moments, "")) else { panic!("all or none of {count}") };
        let found = picked.len() as f64 / f64::from(count);
        // Five standard deviations.
        assert!((found - share).abs() < 5.0 * (share * (1.0 - share) / f64::from(count)).sqrt(), "{found} of {share}");
        // The same rows in other company, and on another server.
        let (half, others) = (rows.slice(10_000, 10_000), &moments[10_000..]);
        let Pick::Some(again) = Sampler::new(share).pick(&asked(&half, others, "")) else { panic!("all or none of half") };
        let of_half: Vec<u32> = picked.iter().filter(|row| **row >= 10_000).map(|row| row - 10_000).collect();
        assert_eq!(again, of_half);
        let whole = (0..2000).filter(|number| sampler.pick(&asked(&rows, &moments, &format!("id {number}"))) == Pick::All).count();
        assert!((whole as f64 / 2000.0 - share).abs() < 5.0 * (share * (1.0 - share) / 2000.0).sqrt(), "{whole} requests of {share}");
    }
    assert_eq!(Sampler::new(0.0).pick(&asked(&rows, &moments, "x")), Pick::None);
    assert_eq!(Sampler::new(1.0).pick(&asked(&rows, &moments, "x")), Pick::All);
}
