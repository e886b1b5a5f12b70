//! Lookups: answers to requests, from one consistent cut of a store; and [`admin`], by which the process that owns it answers others.
//!
//! A [`Served`] is made once per set of definitions and generations; a lookup takes a cut, plans nothing, and reads all its entities
//! in one batch.

pub mod admin;
mod lookup;

pub use lookup::{Lookup, LookupRequest, Read, Role, Served};
