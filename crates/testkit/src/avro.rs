//! Avro's binary encoding, written out by hand from its specification: what decodes it shares nothing with this.

/// A value, as the encoding has it: the schema is in the head of who writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Avro {
    /// Nothing.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `int` or `long`, whatever it means; the number of an enum's symbol.
    Number(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `bytes`, a decimal of them included.
    Bytes(Vec<u8>),
    /// `string`.
    Text(String),
    /// `fixed`.
    Fixed(Vec<u8>),
    /// The branch of a union, by its number.
    Branch(usize, Box<Avro>),
    /// `array`, in one block.
    Array(Vec<Avro>),
    /// `array`, in blocks that say their sizes.
    Blocks(Vec<Vec<Avro>>),
    /// `map`.
    Map(Vec<(String, Avro)>),
    /// `record`: its fields in their order.
    Record(Vec<Avro>),
}

impl Avro {
    /// A text.
    pub fn text(text: impl Into<String>) -> Avro {
        Avro::Text(text.into())
    }

    /// A value of a union of null and something.
    pub fn some(value: Avro) -> Avro {
        Avro::Branch(1, Box::new(value))
    }

    /// NULL of such a union.
    pub fn none() -> Avro {
        Avro::Branch(0, Box::new(Avro::Null))
    }

    /// A decimal's digits, as few bytes as hold them.
    pub fn decimal(digits: i128) -> Avro {
        let wide = digits.to_be_bytes();
        let keeps = |from: usize| {
            i128::from_be_bytes(std::array::from_fn(|at| if at < from { if wide[from] & 0x80 == 0 { 0 } else { 0xff } } else { wide[at] })) == digits
        };
        let from = (0..16).rev().find(|from| keeps(*from)).unwrap_or(0);
        Avro::Bytes(wide[from..].to_vec())
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Avro::Null => {}
            Avro::Boolean(value) => out.push(u8::from(*value)),
            Avro::Number(value) => number(*value, out),
            Avro::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
            Avro::Double(value) => out.extend_from_slice(&value.to_le_bytes()),
            Avro::Bytes(bytes) => text(bytes, out),
            Avro::Text(value) => text(value.as_bytes(), out),
            Avro::Fixed(bytes) => out.extend_from_slice(bytes),
            Avro::Branch(branch, value) => {
                number(*branch as i64, out);
                value.write(out);
            }
            Avro::Array(items) => {
                if !items.is_empty() {
                    number(items.len() as i64, out);
                    items.iter().for_each(|item| item.write(out));
                }
                number(0, out);
            }
            Avro::Blocks(blocks) => {
                for block in blocks {
                    let bytes: Vec<u8> = block.iter().flat_map(Avro::encode).collect();
                    number(-(block.len() as i64), out);
                    number(bytes.len() as i64, out);
                    out.extend_from_slice(&bytes);
                }
                number(0, out);
            }
            Avro::Map(entries) => {
                if !entries.is_empty() {
                    number(entries.len() as i64, out);
                }
                for (key, value) in entries {
                    text(key.as_bytes(), out);
                    value.write(out);
                }
                number(0, out);
            }
            Avro::Record(fields) => fields.iter().for_each(|field| field.write(out)),
        }
    }
}

/// A number, its sign in the lowest bit, seven bits a byte from the lowest on.
fn number(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    number(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// A record as Confluent's clients write it: with its schema's id in the registry.
pub fn confluent(id: u32, value: &Avro) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&id.to_be_bytes());
    value.write(&mut bytes);
    bytes
}

/// A record in single-object encoding, with its schema's fingerprint.
pub fn single_object(fingerprint: u64, value: &Avro) -> Vec<u8> {
    let mut bytes = vec![0xc3, 0x01];
    bytes.extend_from_slice(&fingerprint.to_le_bytes());
    value.write(&mut bytes);
    bytes
}

/// The fingerprint of a schema in canonical form: CRC-64-AVRO, bit by bit as its definition goes.
pub fn fingerprint(canonical: &str) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    canonical.bytes().fold(EMPTY, |crc, byte| (0..8).fold(crc ^ u64::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ EMPTY } else { crc >> 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            assert_eq!(Avro::Number(value).encode(), bytes, "{value}");
        }
        assert_eq!(Avro::text("foo").encode(), [0x06, 0x66, 0x6f, 0x6f]);
        assert_eq!(Avro::Array(vec![Avro::Number(3), Avro::Number(27)]).encode(), [0x04, 0x06, 0x36, 0x00]);
        for (digits, bytes) in [(0, vec![0]), (127, vec![0x7f]), (128, vec![0, 0x80]), (-128, vec![0x80]), (-129, vec![0xff, 0x7f])] {
            assert_eq!(Avro::decimal(digits), Avro::Bytes(bytes), "{digits}");
        }
    }

    #[test]
    fn fingerprints_are_those_that_avro_publishes() {
        assert_eq!(fingerprint("\"int\""), 0x7275_d51a_3f39_5c8f);
        assert_eq!(fingerprint("\"null\""), 0x63dd_24e7_cc25_8f8a);
    }
}
