//! SQL types and the Arrow types that hold them.

use std::fmt::Display;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo};

/// A type that columns cannot have: why, and what to write instead.
pub(super) struct Refused {
    pub(super) note: String,
    pub(super) help: Option<String>,
}

const KNOWN: &str = "types: VARCHAR, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT (each also UNSIGNED), REAL, DOUBLE, DECIMAL(p, s), DATE, TIMESTAMP, BYTEA, and lists such as DOUBLE[]";

/// The Arrow type of a declared SQL type.
pub(super) fn arrow_type(sql: &SqlType) -> Result<DataType, Refused> {
    use SqlType::*;
    Ok(match sql {
        Varchar(None) | CharacterVarying(None) | Text | String(None) => DataType::Utf8,
        Varchar(Some(length)) | CharacterVarying(Some(length)) => return Err(length_refused(&length)),
        String(Some(length)) => return Err(length_refused(&length)),
        Char(_) | Character(_) => return Err(refused("CHAR pads texts to a length, which nothing here does", "VARCHAR")),
        Boolean | Bool => DataType::Boolean,
        TinyInt(None) => DataType::Int8,
        SmallInt(None) | Int2(None) => DataType::Int16,
        Int(None) | Integer(None) | Int4(None) => DataType::Int32,
        BigInt(None) | Int8(None) => DataType::Int64,
        TinyIntUnsigned(None) => DataType::UInt8,
        SmallIntUnsigned(None) | Int2Unsigned(None) => DataType::UInt16,
        IntUnsigned(None) | IntegerUnsigned(None) | Int4Unsigned(None) => DataType::UInt32,
        BigIntUnsigned(None) | Int8Unsigned(None) => DataType::UInt64,
        Real | Float4 | Float(ExactNumberInfo::None) => DataType::Float32,
        Double(ExactNumberInfo::None) | DoublePrecision | Float8 => DataType::Float64,
        Decimal(info) | Numeric(info) | Dec(info) => decimal(info)?,
        Date => DataType::Date32,
        Timestamp(precision, zone) => timestamp(*precision, zone)?,
        TimestampNtz(precision) => timestamp(*precision, &TimezoneInfo::None)?,
        Datetime(_) => return Err(refused("moments are of type TIMESTAMP", "TIMESTAMP")),
        Bytea | Blob(None) | Binary(None) | Varbinary(None) => DataType::Binary,
        Array(ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, None)) => {
            DataType::new_list(arrow_type(element)?, true)
        }
        other => return Err(unknown(other)),
    })
}

fn refused(note: impl Into<std::string::String>, instead: &str) -> Refused {
    Refused { note: note.into(), help: Some(format!("write {instead}")) }
}

fn length_refused(length: &impl Display) -> Refused {
    refused(format!("nothing would hold a text to {length} characters"), "VARCHAR")
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, Refused> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Err(refused("a decimal needs its digits, and those after the point", "DECIMAL(18, 2)")),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(digits), Ok(places)) if (1..=DECIMAL128_MAX_PRECISION).contains(&digits) && (0..=i64::from(digits)).contains(&i64::from(places)) => {
            Ok(DataType::Decimal128(digits, places))
        }
        _ => {
            Err(refused(format!("a decimal has 1 to {DECIMAL128_MAX_PRECISION} digits, of which none to all are after the point"), "DECIMAL(18, 2)"))
        }
    }
}

fn timestamp(precision: Option<u64>, zone: &TimezoneInfo) -> Result<DataType, Refused> {
    if matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) {
        let note = "a TIMESTAMP is a moment in UTC already; where texts name no zone, the source's option `time_zone` says which they mean";
        return Err(refused(note, "TIMESTAMP"));
    }
    match precision {
        None | Some(6) => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        Some(_) => Err(refused("a TIMESTAMP is in microseconds, whatever the precision of what is read", "TIMESTAMP")),
    }
}

/// A type nothing here holds.
fn unknown(sql: &SqlType) -> Refused {
    use SqlType::*;
    let instead = match sql {
        Uuid | JSON | JSONB | Nvarchar(_) | Clob(_) | Enum(..) => Some("VARCHAR"),
        Time(..) | Interval { .. } => Some("BIGINT and keep microseconds in it"),
        Struct(..) | Map(..) | Tuple(_) | Nested(_) => Some("a column for each field"),
        HugeInt | Int128 | Int256 => Some("BIGINT, or DECIMAL(38, 0)"),
        Custom(name, _) => custom(&name.to_string().to_ascii_lowercase()),
        _ => None,
    };
    Refused { note: KNOWN.to_owned(), help: instead.map(|instead| format!("write {instead}")) }
}

