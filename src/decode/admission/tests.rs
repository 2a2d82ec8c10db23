//! Admission against what Spark answered (`tests/oracle/casts`), and rule by rule.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Int32Array,
    Int64Array, ListArray, MapArray, StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use serde_json::Value;

use super::*;
use crate::decode::datetime::cast as datetime;
use crate::decode::json::RejectionCode;
use crate::decode::json::number::decimal;
use crate::decode::schema::StructType;

const CASES: &str = include_str!("../../../tests/oracle/casts/cases.jsonl");

/// The Arrow schema of DDL.
fn schema(ddl: &str) -> SchemaRef {
    Arc::new(StructType::from_ddl(ddl).unwrap().to_arrow().unwrap())
}

fn target<'a>(schema: &'a SchemaRef, partition_columns: &'a [String]) -> Target<'a> {
    Target { schema, partition_columns, path_bytes_max: Some(1000), name: "lake/t" }
}

fn fits(stream: &Schema, table: &SchemaRef, partition_columns: &[String]) -> Admission {
    match Admission::of(stream, &target(table, partition_columns), Zone::UTC).unwrap() {
        Fit::Fits(admission) => admission,
        Fit::Lacks(fields) => panic!("{fields:?}"),
    }
}

fn refused(stream: &str, table: &str) -> String {
    Admission::of(&schema(stream), &target(&schema(table), &[]), Zone::UTC).unwrap_err().to_string()
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// The rows that were taken, and code and field of each other row.
fn admit(admission: &Admission, batch: &RecordBatch) -> (RecordBatch, Vec<(usize, &'static str, String)>) {
    let admitted = admission.admit(batch, 0).unwrap();
    let taken = admitted.kept.map_or(batch.num_rows(), |kept| kept.len());
    assert_eq!(taken, admitted.rows.num_rows());
    assert_eq!(admitted.rows.num_rows() + admitted.rejected.len(), batch.num_rows());
    let told = |(row, why): (usize, Rejection)| (row, why.code.name(), why.field.unwrap_or_default());
    (admitted.rows, admitted.rejected.into_iter().map(told).collect())
}

fn of_type(ddl_type: &str) -> DataType {
    schema(&format!("c {ddl_type}")).field(0).data_type().clone()
}

/// One value of a case as a column of its type.
fn column_of(data_type: &DataType, value: &str, zone: &Zone) -> ArrayRef {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![value == "true"])),
        DataType::Float32 => Arc::new(arrow::array::Float32Array::from(vec![value.parse::<f32>().unwrap()])),
        DataType::Float64 => Arc::new(arrow::array::Float64Array::from(vec![value.parse::<f64>().unwrap()])),
        DataType::Decimal128(precision, scale) => Arc::new(
            Decimal128Array::from(vec![decimal(value, *precision, *scale as u8).unwrap()])
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        DataType::Utf8 => text(&[Some(value)]),
        DataType::Binary => Arc::new(BinaryArray::from_vec(vec![&hex(value)])),
        DataType::Date32 => Arc::new(Date32Array::from(vec![datetime::date_days(value.as_bytes()).unwrap()])),
        DataType::Timestamp(_, has_zone) => {
            let micros = match has_zone {
                Some(_) => datetime::timestamp_micros(value.as_bytes(), zone, 0),
                None => datetime::timestamp_ntz_micros(value.as_bytes()),
            };
            let column = TimestampMicrosecondArray::from(vec![micros.unwrap()]);
            Arc::new(column.with_timezone_opt(has_zone.clone()))
        }
        _ => arrow_cast(
            &(Arc::new(Int64Array::from(vec![value.parse::<i64>().unwrap()])) as ArrayRef),
            data_type,
        )
        .unwrap(),
    }
}

fn shown(column: &ArrayRef, zone: &Zone) -> String {
    match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(0).iter().map(|b| format!("{b:02X}")).collect(),
        DataType::Timestamp(_, Some(_)) => {
            column.as_primitive::<TimestampMicrosecondType>().value(0).to_string()
        }
        _ => {
            let mut out = Vec::new();
            text::write(column, 0, zone, &mut out);
            String::from_utf8(out).unwrap()
        }
    }
}

