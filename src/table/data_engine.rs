//! The kernel's engine, with a reader of Parquet files that keeps every timestamp.
//!
//! The kernel's own reads INT96 as nanoseconds, which wrap around ([`super::int96`]). This one opens a file just as the
//! kernel's does, of the same parts: columns by field id or name, row groups left out by a predicate, row numbers, casts.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::engine::arrow_utils::{
    RowIndexBuilder, fixup_parquet_read, ordering_needs_row_indexes, parquet_read_plan,
};
use delta_kernel::engine::parquet_row_group_skipping::ParquetRowGroupSkipping;
use delta_kernel::engine::reader_options;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{
    CancellationTokenRef, DeltaResult, DeltaResultIteratorStatic, Engine, EngineData,
    FileDataReadResultIterator, FileMeta, ParquetFooter, ParquetHandler, PredicateRef,
};
use delta_kernel_engine::DefaultEngineBuilder;
use delta_kernel_engine::executor::TaskExecutor;
use delta_kernel_engine::executor::tokio::TokioMultiThreadExecutor;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use url::Url;

use super::int96;
use super::storage_handler::StoreHandler;
use super::table_engine::TableEngine;
use crate::storage::Store;

/// Files that are opened ahead of the one that is read, as many as the kernel's reader opens.
const FILES_AHEAD: usize = 1_000;
/// Rows of one batch, as many as the kernel's reader hands over.
const BATCH_ROWS: usize = 1_000;

/// The engine that everything of a table is read through.
pub(super) fn data_engine(store: &Store) -> TableEngine {
    let executor = Arc::new(TokioMultiThreadExecutor::new(store.runtime().clone()));
    let engine =
        DefaultEngineBuilder::new(Arc::clone(store.root())).with_task_executor(Arc::clone(&executor)).build();
    let (inner, root) = (engine.parquet_handler(), store.url().clone());
    let parquet = DataFiles { inner, store: Arc::clone(store.root()), root, executor };
    let storage =
        StoreHandler { inner: engine.storage_handler(), store: store.clone(), hides_last_checkpoint: false };
    TableEngine { engine: Arc::new(engine), storage: Arc::new(storage), parquet: Arc::new(parquet) }
}

struct DataFiles {
    inner: Arc<dyn ParquetHandler>,
    store: Arc<DynObjectStore>,
    /// The table's folder.
    root: Url,
    executor: Arc<TokioMultiThreadExecutor>,
}

impl ParquetHandler for DataFiles {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        if let Some(file) = files.iter().find(|file| is_elsewhere(&self.root, &file.location)) {
            return Err(delta_kernel::Error::unsupported(format!(
                "{} is in another store than the table, which may be a shallow clone",
                file.location
            )));
        }
        let store = Arc::clone(&self.store);
        let open = move |file| open(Arc::clone(&store), file, Arc::clone(&schema), predicate.clone());
        let rows = stream::iter(files.to_vec()).map(open).buffered(FILES_AHEAD).try_flatten();
        Ok(Box::new(Rows { rows: Some(rows.boxed()), executor: Arc::clone(&self.executor) }))
    }

    fn write_parquet_file(
        &self,
        location: Url,
        data: DeltaResultIteratorStatic<Box<dyn EngineData>>,
    ) -> DeltaResult<()> {
        self.inner.write_parquet_file(location, data)
    }

    fn read_parquet_footer(&self, file: &FileMeta) -> DeltaResult<ParquetFooter> {
        self.inner.read_parquet_footer(file)
    }

    fn read_parquet_footer_with_cancellation(
        &self,
        file: &FileMeta,
        token: Option<CancellationTokenRef>,
    ) -> DeltaResult<ParquetFooter> {
        self.inner.read_parquet_footer_with_cancellation(file, token)
    }
}

type RowStream = BoxStream<'static, DeltaResult<Box<dyn EngineData>>>;

/// The rows of files, batch after batch as they are asked for.
struct Rows {
    /// `None` after the last batch.
    rows: Option<RowStream>,
    executor: Arc<TokioMultiThreadExecutor>,
}

