//! Lowered trees in flat arrays, made for descents of eight at a time.
//!
//! A descent waits for one load after another: the node, the row's value, the next node. Eight of them that do not wait for each other, of one row in eight trees or of eight rows in one tree,
//! keep the processor busy, and without a branch on what is compared it has nothing to guess. So eight trees that follow each other are one *group*, whose nodes stand side by side. Trees of a
//! few levels are filled up to the same number of them, so that a node's children need no pointer (a *full* group); deeper ones keep their shape, and a descent that has ended stays where it is
//! (a *linked* group).

use super::lower::{Lowered, Trees};
use super::number::Number;

/// Descents that go on beside each other.
pub(super) const LANES: usize = 8;

/// Groups of at most this many levels are filled up whatever that takes.
const LEVELS_FREE: usize = 6;

/// Groups of more levels than this are never filled up.
pub(super) const LEVELS_MAX: usize = 8;

/// Most values of a row for full groups: a branch then names its value by a byte, and what it looks at is always there.
pub(super) const WIDTH_FULL: usize = 256;

/// A node of a linked group: a row goes on at `child` if its value is at most the threshold, else behind it. A leaf's threshold is NaN, which nothing is at most, and its child the place
/// before itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<T> {
    pub(super) threshold: T,
    pub(super) feature: u32,
    pub(super) child: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Group {
    /// `1 << levels` rows of nodes and of leaves from `first`; the root is the second node, and a node's children are at twice its place.
    Full { first: usize, levels: usize },
    /// Where each tree begins.
    Linked { roots: [u32; LANES] },
}

/// Trees in groups. `L` is what a leaf gives.
#[derive(Debug)]
pub(super) struct Layout<T, L> {
    /// Each with the number of its trees; where that is less than [`LANES`], the last tree is there again.
    pub(super) groups: Vec<(Group, usize)>,
    pub(super) thresholds: Vec<[T; LANES]>,
    /// Which of a row's values is at most the threshold, or not.
    pub(super) looks_at: Vec<[u8; LANES]>,
    pub(super) leaves: Vec<[L; LANES]>,
    pub(super) links: Vec<Link<T>>,
    /// What a link that is a leaf gives.
    pub(super) ends: Vec<L>,
    /// How many values of a row are looked at.
    pub(super) features: usize,
    /// The splits that a row passes at the most, in all trees.
    pub(super) splits: usize,
    /// Whether a row is followed by itself with −∞ for NaN.
    pub(super) missing: bool,
}

impl<T: Number, L: Copy + Default> Layout<T, L> {
    /// Lays out trees; `leaf` is what a leaf of the description gives.
    pub(super) fn new(trees: &Trees<T>, leaf: impl Fn(usize) -> L) -> Result<Layout<T, L>, String> {
        let mut layout = Layout {
            groups: Vec::new(),
            thresholds: Vec::new(),
            looks_at: Vec::new(),
            leaves: Vec::new(),
            links: Vec::new(),
            ends: Vec::new(),
            features: trees.features,
            splits: 0,
            missing: trees.missing,
        };
        let depths = depths(trees);
        let mut pairs = vec![None; trees.nodes.len()];
        for roots in trees.roots.chunks(LANES) {
            let levels = roots.iter().map(|root| depths[*root]).max().unwrap_or(0).max(1);
            let few = levels <= LEVELS_FREE || levels <= LEVELS_MAX && dense(trees, roots, levels);
            let group = if few && layout.width() <= WIDTH_FULL {
                layout.fill_up(trees, roots, levels, &leaf)
            } else {
                layout.link_up(trees, roots, &mut pairs, &leaf)?
            };
            layout.splits += levels * LANES;
            layout.groups.push((group, roots.len()));
        }
        Ok(layout)
    }

    /// The values of a row that its descents need: each, and those without NaNs behind them.
    pub(super) fn width(&self) -> usize {
        self.features.max(1) * if self.missing { 2 } else { 1 }
    }