#[test]
fn casts_are_those_of_spark() {
    let (mut pairs, mut values) = (0, 0);
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (from, to) = (of_type(case["from"].as_str().unwrap()), of_type(case["to"].as_str().unwrap()));
        if let Some(expected) = case["cast"].as_bool() {
            assert_eq!(cast::exists(&from, &to), expected, "{line}");
            pairs += 1;
            continue;
        }
        let zone = Zone::parse(case["zone"].as_str().unwrap_or("UTC")).unwrap();
        let column = column_of(&from, case["value"].as_str().unwrap(), &zone);
        let clock = Clock { zone: zone.clone(), now: 0 };
        let mut faults = 0;
        let made = cast::run(&column, &to, None, &clock, &mut |_, _| faults += 1).unwrap();
        assert_eq!(made.data_type(), &to, "{line}");
        let ours = (faults == 0).then(|| shown(&made, &zone));
        assert_eq!(ours.as_deref(), case["result"].as_str(), "{line}");
        assert!(faults == 0 || cast::may_fail(&from, &to), "{line}");
        assert_eq!(made.null_count(), faults, "{line}");
        values += 1;
    }
    assert!(pairs > 100 && values > 1500, "{pairs} pairs, {values} values");
}

#[test]
fn columns_are_matched_without_case_widened_and_filled() {
    let (stream, table) = (schema("ID INT"), schema("name STRING, id BIGINT"));
    let admission = fits(&stream, &table, &[]);
    assert!(!admission.may_reject());
    let (rows, rejected) = admit(&admission, &batch(&stream, vec![Arc::new(Int32Array::from(vec![7]))]));
    assert_eq!((rows.schema(), rows.column(0).null_count(), rejected.len()), (table, 1, 0));
}

#[test]
fn columns_that_are_carried_come_behind_those_of_the_table_and_go_with_their_rows() {
    let stream = schema("op STRING, id BIGINT, m MAP<STRING, INT>, name STRING");
    let written = Arc::new(stream.project(&[1, 3]).unwrap());
    let admission = fits(&written, &schema("name STRING NOT NULL, id INT"), &[]);
    let demands = admission.demands().to_owned();
    let admission = admission.carrying(&stream, &[2, 0]);
    assert_eq!(admission.demands(), demands, "nothing is demanded of them");
    let names: Vec<&str> = admission.target().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["name", "id", "m", "op"]);
    let rows = batch(
        &stream,
        vec![
            text(&[Some("c"), Some("d"), None]),
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            new_null_array(stream.field(2).data_type(), 3),
            text(&[Some("a"), None, Some("c")]),
        ],
    );
    let (rows, rejected) = admit(&admission, &rows);
    assert_eq!(rejected, [(1, "NOT_NULL_VIOLATION", "name".to_owned())]);
    assert_eq!(rows.column(1).as_primitive::<arrow::datatypes::Int32Type>().values(), &[1, 3]);
    assert_eq!(rows.column(3), &text(&[Some("c"), None]));
}

#[test]
fn types_that_spark_does_not_cast_are_refused_by_the_path_of_the_difference() {
    let error = refused(
        "id BOOLEAN, s STRUCT<a: STRUCT<x: INT>, b: INT>",
        "id BIGINT, s STRUCT<b: INT, a: STRUCT<x: BOOLEAN>>",
    );
    assert!(
        error.starts_with("column id is BOOLEAN in the stream but BIGINT; column s.a.x is INT in the stream but BOOLEAN in table lake/t"),
        "{error}"
    );
    let error = refused("s STRUCT<a: INT>", "s ARRAY<INT>");
    assert!(error.contains("column s is STRUCT<a: INT> in the stream but ARRAY<INT>"), "{error}");
    let error =
        refused("s STRUCT<a: INT>, x INT", "s STRUCT<a: INT, b: INT NOT NULL>, x INT, y INT NOT NULL");
    assert!(error.starts_with("table lake/t demands column s.b, y (NOT NULL)"), "{error}");
}

