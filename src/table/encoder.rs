//! Rows into the bytes of one Parquet file, a row group at a time.
//!
//! Parquet's statistics leave NaN out, and readers that push a filter down then miss rows: for Spark NaN is above every
//! number, and `WHERE f > 100` skipped a row group of NaN. So a column chunk that holds a NaN has no statistics, as
//! parquet-mr does it. That is known when the chunk is finished, which is why its parts are put together here.
//!
//! A column begins each row group with a dictionary, and gives it up when the dictionary has a megabyte: of a column of unique
//! values that is hashing and memory for nothing. So a column that has given it up once has none in later row groups.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Encoding, PageType};
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, PageEncodingStats};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::codec::compression;
use super::file_bytes::FileBytes;
use super::writer_settings::FileOrigin;
use crate::model::table_property::Codec;

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
    /// Of each leaf column, whether its values are too many for a dictionary.
    plain: Vec<AtomicBool>,
    /// Whether any column can hold a NaN.
    floats: bool,
}

impl FileFormat {
    /// Files of `schema`, compressed by `codec`; statistics per column chunk, for readers that skip row groups. Their
    /// footer says their `origin`.
    ///
    /// # Errors
    /// What Parquet says if it has no such type.
    pub(super) fn new(schema: SchemaRef, codec: Codec, origin: Option<&FileOrigin>) -> Result<FileFormat> {
        let pairs = origin.map(|origin| {
            let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
            vec![
                pair(FileOrigin::QUERY_ID, origin.query_id.clone()),
                pair(FileOrigin::BATCH_ID, origin.batch_id.to_string()),
                pair(FileOrigin::MAY_BE_SUPERSEDED, origin.may_be_superseded.to_string()),
            ]
        });
        let mut properties = WriterProperties::builder()
            .set_compression(compression(codec)?)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(super::ENGINE_INFO.to_owned())
            .set_key_value_metadata(pairs)
            .build();
        let parquet = ArrowSchemaConverter::new().convert(&schema)?;
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let floats = schema.fields().iter().any(|field| has_floats(field.data_type()));
        let plain = parquet.columns().iter().map(|_| AtomicBool::new(false)).collect();
        Ok(FileFormat { arrow: schema, parquet, properties: Arc::new(properties), plain, floats })
    }

    /// Writers for the columns of row group `number` of `file`.
    fn column_writers(
        &self,
        file: &SerializedFileWriter<FileBytes>,
        number: usize,
    ) -> Result<Vec<ArrowColumnWriter>> {
        let plain =
            self.plain.iter().zip(self.parquet.columns()).filter(|(plain, _)| plain.load(Ordering::Relaxed));
        let plain: Vec<_> = plain.map(|(_, column)| column.path().clone()).collect();
        let stores = Arc::new(file.inner().page_stores());
        let arrow = Arc::clone(&self.arrow);
        let factory = if plain.is_empty() {
            ArrowRowGroupWriterFactory::new(file, arrow)
        } else {
            let properties = WriterProperties::clone(&self.properties).into_builder();
            let without =
                |of: WriterPropertiesBuilder, column| of.set_column_dictionary_enabled(column, false);
            let properties = Arc::new(plain.into_iter().fold(properties, without).build());
            // A file's properties stay; another one, of which nothing is written, has those of this row group.
            let model = SerializedFileWriter::new(io::sink(), self.parquet.root_schema_ptr(), properties)?;
            ArrowRowGroupWriterFactory::new(&model, arrow)
        };
        factory.with_page_store_factory(stores).create_column_writers(number)
    }

    /// Leaf column `number` was finished like this.
    fn note(&self, number: usize, chunk: &ColumnChunkMetaData) {
        let is_plain = |page: &PageEncodingStats| {
            matches!(page.page_type, PageType::DATA_PAGE | PageType::DATA_PAGE_V2)
                && page.encoding == Encoding::PLAIN
        };
        let pages = chunk.page_encoding_stats();
        if chunk.dictionary_page_offset().is_some() && pages.is_some_and(|pages| pages.iter().any(is_plain)) {
            self.plain[number].store(true, Ordering::Relaxed);
        }
    }
}

