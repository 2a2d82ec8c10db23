//! `ALTER TABLE ADD COLUMNS`, inside structs, arrays and maps too (`mergeSchema`).
//!
//! One commit that changes the table's schema and nothing else. The kernel adds columns of the table; fields inside
//! columns are added here to the schema that it writes, with the ids that column mapping wants. Before that the kernel
//! is asked whether the table could have a column of the field's type, so that a type that needs a table feature is
//! refused either way.

use std::sync::Arc;

use arrow::datatypes::Field;
use delta_kernel::DeltaResult;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::StructField;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::commit::{CommitWriter, TRIES};
use super::{DeltaTable, kernel_error};
use crate::model::{Error, MissingField, Result};

/// The metadata of a field under column mapping.
const ID: &str = "delta.columnMapping.id";
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// The table property with the greatest id that was given out.
const MAX_ID: &str = "delta.columnMapping.maxColumnId";

impl DeltaTable {
    /// Adds nullable fields, each behind the last of its struct or of the table: a commit of its own. What another
    /// writer added meanwhile is left as it is.
    ///
    /// # Errors
    /// `Config` if a table can't have a field of that type; as for a commit otherwise.
    pub fn add_columns(&mut self, fields: &[MissingField]) -> Result<()> {
        for _ in 0..TRIES {
            let schema: Value = serde_json::from_str(self.metadata().schema_string()).map_err(|e| {
                Error::corrupt(format!("the schema of {} is no JSON", self.store.url())).source(e)
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
            ..CommitWriter::default()
        };
        change
            .build(self.engine.as_ref(), Box::new(writer))
            .and_then(|transaction| transaction.commit(self.engine.as_ref()))
            .map(|_| ())
            .map_err(failed)
    }
}

/// A field in the kernel's form, nullable.
fn kernel_field(field: &Field) -> Result<StructField> {
    StructField::try_from_arrow(&field.clone().with_nullable(true))
        .map_err(|e| Error::config(format!("column {} cannot be added", field.name())).source(e))
}

/// Fields to be added inside columns of the schema that a commit writes.
#[derive(Default)]
pub(super) struct InnerFields {
    added: Vec<InnerField>,
    /// A column and whether it was nullable before the kernel changed that.
    restored: Option<(String, bool)>,
}

struct InnerField {
    path: Vec<String>,
    /// In Delta's JSON form.
    field: Value,
}

impl InnerField {
    fn of(missing: &MissingField) -> Result<InnerField> {
        let field = serde_json::to_value(kernel_field(&missing.field)?)
            .map_err(|e| Error::internal("a field has no JSON form").source(e))?;
        Ok(InnerField { path: missing.path.clone(), field })
    }
}

impl InnerFields {
    /// Adds the fields to a `metaData` action.
    ///
    /// # Errors
    /// If the schema does not have the columns that they belong into.
    pub(super) fn add_to(&self, metadata: &mut Value) -> DeltaResult<()> {
        if self.added.is_empty() {
            return Ok(());
        }
        let text = metadata["schemaString"].as_str().unwrap_or_default();
        let mut schema: Value = serde_json::from_str(text).map_err(delta_kernel::Error::generic_err)?;
        if let Some((name, nullable)) = &self.restored
            && let Some(at) = position(&schema, name)
        {
            schema["fields"][at]["nullable"] = (*nullable).into();
        }
        let mapped =
            metadata["configuration"].get(MAX_ID).and_then(Value::as_str).and_then(|id| id.parse().ok());
        let mut last_id: Option<i64> = mapped.map(|id: i64| id.max(greatest_id(&schema)));
        for added in &self.added {
            let mut field = added.field.clone();
            if let Some(last_id) = &mut last_id {
                number_field(&mut field, last_id);
            }
            let fields = within_mut(&mut schema, &added.path)
                .and_then(|within| within.get_mut("fields"))
                .and_then(Value::as_array_mut)
                .ok_or_else(|| {
                    delta_kernel::Error::generic(format!("no struct at {}", added.path.join(".")))
                })?;
            fields.push(field);
        }
        if let Some(last_id) = last_id {
            metadata["configuration"][MAX_ID] = last_id.to_string().into();
        }
        metadata["schemaString"] = schema.to_string().into();
        Ok(())
    }
}

/// The position of the field `name`, in any case, of a struct in Delta's JSON form.
fn position(within: &Value, name: &str) -> Option<usize> {
    let same =
        |field: &Value| field["name"].as_str().is_some_and(|n| n.to_lowercase() == name.to_lowercase());
    within["fields"].as_array()?.iter().position(same)
}

/// The key under which a type has what is inside an array or a map.
fn inside_key(data_type: &Value, place: &str) -> Option<&'static str> {
    match (data_type["type"].as_str()?, place) {
        ("array", "element") => Some("elementType"),
        ("map", "key") => Some("keyType"),
        ("map", "value") => Some("valueType"),
        _ => None,
    }
}

/// The struct that a path leads to.
fn within<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |at, name| match inside_key(at, name) {
        Some(key) => at.get(key),
        None => at["fields"].get(position(at, name)?)?.get("type"),
    })
}

fn within_mut<'a>(schema: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(schema, |at, name| match inside_key(at, name) {
        Some(key) => at.get_mut(key),
        None => {
            let position = position(at, name)?;
            at.get_mut("fields")?.get_mut(position)?.get_mut("type")
        }
    })
}

/// The greatest id in a schema; 0 if there is none.
fn greatest_id(value: &Value) -> i64 {
    match value {
        Value::Array(items) => items.iter().map(greatest_id).max().unwrap_or(0),
        Value::Object(object) => {
            let own = object.get(ID).and_then(Value::as_i64).unwrap_or(0);
            object.values().map(greatest_id).max().unwrap_or(0).max(own)
        }
        _ => 0,
    }
}

/// Gives a field and all inside it their ids and physical names.
fn number_field(field: &mut Value, last_id: &mut i64) {
    *last_id += 1;
    let mut metadata = field["metadata"].as_object().cloned().unwrap_or_else(Map::new);
    metadata.insert(ID.into(), (*last_id).into());
    metadata.insert(PHYSICAL_NAME.into(), format!("col-{}", Uuid::new_v4()).into());
    field["metadata"] = Value::Object(metadata);
    number_inside(&mut field["type"], last_id);
}

fn number_inside(data_type: &mut Value, last_id: &mut i64) {
    if let Some(fields) = data_type.get_mut("fields").and_then(Value::as_array_mut) {
        fields.iter_mut().for_each(|field| number_field(field, last_id));
    }
    for key in ["elementType", "keyType", "valueType"] {
        if let Some(inside) = data_type.get_mut(key) {
            number_inside(inside, last_id);
        }
    }
}
