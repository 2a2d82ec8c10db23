//! Which keys are equal, which are not, and which columns can be keys.

use arrow::array::{
    Date32Array, Float32Array, Int32Array, Int64Builder, ListBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{Fields, TimeUnit};
use proptest::prelude::*;

use super::super::fingerprint::HashSecret;
use super::*;

fn columns(types: &[DataType]) -> KeyColumns {
    let field = |(i, data_type): (usize, &DataType)| Field::new(format!("c{i}"), data_type.clone(), true);
    let schema = Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>());
    let names: Vec<String> = (0..types.len()).map(|i| format!("c{i}")).collect();
    KeyColumns::resolve(&schema, &names, "t").unwrap()
}

fn keys(arrays: &[ArrayRef]) -> RowKeys {
    let types: Vec<DataType> = arrays.iter().map(|array| array.data_type().clone()).collect();
    let hasher = HashSecret::from_bytes([5; 16]).hasher();
    columns(&types).fingerprints(arrays, &hasher).unwrap()
}

/// Which rows of a column are equal to the first.
fn equal_to_first(array: ArrayRef) -> Vec<bool> {
    let keys = keys(&[array]).fingerprints;
    keys.iter().map(|key| *key == keys[0]).collect()
}

#[test]
fn every_nan_is_one_value_and_so_is_zero_of_both_signs() {
    let other_nan = f64::from_bits(0xfff8_0000_0000_0001);
    let doubles = Float64Array::from(vec![f64::NAN, other_nan, -f64::NAN, f64::INFINITY]);
    assert_eq!(equal_to_first(Arc::new(doubles)), [true, true, true, false]);
    assert_eq!(
        equal_to_first(Arc::new(Float64Array::from(vec![0.0, -0.0, f64::MIN_POSITIVE]))),
        [true, true, false]
    );
    assert_eq!(equal_to_first(Arc::new(Float32Array::from(vec![-0.0, 0.0, 1e-45]))), [true, true, false]);
    let mut list = ListBuilder::new(arrow::array::Float64Builder::new());
    for value in [0.0, -0.0, 1.0] {
        list.values().append_value(value);
        list.append(true);
    }
    assert_eq!(equal_to_first(Arc::new(list.finish())), [true, true, false]);
}

#[test]
fn texts_and_bytes_are_compared_byte_by_byte() {
    let texts = StringArray::from(vec!["a", "A", "a ", "a\0", "a", "\u{e9}", "e\u{301}"]);
    assert_eq!(equal_to_first(Arc::new(texts)), [true, false, false, false, true, false, false]);
    let bytes = BinaryArray::from(vec![&b""[..], b"\0", b""]);
    assert_eq!(equal_to_first(Arc::new(bytes)), [true, false, true]);
}

#[test]
fn numbers_dates_instants_and_decimals_are_compared_by_value() {
    assert_eq!(equal_to_first(Arc::new(Int32Array::from(vec![-1, -1, 255]))), [true, true, false]);
    assert_eq!(equal_to_first(Arc::new(Date32Array::from(vec![-719_528, 0, -719_528]))), [true, false, true]);
    let instants = TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX, i64::MIN]).with_timezone("UTC");
    assert_eq!(equal_to_first(Arc::new(instants)), [true, false, true]);
    let decimals = Decimal128Array::from(vec![150, 15, 150]).with_precision_and_scale(38, 2).unwrap();
    assert_eq!(equal_to_first(Arc::new(decimals)), [true, false, true]);
    assert_eq!(equal_to_first(Arc::new(BooleanArray::from(vec![true, false, true]))), [true, false, true]);
}

#[test]
fn keys_of_several_columns_do_not_run_into_each_other() {
    let left: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a"), Some("ab"), Some("abc"), None, Some("")]));
    let right: ArrayRef =
        Arc::new(StringArray::from(vec![Some("bc"), Some("c"), Some(""), Some("abc"), None]));
    let keys = keys(&[left, right]);
    let mut distinct = keys.fingerprints.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 5);
    assert_eq!(keys.has_null, [false, false, false, true, true]);
}

#[test]
fn a_null_key_is_a_value_of_its_own_and_marked_but_null_inside_a_struct_is_not() {
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(1)]));
    let fields: Fields = vec![Field::new("x", DataType::Int32, true)].into();
    let nulls = NullBuffer::from(vec![true, true, false, true]);
    let structs: ArrayRef = Arc::new(StructArray::new(fields, vec![inner], Some(nulls)));
    let whole = keys(&[Arc::clone(&structs)]);
    assert_eq!(whole.has_null, [false, false, true, false]);
    assert!(whole.is_null(2) && !whole.is_null(1));
    let [one, null_inside, null, again] = whole.fingerprints[..] else { panic!("four rows") };
    assert!(one == again && one != null_inside && null_inside != null);
    // The field itself as the key: NULL where the struct is.
    let schema = Schema::new(vec![Field::new("S", structs.data_type().clone(), true)]);
    let columns = KeyColumns::resolve(&schema, &["s.X".into()], "t").unwrap();
    assert_eq!(columns.names_and_types(), [("S.x".to_owned(), "INT".to_owned())]);
    let rows = RecordBatch::try_new(Arc::new(schema), vec![structs]).unwrap();
    let field = columns.of_rows(&rows).unwrap();
    let keys = columns.fingerprints(&field, &HashSecret::from_bytes([5; 16]).hasher()).unwrap();
    assert_eq!(keys.has_null, [false, true, true, false]);
    assert_eq!(keys.fingerprints[1], keys.fingerprints[2]);
}

