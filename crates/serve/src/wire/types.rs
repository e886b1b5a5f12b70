//! Types.

use arrow::datatypes::{DataType, TimeUnit};
use lockstep_client::proto::{self, Kind};
use lockstep_model::Error;

/// A type as the wire says it.
///
/// # Errors
/// Internal for a type that no definition can have.
pub fn wire_type(data_type: &DataType) -> Result<proto::Type, Error> {
    let plain = |kind: Kind| proto::Type { kind: kind.into(), ..proto::Type::default() };
    Ok(match data_type {
        DataType::Null => plain(Kind::Null),
        DataType::Boolean => plain(Kind::Boolean),
        DataType::Int8 => plain(Kind::Int8),
        DataType::Int16 => plain(Kind::Int16),
        DataType::Int32 => plain(Kind::Int32),
        DataType::Int64 => plain(Kind::Int64),
        DataType::UInt8 => plain(Kind::Uint8),
        DataType::UInt16 => plain(Kind::Uint16),
        DataType::UInt32 => plain(Kind::Uint32),
        DataType::UInt64 => plain(Kind::Uint64),
        DataType::Float32 => plain(Kind::Float32),
        DataType::Float64 => plain(Kind::Float64),
        DataType::Decimal128(precision, scale) => proto::Type { precision: u32::from(*precision), scale: i32::from(*scale), ..plain(Kind::Decimal) },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => plain(Kind::String),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => plain(Kind::Binary),
        DataType::Date32 => plain(Kind::Date),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_ref().map(|zone| zone.to_string()).unwrap_or_default();
            proto::Type { unit: wire_unit(*unit).into(), zone, ..plain(Kind::Timestamp) }
        }
        DataType::Duration(unit) => proto::Type { unit: wire_unit(*unit).into(), ..plain(Kind::Duration) },
        DataType::Interval(_) => plain(Kind::Interval),
        DataType::List(items) => proto::Type { items: Some(Box::new(wire_type(items.data_type())?)), ..plain(Kind::List) },
        other => return Err(Error::internal(format!("the wire has no type {other}"))),
    })
}

fn wire_unit(unit: TimeUnit) -> proto::TimeUnit {
    match unit {
        TimeUnit::Second => proto::TimeUnit::Second,
        TimeUnit::Millisecond => proto::TimeUnit::Millisecond,
        TimeUnit::Microsecond => proto::TimeUnit::Microsecond,
        TimeUnit::Nanosecond => proto::TimeUnit::Nanosecond,
    }
}
