//! Random columns of random types come back bit by bit, and what is equal has equal bytes.

use std::sync::Arc;

use arrow::array::builder::{MapBuilder, StringBuilder};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, LargeListArray, LargeStringArray, ListArray, MapArray, NullArray,
    StringArray, StringViewArray, StructArray, TimestampMicrosecondArray, UInt64Array, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, IntervalUnit, TimeUnit};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::Kind;
use crate::state::time_of;

/// A type that state can keep, with lists, structs and maps to a depth.
fn random_type(rng: &mut StdRng, depth: u32) -> DataType {
    let field = |name: &str, rng: &mut StdRng| Field::new(name, random_type(rng, depth - 1), true);
    match rng.random_range(0..if depth == 0 { 18 } else { 23 }) {
        0 => DataType::Boolean,
        1 => DataType::Int8,
        2 => DataType::Int16,
        3 => DataType::Int32,
        4 | 5 => DataType::Int64,
        6 => DataType::UInt64,
        7 => DataType::Float32,
        8 | 9 => DataType::Float64,
        10 => DataType::Decimal128(38, 18),
        11 => DataType::Date32,
        12 => DataType::Timestamp(TimeUnit::Microsecond, None),
        13 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        14 => DataType::Interval(IntervalUnit::YearMonth),
        15 => [DataType::Binary, DataType::LargeBinary, DataType::BinaryView][rng.random_range(0..3)].clone(),
        16 => DataType::Null,
        17 => [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View][rng.random_range(0..3)].clone(),
        18 => DataType::List(Arc::new(field("element", rng))),
        19 => DataType::LargeList(Arc::new(field("element", rng))),
        20 => {
            let key = Field::new("key", DataType::Utf8, false);
            let entries = DataType::Struct(Fields::from(vec![key, field("value", rng)]));
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        }
        _ => DataType::Struct((0..rng.random_range(0..10)).map(|i| field(&format!("f{i}"), rng)).collect()),
    }
}

fn random_nulls(rng: &mut StdRng, rows: usize) -> Option<NullBuffer> {
    rng.random_bool(0.7).then(|| (0..rows).map(|_| rng.random_bool(0.7)).collect())
}

fn random_lengths(rng: &mut StdRng, rows: usize) -> Vec<usize> {
    (0..rows)
        .map(|_| if rng.random_bool(0.02) { rng.random_range(100..400) } else { rng.random_range(0..5) })
        .collect()
}

fn random_array(rng: &mut StdRng, data_type: &DataType, rows: usize) -> ArrayRef {
    let nulls = random_nulls(rng, rows);
    match data_type {
        DataType::Null => Arc::new(NullArray::new(rows)),
        DataType::Boolean => {
            Arc::new(BooleanArray::new((0..rows).map(|_| rng.random::<bool>()).collect(), nulls))
        }
        DataType::List(field) => {
            let offsets = OffsetBuffer::from_lengths(random_lengths(rng, rows));
            let elements = random_array(rng, field.data_type(), *offsets.last().unwrap() as usize);
            Arc::new(ListArray::new(Arc::clone(field), offsets, elements, nulls))
        }
        DataType::LargeList(field) => {
            let offsets = OffsetBuffer::from_lengths(random_lengths(rng, rows));
            let elements = random_array(rng, field.data_type(), *offsets.last().unwrap() as usize);
            Arc::new(LargeListArray::new(Arc::clone(field), offsets, elements, nulls))
        }
        DataType::Map(field, _) => {
            let DataType::Struct(fields) = field.data_type() else { panic!("entries of a map are structs") };
            let offsets = OffsetBuffer::<i32>::from_lengths(random_lengths(rng, rows));
            let entries = *offsets.last().unwrap() as usize;
            let keys: ArrayRef =
                Arc::new(StringArray::from_iter_values((0..entries).map(|i| format!("k{i}"))));
            let values = random_array(rng, fields[1].data_type(), entries);
            let entries = StructArray::new(fields.clone(), vec![keys, values], None);
            Arc::new(MapArray::new(Arc::clone(field), offsets, entries, nulls, false))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| random_array(rng, field.data_type(), rows)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, rows).unwrap())
        }
        other => match width(other) {
            Some(width) => {
                let bytes: Vec<u8> = match other {
                    // Digits that fit the precision.
                    DataType::Decimal128(..) => {
                        (0..rows).flat_map(|_| i128::from(rng.random::<i64>()).to_le_bytes()).collect()
                    }
                    _ => (0..rows * width).map(|_| rng.random()).collect(),
                };
                let data = arrow::array::ArrayData::builder(other.clone()).len(rows).nulls(nulls);
                let data = data.add_buffer(bytes.into()).align_buffers(true);
                arrow::array::make_array(data.build().unwrap())
            }
            None => {
                let texts: Vec<Option<String>> = random_lengths(rng, rows)
                    .into_iter()
                    .enumerate()
                    .map(|(row, length)| {
                        let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                        valid.then(|| (0..length).map(|_| rng.random_range('a'..'\u{400}')).collect())
                    })
                    .collect();
                arrow::compute::cast(&StringArray::from(texts), other).unwrap()
            }
        },
    }
}

