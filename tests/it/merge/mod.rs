//! `sink.merge`: events that come again are one row (`duplicates`), and the newest row of a key replaces the one before
//! (`upsert`).

pub mod duplicates;
pub mod upsert;
