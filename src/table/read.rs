//! Reading a table back: for commands and previews, never for a stream.

use std::sync::Arc;

use arrow::array::RecordBatch;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use futures::TryStreamExt;

use super::{DeltaTable, kernel_error};
use crate::model::{Error, Result};
use crate::storage::Store;

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

/// One commit as other readers see it.
#[derive(Debug, Clone)]
pub struct CommitLine {
    /// `STREAMING UPDATE`, `CREATE TABLE`, …
    pub operation: String,
    /// Rows added, if the commit says.
    pub rows: Option<String>,
    /// Who wrote it.
    pub engine: String,
}

/// The newest commits of the table in `store`, newest first, read by delta-rs instead of by our own code.
///
/// # Errors
/// `Corrupt` if delta-rs can't read the table.
pub fn recent_commits(store: &Store, limit: usize) -> Result<Vec<CommitLine>> {
    let url = store.url();
    let read = store.block_on(async {
        let table = deltalake::open_table(url.clone()).await?;
        table.history(Some(limit)).try_collect::<Vec<_>>().await
    });
    let commits = read.map_err(|e| Error::corrupt(format!("delta-rs cannot read table {url}")).source(e))?;
    Ok(commits
        .into_iter()
        .map(|commit| CommitLine {
            operation: commit.operation.unwrap_or_default(),
            rows: commit
                .info
                .get("operationMetrics")
                .and_then(|metrics| metrics["numOutputRows"].as_str().map(str::to_owned)),
            engine: commit.engine_info.unwrap_or_default(),
        })
        .collect())
}