proptest! {
    #[test]
    fn columns_come_back(seed: u64, rows in 0_usize..40) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let types: Vec<DataType> = (0..rng.random_range(0..12)).map(|_| random_type(rng, 3)).collect();
        let columns: Vec<ArrayRef> = types.iter().map(|data_type| random_array(rng, data_type, rows)).collect();
        let codec = Codec::new(&types).unwrap();
        let encoded = codec.encode(&columns, rows).unwrap();
        prop_assert_eq!(encoded.len(), rows);
        let slices: Vec<&[u8]> = encoded.iter().collect();
        let decoded = codec.decode(&slices).unwrap();
        for (column, back) in columns.iter().zip(&decoded) {
            // Bit by bit, for a NaN is not equal to itself.
            let again = |column: &ArrayRef| {
                Codec::new(&[column.data_type().clone()]).unwrap().encode(&[Arc::clone(column)], rows).unwrap()
            };
            prop_assert_eq!(back.data_type(), column.data_type());
            prop_assert_eq!(back.logical_null_count(), column.logical_null_count());
            prop_assert_eq!(again(back), again(column));
        }

        // A part of a column is encoded as the same rows of the whole.
        let from = rows / 3;
        let sliced: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, rows - from)).collect();
        let part = codec.encode(&sliced, rows - from).unwrap();
        prop_assert_eq!(part.iter().collect::<Vec<_>>(), slices[from..].to_vec());

        // Keys have their times in front.
        let times: Vec<i64> = (0..rows).map(|_| rng.random()).collect();
        let keys = codec.encode_keys(&times, &columns).unwrap();
        for (row, key) in keys.iter().enumerate() {
            prop_assert_eq!(time_of(key), Some(times[row]));
            prop_assert_eq!(&key[8..], slices[row]);
        }
        let keys: Vec<&[u8]> = keys.iter().collect();
        prop_assert_eq!(codec.decode_keys(&keys).unwrap().len(), types.len());

        // What is cut or has bytes too many is told, and whatever else is there never panics.
        for row in &slices {
            for end in (0..row.len()).take(50) {
                prop_assert_eq!(codec.decode(&[&row[..end]]).unwrap_err().kind(), Kind::Corrupt);
            }
            let mut long = row.to_vec();
            long.push(0);
            prop_assert_eq!(codec.decode(&[&long]).unwrap_err().kind(), Kind::Corrupt);
            for _ in 0..10 {
                let mut flipped = row.to_vec();
                if let Some(at) = row.len().checked_sub(1) {
                    flipped[rng.random_range(0..=at)] ^= 1 << rng.random_range(0..8);
                }
                let _ = codec.decode(&[&flipped]);
            }
        }
    }
}

fn rows_of(column: impl Array + 'static, equality: Equality) -> Vec<Vec<u8>> {
    let rows = column.len();
    let codec = Codec::with_equality(&[column.data_type().clone()], equality).unwrap();
    codec.encode(&[Arc::new(column)], rows).unwrap().iter().map(<[u8]>::to_vec).collect()
}

