//! What the state of a query is opened with.

use std::path::PathBuf;

use super::definition::StateDefinition;
use crate::storage::Store;

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// A folder on a local disk, of this stream alone. What is there may be lost at any time.
    pub local: PathBuf,
    /// The checkpoint of the query.
    pub checkpoint: Store,
    /// The query's id.
    pub query_id: String,
    /// What the query keeps.
    pub definition: StateDefinition,
    /// What the store may hold in memory, about, beside the changes of the running batch.
    pub memory_bytes: usize,
    /// How many committed batches a start may go back to: Spark's `minBatchesToRetain`.
    pub batches_to_retain: u32,
}