#[test]
fn no_row_is_marked_where_no_key_is_null() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    assert_eq!(keys(&[array]).has_null, Vec::<bool>::new());
}

#[test]
fn what_spark_does_not_compare_is_refused_and_so_is_what_is_not_there() {
    let entries = Field::new(
        "entries",
        DataType::Struct(
            vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Utf8, true)].into(),
        ),
        false,
    );
    let map = DataType::Map(Arc::new(entries), false);
    let schema = Schema::new(vec![
        Field::new("m", map.clone(), true),
        Field::new("l", DataType::List(Arc::new(Field::new("element", map, true))), true),
        Field::new("a.b", DataType::Utf8, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]);
    let refused = |name: &str| {
        KeyColumns::resolve(&schema, &[name.to_owned()], "table lake/t").unwrap_err().to_string()
    };
    assert!(refused("m").contains("Spark does not compare maps"), "{}", refused("m"));
    assert!(refused("l").contains("Spark does not compare maps"));
    assert!(refused("a.b").contains("names a.b, which table lake/t does not have"), "{}", refused("a.b"));
    assert!(refused("t.x").contains("does not have"));
    assert!(
        refused("").contains("not a valid column name") && refused("`a").contains("not a valid column name")
    );
    assert!(KeyColumns::resolve(&schema, &["`A.b`".into(), "T".into()], "t").is_ok());
    let twice = KeyColumns::resolve(&schema, &["t".into(), "T".into()], "t").unwrap_err().to_string();
    assert!(twice.contains("names T twice"), "{twice}");
}

#[test]
fn rows_without_a_key_column_are_an_error_of_ours() {
    let schema = Schema::new(vec![Field::new("id", DataType::Utf8, true)]);
    let columns = KeyColumns::resolve(&schema, &["id".into()], "t").unwrap();
    let other = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
    let rows = RecordBatch::try_new(other, vec![new_null_array(&DataType::Utf8, 1)]).unwrap();
    assert_eq!(columns.of_rows(&rows).unwrap_err().kind(), crate::model::Kind::Internal);
}

#[test]
fn a_slice_has_the_keys_of_its_rows() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    for i in 0..10_i64 {
        lists.values().append_value(i);
        lists.values().append_null();
        lists.append(i % 4 != 0);
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    let all = keys(&[Arc::clone(&lists)]);
    let part = keys(&[lists.slice(3, 4)]);
    assert_eq!(part.fingerprints, all.fingerprints[3..7]);
    assert_eq!(part.has_null, all.has_null[3..7]);
}

proptest! {
    #[test]
    fn keys_are_equal_if_and_only_if_their_values_are(
        rows in proptest::collection::vec((any::<Option<i64>>(), "[ab]{0,2}", proptest::option::of(0_u8..3)), 1..40)
    ) {
        let integers: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|r| r.0.map(|v| v % 3)).collect::<Vec<_>>()));
        let texts: ArrayRef = Arc::new(StringArray::from(rows.iter().map(|r| r.1.as_str()).collect::<Vec<_>>()));
        let lists = rows.iter().map(|r| r.2.map(|n| vec![0_u8; usize::from(n)]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from_iter(lists));
        let found = keys(&[integers, texts, bytes]);
        let value = |i: usize| (rows[i].0.map(|v| v % 3), &rows[i].1, rows[i].2);
        for i in 0..rows.len() {
            for j in 0..rows.len() {
                prop_assert_eq!(found.fingerprints[i] == found.fingerprints[j], value(i) == value(j));
            }
            prop_assert_eq!(found.is_null(i), rows[i].0.is_none() || rows[i].2.is_none());
        }
    }
}

#[test]
fn a_wider_array_of_the_same_values_is_read_as_the_column_is() {
    // A file of a table whose column was widened since may be read as the narrower type.
    let columns = columns(&[DataType::Int64]);
    let hasher = HashSecret::from_bytes([5; 16]).hasher();
    let narrow = columns.fingerprints(&[Arc::new(Int32Array::from(vec![7]))], &hasher).unwrap();
    let wide = columns.fingerprints(&[Arc::new(Int64Array::from(vec![7]))], &hasher).unwrap();
    assert_eq!(narrow, wide);
}
