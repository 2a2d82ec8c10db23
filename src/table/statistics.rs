//! A data file's statistics: folded while its rows are written, and the text that the table's log keeps of them.
//!
//! A file being written holds one bound per column, however many rows and batches it is given. The text is Spark's
//! (`"Infinity"`, `"NaN"`, times in milliseconds where these say all of it), but for two cases in which readers lose
//! rows over it. Zero is written as `-0.0` below and `0.0` above, for some readers order the two. And a bound that
//! readers can't all parse (a date or time outside the years 1 to 9999, a text with no shorter upper bound) leaves the
//! file without bounds: Python `deltalake` takes one that is absent or null for a condition that no row meets, and
//! fails on such a date; a file without any bounds is read whole by every reader. Must not fail because of a value.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::{max_string, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use delta_kernel::expressions::ColumnName;
use serde_json::Value;

/// Characters of a text's bound; Delta's number.
const BOUND_CHARS: usize = 32;
/// Characters up to which an upper bound may grow where the next one is the greatest there is; Delta's number.
const BOUND_CHARS_MAX: usize = 2 * BOUND_CHARS;
/// Characters of a text that decide its bound, and some more. Beginnings order as whole texts do.
const KEPT_CHARS: usize = 80;

/// The columns of a table's files that have statistics; made once for all files of a writer.
#[derive(Debug)]
pub(super) struct Statistics {
    columns: Vec<Column>,
    leaves: usize,
}

#[derive(Debug)]
struct Column {
    /// Where it is in its batch or struct.
    index: usize,
    name: String,
    holds: Holds,
}

#[derive(Debug)]
enum Holds {
    Struct(Vec<Column>),
    Leaf { leaf: usize, bounds: Option<Bounds> },
}

/// What bounds a leaf has.
#[derive(Debug, Clone, Copy)]
enum Bounds {
    Integer,
    Single,
    Double,
    Decimal { scale: i8 },
    Text,
    Date,
    Time { utc: bool },
}

/// What is known of one file so far.
#[derive(Debug)]
pub(super) struct Folded {
    rows: u64,
    leaves: Vec<Leaf>,
}

#[derive(Debug, Clone, Default)]
struct Leaf {
    nulls: u64,
    range: Option<(Bound, Bound)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Integer(i128),
    Float(f64),
    Text(Box<str>),
}

impl Bound {
    /// Spark's order: NaN is the greatest.
    fn is_below(&self, other: &Bound) -> bool {
        match (self, other) {
            (Bound::Integer(a), Bound::Integer(b)) => a < b,
            (Bound::Float(a), Bound::Float(b)) => a < b || (b.is_nan() && !a.is_nan()),
            (Bound::Text(a), Bound::Text(b)) => a < b,
            _ => false,
        }
    }
}

impl Folded {
    /// Rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

impl Statistics {
    /// The statistics of `columns`, physical names, in files of `schema`.
    pub(super) fn new(schema: &Schema, columns: &[ColumnName]) -> Statistics {
        let mut leaves = 0;
        let mut path = Vec::new();
        let fields = schema.fields().iter().map(AsRef::as_ref);
        let columns = chosen(fields, columns, &mut path, &mut leaves);
        Statistics { columns, leaves }
    }

    /// What is known of a file without rows.
    pub(super) fn start(&self) -> Folded {
        Folded { rows: 0, leaves: vec![Leaf::default(); self.leaves] }
    }

    /// Adds rows of the file.
    pub(super) fn fold(&self, rows: &RecordBatch, into: &mut Folded) {
        into.rows += rows.num_rows() as u64;
        for column in &self.columns {
            fold(column, rows.column(column.index), None, &mut into.leaves);
        }
    }

