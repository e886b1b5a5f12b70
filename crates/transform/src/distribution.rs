//! Values counted by the bins of what they are compared with: counts that merge by adding, and how far two of them are apart.
//!
//! The bins are the reference's own: forty quantiles of its numbers, or groups of its texts by their hash, and one of NULL. So what is counted of a stream costs a search of forty edges a
//! value and 42 numbers a window, whatever comes, and windows are put together by adding. Edges are taken from the histogram that a training set's profile has (or from values), where it has them,
//! so that a value that was in one bin in training is in the same one here.
//!
//! Two samples of one distribution differ too. [`Comparison`] says by how much they may by chance, of as many values as there are; beneath that a figure says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use lockstep_model::Error;
use lockstep_model::codec::{CodecError, Reader, put_varint};
use xxhash_rust::xxh3::xxh3_64;

use crate::aggregate::histogram;
use crate::drift::index;

/// Bins of numbers, at most.
const QUANTILES: u64 = 40;
/// Groups of texts.
pub(crate) const TEXTS: usize = 16;
/// With what a reference that is written down begins.
const NUMBERS: u8 = 1;
const TEXTS_TAG: u8 = 2;
/// About the least share of the reference that a bin of the stability index has: finer bins are put together, ten of them at the most.
const INDEX_SHARE: f64 = 0.09;
/// How many standard deviations an index of chance is given: one look in some millions is beyond.
const SIGMAS: f64 = 5.0;
/// What the distance of chance is, in units of the root of 1/n + 1/m: of one look in a million.
const DISTANCE: f64 = 2.69;

/// What values are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    bins: Bins,
    /// By bin; the last is that of NULL.
    counts: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Bins {
    /// Between these, ascending.
    Numbers(Vec<f64>),
    /// By hash.
    Texts,
}

/// Values counted by the bins of a reference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts(Vec<u64>);

/// How far values are from those of a reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Population stability index.
    pub index: f64,
    /// What that is beneath where both are of one distribution.
    pub index_by_chance: f64,
    /// Greatest distance of the cumulative distributions of numbers; 0 for texts.
    pub distance: f64,
    /// What that is beneath where both are of one distribution.
    pub distance_by_chance: f64,
    /// Values of the reference, and of what is compared.
    pub values: [u64; 2],
    /// The share of NULL of each.
    pub nulls: [f64; 2],
    /// Bins, with the share of each side.
    pub bins: Vec<(String, [f64; 2])>,
}

impl Reference {
    /// What a profile says of a column: its states, the values that are not NULL, and the rows. `None` where it has no histogram, as of lists and moments.
    ///
    /// # Errors
    /// Data where a state is none.
    pub fn of_profile(data_type: &DataType, states: &BTreeMap<String, Vec<u8>>, (values, rows): (u64, u64)) -> Result<Option<Reference>, Error> {
        let (bins, mut counts) = if is_text(data_type) {
            let Some(state) = states.get(crate::profile::TEXTS_STATE) else { return Ok(None) };
            (Bins::Texts, crate::profile::decode_texts(state)?.to_vec())
        } else if is_number(data_type) {
            let Some(state) = states.get("approx_percentile_cont") else { return Ok(None) };
            let buckets = histogram(state).map_err(|error| Error::data(format!("the profile of a feature does not decode: {}", error.what)))?;
            let edges = edges(&buckets);
            let counts = counted(&edges, &buckets);
            (Bins::Numbers(edges), counts)
        } else {
            return Ok(None);
        };
        // Sketches look at some of the values; NULLs are counted in the same proportion.
        let sketched: u64 = counts.iter().sum();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of counts")]
        let nulls = match values {
            0 => rows,
            values => (rows.saturating_sub(values) as f64 * sketched as f64 / values as f64).round() as u64,
        };
        counts.push(nulls);
        Ok(Some(Reference { bins, counts }))
    }

    /// Values themselves. `None` where they are of a type that has no bins.
    ///
    /// # Errors
    /// Where a kernel refuses them.
    pub fn of_values(column: &ArrayRef) -> Result<Option<Reference>, Error> {
        if is_text(column.data_type()) {
            let mut reference = Reference { bins: Bins::Texts, counts: vec![0; TEXTS + 1] };
            reference.counts = reference.count(column)?.0;
            return Ok(Some(reference));
        }
        if !is_number(column.data_type()) {
            return Ok(None);
        }
        let mut sorted: Vec<f64> = numbers(column)?.into_iter().flatten().map(whole).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for value in sorted {
            match buckets.last_mut() {
                Some((last, count)) if last.total_cmp(&value).is_eq() => *count += 1,
                _ => buckets.push((value, 1)),
            }
        }
        let mut reference = Reference { bins: Bins::Numbers(edges(&buckets)), counts: Vec::new() };
        reference.counts = reference.count(column)?.0;
        Ok(Some(reference))
    }

