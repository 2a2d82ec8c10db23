//! The only module that sees all stages: it runs streams, micro-batch after micro-batch.
//!
//! A stream is one thread ([`stream`]) that plans, hands ranges to its lanes ([`lane`]), and commits;
//! a lane is one thread from fetch to Parquet. Uploads and storage calls run on the tokio runtime.
//! [`supervise`] decides what an error means for a stream; the order of durable steps stands in
//! [`stream`] and nowhere else.

pub mod attempt;
pub mod check;
pub mod facts;
pub mod lane;
pub mod letters;
mod look;
pub mod row_pipeline;
pub mod replay;
pub mod start;
pub mod stop;
pub mod stream;
pub mod supervise;
pub mod trigger;

pub use stop::Stop;
pub use supervise::{Ended, run_all};