    fn fill_up(&mut self, trees: &Trees<T>, roots: &[usize], levels: usize, leaf: &impl Fn(usize) -> L) -> Group {
        let (first, size) = (self.thresholds.len(), 1usize << levels);
        self.thresholds.resize(first + size, [T::INFINITY; LANES]);
        self.looks_at.resize(first + size, [0; LANES]);
        self.leaves.resize(first + size, [L::default(); LANES]);
        for lane in 0..LANES {
            let mut at = vec![roots[lane.min(roots.len() - 1)]];
            for level in 0..levels {
                let mut below = Vec::with_capacity(2 * at.len());
                for (place, node) in at.into_iter().enumerate() {
                    // A leaf is handed on downwards, whatever the branches above it say.
                    let (yes, no) = match trees.nodes[node] {
                        Lowered::Leaf(_) => (node, node),
                        Lowered::Branch { feature, threshold, yes, no } => {
                            let own = first + (1 << level) + place;
                            self.thresholds[own][lane] = threshold;
                            // The width was looked at.
                            self.looks_at[own][lane] = feature as u8;
                            (yes, no)
                        }
                    };
                    below.extend([yes, no]);
                }
                at = below;
            }
            for (place, node) in at.into_iter().enumerate() {
                if let Lowered::Leaf(index) = trees.nodes[node] {
                    self.leaves[first + place][lane] = leaf(index);
                }
            }
        }
        Group::Full { first, levels }
    }

    fn link_up(&mut self, trees: &Trees<T>, roots: &[usize], pairs: &mut [Option<u32>], leaf: &impl Fn(usize) -> L) -> Result<Group, String> {
        // No leaf is the first, so that each has a place before itself.
        if self.links.is_empty() {
            self.place(Link { threshold: T::NAN, feature: 0, child: 0 }, L::default());
        }
        let mut own = [0; LANES];
        for (lane, root) in roots.iter().enumerate() {
            own[lane] = self.link(trees, *root, pairs, leaf)?;
        }
        let last = own[roots.len() - 1];
        own[roots.len()..].fill(last);
        Ok(Group::Linked { roots: own })
    }

    /// Places a tree's root, and the pairs of children below it that are not there yet.
    fn link(&mut self, trees: &Trees<T>, root: usize, pairs: &mut [Option<u32>], leaf: &impl Fn(usize) -> L) -> Result<u32, String> {
        let place = self.links.len();
        let mut open = vec![(place, root)];
        self.place(Link { threshold: T::NAN, feature: 0, child: 0 }, L::default());
        while let Some((at, node)) = open.pop() {
            match trees.nodes[node] {
                Lowered::Leaf(index) => {
                    self.links[at] = Link { threshold: T::NAN, feature: 0, child: at as u32 - 1 };
                    self.ends[at] = leaf(index);
                }
                Lowered::Branch { feature, threshold, yes, no } => {
                    let child = match pairs[node] {
                        Some(child) => child,
                        None => {
                            let child = u32::try_from(self.links.len()).map_err(|_| "it has more nodes than can be laid out".to_owned())?;
                            for (pair, below) in [yes, no].into_iter().enumerate() {
                                open.push((child as usize + pair, below));
                                self.place(Link { threshold: T::NAN, feature: 0, child: 0 }, L::default());
                            }
                            pairs[node] = Some(child);
                            child
                        }
                    };
                    self.links[at] = Link { threshold, feature, child };
                }
            }
        }
        u32::try_from(place).map_err(|_| "it has more nodes than can be laid out".to_owned())
    }

    fn place(&mut self, link: Link<T>, end: L) {
        self.links.push(link);
        self.ends.push(end);
    }
}

/// Levels below each node. Children come before their parents.
fn depths<T>(trees: &Trees<T>) -> Vec<usize> {
    let mut depths = vec![0; trees.nodes.len()];
    for (at, node) in trees.nodes.iter().enumerate() {
        if let Lowered::Branch { yes, no, .. } = node {
            depths[at] = 1 + depths[*yes].max(depths[*no]);
        }
    }
    depths
}

/// Whether trees have at least a quarter of the leaves that they would be filled up to.
fn dense<T>(trees: &Trees<T>, roots: &[usize], levels: usize) -> bool {
    let wanted = (roots.len() << levels) / 4;
    let mut open = roots.to_vec();
    let mut leaves = 0;
    while let Some(at) = open.pop() {
        match &trees.nodes[at] {
            Lowered::Leaf(_) => leaves += 1,
            Lowered::Branch { yes, no, .. } => open.extend([*yes, *no]),
        }
        if leaves >= wanted {
            return true;
        }
    }
    false
}
