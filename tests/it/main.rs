//! The one integration test binary: the real program, a real broker, readers no one here wrote.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::type_complexity,
    missing_docs,
    reason = "a test that fails says where; its steps are read from top to bottom"
)]

mod admission;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite_faults;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite_identities;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite_owners;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite_pairs;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azurite_queries;
mod chart;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod check_chain;
mod check_command;
mod checkpoint_commands;
mod cluster;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod compact;
mod consumer_group;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod crash;
mod dead_letters;
mod demo;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod durable;
mod fuzz_admission;
mod guarantees;
mod guests;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod identities;
mod ingest;
mod java_names;
mod json_options;
mod kafka_answers;
mod kafka_faults;
mod kafka_logins;
mod kafka_source;
mod layers;
mod limits;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod merge;
mod monitoring;
mod options;
mod oracle_json;
mod oracle_streaming;
mod owners;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod planted_faults;
mod recovery;
mod refusals;
mod release;
mod resume_model;
#[allow(dead_code, unused_imports)]
mod rig;
#[cfg_attr(not(any(debug_assertions, feature = "failpoints")), allow(dead_code))]
mod scene;
mod schema_infer;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod secrets_sweep;
mod signals;
mod soak;
mod sql;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod state_store;
mod status_page;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod stateful;
mod statistics;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod storage_faults;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod table_commands;
mod tables;
mod takeover;
mod terminal;
mod upgrade;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod upsert;
mod words;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod vacuum;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod zombie;
