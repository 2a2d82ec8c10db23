//! Arrow's types as Spark's.
//!
//! The reverse of `StructType::to_arrow`, for the columns that a plan gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::{
    DataType as ArrowType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit,
};

use super::error::{Failure, internal};
use crate::decode::schema::{DataType, DayTimeUnit, StructField, StructType, YearMonthUnit};
use crate::model::{Error, Result};

/// The columns of a plan.
///
/// # Errors
/// `Internal` for a type that no expression of Spark has, such as nanoseconds.
pub(super) fn of_schema(schema: &Schema) -> Result<StructType> {
    of_fields(schema.fields())
}

fn of_fields(fields: &Fields) -> Result<StructType> {
    let field =
        |field: &Arc<Field>| Ok(StructField::new(field.name(), of(field.data_type())?, field.is_nullable()));
    Ok(StructType { fields: fields.iter().map(field).collect::<Result<_>>()? })
}

/// One type.
fn of(data_type: &ArrowType) -> Result<DataType> {
    Ok(match data_type {
        ArrowType::Null => DataType::Void,
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 => DataType::Byte,
        ArrowType::Int16 => DataType::Short,
        ArrowType::Int32 => DataType::Integer,
        ArrowType::Int64 => DataType::Long,
        ArrowType::Float32 => DataType::Float,
        ArrowType::Float64 => DataType::Double,
        ArrowType::Decimal128(precision, scale) if *scale >= 0 => {
            DataType::Decimal { precision: *precision, scale: scale.unsigned_abs() }
        }
        ArrowType::Utf8 | ArrowType::Utf8View | ArrowType::LargeUtf8 => DataType::String,
        ArrowType::Binary | ArrowType::BinaryView | ArrowType::LargeBinary => DataType::Binary,
        ArrowType::Date32 => DataType::Date,
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(_)) => DataType::Timestamp,
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => DataType::TimestampNtz,
        ArrowType::Duration(TimeUnit::Second) => {
            DataType::DayTimeInterval { start: DayTimeUnit::Day, end: DayTimeUnit::Day }
        }
        ArrowType::Duration(TimeUnit::Microsecond) => {
            DataType::DayTimeInterval { start: DayTimeUnit::Day, end: DayTimeUnit::Second }
        }
        ArrowType::Interval(IntervalUnit::YearMonth) => {
            DataType::YearMonthInterval { start: YearMonthUnit::Year, end: YearMonthUnit::Month }
        }
        ArrowType::Interval(_) => DataType::CalendarInterval,
        ArrowType::Struct(fields) => DataType::Struct(of_fields(fields)?),
        ArrowType::List(element) | ArrowType::LargeList(element) => DataType::Array {
            element: Box::new(of(element.data_type())?),
            contains_null: element.is_nullable(),
        },
        ArrowType::Map(entries, _) => match entries.data_type() {
            ArrowType::Struct(fields) if fields.len() == 2 => DataType::Map {
                key: Box::new(of(fields[0].data_type())?),
                value: Box::new(of(fields[1].data_type())?),
                value_contains_null: fields[1].is_nullable(),
            },
            _ => return Err(Error::internal("a map without keys and values")),
        },
        other => {
            return Err(Error::internal(format!("a column has the type {other}, which Spark has not")));
        }
    })
}

/// The same columns in the Arrow form that tables and decoders use: list elements named `element`, map entries
/// `key_value` of `key` and `value`, zone UTC, plain text and binary.
///
/// # Errors
/// As [`of_schema`].
pub(super) fn conformed(schema: &Schema) -> Result<Schema> {
    let field = |field: &Arc<Field>| {
        Ok(Field::new(field.name(), conformed_type(field.data_type())?, field.is_nullable()))
    };
    Ok(Schema::new(schema.fields().iter().map(field).collect::<Result<Vec<_>>>()?))
}

fn conformed_type(data_type: &ArrowType) -> Result<ArrowType> {
    let of_field = |field: &Field, name: &str, nullable: bool| {
        Ok::<_, Error>(Field::new(name, conformed_type(field.data_type())?, nullable))
    };
    Ok(match data_type {
        ArrowType::Utf8View | ArrowType::LargeUtf8 => ArrowType::Utf8,
        ArrowType::BinaryView | ArrowType::LargeBinary => ArrowType::Binary,
        ArrowType::Timestamp(unit, Some(_)) => ArrowType::Timestamp(*unit, Some("UTC".into())),
        ArrowType::List(element) | ArrowType::LargeList(element) => {
            ArrowType::List(of_field(element, "element", element.is_nullable())?.into())
        }
        ArrowType::Struct(fields) => ArrowType::Struct(
            fields
                .iter()
                .map(|field| of_field(field, field.name(), field.is_nullable()))
                .collect::<Result<Vec<_>>>()?
                .into(),
        ),
        ArrowType::Map(entries, sorted) => {
            let ArrowType::Struct(fields) = entries.data_type() else {
                return Err(Error::internal("a map without keys and values"));
            };
            let entry = Fields::from(vec![
                of_field(&fields[0], "key", false)?,
                of_field(&fields[1], "value", fields[1].is_nullable())?,
            ]);
            ArrowType::Map(Field::new("key_value", ArrowType::Struct(entry), false).into(), *sorted)
        }
        other => other.clone(),
    })
}

/// Rows in the Arrow form that a query promises.
pub(super) fn conform(schema: &SchemaRef, rows: &RecordBatch) -> std::result::Result<RecordBatch, Failure> {
    let conform = |(array, field): (&ArrayRef, &FieldRef)| {
        if array.data_type() == field.data_type() {
            return Ok(Arc::clone(array));
        }
        compute::cast(array, field.data_type())
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(conform);
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| internal(e.into()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    columns
        .and_then(|columns| {
            RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
                .map_err(|error| internal(error.into()))
        })
        .map_err(Failure::Other)
}
