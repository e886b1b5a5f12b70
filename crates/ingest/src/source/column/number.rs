//! Integers, floats and decimals.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveBuilder};
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::super::rows::Kind;
use super::{Column, Value};

pub(super) fn column(data_type: &DataType) -> Option<Box<dyn Column>> {
    macro_rules! integers {
        ($type:ty) => {
            Box::new(Numbers::<$type, _>::new(data_type, |value: Value<'_>| match value.text.parse() {
                Ok(number) => Ok(number),
                Err(_) => {
                    let number = exact(value.text, 0).map_err(|why| why.of(value, "a whole number"))?;
                    <$type as ArrowPrimitiveType>::Native::try_from(number).map_err(|_| value.is_not(within(&<$type>::DATA_TYPE)))
                }
            }))
        };
    }
    macro_rules! floats {
        ($type:ty) => {
            Box::new(Numbers::<$type, _>::new(data_type, |value: Value<'_>| match value.text.parse::<<$type as ArrowPrimitiveType>::Native>() {
                // Text with digits that parses as infinite was too large, not infinite.
                Ok(number) if number.is_infinite() && value.text.contains(|c: char| c.is_ascii_digit()) => {
                    Err(value.is_not(within(&<$type>::DATA_TYPE)))
                }
                Ok(number) => Ok(number),
                Err(_) => Err(value.is_not("a number")),
            }))
        };
    }
    Some(match data_type {
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::UInt8 => integers!(UInt8Type),
        DataType::UInt16 => integers!(UInt16Type),
        DataType::UInt32 => integers!(UInt32Type),
        DataType::UInt64 => integers!(UInt64Type),
        DataType::Float32 => floats!(Float32Type),
        DataType::Float64 => floats!(Float64Type),
        &DataType::Decimal128(precision, scale) => {
            let limit = 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
            let decimal = data_type.clone();
            Box::new(Numbers::<Decimal128Type, _>::new(data_type, move |value: Value<'_>| {
                let number = exact(value.text, i64::from(scale)).map_err(|why| why.of(value, &decimal.to_string()))?;
                if -limit < number && number < limit { Ok(number) } else { Err(value.is_not(within(&decimal))) }
            }))
        }
        _ => return None,
    })
}

fn within(data_type: &DataType) -> String {
    format!("within the range of {data_type}")
}

struct Numbers<T: ArrowPrimitiveType, P> {
    builder: PrimitiveBuilder<T>,
    data_type: DataType,
    parse: P,
}

impl<T: ArrowPrimitiveType, P: Fn(Value<'_>) -> Result<T::Native, String> + Send> Numbers<T, P> {
    fn new(data_type: &DataType, parse: P) -> Self {
        Numbers { builder: PrimitiveBuilder::new(), data_type: data_type.clone(), parse }
    }
}

impl<T: ArrowPrimitiveType, P: Fn(Value<'_>) -> Result<T::Native, String> + Send> Column for Numbers<T, P> {
    #[inline(always)]
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        if !matches!(value.kind, Kind::Bare | Kind::Text) {
            return Err(value.is_not("a number"));
        }
        self.builder.append_value((self.parse)(value)?);
        Ok(())
    }

    fn push_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        let array = self.builder.finish();
        // Sets precision and scale; other types are what they are.
        if array.data_type() == &self.data_type { Arc::new(array) } else { Arc::new(array.with_data_type(self.data_type.clone())) }
    }
}

/// Why decimal text has no exact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inexact {
    NoNumber,
    Fraction,
    TooLarge,
}

impl Inexact {
    fn of(self, value: Value<'_>, what: &str) -> String {
        match self {
            Inexact::NoNumber => value.is_not("a number"),
            Inexact::Fraction => value.is_not(format_args!("{what}: it has too many decimal places")),
            Inexact::TooLarge => value.is_not(format_args!("{what}: it is too large")),
        }
    }
}

