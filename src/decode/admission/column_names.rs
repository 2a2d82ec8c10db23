//! Names that a Delta table can't give to a column.
//!
//! Parquet, as Spark writes it, knows no blank and none of `,;{}()` and `=` in a column's name, so Delta refuses them
//! (`DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES`) unless the table has column mapping, which keeps the names out of the
//! files. Names that differ in case alone are one name to Delta.

use arrow::datatypes::{DataType, Field, Fields};

use crate::model::{Error, Result};

/// What Delta refuses in a name without column mapping.
const REFUSED: &str = " ,;{}()\n\t=";

/// Checks the names of fields that a table is to have, those inside structs, arrays and maps included.
///
/// # Errors
/// `Config` with the column's path and what to do.
pub fn check_column_names(fields: &Fields, column_mapping: bool) -> Result<()> {
    fields_within(fields, &mut Vec::new(), column_mapping)
}

fn fields_within(fields: &Fields, path: &mut Vec<String>, column_mapping: bool) -> Result<()> {
    for (at, field) in fields.iter().enumerate() {
        path.push(field.name().clone());
        if !column_mapping && let Some(refused) = field.name().chars().find(|c| REFUSED.contains(*c)) {
            return Err(Error::config(format!(
                "column {} has {refused:?} in its name, which a Delta table without column mapping can't have",
                path.join(".")
            ))
            .hint("give it another name, or set delta.columnMapping.mode: name (for a new table in sink.tableProperties)"));
        }
        let twin =
            fields[..at].iter().find(|other| other.name().to_lowercase() == field.name().to_lowercase());
        if let Some(twin) = twin {
            return Err(Error::config(format!(
                "columns {} and {} differ in case alone, which a Delta table can't have",
                twin.name(),
                path.join(".")
            ))
            .hint("rename one of them in source.value.schema"));
        }
        type_within(field, path, column_mapping)?;
        path.pop();
    }
    Ok(())
}

fn type_within(field: &Field, path: &mut Vec<String>, column_mapping: bool) -> Result<()> {
    match field.data_type() {
        DataType::Struct(fields) => fields_within(fields, path, column_mapping),
        DataType::List(element) => type_within(element, path, column_mapping),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                pair.iter().try_for_each(|side| type_within(side, path, column_mapping))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
