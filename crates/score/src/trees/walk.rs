//! Descents through laid-out trees.

use super::layout::{Group, LANES, Layout, Link, WIDTH_FULL};
use super::number::Number;

/// Rows that are taken through all trees before the next ones: they, and the trees of a group, stay in the first cache.
pub(super) const BLOCK: usize = 8 * LANES;

impl<T: Number, L: Copy + Default> Layout<T, L> {
    /// Gives the leaves of a row in each group's trees, and the first of these, in the order of the trees. The row has [`Layout::room`] values.
    pub(super) fn row(&self, row: &[T], mut each: impl FnMut(usize, &[L])) {
        for (number, (group, trees)) in self.groups.iter().enumerate() {
            let leaves = match group {
                Group::Full { first, levels } => self.full(*first, *levels, &Row(row)),
                Group::Linked { roots } => self.linked(roots, |feature, _| row[feature]),
            };
            each(number * LANES, &leaves[..*trees]);
        }
    }

    /// Gives for each chunk of eight rows each tree's leaves, in the order of the trees. Columns have eight rows of [`Layout::width`] values of each chunk, and room behind the last.
    pub(super) fn rows(&self, columns: &[[T; LANES]], chunks: usize, mut each: impl FnMut(usize, usize, [L; LANES])) {
        for (number, (group, trees)) in self.groups.iter().enumerate() {
            for chunk in 0..chunks {
                let columns = &columns[chunk * self.width()..];
                for lane in 0..*trees {
                    let leaves = match group {
                        Group::Full { first, levels } => self.full(*first, *levels, &Columns { columns, tree: lane % LANES }),
                        Group::Linked { roots } => self.linked(&[roots[lane]; LANES], |feature, lane| columns[feature][lane]),
                    };
                    each(chunk, number * LANES + lane, leaves);
                }
            }
        }
    }

    /// Values that a row, or the last chunk of columns, must have room for.
    pub(super) fn room(&self) -> usize {
        self.width().max(WIDTH_FULL)
    }

    /// Eight descents in a full group.
    fn full<V: Lanes<T>>(&self, first: usize, levels: usize, values: &V) -> [L; LANES] {
        let full = Full { thresholds: &self.thresholds[first..], looks_at: &self.looks_at[first..], leaves: &self.leaves[first..] };
        match levels {
            1 => full.descend::<V, 2>(values),
            2 => full.descend::<V, 4>(values),
            3 => full.descend::<V, 8>(values),
            4 => full.descend::<V, 16>(values),
            5 => full.descend::<V, 32>(values),
            6 => full.descend::<V, 64>(values),
            7 => full.descend::<V, 128>(values),
            _ => full.descend::<V, 256>(values),
        }
    }

    /// Eight descents in a linked group.
    #[inline(always)]
    fn linked(&self, roots: &[u32; LANES], value: impl Fn(usize, usize) -> T) -> [L; LANES] {
        let mut at = *roots;
        loop {
            // One that has ended stays where it is: only every other step is it looked at whether all have.
            for (lane, place) in at.iter_mut().enumerate() {
                *place = next(&self.links[*place as usize], |feature| value(feature, lane));
            }
            let mut moved = 0;
            for (lane, place) in at.iter_mut().enumerate() {
                let next = next(&self.links[*place as usize], |feature| value(feature, lane));
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
    link.child.wrapping_add(u32::from(!(value(link.feature as usize) <= link.threshold)))
}

/// The values that eight descents look at.
trait Lanes<T> {
    /// What is looked at by a byte, which therefore is there; none if there is no room.
    type Room<'a>: Copy
    where
        Self: 'a;

    fn room(&self) -> Option<Self::Room<'_>>;

    fn value(room: Self::Room<'_>, at: u8, lane: usize) -> T;

    /// In which of eight trees a descent is.
    fn tree(&self, lane: usize) -> usize;
}

/// One row, which all look at.
struct Row<'a, T>(&'a [T]);

/// Eight rows, in one tree.
struct Columns<'a, T> {
    columns: &'a [[T; LANES]],
    tree: usize,
}

impl<T: Number> Lanes<T> for Row<'_, T> {
    type Room<'a>
        = &'a [T; WIDTH_FULL]
    where
        Self: 'a;

    fn room(&self) -> Option<&[T; WIDTH_FULL]> {
        self.0.first_chunk()
    }

    #[inline(always)]
    fn value(room: &[T; WIDTH_FULL], at: u8, _: usize) -> T {
        room[at as usize]
    }

    #[inline(always)]
    fn tree(&self, lane: usize) -> usize {
        lane
    }
}

impl<T: Number> Lanes<T> for Columns<'_, T> {
    type Room<'a>
        = &'a [[T; LANES]; WIDTH_FULL]
    where
        Self: 'a;

    fn room(&self) -> Option<&[[T; LANES]; WIDTH_FULL]> {
        self.columns.first_chunk()
    }

    #[inline(always)]
    fn value(room: &[[T; LANES]; WIDTH_FULL], at: u8, lane: usize) -> T {
        room[at as usize][lane]
    }

    #[inline(always)]
    fn tree(&self, _: usize) -> usize {
        self.tree % LANES
    }
}

/// A full group's arrays, from its first row on.
struct Full<'a, T, L> {
    thresholds: &'a [[T; LANES]],
    looks_at: &'a [[u8; LANES]],
    leaves: &'a [[L; LANES]],
}

impl<T: Number, L: Copy + Default> Full<'_, T, L> {
    /// Down to the `SIZE` leaves, in one of the trees or each lane in its own. A place below the last level, less `SIZE`, is a leaf's: the mask takes that away too.
    ///
    /// All arrays have a size that is known here, so that nothing is left to check on the way down: what that costs was measured, a sixth of the whole.
    #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is to go where greater values go")]
    fn descend<V: Lanes<T>, const SIZE: usize>(&self, values: &V) -> [L; LANES] {
        let arrays = (self.thresholds.first_chunk::<SIZE>(), self.looks_at.first_chunk::<SIZE>(), self.leaves.first_chunk::<SIZE>());
        let ((Some(thresholds), Some(looks_at), Some(leaves)), Some(room)) = (arrays, values.room()) else { return [L::default(); LANES] };
        let mut at = [1u32; LANES];
        for _ in 0..SIZE.trailing_zeros() {
            for (lane, at) in at.iter_mut().enumerate() {
                let place = *at as usize & (SIZE - 1);
                let beyond = !(V::value(room, looks_at[place][values.tree(lane)], lane) <= thresholds[place][values.tree(lane)]);
                *at = at.wrapping_add(*at).wrapping_add(u32::from(beyond));
            }
        }
        std::array::from_fn(|lane| leaves[at[lane] as usize & (SIZE - 1)][values.tree(lane)])
    }
}
