//! A field that a stream writes and a table does not have yet.

use arrow::datatypes::Field;

/// A column, or a field inside one, that must be added to a table before a stream can write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingField {
    /// The names of the columns around it, from the outermost; `element`, `key` and `value` for the inside of an
    /// array or a map. Empty for a column of the table.
    pub path: Vec<String>,
    /// The field as the stream has it.
    pub field: Field,
}

impl MissingField {
    /// Its name and those around it, dotted.
    pub fn full_name(&self) -> String {
        let names = self.path.iter().map(String::as_str).chain([self.field.name().as_str()]);
        names.collect::<Vec<_>>().join(".")
    }
}
