//! The one integration test binary: the real program, a real broker, readers no one here wrote.

mod ingest;
mod kafka_source;
mod refusals;
mod rig;
