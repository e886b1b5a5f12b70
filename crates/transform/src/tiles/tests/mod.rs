//! The tree against a model: events in a list, read by looking at each of them.

mod audit;
mod batches;
mod broken;
mod model;
mod speed;
mod survey;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use lockstep_model::row::RowCodec;

use super::{Measure, Measures};
use crate::aggregate::{Call, bind};

/// What is stored of each event of these tests.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    float: Option<f64>,
    integer: Option<i64>,
    text: Option<String>,
    flag: Option<bool>,
    passes: Option<bool>,
}

const FLOAT: usize = 0;
const INTEGER: usize = 1;
const TEXT: usize = 2;
const FLAG: usize = 3;
const PASSES: usize = 4;

impl Stored {
    /// One of a few hundred, with NULLs, infinities and signed zeros among them.
    fn of(seed: u16) -> Stored {
        let [a, b] = seed.to_le_bytes();
        Stored {
            float: match a % 16 {
                0 => None,
                1 => Some(f64::from(b) * 1e300),
                2 => Some(-0.0),
                3 if b % 8 == 0 => Some(f64::INFINITY),
                _ => Some(f64::from(a) * 0.1 - f64::from(b) / 7.0),
            },
            integer: match b % 8 {
                0 => None,
                1 => Some(i64::MAX - i64::from(a)),
                _ => Some(i64::from(b) - 100),
            },
            text: (a % 5 != 0).then(|| "abcdefghijk"[..usize::from(b % 11)].to_owned()),
            flag: (b % 3 != 0).then_some(a % 2 == 0),
            passes: (a % 7 != 0).then_some(b % 2 == 0),
        }
    }

    fn columns(rows: &[Stored]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.integer).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.passes).collect::<BooleanArray>()),
        ]
    }

    fn encode(&self, codec: &RowCodec) -> Vec<u8> {
        let columns = Stored::columns(std::slice::from_ref(self));
        let mut out = Vec::new();
        codec.encoder(&columns).unwrap().write(0, &mut out);
        out
    }
}

fn codec() -> RowCodec {
    let types = [DataType::Float64, DataType::Int64, DataType::Utf8, DataType::Boolean, DataType::Boolean];
    let fields = types.into_iter().enumerate().map(|(at, data_type)| Field::new(format!("stored {at}"), data_type, true));
    RowCodec::new(Arc::new(Schema::new(fields.collect::<Vec<_>>()))).unwrap()
}

/// A call over one stored column, or over none.
#[derive(Clone, Copy)]
struct Spec {
    name: &'static str,
    column: Option<usize>,
    constant: Option<f64>,
    distinct: bool,
    ignore_nulls: bool,
    filtered: bool,
}

const fn call(name: &'static str, column: Option<usize>) -> Spec {
    Spec { name, column, constant: None, distinct: false, ignore_nulls: false, filtered: false }
}

/// Every aggregate, some of them filtered, most over a column with NULLs.
const SPECS: [Spec; 26] = [
    call("count", None),
    Spec { filtered: true, ..call("count", None) },
    call("count", Some(TEXT)),
    Spec { distinct: true, ..call("count", Some(TEXT)) },
    call("sum", Some(FLOAT)),
    Spec { filtered: true, ..call("sum", Some(FLOAT)) },
    call("sum", Some(INTEGER)),
    call("avg", Some(FLOAT)),
    call("avg", Some(INTEGER)),
    call("min", Some(FLOAT)),
    call("max", Some(TEXT)),
    Spec { filtered: true, ..call("max", Some(INTEGER)) },
    call("var_samp", Some(FLOAT)),
    call("stddev_pop", Some(FLOAT)),
    call("first_value", Some(FLOAT)),
    Spec { ignore_nulls: true, ..call("first_value", Some(TEXT)) },
    call("last_value", Some(TEXT)),
    Spec { ignore_nulls: true, filtered: true, ..call("last_value", Some(INTEGER)) },
    Spec { constant: Some(2.0), ..call("nth_value", Some(INTEGER)) },
    Spec { constant: Some(-3.0), ..call("nth_value", Some(FLOAT)) },
    call("array_agg", Some(INTEGER)),
    Spec { ignore_nulls: true, filtered: true, ..call("array_agg", Some(TEXT)) },
    call("approx_distinct", Some(INTEGER)),
    Spec { constant: Some(0.9), ..call("approx_percentile_cont", Some(FLOAT)) },
    call("bool_and", Some(FLAG)),
    Spec { filtered: true, ..call("bool_or", Some(FLAG)) },
];

/// Lists and distinct sets of more than this many are errors.
const LIMIT: usize = 9;

fn measures() -> Measures {
    let schema = codec();
    let measure = |spec: &Spec| {
        let data_types: Vec<DataType> = spec.column.iter().map(|&column| schema.schema().field(column).data_type().clone()).collect();
        let literals: Vec<ScalarValue> = (spec.constant.iter())
            .map(|&constant| if constant.fract() == 0.0 { ScalarValue::Int64(Some(constant as i64)) } else { ScalarValue::Float64(Some(constant)) })
            .collect();
        let call = Call {
            name: spec.name,
            arg_types: &data_types,
            literals: &literals,
            distinct: spec.distinct,
            ignore_nulls: spec.ignore_nulls,
            limit: Some(LIMIT),
        };
        let aggregate = bind(&call).unwrap();
        let tiled = aggregate.tiled();
        Measure { aggregate, args: spec.column.into_iter().collect(), filter: spec.filtered.then_some(PASSES), tiled }
    };
    let measures = SPECS.iter().map(measure).collect();
    Measures { codec: schema, measures }
}
