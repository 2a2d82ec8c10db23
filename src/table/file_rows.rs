//! The rows of single files of a table, as the table has them: for a merge that changes rows.
//!
//! Logical names, partition columns included, without the rows that the file's deletion vector deletes, and with the
//! position of each row in its file. Columns that the file lacks are NULL. Read in the kernel's batches: in memory is a
//! batch, and what the Parquet reader holds of a row group.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, RecordBatch, StructArray, UInt32Array,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::expressions::Scalar;
use delta_kernel::scan::state::DvInfo;
use delta_kernel::schema::{DataType as KernelType, SchemaRef as KernelSchema};
use delta_kernel::table_features::ColumnMappingMode;
use delta_kernel::{Engine, FileMeta};
use url::Url;

use super::file_entry::LiveFile;
use super::live_files::is_not_found;
use super::{DeltaTable, FileEntry, kernel_error};
use crate::model::{Error, Result};
use crate::storage::Store;

/// Reads rows of a table's files.
pub struct RowReader {
    engine: Arc<dyn Engine>,
    store: Store,
    root: Url,
    /// The columns that are read, as the table has them.
    schema: SchemaRef,
    logical: KernelSchema,
    /// The same as files have them: without partition columns.
    physical: KernelSchema,
    partition_columns: Vec<String>,
    mapping: ColumnMappingMode,
}

/// Rows of one file.
#[derive(Debug)]
pub struct FileRows {
    /// The rows.
    pub rows: RecordBatch,
    /// The position in the file of the first row that was read.
    first: u64,
    /// Which rows from there on the others are; `None` if none was left out.
    kept: Option<UInt32Array>,
}

impl FileRows {
    /// The position of a row in its file, from 0.
    pub fn position(&self, row: usize) -> u64 {
        self.first + self.kept.as_ref().map_or(row as u64, |kept| u64::from(kept.value(row)))
    }
}

/// Why rows could not be read.
#[derive(Debug)]
pub enum ReadFailure {
    /// The file is gone: it may have left the table since.
    Gone(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for ReadFailure {
    fn from(error: Error) -> ReadFailure {
        ReadFailure::Failed(error)
    }
}

impl RowReader {
    /// A reader of files of `table` as of its current version, of these top-level columns and perhaps one more; of all of
    /// them without `columns`.
    ///
    /// # Errors
    /// `Internal` if there is no such column; `Config` if a type has no Arrow form.
    pub fn new(table: &DeltaTable, columns: Option<&[String]>) -> Result<RowReader> {
        let failed = |e| kernel_error(e, "read the rows", table.store());
        let all = table.snapshot.schema();
        let partition_columns = table.partition_columns().to_vec();
        let in_files = |name: &str| !partition_columns.iter().any(|column| column == name);
        let logical = match columns {
            None => all,
            Some(columns) => {
                let mut names: Vec<&str> = columns.iter().map(String::as_str).collect();
                if !names.iter().any(|name| in_files(name)) {
                    // A file says how many rows it has by one of its columns.
                    names.extend(all.fields().map(|field| field.name().as_str()).find(|name| in_files(name)));
                }
                all.project(&names).map_err(failed)?
            }
        };
        let scan = Arc::clone(&table.snapshot).scan_builder().with_schema(Arc::clone(&logical));
        let physical = Arc::clone(scan.build().map_err(failed)?.physical_schema());
        let schema = table.arrow_schema()?;
        let at: std::result::Result<Vec<usize>, _> =
            logical.fields().map(|field| schema.index_of(field.name())).collect();
        let schema = at.and_then(|at| schema.project(&at)).map_err(laid_out)?;
        Ok(RowReader {
            engine: Arc::clone(table.engine()),
            store: table.store().clone(),
            root: table.snapshot.table_root().clone(),
            schema: Arc::new(schema),
            logical,
            physical,
            partition_columns,
            mapping: table.snapshot.table_configuration().column_mapping_mode(),
        })
    }

    /// Hands over the rows of a file that are not deleted, in their order.
    ///
    /// # Errors
    /// What storage answers, or what `each` returns.
    pub fn read(
        &self,
        entry: &FileEntry,
        mut each: impl FnMut(FileRows) -> Result<()>,
    ) -> std::result::Result<(), ReadFailure> {
        let failed = |e: delta_kernel::Error| {
            let gone = is_not_found(&e);
            let error = kernel_error(e, "read the rows", &self.store);
            if gone { ReadFailure::Gone(error) } else { ReadFailure::Failed(error) }
        };
        let file = entry.live()?;
        let location = self
            .root
            .join(&file.path)
            .map_err(|e| Error::corrupt("the log names a file by something that is not a path").source(e))?;
        let deleted = file.deletion_vector.clone().map(DvInfo::from).unwrap_or_default();
        let keep = deleted.get_selection_vector(self.engine.as_ref(), &self.root).map_err(failed)?;
        let meta = FileMeta { last_modified: 0, size: file.size_bytes, location };
        let handler = self.engine.parquet_handler();
        let mut first = 0;
        for rows in handler.read_parquet_files(&[meta], Arc::clone(&self.physical), None).map_err(failed)? {
            let rows = rows.and_then(|rows| rows.try_into_record_batch()).map_err(failed)?;
            let rows = self.of_table(&rows, &file)?;
            let count = rows.num_rows() as u64;
            each(without_deleted(rows, first, keep.as_deref())?)?;
            first += count;
        }
        Ok(())
    }

    /// Rows of the table, of rows as the file has them: in the order of the columns, under physical names.
    fn of_table(&self, rows: &RecordBatch, file: &LiveFile) -> Result<RecordBatch> {
        let mut in_file = rows.columns().iter();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (field, wanted) in self.logical.fields().zip(self.schema.fields()) {
            let column = if self.partition_columns.contains(field.name()) {
                let value = file.partition_values.get(field.physical_name(self.mapping));
                let value = partition_value(value, field.data_type())?.to_array(rows.num_rows());
                value.map_err(|e| Error::internal("a partition value has no Arrow form").source(e))?
            } else {
                let lacking = || Error::internal("a file was read with other columns than were asked for");
                Arc::clone(in_file.next().ok_or_else(lacking)?)
            };
            columns.push(named_as(&column, wanted.data_type()).map_err(laid_out)?);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(laid_out)
    }
}

/// The same values under the names of type `wanted`: fields of structs are those in the same places.
fn named_as(array: &ArrayRef, wanted: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    Ok(match wanted {
        DataType::Struct(fields) => {
            let array = array.as_struct_opt().ok_or_else(|| other_type(array))?;
            if array.num_columns() != fields.len() {
                return Err(other_type(array));
            }
            let children =
                array.columns().iter().zip(fields).map(|(child, field)| named_as(child, field.data_type()));
            let children = children.collect::<std::result::Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), children, array.nulls().cloned())?)
        }
        DataType::List(element) => {
            let array = array.as_list_opt::<i32>().ok_or_else(|| other_type(array))?;
            let values = named_as(array.values(), element.data_type())?;
            Arc::new(ListArray::try_new(
                Arc::clone(element),
                array.offsets().clone(),
                values,
                array.nulls().cloned(),
            )?)
        }
        DataType::Map(entry, sorted) => {
            let array = array.as_map_opt().ok_or_else(|| other_type(array))?;
            let entries: ArrayRef = Arc::new(array.entries().clone());
            let entries = named_as(&entries, entry.data_type())?.as_struct().clone();
            let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, *sorted)?)
        }
        _ => cast(array, wanted)?,
    })
}