#[test]
fn columns_of_another_type_are_told_and_whether_values_may_not_fit() {
    let stream = schema("id INT, n STRING, s STRUCT<x: BIGINT, y: INT>, a ARRAY<DATE>, same STRING");
    let table =
        schema("same STRING, a ARRAY<TIMESTAMP>, s STRUCT<y: INT, x: INT>, n DECIMAL(9,2), id BIGINT");
    let told: Vec<String> = fits(&stream, &table, &[]).casts().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "column a.element is DATE in the stream and cast to TIMESTAMP; a record whose value does not fit is rejected",
            "column s.x is BIGINT in the stream and cast to INT; a record whose value does not fit is rejected",
            "column n is STRING in the stream and cast to DECIMAL(9,2); a record whose value does not fit is rejected",
            "column id is INT in the stream and cast to BIGINT",
        ]
    );
    let may_fail = |from: &str, to: &str| fits(&schema(from), &schema(to), &[]).casts()[0].may_fail;
    for (from, to, expected) in [
        ("c TIMESTAMP", "c DATE", false),
        ("c TIMESTAMP", "c TIMESTAMP_NTZ", false),
        ("c TIMESTAMP_NTZ", "c TIMESTAMP", true),
        ("c DATE", "c TIMESTAMP_NTZ", true),
        ("c INT", "c DECIMAL(20,0)", false),
        ("c INT", "c DECIMAL(12,2)", false),
        ("c INT", "c DECIMAL(11,2)", true),
        ("c BIGINT", "c DECIMAL(18,0)", true),
        ("c DOUBLE", "c DECIMAL(38,0)", true),
    ] {
        assert_eq!(may_fail(from, to), expected, "{from} to {to}");
    }
}

#[test]
fn what_the_table_lacks_is_named_by_its_path() {
    let stream = schema(
        "id INT, s STRUCT<a: INT, B: STRING>, arr ARRAY<STRUCT<a: INT, c: INT>>, m MAP<STRING, STRUCT<d: INT>>, n STRING",
    );
    let table =
        schema("id INT, s STRUCT<a: INT, b: STRING>, arr ARRAY<STRUCT<a: INT>>, m MAP<STRING, STRUCT<>>");
    let Fit::Lacks(fields) = Admission::of(&stream, &target(&table, &[]), Zone::UTC).unwrap() else {
        panic!("the table lacks fields")
    };
    let names: Vec<String> = fields.iter().map(MissingField::full_name).collect();
    assert_eq!(names, ["arr.element.c", "m.value.d", "n"]);
    // With them the stream fits, and they are where they belong.
    let merged = Arc::new(with_fields(&table, &fields));
    assert_eq!(fits(&stream, &merged, &[]).target(), &merged);
    assert_eq!(merged.field(2).data_type(), &of_type("ARRAY<STRUCT<a: INT, c: INT>>"));
}

/// `s STRUCT<x, y>` of which the second row is null, with values where it is null.
fn structs(fields: &Fields, x: ArrayRef, y: ArrayRef) -> ArrayRef {
    let nulls = arrow::buffer::NullBuffer::from(vec![true, false, true]);
    Arc::new(StructArray::new(fields.clone(), vec![x, y], Some(nulls)))
}

#[test]
fn fields_of_structs_are_matched_by_name_and_missing_ones_are_null() {
    let stream = schema("s STRUCT<y: INT, x: INT>");
    let DataType::Struct(fields) = stream.field(0).data_type() else { unreachable!() };
    let column =
        structs(fields, Arc::new(Int32Array::from(vec![1, 2, 3])), Arc::new(Int32Array::from(vec![4, 5, 6])));
    let table = schema("s STRUCT<x: INT, z: STRING, y: BIGINT>");
    let (rows, rejected) = admit(&fits(&stream, &table, &[]), &batch(&stream, vec![column]));
    assert!(rejected.is_empty());
    let made = rows.column(0).as_struct();
    assert_eq!(made.column(0).as_primitive::<arrow::datatypes::Int32Type>().value(2), 6);
    assert_eq!(made.column(2).as_primitive::<arrow::datatypes::Int64Type>().value(2), 3);
    assert_eq!((made.column(1).null_count(), made.is_null(1), made.is_null(0)), (3, true, false));
}

#[test]
fn a_null_inside_a_struct_is_judged_by_record_and_a_null_parent_breaks_nothing() {
    let stream = schema("s STRUCT<y: STRING, x: INT>");
    let DataType::Struct(fields) = stream.field(0).data_type() else { unreachable!() };
    let column = structs(fields, text(&[None, None, Some("a")]), Arc::new(Int32Array::from(vec![4, 5, 6])));
    let table = schema("s STRUCT<x: INT, y: STRING NOT NULL>");
    let (rows, rejected) = admit(&fits(&stream, &table, &[]), &batch(&stream, vec![column]));
    assert_eq!(rejected, [(0, "NOT_NULL_VIOLATION", "s.y".to_owned())]);
    assert_eq!((rows.num_rows(), rows.column(0).is_null(0), rows.column(0).is_null(1)), (2, true, false));
}

