//! Our own canonical text of checked expressions: what the meaning fingerprint is taken of, and the closed list of what a definition may contain.
//!
//! Never DataFusion's rendering, which changes between releases. A form that has no line here is refused, so nothing can
//! slip into a fingerprint, or past one, unnoticed.

use std::fmt::Write;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};

/// Appends the canonical text of an expression, or says what in it is not supported.
pub fn expr(out: &mut String, expression: &Expr) -> Result<(), String> {
    match expression {
        Expr::Alias(alias) => expr(out, &alias.expr),
        Expr::Column(column) => {
            let _ = write!(out, "(column {:?})", column.name);
            Ok(())
        }
        Expr::Literal(value, _) => literal(out, value),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => call(out, operator(*op)?, [left.as_ref(), right.as_ref()]),
        Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }) => {
            let name = format!("like negated={negated} escape={escape_char:?} case_insensitive={case_insensitive}");
            call(out, &name, [expr.as_ref(), pattern.as_ref()])
        }
        Expr::Not(e) => call(out, "not", [e.as_ref()]),
        Expr::IsNotNull(e) => call(out, "is_not_null", [e.as_ref()]),
        Expr::IsNull(e) => call(out, "is_null", [e.as_ref()]),
        Expr::IsTrue(e) => call(out, "is_true", [e.as_ref()]),
        Expr::IsFalse(e) => call(out, "is_false", [e.as_ref()]),
        Expr::IsUnknown(e) => call(out, "is_unknown", [e.as_ref()]),
        Expr::IsNotTrue(e) => call(out, "is_not_true", [e.as_ref()]),
        Expr::IsNotFalse(e) => call(out, "is_not_false", [e.as_ref()]),
        Expr::IsNotUnknown(e) => call(out, "is_not_unknown", [e.as_ref()]),
        Expr::Negative(e) => call(out, "negative", [e.as_ref()]),
        Expr::Between(b) => call(out, if b.negated { "not_between" } else { "between" }, [b.expr.as_ref(), b.low.as_ref(), b.high.as_ref()]),
        Expr::Case(case) => {
            let parts = case.expr.iter().map(|e| ("on", e.as_ref()));
            let parts = parts.chain(case.when_then_expr.iter().flat_map(|(when, then)| [("when", when.as_ref()), ("then", then.as_ref())]));
            let parts = parts.chain(case.else_expr.iter().map(|e| ("else", e.as_ref())));
            out.push_str("(case");
            for (name, part) in parts {
                call(out, name, [part])?;
            }
            out.push(')');
            Ok(())
        }
        Expr::Cast(cast) => call(out, &format!("cast {}", type_name(cast.field.data_type())?), [cast.expr.as_ref()]),
        Expr::TryCast(cast) => call(out, &format!("try_cast {}", type_name(cast.field.data_type())?), [cast.expr.as_ref()]),
        Expr::ScalarFunction(f) => {
            check_length(f)?;
            call(out, &format!("call {} v{}", f.name(), function_version(f.name())), f.args.iter())
        }
        Expr::InList(list) => {
            let name = if list.negated { "not_in" } else { "in" };
            call(out, name, std::iter::once(list.expr.as_ref()).chain(list.list.iter()))
        }
        other => Err(format!("`{other}` is not supported in a definition")),
    }
}

/// Longest text that a function may be told to make.
const MADE_LEN_MAX: i64 = 1000;

/// Refuses a function that would make a text as long as a row says: one row could take all memory.
fn check_length(function: &ScalarFunction) -> Result<(), String> {
    if !["repeat", "lpad", "rpad"].contains(&function.name()) {
        return Ok(());
    }
    let length = match function.args.get(1) {
        Some(Expr::Literal(value, _)) => value.cast_to(&DataType::Int64).ok(),
        _ => None,
    };
    match length {
        Some(ScalarValue::Int64(Some(length))) if length <= MADE_LEN_MAX => Ok(()),
        _ => Err(format!("the second argument of `{}` is not a constant of up to {MADE_LEN_MAX} · one row could take all memory", function.name())),
    }
}

/// The semantic version of a scalar function: raised when a release of the engine changes its results.
fn function_version(_name: &str) -> u32 {
    1
}

fn call<'e>(out: &mut String, name: &str, args: impl IntoIterator<Item = &'e Expr>) -> Result<(), String> {
    let _ = write!(out, "({name}");
    for arg in args {
        out.push(' ');
        expr(out, arg)?;
    }
    out.push(')');
    Ok(())
}