fn custom(name: &str) -> Option<&'static str> {
    let near = super::names::suggestion(
        name,
        ["varchar", "boolean", "smallint", "bigint", "double", "decimal", "timestamp", "bytea", "tinyint", "real", "date"],
    )?;
    Some(match near {
        "varchar" => "VARCHAR",
        "boolean" => "BOOLEAN",
        "smallint" => "SMALLINT",
        "bigint" => "BIGINT",
        "double" => "DOUBLE",
        "decimal" => "DECIMAL(18, 2)",
        "timestamp" => "TIMESTAMP",
        "bytea" => "BYTEA",
        "tinyint" => "TINYINT",
        "real" => "REAL",
        _ => "DATE",
    })
}

/// The SQL name of a type, as a definition would declare it.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt8 => "TINYINT UNSIGNED".to_owned(),
        DataType::UInt16 => "SMALLINT UNSIGNED".to_owned(),
        DataType::UInt32 => "INT UNSIGNED".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(..) => "TIMESTAMP".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".to_owned(),
        DataType::List(field) => format!("{}[]", sql_name(field.data_type())),
        other => other.to_string(),
    }
}

/// Whether two columns can hold the same keys. Width does not matter, since keys are encoded without it; sign does.
pub(super) fn same_key(a: &DataType, b: &DataType) -> bool {
    let class = |data_type: &DataType| match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::UInt64,
        other => other.clone(),
    };
    class(a) == class(b)
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::definition::lex::DIALECT;

    fn parse(text: &str) -> Result<DataType, Refused> {
        arrow_type(&Parser::new(&DIALECT).try_with_sql(text).unwrap().parse_data_type().unwrap())
    }

    #[test]
    fn declared_types_have_an_arrow_type_and_print_back() {
        for text in [
            "VARCHAR",
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "TINYINT UNSIGNED",
            "SMALLINT UNSIGNED",
            "INT UNSIGNED",
            "BIGINT UNSIGNED",
            "REAL",
            "DOUBLE",
            "DECIMAL(18, 2)",
            "DATE",
            "TIMESTAMP",
            "BYTEA",
            "DOUBLE[]",
            "VARCHAR[][]",
        ] {
            assert_eq!(parse(text).map(|data_type| sql_name(&data_type)).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn other_spellings_mean_the_same() {
        for (text, shown) in [
            ("TEXT", "VARCHAR"),
            ("STRING", "VARCHAR"),
            ("FLOAT", "REAL"),
            ("DOUBLE PRECISION", "DOUBLE"),
            ("NUMERIC(5)", "DECIMAL(5, 0)"),
            ("BLOB", "BYTEA"),
            ("BINARY", "BYTEA"),
            ("INTEGER", "INT"),
            ("TIMESTAMP(6)", "TIMESTAMP"),
            ("ARRAY<INT>", "INT[]"),
            ("TIMESTAMP WITHOUT TIME ZONE", "TIMESTAMP"),
        ] {
            assert_eq!(parse(text).map(|data_type| sql_name(&data_type)).ok().as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_nothing_would_enforce_is_refused() {
        for (text, help) in [
            ("VARCHAR(10)", "write VARCHAR"),
            ("TIMESTAMP(3)", "write TIMESTAMP"),
            ("TIMESTAMP WITH TIME ZONE", "write TIMESTAMP"),
            ("DECIMAL", "write DECIMAL(18, 2)"),
            ("DECIMAL(39, 2)", "write DECIMAL(18, 2)"),
            ("DECIMAL(5, 6)", "write DECIMAL(18, 2)"),
            ("UUID", "write VARCHAR"),
            ("VARCAHR", "write VARCHAR"),
            ("CHAR(3)", "write VARCHAR"),
        ] {
            let refused = parse(text).err().unwrap();
            assert_eq!(refused.help.as_deref(), Some(help), "{text}: {}", refused.note);
        }
    }
}
