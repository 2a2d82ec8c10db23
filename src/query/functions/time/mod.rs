//! Functions of dates and timestamps. Clock time is that of the session's zone.
//!
//! `datetimeExpressions` of Spark 4.0: [`parts`] takes moments apart and cuts them, [`shift`] moves them, [`epoch`]
//! makes them of numbers and numbers of them, [`text`] reads and writes them by Java's patterns.

mod epoch;
mod parts;
mod pattern;
mod shift;
mod text;

pub(crate) use epoch::ENTRIES as EPOCH;
pub(crate) use parts::ENTRIES as PARTS;
pub(crate) use shift::ENTRIES as SHIFT;
pub(crate) use text::ENTRIES as TEXT;
pub(crate) use text::MomentWriters;
