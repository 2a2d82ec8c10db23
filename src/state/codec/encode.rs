//! Columns to rows: the lengths of all rows first, then each column writes into its place in every row.

use std::sync::Arc;

use arrow::array::types::{Float32Type, Float64Type};
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;

use super::{Equality, Rows, width};
use crate::state::time_prefix;

/// Encodes `count` rows of columns whose types were checked, each behind its time if there are `times`.
pub(super) fn rows(columns: &[ArrayRef], count: usize, times: Option<&[i64]>, equality: Equality) -> Rows {
    let columns: Vec<Column> = columns.iter().map(|column| Column::of(column, equality)).collect();
    let bitmap = columns.len().div_ceil(8);
    let prefix = if times.is_some() { 8 } else { 0 };
    let mut cursors = vec![prefix + bitmap; count];
    for column in &columns {
        column.add_lengths(&mut cursors);
    }
    let mut end = 0;
    for cursor in &mut cursors {
        (*cursor, end) = (end, end + *cursor);
    }
    let mut bytes = vec![0; end];
    if let Some(times) = times {
        for (time, cursor) in times.iter().zip(&mut cursors) {
            bytes[*cursor..*cursor + 8].copy_from_slice(&time_prefix(*time));
            *cursor += 8;
        }
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(nulls) = &column.nulls else { continue };
        for (row, cursor) in cursors.iter().enumerate().filter(|(row, _)| nulls.is_null(*row)) {
            debug_assert!(nulls.is_null(row));
            bytes[cursor + index / 8] |= 1 << (index % 8);
        }
    }
    cursors.iter_mut().for_each(|cursor| *cursor += bitmap);
    for column in &columns {
        column.write(&mut bytes, &mut cursors);
    }
    Rows { bytes, ends: cursors }
}

/// A column as it is written.
struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    /// Every value is null.
    Null,
    Boolean(BooleanBuffer),
    Fixed {
        bytes: Buffer,
        width: usize,
    },
    Bytes(Texts),
    /// Lists, structs and maps, encoded already: none of the rows is known to have the same length as another.
    Nested(Rows),
}

/// Strings or binaries, in any layout.
enum Texts {
    Small { offsets: Buffer, bytes: Buffer },
    Large { offsets: Buffer, bytes: Buffer },
    Views(BinaryViewArray),
}

