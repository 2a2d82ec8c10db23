//! Rows into Parquet files of a table, with the statistics that readers skip files by.
//!
//! A [`FileWriter`] belongs to one lane and one attempt: every file name carries the attempt's id and
//! nothing is ever overwritten. One file is open per partition value; a file is closed at its target
//! size. Finished row groups leave memory at once, as parts of an upload. Rows of many partition values
//! wait uncoded until a file has enough of them to be worth an encoder. What is still in memory counts
//! against one [`WriterBudget`] that all lanes share: a lane that finds it exceeded writes its own largest
//! file's rows out. A file is not part of the table before a commit names it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, RowConverter, SortField};
use bytes::Bytes;
use delta_kernel::arrow::datatypes as kernel_arrow;
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryIntoArrow};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::expressions::Scalar;
use delta_kernel::schema::{DataType as KernelType, StructType};
use delta_kernel::transaction::{BoundWriteContext, WriteState};
use delta_kernel::{Engine, ExpressionEvaluator, FileMeta};
use delta_kernel_engine::build_add_file_metadata;
use delta_kernel_engine::parquet::DataFileMetadata;
use delta_kernel_engine::stats::FileStatsAccumulator;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use url::Url;

use super::bounds::for_bounds;
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};
use crate::storage::{self, Store};

/// Rows of one row group at most; readers parallelise and skip by row group.
const ROW_GROUP_ROWS_MAX: usize = 256 * 1024;
/// Row groups of one file at most; Parquet numbers them with 15 bits.
const ROW_GROUPS_MAX: usize = 30_000;
/// Bytes of one part of an upload, and the size from which a file is uploaded in parts.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one file on their way at once.
const PARTS_IN_FLIGHT: usize = 2;
/// Files of one lane open at once; beyond it the one with the fewest rows is closed.
const OPEN_FILES_MAX: usize = 1024;
/// Bytes of rows that wait for their partition's encoder, per file.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// A file that a commit can name.
#[derive(Debug, Clone)]
pub struct AddedFile {
    /// The kernel's row for the `add` action.
    pub action: RecordBatch,
    /// Rows in the file.
    pub rows: u64,
    /// Its size.
    pub size_bytes: u64,
}

/// Bytes that all writers of a stream may hold encoded in memory.
#[derive(Debug)]
pub struct WriterBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl WriterBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(WriterBudget { limit_bytes, used_bytes: AtomicUsize::new(0) })
    }

    /// What all writers together may hold.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.used_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn exceeded(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) > self.limit_bytes
    }
}

/// What every writer of one attempt shares.
#[derive(Clone)]
pub struct WriterSettings {
    /// The table's folder.
    pub store: Store,
    /// Where uploads run.
    pub handle: Handle,
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
    pub budget: Arc<WriterBudget>,
    /// A file is closed when it has reached this size.
    pub target_file_bytes: usize,
}

/// Writes the rows of one lane.
pub struct FileWriter {
    settings: WriterSettings,
    lane: usize,
    next_file: usize,
    partitions: Option<Partitioner>,
    open: HashMap<Option<OwnedRow>, OpenFile>,
    done: Vec<AddedFile>,
}

impl FileWriter {
    /// A writer for lane `lane` of an attempt.
    ///
    /// # Errors
    /// `Config` if the table can't be partitioned by a column's type.
    pub fn new(settings: WriterSettings, lane: usize) -> Result<FileWriter> {
        let partitions = if settings.partition_columns.is_empty() {
            None
        } else {
            Some(Partitioner::new(&settings.schema, &settings.partition_columns)?)
        };
        Ok(FileWriter { settings, lane, next_file: 0, partitions, open: HashMap::new(), done: Vec::new() })
    }