/// The exact value of decimal text (`-12.50`, `1e3`), times ten to the `scale`.
fn exact(text: &str, scale: i64) -> Result<i128, Inexact> {
    let (negative, unsigned) = sign(text.as_bytes());
    let mantissa_len = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at(mantissa_len);
    let exponent = exponent.split_first().map_or(Ok(0), |(_, digits)| parse_exponent(digits))?;
    let point = mantissa.iter().position(|&byte| byte == b'.');
    let fraction_len = point.map_or(0, |point| mantissa.len() - point - 1);
    let count = mantissa.len() - usize::from(point.is_some());
    let digits = || mantissa.iter().enumerate().filter(|&(at, _)| Some(at) != point).map(|(_, byte)| byte);
    if count == 0 || !digits().all(u8::is_ascii_digit) {
        return Err(Inexact::NoNumber);
    }
    let trailing_zeros = digits().rev().take_while(|&&digit| digit == b'0').count();
    if trailing_zeros == count {
        return Ok(0);
    }
    let mut value = 0i128;
    for digit in digits().take(count - trailing_zeros) {
        let digit = i128::from(digit - b'0');
        let digit = if negative { -digit } else { digit };
        value = value.checked_mul(10).and_then(|value| value.checked_add(digit)).ok_or(Inexact::TooLarge)?;
    }
    let power = exponent + scale + trailing_zeros as i64 - fraction_len as i64;
    if power < 0 {
        return Err(Inexact::Fraction);
    }
    let ten = u32::try_from(power).ok().and_then(|power| 10i128.checked_pow(power));
    ten.and_then(|ten| value.checked_mul(ten)).ok_or(Inexact::TooLarge)
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    }
}

fn parse_exponent(text: &[u8]) -> Result<i64, Inexact> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Inexact::NoNumber);
    }
    // Beyond any value's, and far from the ends of the type.
    let exponent = digits.iter().fold(0i64, |all, digit| (all * 10 + i64::from(digit - b'0')).min(1 << 40));
    Ok(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exact_values_of_decimal_text() {
        assert_eq!(exact("9007199254740993", 0), Ok(9_007_199_254_740_993));
        assert_eq!(exact("-9223372036854775808", 0), Ok(i128::from(i64::MIN)));
        assert_eq!(exact("7.000", 0), Ok(7));
        assert_eq!(exact("0.7e1", 0), Ok(7));
        assert_eq!(exact("700E-2", 0), Ok(7));
        assert_eq!(exact("-12.5", 2), Ok(-1250));
        assert_eq!(exact("1200", -2), Ok(12));
        assert_eq!(exact("0e99999999999999999999", 0), Ok(0));
        assert_eq!(exact("1.5", 0), Err(Inexact::Fraction));
        assert_eq!(exact("12.345", 2), Err(Inexact::Fraction));
        assert_eq!(exact("1e-99999999999999999999", 2), Err(Inexact::Fraction));
        assert_eq!(exact("1e99999999999999999999", 2), Err(Inexact::TooLarge));
        assert_eq!(exact(&"9".repeat(50), 0), Err(Inexact::TooLarge));
        assert_eq!(exact("170141183460469231731687303715884105727", 0), Ok(i128::MAX));
        assert_eq!(exact("-170141183460469231731687303715884105728", 0), Ok(i128::MIN));
        for text in ["", "-", ".", "e1", "1e", "1.2.3", "1 ", "0x10", "\u{bd}"] {
            assert_eq!(exact(text, 0), Err(Inexact::NoNumber), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_survives_any_way_of_writing_it(value in any::<i64>(), zeros in 0usize..5, shift in 0i64..12) {
            let value_128 = i128::from(value);
            let zeros_text = "0".repeat(zeros);
            prop_assert_eq!(exact(&format!("{value}.0{zeros_text}"), 0), Ok(value_128));
            prop_assert_eq!(exact(&format!("{value}{zeros_text}e-{zeros}"), 0), Ok(value_128));
            prop_assert_eq!(exact(&format!("{value}e-{shift}"), shift), Ok(value_128));
        }
    }
}
