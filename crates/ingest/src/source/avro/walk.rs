//! Walking a record by its schema, from its first byte to its last.

use super::schema::{Field, Int, Type};

/// Bytes that are read from the front.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

/// Whether `bytes` are a value of the type, all of them.
///
/// # Errors
/// What is wrong, and with which field.
pub(super) fn check(data_type: &Type, bytes: &[u8]) -> Result<(), String> {
    let mut cursor = Cursor(bytes);
    cursor.value(data_type)?;
    match cursor.0.len() {
        0 => Ok(()),
        1 => Err("one byte is behind its last field".to_owned()),
        more => Err(format!("{more} bytes are behind its last field")),
    }
}

impl<'a> Cursor<'a> {
    fn value(&mut self, data_type: &Type) -> Result<(), String> {
        match data_type {
            Type::Null => Ok(()),
            Type::Boolean => self.boolean().map(drop),
            Type::Int(Int::Number | Int::Date) => self.int().map(drop),
            Type::Long(_) => self.long().map(drop),
            Type::Float => self.take(4).map(drop),
            Type::Double => self.take(8).map(drop),
            Type::Bytes => self.bytes().map(drop),
            Type::Text => self.text().map(drop),
            Type::Fixed { size, .. } => self.take(*size).map(drop),
            Type::Decimal { digits, size, .. } => self.decimal(*digits, *size).map(drop),
            Type::Enum(symbols) => self.number(symbols.len(), "symbol of an enum").map(drop),
            Type::Array(items) => self.blocks(|cursor| cursor.value(items)),
            Type::Map(values) => self.blocks(|cursor| cursor.text().map(drop).and_then(|()| cursor.value(values))),
            Type::Union(branches) => {
                let branch = self.number(branches.len(), "branch of a union")?;
                branches.get(branch).map_or(Ok(()), |branch| self.value(branch))
            }
            Type::Record(fields) => fields.iter().try_for_each(|field| self.field(field)),
        }
    }

    fn field(&mut self, field: &Field) -> Result<(), String> {
        self.value(&field.data_type).map_err(|reason| within(field, &reason))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("the record ends in it")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(format!("{} is neither true nor false", other[0])),
        }
    }

    pub(super) fn int(&mut self) -> Result<i32, String> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| format!("{number} is not an int"))
    }

    pub(super) fn long(&mut self) -> Result<i64, String> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            if shift == 63 && byte > 1 {
                break;
            }
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err("its number has more than 64 bits".to_owned())
    }

    /// The number of one of `count` things.
    pub(super) fn number(&mut self, count: usize, what: &str) -> Result<usize, String> {
        let number = self.long()?;
        let found = usize::try_from(number).ok().filter(|found| *found < count);
        found.ok_or_else(|| format!("{number} is no {what}, of which there are {count}"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("{length} is no length"))?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "its bytes are not UTF-8".to_owned())
    }

    /// The digits of a decimal, big-endian, in two's complement.
    pub(super) fn decimal(&mut self, digits: u64, size: Option<usize>) -> Result<&'a [u8], String> {
        let bytes = match size {
            Some(size) => self.take(size),
            None => self.bytes(),
        }?;
        if fits(bytes, digits) { Ok(bytes) } else { Err(format!("it has more than {digits} digits")) }
    }

    /// The items of an array or a map, which come in blocks.
    pub(super) fn blocks(&mut self, mut item: impl FnMut(&mut Cursor<'a>) -> Result<(), String>) -> Result<(), String> {
        let mut total = 0u64;
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            // A negative count is followed by the block's size.
            let end = if count < 0 { Some(self.block_end()?) } else { None };
            for _ in 0..count.unsigned_abs() {
                item(self).map_err(|reason| format!("element {total}: {reason}"))?;
                total += 1;
            }
            if end.is_some_and(|end| end != self.0.len()) {
                return Err("a block has another size than it says".to_owned());
            }
        }
    }

    /// How many bytes are left behind a block whose size comes next.
    fn block_end(&mut self) -> Result<usize, String> {
        let size = self.long()?;
        usize::try_from(size).ok().and_then(|size| self.0.len().checked_sub(size)).ok_or_else(|| format!("{size} is no size of a block"))
    }
}

/// Whether an integer has at most so many decimal digits.
fn fits(bytes: &[u8], digits: u64) -> bool {
    use arrow::datatypes::i256;
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let skipped = bytes.len().saturating_sub(32);
    if bytes[..skipped].iter().any(|byte| *byte != fill) {
        return false;
    }
    let mut wide = [fill; 32];
    wide[32 - (bytes.len() - skipped)..].copy_from_slice(&bytes[skipped..]);
    if (wide[0] & 0x80 != 0) != negative {
        return false;
    }
    let number = i256::from_be_bytes(wide);
    let Some(limit) = u32::try_from(digits).ok().and_then(|digits| i256::from_i128(10).checked_pow(digits)) else { return true };
    number < limit && number > limit.wrapping_neg()
}

/// A reason, with the field that it is about: `address.street: …`.
pub(super) fn within(field: &Field, reason: &str) -> String {
    match reason.strip_prefix("field `") {
        Some(inner) => format!("field `{}.{inner}", field.name),
        None => format!("field `{}`: {reason}", field.name),
    }
}
