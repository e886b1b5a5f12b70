//! Booleans, strings and bytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, BooleanBuilder, StringBuilder};

use super::super::rows::Kind;
use super::{Column, Value};

#[derive(Default)]
pub(super) struct Booleans(BooleanBuilder);

impl Column for Booleans {
    #[inline(always)]
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let may_be = matches!(value.kind, Kind::Bare | Kind::Text);
        let truth = match value.text {
            text if may_be && text.eq_ignore_ascii_case("true") => true,
            text if may_be && text.eq_ignore_ascii_case("false") => false,
            _ => return Err(value.is_not("true or false")),
        };
        self.0.append_value(truth);
        Ok(())
    }

    fn push_null(&mut self) {
        self.0.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

#[derive(Default)]
pub(super) struct Texts {
    builder: StringBuilder,
    scratch: String,
}

impl Column for Texts {
    #[inline(always)]
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        match value.plain() {
            Some(text) => self.builder.append_value(text),
            None => self.builder.append_value(value.unescaped(&mut self.scratch)?),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}

/// Bytes in hexadecimal.
#[derive(Default)]
pub(super) struct Binaries {
    builder: BinaryBuilder,
    bytes: Vec<u8>,
}

impl Column for Binaries {
    fn push(&mut self, value: Value<'_>) -> Result<(), String> {
        let digits = value.plain().filter(|text| text.len().is_multiple_of(2)).ok_or_else(|| value.is_not("hexadecimal"))?;
        self.bytes.clear();
        for pair in digits.as_bytes().chunks_exact(2) {
            let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
            let (high, low) = high.zip(low).ok_or_else(|| value.is_not("hexadecimal"))?;
            self.bytes.push((high << 4 | low) as u8);
        }
        self.builder.append_value(&self.bytes);
        Ok(())
    }

    fn push_null(&mut self) {
        self.builder.append_null();
    }

    fn finish(&mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
}
