//! What a watch has seen, on the disk, so that windows do not begin empty after a restart: the windows of what is served, and measures over time.
//!
//! One small file in the store's directory. It begins with what it is and its version, and ends with a hash of all before; it is written beside and renamed. One that is of another version, or
//! damaged, is nothing: whoever reads it says so once and begins anew, since no answer depends on it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use lockstep_model::Error;
use lockstep_model::codec::{CodecError, Reader, put_bytes, put_signed, put_varint};
use lockstep_transform::distribution::{Counts, Reference, concat};
use xxhash_rust::xxh3::xxh3_64;

use super::history::{Past, text};
use super::reading::Against;
use super::skew::{Compared, Gathered, SLOTS, Skew, Slot, Tracked};

/// With what a file begins; the last byte is the version.
const HEAD: &[u8; 18] = b"lockstep watched\n\x01";
/// Bytes of the hash at its end.
const HASH_LEN: usize = 8;

/// Writes down the windows of what is served, and what was measured over time.
///
/// # Errors
/// Internal where values that are gathered cannot be written.
pub fn encode(skew: &Skew, past: &Past) -> Result<Vec<u8>, Error> {
    let mut out = HEAD.to_vec();
    put_signed(&mut out, skew.slot);
    put_varint(&mut out, skew.definitions);
    for all in [&skew.features, &skew.scores] {
        put_varint(&mut out, all.len() as u64);
        for ((of, name), tracked) in all {
            [of, name].into_iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
            put_tracked(&mut out, tracked)?;
        }
    }
    past.encode(&mut out);
    let hash = xxh3_64(&out);
    out.extend_from_slice(&hash.to_le_bytes());
    Ok(out)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Data where it wrote something else.
pub fn decode(bytes: &[u8]) -> Result<(Skew, Past), Error> {
    decoded(bytes).map_err(|error| Error::data(error.what))
}

fn decoded(bytes: &[u8]) -> Result<(Skew, Past), CodecError> {
    let (body, hash) = bytes.split_last_chunk::<HASH_LEN>().ok_or(CodecError::new("it is cut off"))?;
    let mut reader = Reader::new(body.strip_prefix(HEAD).ok_or(CodecError::new("it is of another version"))?);
    if xxh3_64(body) != u64::from_le_bytes(*hash) {
        return Err(CodecError::new("it is damaged"));
    }
    let slot = reader.signed()?;
    let mut skew = Skew::new(slot.saturating_mul(SLOTS));
    skew.definitions = reader.varint()?;
    skew.features = all_tracked(&mut reader)?;
    skew.scores = all_tracked(&mut reader)?;
    let past = Past::decode(&mut reader)?;
    if reader.is_empty() { Ok((skew, past)) } else { Err(CodecError::new("more follows it")) }
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// Data where it says something else, and as reading has.
pub fn read(path: &Path) -> Result<Option<(Skew, Past)>, Error> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::unavailable(format!("read {}", path.display())).caused_by(error)),
        Ok(bytes) => match decode(&bytes) {
            Ok(read) => Ok(Some(read)),
            Err(error) => Err(Error::data(format!("{} is not what was watched before: {error} · windows begin anew", path.display()))),
        },
    }
}

/// Writes a file: whole, or not at all.
///
/// # Errors
/// Unavailable where it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let written = File::create(&partial).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let written = written.and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| Error::unavailable(format!("write {}", path.display())).caused_by(error))
}

fn put_tracked(out: &mut Vec<u8>, tracked: &Tracked) -> Result<(), Error> {
    put_varint(out, tracked.views.len() as u64);
    tracked.views.iter().for_each(|view| put_bytes(out, view.as_bytes()));
    tracked.values.iter().for_each(|count| put_varint(out, *count));
    match &tracked.compared {
        Compared::Nothing => out.push(0),
        Compared::With(against, reference) => {
            out.push(1 + *against as u8);
            reference.encode(out);
        }
        Compared::Gathering(gathered) => {
            out.push(GATHERING);
            put_gathered(out, gathered)?;
        }
    }
    put_varint(out, tracked.slots.len() as u64);
    for (number, slot) in &tracked.slots {
        put_signed(out, *number);
        slot.statuses.iter().for_each(|count| put_varint(out, *count));
        slot.counts.encode(out);
    }
    Ok(())
}

/// What follows the three that there are to compare with.
const GATHERING: u8 = 4;

fn all_tracked(reader: &mut Reader<'_>) -> Result<BTreeMap<(String, String), Tracked>, CodecError> {
    (0..reader.varint()?).map(|_| Ok(((text(reader)?, text(reader)?), tracked(reader)?))).collect()
}

fn tracked(reader: &mut Reader<'_>) -> Result<Tracked, CodecError> {
    let views = (0..reader.varint()?).map(|_| text(reader)).collect::<Result<_, _>>()?;
    let values = five(reader)?;
    let compared = match reader.byte()? {
        0 => Compared::Nothing,
        GATHERING => Compared::Gathering(gathered(reader)?),
        tag => {
            let all = [Against::Training, Against::Published, Against::First];
            let against = all.into_iter().find(|against| 1 + *against as u8 == tag).ok_or(CodecError::new("compared with what there is not"))?;
            Compared::With(against, Arc::new(Reference::decode(reader)?))
        }
    };
    let mut slots = VecDeque::new();
    for _ in 0..reader.varint()? {
        let number = reader.signed()?;
        let statuses = five(reader)?;
        let counts = match &compared {
            Compared::With(_, reference) => reference.decode_counts(reader)?,
            // Nothing was counted by bins.
            _ if reader.varint()? == 0 => Counts::default(),
            _ => return Err(CodecError::new("counts by no bins")),
        };
        slots.push_back((number, Slot { statuses, counts }));
    }
    Ok(Tracked { views, compared, slots, values })
}

