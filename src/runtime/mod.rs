//! The only module that sees all stages: it runs streams, micro-batch after micro-batch.
//!
//! A stream is one thread ([`stream`]) that plans, hands splits to its lanes ([`lane`]), and commits;
//! a lane is one thread from the source's reader to the sink's writer. Uploads and storage calls run on the tokio
//! runtime. [`recovery`] finds what there is at a start, [`open`] alone knows the formats of sources and sinks,
//! [`supervise`] decides what an error means for a stream; the order of durable steps is in [`stream`] and
//! nowhere else.

pub mod attempt;
pub mod check;
pub mod dead_letter_tables;
mod lag;
pub mod explain;
pub mod heap;
pub mod lane;
pub mod lane_pipeline;
mod lane_rows;
pub mod memory;
pub mod open;
mod provenance;
pub mod recovery;
pub mod replay;
pub mod row_pipeline;
pub mod sample;
pub mod sql;
pub mod start;
mod stateful;
pub mod stop;
pub mod stream;
mod streaming_query;
mod streams;
mod supervise;
pub mod trigger;

/// The stack of a stream's thread and of its lanes' threads, which plan and run queries: what `explain` accepts on the
/// main thread must not overflow theirs. Only what is used of it takes memory.
const STACK_BYTES: usize = 16 << 20;

pub use start::{ProcessContext, WhenOwned};
pub use stop::Stop;
pub use streaming_query::StreamingQuery;
pub use streams::{StreamExit, Streams};
