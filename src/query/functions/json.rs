//! JSON in texts: `from_json` through the stream's own decoder, `to_json`, and paths.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, ListBuilder, MapArray, StringArray, StringBuilder, StructArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, TimestampMicrosecondType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use serde_json::Value;

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};
use super::time::MomentWriters;
use crate::decode::json::{
    JsonDecoder, JsonOptions, JsonPath, OnMalformed, Outcome, ParseMode, Policy, write_double, write_float,
    write_json_text,
};
use crate::decode::schema::{DataType as SparkType, StructField, StructType};
use crate::query::arithmetic::decimal::plain_text;
use crate::query::cast::to_text::write_value;
use crate::query::cast::{Mode, Way};
use crate::query::coerce::types::{Want, castable, instant, list_of, mismatch, name_of, refused};
use crate::query::conf::Conf;
use crate::query::error::ExpressionError;

/// Functions of JSON.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "get_json_object",
        takes!([Text, Text] => DataType::Utf8),
        get_json_object,
        ["stateless/get_json_object_paths", "expressions/json"]
    ),
    entry!(
        "from_json",
        Types::By(bind_from),
        from_json,
        [
            "stateless/from_json_columns",
            "stateless/from_json_arrays_and_maps",
            "stateless/from_json_corrupt_record",
            "expressions/json"
        ]
    ),
    entry!("to_json", Types::By(bind_to), to_json, ["stateless/to_json_values", "expressions/json"]),
    entry!("schema_of_json", Types::By(bind_schema), schema_of_json, ["expressions/json"]),
    entry!(
        "json_array_length",
        takes!([Text] => DataType::Int32),
        |call| each::<Int32Array, _>(call, |row| array_length(call.texts(0).value(row))),
        ["expressions/json"]
    ),
    entry!("json_object_keys", takes!([Text] => list_of(DataType::Utf8)), object_keys, ["expressions/json"]),
];

fn get_json_object(call: &Call) -> Result<ArrayRef> {
    let mut known: Option<(&str, Option<JsonPath>)> = None;
    let mut texts = StringBuilder::new();
    for row in 0..call.rows {
        if !call.all_valid(row) {
            texts.append_null();
            continue;
        }
        let path = call.texts(1).value(row);
        if known.as_ref().is_none_or(|(before, _)| *before != path) {
            known = Some((path, JsonPath::parse(path)));
        }
        let found = known.as_ref().and_then(|(_, path)| path.as_ref()?.find(call.texts(0).value(row)));
        texts.append_option(found);
    }
    Ok(Arc::new(texts.finish()))
}

/// The entries of a literal MAP of texts.
pub(super) fn options_of(bind: &Bind, at: usize) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    let Some(value) = bind.literals.get(at) else { return Ok(options) };
    let Some(ScalarValue::Map(map)) = value else {
        return match bind.types.get(at) {
            Some(_) if bind.strict => Err(refused(
                "INVALID_OPTIONS.NON_MAP_FUNCTION",
                format!("{}: the options are a literal map", bind.name),
            )),
            _ => Ok(options),
        };
    };
    if let (Some(keys), Some(values)) =
        (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>())
    {
        for (key, value) in keys.iter().zip(values) {
            options.insert(key.unwrap_or_default().to_owned(), value.unwrap_or_default().to_owned());
        }
    }
    Ok(options)
}

/// The schema of argument 1: columns, or one type.
pub(super) fn schema_of(bind: &Bind) -> Result<SparkType> {
    let Some(text) = bind.text(1) else {
        return Err(refused(
            "INVALID_SCHEMA.NON_STRING_LITERAL",
            format!("{}: the schema is a literal text", bind.name),
        ));
    };
    let parsed = SparkType::from_ddl(text).or_else(|_| StructType::from_ddl(text).map(SparkType::Struct));
    parsed.map_err(|error| refused("INVALID_SCHEMA.PARSE_ERROR", error.message().to_owned()))
}

fn refusal(error: &crate::model::Error) -> DataFusionError {
    refused("DATATYPE_MISMATCH.INVALID_JSON_SCHEMA", error.message().to_owned())
}

/// The Arrow type of a type of Spark.
pub(crate) fn arrow_of(kind: &SparkType) -> Result<DataType> {
    let one = StructType { fields: vec![StructField::new("value", kind.clone(), true)] };
    let schema = one.to_arrow().map_err(|error| refused("DATATYPE_MISMATCH", error.message().to_owned()))?;
    Ok(schema.field(0).data_type().clone())
}

fn bind_from(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    let text = castable(bind, &bind.types[0], Want::Text)?;
    if !bind.strict && bind.text(1).is_none() {
        return Ok(Bound::new(bind.types.to_vec(), DataType::Null));
    }
    let schema = schema_of(bind)?.to_nullable();
    // Reads the options here, so that a wrong one is refused before the first row.
    decoder(&schema, bind.conf, options_of(bind, 2)?)?;
    let mut args = vec![text, DataType::Utf8];
    args.extend(bind.types.get(2).cloned());
    Ok(Bound::new(args, arrow_of(&schema)?))
}

