//! The files of one run of a batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
#[cfg(any(debug_assertions, feature = "failpoints"))]
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::SchemaRef;

use super::DeltaAppend;
use crate::decode::admission::Admission;
use crate::model::{Error, MemoryAccount, Result};
use crate::sink::{AttemptWriter, BatchRun, Part, SinkWriter};
use crate::table::{self, FileOrigin, FileWriter, WriterSettings};

/// What the lanes of one run need to write files.
pub(super) struct FilesOfAttempt {
    settings: WriterSettings,
    /// How rows become the table's, perhaps with columns behind the table's, which are not written.
    admission: Admission,
}

impl DeltaAppend {
    pub(super) fn begin_files(&self, run: &BatchRun, account: &Arc<MemoryAccount>) -> Result<FilesOfAttempt> {
        let (table, admission) = self.prepared()?;
        let settings = WriterSettings {
            store: table.store().clone(),
            engine: Arc::clone(table.engine()),
            state: table.write_state()?,
            schema: Arc::clone(admission.target()),
            partition_columns: table.partition_columns().to_vec(),
            attempt: run.attempt.to_owned(),
            account: Arc::clone(account),
            target_file_bytes: usize::try_from(table.target_file_bytes()).unwrap_or(usize::MAX),
            origin: Some(FileOrigin {
                query_id: run.query_id.to_owned(),
                batch_id: run.batch_id,
                may_be_superseded: self.holds_dead_letters,
            }),
        };
        Ok(FilesOfAttempt { settings, admission: admission.clone() })
    }
}

impl FilesOfAttempt {
    /// The same for rows that `admission` admits, which may carry columns behind the table's.
    pub(super) fn admitted_by(self, admission: &Admission) -> FilesOfAttempt {
        FilesOfAttempt { admission: admission.clone(), ..self }
    }

    /// The table's columns.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.settings.schema)
    }

    /// Aligned rows in the table's columns: without those that they carry behind them.
    pub(super) fn stored(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = self.settings.schema.fields().len();
        if rows.num_columns() == count {
            return Ok(rows.clone());
        }
        let columns = rows.columns().iter().take(count).cloned().collect();
        RecordBatch::try_new(self.schema(), columns)
            .map_err(|e| Error::internal("leave columns out of rows").source(e))
    }

    /// A writer of files whose names carry the number `lane`.
    pub(super) fn file_writer(&self, lane: usize) -> Result<FileWriter> {
        FileWriter::new(self.settings.clone(), lane)
    }
}

impl AttemptWriter for FilesOfAttempt {
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch> {
        if rows.schema_ref() == self.admission.target() {
            return Ok(rows);
        }
        let admitted = self.admission.admit(&rows, 0)?;
        match admitted.rejected.into_iter().next() {
            None => Ok(admitted.rows),
            Some((_, why)) => Err(Error::data(format!("a row does not fit the table: {why}"))),
        }
    }

    fn refused(&self, rows: &RecordBatch) -> Vec<usize> {
        table::refused_rows(rows, &|rows| {
            let rows = self.stored(rows)?;
            fail_on_demand(&rows)?;
            table::write_into_memory(&self.settings, &rows)
        })
    }

    fn writer(&self, lane: usize) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(LaneFiles { files: self.file_writer(lane)? }))
    }
}

struct LaneFiles {
    files: FileWriter,
}

impl SinkWriter for LaneFiles {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        fail_on_demand(rows)?;
        self.files.write(rows)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Part>> {
        Ok(self.files.finish()?.into_iter().map(Part::File).collect())
    }
}

/// Fails where a test wants the writer to fail on a row.
fn fail_on_demand(rows: &RecordBatch) -> Result<()> {
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    if let Some(text) = crate::failpoint::fail_writer_on() {
        let holds = |column: &ArrayRef| {
            column.as_string_opt::<i32>().is_some_and(|texts| texts.iter().any(|held| held == Some(text)))
        };
        if rows.columns().iter().any(holds) {
            return Err(Error::internal("the writer fails on a row, as a test wants it"));
        }
    }
    // A release holds no test's text.
    let _ = rows;
    Ok(())
}