    /// The statistics as `add.stats` has them.
    pub(super) fn to_json(&self, folded: &Folded) -> String {
        let mut bounds = Some((String::new(), String::new()));
        let mut nulls = String::new();
        write_object(&self.columns, &mut nulls, &|leaf, _| Some(folded.leaves[leaf].nulls.to_string()));
        if let Some((low, high)) = &mut bounds {
            let mut whole = true;
            for (text, upper) in [(low, false), (high, true)] {
                whole &= write_object(&self.columns, text, &|leaf, bounds| {
                    let (Some((low, high)), Some(bounds)) = (&folded.leaves[leaf].range, bounds) else {
                        return Some(String::new());
                    };
                    bound_text(if upper { high } else { low }, bounds, upper)
                });
            }
            if !whole {
                bounds = None;
            }
        }
        let bounds =
            bounds.map_or(String::new(), |(low, high)| format!("\"minValues\":{low},\"maxValues\":{high},"));
        format!("{{\"numRecords\":{},{bounds}\"nullCount\":{nulls},\"tightBounds\":true}}", folded.rows)
    }
}

/// The columns among `fields` that `wanted` names, or names a part of.
fn chosen<'a>(
    fields: impl Iterator<Item = &'a Field>,
    wanted: &[ColumnName],
    path: &mut Vec<String>,
    leaves: &mut usize,
) -> Vec<Column> {
    let mut columns = Vec::new();
    for (index, field) in fields.enumerate() {
        path.push(field.name().clone());
        let is = |name: &ColumnName| name.iter().eq(path.iter());
        let holds = match field.data_type() {
            DataType::Struct(inner) if !wanted.iter().any(is) => {
                let inner = chosen(inner.iter().map(AsRef::as_ref), wanted, path, leaves);
                (!inner.is_empty()).then_some(Holds::Struct(inner))
            }
            other => {
                let begins = |name: &ColumnName| path.iter().take(name.iter().count()).eq(name.iter());
                wanted.iter().any(begins).then(|| {
                    *leaves += 1;
                    Holds::Leaf { leaf: *leaves - 1, bounds: bounds_of(other) }
                })
            }
        };
        if let Some(holds) = holds {
            columns.push(Column { index, name: field.name().clone(), holds });
        }
        path.pop();
    }
    columns
}

fn bounds_of(data_type: &DataType) -> Option<Bounds> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Bounds::Integer,
        DataType::Float32 => Bounds::Single,
        DataType::Float64 => Bounds::Double,
        DataType::Decimal128(_, scale) => Bounds::Decimal { scale: *scale },
        DataType::Utf8 => Bounds::Text,
        DataType::Date32 => Bounds::Date,
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Bounds::Time { utc: zone.is_some() },
        // Neither Spark nor the protocol has bounds of booleans, bytes, arrays and maps.
        _ => return None,
    })
}

fn fold(column: &Column, values: &ArrayRef, above: Option<&NullBuffer>, leaves: &mut [Leaf]) {
    // A field of a struct that is null is null, whatever its own array says.
    let nulls = NullBuffer::union(above, values.nulls());
    match &column.holds {
        Holds::Struct(fields) => {
            let inner = values.as_struct();
            for field in fields {
                fold(field, inner.column(field.index), nulls.as_ref(), leaves);
            }
        }
        Holds::Leaf { leaf, bounds } => {
            let leaf = &mut leaves[*leaf];
            leaf.nulls += nulls.as_ref().map_or(0, |nulls| nulls.null_count() as u64);
            if let Some((low, high)) = bounds.and_then(|_| range(values, nulls.as_ref())) {
                match &mut leaf.range {
                    None => leaf.range = Some((low, high)),
                    Some((least, greatest)) => {
                        if low.is_below(least) {
                            *least = low;
                        }
                        if greatest.is_below(&high) {
                            *greatest = high;
                        }
                    }
                }
            }
        }
    }
}

