//! The partitions that a compaction may be restricted to: those that have files, their values as rows, so that a condition
//! on partition columns can be evaluated for each of them.
//!
//! What a condition is, this does not know: whoever evaluates it says which of the rows it holds for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use crate::model::{Error, Result};
use crate::table::DeltaTable;
use crate::table::file_rows::partition_value;

/// Values of the partition columns by their physical names, as the log spells them.
type Spelled = BTreeMap<String, Option<String>>;

/// The partitions of a table that have files.
pub struct TablePartitions {
    spelled: Vec<Spelled>,
    rows: RecordBatch,
}

/// Partitions that a compaction is restricted to.
#[derive(Debug, Clone)]
pub struct ChosenPartitions {
    /// What chose them, for the table's history.
    pub(super) condition: String,
    spelled: HashSet<Spelled>,
}

impl TablePartitions {
    /// A row for each partition: the table's partition columns, in their order.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The partitions of some of the rows, which `condition` holds for.
    pub fn choose(&self, condition: &str, rows: &[u32]) -> ChosenPartitions {
        let spelled = rows.iter().filter_map(|row| self.spelled.get(*row as usize).cloned());
        ChosenPartitions { condition: condition.to_owned(), spelled: spelled.collect() }
    }
}

impl ChosenPartitions {
    pub(super) fn contain(&self, values: &Spelled) -> bool {
        self.spelled.contains(values)
    }
}

impl DeltaTable {
    /// The partitions that have files as of the current version, each once.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`]; `Corrupt` if a value is of another type than its column.
    pub fn partitions(&self) -> Result<TablePartitions> {
        let mut found: HashSet<Spelled> = HashSet::new();
        self.live_files(|file| {
            if !found.contains(file.partition_values()) {
                found.insert(file.partition_values().clone());
            }
            Ok(())
        })?;
        let spelled: Vec<Spelled> = found.into_iter().collect();
        let (schema, arrow) = (self.snapshot.schema(), self.arrow_schema()?);
        let mode = self.snapshot.table_configuration().column_mapping_mode();
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for name in self.partition_columns() {
            let (Some(field), Ok(arrow)) = (schema.field(name), arrow.field_with_name(name)) else {
                return Err(Error::corrupt(format!(
                    "partition column {name} is not in the schema of table {}",
                    self.store.url()
                )));
            };
            let mut values: Vec<ArrayRef> = Vec::with_capacity(spelled.len());
            for partition in &spelled {
                let value = partition.get(field.physical_name(mode)).and_then(Option::as_ref);
                let value = partition_value(value, field.data_type())?.to_array(1);
                values.push(
                    value.map_err(|e| Error::internal("a partition value has no Arrow form").source(e))?,
                );
            }
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            let column = match values.as_slice() {
                [] => Ok(new_empty_array(arrow.data_type())),
                values => concat(values).and_then(|column| cast(&column, arrow.data_type())),
            };
            columns.push(column.map_err(laid_out)?);
            fields.push(arrow.clone().with_nullable(true));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(spelled.len()));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
        Ok(TablePartitions { spelled, rows: rows.map_err(laid_out)? })
    }
}

fn laid_out(error: ArrowError) -> Error {
    Error::internal("the partitions of a table can't be laid out as rows").source(error)
}
