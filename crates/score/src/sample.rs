//! Rows with which a model is warmed, and with which it is seen whether rows are independent.

use crate::{Element, Port, Tensor, Values};

/// Where a file leaves a dimension open, rows of a sample have this many values of it.
const OPEN: usize = 4;

/// Rows for inputs, at random: categories that the file knows, else small numbers, half of them whole, so that many thresholds and table entries are met. The same seed gives the same rows.
pub fn sample(ports: &[Port], rows: usize, seed: u64) -> Vec<Tensor> {
    let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
    ports.iter().map(|port| tensor(port, rows, &mut random)).collect()
}

fn tensor(port: &Port, rows: usize, random: &mut Random) -> Tensor {
    let shape: Vec<usize> = std::iter::once(rows).chain(port.width.iter().map(|width| width.unwrap_or(OPEN))).collect();
    let count = shape.iter().product();
    let known = port.labels.as_deref().unwrap_or_default();
    let texts = if known.is_empty() { ["", "a", "b"].map(str::to_owned).to_vec() } else { known.to_vec() };
    let whole: Vec<i64> = known.iter().filter_map(|known| known.parse().ok()).collect();
    // Two numbers that the smallest of tables has.
    let whole = if whole.is_empty() { vec![0, 1] } else { whole };
    let values = match port.element {
        Element::Float32 => Values::Float32((0..count).map(|_| random.number() as f32).collect()),
        Element::Float64 => Values::Float64((0..count).map(|_| random.number()).collect()),
        Element::Int32 => Values::Int32((0..count).map(|_| random.below(2) as i32).collect()),
        Element::Int64 => Values::Int64((0..count).map(|_| random.of(&whole)).collect()),
        Element::Bool => Values::Bool((0..count).map(|_| random.below(2) == 1).collect()),
        Element::Text => Values::Text((0..count).map(|_| random.of(&texts)).collect()),
    };
    Tensor { shape, values }
}

/// SplitMix64: what is sampled is no secret, and is to be the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of some, of which there are.
    fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.below(some.len() as u64) as usize].clone()
    }

    fn number(&mut self) -> f64 {
        let whole = self.below(9) as f64 - 4.0;
        if self.below(2) == 0 { whole } else { whole + self.below(1 << 20) as f64 / f64::from(1 << 20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_rows_in_the_ports_shapes() {
        let port = |element, width: &[Option<usize>]| Port { name: "x".to_owned(), element, width: width.to_vec(), labels: None };
        let ports = [port(Element::Float32, &[Some(3)]), port(Element::Text, &[]), port(Element::Int64, &[None, Some(2)])];
        let rows = sample(&ports, 7, 1);
        assert_eq!(rows.iter().map(|tensor| tensor.shape.clone()).collect::<Vec<_>>(), [vec![7, 3], vec![7], vec![7, OPEN, 2]]);
        assert!(rows.iter().zip(&ports).all(|(tensor, port)| tensor.fits(port) == Ok(7)));
        assert_eq!(rows, sample(&ports, 7, 1));
        assert_ne!(rows, sample(&ports, 7, 2));
        let known = Port { labels: Some(vec!["7".to_owned()]), ..port(Element::Int64, &[]) };
        assert_eq!(sample(&[known], 3, 1)[0].values, Values::Int64(vec![7; 3]));
    }
}