/// The least and the greatest value; `None` if all are null.
fn range(values: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<(Bound, Bound)> {
    match values.data_type() {
        DataType::Int8 => integers(values.as_primitive::<Int8Type>(), nulls),
        DataType::Int16 => integers(values.as_primitive::<Int16Type>(), nulls),
        DataType::Int32 => integers(values.as_primitive::<Int32Type>(), nulls),
        DataType::Int64 => integers(values.as_primitive::<Int64Type>(), nulls),
        DataType::Decimal128(..) => integers(values.as_primitive::<Decimal128Type>(), nulls),
        DataType::Date32 => integers(values.as_primitive::<Date32Type>(), nulls),
        DataType::Timestamp(..) => integers(values.as_primitive::<TimestampMicrosecondType>(), nulls),
        DataType::Float32 => floats(values.as_primitive::<Float32Type>(), nulls, f64::from),
        DataType::Float64 => floats(values.as_primitive::<Float64Type>(), nulls, |value| value),
        DataType::Utf8 => {
            let texts = values.as_string::<i32>();
            let masked;
            let texts = if nulls.map_or(0, NullBuffer::null_count) == texts.null_count() {
                texts
            } else {
                masked = arrow::array::StringArray::new(
                    texts.offsets().clone(),
                    texts.values().clone(),
                    nulls.cloned(),
                );
                &masked
            };
            Some((Bound::Text(beginning(min_string(texts)?)), Bound::Text(beginning(max_string(texts)?))))
        }
        _ => None,
    }
}

fn integers<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    nulls: Option<&NullBuffer>,
) -> Option<(Bound, Bound)>
where
    T::Native: Ord + Into<i128>,
{
    let (low, high) = match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => ends(values.values().iter().copied())?,
        Some(nulls) => ends(nulls.valid_indices().map(|row| values.value(row)))?,
    };
    Some((Bound::Integer(low.into()), Bound::Integer(high.into())))
}

fn ends<T: Ord + Copy>(mut values: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
}

fn floats<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    nulls: Option<&NullBuffer>,
    widen: impl Fn(T::Native) -> f64,
) -> Option<(Bound, Bound)> {
    let (mut low, mut high, mut nan, mut any) = (f64::INFINITY, f64::NEG_INFINITY, false, false);
    let mut see = |value: f64| {
        any = true;
        nan |= value.is_nan();
        low = if value < low { value } else { low };
        high = if value > high { value } else { high };
    };
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => values.values().iter().for_each(|value| see(widen(*value))),
        Some(nulls) => nulls.valid_indices().for_each(|row| see(widen(values.value(row)))),
    }
    if !any {
        return None;
    }
    // No number was seen: `low` is where it began, above `high`.
    let only_nan = nan && low > high;
    let low = if only_nan { f64::NAN } else { low };
    Some((Bound::Float(low), Bound::Float(if nan { f64::NAN } else { high })))
}

fn beginning(text: &str) -> Box<str> {
    text.char_indices().nth(KEPT_CHARS).map_or(text, |(end, _)| &text[..end]).into()
}

