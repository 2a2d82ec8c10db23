//! Parquet's old timestamps of 96 bits, in which Spark writes TIMESTAMP by default.
//!
//! Arrow reads them as nanoseconds unless it is told another unit, and those wrap around, without an error, before the year
//! 1677 and after 2262: `9999-12-31`, which many tables use for "still valid", became a day in 1816. Delta and Spark have
//! microseconds, and an INT96 is always an instant.

#[cfg(test)]
pub(crate) mod examples;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type;
use parquet::errors::Result;

/// The metadata of the same file, which is read with its INT96 columns, nested ones too, as instants in microseconds.
///
/// # Errors
/// What the Parquet reader says if it cannot read them so.
pub(crate) fn in_microseconds(metadata: ArrowReaderMetadata) -> Result<ArrowReaderMetadata> {
    let columns = metadata.parquet_schema().columns();
    let mut is_int96 = columns.iter().map(|column| column.physical_type() == Type::INT96);
    if !is_int96.clone().any(|is| is) {
        return Ok(metadata);
    }
    let fields: Vec<FieldRef> =
        metadata.schema().fields().iter().map(|field| with_microseconds(field, &mut is_int96)).collect();
    let schema = Schema::new_with_metadata(fields, metadata.schema().metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// The same field; `is_int96` says of each leaf in turn, as Parquet has them, whether it is such a timestamp.
fn with_microseconds(field: &FieldRef, is_int96: &mut impl Iterator<Item = bool>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| with_microseconds(field, is_int96)).collect())
        }
        DataType::List(element) => DataType::List(with_microseconds(element, is_int96)),
        DataType::LargeList(element) => DataType::LargeList(with_microseconds(element, is_int96)),
        DataType::ListView(element) => DataType::ListView(with_microseconds(element, is_int96)),
        DataType::LargeListView(element) => DataType::LargeListView(with_microseconds(element, is_int96)),
        DataType::FixedSizeList(element, length) => {
            DataType::FixedSizeList(with_microseconds(element, is_int96), *length)
        }
        DataType::Map(entry, sorted) => DataType::Map(with_microseconds(entry, is_int96), *sorted),
        leaf => match (is_int96.next(), leaf) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            _ => leaf.clone(),
        },
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::examples::{check, file_of};
    use super::*;

    #[test]
    fn int96_columns_at_any_depth_are_read_as_microseconds_and_nothing_else_is() {
        let file = file_of("id", "t", "NANOS");
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        let metadata = in_microseconds(metadata).unwrap();
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert_eq!(metadata.schema().field(5).data_type(), &nanos);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(|rows| rows.unwrap()).collect();
        let instants = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(batches[0].column(1).data_type(), &instants);
        check(&batches, 2);
    }
}
