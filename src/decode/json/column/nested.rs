//! Columns that hold columns: structs, arrays and maps.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType as ArrowType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::bytes::{remove_ends, take_ends};
use super::validity::Validity;
use super::{Bytes, Column};
use crate::decode::json::fields::FieldTable;
use crate::decode::schema::{DataType, StructType};
use crate::model::error::{Error, Result};

fn no_array(error: ArrowError) -> Error {
    Error::internal("decoded rows make no Arrow array").source(error)
}

fn other_type(data_type: &ArrowType) -> Error {
    Error::internal(format!("a nested column cannot become {data_type}"))
}

/// Structs: one column for each field. While a row is in the making, its fields' columns are one
/// row longer than the struct where the field has been met, and as long where not.
#[derive(Debug)]
pub(in crate::decode::json) struct StructColumn {
    /// The names by which messages fill the fields.
    pub(in crate::decode::json) table: FieldTable,
    /// The fields' columns, in the order of the schema.
    pub(in crate::decode::json) columns: Vec<Column>,
    names: Vec<String>,
    validity: Validity,
}

impl StructColumn {
    /// Empty columns for `fields`. The fields named `hidden` exist, but no message fills them.
    pub(in crate::decode::json) fn new(fields: &StructType, hidden: Option<&str>) -> Result<StructColumn> {
        let columns: Result<Vec<Column>> = fields
            .fields
            .iter()
            .map(|field| {
                Column::new(&field.data_type).map_err(|e| e.context(format!("column {}", field.name)))
            })
            .collect();
        let names = fields.fields.iter().enumerate().filter(|(_, field)| Some(field.name.as_str()) != hidden);
        Ok(StructColumn {
            table: FieldTable::new(names.map(|(n, field)| (n as u32, field.name.as_str()))),
            columns: columns?,
            names: fields.fields.iter().map(|field| field.name.clone()).collect(),
            validity: Validity::default(),
        })
    }

    /// The name of field `index`.
    pub(in crate::decode::json) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    pub(in crate::decode::json) fn len(&self) -> usize {
        self.validity.len()
    }

    /// Ends a row: fields that have not been met are null.
    #[inline]
    pub(in crate::decode::json) fn close(&mut self) {
        let row = self.len();
        for column in &mut self.columns {
            if column.len() == row {
                column.push_null();
            }
        }
        self.validity.push_valid();
    }

    /// Ends a row in which every field has been met.
    #[inline(always)]
    pub(in crate::decode::json) fn close_full(&mut self) {
        self.validity.push_valid();
    }

    pub(in crate::decode::json) fn push_null(&mut self) {
        for column in &mut self.columns {
            column.push_null();
        }
        self.validity.push_null();
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_null(row)
    }

    pub(in crate::decode::json) fn truncate(&mut self, len: usize) {
        for column in &mut self.columns {
            column.truncate(len);
        }
        self.validity.truncate(len);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        for column in &mut self.columns {
            column.remove(range.clone());
        }
        self.validity.remove(range);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.columns.iter().map(Column::memory_bytes).sum::<usize>() + self.validity.memory_bytes()
    }

    /// The rows as one array for each field, and which rows are null as a whole.
    pub(in crate::decode::json) fn finish_columns(
        &mut self,
        fields: &Fields,
    ) -> Result<(Vec<ArrayRef>, Option<NullBuffer>)> {
        let arrays: Result<Vec<ArrayRef>> = self
            .columns
            .iter_mut()
            .zip(fields)
            .map(|(column, field)| column.finish(field.data_type()))
            .collect();
        Ok((arrays?, self.validity.finish()))
    }

    pub(in crate::decode::json) fn finish(&mut self, data_type: &ArrowType) -> Result<ArrayRef> {
        let ArrowType::Struct(fields) = data_type else { return Err(other_type(data_type)) };
        let rows = self.len();
        let (arrays, nulls) = self.finish_columns(fields)?;
        let array = StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows);
        Ok(Arc::new(array.map_err(no_array)?))
    }
}

/// Arrays: the elements of all rows end to end, and where each row ends.
#[derive(Debug)]
pub(in crate::decode::json) struct ListColumn {
    /// The elements of all rows, and of the one in the making.
    pub(in crate::decode::json) elements: Column,
    ends: Vec<i32>,
    validity: Validity,
}

impl ListColumn {
    pub(super) fn new(element: &DataType) -> Result<ListColumn> {
        Ok(ListColumn { elements: Column::new(element)?, ends: vec![0], validity: Validity::default() })
    }