/// Writes an object of the columns; `text` gives a leaf's value, empty where it has none. Returns whether every value
/// could be written.
fn write_object(
    columns: &[Column],
    out: &mut String,
    text: &dyn Fn(usize, Option<Bounds>) -> Option<String>,
) -> bool {
    let mut whole = true;
    out.push('{');
    let start = out.len();
    for column in columns {
        let mut value = String::new();
        match &column.holds {
            Holds::Struct(fields) => whole &= write_object(fields, &mut value, text),
            Holds::Leaf { leaf, bounds } => match text(*leaf, *bounds) {
                Some(text) => value = text,
                None => whole = false,
            },
        }
        if value.is_empty() {
            continue;
        }
        if out.len() > start {
            out.push(',');
        }
        out.push_str(&Value::from(column.name.as_str()).to_string());
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
    whole
}

/// A bound as JSON; `None` if readers don't agree on how it is written.
fn bound_text(bound: &Bound, bounds: Bounds, upper: bool) -> Option<String> {
    Some(match (bounds, bound) {
        (Bounds::Integer, Bound::Integer(value)) => value.to_string(),
        (Bounds::Decimal { scale }, Bound::Integer(value)) => decimal(*value, scale),
        (Bounds::Date, Bound::Integer(days)) => quoted(&date(*days)?),
        (Bounds::Time { utc }, Bound::Integer(micros)) => quoted(&time(*micros, utc)?),
        (Bounds::Single | Bounds::Double, Bound::Float(value)) if !value.is_finite() => {
            quoted(if value.is_nan() {
                "NaN"
            } else if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        }
        (Bounds::Single | Bounds::Double, Bound::Float(value)) if *value == 0.0 => {
            if upper { "0.0" } else { "-0.0" }.to_owned()
        }
        (Bounds::Single, Bound::Float(value)) => format!("{:?}", *value as f32),
        (Bounds::Double, Bound::Float(value)) => format!("{value:?}"),
        (Bounds::Text, Bound::Text(text)) if upper => quoted(&upper_bound(text)?),
        (Bounds::Text, Bound::Text(text)) => quoted(first_chars(text, BOUND_CHARS)),
        _ => return None,
    })
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

/// The years that every reader can write and read as four digits.
fn is_plain(year: i32) -> bool {
    (1..=9999).contains(&year)
}

fn date(days: i128) -> Option<String> {
    let since_ce = i32::try_from(days + 719_163).ok()?;
    let date = NaiveDate::from_num_days_from_ce_opt(since_ce).filter(|date| is_plain(date.year()))?;
    Some(date.format("%Y-%m-%d").to_string())
}

/// In milliseconds, as Spark writes it, where that is the time. Spark cuts the rest off and reads upper bounds a
/// millisecond wider; other readers don't, so that here the microseconds are kept.
fn time(micros: i128, utc: bool) -> Option<String> {
    let time: NaiveDateTime = DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)?.naive_utc();
    if !is_plain(time.year()) {
        return None;
    }
    let format = if time.nanosecond().is_multiple_of(1_000_000) {
        "%Y-%m-%dT%H:%M:%S%.3f"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6f"
    };
    Some(format!("{}{}", time.format(format), if utc { "Z" } else { "" }))
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// A text of at most [`BOUND_CHARS`] that is not below `text`, as Delta makes it: a beginning, and a character that no
/// other is above at its place. Longer where the place has that character already; `None` if it goes on so.
fn upper_bound(text: &str) -> Option<String> {
    if first_chars(text, BOUND_CHARS).len() == text.len() {
        return Some(text.to_owned());
    }
    let mut cuts = text.char_indices().skip(BOUND_CHARS).take(BOUND_CHARS_MAX - BOUND_CHARS);
    match cuts.find(|(_, next)| *next != char::MAX) {
        Some((end, next)) => {
            let above = if next < '\x7F' { '\x7F' } else { char::MAX };
            Some(format!("{}{above}", &text[..end]))
        }
        None if first_chars(text, BOUND_CHARS_MAX).len() == text.len() => Some(text.to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
        StringArray, StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Fields;
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
        assert_eq!(
            doubles(&[1.0, -nan]),
            of("1.0", r#""NaN""#),
            "NaN is above every number, whatever its sign"
        );
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
        let micros =
            |micros: Vec<i64>| text(&[batch("v", Arc::new(TimestampMicrosecondArray::from(micros)))]);
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
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("s", outer, true),
            ("b", flags, true),
            ("l", list, true),
        ])
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
            let mut batches: Vec<RecordBatch> = case
                .iter()
                .map(|text| batch("v", Arc::new(StringArray::from(vec![text.as_str()]))))
                .collect();
            batches.push(batch("v", Arc::new(StringArray::from(vec![None::<&str>]))));
            let written = text(&batches);
            assert_eq!(written["minValues"]["v"], bound("minValues"));
            assert_eq!(written["maxValues"]["v"], bound("maxValues"));
            assert_eq!(written["nullCount"]["v"], 1);
        }
    }
}
