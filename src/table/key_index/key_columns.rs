//! The key columns of a merge, and the bytes of a key: equal for exactly those keys that Spark calls equal.
//!
//! Spark compares keys after it has normalised them: every NaN is one value, -0.0 is 0.0. Texts are compared by their
//! bytes, timestamps by the instant, decimals of one column by the number. NULL equals nothing in the condition of a
//! MERGE, so a row one of whose keys is NULL matches no row of the table; in dropDuplicates NULL is a value like any
//! other. NULL inside a struct or an array that is a key is a value in both. The bytes of a value never depend on what
//! comes after it, so keys of several columns can't run into each other.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema};

use super::fingerprint::{Fingerprint, KeyHasher};
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};

/// The key columns of a table, in the order of `merge.keys`.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    columns: Vec<ComparedColumn>,
}

/// A column of a table, or a field of a struct, by which a merge compares rows.
#[derive(Debug, Clone)]
pub struct ComparedColumn {
    /// The names from the top-level column down to the field, as the table spells them.
    path: Vec<String>,
    data_type: DataType,
}

/// The keys of a batch of rows.
#[derive(Debug, Default, PartialEq)]
pub struct RowKeys {
    /// Each row's key.
    pub fingerprints: Vec<Fingerprint>,
    /// Whether one of a row's key columns is NULL; empty if that is so of no row.
    pub has_null: Vec<bool>,
}

impl RowKeys {
    /// Returns whether a key column of the row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.has_null.get(row).copied().unwrap_or(false)
    }

    /// The row's key, if it can match one in the table.
    pub fn matchable(&self, row: usize) -> Option<Fingerprint> {
        (!self.is_null(row)).then(|| self.fingerprints[row])
    }
}

impl KeyColumns {
    /// Finds the columns that `names` name in `owner`, which is `the stream` or `table …`: a column, or `column.field` for a field of a struct; a name that
    /// has a dot in it is put in backquotes.
    ///
    /// # Errors
    /// `Config` if a column is not there, is named twice, or has a type that Spark does not compare.
    pub fn resolve(schema: &Schema, names: &[String], owner: &str) -> Result<KeyColumns> {
        let mut columns: Vec<ComparedColumn> = Vec::with_capacity(names.len());
        for name in names {
            let column = ComparedColumn::resolve(schema, "sink.merge.keys", name, owner)?;
            if columns.iter().any(|other| other.path == column.path) {
                return Err(Error::config(format!("sink.merge.keys names {name} twice")));
            }
            columns.push(column);
        }
        Ok(KeyColumns { columns })
    }

    /// The names and types of the columns, as an index is marked with them.
    pub(super) fn names_and_types(&self) -> Vec<(String, String)> {
        self.columns.iter().map(|column| (column.path.join("."), name_of(&column.data_type))).collect()
    }

    /// The names of each column, from the top-level column down.
    pub(super) fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.columns.iter().map(|column| column.path.as_slice())
    }

    /// The top-level columns that the key columns are or lie in.
    pub fn top_level(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.top_level().to_owned()).collect()
    }

    /// The key columns of rows of the table.
    ///
    /// # Errors
    /// `Internal` if the rows lack one.
    pub fn of_rows(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| column.of_rows(rows)).collect()
    }

    /// The fingerprints of keys, one array for each column, as [`KeyColumns::of_rows`] gives them.
    ///
    /// # Errors
    /// `Internal` if an array is not of its column's type and can't be made so.
    pub(super) fn fingerprints(&self, columns: &[ArrayRef], hasher: &KeyHasher) -> Result<RowKeys> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut values = Vec::with_capacity(columns.len());
        let mut nulls: Option<NullBuffer> = None;
        for (array, column) in columns.iter().zip(&self.columns) {
            let array = cast(array, &column.data_type).map_err(not_a_key)?;
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
            values.push(Values::of(&array)?);
        }
        let mut bytes = Vec::with_capacity(64);
        let fingerprint = |row| {
            bytes.clear();
            values.iter().for_each(|values| values.encode(row, &mut bytes));
            hasher.fingerprint(&bytes)
        };
        let fingerprints = (0..rows).map(fingerprint).collect();
        let has_null = nulls.filter(|nulls| nulls.null_count() > 0);
        let has_null = has_null.map(|nulls| (0..rows).map(|row| nulls.is_null(row)).collect());
        Ok(RowKeys { fingerprints, has_null: has_null.unwrap_or_default() })
    }
}

