//! The kernel's engine with handlers of our own.

use std::sync::Arc;

use delta_kernel::{Engine, EvaluationHandler, JsonHandler, ParquetHandler, StorageHandler};

/// An engine that reaches its store, and reads and writes Parquet files, by other handlers than its own.
pub(super) struct TableEngine {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) storage: Arc<dyn StorageHandler>,
    pub(super) parquet: Arc<dyn ParquetHandler>,
}

impl Engine for TableEngine {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.engine.evaluation_handler()
    }

    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        Arc::clone(&self.storage)
    }

    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.engine.json_handler()
    }

    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        Arc::clone(&self.parquet)
    }
}