impl Iterator for Rows {
    type Item = DeltaResult<Box<dyn EngineData>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = self.rows.take()?;
        let (batch, rows) = self.executor.block_on(async move { (rows.next().await, rows) });
        self.rows = batch.is_some().then_some(rows);
        batch
    }
}

/// A file in the store.
struct StoredFile {
    store: Arc<DynObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store.get_range(&self.path, range).map_err(unread).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(unread) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let (reader, size) = (ParquetMetaDataReader::new().with_arrow_reader_options(options), self.size);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

fn unread(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Whether a file, which the log of a shallow clone names by a whole URL, is in another container or bucket than the table.
/// Of its URL only the path is asked for: another file could be there. Schemes are spelled in several ways, and an account has
/// several hosts.
fn is_elsewhere(root: &Url, file: &Url) -> bool {
    let ((container, account), (other_container, other_account)) = (container_of(root), container_of(file));
    let in_another_account =
        account.zip(other_account).is_some_and(|(one, other)| !one.eq_ignore_ascii_case(other));
    container != other_container || in_another_account
}

/// The container or bucket that a URL names, and the account if it does.
fn container_of(url: &Url) -> (Option<&str>, Option<&str>) {
    match (url.username(), url.host_str()) {
        ("", bucket) => (bucket, None),
        (container, host) => (Some(container), host.and_then(|host| host.split('.').next())),
    }
}

/// The rows of a file, in the columns of `schema`.
async fn open(
    store: Arc<DynObjectStore>,
    file: FileMeta,
    schema: SchemaRef,
    predicate: Option<PredicateRef>,
) -> DeltaResult<RowStream> {
    let path = Path::from_url_path(file.location.path())?;
    // The log need not say how large a file is, and Azure does not answer for the end of a file of unknown size.
    let size = if file.size > 0 { file.size } else { store.head(&path).await?.size };
    let mut reader = StoredFile { store, path, size };
    let metadata = ArrowReaderMetadata::load_async(&mut reader, reader_options()).await?;
    let metadata = int96::in_microseconds(metadata)?;
    let (ordering, mask) = parquet_read_plan(&schema, &metadata)?;
    let mut row_numbers =
        ordering_needs_row_indexes(&ordering).then(|| RowIndexBuilder::new(metadata.metadata().row_groups()));
    let mut builder =
        ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata).with_batch_size(BATCH_ROWS);
    if let Some(mask) = mask {
        builder = builder.with_projection(mask);
    }
    if let Some(predicate) = predicate {
        builder = builder.with_row_group_filter(predicate.as_ref(), row_numbers.as_mut());
    }
    let mut row_numbers = row_numbers.map(RowIndexBuilder::build).transpose()?;
    let location = file.location.to_string();
    let rows = builder.build()?.map(move |rows| {
        let rows =
            fixup_parquet_read(rows?, &ordering, row_numbers.as_mut(), Some(&location), Some(&schema))?;
        Ok(Box::new(rows) as Box<dyn EngineData>)
    });
    Ok(rows.boxed())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use delta_kernel::engine::arrow_data::EngineDataArrowExt;
    use delta_kernel::schema::{DataType, MetadataColumnSpec, StructField, StructType};

    use super::*;
    use crate::table::int96::examples::{TIMES, check, files_of, rows_of, table};
    use crate::table::reader::TableReader;
    use crate::table::{DeltaTable, RowReader};

    #[test]
    fn timestamps_that_spark_wrote_as_int96_are_read_as_they_are_in_every_column() {
        for mapped in [false, true] {
            let store = table(mapped);
            let table = DeltaTable::open(&store).unwrap().unwrap();
            check(&rows_of(&table), 4);

            let mut reader = TableReader::open(&store).unwrap().unwrap();
            let (version, columns) = (reader.newest_version().unwrap(), reader.schema().unwrap());
            let mut rows = Vec::new();
            reader
                .read(&version, &columns, &mut |batch| {
                    rows.push(batch);
                    Ok(())
                })
                .unwrap();
            check(&rows, 4);
        }
    }

    #[test]
    fn rows_that_an_upsert_copies_keep_the_timestamps_that_spark_wrote_as_int96() {
        for mapped in [false, true] {
            let table = DeltaTable::open(&table(mapped)).unwrap().unwrap();
            let reader = RowReader::new(&table, None).unwrap();
            for file in files_of(&table) {
                let (mut rows, mut positions) = (Vec::new(), Vec::new());
                let read = reader.read(&file, |piece| {
                    positions.extend((0..piece.rows.num_rows()).map(|row| piece.position(row)));
                    rows.push(piece.rows);
                    Ok(())
                });
                assert!(read.is_ok());
                check(&rows, 2);
                assert_eq!(positions, (0..8).collect::<Vec<u64>>());
            }
        }
    }

    #[test]
    fn a_file_in_another_container_is_not_looked_for_in_this_one() {
        let store = table(false);
        let log = "_delta_log/00000000000000000000.json";
        let text = String::from_utf8(store.get(log).unwrap().unwrap().to_vec()).unwrap();
        let cloned = text.replace("part-1.parquet", "abfss://other@a.dfs.core.windows.net/t/part-1.parquet");
        store.put(log, cloned.into()).unwrap();
        let mut reader = TableReader::open(&store).unwrap().unwrap();
        let (version, columns) = (reader.newest_version().unwrap(), reader.schema().unwrap());
        let error = reader.read(&version, &columns, &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), crate::model::Kind::Config, "{error}");
        assert!(
            error.to_string().contains("abfss://other@a.dfs.core.windows.net/t/part-1.parquet"),
            "{error}"
        );

        let url = |text: &str| Url::parse(text).unwrap();
        for (root, file, elsewhere) in [
            ("file:///lake/t/", "file:///lake/source/x.parquet", false),
            ("file:///lake/t/", "s3://bucket/x.parquet", true),
            ("az://lake/t/", "abfss://lake@a.dfs.core.windows.net/t/x.parquet", false),
            (
                "abfss://lake@a.dfs.core.windows.net/t/",
                "wasbs://lake@a.blob.core.windows.net/t/x.parquet",
                false,
            ),
            (
                "abfss://lake@a.dfs.core.windows.net/t/",
                "abfss://prod@a.dfs.core.windows.net/t/x.parquet",
                true,
            ),
            (
                "abfss://lake@prod.dfs.core.windows.net/t/",
                "abfss://lake@dev.dfs.core.windows.net/t/x.parquet",
                true,
            ),
            (
                "abfss://lake@prod.dfs.core.windows.net/t/",
                "wasbs://lake@Prod.blob.core.windows.net/t/x.parquet",
                false,
            ),
        ] {
            assert_eq!(is_elsewhere(&url(root), &url(file)), elsewhere, "{root} {file}");
        }
    }

