//! Rows into the bytes of one Parquet file, a row group at a time.
//!
//! Parquet's statistics leave NaN out, and readers that push a filter down then miss rows: for Spark NaN is above every
//! number, and `WHERE f > 100` skipped a row group of NaN. So a column chunk that holds a NaN has no statistics, as
//! parquet-mr does it. That is known when the chunk is finished, which is why its parts are put together here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::Compression;
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::writer_settings::FileOrigin;

/// Rows of one row group at most; readers parallelise and skip by row group.
const ROW_GROUP_ROWS_MAX: usize = 256 * 1024;
/// What a finished row group's metadata holds in memory for each column, about.
const CHUNK_METADATA_BYTES: usize = 600;

/// What all Parquet files of a writer have in common.
#[derive(Debug)]
pub(super) struct FileFormat {
    arrow: SchemaRef,
    parquet: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    /// Whether any column can hold a NaN.
    floats: bool,
}

impl FileFormat {
    /// Files of `schema`: Snappy, as Spark writes; statistics per column chunk, for readers that skip row groups. Their
    /// footer says their `origin`.
    ///
    /// # Errors
    /// What Parquet says if it has no such type.
    pub(super) fn new(schema: SchemaRef, origin: Option<&FileOrigin>) -> Result<FileFormat> {
        let pairs = origin.map(|origin| {
            let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
            vec![
                pair(FileOrigin::QUERY_ID, origin.query_id.clone()),
                pair(FileOrigin::BATCH_ID, origin.batch_id.to_string()),
                pair(FileOrigin::MAY_BE_SUPERSEDED, origin.may_be_superseded.to_string()),
            ]
        });
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(super::ENGINE_INFO.to_owned())
            .set_key_value_metadata(pairs)
            .build();
        let parquet = ArrowSchemaConverter::new().convert(&schema)?;
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let floats = schema.fields().iter().any(|field| has_floats(field.data_type()));
        Ok(FileFormat { arrow: schema, parquet, properties: Arc::new(properties), floats })
    }
}

/// Encodes one file into memory; what is finished is taken out as it comes.
pub(super) struct Encoder {
    file: SerializedFileWriter<Vec<u8>>,
    factory: ArrowRowGroupWriterFactory,
    open: Option<RowGroup>,
}

struct RowGroup {
    columns: Vec<ArrowColumnWriter>,
    /// Which of the columns hold a NaN.
    nan: Vec<bool>,
    rows: usize,
}

impl Encoder {
    pub(super) fn new(format: &FileFormat) -> Result<Encoder> {
        let root = format.parquet.root_schema_ptr();
        let file = SerializedFileWriter::new(Vec::new(), root, Arc::clone(&format.properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&file, Arc::clone(&format.arrow));
        Ok(Encoder { file, factory, open: None })
    }

    /// Encodes rows; finishes a row group where it is full.
    pub(super) fn write(&mut self, format: &FileFormat, rows: &RecordBatch) -> Result<()> {
        let mut done = 0;
        while done < rows.num_rows() {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let columns = self.factory.create_column_writers(self.row_groups())?;
                    let nan = vec![false; columns.len()];
                    self.open.insert(RowGroup { columns, nan, rows: 0 })
                }
            };
            let count = (rows.num_rows() - done).min(ROW_GROUP_ROWS_MAX - open.rows);
            if count == rows.num_rows() {
                open.write(format, rows)?;
            } else {
                open.write(format, &rows.slice(done, count))?;
            }
            done += count;
            if open.rows >= ROW_GROUP_ROWS_MAX {
                self.finish_row_group()?;
            }
        }
        Ok(())
    }

    /// Ends the row group, if one is open: its bytes are finished then.
    pub(super) fn finish_row_group(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        // In one piece: a buffer that doubles is copied, and its pages are new ones, each time.
        let encoded = open.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        self.file.inner_mut().reserve(encoded);
        let mut group = self.file.next_row_group()?;
        for (column, nan) in open.columns.into_iter().zip(open.nan) {
            let mut chunk = column.close()?;
            if nan {
                let closed = chunk.close_mut();
                closed.metadata = closed.metadata.clone().into_builder().clear_statistics().build()?;
            }
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        Ok(())
    }

    /// Ends the file: what is finished then is its end.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.finish_row_group()?;
        self.file.finish()?;
        Ok(())
    }

    /// The row groups that are finished.
    pub(super) fn row_groups(&self) -> usize {
        self.file.flushed_row_groups().len()
    }

    /// Bytes that are finished and not taken yet.
    pub(super) fn finished_bytes(&self) -> usize {
        self.file.inner().len()
    }

    /// Takes what is finished.
    pub(super) fn take_finished(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }

    /// Bytes of rows that are encoded and in no finished row group yet.
    pub(super) fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.columns.iter().map(ArrowColumnWriter::memory_size).sum())
    }

    /// Bytes in memory: finished, being encoded, and the row groups' metadata, which stays until the file's end.
    pub(super) fn memory_bytes(&self) -> usize {
        let columns = self.file.schema_descr().num_columns();
        self.open_bytes() + self.finished_bytes() + self.row_groups() * columns * CHUNK_METADATA_BYTES
    }
}

