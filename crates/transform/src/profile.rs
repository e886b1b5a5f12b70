//! What the values of a column are like: count, range, mean, spread, distinct values and quantiles, in states that can be merged.
//!
//! Each of them is one of the aggregates that features are made of, so that a profile of a whole is that of its parts merged, whatever the parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use lockstep_model::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Call, Groups, OrderKeys, Rows, bind};
use crate::distribution::{TEXTS, group, is_text, texts};

/// Most values of a batch that sketches look at: every so many of them.
const SKETCHED: usize = 1 << 14;

/// The state beside those of aggregates: how many texts are in each of sixteen groups by their hash, eight bytes each, the least first.
pub(crate) const TEXTS_STATE: &str = "text_groups";

/// The quantiles that a summary tells.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// The profile of a column.
#[derive(Debug)]
pub struct Profile {
    measures: Vec<Measured>,
    /// Whether values are profiled as floats.
    numeric: bool,
    /// Texts by group, of a column of texts.
    texts: Option<[u64; TEXTS]>,
}

struct Measured {
    name: &'static str,
    groups: Box<dyn Groups>,
    /// Whether it looks at some of the values only.
    is_sketch: bool,
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Values that are not NULL.
    pub count: u64,
    /// The smallest, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The greatest, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// The mean, of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// The standard deviation of a sample, of numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    /// About how many distinct values there are among those sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// Quantiles of those sampled, within 0.8 %: 1, 5, 25, 50, 75, 95 and 99 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Vec<f64>>,
}

#[derive(Debug)]
struct Unordered;

impl OrderKeys for Unordered {
    fn get(&self, _: usize) -> &[u8] {
        &[]
    }
}

impl Profile {
    /// Of no value yet, of a column of this type.
    pub fn new(data_type: &DataType) -> Profile {
        let numeric = data_type.is_numeric() || *data_type == DataType::Boolean;
        let of = if numeric { DataType::Float64 } else { data_type.clone() };
        let sketches: &[(&str, &[ScalarValue])] = &[("approx_distinct", &[]), ("approx_percentile_cont", &[ScalarValue::Float64(Some(0.5))])];
        let exact = ["count", "min", "max", "avg", "stddev"].map(|name| (name, &[][..], false));
        let all = exact.into_iter().chain(sketches.iter().map(|&(name, literals)| (name, literals, true)));
        let measures = all.filter_map(|(name, literals, is_sketch)| {
            let aggregate = call(name, &of, literals)?;
            let mut groups = aggregate.groups();
            groups.resize(1);
            Some(Measured { name, groups, is_sketch })
        });
        Profile { measures: measures.collect(), numeric, texts: is_text(data_type).then_some([0; TEXTS]) }
    }

    /// Takes in the values of a batch.
    ///
    /// # Errors
    /// Where they are of another type.
    pub fn add(&mut self, column: &ArrayRef) -> Result<(), Error> {
        let kernel = |error| Error::internal("a kernel refused values of a feature").caused_by(error);
        let column = if self.numeric { cast(column, &DataType::Float64).map_err(kernel)? } else { Arc::clone(column) };
        if let Some(groups) = &mut self.texts {
            texts(&column)?.into_iter().flatten().for_each(|text| groups[group(text)] += 1);
        }
        let all: Vec<(u32, u32)> = (0..column.len() as u32).map(|row| (row, 0)).collect();
        let stride = column.len().div_ceil(SKETCHED).max(1);
        let some: Vec<(u32, u32)> = all.iter().step_by(stride).copied().collect();
        let few = if stride == 1 {
            Arc::clone(&column)
        } else {
            let rows: arrow::array::UInt32Array = some.iter().map(|&(row, _)| row).collect();
            take(&column, &rows, None).map_err(kernel)?
        };
        for measured in &mut self.measures {
            let args = if measured.is_sketch { &few } else { &column };
            let pairs = &all[..args.len()];
            measured.groups.update(Rows { args: std::slice::from_ref(args), pairs, order: &Unordered });
        }
        Ok(())
    }

    /// The states, by the names of their aggregates.
    pub fn states(&self) -> BTreeMap<String, Vec<u8>> {
        let state = |measured: &Measured| {
            let mut bytes = Vec::new();
            measured.groups.encode(0, &mut bytes);
            (measured.name.to_owned(), bytes)
        };
        let groups = self.texts.map(|groups| (TEXTS_STATE.to_owned(), groups.iter().flat_map(|count| count.to_le_bytes()).collect()));
        self.measures.iter().map(state).chain(groups).collect()
    }

    /// Takes in the states of another profile.
    ///
    /// # Errors
    /// Data where they are none of this type's.
    pub fn merge(&mut self, states: &BTreeMap<String, Vec<u8>>) -> Result<(), Error> {
        for measured in &mut self.measures {
            if let Some(state) = states.get(measured.name) {
                measured.groups.merge(0, state)?;
            }
        }
        if let (Some(groups), Some(state)) = (&mut self.texts, states.get(TEXTS_STATE)) {
            groups.iter_mut().zip(decode_texts(state)?).for_each(|(count, more)| *count = count.saturating_add(more));
        }
        Ok(())
    }

