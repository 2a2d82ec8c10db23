//! Casts of nested values, and of times without a date.

use arrow::array::{Int32Array, Int64Array, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{Fields, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};

use super::*;
use crate::query::coerce::types::{list_of, map_of};
use crate::query::tests::sifted;
use crate::query::{Definition, Query, Relation, Runner};

fn ansi(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(array, to, Way { mode: Mode::Ansi, conf: &Conf::default() })
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, true))
}

/// Lists of these lengths over `values`.
fn lists(lengths: &[usize], values: ArrayRef, valid: &[bool]) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    let nulls = NullBuffer::from(valid.to_vec());
    Arc::new(ListArray::new(element(values.data_type().clone()), offsets, values, Some(nulls)))
}

fn numbers(array: &ArrayRef, row: usize) -> Vec<Option<i32>> {
    array.as_list::<i32>().value(row).as_primitive::<Int32Type>().iter().collect()
}

#[test]
fn a_slice_of_lists_is_cast_without_the_values_around_it() {
    let all = lists(&[1, 2, 1], texts(&["x", "1", "2", "y"]), &[true, true, true]);
    let to = list_of(DataType::Int32);
    assert!(ansi(&all, &to).is_err() && ansi(&all.slice(0, 1), &to).is_err());
    let made = ansi(&all.slice(1, 1), &to).unwrap();
    assert_eq!(made.len(), 1);
    assert_eq!(numbers(&made, 0), [Some(1), Some(2)]);
    assert_eq!(ansi(&all.slice(1, 0), &to).unwrap().len(), 0);
}

#[test]
fn values_below_a_null_list_are_not_cast() {
    let all = lists(&[1, 2, 0, 1], texts(&["1", "x", "y", "2"]), &[true, false, true, true]);
    let made = ansi(&all, &list_of(DataType::Int32)).unwrap();
    assert_eq!(numbers(&made, 0), [Some(1)]);
    assert!(made.is_null(1) && made.is_valid(2));
    assert_eq!(numbers(&made, 2), []);
    assert_eq!(numbers(&made, 3), [Some(2)]);
    assert!(ansi(&all.slice(1, 1), &list_of(DataType::Int32)).unwrap().is_null(0));
}

#[test]
fn lists_in_lists_are_cast_without_what_is_hidden() {
    let inner = lists(&[1, 1, 1], texts(&["1", "x", "2"]), &[true, false, true]);
    let outer = lists(&[1, 1, 1], inner, &[true, true, true]);
    let to = list_of(list_of(DataType::Int32));
    let made = ansi(&outer, &to).unwrap();
    assert_eq!(numbers(&made.as_list::<i32>().value(2), 0), [Some(2)]);
    assert!(made.as_list::<i32>().value(1).is_null(0));
    let shown = ansi(&outer.slice(2, 1), &to).unwrap();
    assert_eq!(numbers(&shown.as_list::<i32>().value(0), 0), [Some(2)]);
}

#[test]
fn a_slice_of_maps_is_cast_without_the_entries_around_it_and_below_null() {
    let DataType::Map(entry, sorted) = map_of(DataType::Utf8, DataType::Utf8) else { panic!("no map") };
    let DataType::Struct(fields) = entry.data_type() else { panic!("no entries") };
    let entries = StructArray::new(
        fields.clone(),
        vec![texts(&["k", "1", "2", "k"]), texts(&["9", "8", "7", "6"])],
        None,
    );
    let offsets = OffsetBuffer::from_lengths([1, 2, 1]);
    let nulls = NullBuffer::from(vec![true, true, false]);
    let map: ArrayRef = Arc::new(MapArray::new(entry, offsets, entries, Some(nulls), sorted));
    let to = map_of(DataType::Int32, DataType::Int64);
    assert!(ansi(&map, &to).is_err());
    let made = ansi(&map.slice(1, 2), &to).unwrap();
    let made = made.as_map();
    assert_eq!(made.value(0).column(0).as_primitive::<Int32Type>(), &Int32Array::from(vec![1, 2]));
    assert_eq!(made.value(0).column(1).as_primitive::<Int64Type>(), &Int64Array::from(vec![8, 7]));
    assert!(made.is_null(1));
}

