//! Descents through laid-out trees.

use super::layout::{Branch, Group, LANES, Layout, Link};
use super::number::Number;

/// Rows that are taken through all trees before the next ones: they, and the trees of a group, stay in the first cache.
pub(super) const BLOCK: usize = 8 * LANES;

impl<T: Number, L: Copy + Default> Layout<T, L> {
    /// Gives each tree's leaf for a row, in the order of the trees. The row has [`Layout::width`] values.
    pub(super) fn row(&self, row: &[T], mut each: impl FnMut(L)) {
        for (group, trees) in &self.groups {
            let leaves = match group {
                Group::Full { first, levels } => self.full_row(*first, *levels, row),
                Group::Linked { roots } => self.linked_row(roots, row),
            };
            leaves[..*trees].iter().for_each(|leaf| each(*leaf));
        }
    }

    /// Gives for each chunk of eight rows each tree's leaves, in the order of the trees. Columns have eight rows of [`Layout::width`] values of each chunk.
    pub(super) fn rows(&self, columns: &[[T; LANES]], mut each: impl FnMut(usize, [L; LANES])) {
        for (group, trees) in &self.groups {
            for (chunk, columns) in columns.chunks_exact(self.width()).enumerate() {
                for tree in 0..*trees {
                    let leaves = match group {
                        Group::Full { first, levels } => self.full_rows(*first, *levels, tree, columns),
                        Group::Linked { roots } => self.linked_rows(roots[tree], columns),
                    };
                    each(chunk, leaves);
                }
            }
        }
    }

    fn full_row(&self, first: usize, levels: usize, row: &[T]) -> [L; LANES] {
        let (branches, leaves) = (&self.branches[first..], &self.leaves[first..]);
        match levels {
            1 => descend_row::<T, L, 2>(branches, leaves, row),
            2 => descend_row::<T, L, 4>(branches, leaves, row),
            3 => descend_row::<T, L, 8>(branches, leaves, row),
            4 => descend_row::<T, L, 16>(branches, leaves, row),
            5 => descend_row::<T, L, 32>(branches, leaves, row),
            6 => descend_row::<T, L, 64>(branches, leaves, row),
            7 => descend_row::<T, L, 128>(branches, leaves, row),
            _ => descend_row::<T, L, 256>(branches, leaves, row),
        }
    }

    fn full_rows(&self, first: usize, levels: usize, tree: usize, columns: &[[T; LANES]]) -> [L; LANES] {
        let (branches, leaves) = (&self.branches[first..], &self.leaves[first..]);
        match levels {
            1 => descend_rows::<T, L, 2>(branches, leaves, tree, columns),
            2 => descend_rows::<T, L, 4>(branches, leaves, tree, columns),
            3 => descend_rows::<T, L, 8>(branches, leaves, tree, columns),
            4 => descend_rows::<T, L, 16>(branches, leaves, tree, columns),
            5 => descend_rows::<T, L, 32>(branches, leaves, tree, columns),
            6 => descend_rows::<T, L, 64>(branches, leaves, tree, columns),
            7 => descend_rows::<T, L, 128>(branches, leaves, tree, columns),
            _ => descend_rows::<T, L, 256>(branches, leaves, tree, columns),
        }
    }

    fn linked_row(&self, roots: &[u32; LANES], row: &[T]) -> [L; LANES] {
        let mut at = *roots;
        loop {
            let mut moved = 0;
            for place in &mut at {
                let next = next(&self.links[*place as usize], |feature| row[feature]);
                moved |= next ^ *place;
                *place = next;
            }
            if moved == 0 {
                return at.map(|place| self.ends[place as usize]);
            }
        }
    }

    fn linked_rows(&self, root: u32, columns: &[[T; LANES]]) -> [L; LANES] {
        let mut at = [root; LANES];
        loop {
            let mut moved = 0;
            for (lane, place) in at.iter_mut().enumerate() {
                let next = next(&self.links[*place as usize], |feature| columns[feature][lane]);
                moved |= next ^ *place;
                *place = next;
            }
            if moved == 0 {
                return at.map(|place| self.ends[place as usize]);
            }
        }
    }
}

/// Where a row goes on. NaN is at most nothing, and goes where greater values go.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is to go where greater values go")]
fn next<T: Number>(link: &Link<T>, value: impl Fn(usize) -> T) -> u32 {
    link.child + u32::from(!(value(link.feature as usize) <= link.threshold))
}

#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is to go where greater values go")]
fn below<T: Number>(at: usize, branch: &Branch<T>, value: impl Fn(usize) -> T) -> usize {
    2 * at + usize::from(!(value(branch.feature as usize) <= branch.threshold))
}

/// One row through eight trees of `SIZE` leaves. A place below the last level, less `SIZE`, is a leaf's: the mask takes that away too.
fn descend_row<T: Number, L: Copy + Default, const SIZE: usize>(branches: &[[Branch<T>; LANES]], leaves: &[[L; LANES]], row: &[T]) -> [L; LANES] {
    let (Some(branches), Some(leaves)) = (branches.first_chunk::<SIZE>(), leaves.first_chunk::<SIZE>()) else { return [L::default(); LANES] };
    let mut at = [1usize; LANES];
    for _ in 0..SIZE.trailing_zeros() {
        for (lane, at) in at.iter_mut().enumerate() {
            *at = below(*at, &branches[*at & (SIZE - 1)][lane], |feature| row[feature]);
        }
    }
    std::array::from_fn(|lane| leaves[at[lane] & (SIZE - 1)][lane])
}

/// Eight rows through one of eight trees.
fn descend_rows<T: Number, L: Copy + Default, const SIZE: usize>(
    branches: &[[Branch<T>; LANES]],
    leaves: &[[L; LANES]],
    tree: usize,
    columns: &[[T; LANES]],
) -> [L; LANES] {
    let (Some(branches), Some(leaves)) = (branches.first_chunk::<SIZE>(), leaves.first_chunk::<SIZE>()) else { return [L::default(); LANES] };
    let tree = tree % LANES;
    let mut at = [1usize; LANES];
    for _ in 0..SIZE.trailing_zeros() {
        for (lane, at) in at.iter_mut().enumerate() {
            *at = below(*at, &branches[*at & (SIZE - 1)][tree], |feature| columns[feature][lane]);
        }
    }
    std::array::from_fn(|lane| leaves[at[lane] & (SIZE - 1)][tree])
}
