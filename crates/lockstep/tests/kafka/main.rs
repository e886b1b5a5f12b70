//! Kafka as the binary reads it: what comes of a topic is what comes of the same rows in files, through any crash.
//!
//! Where no broker can be had, librdkafka's mock cluster stands in, and what it has not is left out, unless `LOCKSTEP_REQUIRE_KAFKA` is set.

#[cfg(unix)]
mod avro;
#[cfg(target_os = "linux")]
mod backlog;
#[cfg(unix)]
mod crash;
#[cfg(unix)]
mod doctor;
#[cfg(unix)]
mod equal;
#[cfg(unix)]
mod follow;
#[cfg(unix)]
mod handover;
#[cfg(unix)]
mod leaving;
#[cfg(unix)]
mod moves;
#[cfg(unix)]
mod outcome;
#[cfg(unix)]
mod parts;
#[cfg(unix)]
mod registry;
#[cfg(unix)]
mod resume;
#[cfg(unix)]
mod rows;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod standby;
#[cfg(unix)]
mod support;
#[cfg(unix)]
mod trained;
