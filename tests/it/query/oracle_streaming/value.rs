//! Rows of Arrow in the oracle's JSON form, and Spark's short names of types.

use alluvia::decode::schema::{DataType, StructType};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, DurationMicrosecondType, DurationSecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::decoding::oracle_json::value::{date, timestamp};

/// A type as Spark's `simpleString` has it.
pub fn simple(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(fields) => {
            let inner: Vec<String> =
                fields.fields.iter().map(|f| format!("{}:{}", f.name, simple(&f.data_type))).collect();
            format!("struct<{}>", inner.join(","))
        }
        DataType::Array { element, .. } => format!("array<{}>", simple(element)),
        DataType::Map { key, value, .. } => format!("map<{},{}>", simple(key), simple(value)),
        DataType::Byte => "tinyint".into(),
        DataType::Short => "smallint".into(),
        DataType::Integer => "int".into(),
        DataType::Long => "bigint".into(),
        DataType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        DataType::TimestampNtz => "timestamp_ntz".into(),
        DataType::DayTimeInterval { .. } => "interval day".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The columns as `expected.schema` has them.
pub fn simple_schema(schema: &StructType) -> String {
    let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let column = |name: &str| if plain(name) { name.to_owned() } else { format!("`{name}`") };
    let columns: Vec<String> =
        schema.fields.iter().map(|f| format!("{} {}", column(&f.name), simple(&f.data_type))).collect();
    columns.join(", ")
}

/// A row as an object.
pub fn row(schema: &StructType, columns: &[arrow::array::ArrayRef], row: usize) -> Value {
    let fields = schema.fields.iter().zip(columns);
    let values = fields.map(|(field, column)| (field.name.clone(), value(&field.data_type, column, row)));
    Value::Object(values.collect::<Map<_, _>>())
}

fn double(value: f64, shortest: &str) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        serde_json::from_str::<Value>(shortest).ok().filter(Value::is_number).unwrap_or_else(|| json!(value))
    }
}

fn value(data_type: &DataType, array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) || *data_type == DataType::Void {
        return Value::Null;
    }
    match data_type {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Byte => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Short => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Integer => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Long => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float => {
            let value = array.as_primitive::<Float32Type>().value(row);
            double(f64::from(value), &format!("{value:?}"))
        }
        DataType::Double => {
            let value = array.as_primitive::<Float64Type>().value(row);
            double(value, &format!("{value:?}"))
        }
        DataType::Decimal { .. } => json!(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::String => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => {
            json!(base64::engine::general_purpose::STANDARD.encode(array.as_binary::<i32>().value(row)))
        }
        DataType::Date => json!(date(i64::from(array.as_primitive::<Date32Type>().value(row)))),
        DataType::Timestamp => {
            json!(timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)) + "Z")
        }
        DataType::TimestampNtz => {
            json!(timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        DataType::DayTimeInterval { .. } => {
            let micros = match array.as_primitive_opt::<DurationSecondType>() {
                Some(days) => days.value(row) * 1_000_000,
                None => array.as_primitive::<DurationMicrosecondType>().value(row),
            };
            json!(day_time(micros))
        }
        DataType::Struct(fields) => self::row(fields, array.as_struct().columns(), row),
        DataType::Array { element, .. } => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|n| value(element, &items, n)).collect())
        }
        DataType::Map { key, value: of, .. } => {
            let entries = array.as_map().value(row);
            let pair = |n| (value(key, entries.column(0), n), value(of, entries.column(1), n));
            let pairs: Vec<(Value, Value)> = (0..entries.len()).map(pair).collect();
            if **key == DataType::String {
                let named = |(key, of): (Value, Value)| (key.as_str().unwrap_or_default().to_owned(), of);
                let mut named: Vec<(String, Value)> = pairs.into_iter().map(named).collect();
                named.sort_by(|a, b| a.0.cmp(&b.0));
                return Value::Object(named.into_iter().collect());
            }
            Value::Array(pairs.into_iter().map(|(key, of)| json!([key, of])).collect())
        }
        other => json!(format!("no value of type {other:?} is expected")),
    }
}

/// Python's text of a timedelta of whole days, which is what the oracle kept.
fn day_time(micros: i64) -> String {
    let days = micros.div_euclid(86_400_000_000);
    let unit = if days.abs() == 1 { "day" } else { "days" };
    if days == 0 { "0:00:00".to_owned() } else { format!("{days} {unit}, 0:00:00") }
}

/// Whether two values are the same, doubles within `tolerance` of each other.
pub fn same(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            if x == y {
                return true;
            }
            match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) if tolerance > 0.0 => (x - y).abs() <= tolerance * x.abs().max(y.abs()),
                (Some(x), Some(y)) => x.to_bits() == y.to_bits(),
                _ => false,
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y, tolerance))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y, tolerance)))
        }
        _ => a == b,
    }
}
