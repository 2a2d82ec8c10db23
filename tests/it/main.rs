//! The one integration test binary: the real program, a real broker, readers no one here wrote.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::type_complexity,
    missing_docs,
    reason = "a test that fails says where; its steps are read from top to bottom"
)]

mod checkpoint_commands;
#[cfg(feature = "failpoints")]
mod crash;
mod check_command;
mod dead_letters;
mod demo;
#[cfg(feature = "failpoints")]
mod durable;
mod guarantees;
mod ingest;
mod kafka_answers;
mod kafka_faults;
mod kafka_source;
mod layers;
mod limits;
mod options;
mod oracle_json;
mod json_options;
mod owners;
mod refusals;
mod resume_model;
#[allow(dead_code, unused_imports)]
mod rig;
mod signals;
mod soak;
#[cfg_attr(not(feature = "failpoints"), allow(dead_code))]
mod scene;
#[cfg(feature = "failpoints")]
mod storage_faults;
#[cfg(feature = "failpoints")]
mod tables;
mod schema_infer;
mod takeover;
#[cfg(feature = "failpoints")]
mod zombie;