    #[test]
    fn rows_are_numbered_in_their_file_and_their_file_is_named() {
        let store = table(false);
        let schema = StructType::try_new([
            StructField::create_metadata_column("file", MetadataColumnSpec::FilePath),
            StructField::nullable("lacking", DataType::STRING),
            StructField::nullable("t", DataType::TIMESTAMP),
            StructField::create_metadata_column("row", MetadataColumnSpec::RowIndex),
        ]);
        let schema = Arc::new(schema.unwrap());
        let files = [0, 1].map(|number| {
            let location = Url::parse(&format!("memory:///t/part-{number}.parquet")).unwrap();
            // Of unknown size.
            FileMeta { location, last_modified: 0, size: 0 }
        });
        let handler = data_engine(&store).parquet_handler();
        let rows = handler.read_parquet_files(&files, schema, None).unwrap();
        let rows: Vec<RecordBatch> =
            rows.map(|rows| rows.unwrap().try_into_record_batch().unwrap()).collect();
        let rows = concat_batches(rows[0].schema_ref(), &rows).unwrap();
        let named: Vec<&str> = rows.column(0).as_string::<i32>().iter().flatten().collect();
        let names = files.each_ref().map(|file| vec![file.location.as_str(); 8]);
        assert_eq!(named, names.concat());
        assert_eq!(rows.column(1).null_count(), 16);
        let times = rows.column(2).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(&times.values()[..], TIMES.repeat(4));
        let numbers = rows.column(3).as_primitive::<Int64Type>();
        assert_eq!(&numbers.values()[..], [0, 1, 2, 3, 4, 5, 6, 7].repeat(2));
    }
}
