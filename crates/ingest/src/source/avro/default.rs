//! What stands for a field that a writer did not know: the default that the reader's schema gives it.

use serde_json::Value;

use super::super::rows::Kind;
use super::key::{date, decimal, hexadecimal, moment_text, uuid_text};
use super::schema::{Field, Int, Type};

/// A field's default, as the text that would stand for it in a file; `None` where it is NULL, or there is none.
///
/// # Errors
/// Why it is no value of the field's type.
pub(super) fn text_of(field: &Field) -> Result<Option<(Kind, String)>, String> {
    let Some(default) = &field.default else { return Ok(None) };
    let value = json_of(&field.data_type, default).map_err(|reason| format!("lacks field `{}`, whose default is wrong: {reason}", field.name))?;
    Ok(match value {
        Value::Null => None,
        Value::String(text) => Some((Kind::Text, text)),
        list @ Value::Array(_) => Some((Kind::Nested, list.to_string())),
        bare => Some((Kind::Bare, bare.to_string())),
    })
}

/// A default as the JSON that a topic of JSON would have in its place.
fn json_of(data_type: &Type, default: &Value) -> Result<Value, String> {
    let wrong = || format!("{default} is not of its type");
    let long = || default.as_i64().ok_or_else(wrong);
    Ok(match data_type {
        Type::Null if default.is_null() => Value::Null,
        // Of a union, the default is one of its first branch; some writers give it another's.
        Type::Union(branches) => branches.iter().find_map(|branch| json_of(branch, default).ok()).ok_or_else(wrong)?,
        Type::Boolean if default.is_boolean() => default.clone(),
        Type::Int(Int::Number) | Type::Long(None) => long()?.into(),
        Type::Int(Int::Date) => date(i32::try_from(long()?).map_err(|_| wrong())?)?.into(),
        Type::Long(Some(moment)) => moment_text(long()?, *moment)?.into(),
        Type::Float | Type::Double if default.is_number() => default.clone(),
        Type::Text if default.is_string() => default.clone(),
        Type::Enum(symbols) if default.as_str().is_some_and(|symbol| symbols.iter().any(|known| known == symbol)) => default.clone(),
        Type::Bytes => hexadecimal(&bytes(default).ok_or_else(wrong)?).into(),
        Type::Fixed { size, uuid } => {
            let bytes = bytes(default).filter(|bytes| bytes.len() == *size).ok_or_else(wrong)?;
            if *uuid { uuid_text(&bytes).into() } else { hexadecimal(&bytes).into() }
        }
        Type::Decimal { places, .. } => decimal(&bytes(default).ok_or_else(wrong)?, *places)?.into(),
        Type::Array(items) => {
            let elements = default.as_array().ok_or_else(wrong)?;
            elements.iter().map(|element| json_of(items, element)).collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => return Err(wrong()),
    })
}

/// Bytes are written as a string whose characters are their values.
fn bytes(default: &Value) -> Option<Vec<u8>> {
    default.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
