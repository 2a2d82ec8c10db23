//! Dates and timestamps out of text, as Spark reads them.
//!
//! [`cast`] is the way without a format of one's own (the rules of CAST), [`pattern`] the way with
//! one (`timestampFormat` and its kin), [`Zone`] turns clock time into instants. [`Formats`] puts
//! them together as `from_json` does. No clock is read here: the caller says what "now" is, so
//! that a batch that runs twice gives the same rows.

pub mod cast;
pub mod civil;
pub mod pattern;
mod formats;
mod region;
mod zone;

pub use formats::{FormatOptions, Formats};
pub use pattern::Pattern;
pub use zone::Zone;