impl Texts {
    fn value(&self, row: usize) -> &[u8] {
        match self {
            Texts::Small { offsets, bytes } => {
                let offsets: &[i32] = offsets.typed_data();
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            Texts::Large { offsets, bytes } => {
                let offsets: &[i64] = offsets.typed_data();
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            Texts::Views(views) => views.value(row),
        }
    }
}

impl Column {
    fn of(array: &ArrayRef, equality: Equality) -> Column {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean().values().clone()),
            DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) | DataType::Struct(_) => {
                let nested = Nested::of(array, equality);
                let mut rows = Rows { bytes: Vec::new(), ends: Vec::with_capacity(array.len()) };
                for row in 0..array.len() {
                    if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                        nested.push(row, &mut rows.bytes);
                    }
                    rows.ends.push(rows.bytes.len());
                }
                Values::Nested(rows)
            }
            _ => flat(array, equality),
        };
        Column { nulls, values }
    }

    fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// Adds each row's length in this column to `lengths`.
    fn add_lengths(&self, lengths: &mut [usize]) {
        let fixed = match &self.values {
            Values::Null => return,
            Values::Nested(rows) => {
                lengths.iter_mut().zip(rows.iter()).for_each(|(length, row)| *length += row.len());
                return;
            }
            Values::Bytes(texts) => {
                for (row, length) in lengths.iter_mut().enumerate() {
                    if self.is_valid(row) {
                        let bytes = texts.value(row).len();
                        *length += varint_length(bytes) + bytes;
                    }
                }
                return;
            }
            Values::Boolean(_) => 1,
            Values::Fixed { width, .. } => *width,
        };
        match &self.nulls {
            None => lengths.iter_mut().for_each(|length| *length += fixed),
            Some(nulls) => {
                lengths
                    .iter_mut()
                    .zip(nulls)
                    .for_each(|(length, valid)| *length += fixed * usize::from(valid));
            }
        }
    }

    /// Writes each row's value at its cursor, and moves the cursor behind it.
    fn write(&self, out: &mut [u8], cursors: &mut [usize]) {
        match &self.values {
            Values::Null => {}
            Values::Boolean(values) => self.each_valid(cursors, |row, cursor| {
                out[*cursor] = u8::from(values.value(row));
                *cursor += 1;
            }),
            Values::Fixed { bytes, width: 4 } => self.write_fixed::<4>(bytes, out, cursors),
            Values::Fixed { bytes, width: 8 } => self.write_fixed::<8>(bytes, out, cursors),
            Values::Fixed { bytes, width: 16 } => self.write_fixed::<16>(bytes, out, cursors),
            Values::Fixed { bytes, width } => self.each_valid(cursors, |row, cursor| {
                out[*cursor..*cursor + width].copy_from_slice(&bytes[row * width..(row + 1) * width]);
                *cursor += width;
            }),
            Values::Bytes(texts) => self.each_valid(cursors, |row, cursor| {
                let value = texts.value(row);
                write_varint(value.len(), out, cursor);
                out[*cursor..*cursor + value.len()].copy_from_slice(value);
                *cursor += value.len();
            }),
            Values::Nested(rows) => {
                for (row, cursor) in rows.iter().zip(cursors) {
                    out[*cursor..*cursor + row.len()].copy_from_slice(row);
                    *cursor += row.len();
                }
            }
        }
    }

    fn write_fixed<const WIDTH: usize>(&self, bytes: &[u8], out: &mut [u8], cursors: &mut [usize]) {
        let (values, _) = bytes.as_chunks::<WIDTH>();
        self.each_valid(cursors, |row, cursor| {
            out[*cursor..*cursor + WIDTH].copy_from_slice(&values[row]);
            *cursor += WIDTH;
        });
    }

    fn each_valid(&self, cursors: &mut [usize], mut write: impl FnMut(usize, &mut usize)) {
        match &self.nulls {
            None => cursors.iter_mut().enumerate().for_each(|(row, cursor)| write(row, cursor)),
            Some(nulls) => {
                for row in nulls.valid_indices() {
                    write(row, &mut cursors[row]);
                }
            }
        }
    }
}

/// The values of a column that is not nested.
fn flat(array: &ArrayRef, equality: Equality) -> Values {
    let array = one_of_equal(array, equality);
    let data = array.to_data();
    if let Some(width) = width(array.data_type()) {
        let bytes = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
        return Values::Fixed { bytes, width };
    }
    let offsets =
        |size: usize| data.buffers()[0].slice_with_length(data.offset() * size, (data.len() + 1) * size);
    Values::Bytes(match array.data_type() {
        DataType::Utf8View => Texts::Views(array.as_string_view().clone().to_binary_view()),
        DataType::BinaryView => Texts::Views(array.as_binary_view().clone()),
        DataType::LargeUtf8 | DataType::LargeBinary => {
            Texts::Large { offsets: offsets(8), bytes: data.buffers()[1].clone() }
        }
        _ if array.is_empty() => {
            Texts::Small { offsets: Buffer::from_slice_ref([0_i32]), bytes: Buffer::default() }
        }
        _ => Texts::Small { offsets: offsets(4), bytes: data.buffers()[1].clone() },
    })
}

/// Makes of the floating-point numbers that `equality` calls equal one.
fn one_of_equal(array: &ArrayRef, equality: Equality) -> ArrayRef {
    let zero_is_one = equality == Equality::Grouping;
    match array.data_type() {
        _ if equality == Equality::Bits => Arc::clone(array),
        DataType::Float32 => {
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|value| match value {
                _ if value.is_nan() => f32::NAN,
                _ if zero_is_one && value == 0.0 => 0.0,
                _ => value,
            }))
        }
        DataType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| match value {
                _ if value.is_nan() => f64::NAN,
                _ if zero_is_one && value == 0.0 => 0.0,
                _ => value,
            }))
        }
        _ => Arc::clone(array),
    }
}

/// A column inside of others, of which single values are appended.
struct Nested {
    nulls: Option<NullBuffer>,
    shape: Shape,
}

