//! Alluvia reads Apache Kafka and writes Delta Lake tables, exactly once. Start here.
//!
//! ```text
//! trigger ─► plan N: a range of the source ─► offsets/N                       runtime::stream, checkpoint
//!              │
//!    lane 1 ─► read ► decode ► stages ► write ─┐                             runtime::lane
//!    lane k ─► read ► decode ► stages ► write ─┴─► parts of one attempt      source, decode, sink, table::files
//!                                         │
//!                                         ├─► dead letters, own txn N        sink::dead_letter
//!                                         └─► ONE commit: parts + txn N      sink::delta, table::commit
//!                                                        └─► commits/N       checkpoint
//! ```
//!
//! Rows go right, proofs come back: only a durable plan can be run, only written files can be
//! committed. Modules are in reading order; each may use those above it and, of the stages
//! (`source` to `sink`), only their traits and values. `docs/ARCHITECTURE.md` says more,
//! `docs/adding-a-source-or-sink.md` how to add one.

pub mod model;
pub mod failpoint;
pub mod decode;
pub mod config;
pub mod storage;
pub mod observe;
pub mod source;
pub mod state;
pub mod table;
pub mod query;
pub mod checkpoint;
pub mod sink;
pub mod runtime;
pub mod server;
pub mod cli;