    /// How many values it is of.
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Writes it down: its edges as they are in memory, and its counts.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.bins {
            Bins::Numbers(edges) => {
                out.push(NUMBERS);
                put_varint(out, edges.len() as u64);
                edges.iter().for_each(|edge| out.extend_from_slice(&edge.to_le_bytes()));
            }
            Bins::Texts => out.push(TEXTS_TAG),
        }
        self.counts.iter().for_each(|count| put_varint(out, *count));
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where it wrote something else.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Reference, CodecError> {
        let bins = match reader.byte()? {
            NUMBERS => {
                let edges = reader.varint()?;
                if edges > QUANTILES {
                    return Err(CodecError::new("more edges than a reference has"));
                }
                Bins::Numbers((0..edges).map(|_| reader.array().map(f64::from_le_bytes)).collect::<Result<_, _>>()?)
            }
            TEXTS_TAG => Bins::Texts,
            _ => return Err(CodecError::new("bins of a kind that there is not")),
        };
        let counts = (0..=bins.len()).map(|_| reader.varint()).collect::<Result<_, _>>()?;
        Ok(Reference { bins, counts })
    }

    /// Reads what [`Counts::encode`] wrote of counts by its bins.
    ///
    /// # Errors
    /// Where it wrote something else.
    pub fn decode_counts(&self, reader: &mut Reader<'_>) -> Result<Counts, CodecError> {
        match reader.varint()? {
            0 => Ok(Counts::default()),
            bins if bins == self.counts.len() as u64 => Ok(Counts((0..bins).map(|_| reader.varint()).collect::<Result<_, _>>()?)),
            _ => Err(CodecError::new("counts by other bins")),
        }
    }

    /// Counts values by its bins.
    ///
    /// # Errors
    /// Internal where they are of another type.
    pub fn count(&self, column: &ArrayRef) -> Result<Counts, Error> {
        let mut counts = vec![0; self.bins.len() + 1];
        match &self.bins {
            Bins::Numbers(edges) => {
                numbers(column)?.into_iter().for_each(|value| counts[value.map_or(edges.len() + 1, |value| bin(edges, whole(value)))] += 1);
            }
            Bins::Texts => texts(column)?.into_iter().for_each(|text| counts[text.map_or(TEXTS, group)] += 1),
        }
        Ok(Counts(counts))
    }

    /// How far values that were counted by its bins are from its own; `None` where either side has none.
    pub fn compare(&self, counts: &Counts) -> Option<Comparison> {
        let sides: Vec<[u64; 2]> = self.counts.iter().copied().zip(counts.0.iter().copied()).map(|(own, other)| [own, other]).collect();
        let values = [0, 1].map(|side| sides.iter().map(|bin| bin[side]).sum::<u64>());
        let (nulls, bins) = sides.split_last()?;
        if values.contains(&0) {
            return None;
        }
        let grouped = self.grouped(bins);
        let with_nulls: Vec<[u64; 2]> = grouped.iter().map(|(_, counts)| *counts).chain([*nulls]).collect();
        let shares = |counts: &[u64; 2]| [share(counts[0], values[0]), share(counts[1], values[1])];
        let said = grouped.iter().map(|(label, counts)| (label.clone(), shares(counts)));
        // A bin that is empty on both sides is none.
        let used = with_nulls.iter().filter(|counts| counts.iter().any(|count| *count > 0)).count();
        Some(Comparison {
            index: index(&with_nulls),
            index_by_chance: index_by_chance(used, values),
            distance: if matches!(self.bins, Bins::Numbers(_)) { distance(bins) } else { 0.0 },
            distance_by_chance: distance_by_chance(bins),
            values,
            nulls: shares(nulls),
            bins: said.chain([("NULL".to_owned(), shares(nulls))]).collect(),
        })
    }

    /// Where values that were counted by its bins lie within its own: 0 for all below, 1 for all above; `None` where there are none. It moves one way where values do.
    pub fn rank(&self, counts: &Counts) -> Option<f64> {
        let bins = self.bins.len();
        let (own, other) = (self.counts.get(..bins)?, counts.0.get(..bins)?);
        let [of_own, of_other] = [own, other].map(|counts| counts.iter().sum::<u64>());
        if of_own == 0 || of_other == 0 {
            return None;
        }
        let mut below = 0.0;
        let ranks = own.iter().zip(other).map(|(own, other)| {
            let middle = below + share(*own, of_own) / 2.0;
            below += share(*own, of_own);
            middle * share(*other, of_other)
        });
        Some(ranks.sum())
    }

    /// Bins of a tenth of the reference and more, with what each is called.
    fn grouped(&self, bins: &[[u64; 2]]) -> Vec<(String, [u64; 2])> {
        let Bins::Numbers(edges) = &self.bins else {
            return bins.iter().enumerate().map(|(group, counts)| (format!("texts {} of {TEXTS}", group + 1), *counts)).collect();
        };
        let all: u64 = bins.iter().map(|bin| bin[0]).sum();
        let mut grouped: Vec<(String, [u64; 2])> = Vec::new();
        let mut open = [0, 0];
        for (at, counts) in bins.iter().enumerate() {
            (open[0], open[1]) = (open[0] + counts[0], open[1] + counts[1]);
            match edges.get(at) {
                Some(edge) if share(open[0], all) >= INDEX_SHARE => grouped.push((format!("to {}", short(*edge)), std::mem::take(&mut open))),
                Some(_) => {}
                None => {
                    let label = edges.last().map_or_else(|| "all".to_owned(), |edge| format!("above {}", short(*edge)));
                    grouped.push((label, open));
                }
            }
        }
        grouped
    }
}

