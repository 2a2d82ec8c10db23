//! One data file being written: rows in, an entry for the commit out.
//!
//! Rows are laid out as the table's files have them (physical names, no partition columns), folded into the file's
//! statistics and encoded. What is finished leaves memory as parts of the upload. What the file still holds in memory
//! is claimed from the account.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use delta_kernel::ExpressionEvaluator;
use delta_kernel::arrow::datatypes as kernel_arrow;
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryIntoArrow};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::expressions::{ExpressionRef, Scalar};
use delta_kernel::schema::{DataType as KernelType, StructType};
use delta_kernel::transaction::BoundWriteContext;
use object_store::PutPayload;
use object_store::path::Path;

use super::added_file::AddedFile;
use super::encoder::{Encoder, FileFormat};
use super::statistics::{Folded, Statistics};
use super::upload::Upload;
use super::writer_settings::WriterSettings;
use crate::model::{Error, MemoryClaim, Result};

/// Row groups of one file at most; Parquet numbers them with 15 bits.
const ROW_GROUPS_MAX: usize = 30_000;
/// Bytes of one part of an upload, and the size from which a file is uploaded in parts.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// What all files of a writer have in common.
pub(super) struct Layout {
    format: FileFormat,
    statistics: Statistics,
    expression: ExpressionRef,
    evaluator: Arc<dyn ExpressionEvaluator>,
}

impl Layout {
    /// # Errors
    /// `Internal` if the table's schema has no form that Parquet or the kernel knows.
    pub(super) fn new(settings: &WriterSettings, context: &BoundWriteContext) -> Result<Layout> {
        let physical: kernel_arrow::Schema = context
            .physical_schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|e| Error::internal("the table's schema has no Arrow form").source(e))?;
        let statistics = Statistics::new(&physical, context.stats_columns());
        let format = FileFormat::new(Arc::new(physical), settings.state.codec, settings.origin.as_ref())
            .map_err(|e| Error::internal("the table's schema has no Parquet form").source(e))?;
        let evaluator = evaluator(settings, context)?;
        Ok(Layout { format, statistics, expression: context.logical_to_physical(), evaluator })
    }
}

/// Lays a file's rows out.
fn evaluator(settings: &WriterSettings, context: &BoundWriteContext) -> Result<Arc<dyn ExpressionEvaluator>> {
    let keep: Vec<usize> = (0..settings.schema.fields().len())
        .filter(|i| !settings.partition_columns.contains(settings.schema.field(*i).name()))
        .collect();
    let logical = settings.schema.project(&keep).expect("the indices come from the schema");
    let input = StructType::try_from_arrow(&logical)
        .map_err(|e| Error::internal("the table's schema has no kernel form").source(e))?;
    settings
        .engine
        .evaluation_handler()
        .new_expression_evaluator(
            Arc::new(input),
            context.logical_to_physical(),
            KernelType::from(context.physical_schema().as_ref().clone()),
        )
        .map_err(|e| super::kernel_error(e, "prepare a data file", &settings.store))
}

/// Where a file of these partition values goes; `None` for a table without partitions.
pub(super) fn context_of(
    settings: &WriterSettings,
    values: Option<HashMap<String, Scalar>>,
) -> Result<BoundWriteContext> {
    match values {
        None => settings.state.kernel.unpartitioned_write_context(),
        Some(values) => settings.state.kernel.partitioned_write_context(values),
    }
    .map_err(|e| super::kernel_error(e, "prepare a data file", &settings.store))
}

/// One Parquet file being written.
pub(super) struct DataFile {
    /// As the log names it.
    path: String,
    /// Its number among the files of its writer.
    number: usize,
    partition_values: Vec<(String, Option<String>)>,
    /// The partition values are part of the rows' layout: an evaluator of its own.
    evaluator: Arc<dyn ExpressionEvaluator>,
    encoder: Encoder,
    folded: Folded,
    upload: Upload,
    claim: MemoryClaim,
    /// What an open encoder is counted as at least.
    reserved_bytes: usize,
}