fn five(reader: &mut Reader<'_>) -> Result<[u64; 5], CodecError> {
    let mut counts = [0; 5];
    for count in &mut counts {
        *count = reader.varint()?;
    }
    Ok(counts)
}

fn put_gathered(out: &mut Vec<u8>, gathered: &Gathered) -> Result<(), Error> {
    let Gathered { since, held, seen, every, .. } = gathered;
    put_signed(out, *since);
    [seen, every].into_iter().for_each(|count| put_varint(out, *count));
    let stream = if held.is_empty() { Vec::new() } else { stream(concat(held)?)? };
    put_bytes(out, &stream);
    Ok(())
}

fn gathered(reader: &mut Reader<'_>) -> Result<Gathered, CodecError> {
    let (since, seen, every) = (reader.signed()?, reader.varint()?, reader.varint()?);
    let stream = reader.bytes()?;
    let held = if stream.is_empty() { Vec::new() } else { vec![column(stream).ok_or(CodecError::new("values that are gathered do not decode"))?] };
    Ok(Gathered { since, rows: held.iter().map(|held| held.len()).sum(), held, seen, every: every.max(1) })
}

/// One column as Arrow's stream has it.
fn stream(values: ArrayRef) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::internal("write values of a prediction").caused_by(error);
    let batch = RecordBatch::try_from_iter_with_nullable([("values", values, true)]).map_err(failed)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.into_inner().map_err(failed)
}

fn column(stream: &[u8]) -> Option<ArrayRef> {
    let batch = StreamReader::try_new(stream, None).ok()?.next()?.ok()?;
    batch.columns().first().map(Arc::clone)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Float64Array, StringArray};
    use lockstep_model::Status;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// Windows with something of everything.
    fn skew() -> Skew {
        let mut skew = Skew::new(6 * HOUR);
        skew.definitions = 7;
        let numbers =
            |from: usize| -> ArrayRef { Arc::new((from..from + 900).map(|n| (n % 7 > 0).then_some(n as f64 / 3.0)).collect::<Float64Array>()) };
        let texts: ArrayRef = Arc::new((0..200).map(|n| Some(format!("t{}", n % 9))).collect::<StringArray>());
        let reference = |values: &ArrayRef| Arc::new(Reference::of_values(values).unwrap().unwrap());
        let mut add = |is_score: bool, name: &str, compared: Compared, values: &ArrayRef| {
            let mut tracked = Tracked::new(vec!["cards".to_owned()], compared);
            let statuses: Vec<Status> = (0..values.len()).map(|row| if values.is_null(row) { Status::Null } else { Status::Present }).collect();
            for hour in 100..103 {
                tracked.add(values, &statuses, hour * HOUR, skew.slot).unwrap();
            }
            let of = if is_score { &mut skew.scores } else { &mut skew.features };
            of.insert(("fraud".to_owned(), name.to_owned()), tracked);
        };
        add(false, "trained", Compared::With(Against::Training, reference(&numbers(0))), &numbers(50));
        add(false, "text", Compared::With(Against::Training, reference(&texts)), &texts);
        add(false, "list", Compared::Nothing, &numbers(0));
        add(true, "published", Compared::With(Against::Published, reference(&numbers(9))), &numbers(0));
        add(true, "gathering", Compared::Gathering(Gathered::since(100 * HOUR)), &numbers(0));
        add(true, "first", Compared::With(Against::First, reference(&texts)), &texts);
        skew
    }

    #[test]
    fn windows_go_on_where_they_were() {
        let (mut before, at) = (skew(), 103 * HOUR);
        let (mut again, _) = decode(&encode(&before, &Past::default()).unwrap()).unwrap();
        assert_eq!((again.window(), again.definitions), (6 * HOUR, 7));
        assert_eq!((again.features(at), again.scores(at)), (before.features(at), before.scores(at)));
        assert_eq!(again.features(at)["fraud"].iter().filter(|feature| feature.drift.is_some()).count(), 2);
        // What was being gathered is gathered on, until a window is over.
        let gathering = ("fraud".to_owned(), "gathering".to_owned());
        let later: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 100]));
        for skew in [&mut before, &mut again] {
            let slot = skew.slot;
            skew.scores.get_mut(&gathering).unwrap().add(&later, &[Status::Present; 100], 106 * HOUR, slot).unwrap();
            skew.scores.get_mut(&gathering).unwrap().add(&later, &[Status::Present; 100], 107 * HOUR, slot).unwrap();
        }
        let compared = again.scores(107 * HOUR);
        assert_eq!(compared, before.scores(107 * HOUR));
        let drift = compared["fraud"].iter().find(|score| score.feature == "gathering").and_then(|score| score.drift.clone()).unwrap();
        assert_eq!((drift.against, drift.reference_values), (Against::First, 2700));
    }

    #[test]
    fn definitions_that_serve_still_forget_nothing_and_others_do() {
        let (mut again, _) = decode(&encode(&skew(), &Past::default()).unwrap()).unwrap();
        again.serves(7, []);
        assert_eq!(again.features.len(), 3);
        again.serves(8, []);
        assert!(again.features.is_empty());
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let bytes = encode(&skew(), &Past::default()).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err(), "{at}");
            assert!(decode(&bytes[..at]).is_err(), "{at}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watched");
        assert!(read(&path).unwrap().is_none());
        write(&path, &bytes).unwrap();
        assert!(read(&path).unwrap().is_some());
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("is not what was watched before: it is damaged · windows begin anew"), "{error}");
    }
}