    pub(super) fn len(&self) -> usize {
        self.validity.len()
    }

    /// The elements of row `row`.
    pub(in crate::decode::json) fn elements_of(&self, row: usize) -> Range<usize> {
        self.ends[row] as usize..self.ends[row + 1] as usize
    }

    /// Makes a row of the elements added since the last one; bounded as [`Bytes::close`] is.
    pub(in crate::decode::json) fn close(&mut self) {
        self.ends.push(self.elements.len() as i32);
        self.validity.push_valid();
    }

    /// Drops the elements added since the last row.
    pub(in crate::decode::json) fn discard(&mut self) {
        self.truncate(self.len());
    }

    pub(super) fn push_null(&mut self) {
        self.ends.push(self.elements.len() as i32);
        self.validity.push_null();
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_null(row)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.elements.truncate(self.ends[len] as usize);
        self.validity.truncate(len);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.elements.remove(self.ends[range.start] as usize..self.ends[range.end] as usize);
        remove_ends(&mut self.ends, range.clone());
        self.validity.remove(range);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.elements.memory_bytes() + self.ends.len() * 4 + self.validity.memory_bytes()
    }

    pub(super) fn finish(&mut self, data_type: &ArrowType) -> Result<ArrayRef> {
        let ArrowType::List(element) = data_type else { return Err(other_type(data_type)) };
        let elements = self.elements.finish(element.data_type())?;
        let ends = take_ends(&mut self.ends);
        let array = ListArray::try_new(FieldRef::clone(element), ends, elements, self.validity.finish());
        Ok(Arc::new(array.map_err(no_array)?))
    }
}

/// Maps with texts as keys: keys and values of all rows end to end, and where each row ends. A key
/// may occur twice, as in Spark's `from_json`.
#[derive(Debug)]
pub(in crate::decode::json) struct MapColumn {
    /// The keys of all rows, and of the one in the making.
    pub(in crate::decode::json) keys: Bytes,
    /// The values, one for each key.
    pub(in crate::decode::json) values: Column,
    ends: Vec<i32>,
    validity: Validity,
}

impl MapColumn {
    pub(super) fn new(value: &DataType) -> Result<MapColumn> {
        let values = Column::new(value)?;
        Ok(MapColumn { keys: Bytes::default(), values, ends: vec![0], validity: Validity::default() })
    }

    pub(super) fn len(&self) -> usize {
        self.validity.len()
    }

    /// The entries of row `row`.
    pub(in crate::decode::json) fn entries_of(&self, row: usize) -> Range<usize> {
        self.ends[row] as usize..self.ends[row + 1] as usize
    }

    /// Makes a row of the entries added since the last one; bounded as [`Bytes::close`] is.
    pub(in crate::decode::json) fn close(&mut self) {
        self.ends.push(self.keys.len() as i32);
        self.validity.push_valid();
    }

    /// Drops the entries added since the last row.
    pub(in crate::decode::json) fn discard(&mut self) {
        self.truncate(self.len());
    }

    pub(super) fn push_null(&mut self) {
        self.ends.push(self.keys.len() as i32);
        self.validity.push_null();
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_null(row)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        let entries = self.ends[len] as usize;
        self.keys.truncate(entries);
        self.values.truncate(entries);
        self.validity.truncate(len);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        let entries = self.ends[range.start] as usize..self.ends[range.end] as usize;
        self.keys.remove(entries.clone());
        self.values.remove(entries);
        remove_ends(&mut self.ends, range.clone());
        self.validity.remove(range);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let entries = self.keys.memory_bytes() + self.values.memory_bytes();
        entries + self.ends.len() * 4 + self.validity.memory_bytes()
    }

    pub(super) fn finish(&mut self, data_type: &ArrowType) -> Result<ArrayRef> {
        let ArrowType::Map(entry, sorted) = data_type else { return Err(other_type(data_type)) };
        let ArrowType::Struct(fields) = entry.data_type() else { return Err(other_type(data_type)) };
        let [_, value] = fields.as_ref() else { return Err(other_type(data_type)) };
        let arrays = vec![self.keys.finish_text()?, self.values.finish(value.data_type())?];
        let entries = StructArray::try_new(fields.clone(), arrays, None).map_err(no_array)?;
        let ends = take_ends(&mut self.ends);
        let array = MapArray::try_new(FieldRef::clone(entry), ends, entries, self.validity.finish(), *sorted);
        Ok(Arc::new(array.map_err(no_array)?))
    }
}