#[test]
fn values_below_a_null_struct_are_not_cast() {
    let of = |kind: DataType| Fields::from(vec![Field::new("a", kind, true)]);
    let nulls = NullBuffer::from(vec![true, false]);
    let record: ArrayRef =
        Arc::new(StructArray::new(of(DataType::Utf8), vec![texts(&["1", "x"])], Some(nulls)));
    let made = ansi(&record, &DataType::Struct(of(DataType::Int32))).unwrap();
    assert_eq!(made.as_struct().column(0).as_primitive::<Int32Type>().value(0), 1);
    assert!(made.is_null(1));
}

fn runner(schema: &SchemaRef, sql: &str, conf: Conf) -> Runner {
    let relation = Relation { name: "input".to_owned(), schema: Arc::clone(schema) };
    let definition = Definition::of_stream(relation, sql.to_owned(), conf);
    Runner::new(Query::plan(&definition).unwrap_or_else(|error| panic!("{sql}: {error}")))
}

#[test]
fn only_the_record_whose_element_fails_is_left_out() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("codes", list_of(DataType::Utf8), true),
    ]));
    let mut codes = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
    for id in 0..50 {
        codes.append_value([Some(if id == 30 { "x" } else { "1" })]);
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from_iter_values(0..50)), Arc::new(codes.finish())];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    for sql in [
        "SELECT id, CAST(codes AS ARRAY<INT>) AS codes FROM input",
        "SELECT id, array_contains(codes, 1) AS found FROM input",
    ] {
        let mut runner = runner(&schema, sql, Conf::default());
        let (made, failed) = sifted(&runner.begin(0, &[]).unwrap(), &rows).unwrap();
        let failed: Vec<usize> = failed.iter().map(|(row, _)| *row).collect();
        assert_eq!(failed, [30], "{sql}");
        assert_eq!(made.rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 49, "{sql}");
    }
}

#[test]
fn a_time_without_a_date_is_of_the_day_of_the_batch() {
    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("s", DataType::Utf8, true)]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![texts(&["10:30:00"])]).unwrap();
    let sql = "SELECT CAST('10:30:00' AS TIMESTAMP) a, CAST(s AS TIMESTAMP) b, try_cast('10:30' AS TIMESTAMP) c, \
               to_timestamp('T10:30') d, CAST('10:30:00+00:00' AS TIMESTAMP) e FROM input \
               WHERE CAST('10:30' AS TIMESTAMP) = CAST(s AS TIMESTAMP)";
    for lenient in [false, true] {
        let mut runner = runner(&schema, sql, Conf { ansi: !lenient, ..Conf::default() });
        for day in [20_000, 20_001, 19_000] {
            let run = runner.begin(day * DAY + 23 * HOUR, &[]).unwrap();
            let made = run.rows(rows.clone()).unwrap();
            assert_eq!(made[0].num_rows(), 1);
            for (column, field) in made[0].columns().iter().zip(made[0].schema().fields()) {
                assert_eq!(
                    column.as_primitive::<TimestampMicrosecondType>().value(0),
                    day * DAY + 10 * HOUR + HOUR / 2,
                    "{} on day {day}",
                    field.name()
                );
            }
        }
    }
}

#[test]
fn a_time_without_a_date_is_of_the_day_in_the_zone() {
    let settings = [("spark.sql.session.timeZone".to_owned(), "Asia/Tokyo".to_owned())];
    let conf = Conf::from_map(&settings.into()).unwrap();
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("s", DataType::Utf8, true)]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![texts(&["01:00"])]).unwrap();
    let mut runner = runner(&schema, "SELECT CAST(s AS TIMESTAMP) AS at FROM input", conf);
    // 1970-01-02 20:00 in UTC is 1970-01-03 05:00 in Tokyo.
    let run = runner.begin(44 * 3_600_000_000, &[]).unwrap();
    let made = run.rows(rows).unwrap();
    // 1970-01-03 01:00 in Tokyo.
    assert_eq!(made[0].column(0).as_primitive::<TimestampMicrosecondType>().value(0), 40 * 3_600_000_000);
}

#[test]
fn a_time_without_a_date_is_not_cast_before_there_is_a_batch() {
    let to = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let conf = Conf::default();
    for mode in [Mode::Ansi, Mode::Try, Mode::Lenient] {
        assert!(cast(&texts(&["10:30"]), &to, Way { mode, conf: &conf }).is_err());
        assert!(cast(&texts(&["2024-01-01 10:30"]), &to, Way { mode, conf: &conf }).is_ok());
    }
    conf.clock.set(0);
    assert!(cast(&texts(&["10:30"]), &to, Way { mode: Mode::Ansi, conf: &conf }).is_ok());
}