impl ComparedColumn {
    /// Finds the column that `name` names in `owner`, as [`KeyColumns::resolve`] does; `setting` is where it is named.
    ///
    /// # Errors
    /// `Config` if it is not there or has a type that Spark does not compare.
    pub fn resolve(schema: &Schema, setting: &str, name: &str, owner: &str) -> Result<ComparedColumn> {
        let parts = split(name).ok_or_else(|| {
            Error::config(format!("{setting}: {name} is not a valid column name")).hint(
            "name a column, or column.field for a field of a struct; put a name that has a dot in backquotes",
        )
        })?;
        let none = Fields::empty();
        let mut fields = schema.fields();
        let mut path = Vec::with_capacity(parts.len());
        let mut found: Option<&Field> = None;
        for part in &parts {
            let field =
                fields.iter().find(|field| field.name().eq_ignore_ascii_case(part)).ok_or_else(|| {
                    let there: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                    Error::config(format!("{setting} names {name}, which {owner} does not have"))
                        .hint(format!("the columns there are {}", there.join(", ")))
                })?;
            path.push(field.name().clone());
            found = Some(field);
            fields = match field.data_type() {
                DataType::Struct(children) => children,
                _ => &none,
            };
        }
        let field = found.ok_or_else(|| Error::config(format!("{setting} holds an empty name")))?;
        if let Some(refused) = incomparable(field.data_type()) {
            return Err(Error::config(format!(
                "{setting}: {name} is {}, and Spark does not compare {refused}",
                name_of(field.data_type())
            ))
            .hint("name columns of other types; of a struct, the fields that make the key"));
        }
        Ok(ComparedColumn { path, data_type: field.data_type().clone() })
    }

    /// The names from the top-level column down.
    pub(super) fn path(&self) -> &[String] {
        &self.path
    }

    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The top-level column that it is or lies in.
    pub fn top_level(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// The column of rows of the table.
    ///
    /// # Errors
    /// `Internal` if the rows lack it.
    pub fn of_rows(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        let lacking =
            || Error::internal(format!("rows to be merged lack the column {}", self.path.join(".")));
        let (first, rest) = self.path.split_first().expect("a key column has a name");
        let mut array = Arc::clone(rows.column_by_name(first).ok_or_else(lacking)?);
        for name in rest {
            let parent = array.as_struct_opt().ok_or_else(lacking)?;
            let child = parent.column_by_name(name).ok_or_else(lacking)?;
            array = with_nulls_of(child, parent)?;
        }
        Ok(array)
    }
}

/// A field of a struct is NULL where the struct is.
pub(super) fn with_nulls_of(child: &ArrayRef, parent: &StructArray) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(child.nulls(), parent.nulls());
    let data = child.to_data().into_builder().nulls(nulls).build().map_err(not_a_key)?;
    Ok(make_array(data))
}

fn not_a_key(error: arrow::error::ArrowError) -> Error {
    Error::internal("the key columns of rows can't be read").source(error)
}

/// The parts of a name, at its dots outside of backquotes; `None` if a part is empty or a backquote is open.
fn split(name: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut chars) = (false, name.chars().peekable());
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("there is a part from the start");
        match char {
            '`' if quoted && chars.peek() == Some(&'`') => {
                chars.next();
                part.push('`');
            }
            '`' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => part.push(other),
        }
    }
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// What in a type can't be compared, in words.
fn incomparable(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(..) => None,
        DataType::List(element) => incomparable(element.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| incomparable(field.data_type())),
        DataType::Map(..) => Some("maps".into()),
        other => Some(format!("values of type {}", name_of(other))),
    }
}

