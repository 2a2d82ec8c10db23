//! Spark's JSON form of types (`DataType.json`, `DataType.fromJson`): what Delta logs hold and what
//! `from_json` takes beside DDL.

use serde_json::{Map, Value, json};

use super::collation;
use crate::decode::schema::{COMMENT_KEY, DataType, DayTimeUnit, StructField, StructType, YearMonthUnit};
use crate::model::error::{Error, Result};

/// Where a field's metadata says which of its strings have a collation, by path.
const COLLATIONS_KEY: &str = "__COLLATIONS";

impl StructType {
    /// Spark's JSON form.
    pub fn to_json(&self) -> Value {
        json!({ "type": "struct", "fields": self.fields.iter().map(field_to_json).collect::<Vec<_>>() })
    }

    /// Reads Spark's JSON form of a struct.
    ///
    /// # Errors
    /// `Config` if the text is not of that form or no struct.
    pub fn from_json(text: &str) -> Result<StructType> {
        match DataType::from_json(text)? {
            DataType::Struct(fields) => Ok(fields),
            other => Err(wrong(format!("schema is {} and no struct", other.to_ddl()))),
        }
    }
}

impl DataType {
    /// Spark's JSON form. The collation of a string is told by the field that holds it.
    pub fn to_json(&self) -> Value {
        match self {
            DataType::Struct(fields) => fields.to_json(),
            DataType::Array { element, contains_null } => {
                json!({ "type": "array", "elementType": element.to_json(), "containsNull": contains_null })
            }
            DataType::Map { key, value, value_contains_null } => json!({
                "type": "map",
                "keyType": key.to_json(),
                "valueType": value.to_json(),
                "valueContainsNull": value_contains_null,
            }),
            simple => Value::String(simple_name(simple)),
        }
    }

    /// Reads Spark's JSON form.
    ///
    /// # Errors
    /// `Config` if the text is not of that form.
    pub fn from_json(text: &str) -> Result<DataType> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| wrong(format!("schema is not JSON: {e}")))?;
        type_from_json(&value, "", &Map::new())
    }
}

fn wrong(fact: String) -> Error {
    Error::config(fact).hint(r#"Spark's form is {"type":"struct","fields":[{"name":"a","type":"integer","nullable":true,"metadata":{}}]}"#)
}

fn simple_name(data_type: &DataType) -> String {
    let interval = |start: &str, end: &str| {
        if start == end { format!("interval {start}") } else { format!("interval {start} to {end}") }
    };
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Byte => "byte".into(),
        DataType::Short => "short".into(),
        DataType::Integer => "integer".into(),
        DataType::Long => "long".into(),
        DataType::DayTimeInterval { start, end } => interval(start.name(), end.name()),
        DataType::YearMonthInterval { start, end } => interval(start.name(), end.name()),
        DataType::CollatedString(_) => "string".into(),
        other => other.to_ddl().to_ascii_lowercase(),
    }
}

fn field_to_json(field: &StructField) -> Value {
    let mut metadata = Map::new();
    if let Some(comment) = &field.comment {
        metadata.insert(COMMENT_KEY.into(), comment.as_str().into());
    }
    metadata.extend(field.metadata.clone());
    let mut collations = Map::new();
    collect_collations(&field.data_type, &field.name, &mut collations);
    if !collations.is_empty() {
        metadata.insert(COLLATIONS_KEY.into(), Value::Object(collations));
    }
    json!({
        "name": field.name,
        "type": field.data_type.to_json(),
        "nullable": field.nullable,
        "metadata": metadata,
    })
}

/// The collations inside one field; fields of a struct tell their own.
fn collect_collations(data_type: &DataType, path: &str, found: &mut Map<String, Value>) {
    match data_type {
        DataType::CollatedString(name) => {
            found.insert(path.into(), collation::with_provider(name).into());
        }
        DataType::Array { element, .. } => collect_collations(element, &format!("{path}.element"), found),
        DataType::Map { key, value, .. } => {
            collect_collations(key, &format!("{path}.key"), found);
            collect_collations(value, &format!("{path}.value"), found);
        }
        _ => {}
    }
}

fn type_from_json(value: &Value, path: &str, collations: &Map<String, Value>) -> Result<DataType> {
    match value {
        Value::String(name) if name == "string" => string_type(path, collations),
        Value::String(name) => simple_type(name).ok_or_else(|| wrong(format!("unknown type {name:?}"))),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("struct") => {
                let fields = object.get("fields").and_then(Value::as_array);
                let fields = fields.ok_or_else(|| wrong("struct without fields".into()))?;
                let fields = fields.iter().map(field_from_json).collect::<Result<_>>()?;
                Ok(DataType::Struct(StructType { fields }))
            }
            Some("array") => Ok(DataType::Array {
                element: Box::new(inner(object, "elementType", &format!("{path}.element"), collations)?),
                contains_null: flag(object, "containsNull")?,
            }),
            Some("map") => Ok(DataType::Map {
                key: Box::new(inner(object, "keyType", &format!("{path}.key"), collations)?),
                value: Box::new(inner(object, "valueType", &format!("{path}.value"), collations)?),
                value_contains_null: flag(object, "valueContainsNull")?,
            }),
            Some(other) => Err(wrong(format!("unknown type {other:?}"))),
            None => Err(wrong("type without a name".into())),
        },
        _ => Err(wrong("type that is neither a string nor an object".into())),
    }
}