#[test]
fn values_inside_arrays_and_maps_are_cast_and_judged_for_the_row_around_them() {
    let stream = schema("a ARRAY<STRING>, m MAP<STRING, INT>");
    let DataType::List(element) = stream.field(0).data_type() else { unreachable!() };
    let DataType::Map(entries, _) = stream.field(1).data_type() else { unreachable!() };
    let DataType::Struct(pair) = entries.data_type() else { unreachable!() };
    let offsets = OffsetBuffer::new(vec![0, 2, 3, 3, 4].into());
    let texts = text(&[Some("1"), Some("2"), Some("x"), Some("4")]);
    // The last row is null and has an element all the same, one that can't be cast.
    let hidden = Some(arrow::buffer::NullBuffer::from(vec![true, true, true, false]));
    let texts_hidden = text(&[Some("1"), Some("2"), Some("x"), Some("y")]);
    let list = ListArray::new(Arc::clone(element), offsets.clone(), texts_hidden, hidden);
    let entry =
        StructArray::new(pair.clone(), vec![texts, Arc::new(Int32Array::from(vec![1, 2, 3, 300]))], None);
    let map = MapArray::new(Arc::clone(entries), offsets, entry, None, false);
    let rows = batch(&stream, vec![Arc::new(list), Arc::new(map)]);
    let table = schema("a ARRAY<INT>, m MAP<STRING, TINYINT>");
    let (taken, rejected) = admit(&fits(&stream, &table, &[]), &rows);
    assert_eq!(
        rejected,
        [(1, "CAST_INVALID_INPUT", "a.element".to_owned()), (3, "CAST_OVERFLOW", "m.value".to_owned())]
    );
    assert_eq!((taken.num_rows(), taken.column(0).as_list::<i32>().value(0).len()), (2, 2));
    // The same of a slice, whose offsets do not begin with 0.
    let (taken, rejected) = admit(&fits(&stream, &table, &[]), &rows.slice(1, 3));
    assert_eq!((taken.num_rows(), rejected.len(), rejected[0].0), (1, 2, 0));
}

