//! `ALTER TABLE ADD COLUMNS`, inside structs, arrays and maps too (`mergeSchema`).
//!
//! One commit that changes the table's schema and nothing else. The kernel adds columns of the table; fields inside
//! columns are added here to the schema that it writes, with the ids that column mapping wants. Before that the kernel
//! is asked whether the table could have a column of the field's type, so that a type that needs a table feature is
//! refused either way.

use std::sync::Arc;

use delta_kernel::expressions::ColumnName;
use serde_json::{Value, json};

use super::commit::{CommitWriter, TRIES};
use super::inner_fields::{InnerField, InnerFields, kernel_field, position, within};
use super::{DeltaTable, kernel_error};
use crate::model::{Error, MissingField, Result};

impl DeltaTable {
    /// Adds nullable fields, each behind the last of its struct or of the table: a commit of its own. What another
    /// writer added meanwhile is left as it is.
    ///
    /// # Errors
    /// `Config` if a table can't have a field of that type; as for a commit otherwise.
    pub fn add_columns(&mut self, fields: &[MissingField]) -> Result<()> {
        for _ in 0..TRIES {
            let schema: Value = serde_json::from_str(self.metadata().schema_string()).map_err(|e| {
                Error::corrupt(format!("the schema of {} is not valid JSON", self.store.url())).source(e)
            })?;
            let mut missing = Vec::new();
            for field in fields {
                let Some(within) = within(&schema, &field.path) else {
                    return Err(Error::conflict(format!(
                        "another writer changed column {} of table {}",
                        field.path.join("."),
                        self.store.url()
                    )));
                };
                if position(within, field.field.name()).is_none() {
                    missing.push(field);
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            let outcome = self.try_add(&missing);
            self.refresh()?;
            outcome?;
        }
        Err(Error::conflict(format!("other writers keep changing the schema of {}", self.store.url())))
    }

    fn try_add(&self, fields: &[&MissingField]) -> Result<()> {
        let failed = |e| kernel_error(e, "add columns to the schema", &self.store);
        let (columns, inner): (Vec<&MissingField>, Vec<&MissingField>) =
            fields.iter().partition(|field| field.path.is_empty());
        for field in &inner {
            let probe = field.field.clone().with_name("alluvia_probe");
            let writer = Box::<CommitWriter>::default();
            let change = Arc::clone(&self.snapshot).alter_table().add_column(kernel_field(&probe)?);
            change.build(self.engine.as_ref(), writer).map_err(failed)?;
        }
        let alter = Arc::clone(&self.snapshot).alter_table();
        let mut inner_fields = InnerFields {
            added: inner.iter().map(|field| InnerField::of(field)).collect::<Result<_>>()?,
            restored: None,
        };
        let mut columns = columns.into_iter();
        let mut change = match columns.next() {
            Some(first) => alter.add_column(kernel_field(&first.field)?),
            None => {
                // The kernel needs something to change: a column is made nullable and its nullability restored.
                let first = self.snapshot.schema();
                let first =
                    first.fields().next().ok_or_else(|| Error::internal("a table without columns"))?;
                inner_fields.restored = Some((first.name().clone(), first.is_nullable()));
                alter.set_nullable(ColumnName::new([first.name().as_str()]))
            }
        };
        for column in columns {
            change = change.add_column(kernel_field(&column.field)?);
        }
        let names: Vec<Value> = fields.iter().map(|c| json!({"column": {"name": c.full_name()}})).collect();
        let writer = CommitWriter {
            parameters: json!({"columns": Value::Array(names).to_string()}),
            inner_fields,
            properties: self.unrestated_properties(),
            ..CommitWriter::default()
        };
        change
            .build(self.engine.as_ref(), Box::new(writer))
            .and_then(|transaction| transaction.commit(self.engine.as_ref()))
            .map(|_| ())
            .map_err(failed)
    }
}
