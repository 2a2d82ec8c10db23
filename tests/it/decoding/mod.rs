//! What becomes of a record: a row as Spark would decode it, or a dead letter.

mod admission;
mod dead_letters;
mod fuzz_admission;
mod java_names;
pub mod oracle_json;