/// A table with VARCHARs and CHARs, as Spark's CREATE TABLE writes it.
fn with_lengths(ddl: &str, lengths: &[(&str, &str)]) -> SchemaRef {
    let plain = schema(ddl);
    let fields = plain.fields().iter().map(|field| {
        let said = lengths.iter().find(|(name, _)| name == field.name());
        let metadata = said.map(|(_, said)| ("__CHAR_VARCHAR_TYPE_STRING".to_owned(), (*said).to_owned()));
        field.as_ref().clone().with_metadata(metadata.into_iter().collect())
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

#[test]
fn varchar_and_char_have_the_lengths_of_the_table() {
    let table = with_lengths("v STRING, c STRING", &[("v", "varchar(3)"), ("c", "char(3)")]);
    let stream = schema("v STRING, c STRING");
    let rows = batch(
        &stream,
        vec![
            text(&[Some("äöü"), Some("abcd"), None, Some("abc ")]),
            text(&[Some("ä"), Some("a"), None, Some("abc")]),
        ],
    );
    let (taken, rejected) = admit(&fits(&stream, &table, &[]), &rows);
    let too_long = |row| (row, "EXCEED_CHAR_VARCHAR_LIMIT", "v".to_owned());
    assert_eq!(rejected, [too_long(1), too_long(3)]);
    assert_eq!(taken.column(0).as_string::<i32>().value(0), "äöü");
    assert_eq!((taken.column(1).as_string::<i32>().value(0), taken.column(1).is_null(1)), ("ä  ", true));
    // A number becomes a text first.
    let stream = schema("v INT");
    let rows = batch(&stream, vec![Arc::new(Int32Array::from(vec![123, 1234]))]);
    assert_eq!(
        admit(&fits(&stream, &with_lengths("v STRING", &[("v", "varchar(3)")]), &[]), &rows).1,
        [too_long(1)]
    );
}

#[test]
fn lengths_inside_structs_arrays_and_maps_count() {
    let said = "struct<a:char(2),b:array<varchar(1)>>";
    let table = with_lengths("s STRUCT<a: STRING, b: ARRAY<STRING>>", &[("s", said)]);
    let stream = schema("s STRUCT<a: STRING, b: ARRAY<STRING>>");
    let DataType::Struct(fields) = stream.field(0).data_type() else { unreachable!() };
    let DataType::List(element) = fields[1].data_type() else { unreachable!() };
    let offsets = OffsetBuffer::new(vec![0, 1, 2, 2].into());
    let list = ListArray::new(Arc::clone(element), offsets, text(&[Some("x"), Some("xy")]), None);
    let column = StructArray::new(
        fields.clone(),
        vec![text(&[Some("a"), Some("b"), Some("abc")]), Arc::new(list)],
        None,
    );
    let (taken, rejected) = admit(&fits(&stream, &table, &[]), &batch(&stream, vec![Arc::new(column)]));
    let too_long = |row, field: &str| (row, "EXCEED_CHAR_VARCHAR_LIMIT", field.to_owned());
    assert_eq!(rejected, [too_long(1, "s.b.element"), too_long(2, "s.a")]);
    assert_eq!(taken.column(0).as_struct().column(0).as_string::<i32>().value(0), "a ");
    let unreadable = with_lengths("s STRING", &[("s", "struct<a b:varchar(1)>")]);
    let error = Admission::of(&stream, &target(&unreadable, &[]), Zone::UTC).unwrap_err().to_string();
    assert!(error.contains("column s"), "{error}");
}

#[test]
fn an_empty_text_is_null_in_a_partition_column_that_is_not_null() {
    let stream = schema("id INT, status STRING");
    let rows =
        batch(&stream, vec![Arc::new(Int32Array::from(vec![1, 2, 3])), text(&[Some("a"), Some(""), None])]);
    let by = ["status".to_owned()];
    let broken = |row| (row, "NOT_NULL_VIOLATION", "status".to_owned());
    let (taken, rejected) = admit(&fits(&stream, &schema("id INT, status STRING NOT NULL"), &by), &rows);
    assert_eq!((taken.num_rows(), rejected), (1, vec![broken(1), broken(2)]));
    assert_eq!(admit(&fits(&stream, &stream, &by), &rows).0.num_rows(), 3);
}

#[test]
fn partition_values_that_cannot_be_written_are_rejected() {
    let stream = schema("id INT, k BINARY, d DATE, t TIMESTAMP, n TIMESTAMP_NTZ, s STRING");
    let by: Vec<String> = ["k", "d", "t", "n", "s"].map(str::to_owned).to_vec();
    let instant = |micros: Vec<i64>, zone: Option<&str>| {
        Arc::new(TimestampMicrosecondArray::from(micros).with_timezone_opt(zone)) as ArrayRef
    };
    let end = 253_402_300_800_000_000;
    let long = "x".repeat(253);
    let escaped = "%".repeat(84) + "xx";
    let rows = batch(
        &stream,
        vec![
            Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6, 7])),
            Arc::new(BinaryArray::from_vec(vec![b"k", b"\xff", b"", b"k", b"k", b"k", b"k"])),
            Arc::new(Date32Array::from(vec![-719_162, 0, 2_932_897, 0, 0, 0, 0])),
            instant(vec![end - 1, 0, 0, end, 0, 0, 0], Some("UTC")),
            instant(vec![0, 0, 0, 0, -62_135_596_800_000_001, 0, 0], None),
            text(&[Some(&long), None, None, None, None, Some(&(long.clone() + "x")), Some(&escaped)]),
        ],
    );
    let (taken, rejected) = admit(&fits(&stream, &stream, &by), &rows);
    let broken = |row, field: &str| (row, "INVALID_PARTITION_VALUE", field.to_owned());
    assert_eq!(
        rejected,
        [broken(1, "k"), broken(2, "d"), broken(3, "t"), broken(4, "n"), broken(5, "s"), broken(6, "s")]
    );
    assert_eq!(taken.num_rows(), 1);
    // Where values are in no path their length is no matter.
    let no_path = Target { path_bytes_max: None, ..target(&stream, &by) };
    let Fit::Fits(admission) = Admission::of(&stream, &no_path, Zone::UTC).unwrap() else { panic!("fits") };
    assert_eq!(admit(&admission, &rows).0.num_rows(), 3);
    // Several short enough names can make a path that is too long.
    let narrow = Target { path_bytes_max: Some(400), ..target(&stream, &by) };
    let Fit::Fits(admission) = Admission::of(&stream, &narrow, Zone::UTC).unwrap() else { panic!("fits") };
    assert_eq!(admit(&admission, &rows.slice(0, 1)).1, [broken(0, "k")]);
}