    /// What it says.
    pub fn summary(&self) -> Summary {
        let finished = |name: &str| self.measures.iter().find(|measured| measured.name == name).map(|measured| measured.groups.finish().values);
        let text = |name: &str| {
            let value = finished(name).filter(|value| value.is_valid(0))?;
            let formatter = ArrayFormatter::try_new(&value, &FormatOptions::default()).ok()?;
            formatter.value(0).try_to_string().ok()
        };
        let float =
            |name: &str| finished(name).filter(|value| value.is_valid(0)).and_then(|value| Some(value.as_primitive_opt::<Float64Type>()?.value(0)));
        let whole = |name: &str| finished(name).and_then(|value| Some(value.as_primitive_opt::<UInt64Type>()?.value(0)));
        let count = finished("count").and_then(|value| Some(value.as_primitive_opt::<Int64Type>()?.value(0)));
        Summary {
            count: count.map_or(0, i64::unsigned_abs),
            min: text("min"),
            max: text("max"),
            mean: float("avg"),
            stddev: float("stddev"),
            distinct: whole("approx_distinct"),
            quantiles: self.quantiles(),
        }
    }

    fn quantiles(&self) -> Option<Vec<f64>> {
        let histogram = self.measures.iter().find(|measured| measured.name == "approx_percentile_cont").filter(|_| self.numeric)?;
        let mut state = Vec::new();
        histogram.groups.encode(0, &mut state);
        let of = |quantile: f64| {
            let aggregate = call("approx_percentile_cont", &DataType::Float64, &[ScalarValue::Float64(Some(quantile))])?;
            let mut groups = aggregate.groups();
            groups.resize(1);
            groups.merge(0, &state).ok()?;
            let value = groups.finish().values;
            value.is_valid(0).then(|| value.as_primitive_opt::<Float64Type>().map(|value| value.value(0))).flatten()
        };
        QUANTILES.into_iter().map(of).collect()
    }
}

/// Texts by group, from their state.
pub(crate) fn decode_texts(state: &[u8]) -> Result<[u64; TEXTS], Error> {
    let mut groups = [0; TEXTS];
    if state.len() != TEXTS * 8 {
        return Err(Error::data("the profile of a feature does not decode: text groups of another number"));
    }
    for (count, bytes) in groups.iter_mut().zip(state.as_chunks::<8>().0) {
        *count = u64::from_le_bytes(*bytes);
    }
    Ok(groups)
}

/// An aggregate over a type; `None` where it has none.
fn call(name: &str, of: &DataType, literals: &[ScalarValue]) -> Option<Arc<dyn Aggregate>> {
    bind(&Call { name, arg_types: std::slice::from_ref(of), literals, distinct: false, ignore_nulls: false, limit: None }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, ListArray, StringArray};

    fn profile(data_type: &DataType, parts: &[ArrayRef]) -> Profile {
        let mut all = Profile::new(data_type);
        for part in parts {
            let mut profile = Profile::new(data_type);
            profile.add(part).unwrap();
            all.merge(&profile.states()).unwrap();
        }
        all
    }

    #[test]
    fn a_profile_of_parts_is_that_of_the_whole() {
        let values: Vec<Option<i64>> = (0..1000).map(|n| (n % 10 != 0).then_some(n)).collect();
        let whole: ArrayRef = Arc::new(Int64Array::from(values));
        let parts: Vec<ArrayRef> =
            [0, 1, 300, 301].windows(2).map(|ends| whole.slice(ends[0], ends[1] - ends[0])).chain([whole.slice(301, 699)]).collect();
        let (merged, once) = (profile(&DataType::Int64, &parts), profile(&DataType::Int64, &[Arc::clone(&whole)]));
        assert_eq!(merged.states(), once.states());
        let summary = merged.summary();
        assert_eq!((summary.count, summary.mean), (900, Some(500.0)));
        assert_eq!((summary.min.as_deref(), summary.max.as_deref()), (Some("1.0"), Some("999.0")));
        let median = summary.quantiles.unwrap()[3];
        assert!((median - 500.0).abs() < 5.0, "{median}");
    }

    #[test]
    fn texts_lists_and_nothing_have_profiles_too() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
        let summary = profile(&DataType::Utf8, &[texts]).summary();
        assert_eq!((summary.count, summary.min.as_deref(), summary.distinct, summary.mean), (3, Some("a"), Some(2), None));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None]));
        assert_eq!(profile(lists.data_type(), &[Arc::clone(&lists)]).summary().count, 1);
        let nothing: ArrayRef = Arc::new(Float64Array::from(Vec::<f64>::new()));
        assert_eq!(profile(&DataType::Float64, &[nothing]).summary(), Summary { distinct: Some(0), ..Summary::default() });
    }
}