impl DataFile {
    pub(super) fn create(
        settings: &WriterSettings,
        layout: &Layout,
        context: &BoundWriteContext,
        (name, number): (&str, usize),
        reserved_bytes: usize,
    ) -> Result<DataFile> {
        let evaluator = if context.logical_to_physical() == layout.expression {
            Arc::clone(&layout.evaluator)
        } else {
            evaluator(settings, context)?
        };
        let url = context
            .write_dir()
            .join(name)
            .map_err(|e| Error::internal("a data file has no address").source(e))?;
        let place = Path::from_url_path(url.path())
            .map_err(|e| Error::internal("a data file has no path").source(e))?;
        let path = context
            .resolve_file_path(&url)
            .map_err(|e| super::kernel_error(e, "prepare a data file", &settings.store))?;
        let values = context.physical_partition_values();
        let mut partition_values: Vec<_> =
            values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        partition_values.sort();
        let mut claim = settings.account.claim();
        claim.set(reserved_bytes);
        Ok(DataFile {
            path,
            number,
            partition_values,
            evaluator,
            encoder: Encoder::new(&layout.format)
                .map_err(|e| Error::internal("start a Parquet file").source(e))?,
            folded: layout.statistics.start(),
            upload: Upload::new(&settings.store, url, place, &settings.account),
            claim,
            reserved_bytes,
        })
    }

    /// Writes rows without partition columns.
    pub(super) fn write(
        &mut self,
        settings: &WriterSettings,
        layout: &Layout,
        rows: &RecordBatch,
    ) -> Result<()> {
        let physical = self
            .evaluator
            .evaluate(&ArrowEngineData::new(rows.clone()))
            .and_then(|data| data.try_into_record_batch())
            .map_err(|e| super::kernel_error(e, "lay out rows", &settings.store))?;
        layout.statistics.fold(&physical, &mut self.folded);
        self.encoder
            .write(&layout.format, &physical)
            .map_err(|e| Error::internal("encode rows as Parquet").source(e))?;
        self.count();
        if self.encoder.finished_bytes() >= PART_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        let finished = PutPayload::from_iter(self.encoder.take_finished());
        self.count();
        self.upload.send(finished)
    }

    /// Returns whether the file takes no more rows.
    pub(super) fn is_full(&self, target_bytes: usize) -> bool {
        let known = self.upload.sent_bytes() + self.encoder.finished_bytes() + self.encoder.open_bytes();
        known >= target_bytes || self.encoder.row_groups() >= ROW_GROUPS_MAX
    }

    /// Bytes that [`DataFile::write_out`] would free.
    pub(super) fn freed_by_writing_out(&self) -> usize {
        self.encoder.open_bytes() + self.encoder.finished_bytes()
    }

    /// Frees the file's memory: its rows become a row group, which is sent to storage.
    pub(super) fn write_out(&mut self, layout: &Layout) -> Result<()> {
        let finished = self.encoder.finish_row_group(&layout.format);
        finished.map_err(|e| Error::internal("encode a row group").source(e))?;
        self.send()
    }

    fn count(&mut self) {
        self.claim.set(self.encoder.memory_bytes().max(self.reserved_bytes));
    }

    /// Ends the file; it is whole once the future is done. Until then its last bytes stay claimed.
    pub(super) fn close(
        mut self,
        layout: &Layout,
    ) -> Result<impl Future<Output = Result<AddedFile>> + Send + 'static> {
        self.encoder
            .finish(&layout.format)
            .map_err(|e| Error::internal("finish a Parquet file").source(e))?;
        let last = PutPayload::from_iter(self.encoder.take_finished());
        let statistics = layout.statistics.to_json(&self.folded).into_boxed_str();
        let (path, number) = (self.path, self.number);
        let (partition_values, rows) = (self.partition_values, self.folded.rows());
        let (upload, mut claim) = (self.upload, self.claim);
        claim.set(last.content_length());
        Ok(async move {
            let size_bytes = upload.finish(last).await?;
            drop(claim);
            crate::failpoint!("files.some");
            let modified_ms = now_ms();
            Ok(AddedFile { path, partition_values, size_bytes, modified_ms, rows, number, statistics })
        })
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
