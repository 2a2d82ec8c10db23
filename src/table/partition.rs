//! Rows by the values of a table's partition columns.
//!
//! A partition's key is its values in Arrow's row format: equal keys are equal values, and keys order as values do. A
//! value that no file can be named after was kept out before; what is left here fails as a defect.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::expressions::Scalar;
use delta_kernel::schema::DataType as KernelType;

use crate::model::spark_type::name_of;
use crate::model::{Error, Result};

/// The partition columns of a table, and the rest.
pub(super) struct Partitioner {
    columns: Vec<usize>,
    names: Vec<String>,
    data: Vec<usize>,
    converter: RowConverter,
}

impl Partitioner {
    /// # Errors
    /// `Config` if a table can't be partitioned by a column's type.
    pub(super) fn new(schema: &SchemaRef, names: &[String]) -> Result<Partitioner> {
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

    /// The key of each row.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Rows> {
        let keys: Vec<ArrayRef> = self.columns.iter().map(|i| Arc::clone(rows.column(*i))).collect();
        self.converter
            .convert_columns(&keys)
            .map_err(|e| Error::internal("split rows by partition").source(e))
    }

    /// The partition values of a row.
    pub(super) fn values(&self, rows: &RecordBatch, row: usize) -> Result<HashMap<String, Scalar>> {
        let columns = self.names.iter().zip(&self.columns);
        columns.map(|(name, i)| Ok((name.clone(), scalar(rows.column(*i), row)?))).collect()
    }

    /// The rows without their partition columns, as a data file holds them.
    pub(super) fn data(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        rows.project(&self.data).map_err(|e| Error::internal("split rows by partition").source(e))
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
                .map_err(|e| Error::internal("a partition value is not a decimal").source(e))?
        }
        other => {
            return Err(Error::config(format!(
                "a table cannot be partitioned by a column of type {}",
                name_of(other)
            )));
        }
    })
}