/// The values of one column, by the way in which they become bytes.
enum Values {
    Boolean(BooleanArray),
    Integer(Int64Array),
    Float(Float64Array),
    Decimal(Decimal128Array),
    Text(StringArray),
    Bytes(BinaryArray),
    Struct(StructArray, Vec<Values>),
    List(ListArray, Box<Values>),
}

impl Values {
    fn of(array: &ArrayRef) -> Result<Values> {
        let integers = |array: &ArrayRef| -> Result<Values> {
            let array = cast(array, &DataType::Int64).map_err(not_a_key)?;
            Ok(Values::Integer(array.as_primitive().clone()))
        };
        Ok(match array.data_type() {
            DataType::Boolean => Values::Boolean(array.as_boolean().clone()),
            DataType::Date32 => integers(&cast(array, &DataType::Int32).map_err(not_a_key)?)?,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Timestamp(..) => integers(array)?,
            DataType::Float32 | DataType::Float64 => {
                let array = cast(array, &DataType::Float64).map_err(not_a_key)?;
                Values::Float(array.as_primitive().clone())
            }
            DataType::Decimal128(..) => Values::Decimal(array.as_primitive().clone()),
            DataType::Utf8 => Values::Text(array.as_string().clone()),
            DataType::Binary => Values::Bytes(array.as_binary().clone()),
            DataType::Struct(_) => {
                let array = array.as_struct().clone();
                let fields = array.columns().iter().map(Values::of).collect::<Result<_>>()?;
                Values::Struct(array, fields)
            }
            DataType::List(_) => {
                let array: ListArray = array.as_list().clone();
                let elements = Values::of(array.values())?;
                Values::List(array, Box::new(elements))
            }
            other => {
                return Err(Error::internal(format!(
                    "a key column of type {} was not refused",
                    name_of(other)
                )));
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Boolean(array) => array.is_null(row),
            Values::Integer(array) => array.is_null(row),
            Values::Float(array) => array.is_null(row),
            Values::Decimal(array) => array.is_null(row),
            Values::Text(array) => array.is_null(row),
            Values::Bytes(array) => array.is_null(row),
            Values::Struct(array, _) => array.is_null(row),
            Values::List(array, _) => array.is_null(row),
        }
    }

    fn encode(&self, row: usize, bytes: &mut Vec<u8>) {
        if self.is_null(row) {
            return bytes.push(0);
        }
        bytes.push(1);
        match self {
            Values::Boolean(array) => bytes.push(u8::from(array.value(row))),
            Values::Integer(array) => bytes.extend(array.value(row).to_le_bytes()),
            Values::Float(array) => bytes.extend(normal(array.value(row)).to_bits().to_le_bytes()),
            Values::Decimal(array) => bytes.extend(array.value(row).to_le_bytes()),
            Values::Text(array) => encode_text(array.value(row).as_bytes(), bytes),
            Values::Bytes(array) => encode_text(array.value(row), bytes),
            Values::Struct(_, fields) => fields.iter().for_each(|field| field.encode(row, bytes)),
            Values::List(array, elements) => {
                let offsets = array.value_offsets();
                let (from, until) = (offsets[row] as usize, offsets[row + 1] as usize);
                bytes.extend(((until - from) as u64).to_le_bytes());
                (from..until).for_each(|element| elements.encode(element, bytes));
            }
        }
    }
}

fn encode_text(text: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

/// A float as Spark compares it: one NaN, one zero (`NormalizeFloatingNumbers`).
fn normal(value: f64) -> f64 {
    if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    }
}

#[cfg(test)]
mod tests;
