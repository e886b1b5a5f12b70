//! One process owns a store, and every verb works beside it: the binary itself, against an `ingest` whose standard input is held open.

mod applies;
mod crash;
#[path = "../../../store/tests/store/inventory.rs"]
mod inventory;
mod same;
mod scored;
mod snapshots;
mod support;
mod trained;
mod trouble;
mod verbs;
