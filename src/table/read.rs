//! Reading a table back: for commands and previews, never for a stream.

use std::sync::Arc;

use arrow::array::RecordBatch;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;

use super::{DeltaTable, kernel_error};
use crate::model::Result;

impl DeltaTable {
    /// Hands every row of the table to `each`, batch after batch, in no particular order; `columns` are
    /// top-level columns in the order wanted, none for all.
    ///
    /// # Errors
    /// `Config` if a column is not there; `Unavailable` or `Corrupt` if files can't be read; what `each`
    /// returns.
    pub fn read(&self, columns: &[&str], mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let failed = |e| kernel_error(e, "read the rows", &self.store);
        let mut scan = Arc::clone(&self.snapshot).scan_builder();
        if !columns.is_empty() {
            scan = scan.with_schema(self.snapshot.schema().project(columns).map_err(failed)?);
        }
        let scan = scan.build().map_err(failed)?;
        for data in scan.execute(Arc::clone(&self.engine)).map_err(failed)? {
            let rows = data.and_then(|data| data.try_into_record_batch()).map_err(failed)?;
            each(&rows)?;
        }
        Ok(())
    }
}
