//! Keys that are Avro, as the JSON that says the same.

use lockstep_model::EventTime;
use serde_json::{Map, Number, Value};

use super::schema::{Field, Int, Moment, Type};
use super::walk::{Cursor, check, within};

/// A key as text: a record as an object, any other value as it would stand in a file.
///
/// # Errors
/// What is wrong with its bytes.
pub(super) fn text_of(data_type: &Type, bytes: &[u8]) -> Result<String, String> {
    check(data_type, bytes)?;
    Ok(match value(data_type, &mut Cursor(bytes))? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

fn value(data_type: &Type, cursor: &mut Cursor<'_>) -> Result<Value, String> {
    Ok(match data_type {
        Type::Null => Value::Null,
        Type::Boolean => cursor.boolean()?.into(),
        Type::Int(Int::Number) => cursor.int()?.into(),
        Type::Int(Int::Date) => date(cursor.int()?)?.into(),
        Type::Long(None) => cursor.long()?.into(),
        Type::Long(Some(moment)) => moment_text(cursor.long()?, *moment)?.into(),
        Type::Float => float(f64::from(f32::from_le_bytes(array(cursor.take(4)?)?)))?,
        Type::Double => float(f64::from_le_bytes(array(cursor.take(8)?)?))?,
        Type::Bytes => hexadecimal(cursor.bytes()?).into(),
        Type::Text => cursor.text()?.into(),
        Type::Fixed { size, uuid } => fixed(cursor.take(*size)?, *uuid).into(),
        Type::Decimal { digits, places, size } => decimal(cursor.decimal(*digits, *size)?, *places)?.into(),
        Type::Enum(symbols) => symbols[cursor.number(symbols.len(), "symbol of an enum")?].as_str().into(),
        Type::Array(items) => {
            let mut elements = Vec::new();
            cursor.blocks(|cursor| value(items, cursor).map(|element| elements.push(element)))?;
            elements.into()
        }
        Type::Map(_) => return Err("a map is the value of no column".to_owned()),
        Type::Union(branches) => value(&branches[cursor.number(branches.len(), "branch of a union")?], cursor)?,
        Type::Record(fields) => record(fields, cursor)?.into(),
    })
}

fn record(fields: &[Field], cursor: &mut Cursor<'_>) -> Result<Map<String, Value>, String> {
    let one = |field: &Field| value(&field.data_type, cursor).map(|value| (field.name.clone(), value)).map_err(|reason| within(field, &reason));
    fields.iter().map(one).collect()
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| "the record ends in it".to_owned())
}

fn float(value: f64) -> Result<Value, String> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| format!("{value} has no form as text"))
}

pub(in super::super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fixed(bytes: &[u8], uuid: bool) -> String {
    if uuid { uuid_text(bytes) } else { hexadecimal(bytes) }
}

/// The text of a UUID's sixteen bytes.
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    let mut text = hexadecimal(bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

pub(super) fn date(days: i32) -> Result<String, String> {
    let date = chrono::NaiveDate::default().checked_add_signed(chrono::TimeDelta::days(i64::from(days)));
    date.map(|date| date.to_string()).ok_or_else(|| format!("day {days} since 1970 is no date"))
}

pub(super) fn moment_text(value: i64, Moment { per_second, local }: Moment) -> Result<String, String> {
    let micros = match per_second {
        1_000 => value.checked_mul(1_000),
        1_000_000 => Some(value),
        _ => (value % 1_000 == 0).then_some(value / 1_000),
    };
    let text = micros.map(EventTime).map(|moment| moment.to_string()).ok_or_else(|| format!("{value} is no moment in whole microseconds"))?;
    Ok(if local { text.trim_end_matches('Z').to_owned() } else { text })
}

pub(super) fn decimal(bytes: &[u8], places: u64) -> Result<String, String> {
    let fill = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let digits: &[u8] = if bytes.len() > 16 { &bytes[bytes.len() - 16..] } else { bytes };
    let is_wide =
        bytes[..bytes.len() - digits.len()].iter().any(|byte| *byte != fill) || digits.first().is_some_and(|first| (first ^ fill) & 0x80 != 0);
    if is_wide {
        return Err("it has more digits than a column's decimal".to_owned());
    }
    let mut wide = [fill; 16];
    wide[16 - digits.len()..].copy_from_slice(digits);
    Ok(format!("{}e-{places}", i128::from_be_bytes(wide)))
}
