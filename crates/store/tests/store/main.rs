//! The store as its users see it, across processes where it must be.

mod bulk;
mod commits;
mod crash;
mod expiry;
mod generations;
mod inventory;
mod memory;
mod model;
mod opening;
mod outbox;
mod releases;
mod snapshots;
mod speed;
mod support;