enum Shape {
    Flat(Values),
    Struct(Vec<Nested>),
    /// Where each list begins and ends in its elements; whether the elements are sorted, as entries of maps in keys.
    List {
        ranges: Vec<(usize, usize)>,
        elements: Box<Nested>,
        sorted: bool,
    },
}

impl Nested {
    fn of(array: &ArrayRef, equality: Equality) -> Nested {
        let list = |offsets: Vec<usize>, elements: &ArrayRef, sorted| Shape::List {
            ranges: offsets.windows(2).map(|pair| (pair[0], pair[1])).collect(),
            elements: Box::new(Nested::of(elements, equality)),
            sorted,
        };
        let small = |offsets: &[i32]| offsets.iter().map(|offset| *offset as usize).collect();
        let shape = match array.data_type() {
            DataType::Null => Shape::Flat(Values::Null),
            DataType::Boolean => Shape::Flat(Values::Boolean(array.as_boolean().values().clone())),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                list(small(lists.offsets()), lists.values(), false)
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                list(lists.offsets().iter().map(|offset| *offset as usize).collect(), lists.values(), false)
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                let entries: ArrayRef = Arc::new(maps.entries().clone());
                list(small(maps.offsets()), &entries, equality != Equality::Bits)
            }
            DataType::Struct(_) => {
                let columns = array.as_struct().columns();
                Shape::Struct(columns.iter().map(|column| Nested::of(column, equality)).collect())
            }
            _ => Shape::Flat(flat(array, equality)),
        };
        Nested { nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0), shape }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Whether values have no bytes at all.
    fn has_no_bytes(&self) -> bool {
        matches!(&self.shape, Shape::Struct(fields) if fields.is_empty())
    }

    /// Appends a value that is not null.
    fn push(&self, row: usize, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Flat(values) => push_flat(values, row, out),
            Shape::Struct(fields) => {
                push_bitmap(fields.iter().map(|field| field.is_null(row)), out);
                for field in fields.iter().filter(|field| !field.is_null(row)) {
                    field.push(row, out);
                }
            }
            Shape::List { ranges, elements, sorted } => {
                let (from, to) = ranges[row];
                let with_bitmap =
                    elements.has_no_bytes() || (from..to).any(|element| elements.is_null(element));
                push_varint(2 * (to - from) + usize::from(with_bitmap), out);
                if with_bitmap {
                    push_bitmap((from..to).map(|element| elements.is_null(element)), out);
                }
                if *sorted {
                    return push_sorted(elements, from..to, out);
                }
                for element in (from..to).filter(|element| !elements.is_null(*element)) {
                    elements.push(element, out);
                }
            }
        }
    }
}

/// Appends elements by their bytes.
fn push_sorted(elements: &Nested, range: std::ops::Range<usize>, out: &mut Vec<u8>) {
    let mut entries = Rows::default();
    for element in range {
        elements.push(element, &mut entries.bytes);
        entries.ends.push(entries.bytes.len());
    }
    let mut sorted: Vec<&[u8]> = entries.iter().collect();
    sorted.sort_unstable();
    sorted.into_iter().for_each(|entry| out.extend_from_slice(entry));
}

fn push_flat(values: &Values, row: usize, out: &mut Vec<u8>) {
    match values {
        Values::Null => {}
        Values::Boolean(values) => out.push(u8::from(values.value(row))),
        Values::Fixed { bytes, width } => out.extend_from_slice(&bytes[row * width..(row + 1) * width]),
        Values::Bytes(texts) => {
            let value = texts.value(row);
            push_varint(value.len(), out);
            out.extend_from_slice(value);
        }
        Values::Nested(rows) => out.extend_from_slice(rows.row(row)),
    }
}

fn push_bitmap(nulls: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (index, null) in nulls.enumerate() {
        if index % 8 == 0 {
            out.push(0);
        }
        if let (true, Some(last)) = (null, out.last_mut()) {
            *last |= 1 << (index % 8);
        }
    }
}

fn varint_length(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_varint(mut value: usize, out: &mut [u8], cursor: &mut usize) {
    while value >= 0x80 {
        out[*cursor] = value as u8 | 0x80;
        *cursor += 1;
        value >>= 7;
    }
    out[*cursor] = value as u8;
    *cursor += 1;
}
