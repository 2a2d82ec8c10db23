//! The kernel's engine with checkpoints of the log that are compressed.
//!
//! The kernel's own writes them uncompressed, five times the size of Spark's: what every start and every reader fetches.

use std::sync::Arc;

use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{
    CancellationTokenRef, DeltaResult, DeltaResultIteratorStatic, Engine, EngineData, Error,
    FileDataReadResultIterator, FileMeta, ParquetFooter, ParquetHandler, PredicateRef,
};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use url::Url;

use super::table_engine::TableEngine;
use crate::storage::Store;

/// Rows of one row group of a checkpoint at most: what is encoded of it in memory.
const ROW_GROUP_ROWS: usize = 32 * 1024;

/// The engine that checkpoints are written through.
pub(super) fn log_engine(engine: Arc<dyn Engine>, store: &Store) -> TableEngine {
    let parquet = Arc::new(Compressing { inner: engine.parquet_handler(), store: store.clone() });
    TableEngine { storage: engine.storage_handler(), engine, parquet }
}

struct Compressing {
    inner: Arc<dyn ParquetHandler>,
    store: Store,
}

impl ParquetHandler for Compressing {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        self.inner.read_parquet_files(files, schema, predicate)
    }

    fn read_parquet_files_with_cancellation(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
        token: Option<CancellationTokenRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        self.inner.read_parquet_files_with_cancellation(files, schema, predicate, token)
    }

    fn write_parquet_file(
        &self,
        location: Url,
        data: DeltaResultIteratorStatic<Box<dyn EngineData>>,
    ) -> DeltaResult<()> {
        let path = Path::from_url_path(location.path())?;
        let mut writer = None;
        for rows in data {
            let rows = rows?.try_into_record_batch()?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let target = BufWriter::new(Arc::clone(self.store.root()), path.clone());
                    let options = ArrowWriterOptions::new()
                        .with_properties(properties())
                        .with_skip_arrow_metadata(true);
                    writer.insert(AsyncArrowWriter::try_new_with_options(target, rows.schema(), options)?)
                }
            };
            self.store.block_on(writer.write(&rows))?;
        }
        let mut writer = writer.ok_or_else(|| Error::generic("a checkpoint has no rows"))?;
        self.store.block_on(writer.finish())?;
        Ok(())
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

/// Snappy, as Spark: every reader has it.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(super::ENGINE_INFO.to_owned())
        .build()
}