#[test]
fn the_bytes_of_version_1_are_these() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1), None])),
        Arc::new(StringArray::from(vec![None, Some("ab")])),
        Arc::new(BooleanArray::from(vec![true, false])),
        Arc::new(Float64Array::from(vec![-2.0, 0.0])),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(7), None]),
            Some(vec![Some(9)]),
        ])),
        Arc::new(Decimal128Array::from(vec![Some(-1), None]).with_precision_and_scale(20, 2).unwrap()),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(5), Some(6)])),
        Arc::new(Int8Array::from(vec![-1, 3])),
        Arc::new(NullArray::new(2)),
    ];
    let types: Vec<DataType> = columns.iter().map(|column| column.data_type().clone()).collect();
    let rows = Codec::new(&types).unwrap().encode_keys(&[0, -1], &columns).unwrap();
    let hex = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(rows.row(0)),
        "8000000000000000\
         0201\
         01000000\
         01\
         00000000000000c0\
         050207000000\
         ffffffffffffffffffffffffffffffff\
         0500000000000000\
         ff"
    );
    assert_eq!(
        hex(rows.row(1)),
        "7fffffffffffffff\
         2101\
         026162\
         00\
         0000000000000000\
         0209000000\
         0600000000000000\
         03"
    );
}

#[test]
fn grouping_makes_zeros_and_nans_one_and_deduplication_nans_only() {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let column = || Float64Array::from(vec![0.0, -0.0, f64::NAN, other_nan, -f64::NAN]);
    let distinct = |equality| {
        let mut rows = rows_of(column(), equality);
        rows.sort();
        rows.dedup();
        rows.len()
    };
    assert_eq!([Equality::Bits, Equality::Nan, Equality::Grouping].map(distinct), [5, 3, 2]);
    let small = Float32Array::from(vec![0.0, -0.0]);
    assert_eq!(rows_of(small.clone(), Equality::Grouping)[0], rows_of(small.clone(), Equality::Grouping)[1]);
    assert_ne!(rows_of(small.clone(), Equality::Nan)[0], rows_of(small, Equality::Nan)[1]);

    // Inside of lists and structs too.
    let field = Arc::new(Field::new("element", DataType::Float64, true));
    let lists = ListArray::new(
        field,
        OffsetBuffer::from_lengths([1, 1]),
        Arc::new(Float64Array::from(vec![0.0, -0.0])),
        None,
    );
    let rows = rows_of(lists, Equality::Grouping);
    assert_eq!(rows[0], rows[1]);
}

#[test]
fn maps_with_the_same_entries_are_one_key_and_two_values() {
    let maps = || {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for entries in [[("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]] {
            for (key, value) in entries {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(true).unwrap();
        }
        maps.finish()
    };
    for (equality, same) in [(Equality::Bits, false), (Equality::Nan, true), (Equality::Grouping, true)] {
        let rows = rows_of(maps(), equality);
        assert_eq!(rows[0] == rows[1], same, "{equality:?}");
    }
}

#[test]
fn layouts_of_one_type_have_the_same_bytes() {
    let codec = Codec::new(&[DataType::Utf8]).unwrap();
    let texts = || vec![Some("a text that is too long for a view"), None, Some("b")];
    let arrays: [ArrayRef; 3] = [
        Arc::new(StringArray::from(texts())),
        Arc::new(LargeStringArray::from(texts())),
        Arc::new(StringViewArray::from(texts())),
    ];
    let [small, large, view] = arrays.map(|array| codec.encode(&[array], 3).unwrap());
    assert!(small == large && small == view);
    let slices: Vec<&[u8]> = small.iter().collect();
    assert_eq!(codec.decode(&slices).unwrap()[0].data_type(), &DataType::Utf8);
}

#[test]
fn other_columns_and_unknown_types_are_refused() {
    let codec = Codec::new(&[DataType::Int64]).unwrap();
    let wrong: [Vec<ArrayRef>; 4] = [
        vec![],
        vec![Arc::new(UInt64Array::from(vec![1]))],
        vec![Arc::new(Int64Array::from(vec![1, 2]))],
        vec![Arc::new(BinaryArray::from_vec(vec![b"x"]))],
    ];
    for columns in wrong {
        assert_eq!(codec.encode(&columns, 1).unwrap_err().kind(), Kind::Internal);
    }
    let words: DictionaryArray<Int32Type> = ["a"].into_iter().collect();
    let error = Codec::new(&[DataType::Int64, words.data_type().clone()]).unwrap_err();
    assert!(error.kind() == Kind::Config && error.to_string().contains("Dictionary"), "{error}");
    let empty = Codec::new(&[DataType::Utf8]).unwrap();
    assert!(empty.encode(&[new_empty_array(&DataType::Utf8)], 0).unwrap().is_empty());
    assert_eq!(empty.decode_keys(&[b"short"]).unwrap_err().kind(), Kind::Corrupt);
}