fn other_type(array: &dyn Array) -> ArrowError {
    ArrowError::SchemaError(format!("a column of a file is of type {}", array.data_type()))
}

/// A partition's value. One that is absent is NULL.
///
/// # Errors
/// `Corrupt` if it is of another type than the column.
pub(super) fn partition_value(value: Option<&String>, data_type: &KernelType) -> Result<Scalar> {
    match (value, data_type) {
        (Some(value), KernelType::Primitive(primitive)) => primitive
            .parse_scalar(value)
            .map_err(|e| Error::corrupt("the log has a partition value of another type").source(e)),
        _ => Ok(Scalar::Null(data_type.clone())),
    }
}

/// The rows from position `first` on that are not deleted; a deletion vector may end before the file does.
fn without_deleted(rows: RecordBatch, first: u64, keep: Option<&[bool]>) -> Result<FileRows> {
    let Some(keep) = keep else { return Ok(FileRows { rows, first, kept: None }) };
    let of = |row: usize| {
        usize::try_from(first).ok().and_then(|first| keep.get(first + row)).copied().unwrap_or(true)
    };
    let keep = BooleanArray::from_iter((0..rows.num_rows()).map(|row| Some(of(row))));
    let kept = UInt32Array::from_iter_values(keep.values().set_indices().map(|row| row as u32));
    let rows = filter_record_batch(&rows, &keep).map_err(laid_out)?;
    Ok(FileRows { rows, first, kept: Some(kept) })
}

fn laid_out(error: ArrowError) -> Error {
    Error::internal("the rows of a file can't be laid out as the table's").source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};
    use arrow::datatypes::{Field, Fields};

    use super::*;

    /// A struct of a list of structs and a text, with these names.
    fn nested(names: [&str; 3]) -> DataType {
        let inner = Fields::from(vec![Field::new(names[1], DataType::Int32, true)]);
        let list = DataType::List(Arc::new(Field::new("element", DataType::Struct(inner), true)));
        let text = Field::new(names[2], DataType::Utf8, true);
        DataType::Struct(vec![Field::new(names[0], list, true), text].into())
    }

    #[test]
    fn fields_inside_columns_are_named_as_the_table_names_them_by_their_places() {
        let DataType::Struct(fields) = nested(["col-1", "col-2", "col-3"]) else { unreachable!() };
        let DataType::List(element) = fields[0].data_type() else { unreachable!() };
        let DataType::Struct(inner) = element.data_type() else { unreachable!() };
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
        let structs: ArrayRef = Arc::new(StructArray::new(inner.clone(), vec![numbers], None));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let lists: ArrayRef = Arc::new(ListArray::new(Arc::clone(element), offsets, structs, None));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let array: ArrayRef = Arc::new(StructArray::new(fields.clone(), vec![lists, texts], None));
        let wanted = nested(["x", "y", "t"]);
        let named = named_as(&array, &wanted).unwrap();
        assert_eq!(named.data_type(), &wanted);
        let back = named_as(&named, array.data_type()).unwrap();
        assert_eq!(&back, &array);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert!(named_as(&numbers, &wanted).is_err());
        assert_eq!(named_as(&numbers, &DataType::Int64).unwrap().data_type(), &DataType::Int64);
    }
}
