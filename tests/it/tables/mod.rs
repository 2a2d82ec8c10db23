//! Delta tables: what others change in them, compaction, vacuum, and the statistics that readers use.

pub mod changed;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod compact;
mod log;
mod statistics;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod vacuum;
