//! What the writers of one attempt share, and what their files say of their origin.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use delta_kernel::Engine;
use delta_kernel::transaction::WriteState as KernelState;

use crate::model::MemoryAccount;
use crate::model::table_property::Codec;
use crate::storage::Store;

/// What every writer of one attempt shares.
#[derive(Clone)]
pub struct WriterSettings {
    /// The table's folder.
    pub store: Store,
    /// The kernel's engine of the table.
    pub engine: Arc<dyn Engine>,
    /// The table as the batch will find it.
    pub state: Arc<WriteState>,
    /// The table's columns, partition columns included.
    pub schema: SchemaRef,
    /// The columns the table is partitioned by.
    pub partition_columns: Vec<String>,
    /// The attempt's id, part of every file name.
    pub attempt: String,
    /// Shared by all lanes.
    pub account: Arc<MemoryAccount>,
    /// A file is closed when it has reached this size.
    pub target_file_bytes: usize,
    /// What each file says of its origin, in its footer.
    pub origin: Option<FileOrigin>,
}

/// What file writers need to know of a table, as of one version.
pub struct WriteState {
    /// What the kernel makes of schema, partitions and column mapping.
    pub(super) kernel: Arc<KernelState>,
    /// What files are compressed with.
    pub(super) codec: Codec,
}

/// What a data file of a stream says in its footer: whose it is, once no commit names it any more or ever did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOrigin {
    /// The stream's id: `txn.appId` of its commits.
    pub query_id: String,
    /// The micro-batch: `txn.version` of its commit.
    pub batch_id: i64,
    /// Whether a later run of the batch may still commit other files in the place of those that are committed: of dead
    /// letters, until the next batch is.
    pub may_be_superseded: bool,
}

impl FileOrigin {
    /// The keys of the footer.
    pub(super) const QUERY_ID: &str = "alluvia.queryId";
    pub(super) const BATCH_ID: &str = "alluvia.batchId";
    pub(super) const MAY_BE_SUPERSEDED: &str = "alluvia.mayBeSuperseded";
}
