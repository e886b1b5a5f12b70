//! Avro records of topics: told by the schema they were written with, checked byte by byte, and decoded a batch at a time.
//!
//! - *Decoding is arrow-avro's*, from the writer's schema straight to Arrow, of the fields that are wanted. It has no way back from a record that fails in its middle, takes
//!   any number but zero for the other branch of a nullable union, and reads a named type that a schema refers to as whatever the reader says it is. So a record is
//!   walked first ([`walk`]), from its first byte to its last, and schemas are written out without references ([`schema`]).
//! - *Columns are found by name* in the writer's schema, or by the aliases that the reader's schema gives, and are taken over by the casts that
//!   Parquet's columns are: what could lose a value is refused by types, and what does not fit makes its row bad. arrow-avro's own resolution is not
//!   used: it rounds a long to a double, and takes milliseconds for microseconds where the two schemas say so.
//! - *A field that is missing* has the default of the reader's schema, or is NULL, as a missing member of a JSON object is.
//! - *Keys that are Avro* are few and small; they become JSON objects, and are read as those are.

mod decode;
mod default;
mod key;
mod merge;
mod records;
mod schema;
mod schemas;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub(super) use key::hexadecimal;
pub use records::AvroRecords;
pub use schemas::{Schemas, Wire};