fn decoder(
    schema: &SparkType,
    conf: &Conf,
    options: BTreeMap<String, String>,
) -> Result<(JsonDecoder, JsonOptions)> {
    let has_zone = options.keys().any(|key| key.eq_ignore_ascii_case("timeZone"));
    let (mut options, _) = JsonOptions::from_map(&options).map_err(|error| refusal(&error))?;
    if !has_zone {
        options.time_zone.clone_from(&conf.zone_id);
    }
    if options.mode == ParseMode::DropMalformed {
        return Err(refused("PARSE_MODE_UNSUPPORTED", "from_json takes the modes PERMISSIVE and FAILFAST"));
    }
    let policy = Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false };
    let decoder = JsonDecoder::for_root(schema, &options, policy).map_err(|error| refusal(&error))?;
    Ok((decoder, options))
}

/// The options of a call at run time, those of its first row: argument `at`.
pub(super) fn options_at_run(call: &Call, at: usize) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if call.has(at) && call.rows > 0 {
        let map = call.args[at].as_map();
        if map.is_valid(0) {
            let entries = map.value(0);
            if let (Some(keys), Some(values)) =
                (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
            {
                for (key, value) in keys.iter().zip(values) {
                    options.insert(key.unwrap_or_default().to_owned(), value.unwrap_or_default().to_owned());
                }
            }
        }
    }
    options
}

fn from_json(call: &Call) -> Result<ArrayRef> {
    if call.rows == 0 {
        return Ok(arrow::array::new_empty_array(call.returns));
    }
    let text = call.texts(1).value(0);
    let schema = SparkType::from_ddl(text).or_else(|_| StructType::from_ddl(text).map(SparkType::Struct));
    let schema = schema.map_err(|error| refused("INVALID_SCHEMA.PARSE_ERROR", error.message().to_owned()))?;
    let (mut decoder, options) = decoder(&schema.to_nullable(), call.conf, options_at_run(call, 2))?;
    match call.conf.clock.started() {
        Some(now) => decoder.set_now(now),
        // A constant is not folded then, so that each batch asks its own clock.
        None if has_instant(call.returns) => {
            return exec_err!("a time without a date has no day before there is a batch");
        }
        None => {}
    }
    let texts = call.texts(0);
    for row in 0..call.rows {
        let value = texts.is_valid(row).then(|| texts.value(row).as_bytes());
        if let Outcome::Rejected(_) | Outcome::Full = decoder.push(value) {
            let class = if options.mode == ParseMode::FailFast {
                "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION"
            } else {
                "MALFORMED_RECORD_IN_PARSING"
            };
            return Err(ExpressionError::raise(class, "the text is malformed"));
        }
    }
    decoder.finish_array().map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Whether a type has a TIMESTAMP in it.
pub(super) fn has_instant(kind: &DataType) -> bool {
    match kind {
        DataType::List(inner) | DataType::Map(inner, _) => has_instant(inner.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_instant(field.data_type())),
        kind => *kind == instant(),
    }
}

fn bind_to(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    match &bind.types[0] {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => {}
        other => {
            return Err(refused(
                "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA",
                format!("to_json takes a STRUCT, an ARRAY or a MAP, not {}", name_of(other)),
            ));
        }
    }
    for name in options_of(bind, 1)?.keys() {
        let known = ["ignoreNullFields", "timestampFormat", "timestampNTZFormat", "dateFormat", "timeZone"];
        if !known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(mismatch(bind, format!("the option {name} is not known")));
        }
    }
    Ok(Bound::new(bind.types.to_vec(), DataType::Utf8))
}

/// How values are written.
struct Shape {
    skip_nulls: bool,
    moments: MomentWriters,
}

impl Shape {
    fn of(call: &Call) -> Result<Shape> {
        let options = options_at_run(call, 1);
        let options = options.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let moments = MomentWriters::new(&options, &call.conf.zone_id)?;
        Ok(Shape {
            skip_nulls: options.get("ignorenullfields").is_none_or(|value| value != "false"),
            moments,
        })
    }
}