impl RowGroup {
    fn write(&mut self, format: &FileFormat, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows();
        let mut columns = self.columns.iter_mut();
        for (field, values) in format.arrow.fields().iter().zip(rows.columns()) {
            for leaf in compute_leaves(field, values)? {
                columns.next().expect("the writers were made for these leaves").write(&leaf)?;
            }
        }
        if format.floats {
            let mut leaf = 0;
            for values in rows.columns() {
                mark_nan(values, &mut leaf, &mut self.nan);
            }
        }
        Ok(())
    }
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_floats(field.data_type()),
        _ => false,
    }
}

/// Marks the leaves of `values`, from number `leaf` on, that hold a NaN. A NaN that a null covers may be marked too.
fn mark_nan(values: &ArrayRef, leaf: &mut usize, nan: &mut [bool]) {
    let held = match values.data_type() {
        DataType::Struct(_) => {
            values.as_struct().columns().iter().for_each(|inner| mark_nan(inner, leaf, nan));
            return;
        }
        DataType::List(_) => return mark_nan(values.as_list::<i32>().values(), leaf, nan),
        DataType::Map(..) => {
            let entries = values.as_map().entries();
            entries.columns().iter().for_each(|inner| mark_nan(inner, leaf, nan));
            return;
        }
        _ if nan[*leaf] => true,
        DataType::Float32 => values.as_primitive::<Float32Type>().values().iter().any(|value| value.is_nan()),
        DataType::Float64 => values.as_primitive::<Float64Type>().values().iter().any(|value| value.is_nan()),
        _ => false,
    };
    nan[*leaf] = held;
    *leaf += 1;
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, ListArray, StructArray};
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch(numbers: Vec<Option<f64>>) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..numbers.len() as i64));
        let plain: ArrayRef = Arc::new(Float64Array::from(numbers.clone()));
        let inner = Field::new("d", DataType::Float64, true);
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(Arc::new(inner), Arc::clone(&plain))]));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
            numbers.iter().map(|number| Some(vec![*number])),
        ));
        RecordBatch::try_from_iter_with_nullable([
            ("id", ids, true),
            ("plain", plain, true),
            ("nested", nested, true),
            ("list", list, true),
        ])
        .unwrap()
    }

    #[test]
    fn a_column_chunk_with_nan_has_no_statistics_and_its_neighbours_have() {
        let groups = [
            batch(vec![Some(1.0), None, Some(-0.0)]),
            batch(vec![Some(1.0), Some(-f64::NAN)]),
            batch(vec![None, Some(f64::NAN)]),
        ];
        let format = FileFormat::new(groups[0].schema(), None).unwrap();
        let mut encoder = Encoder::new(&format).unwrap();
        for group in &groups {
            encoder.write(&format, group).unwrap();
            encoder.finish_row_group().unwrap();
        }
        encoder.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encoder.take_finished())).unwrap();
        let statistics: Vec<Vec<bool>> = (reader.metadata().row_groups().iter())
            .map(|group| group.columns().iter().map(|chunk| chunk.statistics().is_some()).collect())
            .collect();
        assert_eq!(statistics, [[true; 4], [true, false, false, false], [true, false, false, false]]);
        let read: Vec<RecordBatch> = reader.build().unwrap().map(|rows| rows.unwrap()).collect();
        let written = arrow::compute::concat_batches(&groups[0].schema(), &groups).unwrap();
        let texts =
            |rows: &[RecordBatch]| arrow::util::pretty::pretty_format_batches(rows).unwrap().to_string();
        assert_eq!(texts(&read), texts(&[written]));
    }

    #[test]
    fn a_row_group_ends_when_it_is_full() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let format = FileFormat::new(rows.schema(), None).unwrap();
        let mut encoder = Encoder::new(&format).unwrap();
        for _ in 0..6 {
            encoder.write(&format, &rows).unwrap();
        }
        assert_eq!(encoder.row_groups(), 2);
        encoder.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encoder.take_finished())).unwrap();
        let rows: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [ROW_GROUP_ROWS_MAX as i64, ROW_GROUP_ROWS_MAX as i64, 75_712]);
    }
}
