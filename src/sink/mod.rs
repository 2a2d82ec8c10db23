//! Where rows end: a Delta table, and the dead letters beside it.

pub mod dead_letter;
pub mod delta;

pub use dead_letter::{DeadLetterRows, DeadLetters};
pub use delta::{BatchCommit, CommitOutcome, DeltaAppend};