fn operator(op: Operator) -> Result<&'static str, String> {
    use Operator::*;
    Ok(match op {
        Eq => "=",
        NotEq => "<>",
        Lt => "<",
        LtEq => "<=",
        Gt => ">",
        GtEq => ">=",
        Plus => "+",
        Minus => "-",
        Multiply => "*",
        Divide => "/",
        Modulo => "%",
        And => "and",
        Or => "or",
        IsDistinctFrom => "is_distinct_from",
        IsNotDistinctFrom => "is_not_distinct_from",
        StringConcat => "||",
        BitwiseAnd => "&",
        BitwiseOr => "|",
        BitwiseXor => "bit_xor",
        BitwiseShiftLeft => "<<",
        BitwiseShiftRight => ">>",
        RegexMatch => "~",
        RegexIMatch => "~*",
        RegexNotMatch => "!~",
        RegexNotIMatch => "!~*",
        other => return Err(format!("the operator `{other}` is not supported in a definition")),
    })
}

fn literal(out: &mut String, value: &ScalarValue) -> Result<(), String> {
    use ScalarValue::*;
    let text = match value {
        Null => "null".to_owned(),
        _ if value.is_null() => format!("null {}", type_name(&value.data_type())?),
        Boolean(Some(v)) => format!("boolean {v}"),
        Int8(Some(v)) => format!("int8 {v}"),
        Int16(Some(v)) => format!("int16 {v}"),
        Int32(Some(v)) => format!("int32 {v}"),
        Int64(Some(v)) => format!("int64 {v}"),
        UInt8(Some(v)) => format!("uint8 {v}"),
        UInt16(Some(v)) => format!("uint16 {v}"),
        UInt32(Some(v)) => format!("uint32 {v}"),
        UInt64(Some(v)) => format!("uint64 {v}"),
        Float32(Some(v)) => format!("float32 {:08x}", v.to_bits()),
        Float64(Some(v)) => format!("float64 {:016x}", v.to_bits()),
        Decimal128(Some(v), precision, scale) => format!("decimal128({precision},{scale}) {v}"),
        Utf8(Some(v)) | LargeUtf8(Some(v)) | Utf8View(Some(v)) => format!("string {v:?}"),
        Binary(Some(v)) | LargeBinary(Some(v)) | BinaryView(Some(v)) => format!("binary {v:?}"),
        Date32(Some(v)) => format!("date32 {v}"),
        TimestampMicrosecond(Some(v), zone) => format!("timestamp_us {zone:?} {v}"),
        TimestampNanosecond(Some(v), zone) => format!("timestamp_ns {zone:?} {v}"),
        IntervalMonthDayNano(Some(v)) => format!("interval {} {} {}", v.months, v.days, v.nanoseconds),
        DurationMicrosecond(Some(v)) => format!("duration_us {v}"),
        other => return Err(format!("a literal of type {} is not supported in a definition", other.data_type())),
    };
    let _ = write!(out, "({text})");
    Ok(())
}

/// The canonical name of a type. The three layouts of strings and binaries are one type.
pub fn type_name(data_type: &DataType) -> Result<String, String> {
    use DataType::*;
    Ok(match data_type {
        Null => "null".into(),
        Boolean => "boolean".into(),
        Int8 => "int8".into(),
        Int16 => "int16".into(),
        Int32 => "int32".into(),
        Int64 => "int64".into(),
        UInt8 => "uint8".into(),
        UInt16 => "uint16".into(),
        UInt32 => "uint32".into(),
        UInt64 => "uint64".into(),
        Float32 => "float32".into(),
        Float64 => "float64".into(),
        Utf8 | LargeUtf8 | Utf8View => "string".into(),
        Binary | LargeBinary | BinaryView => "binary".into(),
        Date32 => "date32".into(),
        Decimal128(precision, scale) => format!("decimal128({precision},{scale})"),
        Timestamp(unit, zone) => format!("timestamp({}{})", unit_name(unit), zone.iter().map(|z| format!(" {z:?}")).collect::<String>()),
        Duration(unit) => format!("duration({})", unit_name(unit)),
        Interval(IntervalUnit::MonthDayNano) => "interval".into(),
        List(field) => format!("list({})", type_name(field.data_type())?),
        other => return Err(format!("the type {other} is not supported in a definition")),
    })
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