impl Bins {
    fn len(&self) -> usize {
        match self {
            Bins::Numbers(edges) => edges.len() + 1,
            Bins::Texts => TEXTS,
        }
    }
}

impl Counts {
    /// Adds those of another sample, by the same bins.
    pub fn add(&mut self, other: &Counts) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// How many there are.
    pub fn values(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Writes them down.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        self.0.iter().for_each(|count| put_varint(out, *count));
    }
}

/// Of which group a text is.
pub(crate) fn group(text: &str) -> usize {
    (xxh3_64(text.as_bytes()) % TEXTS as u64) as usize
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

fn numbers(column: &ArrayRef) -> Result<Vec<Option<f64>>, Error> {
    let kernel = |error| Error::internal("a kernel refused values of a feature").caused_by(error);
    let floats = cast(column, &DataType::Float64).map_err(kernel)?;
    Ok(floats.as_primitive::<arrow::datatypes::Float64Type>().iter().collect())
}

/// The texts of a column, whatever its layout.
pub(crate) fn texts(column: &ArrayRef) -> Result<Vec<Option<&str>>, Error> {
    let known = match column.data_type() {
        DataType::Utf8 => column.as_string_opt::<i32>().map(|texts| texts.iter().collect()),
        DataType::LargeUtf8 => column.as_string_opt::<i64>().map(|texts| texts.iter().collect()),
        _ => column.as_string_view_opt().map(|texts| texts.iter().collect()),
    };
    known.ok_or_else(|| Error::internal("texts of a type that has none"))
}

/// A number that has an order: no number is the greatest.
fn whole(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

/// Edges between values with their counts, ascending, so that about as many are in each bin. An edge lies in the middle between two values that are there.
fn edges(buckets: &[(f64, u64)]) -> Vec<f64> {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let (mut edges, mut seen, mut next) = (Vec::new(), 0, 1);
    for pair in buckets.windows(2) {
        seen += pair[0].1;
        if seen * QUANTILES >= next * all {
            edges.push(pair[0].0 / 2.0 + pair[1].0 / 2.0);
            next = seen * QUANTILES / all + 1;
        }
    }
    edges
}

/// The bin of a value. A bucket of a histogram has the end that is nearer to zero, and so has a bin.
fn bin(edges: &[f64], value: f64) -> usize {
    edges.partition_point(|edge| if *edge > 0.0 { *edge <= value } else { *edge < value })
}

fn counted(edges: &[f64], buckets: &[(f64, u64)]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    buckets.iter().for_each(|(value, count)| counts[bin(edges, *value)] += count);
    counts
}

/// The greatest distance of two cumulative distributions.
fn distance(bins: &[[u64; 2]]) -> f64 {
    let all = [0, 1].map(|side| bins.iter().map(|bin| bin[side]).sum::<u64>());
    let mut below = [0, 0];
    let mut greatest = 0f64;
    for bin in bins {
        (below[0], below[1]) = (below[0] + bin[0], below[1] + bin[1]);
        greatest = greatest.max((share(below[0], all[0]) - share(below[1], all[1])).abs());
    }
    greatest
}

/// What an index of two samples of one distribution is beneath: a chi-square of as many degrees as there are bins but one, by Wilson and Hilferty, over the sizes.
fn index_by_chance(bins: usize, values: [u64; 2]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a few bins")]
    let degrees = bins.saturating_sub(1).max(1) as f64;
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + SIGMAS * spread.sqrt()).powi(3) * sizes(values)
}

fn distance_by_chance(bins: &[[u64; 2]]) -> f64 {
    DISTANCE * sizes([0, 1].map(|side| bins.iter().map(|bin| bin[side]).sum::<u64>())).sqrt()
}

#[allow(clippy::cast_precision_loss, reason = "sizes of samples")]
fn sizes([n, m]: [u64; 2]) -> f64 {
    1.0 / n.max(1) as f64 + 1.0 / m.max(1) as f64
}

#[allow(clippy::cast_precision_loss, reason = "a share of counts")]
fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

/// A number in four digits.
fn short(value: f64) -> String {
    let digits = if value == 0.0 || !value.is_finite() { 0 } else { (3.0 - value.abs().log10().floor().clamp(-6.0, 3.0)) as usize };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Whether two columns are of one reference: for those who hold values until there are enough.
pub fn concat(columns: &[ArrayRef]) -> Result<ArrayRef, Error> {
    let columns: Vec<&dyn Array> = columns.iter().map(Arc::as_ref).collect();
    arrow::compute::concat(&columns).map_err(|error| Error::internal("values of one feature").caused_by(error))
}

#[cfg(test)]
mod tests;
