//! Comparing a value in the oracle's JSON form with one in an Arrow array.

use std::collections::BTreeMap;

use alluvia::decode::schema::{DataType, StructType};
use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, ListArray, MapArray, StringArray, StructArray,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Whether a type, or one within it, is one that a Delta table cannot hold.
pub fn is_beyond_delta(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.fields.iter().any(|field| is_beyond_delta(&field.data_type)),
        DataType::Array { element, .. } => is_beyond_delta(element),
        DataType::Map { key, value, .. } => is_beyond_delta(key) || is_beyond_delta(value),
        DataType::Void
        | DataType::Variant
        | DataType::CalendarInterval
        | DataType::DayTimeInterval { .. }
        | DataType::YearMonthInterval { .. }
        | DataType::CollatedString(_)
        | DataType::Decimal { precision: 0, .. } => true,
        _ => false,
    }
}

/// One case on schema texts.
#[derive(Deserialize)]
struct DdlCase {
    name: String,
    ddl: String,
    expected: BTreeMap<String, DdlAnswer>,
}

/// Spark's JSON form of a type, or an error.
#[derive(Deserialize)]
struct DdlAnswer {
    schema: Option<Value>,
}

/// Runs a case on schema texts: its name, and the readings that differ from Spark's.
pub fn ddl_differences(line: &str) -> (String, Vec<String>) {
    let case: DdlCase = serde_json::from_str(line).expect("cases have the form of the README");
    let differs = |(reading, answer): (&String, &DdlAnswer)| {
        let ours = match reading.as_str() {
            "table_schema" => StructType::from_ddl(&case.ddl).map(|schema| schema.to_json()),
            "data_type" => DataType::from_ddl(&case.ddl).map(|schema| schema.to_json()),
            _ => DataType::of_from_json(&case.ddl).map(|schema| schema.to_json()),
        };
        match (ours, &answer.schema) {
            (Ok(ours), Some(sparks)) if ours == *sparks => None,
            (Err(_), None) => None,
            (Ok(ours), _) => Some(format!("{reading}: found {ours}")),
            (Err(error), _) => Some(format!("{reading}: found the error {error}")),
        }
    };
    let differences = case.expected.iter().filter_map(differs).collect();
    (case.name, differences)
}

/// What is different between `expected` and row `row` of `array`, if anything.
pub fn difference(expected: &str, data_type: &DataType, array: &dyn Array, row: usize) -> Option<String> {
    let differs = |found: String| Some(format!("expected {expected}, found {found}"));
    if array.is_null(row) || expected == "null" {
        let same = array.is_null(row) && expected == "null";
        return if same { None } else { differs(if array.is_null(row) { "null" } else { "a value" }.into()) };
    }
    let text = || serde_json::from_str::<String>(expected).unwrap_or_else(|_| expected.to_owned());
    let found = match data_type {
        DataType::Struct(fields) => return struct_difference(expected, fields, array.as_struct(), row),
        DataType::Array { element, .. } => return list_difference(expected, element, array.as_list(), row),
        DataType::Map { value, .. } => return map_difference(expected, value, array.as_map(), row),
        DataType::Float => {
            let found = array.as_primitive::<Float32Type>().value(row);
            let same = double(expected).is_some_and(|double| same_float(double as f32, found));
            return if same { None } else { differs(found.to_string()) };
        }
        DataType::Double => {
            let found = array.as_primitive::<Float64Type>().value(row);
            let same = double(expected).is_some_and(|double| same_double(double, found));
            return if same { None } else { differs(found.to_string()) };
        }
        DataType::Boolean => return compare(expected, booleans(array).value(row).to_string()),
        DataType::Byte => return compare(expected, array.as_primitive::<Int8Type>().value(row).to_string()),
        DataType::Short => {
            return compare(expected, array.as_primitive::<Int16Type>().value(row).to_string());
        }
        DataType::Integer => {
            return compare(expected, array.as_primitive::<Int32Type>().value(row).to_string());
        }
        DataType::Long => return compare(expected, array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Decimal { .. } => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::String => strings(array).value(row).to_owned(),
        DataType::Binary => base64::engine::general_purpose::STANDARD.encode(binaries(array).value(row)),
        DataType::Date => date(i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp => timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)) + "Z",
        DataType::TimestampNtz => timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        other => return Some(format!("nothing is expected of type {other:?}")),
    };
    compare(&text(), found)
}

fn compare(expected: &str, found: String) -> Option<String> {
    (expected != found).then(|| format!("expected {expected:.300}, found {found:.300}"))
}

fn booleans(array: &dyn Array) -> &BooleanArray {
    array.as_boolean()
}

fn strings(array: &dyn Array) -> &StringArray {
    array.as_string()
}

fn binaries(array: &dyn Array) -> &BinaryArray {
    array.as_binary()
}

fn struct_difference(expected: &str, fields: &StructType, array: &StructArray, row: usize) -> Option<String> {
    let values: BTreeMap<String, &RawValue> = serde_json::from_str(expected).ok()?;
    let twice: Option<Vec<(String, &RawValue)>> =
        values.get("duplicate_field_names").and_then(|pairs| serde_json::from_str(pairs.get()).ok());
    fields.fields.iter().enumerate().find_map(|(index, field)| {
        let value = match &twice {
            Some(pairs) => pairs.get(index).map(|(_, value)| *value),
            None => values.get(&field.name).copied(),
        };
        let Some(value) = value else { return Some(format!("{} is not expected", field.name)) };
        difference(value.get(), &field.data_type, array.column(index).as_ref(), row)
            .map(|what| format!("{}: {what}", field.name))
    })
}

fn list_difference(expected: &str, element: &DataType, array: &ListArray, row: usize) -> Option<String> {
    let values: Vec<&RawValue> = serde_json::from_str(expected).ok()?;
    let found = array.value(row);
    if values.len() != found.len() {
        return Some(format!("expected {} elements, found {}", values.len(), found.len()));
    }
    values.iter().enumerate().find_map(|(n, value)| difference(value.get(), element, found.as_ref(), n))
}

fn map_difference(expected: &str, value: &DataType, array: &MapArray, row: usize) -> Option<String> {
    let entries: Vec<(String, &RawValue)> = serde_json::from_str(expected).ok()?;
    let found = array.value(row);
    if entries.len() != found.len() {
        return Some(format!("expected {} entries, found {}", entries.len(), found.len()));
    }
    entries.iter().enumerate().find_map(|(n, (key, expected))| {
        compare(key, strings(found.column(0).as_ref()).value(n).to_owned())
            .or_else(|| difference(expected.get(), value, found.column(1).as_ref(), n))
    })
}

fn double(expected: &str) -> Option<f64> {
    match expected {
        "\"NaN\"" => Some(f64::NAN),
        "\"Infinity\"" => Some(f64::INFINITY),
        "\"-Infinity\"" => Some(f64::NEG_INFINITY),
        number => number.parse().ok(),
    }
}

fn same_double(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn same_float(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// `YYYY-MM-DD` in the proleptic Gregorian calendar, with a sign outside of 0 to 9999.
pub fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year:04}"),
        _ => format!("-{:04}", -year),
    };
    format!("{year}-{month:02}-{day:02}")
}

pub fn timestamp(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let seconds = rest / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:06}", date(days), rest % 1_000_000)
}
