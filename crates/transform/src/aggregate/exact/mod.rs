//! Exact arithmetic: sums that forget nothing and round once.
//!
//! [`fixed`] adds floats, [`integer`] adds integers and decimals, [`round`] brings a result to the nearest `f64`, [`number`]
//! writes exact numbers down. All of it is integer arithmetic, so no processor, compiler flag or mathematics library can
//! change a bit.

pub(crate) mod fixed;
pub(crate) mod integer;
pub(crate) mod limbs;
pub(crate) mod number;
pub(crate) mod round;
