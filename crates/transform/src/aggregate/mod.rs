//! Exact, order-free aggregates.
//!
//! An aggregate's state is an exact function of the *set* of events folded into it: a commutative monoid whose merge is
//! exact. Any split into tiles, any batch cut, any order and any number of machines give the same bits. Rounding happens
//! once, in [`Groups::finish`].
//!
//! There is one implementation of each. The engine drives it by [`Groups`]; DataFusion drives the same code through the
//! UDAFs of [`udaf`], registered under the SQL names.

mod call;
pub(crate) mod column;
mod count;
mod distinct;
pub(crate) mod exact;
mod extreme;
mod float;
mod hyperloglog;
mod integers;
mod kernel;
mod ordered;
mod percentile;
mod sweep;
pub mod udaf;

use std::fmt::Debug;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use lockstep_model::codec::CodecError;

pub use call::{Call, Function, RANK_MAX, bind};
pub(crate) use percentile::histogram;
pub use sweep::{Schedule, Span};

/// An aggregate function bound to its argument types and parameters.
pub trait Aggregate: Debug + Send + Sync {
    /// Canonical name with everything that changes its meaning (`sum`, `count_distinct`, `first_value ignore nulls`, …), part of
    /// the meaning fingerprint.
    fn name(&self) -> String;

    /// Version of the state codec, part of the state fingerprint.
    fn codec_version(&self) -> u8;

    /// Type of the finished value.
    fn return_type(&self) -> DataType;

    /// Whether [`Groups::retract`] and [`Groups::unmerge`] are exact for every state; otherwise a state that loses an event is rebuilt.
    fn invertible(&self) -> bool;

    /// Whether a tile keeps a state of it. Where not (lists, whose state is the rows themselves), a read goes down to the rows.
    fn tiled(&self) -> bool {
        true
    }

    /// Fresh states.
    fn groups(&self) -> Box<dyn Groups>;
}

/// Rows to fold: columns, and which row goes to which group.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The aggregate's arguments, each of the bound type; all of one length.
    pub args: &'a [ArrayRef],
    /// `(row, group)`, in any order; a row may go to several groups. Rows that the FILTER does not pass are not here.
    pub pairs: &'a [(u32, u32)],
    /// Order keys of the rows (`event time ‖ primary key`, compared as bytes), for the aggregates that depend on order.
    pub order: &'a dyn OrderKeys,
}

/// The order key of each row of a batch.
pub trait OrderKeys: Debug {
    /// The key of `row`; unique within a group.
    fn get(&self, row: usize) -> &[u8];
}

/// States of many groups, held column-wise. A group that has seen nothing holds the empty state, the identity of merge.
pub trait Groups: Send + Sync {
    /// Makes room for `groups` groups in all; new ones are empty, existing ones are kept.
    fn resize(&mut self, groups: usize);

    /// Empties every group and keeps the memory.
    fn clear(&mut self);

    /// Folds rows in.
    fn update(&mut self, rows: Rows<'_>);

    /// Takes rows out that were folded in before. Only called where [`Aggregate::invertible`].
    fn retract(&mut self, rows: Rows<'_>);

    /// Merges an encoded state into a group. Empty bytes are the empty state.
    fn merge(&mut self, group: usize, state: &[u8]) -> Result<(), CodecError>;

    /// Takes an encoded state out of a group. Only called where [`Aggregate::invertible`].
    fn unmerge(&mut self, group: usize, state: &[u8]) -> Result<(), CodecError>;

    /// Appends the canonical encoding of a group's state: equal sets give equal bytes, the empty set gives none.
    fn encode(&self, group: usize, out: &mut Vec<u8>);

    /// The values of all groups, in order.
    fn finish(&self) -> Finished;

    /// The values of many windows over these groups, of which each is a cell: the offline way of reading many moments at once.
    fn sweep(&self, schedule: &Schedule<'_>) -> Finished;

    /// Bytes held, about.
    fn size(&self) -> usize;
}

/// Finished values: NULL where `errors` is true.
#[derive(Debug, Clone)]
pub struct Finished {
    /// One value per group, of the aggregate's return type.
    pub values: ArrayRef,
    /// Groups whose value could not be computed (overflow, a declared limit passed); `None` where there are none.
    pub errors: Option<BooleanArray>,
}

impl Finished {
    /// Values of some of the groups, and which of them could not be computed.
    pub fn slice(&self, first: usize, len: usize) -> (ArrayRef, Option<BooleanArray>) {
        let errors = self.errors.as_ref().map(|errors| errors.slice(first, len));
        (self.values.slice(first, len), errors.filter(|errors| errors.true_count() > 0))
    }
}

#[cfg(test)]
mod tests;
