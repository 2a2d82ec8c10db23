//! One run of a batch that merges: what its lanes and its commit share.

use std::path::PathBuf;

use super::order::RowRules;
use crate::sink::delta::writer::FilesOfAttempt;
use crate::table::key_index::{EventTimes, RowHasher};

/// One run of a batch, shared by its lanes and its commit.
pub(super) struct MergeAttempt {
    pub(super) files: FilesOfAttempt,
    pub(super) hasher: RowHasher,
    pub(super) rules: RowRules,
    /// What reads event times; `None` without `within`.
    pub(super) times: Option<EventTimes>,
    /// Where rows wait that are too many for the memory.
    pub(super) folder: PathBuf,
    /// What each lane may hold in memory.
    pub(super) lane_bytes: usize,
}
