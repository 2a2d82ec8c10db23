//! The commands beside `run`, and what a person reads on a terminal.

mod check;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod check_chain;
mod checkpoint;
mod demo;
mod refusals;
mod schema_infer;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod table;
mod terminal;
