//! Tests of views and services: `NAME.test` beside the definitions, a text of events and of what is to come of them.
//!
//! ```text
//! -- A card that is used twice within an hour; the log repeats a payment.
//!
//! events payments
//!   payment_id, card, amount, paid_at
//!   1,          c1,   42.5,   2024-03-03T12:00:00Z
//!   2,          c1,   13.86,  2024-03-03T12:30:00Z
//!   2,          c1,   13.86,  2024-03-03T12:30:00Z
//!
//! rows payments  2 applied, 1 duplicates
//!
//! at 2024-03-03T12:45:00Z  card=c1
//!   payments_1h    2
//!   spent_1h       56.36
//!   last_country   NULL
//!
//! at 2024-03-03T12:45:00Z  card=nobody
//!   payments_1h    0     NOT_FOUND
//! ```
//!
//! - `events SOURCE` appends rows to the log of a source: CSV in which spaces around a cell do not count. Columns that are not named are NULL; `_append_time` and
//!   `_tombstone` mean what they mean in a log.
//! - `at MOMENT COLUMN=VALUE…` asks, once all events above it are applied. A line below it expects a value, and a status unless that is PRESENT (or NULL, of NULL).
//!   Features that are not named are not compared.
//! - `rows SOURCE` expects what became of the rows of a source so far.
//! - `now MOMENT` says what time it is when the events below it come in (by default, late enough that none is ahead of the clock), `time known` or `time event`
//!   which clock counts for what is asked below (by default, the view's own).
//!
//! Every file runs down both paths: the offline driver, which reads all events at once, and a store of its own that is fed through admission and the pipeline in several
//! batch cuts and read by lookups. All must give the same bits, and those that are expected.

mod bless;
mod compare;
mod file;
mod line;
mod paths;
mod value;

pub use bless::bless;
pub use compare::{Difference, differences};
pub use file::{Expected, Step, TestFile};
pub use paths::{Found, Outcome, run};
