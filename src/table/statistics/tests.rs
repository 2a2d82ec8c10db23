//! What is written of values at the edges: as Spark and Delta's kernel write it, and as every reader takes it.

use std::sync::Arc;

use arrow::array::{
    BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Fields, Int32Type};
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::schema::StructType;
use delta_kernel_engine::stats::FileStatsAccumulator;

use super::*;

fn batch(name: &str, values: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, values, true)]).unwrap()
}

/// The text of the statistics of rows that come in several batches.
fn text(batches: &[RecordBatch]) -> Value {
    let schema = batches[0].schema();
    let columns: Vec<ColumnName> =
        schema.fields().iter().map(|field| ColumnName::new([field.name().as_str()])).collect();
    let statistics = Statistics::new(&schema, &columns);
    let mut folded = statistics.start();
    batches.iter().for_each(|rows| statistics.fold(rows, &mut folded));
    serde_json::from_str(&statistics.to_json(&folded)).unwrap()
}

/// `minValues` and `maxValues` of column `v`, as they are written.
fn bounds(values: ArrayRef) -> (String, String) {
    let written = text(&[batch("v", values)]);
    let bound = |key: &str| written[key]["v"].to_string();
    (bound("minValues"), bound("maxValues"))
}

fn doubles(values: &[f64]) -> (String, String) {
    bounds(Arc::new(Float64Array::from(values.to_vec())))
}

fn of(low: &str, high: &str) -> (String, String) {
    (low.to_owned(), high.to_owned())
}

