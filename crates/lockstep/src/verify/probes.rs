//! At which moments of which entities to compare.

use lockstep_transform::transformation::Transformation;

/// One entity at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Index of the entity.
    pub entity: usize,
    /// The moment, µs.
    pub at: i64,
}

/// A generator of numbers that is the same everywhere (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

/// Up to about `most` probes of the events in `entities` (per entity, the ascending times of its events), none before `from`: at events, a microsecond before and after, at
/// the moments at which an event enters or leaves a window and a microsecond to either side, and at random between the first event and the last.
///
/// Where that is more than `most`, events are taken at equal distances over all entities, so that every entity with many events and many of those with few have their turn.
pub fn probes(view: &Transformation, entities: &[(Vec<u8>, Vec<i64>)], from: i64, most: usize, seed: u64) -> Vec<Probe> {
    let edges = edges(view);
    let per_event = 3 + 3 * edges.len() + 1;
    let events: usize = entities.iter().map(|(_, times)| times.len()).sum();
    let step = (events * per_event).div_ceil(most.max(1)).max(1);
    let (first, last) = entities.iter().flat_map(|(_, times)| times).fold((i64::MAX, i64::MIN), |(low, high), &t| (low.min(t), high.max(t)));
    let mut numbers = Numbers(seed);
    let mut probes = Vec::with_capacity(events.div_ceil(step) * per_event);
    let mut at_event = numbers.below(step as u64) as usize;
    let mut passed = 0;
    for (entity, (_, times)) in entities.iter().enumerate() {
        while let Some(&time) = times.get(at_event - passed) {
            let mut push = |at: i64| {
                if at >= from {
                    probes.push(Probe { entity, at });
                }
            };
            for at in std::iter::once(0).chain(edges.iter().copied()).map(|edge| time.saturating_add(edge)) {
                push(at.saturating_sub(1));
                push(at);
                push(at.saturating_add(1));
            }
            push(first.saturating_add(numbers.below(last.abs_diff(first).saturating_add(1)) as i64));
            at_event += step;
        }
        passed += times.len();
    }
    probes
}

/// After which time an event enters or leaves a window, µs.
fn edges(view: &Transformation) -> Vec<i64> {
    let mut edges: Vec<i64> = view.frames.iter().flat_map(|frame| frame.preceding.into_iter().chain([frame.ends_before])).chain(view.ttl).collect();
    edges.retain(|&edge| edge > 0);
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_transform::catalog::Catalog;
    use lockstep_transform::definition::{Definitions, SourceFile};

    #[test]
    fn probes_lie_on_edges_and_keep_to_their_number() {
        let sql = "CREATE ENTITY e (e VARCHAR);
            CREATE SOURCE s (id BIGINT PRIMARY KEY, e VARCHAR, at TIMESTAMP) WITH (event_time = 'at');
            CREATE FEATURE VIEW v ENTITY e AS SELECT e, count(*) OVER w AS n FROM s
            WINDOW w AS (PARTITION BY e ORDER BY at RANGE BETWEEN INTERVAL '1 second' PRECEDING AND CURRENT ROW);";
        let catalog = Catalog::compile(Definitions::parse(&[SourceFile::new("v.sql", sql)]).unwrap()).unwrap();
        let entities = vec![(b"a".to_vec(), vec![0, 10]), (b"b".to_vec(), (0..100).map(|i| i * 7).collect())];
        let all = probes(&catalog.views["v"], &entities, i64::MIN, usize::MAX, 1);
        assert_eq!(all.len(), 102 * 7);
        for at in [-1, 0, 1, 999_999, 1_000_000, 1_000_001] {
            assert!(all.contains(&Probe { entity: 0, at }), "{at}");
        }
        let some = probes(&catalog.views["v"], &entities, 0, 70, 1);
        assert!(some.len() <= 77 && some.len() > 50, "{}", some.len());
        assert!(some.iter().all(|probe| probe.at >= 0));
    }
}
