//! The kernel's engine with a Parquet handler of our own.

use std::sync::Arc;

use delta_kernel::{Engine, EvaluationHandler, JsonHandler, ParquetHandler, StorageHandler};

/// An engine whose Parquet files are read and written by another handler than its own.
pub(super) struct ParquetEngine {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) parquet: Arc<dyn ParquetHandler>,
}

impl Engine for ParquetEngine {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.engine.evaluation_handler()
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        self.engine.storage_handler()
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.engine.json_handler()
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        Arc::clone(&self.parquet)
    }
}
