//! What a stream writes against what a table has.
//!
//! A column is matched by name without regard to case, as Spark does. A value may be widened
//! without loss (INT into BIGINT, FLOAT into DOUBLE, DATE never into anything); everything else is
//! refused at the start with an error that names the column. Columns that the table has and the
//! stream lacks are written as NULL.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::model::{Error, Result};

/// How the columns of a stream become the columns of a table.
#[derive(Debug, Clone)]
pub struct Alignment {
    target: SchemaRef,
    /// Per column of the table, the stream's column that fills it.
    sources: Vec<Option<usize>>,
}

/// What a stream's columns need of a table.
#[derive(Debug)]
pub enum Fit {
    /// They can be written as they are.
    Fits(Alignment),
    /// These columns must be added first (`mergeSchema`).
    Lacks(Vec<Field>),
}

impl Alignment {
    /// Compares `stream` with `table`; see the module's page.
    ///
    /// # Errors
    /// `Config`, naming the column and both types, if one can't be written into the other, or if the
    /// table demands a column that the stream does not have.
    pub fn of(stream: &Schema, table: &SchemaRef, table_name: &str) -> Result<Fit> {
        let lacking: Vec<Field> = stream
            .fields()
            .iter()
            .filter(|field| position(table, field.name()).is_none())
            .map(|field| field.as_ref().clone())
            .collect();
        if !lacking.is_empty() {
            return Ok(Fit::Lacks(lacking));
        }
        let mut sources = Vec::with_capacity(table.fields().len());
        for column in table.fields() {
            let source = position(stream, column.name());
            match source {
                Some(index) => {
                    let from = stream.field(index).data_type();
                    if !widens(from, column.data_type()) {
                        return Err(Error::config(format!(
                            "column {} is {} in the stream but {} in table {table_name}",
                            column.name(),
                            name_of(from),
                            name_of(column.data_type())
                        ))
                        .hint("give the column the table's type in source.value.schema, or write to another table"));
                    }
                }
                None if !column.is_nullable() => {
                    return Err(Error::config(format!(
                        "table {table_name} demands column {} (NOT NULL), which the stream does not have",
                        column.name()
                    ))
                    .hint("add the column to source.value.schema"));
                }
                None => {}
            }
            sources.push(source);
        }
        Ok(Fit::Fits(Alignment { target: Arc::clone(table), sources }))
    }

    /// The table's columns.
    pub fn target(&self) -> &SchemaRef {
        &self.target
    }

    /// The stream's columns that the table demands (NOT NULL), by the stream's position.
    pub fn required(&self) -> Vec<usize> {
        let columns = self.target.fields().iter().zip(&self.sources);
        columns.filter(|(column, _)| !column.is_nullable()).filter_map(|(_, source)| *source).collect()
    }

    /// The rows of the stream as rows of the table.
    ///
    /// # Errors
    /// `Data` if a value breaks a NOT NULL of the table, naming the column.
    pub fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.sources.len());
        for (column, source) in self.target.fields().iter().zip(&self.sources) {
            columns.push(match source {
                None => new_null_array(column.data_type(), batch.num_rows()),
                Some(index) => {
                    let array = batch.column(*index);
                    if array.data_type() == column.data_type() {
                        Arc::clone(array)
                    } else {
                        let safe = CastOptions { safe: false, ..CastOptions::default() };
                        cast_with_options(array, column.data_type(), &safe).map_err(|e| {
                            Error::data(format!("column {} cannot be widened", column.name())).source(e)
                        })?
                    }
                }
            });
        }
        RecordBatch::try_new(Arc::clone(&self.target), columns)
            .map_err(|e| Error::data("rows do not fit the table").source(e))
    }
}

fn position(schema: &Schema, name: &str) -> Option<usize> {
    schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))
}

/// Whether every value of `from` is a value of `to`.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64) => true,
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            s1 <= s2 && i16::from(*p1) - i16::from(*s1) <= i16::from(*p2) - i16::from(*s2)
        }
        (List(a), List(b)) => widens(a.data_type(), b.data_type()) && (b.is_nullable() || !a.is_nullable()),
        (Map(a, _), Map(b, _)) => widens(a.data_type(), b.data_type()),
        (Struct(a), Struct(b)) => struct_widens(a, b),
        (a, b) => a == b,
    }
}

/// Nested fields must be the same ones in the same order: a struct is written as one value.
fn struct_widens(from: &Fields, to: &Fields) -> bool {
    from.len() == to.len()
        && from.iter().zip(to).all(|(a, b)| {
            a.name().eq_ignore_ascii_case(b.name())
                && widens(a.data_type(), b.data_type())
                && (b.is_nullable() || !a.is_nullable())
        })
}

/// A type in Spark's words.
pub fn name_of(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p},{s})"),
        DataType::List(element) => format!("ARRAY<{}>", name_of(element.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", name_of(pair[0].data_type()), name_of(pair[1].data_type()))
            }
            other => format!("{other}"),
        },
        DataType::Struct(fields) => {
            let inner: Vec<String> =
                fields.iter().map(|f| format!("{}: {}", f.name(), name_of(f.data_type()))).collect();
            format!("STRUCT<{}>", inner.join(", "))
        }
        other => format!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray};

    use super::*;

    fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
        let fields: Vec<Field> =
            columns.iter().map(|(n, t, null)| Field::new(*n, t.clone(), *null)).collect();
        Arc::new(Schema::new(fields))
    }

    #[test]
    fn columns_are_matched_without_case_widened_and_filled() {
        let stream = schema(&[("ID", DataType::Int32, true)]);
        let table = schema(&[("name", DataType::Utf8, true), ("id", DataType::Int64, true)]);
        let Fit::Fits(alignment) = Alignment::of(&stream, &table, "t").unwrap() else { panic!("fits") };
        let batch = RecordBatch::try_new(stream, vec![Arc::new(Int32Array::from(vec![7]))]).unwrap();
        let written = alignment.apply(&batch).unwrap();
        assert_eq!(written.schema(), table);
        assert_eq!(written.column(0).null_count(), 1);
    }

    #[test]
    fn another_type_is_refused_with_both_names() {
        let stream = schema(&[("id", DataType::Utf8, true)]);
        let table = schema(&[("id", DataType::Int64, true)]);
        let error = Alignment::of(&stream, &table, "lake/t").unwrap_err();
        assert!(
            error.to_string().starts_with("column id is STRING in the stream but BIGINT in table lake/t"),
            "{error}"
        );
    }

    #[test]
    fn a_column_the_table_lacks_is_reported_as_such() {
        let stream = schema(&[("id", DataType::Utf8, true), ("new", DataType::Int32, true)]);
        let table = schema(&[("id", DataType::Utf8, true)]);
        let Fit::Lacks(fields) = Alignment::of(&stream, &table, "t").unwrap() else { panic!("lacks") };
        assert_eq!(fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn a_null_in_a_required_column_is_a_data_error() {
        let stream = schema(&[("id", DataType::Utf8, true)]);
        let table = schema(&[("id", DataType::Utf8, false)]);
        let Fit::Fits(alignment) = Alignment::of(&stream, &table, "t").unwrap() else { panic!("fits") };
        let batch =
            RecordBatch::try_new(stream, vec![Arc::new(StringArray::from(vec![Some("a"), None]))]).unwrap();
        assert_eq!(alignment.apply(&batch).unwrap_err().kind(), crate::model::Kind::Data);
    }
}