/// Encodes one file into memory; what is finished is taken out as it comes.
pub(super) struct Encoder {
    file: SerializedFileWriter<FileBytes>,
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
        let file = SerializedFileWriter::new(FileBytes::default(), root, Arc::clone(&format.properties))?;
        Ok(Encoder { file, open: None })
    }

    /// Encodes rows; finishes a row group where it is full.
    pub(super) fn write(&mut self, format: &FileFormat, rows: &RecordBatch) -> Result<()> {
        let mut done = 0;
        while done < rows.num_rows() {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let columns = format.column_writers(&self.file, self.row_groups())?;
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
                self.finish_row_group(format)?;
            }
        }
        Ok(())
    }

    /// Ends the row group, if one is open: its bytes are finished then.
    pub(super) fn finish_row_group(&mut self, format: &FileFormat) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut group = self.file.next_row_group()?;
        for (number, (column, nan)) in open.columns.into_iter().zip(open.nan).enumerate() {
            let mut chunk = column.close()?;
            format.note(number, &chunk.close().metadata);
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
    pub(super) fn finish(&mut self, format: &FileFormat) -> Result<()> {
        self.finish_row_group(format)?;
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

    /// Takes what is finished: pieces in the file's order.
    pub(super) fn take_finished(&mut self) -> Vec<Bytes> {
        self.file.inner_mut().take()
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

    fn whole(pieces: Vec<Bytes>) -> Bytes {
        pieces.concat().into()
    }

    #[test]
    fn a_column_chunk_with_nan_has_no_statistics_and_its_neighbours_have() {
        let groups = [
            batch(vec![Some(1.0), None, Some(-0.0)]),
            batch(vec![Some(1.0), Some(-f64::NAN)]),
            batch(vec![None, Some(f64::NAN)]),
        ];
        let format = FileFormat::new(groups[0].schema(), Codec::Snappy, None).unwrap();
        let mut encoder = Encoder::new(&format).unwrap();
        for group in &groups {
            encoder.write(&format, group).unwrap();
            encoder.finish_row_group(&format).unwrap();
        }
        encoder.finish(&format).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(whole(encoder.take_finished())).unwrap();
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
    fn large_pages_are_handed_over_in_one_piece_each() {
        let numbers =
            |start: i64| (start..start + 100_000).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64));
        let columns =
            [0, 1].map(|i| Arc::new(Int64Array::from_iter_values(numbers(i * 100_000))) as ArrayRef);
        let rows = RecordBatch::try_from_iter(["a", "b"].into_iter().zip(columns)).unwrap();
        let format = FileFormat::new(rows.schema(), Codec::Snappy, None).unwrap();
        let mut encoder = Encoder::new(&format).unwrap();
        encoder.write(&format, &rows).unwrap();
        encoder.finish_row_group(&format).unwrap();
        let counted = encoder.finished_bytes();
        let mut pieces = encoder.take_finished();
        let all: usize = pieces.iter().map(Bytes::len).sum();
        assert_eq!(counted, all);
        assert!(pieces.len() > 10, "{} pieces: its pages were copied together", pieces.len());
        encoder.finish(&format).unwrap();
        pieces.extend(encoder.take_finished());
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(whole(pieces)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 100_000);
        reader = reader.with_batch_size(100_000);
        assert_eq!(reader.build().unwrap().next().unwrap().unwrap(), rows);
    }

    #[test]
    fn a_column_that_gave_up_its_dictionary_has_none_in_later_row_groups() {
        let rows = |start: i64| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + 200_000));
            let few: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200_000).map(|n| n % 7)));
            RecordBatch::try_from_iter([("few", few), ("id", ids)]).unwrap()
        };
        let format = FileFormat::new(rows(0).schema(), Codec::Snappy, None).unwrap();
        let mut dictionaries = Vec::new();
        for file in 0..2 {
            let mut encoder = Encoder::new(&format).unwrap();
            for group in 0..2 {
                encoder.write(&format, &rows(group * 200_000)).unwrap();
                encoder.finish_row_group(&format).unwrap();
            }
            encoder.finish(&format).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(whole(encoder.take_finished())).unwrap();
            for group in reader.metadata().row_groups() {
                let has = |chunk: &ColumnChunkMetaData| chunk.dictionary_page_offset().is_some();
                dictionaries.push((file, group.columns().iter().map(has).collect::<Vec<_>>()));
            }
            let read: Vec<RecordBatch> = reader.build().unwrap().map(|rows| rows.unwrap()).collect();
            let read = arrow::compute::concat_batches(&rows(0).schema(), &read).unwrap();
            assert_eq!(
                read,
                arrow::compute::concat_batches(&rows(0).schema(), &[rows(0), rows(200_000)]).unwrap()
            );
        }
        assert_eq!(
            dictionaries,
            [(0, vec![true, true]), (0, vec![true, false]), (1, vec![true, false]), (1, vec![true, false])]
        );
    }

    #[test]
    fn a_row_group_ends_when_it_is_full() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let format = FileFormat::new(rows.schema(), Codec::Snappy, None).unwrap();
        let mut encoder = Encoder::new(&format).unwrap();
        for _ in 0..6 {
            encoder.write(&format, &rows).unwrap();
        }
        assert_eq!(encoder.row_groups(), 2);
        encoder.finish(&format).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(whole(encoder.take_finished())).unwrap();
        let rows: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [ROW_GROUP_ROWS_MAX as i64, ROW_GROUP_ROWS_MAX as i64, 75_712]);
    }
}
