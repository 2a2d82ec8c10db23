//! Delta tables: what others change in them, compaction, vacuum, codecs, names of folders, and the statistics that readers use.

pub mod changed;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod codecs;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod compact;
mod log;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod names;
mod statistics;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod vacuum;
