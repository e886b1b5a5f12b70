//! DEFLATE (RFC 1951), for the few small arrays that others stored in it.

/// Bits, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).map(|bit| self.bit() << bit).sum()
    }

    fn bit(&mut self) -> usize {
        let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
        self.at += 1;
        bit.into()
    }
}

/// A Huffman code, by how many symbols have each length, and the symbols in the order of their codes.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Code {
        let mut counts = [0; 16];
        lengths.iter().for_each(|length| counts[*length] += 1);
        counts[0] = 0;
        let symbols = (1..16).flat_map(|length| (0..lengths.len()).filter(move |symbol| lengths[*symbol] == length)).collect();
        Code { counts, symbols }
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> usize {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.bit();
            if code < first + count {
                return self.symbols[index + code - first];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no such code")
    }
}

pub fn inflate(bytes: &[u8]) -> Vec<u8> {
    let (mut bits, mut out) = (Bits { bytes, at: 0 }, Vec::new());
    loop {
        let last = bits.bit() == 1;
        match bits.take(2) {
            0 => {
                let at = bits.at.div_ceil(8);
                let length = u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
                out.extend_from_slice(&bytes[at + 4..at + 4 + length]);
                bits.at = (at + 4 + length) * 8;
            }
            1 => {
                let literals: Vec<usize> =
                    (0..288).map(|symbol| [8, 9, 7, 8][usize::from(symbol > 143) + usize::from(symbol > 255) + usize::from(symbol > 279)]).collect();
                block(&mut bits, &mut out, &Code::new(&literals), &Code::new(&[5; 30]));
            }
            _ => {
                let (literals, distances) = codes(&mut bits);
                block(&mut bits, &mut out, &literals, &distances);
            }
        }
        if last {
            return out;
        }
    }
}

/// The codes that a block has of its own.
fn codes(bits: &mut Bits<'_>) -> (Code, Code) {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances, count) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut lengths = [0; 19];
    ORDER[..count].iter().for_each(|place| lengths[*place] = bits.take(3));
    let code = Code::new(&lengths);
    let mut all = Vec::new();
    while all.len() < literals + distances {
        let (value, times) = match code.symbol(bits) {
            16 => (*all.last().unwrap(), 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length, 1),
        };
        all.extend(std::iter::repeat_n(value, times));
    }
    (Code::new(&all[..literals]), Code::new(&all[literals..]))
}

fn block(bits: &mut Bits<'_>, out: &mut Vec<u8>, literals: &Code, distances: &Code) {
    // A length or distance is its class's first, and as many more as extra bits say.
    let range =
        |class: usize, group: usize| if class < 2 * group { (class, 0) } else { ((group + class % group) << (class / group - 1), class / group - 1) };
    loop {
        match literals.symbol(bits) {
            256 => return,
            literal @ 0..256 => out.push(literal as u8),
            class => {
                let (first, extra) = if class == 285 { (255, 0) } else { range(class - 257, 4) };
                let length = 3 + first + bits.take(extra);
                let (first, extra) = range(distances.symbol(bits), 2);
                let from = out.len() - (1 + first + bits.take(extra));
                (0..length).for_each(|at| out.push(out[from + at]));
            }
        }
    }
}

#[test]
fn what_was_deflated_is_inflated() {
    // zlib's raw output of "to be or not to be, that is the question: to be", with its fixed codes.
    let deflated = [
        0x2b, 0xc9, 0x57, 0x48, 0x4a, 0x55, 0xc8, 0x2f, 0x52, 0xc8, 0xcb, 0x2f, 0x51, 0x28, 0x01, 0x71, 0x74, 0x14, 0x4a, 0x32, 0x12, 0x4b, 0x14,
        0x32, 0x8b, 0x81, 0x74, 0xaa, 0x42, 0x61, 0x69, 0x6a, 0x71, 0x49, 0x66, 0x7e, 0x9e, 0x15, 0x44, 0x12, 0x00,
    ];
    assert_eq!(String::from_utf8(inflate(&deflated)).unwrap(), "to be or not to be, that is the question: to be");
}
