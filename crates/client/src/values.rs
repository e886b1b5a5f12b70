//! Rust values to and from columns of the wire.

use crate::proto::values::Values as Kind;
use crate::proto::{Binaries, Booleans, Doubles, Floats, Ints, Lists, Strings, UInts, Values};

/// What can be a column of a request: a list of values, or of values that may be absent.
pub trait Column {
    /// The column.
    fn into_values(self) -> Values;
}

/// A Rust type that columns hold.
trait Scalar: Default {
    fn column(values: Vec<Self>) -> Kind;
}

macro_rules! scalars {
    ($($rust:ty => $kind:ident($message:ident) as $wire:ty),* $(,)?) => {$(
        impl Scalar for $rust {
            fn column(values: Vec<Self>) -> Kind {
                Kind::$kind($message { values: values.into_iter().map(<$wire>::from).collect() })
            }
        }
    )*};
}

scalars! {
    bool => Booleans(Booleans) as bool,
    i8 => Ints(Ints) as i64,
    i16 => Ints(Ints) as i64,
    i32 => Ints(Ints) as i64,
    i64 => Ints(Ints) as i64,
    u8 => Uints(UInts) as u64,
    u16 => Uints(UInts) as u64,
    u32 => Uints(UInts) as u64,
    u64 => Uints(UInts) as u64,
    f32 => Floats(Floats) as f32,
    f64 => Doubles(Doubles) as f64,
    String => Strings(Strings) as String,
    &str => Strings(Strings) as String,
    Vec<u8> => Binaries(Binaries) as bytes::Bytes,
}

impl<T: Scalar, const N: usize> Column for [T; N] {
    fn into_values(self) -> Values {
        Vec::from(self).into_values()
    }
}

impl<T: Scalar> Column for Vec<T> {
    fn into_values(self) -> Values {
        Values { values: Some(T::column(self)), nulls: Vec::new() }
    }
}

impl<T: Scalar, const N: usize> Column for [Option<T>; N] {
    fn into_values(self) -> Values {
        Vec::from(self).into_values()
    }
}

impl<T: Scalar> Column for Vec<Option<T>> {
    fn into_values(self) -> Values {
        let nulls = self.iter().enumerate().filter(|(_, value)| value.is_none()).map(|(at, _)| at as u32).collect();
        Values { values: Some(T::column(self.into_iter().map(Option::unwrap_or_default).collect())), nulls }
    }
}

/// Values of another type than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the values are {found}, and {wanted} were asked for")]
pub struct WrongType {
    /// What they are.
    pub found: &'static str,
    /// What they were read as.
    pub wanted: &'static str,
}

/// A type that the values of a feature can be read as, each in one way only: nothing is rounded or cut.
pub trait FromValues: Sized {
    /// Reads them.
    ///
    /// # Errors
    /// Where they are of another type.
    fn from_values(values: &Values) -> Result<Vec<Option<Self>>, WrongType>;
}

macro_rules! readable {
    ($($rust:ty => $kind:ident, $name:literal, $read:expr);* $(;)?) => {$(
        impl FromValues for $rust {
            fn from_values(values: &Values) -> Result<Vec<Option<Self>>, WrongType> {
                match &values.values {
                    Some(Kind::$kind(found)) => Ok(with_nulls(found.values.iter().map($read), &values.nulls)),
                    None => Ok(values.nulls.iter().map(|_| None).collect()),
                    Some(other) => Err(WrongType { found: kind_name(other), wanted: $name }),
                }
            }
        }
    )*};
}

readable! {
    bool => Booleans, "booleans", |value| *value;
    i64 => Ints, "ints", |value| *value;
    u64 => Uints, "unsigned ints", |value| *value;
    f32 => Floats, "floats", |value| *value;
    f64 => Doubles, "doubles", |value| *value;
    String => Strings, "strings", |value| value.clone();
    Vec<u8> => Binaries, "binaries", |value| value.to_vec();
}

impl<T: FromValues> FromValues for Vec<Option<T>> {
    fn from_values(values: &Values) -> Result<Vec<Option<Self>>, WrongType> {
        let Lists { lengths, items }: &Lists = match &values.values {
            Some(Kind::Lists(lists)) => lists,
            None => return Ok(values.nulls.iter().map(|_| None).collect()),
            Some(other) => return Err(WrongType { found: kind_name(other), wanted: "lists" }),
        };
        let mut items = items.as_deref().map_or_else(|| Ok(Vec::new()), T::from_values)?.into_iter();
        Ok(with_nulls(lengths.iter().map(|&length| items.by_ref().take(length as usize).collect()), &values.nulls))
    }
}

fn with_nulls<T>(values: impl Iterator<Item = T>, nulls: &[u32]) -> Vec<Option<T>> {
    let mut read: Vec<Option<T>> = values.map(Some).collect();
    for &at in nulls {
        if let Some(value) = read.get_mut(at as usize) {
            *value = None;
        }
    }
    read
}

/// What values are called in messages.
pub fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Booleans(_) => "booleans",
        Kind::Ints(_) => "ints",
        Kind::Uints(_) => "unsigned ints",
        Kind::Floats(_) => "floats",
        Kind::Doubles(_) => "doubles",
        Kind::Strings(_) => "strings",
        Kind::Binaries(_) => "binaries",
        Kind::Intervals(_) => "intervals",
        Kind::Lists(_) => "lists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_went() {
        assert_eq!(i64::from_values(&[Some(1_i32), None, Some(-3)].into_values()), Ok(vec![Some(1), None, Some(-3)]));
        assert_eq!(String::from_values(&["a", ""].into_values()), Ok(vec![Some("a".to_owned()), Some(String::new())]));
        let wrong = f64::from_values(&[1_u8].into_values()).unwrap_err();
        assert_eq!(wrong.to_string(), "the values are unsigned ints, and doubles were asked for");
    }

    #[test]
    fn lists_that_are_empty_and_lists_that_are_not_there_differ() {
        let items = Some(Box::new([1.0, 2.0, 3.0].into_values()));
        let lists = Values { values: Some(Kind::Lists(Box::new(Lists { lengths: vec![2, 0, 0, 1], items }))), nulls: vec![2] };
        let read = Vec::<Option<f64>>::from_values(&lists).unwrap();
        assert_eq!(read, [Some(vec![Some(1.0), Some(2.0)]), Some(vec![]), None, Some(vec![Some(3.0)])]);
    }
}