fn string_type(path: &str, collations: &Map<String, Value>) -> Result<DataType> {
    let Some(name) = collations.get(path).and_then(Value::as_str) else {
        return Ok(DataType::String);
    };
    let bare = name.split_once('.').map_or(name, |(_, bare)| bare);
    match collation::canonical(bare) {
        Some(name) if name == collation::BINARY => Ok(DataType::String),
        Some(name) => Ok(DataType::CollatedString(name)),
        None => Err(wrong(format!("unknown collation {name:?}"))),
    }
}

fn inner(
    object: &Map<String, Value>,
    key: &str,
    path: &str,
    collations: &Map<String, Value>,
) -> Result<DataType> {
    let value = object.get(key).ok_or_else(|| wrong(format!("type without {key}")))?;
    type_from_json(value, path, collations)
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<bool> {
    let value = object.get(key).and_then(Value::as_bool);
    value.ok_or_else(|| wrong(format!("type without {key}")))
}

fn field_from_json(value: &Value) -> Result<StructField> {
    let object = value.as_object().ok_or_else(|| wrong("field that is not an object".into()))?;
    let name =
        object.get("name").and_then(Value::as_str).ok_or_else(|| wrong("field without a name".into()))?;
    let mut metadata = object.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let collations = match metadata.remove(COLLATIONS_KEY) {
        Some(Value::Object(collations)) => collations,
        _ => Map::new(),
    };
    let comment = match metadata.remove(COMMENT_KEY) {
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            metadata.insert(COMMENT_KEY.into(), other);
            None
        }
        None => None,
    };
    let data_type = inner(object, "type", name, &collations)?;
    let nullable = object.get("nullable").map_or(Some(true), Value::as_bool);
    let nullable =
        nullable.ok_or_else(|| wrong(format!("field {name:?} has a nullable that is not a boolean")))?;
    Ok(StructField { name: name.into(), data_type, nullable, comment, metadata })
}

/// A type by its JSON name (`DataType.nameToType`).
fn simple_type(name: &str) -> Option<DataType> {
    let numbers = |prefix: &str| -> Option<Vec<u32>> {
        let inside = name.strip_prefix(prefix)?.strip_prefix('(')?.strip_suffix(')')?;
        inside.split(',').map(|part| part.trim().parse().ok()).collect()
    };
    if let Some([precision, scale]) = numbers("decimal").as_deref() {
        let (precision, scale) = (u8::try_from(*precision).ok()?, u8::try_from(*scale).ok()?);
        return (precision <= 38 && scale <= precision).then_some(DataType::Decimal { precision, scale });
    }
    if let Some([size]) = numbers("varchar").as_deref() {
        return Some(DataType::Varchar(*size));
    }
    if let Some([size]) = numbers("char").as_deref() {
        return Some(DataType::Char(*size));
    }
    if let Some(units) = name.strip_prefix("interval ") {
        return interval_type(units);
    }
    Some(match name {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Byte,
        "short" => DataType::Short,
        "integer" => DataType::Integer,
        "long" => DataType::Long,
        "float" => DataType::Float,
        "double" => DataType::Double,
        "decimal" => DataType::Decimal { precision: 10, scale: 0 },
        "binary" => DataType::Binary,
        "date" => DataType::Date,
        "timestamp" | "timestamp_ltz" => DataType::Timestamp,
        "timestamp_ntz" => DataType::TimestampNtz,
        "void" | "null" => DataType::Void,
        "interval" => DataType::CalendarInterval,
        "variant" => DataType::Variant,
        _ => return None,
    })
}

fn interval_type(units: &str) -> Option<DataType> {
    let (start, end) = units.split_once(" to ").unwrap_or((units, units));
    let years = [YearMonthUnit::Year, YearMonthUnit::Month];
    let days = [DayTimeUnit::Day, DayTimeUnit::Hour, DayTimeUnit::Minute, DayTimeUnit::Second];
    let year = |name: &str| years.into_iter().find(|unit| unit.name() == name);
    let day = |name: &str| days.into_iter().find(|unit| unit.name() == name);
    match (year(start), year(end), day(start), day(end)) {
        (Some(start), Some(end), ..) if start <= end => Some(DataType::YearMonthInterval { start, end }),
        (_, _, Some(start), Some(end)) if start <= end => Some(DataType::DayTimeInterval { start, end }),
        _ => None,
    }
}