fn to_json(call: &Call) -> Result<ArrayRef> {
    let shape = Shape::of(call)?;
    let mut texts = StringBuilder::new();
    let mut text = String::new();
    for row in 0..call.rows {
        if call.args[0].is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        write(&call.args[0], row, &shape, &mut text)?;
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

/// Writes one value (`JacksonGenerator`); null as `null`.
fn write(array: &dyn Array, row: usize, shape: &Shape, out: &mut String) -> Result<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => write_json_text(array.as_string::<i32>().value(row), out),
        DataType::Float32 => {
            number(out, |bytes| write_float(array.as_primitive::<Float32Type>().value(row), bytes))
        }
        DataType::Float64 => {
            number(out, |bytes| write_double(array.as_primitive::<Float64Type>().value(row), bytes))
        }
        DataType::Decimal128(_, scale) => {
            plain_text(array.as_primitive::<Decimal128Type>().value(row), *scale, out)
        }
        DataType::Binary => write_json_text(&STANDARD.encode(array.as_binary::<i32>().value(row)), out),
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value(row);
            let mut text = String::new();
            shape.moments.write_date(day, &mut text)?;
            write_json_text(&text, out);
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let mut text = String::new();
            shape.moments.write_timestamp(micros, zone.is_some(), &mut text)?;
            write_json_text(&text, out);
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            out.push('[');
            for at in 0..values.len() {
                if at > 0 {
                    out.push(',');
                }
                write(&values, at, shape, out)?;
            }
            out.push(']');
        }
        DataType::Map(..) => write_map(array.as_map(), row, shape, out)?,
        DataType::Struct(_) => write_struct(array.as_struct(), row, shape, out)?,
        _ => {
            let conf = Conf::default();
            write_value(array, row, Way { mode: Mode::Ansi, conf: &conf }, out)?;
        }
    }
    Ok(())
}

/// Keys are texts; null values stay.
fn write_map(map: &MapArray, row: usize, shape: &Shape, out: &mut String) -> Result<()> {
    let entries = map.value(row);
    let conf = Conf::default();
    let way = Way { mode: Mode::Ansi, conf: &conf };
    out.push('{');
    for at in 0..entries.len() {
        if at > 0 {
            out.push(',');
        }
        let mut key = String::new();
        write_value(entries.column(0), at, way, &mut key)?;
        write_json_text(&key, out);
        out.push(':');
        write(entries.column(1), at, shape, out)?;
    }
    out.push('}');
    Ok(())
}

/// Fields that are null are left out, unless they shall stay.
fn write_struct(record: &StructArray, row: usize, shape: &Shape, out: &mut String) -> Result<()> {
    out.push('{');
    let mut first = true;
    for (field, column) in record.fields().iter().zip(record.columns()) {
        // A column of type VOID has no bits that say where it is null.
        let is_null = column.is_null(row) || *column.data_type() == DataType::Null;
        if is_null && shape.skip_nulls {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_json_text(field.name(), out);
        out.push(':');
        write(column, row, shape, out)?;
    }
    out.push('}');
    Ok(())
}

/// A number, in quotes if it is not finite.
fn number(out: &mut String, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::with_capacity(24);
    write(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let finite = text.ends_with(|c: char| c.is_ascii_digit());
    let written = if finite { write!(out, "{text}") } else { write!(out, "\"{text}\"") };
    written.expect("a String takes everything");
}

fn bind_schema(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    if bind.strict && bind.text(0).is_none() {
        return Err(mismatch(bind, "the JSON text is a literal"));
    }
    Ok(Bound::new([DataType::Utf8], DataType::Utf8))
}

fn schema_of_json(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let value: Value = serde_json::from_str(call.texts(0).value(row)).map_err(|_| {
            ExpressionError::raise(
                "MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION",
                "the text is not valid JSON",
            )
        })?;
        Ok(Some(inferred(&value).to_ddl()))
    })
}

/// The type that Spark infers for a JSON value.
fn inferred(value: &Value) -> SparkType {
    match value {
        Value::Null | Value::String(_) => SparkType::String,
        Value::Bool(_) => SparkType::Boolean,
        Value::Number(number) if number.is_i64() => SparkType::Long,
        Value::Number(number) if number.is_f64() => SparkType::Double,
        Value::Number(_) => SparkType::Decimal { precision: 20, scale: 0 },
        Value::Array(items) => {
            let mut kinds = items.iter().map(inferred);
            let first = kinds.next().unwrap_or(SparkType::String);
            let element = kinds.fold(first, |a, b| match (a, b) {
                (a, b) if a == b => a,
                (SparkType::Long | SparkType::Double, SparkType::Long | SparkType::Double) => {
                    SparkType::Double
                }
                _ => SparkType::String,
            });
            SparkType::Array { element: Box::new(element), contains_null: true }
        }
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let fields = names.into_iter().map(|name| StructField::new(name, inferred(&fields[name]), true));
            SparkType::Struct(StructType { fields: fields.collect() })
        }
    }
}

fn array_length(text: &str) -> Option<i32> {
    match serde_json::from_str(text).ok()? {
        Value::Array(items) => i32::try_from(items.len()).ok(),
        _ => None,
    }
}

fn object_keys(call: &Call) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("element", DataType::Utf8, true));
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in 0..call.rows {
        let value = call.text(0, row).and_then(|text| serde_json::from_str::<Value>(text).ok());
        match value {
            Some(Value::Object(fields)) => {
                fields.keys().for_each(|key| lists.values().append_value(key));
                lists.append(true);
            }
            _ => lists.append_null(),
        }
    }
    Ok(Arc::new(lists.finish()))
}
