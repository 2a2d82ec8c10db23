//! Alluvia reads Apache Kafka and writes Delta Lake tables, exactly once. Start here.
//!
//! ```text
//! trigger ─► plan N: [from, until) per partition ─► offsets/N                 runtime::stream
//!              │
//!    lane 1 ─► fetch ► decode ► encode ─┐                                    runtime::lane
//!    lane k ─► fetch ► decode ► encode ─┴─► Parquet files                    source, decode, table::files
//!                                  │
//!                                  ├─► dead letters, own txn N               sink::dead_letter
//!                                  └─► ONE Delta commit: add* + txn N        sink::delta, table::commit
//!                                                 └─► commits/N              checkpoint
//! ```
//!
//! Rows go right, proofs come back: only a durable plan can be run, only written files can be
//! committed. Modules stand in reading order; each may use those above it and, of the stages
//! (`source` to `checkpoint`), only their traits and values.

pub mod model;
pub mod failpoint;
pub mod config;
pub mod storage;
pub mod observe;
pub mod source;
pub mod decode;
pub mod query;
pub mod table;
pub mod checkpoint;
pub mod sink;
pub mod runtime;
pub mod cli;