#[test]
fn infinity_nan_and_zero_are_written_as_readers_take_them() {
    let (infinity, nan) = (f64::INFINITY, f64::NAN);
    assert_eq!(doubles(&[1.0, infinity, -2.5]), of("-2.5", r#""Infinity""#));
    assert_eq!(doubles(&[-infinity, 2.0]), of(r#""-Infinity""#, "2.0"));
    assert_eq!(doubles(&[infinity]), of(r#""Infinity""#, r#""Infinity""#));
    assert_eq!(doubles(&[1.0, -nan]), of("1.0", r#""NaN""#), "NaN is above every number, whatever its sign");
    assert_eq!(doubles(&[nan, nan]), of(r#""NaN""#, r#""NaN""#));
    assert_eq!(doubles(&[0.0]), of("-0.0", "0.0"));
    assert_eq!(doubles(&[-0.0, 5e-324]), of("-0.0", "5e-324"));
    assert_eq!(doubles(&[f64::MIN, f64::MAX]), of("-1.7976931348623157e+308", "1.7976931348623157e+308"));
    let single: ArrayRef = Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY]));
    assert_eq!(bounds(single), of(r#""-Infinity""#, "0.1"));
}

#[test]
fn a_bound_that_readers_cannot_parse_leaves_the_file_without_bounds() {
    let days = |days: Vec<i32>| text(&[batch("v", Arc::new(Date32Array::from(days)))]);
    let plain = days(vec![-719_162, 2_932_896]);
    assert_eq!(
        (&plain["minValues"]["v"], &plain["maxValues"]["v"]),
        (&"0001-01-01".into(), &"9999-12-31".into())
    );
    let micros = |micros: Vec<i64>| text(&[batch("v", Arc::new(TimestampMicrosecondArray::from(micros)))]);
    let long = "\u{10FFFF}".repeat(65);
    let texts = text(&[batch("v", Arc::new(StringArray::from(vec![long.as_str()])))]);
    let without = [
        days(vec![0, 2_932_897]),
        days(vec![-719_163]),
        days(vec![i32::MIN, i32::MAX]),
        micros(vec![0, 253_402_300_800_000_000]),
        micros(vec![-62_135_596_800_000_001]),
        micros(vec![i64::MIN, i64::MAX]),
        texts,
    ];
    for written in without {
        let keys: Vec<&String> = written.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["numRecords", "nullCount", "tightBounds"], "{written}");
    }
}

#[test]
fn times_are_in_milliseconds_where_that_is_all_of_them() {
    let times = |utc: bool, values: Vec<i64>| {
        let times = TimestampMicrosecondArray::from(values);
        bounds(Arc::new(if utc { times.with_timezone("UTC") } else { times }))
    };
    let (low, high) = (1_700_000_000_123_000, 1_700_000_000_123_999);
    assert_eq!(
        times(true, vec![low, high]),
        of(r#""2023-11-14T22:13:20.123Z""#, r#""2023-11-14T22:13:20.123999Z""#)
    );
    assert_eq!(
        times(false, vec![-1, 253_402_300_799_999_999]),
        of(r#""1969-12-31T23:59:59.999999""#, r#""9999-12-31T23:59:59.999999""#)
    );
}

#[test]
fn whole_numbers_and_decimals_are_exact() {
    let decimal = |values: Vec<i128>, precision, scale| {
        let values = Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap();
        let rows = batch("v", Arc::new(values));
        let columns = [ColumnName::new(["v"])];
        let statistics = Statistics::new(&rows.schema(), &columns);
        let mut folded = statistics.start();
        statistics.fold(&rows, &mut folded);
        statistics.to_json(&folded)
    };
    assert!(decimal(vec![-110, 5], 10, 2).contains(r#""minValues":{"v":-1.10},"maxValues":{"v":0.05}"#));
    let most = 10_i128.pow(38) - 1;
    let text = decimal(vec![-most, most], 38, 38);
    assert!(text.contains(&format!(r#"{{"v":-0.{most}}},"maxValues":{{"v":0.{most}}}"#)), "{text}");
    assert_eq!(
        bounds(Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX]))),
        of("-9223372036854775808", "9223372036854775807")
    );
}

#[test]
fn nulls_are_counted_and_a_null_struct_has_null_fields() {
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(99), None]));
    let fields = Fields::from(vec![Field::new("inner", DataType::Int64, true)]);
    let outer: ArrayRef =
        Arc::new(StructArray::new(fields, vec![inner], Some(vec![true, false, true].into())));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, None]));
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![]),
    ]));
    let rows =
        RecordBatch::try_from_iter_with_nullable([("s", outer, true), ("b", flags, true), ("l", list, true)])
            .unwrap();
    let columns = [ColumnName::new(["s", "inner"]), ColumnName::new(["b"]), ColumnName::new(["l"])];
    let statistics = Statistics::new(&rows.schema(), &columns);
    let mut folded = statistics.start();
    statistics.fold(&rows, &mut folded);
    assert_eq!(
        statistics.to_json(&folded),
        r#"{"numRecords":3,"minValues":{"s":{"inner":1}},"maxValues":{"s":{"inner":1}},"nullCount":{"s":{"inner":2},"b":2,"l":1},"tightBounds":true}"#
    );
    let none = Statistics::new(&rows.schema(), &[]);
    assert_eq!(
        none.to_json(&none.start()),
        r#"{"numRecords":0,"minValues":{},"maxValues":{},"nullCount":{},"tightBounds":true}"#
    );
}

#[test]
fn bounds_of_texts_are_deltas_whatever_the_batches_are() {
    let long = |start: &str, with: &str| format!("{start}{}", with.repeat(2_000));
    let cases = [
        vec![long("", "a"), long("b", "z"), "short".into()],
        vec![long("ä", "ö"), long("", "\u{10FFFE}"), long("z", "x")],
        vec![long(&"a".repeat(40), "\u{10FFFF}"), long(&"a".repeat(40), "b")],
        vec![long(&"a".repeat(64), "x"), "a".repeat(64), "a".repeat(65), "a".repeat(33)],
        vec![long("", "\u{7F}"), long("", "~")],
        vec![format!("{}\u{10FFFF}b", "a".repeat(31)), "\0\"\\\n".into()],
    ];
    for case in cases {
        let whole = batch("v", Arc::new(StringArray::from(case.clone())));
        let kernel = StructType::try_from_arrow(whole.schema().as_ref()).unwrap();
        let mut expected = FileStatsAccumulator::new(&[ColumnName::new(["v"])], &kernel);
        expected.merge(&whole).unwrap();
        let expected = expected.finish().unwrap().unwrap();
        let bound = |key: &str| {
            let values = expected.column_by_name(key).unwrap().as_struct().column(0).as_string::<i32>();
            values.value(0).to_owned()
        };
        let mut batches: Vec<RecordBatch> =
            case.iter().map(|text| batch("v", Arc::new(StringArray::from(vec![text.as_str()])))).collect();
        batches.push(batch("v", Arc::new(StringArray::from(vec![None::<&str>]))));
        let written = text(&batches);
        assert_eq!(written["minValues"]["v"], bound("minValues"));
        assert_eq!(written["maxValues"]["v"], bound("maxValues"));
        assert_eq!(written["nullCount"]["v"], 1);
    }
}
