//! The files of one run of a batch.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::DeltaAppend;
use crate::model::Result;
use crate::sink::{AttemptWriter, Part, SinkWriter};
use crate::table::files::WriterSettings;
use crate::table::schema::Alignment;
use crate::table::{FileWriter, WriterBudget};

/// A data file is closed at this size.
const TARGET_FILE_BYTES: usize = 128 * 1024 * 1024;

/// What the lanes of one run need to write files.
pub(super) struct FilesOfAttempt {
    settings: WriterSettings,
    alignment: Alignment,
}

impl DeltaAppend {
    pub(super) fn begin_files(&self, attempt: &str, budget: &Arc<WriterBudget>) -> Result<FilesOfAttempt> {
        let (table, alignment) = self.prepared()?;
        let settings = WriterSettings {
            store: table.store().clone(),
            handle: self.handle.clone(),
            engine: Arc::clone(table.engine()),
            state: table.write_state()?,
            schema: Arc::clone(alignment.target()),
            partition_columns: table.partition_columns().to_vec(),
            attempt: attempt.to_owned(),
            budget: Arc::clone(budget),
            target_file_bytes: TARGET_FILE_BYTES,
        };
        Ok(FilesOfAttempt { settings, alignment: alignment.clone() })
    }
}

impl AttemptWriter for FilesOfAttempt {
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch> {
        self.alignment.apply(&rows)
    }

    fn writer(&self, lane: usize) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(LaneFiles { files: FileWriter::new(self.settings.clone(), lane)? }))
    }
}

struct LaneFiles {
    files: FileWriter,
}

impl SinkWriter for LaneFiles {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.files.write(rows)
    }

    fn finish(self: Box<Self>) -> Result<Vec<Part>> {
        Ok(self.files.finish()?.into_iter().map(Part::File).collect())
    }
}