#[test]
fn faults_that_others_hid_are_found_in_a_later_pass() {
    let (stream, table) = (schema("id STRING, s STRING"), schema("id INT, s STRING NOT NULL"));
    let rows = batch(
        &stream,
        vec![
            text(&[Some("1"), Some("x"), Some("3"), Some("4")]),
            text(&[Some("a"), Some(""), Some(""), Some("b")]),
        ],
    );
    let admission = fits(&stream, &table, &["s".to_owned()]);
    let (taken, rejected) = admit(&admission, &rows);
    assert_eq!(
        rejected,
        [(1, "CAST_INVALID_INPUT", "id".to_owned()), (2, "NOT_NULL_VIOLATION", "s".to_owned())]
    );
    let kept = admission.admit(&rows, 0).unwrap().kept.unwrap();
    assert_eq!((taken.num_rows(), kept.values().to_vec()), (2, vec![0, 3]));
}

#[test]
fn columns_of_which_nothing_is_demanded_are_passed_on_as_they_are() {
    let stream = schema("id INT NOT NULL, s STRUCT<a: INT>, t STRING");
    let admission = fits(&stream, &stream, &[]);
    assert!(!admission.may_reject() && admission.demands().is_empty());
    let rows = batch(
        &stream,
        vec![
            Arc::new(Int32Array::from(vec![1])),
            new_null_array(stream.field(1).data_type(), 1),
            text(&[Some("a")]),
        ],
    );
    let (taken, _) = admit(&admission, &rows);
    let same = |at: usize| Arc::ptr_eq(taken.column(at), rows.column(at));
    assert!((0..3).all(same));
}

#[test]
fn no_message_holds_a_value() {
    let stream = schema("id STRING, s STRING, d DATE");
    let table = with_lengths("id INT, s STRING, d DATE", &[("s", "varchar(2)")]);
    let rows = batch(
        &stream,
        vec![
            text(&[Some("secret"), Some("1"), Some("2")]),
            text(&[Some("a"), Some("secret"), Some("b")]),
            Arc::new(Date32Array::from(vec![0, 0, 987_654_321])),
        ],
    );
    let admitted = fits(&stream, &table, &["d".to_owned()]).admit(&rows, 0).unwrap();
    assert_eq!(admitted.rejected.len(), 3);
    for (_, why) in admitted.rejected {
        assert!(!why.to_string().contains("secret") && !why.to_string().contains("987"), "{why}");
        assert!(why.code != RejectionCode::WriteFailed);
    }
}

#[test]
fn names_that_delta_refuses_are_told_with_the_way_out() {
    let named =
        |ddl: &str, mapping| check_column_names(schema(ddl).fields(), mapping).map_err(|e| e.to_string());
    let error = named("id INT, `Date Time` STRING", false).unwrap_err();
    assert!(error.starts_with("column Date Time has ' ' in its name"), "{error}");
    let error = named("m MAP<STRING, ARRAY<STRUCT<`a=b`: INT>>>", false).unwrap_err();
    assert!(error.starts_with("column m.a=b has '='"), "{error}");
    assert!(named("id INT, `Date Time` STRING, s STRUCT<`a;b`: INT>", true).is_ok());
    assert!(named("s STRUCT<a: INT, A: INT>", true).unwrap_err().contains("differ in case alone"));
    assert!(named("id INT, `größe` STRING", false).is_ok());
}

#[test]
fn a_timestamp_column_has_the_tables_zone() {
    let stream = schema("d DATE");
    let table = schema("d TIMESTAMP");
    let rows = batch(&stream, vec![Arc::new(Date32Array::from(vec![1]))]);
    let (taken, _) = admit(&fits(&stream, &table, &[]), &rows);
    assert_eq!(taken.column(0).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
}
