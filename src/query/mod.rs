//! Spark's SQL over the rows of a micro-batch: planned once per stream, run by every lane.
//!
//! ```text
//! text ─ tokens ─ AST ─► resolve, rewrite ─► LogicalPlan ─► check ─► optimise ─► physical plan, once
//! lane k:  rows ─► slot ─► the plan ─► rows
//! ```
//!
//! A query is a DataFusion `LogicalPlan` and nothing else; what YAML says is one way to one. Between decode
//! and sink: of the stream it knows no topic, no file format and no batch id. Results are Spark 4.0's (`tests/oracle/streaming`).

mod arithmetic;
mod cast;
mod check;
mod clock;
mod concat;
mod coerce;
pub mod conf;
mod definition;
mod dialect;
pub mod error;
mod except;
mod fields;
mod fragment;
pub mod functions;
mod generate;
mod outline;
mod plan;
mod record;
mod record_bytes;
mod recordless;
mod result_size;
mod rewrite;
mod run;
mod session;
mod slot;
mod stage;
mod stateful;
pub mod tables;
#[cfg(test)]
mod tests;
mod types;

pub use conf::Conf;
pub use definition::{Definition, Input, Relation, View};
pub use error::{ExpressionError, Failure};
pub use plan::Query;
pub use record_bytes::RecordBytes;
pub use run::{BatchRun, Made, Runner, Sifted, TableRows};
pub use stage::SqlStage;
pub use stateful::OperatorProgress;
pub use stateful::observed::EventTimes;
pub use stateful::run::{Answer, Feed, LaneGrouping, LaneGroups, StatefulRun, Watermarks};
pub use stateful::tracker::{WatermarkPolicy, WatermarkTracker};
