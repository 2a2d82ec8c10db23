//! Fields inside columns (of structs, arrays and maps) in the schema that a commit writes, which the kernel does not add.

use arrow::datatypes::Field;
use delta_kernel::DeltaResult;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::schema::StructField;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::{Error, MissingField, Result};

/// The metadata of a field under column mapping.
const ID: &str = "delta.columnMapping.id";

const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

/// The table property with the greatest id that was given out.
const MAX_ID: &str = "delta.columnMapping.maxColumnId";

/// A field in the kernel's form, nullable.
pub(super) fn kernel_field(field: &Field) -> Result<StructField> {
    StructField::try_from_arrow(&field.clone().with_nullable(true))
        .map_err(|e| Error::config(format!("column {} cannot be added", field.name())).source(e))
}

/// Fields to be added inside columns of the schema that a commit writes.
#[derive(Default)]
pub(super) struct InnerFields {
    pub(super) added: Vec<InnerField>,
    /// A column and whether it was nullable before the kernel changed that.
    pub(super) restored: Option<(String, bool)>,
}

pub(super) struct InnerField {
    path: Vec<String>,
    /// In Delta's JSON form.
    field: Value,
}

impl InnerField {
    pub(super) fn of(missing: &MissingField) -> Result<InnerField> {
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
pub(super) fn position(within: &Value, name: &str) -> Option<usize> {
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
pub(super) fn within<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
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
