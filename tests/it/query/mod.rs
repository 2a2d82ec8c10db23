//! Streams with `sql`: stateless, with windows and state, and the answers of Spark.

mod oracle_streaming;
mod sql;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod state_store;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod stateful;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod stateful_parts;
