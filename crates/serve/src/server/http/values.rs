//! Values as JSON, without loss: whole numbers of 64 bits and decimals are texts, NaN and the infinities too.

use arrow::datatypes::{DataType, TimeUnit as ArrowUnit};
use arrow::datatypes::{Date32Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType};
use arrow::temporal_conversions::{as_date, as_datetime};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::SecondsFormat;
use lockstep_client::proto::values::Values as Wire;
use lockstep_client::proto::{self, Binaries, Booleans, Doubles, Ints, Kind, Lists, Strings, TimeUnit, UInts, Values};
use lockstep_model::Error;
use lockstep_transform::definition::sql_name;
use serde_json::{Number, Value, json};

/// A column for the wire out of JSON.
///
/// # Errors
/// Invalid where a value is not what the type takes; the message names the row.
pub fn column<'a>(values: impl ExactSizeIterator<Item = &'a Value>, data_type: &DataType) -> Result<Values, Error> {
    let mut nulls = Vec::new();
    let mut present: Vec<(usize, Option<&Value>)> = Vec::with_capacity(values.len());
    for (row, value) in values.enumerate() {
        if value.is_null() {
            nulls.push(row as u32);
        }
        present.push((row, Some(value).filter(|value| !value.is_null())));
    }
    Ok(Values { values: Some(kind(&present, data_type)?), nulls })
}

fn kind(values: &[(usize, Option<&Value>)], data_type: &DataType) -> Result<Wire, Error> {
    Ok(match data_type {
        DataType::Boolean => Wire::Booleans(Booleans { values: each(values, data_type, boolean)? }),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Wire::Ints(Ints { values: each(values, data_type, int)? }),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            Wire::Uints(UInts { values: each(values, data_type, |value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))? })
        }
        DataType::Float32 => Wire::Floats(proto::Floats { values: each(values, data_type, float)? }),
        DataType::Float64 => Wire::Doubles(Doubles { values: each(values, data_type, double)? }),
        DataType::Binary => {
            let bytes = |value: &Value| STANDARD.decode(value.as_str()?).ok().map(Into::into);
            Wire::Binaries(Binaries { values: each(values, data_type, bytes)? })
        }
        DataType::Decimal128(..) => {
            let digits = |value: &Value| value.as_str().map(str::to_owned).or_else(|| Some(value.as_i64()?.to_string()));
            Wire::Strings(Strings { values: each(values, data_type, digits)? })
        }
        DataType::List(items) => {
            let lists: Vec<&[Value]> = each(values, data_type, |value| value.as_array().map(Vec::as_slice))?;
            let lengths = lists.iter().map(|list| list.len() as u32).collect();
            let flat: Vec<&Value> = lists.into_iter().flatten().collect();
            Wire::Lists(Box::new(Lists { lengths, items: Some(Box::new(column(flat.into_iter(), items.data_type())?)) }))
        }
        DataType::Timestamp(ArrowUnit::Microsecond, None) if values.iter().any(|(_, value)| value.is_some_and(Value::is_number)) => {
            Wire::Ints(Ints { values: each(values, data_type, Value::as_i64)? })
        }
        // Texts, dates and moments.
        _ => Wire::Strings(Strings { values: each(values, data_type, |value| value.as_str().map(str::to_owned))? }),
    })
}

fn each<'a, T: Default>(values: &[(usize, Option<&'a Value>)], data_type: &DataType, read: impl Fn(&'a Value) -> Option<T>) -> Result<Vec<T>, Error> {
    let one = |&(row, value): &(usize, Option<&'a Value>)| match value {
        None => Ok(T::default()),
        Some(value) => read(value).ok_or_else(|| Error::invalid(format!("row {row} has {value}, and it is of type {}", sql_name(data_type)))),
    };
    values.iter().map(one).collect()
}

fn boolean(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

fn int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Texts too, as they are in a query, and for what JSON has no number for.
fn double(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Digits as people write them mean the nearest REAL.
#[allow(clippy::cast_possible_truncation, reason = "the nearest REAL is what the digits mean; beyond its range they are refused")]
fn float(value: &Value) -> Option<f32> {
    let wide = double(value)?;
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

/// The values of a column as JSON, in order.
pub fn to_json(values: &Values, r#type: &proto::Type) -> Vec<Value> {
    let mut items = match &values.values {
        None => values.nulls.iter().map(|_| Value::Null).collect(),
        Some(wire) => present(wire, r#type),
    };
    for &row in &values.nulls {
        if let Some(item) = items.get_mut(row as usize) {
            *item = Value::Null;
        }
    }
    items
}

fn present(wire: &Wire, r#type: &proto::Type) -> Vec<Value> {
    match wire {
        Wire::Booleans(found) => found.values.iter().map(|value| Value::Bool(*value)).collect(),
        Wire::Ints(found) => found.values.iter().map(|value| int_json(*value, r#type)).collect(),
        Wire::Uints(found) if r#type.kind() == Kind::Uint64 => found.values.iter().map(|value| Value::String(value.to_string())).collect(),
        Wire::Uints(found) => found.values.iter().map(|value| Value::from(*value)).collect(),
        // By its own digits, which are fewer than those of the same number as a double.
        Wire::Floats(found) => found.values.iter().map(|value| float_json(value.to_string().parse().unwrap_or(f64::NAN))).collect(),
        Wire::Doubles(found) => found.values.iter().map(|value| float_json(*value)).collect(),
        Wire::Strings(found) => found.values.iter().map(|value| Value::String(value.clone())).collect(),
        Wire::Binaries(found) => found.values.iter().map(|value| Value::String(STANDARD.encode(value))).collect(),
        Wire::Intervals(found) => {
            found.values.iter().map(|value| json!({"months": value.months, "days": value.days, "nanos": value.nanos.to_string()})).collect()
        }
        Wire::Lists(found) => lists_json(found, r#type),
    }
}

fn lists_json(lists: &Lists, r#type: &proto::Type) -> Vec<Value> {
    let items = match (&lists.items, &r#type.items) {
        (Some(items), Some(r#type)) => to_json(items, r#type),
        _ => Vec::new(),
    };
    let mut items = items.into_iter();
    lists.lengths.iter().map(|&length| Value::Array(items.by_ref().take(length as usize).collect())).collect()
}

fn int_json(value: i64, r#type: &proto::Type) -> Value {
    match r#type.kind() {
        Kind::Timestamp => moment(value, r#type.unit()).map_or_else(|| Value::String(value.to_string()), Value::String),
        Kind::Date => match i32::try_from(value).ok().and_then(|days| as_date::<Date32Type>(i64::from(days))) {
            Some(date) => Value::String(date.to_string()),
            None => Value::String(value.to_string()),
        },
        Kind::Int64 | Kind::Duration => Value::String(value.to_string()),
        _ => Value::from(value),
    }
}

fn moment(value: i64, unit: TimeUnit) -> Option<String> {
    let time = match unit {
        TimeUnit::Second => as_datetime::<TimestampSecondType>(value),
        TimeUnit::Millisecond => as_datetime::<TimestampMillisecondType>(value),
        TimeUnit::Microsecond | TimeUnit::Unspecified => as_datetime::<TimestampMicrosecondType>(value),
        TimeUnit::Nanosecond => as_datetime::<TimestampNanosecondType>(value),
    };
    Some(time?.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn float_json(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}
