//! The main job and what a stream file can ask for: topics into tables, the small sources and sinks, limits.

mod guests;
pub mod ingest;
mod limits;
mod options;