    /// Writes rows in the table's schema.
    ///
    /// # Errors
    /// `Unavailable` if an upload fails; `Internal` if the encoder does.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match &self.partitions {
            None => self.write_to(None, batch, None)?,
            Some(partitions) => {
                for part in partitions.split(batch)? {
                    self.write_to(Some(part.key), &part.rows, Some(part.values))?;
                }
            }
        }
        self.keep_within_budget()
    }

    /// Closes every file; only then are they whole and may be named by a commit.
    ///
    /// # Errors
    /// As for [`FileWriter::write`].
    pub fn finish(mut self) -> Result<Vec<AddedFile>> {
        let keys: Vec<_> = self.open.keys().cloned().collect();
        for key in keys {
            self.close(&key)?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn write_to(
        &mut self,
        key: Option<OwnedRow>,
        rows: &RecordBatch,
        values: Option<HashMap<String, Scalar>>,
    ) -> Result<()> {
        if !self.open.contains_key(&key) {
            if self.open.len() >= OPEN_FILES_MAX {
                let smallest = self.open.iter().min_by_key(|(_, file)| file.rows).map(|(key, _)| key.clone());
                if let Some(smallest) = smallest {
                    self.close(&smallest)?;
                }
            }
            let file = OpenFile::create(&self.settings, self.lane, self.next_file, values)?;
            self.next_file += 1;
            self.open.insert(key.clone(), file);
        }
        let file = self.open.get_mut(&key).expect("the file was opened above");
        file.write(&self.settings, rows)?;
        if file.size_bytes() >= self.settings.target_file_bytes || file.row_groups() >= ROW_GROUPS_MAX {
            self.close(&key)?;
        }
        Ok(())
    }

    fn close(&mut self, key: &Option<OwnedRow>) -> Result<()> {
        if let Some(file) = self.open.remove(key) {
            self.done.push(file.close(&self.settings)?);
        }
        Ok(())
    }

    fn keep_within_budget(&mut self) -> Result<()> {
        while self.settings.budget.exceeded() {
            let largest = self.open.values_mut().max_by_key(|file| file.in_memory);
            match largest {
                Some(file) if file.in_memory > 0 => file.write_out(&self.settings)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        for file in self.open.values() {
            self.settings.budget.change(file.in_memory, 0);
        }
    }
}

/// One Parquet file being written.
struct OpenFile {
    context: BoundWriteContext,
    evaluator: Arc<dyn ExpressionEvaluator>,
    url: Url,
    path: Path,
    encoder: ArrowWriter<Vec<u8>>,
    statistics: FileStatsAccumulator,
    /// Rows that are not encoded yet.
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    upload: Option<Parts>,
    uploaded_bytes: usize,
    in_memory: usize,
    rows: u64,
}

impl OpenFile {
    fn create(
        settings: &WriterSettings,
        lane: usize,
        number: usize,
        values: Option<HashMap<String, Scalar>>,
    ) -> Result<OpenFile> {
        let refused = |e| super::kernel_error(e, "prepare a data file", &settings.store);
        let context = match values {
            None => settings.state.unpartitioned_write_context(),
            Some(values) => settings.state.partitioned_write_context(values),
        }
        .map_err(refused)?;
        let input = StructType::try_from_arrow(logical_schema(settings).as_ref())
            .map_err(|e| Error::internal("the table's schema has no kernel form").source(e))?;
        let evaluator = settings
            .engine
            .evaluation_handler()
            .new_expression_evaluator(
                Arc::new(input),
                context.logical_to_physical(),
                KernelType::from(context.physical_schema().as_ref().clone()),
            )
            .map_err(refused)?;
        let physical: kernel_arrow::Schema = context
            .physical_schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|e| Error::internal("the table's schema has no Arrow form").source(e))?;
        let name = format!("part-{lane:05}-{}-c{number:03}.snappy.parquet", settings.attempt);
        let url = context
            .write_dir()
            .join(&name)
            .map_err(|e| Error::internal("a data file has no address").source(e))?;
        let path = Path::from_url_path(url.path())
            .map_err(|e| Error::internal("a data file has no path").source(e))?;
        let encoder = ArrowWriter::try_new(Vec::new(), Arc::new(physical), Some(properties()))
            .map_err(|e| Error::internal("start a Parquet file").source(e))?;
        let statistics = FileStatsAccumulator::new(context.stats_columns(), context.physical_schema());
        Ok(OpenFile {
            context,
            evaluator,
            url,
            path,
            encoder,
            statistics,
            waiting: Vec::new(),
            waiting_bytes: 0,
            upload: None,
            uploaded_bytes: 0,
            in_memory: 0,
            rows: 0,
        })
    }

    fn write(&mut self, settings: &WriterSettings, rows: &RecordBatch) -> Result<()> {
        let physical = self
            .evaluator
            .evaluate(&ArrowEngineData::new(rows.clone()))
            .and_then(|data| data.try_into_record_batch())
            .map_err(|e| super::kernel_error(e, "lay out rows", &settings.store))?;
        self.statistics
            .merge(&for_bounds(&physical))
            .map_err(|e| super::kernel_error(e, "collect statistics", &settings.store))?;
        self.rows += rows.num_rows() as u64;
        self.waiting_bytes += physical.get_array_memory_size();
        self.waiting.push(physical);
        if settings.partition_columns.is_empty() || self.waiting_bytes >= WAITING_BYTES_MAX {
            self.encode()?;
        }
        self.account(settings);
        self.hand_over(settings, PART_BYTES, PARTS_IN_FLIGHT)
    }

    /// Encodes the rows that wait.
    fn encode(&mut self) -> Result<()> {
        for rows in self.waiting.drain(..) {
            self.encoder.write(&rows).map_err(|e| Error::internal("encode rows as Parquet").source(e))?;
        }
        self.waiting_bytes = 0;
        Ok(())
    }

    fn row_groups(&self) -> usize {
        self.encoder.flushed_row_groups().len()
    }

    /// Bytes of the file so far, as far as known.
    fn size_bytes(&self) -> usize {
        self.uploaded_bytes + self.in_memory
    }

    fn account(&mut self, settings: &WriterSettings) {
        let encoded = self.encoder.memory_size() + self.encoder.inner().len();
        let now = self.waiting_bytes + encoded;
        settings.budget.change(self.in_memory, now);
        self.in_memory = now;
    }

    /// Frees the file's memory: its rows become a row group, and that is waited for until it is stored.
    fn write_out(&mut self, settings: &WriterSettings) -> Result<()> {
        self.encode()?;
        self.encoder.flush().map_err(|e| Error::internal("encode a row group").source(e))?;
        self.hand_over(settings, 1, 0)?;
        self.account(settings);
        Ok(())
    }

    /// Uploads what the encoder has finished, once it is `from_bytes` long, and waits until at most
    /// `in_flight` parts are on their way.
    fn hand_over(&mut self, settings: &WriterSettings, from_bytes: usize, in_flight: usize) -> Result<()> {
        if self.encoder.inner().len() < from_bytes {
            return Ok(());
        }
        let finished = Bytes::from(std::mem::take(self.encoder.inner_mut()));
        self.uploaded_bytes += finished.len();
        self.account(settings);
        let _runtime = settings.handle.enter();
        let failed = |e| storage::error(e, "write", &self.url, "");
        if self.upload.is_none() {
            let upload =
                settings.handle.block_on(settings.store.root().put_multipart(&self.path)).map_err(failed)?;
            self.upload = Some(Parts { upload, sent: JoinSet::new() });
        }
        let upload = self.upload.as_mut().expect("the upload was started above");
        settings.handle.block_on(upload.send(finished, in_flight)).map_err(failed)
    }

    fn close(mut self, settings: &WriterSettings) -> Result<AddedFile> {
        self.encode()?;
        self.encoder.finish().map_err(|e| Error::internal("finish a Parquet file").source(e))?;
        let tail = Bytes::from(std::mem::take(self.encoder.inner_mut()));
        settings.budget.change(self.in_memory, 0);
        let size_bytes = self.uploaded_bytes + tail.len();
        let _runtime = settings.handle.enter();
        let written = match self.upload.take() {
            None => {
                let payload = tail.into();
                let put = settings.store.root().put_opts(&self.path, payload, PutMode::Create.into());
                settings.handle.block_on(put).map(|_| ())
            }
            Some(upload) => settings.handle.block_on(upload.finish(tail)),
        };
        match written {
            // The name is ours alone: a file found there is the one that a lost answer wrote.
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(e) => return Err(storage::error(e, "write", &self.url, "")),
        }
        crate::failpoint!("files.some");
        self.describe(settings, size_bytes as u64)
    }

    fn describe(self, settings: &WriterSettings, size_bytes: u64) -> Result<AddedFile> {
        let failed = |e| super::kernel_error(e, "describe a data file", &settings.store);
        let statistics = self
            .statistics
            .finish()
            .map_err(failed)?
            .ok_or_else(|| Error::internal("a data file was opened and never written to"))?;
        let meta = FileMeta { location: self.url, last_modified: now_ms(), size: size_bytes };
        let action = build_add_file_metadata(DataFileMetadata::new(meta, statistics), &self.context)
            .and_then(|data| data.try_into_record_batch())
            .map_err(failed)?;
        Ok(AddedFile { action, rows: self.rows, size_bytes })
    }
}

/// An upload in parts, each as large as it comes. The parts on their way are bounded by the caller.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    sent: JoinSet<object_store::Result<()>>,
}

impl Parts {
    async fn send(&mut self, part: Bytes, in_flight: usize) -> object_store::Result<()> {
        self.sent.spawn(self.upload.put_part(part.into()));
        while self.sent.len() > in_flight
            && let Some(stored) = self.sent.join_next().await
        {
            stored??;
        }
        Ok(())
    }

    /// Ends the upload with its last part; given up as a whole if anything of it failed.
    async fn finish(mut self, last: Bytes) -> object_store::Result<()> {
        let stored = match self.send(last, 0).await {
            Ok(()) => self.upload.complete().await.map(|_| ()),
            Err(e) => Err(e),
        };
        if stored.is_err() {
            // What is left of it is no file; the attempt fails with the first error.
            let _ = self.upload.abort().await;
        }
        stored
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Snappy, as Spark writes; statistics per column chunk, for readers that skip row groups.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(super::commit::ENGINE_INFO.to_owned())
        .build()
}

/// The columns that a file's writer is given: all but the partition columns.
fn logical_schema(settings: &WriterSettings) -> SchemaRef {
    let keep: Vec<usize> = (0..settings.schema.fields().len())
        .filter(|i| !settings.partition_columns.contains(settings.schema.field(*i).name()))
        .collect();
    Arc::new(settings.schema.project(&keep).expect("the indices come from the schema"))
}

/// Splits rows by the values of the partition columns.
struct Partitioner {
    columns: Vec<usize>,
    names: Vec<String>,
    data: Vec<usize>,
    converter: RowConverter,
}

/// Rows that share their partition values.
struct Part {
    key: OwnedRow,
    rows: RecordBatch,
    values: HashMap<String, Scalar>,
}

impl Partitioner {
    fn new(schema: &SchemaRef, names: &[String]) -> Result<Partitioner> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            columns.push(schema.index_of(name).map_err(|e| {
                Error::internal(format!("partition column {name} is not in the table's schema")).source(e)
            })?);
        }
        let sort: Vec<SortField> =
            columns.iter().map(|i| SortField::new(schema.field(*i).data_type().clone())).collect();
        let converter = RowConverter::new(sort)
            .map_err(|e| Error::config("a partition column has a type without order").source(e))?;
        let data = (0..schema.fields().len()).filter(|i| !columns.contains(i)).collect();
        Ok(Partitioner { columns, names: names.to_vec(), data, converter })
    }

    fn split(&self, batch: &RecordBatch) -> Result<Vec<Part>> {
        let internal = |e| Error::internal("split rows by partition").source(e);
        let keys: Vec<ArrayRef> = self.columns.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let rows = self.converter.convert_columns(&keys).map_err(internal)?;
        let data = batch.project(&self.data).map_err(internal)?;
        let mut groups: HashMap<arrow::row::Row<'_>, Vec<u32>> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            groups.entry(row).or_default().push(index as u32);
        }
        let mut order: Vec<_> = groups.into_iter().collect();
        order.sort_unstable_by_key(|(_, indices)| indices[0]);
        let single = order.len() == 1;
        order
            .into_iter()
            .map(|(row, indices)| {
                let first = indices[0] as usize;
                let mut values = HashMap::with_capacity(self.names.len());
                for (name, column) in self.names.iter().zip(&keys) {
                    values.insert(name.clone(), scalar(column, first)?);
                }
                let rows = if single {
                    data.clone()
                } else {
                    take_record_batch(&data, &UInt32Array::from(indices)).map_err(internal)?
                };
                Ok(Part { key: row.owned(), rows, values })
            })
            .collect()
    }
}

/// A partition value in the kernel's form.
fn scalar(array: &ArrayRef, row: usize) -> Result<Scalar> {
    use arrow::datatypes::*;
    let kernel_type = KernelType::try_from_arrow(array.data_type())
        .map_err(|e| Error::internal("a partition column has no kernel type").source(e))?;
    if array.is_null(row) {
        return Ok(Scalar::Null(kernel_type));
    }
    Ok(match array.data_type() {
        DataType::Boolean => Scalar::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => Scalar::Byte(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => Scalar::Short(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => Scalar::Integer(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Scalar::Long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Scalar::Float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Scalar::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Scalar::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Scalar::Binary(array.as_binary::<i32>().value(row).to_vec()),
        DataType::Date32 => Scalar::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            Scalar::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Scalar::TimestampNtz(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Decimal128(precision, scale) => {
            let bits = array.as_primitive::<Decimal128Type>().value(row);
            Scalar::decimal(bits, *precision, *scale as u8)
                .map_err(|e| Error::internal("a partition value is no decimal").source(e))?
        }
        other => {
            return Err(Error::config(format!(
                "a table cannot be partitioned by a column of type {}",
                name_of(other)
            )));
        }
    })
}
