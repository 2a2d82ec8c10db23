//! Messages into Arrow: DDL schemas, dates and times, JSON.
//!
//! Between the sources, which hand over bytes, and the sinks, which take batches. Knows Spark's types
//! and rules; knows no topic, table or batch id. [`schema`] is the vocabulary, [`ddl`] reads it,
//! [`json`] fills it, [`datetime`] serves [`json`]; [`rows`] puts Kafka's own columns ([`envelope`])
//! beside what was decoded, [`stage`] is the steps that follow it; [`admission`] decides which rows a table takes.

pub mod admission;
pub mod datetime;
pub mod ddl;
pub mod envelope;
pub mod infer;
pub mod json;
pub mod rows;
mod locale;
pub mod schema;
pub mod stage;
