//! Rows to columns: each column is read from every row in turn.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, BooleanBufferBuilder,
    LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapArray, NullArray, NullBufferBuilder,
    StringArray, StringViewArray, StructArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::width;
use crate::model::{Error, Result};

/// Bytes of state that no codec of these types has written.
pub(super) fn damaged() -> Error {
    Error::corrupt("a row of state is damaged: its bytes are not of its types").hint(crate::state::RESTORE)
}

/// Decodes rows of columns of `types`.
pub(super) fn columns(types: &[DataType], mut rows: Vec<&[u8]>) -> Result<Vec<ArrayRef>> {
    let bitmap = types.len().div_ceil(8);
    let mut bitmaps = Vec::with_capacity(rows.len());
    for row in &mut rows {
        bitmaps.push(take(row, bitmap)?);
    }
    let mut columns = Vec::with_capacity(types.len());
    for (index, data_type) in types.iter().enumerate() {
        let mut column = Column::of(data_type, rows.len());
        column.read_all(&mut rows, |row| is_set(bitmaps[row], index))?;
        columns.push(column.finish()?);
    }
    if rows.iter().any(|rest| !rest.is_empty()) {
        return Err(damaged());
    }
    Ok(columns)
}

/// A column that is being read.
struct Column {
    data_type: DataType,
    nulls: NullBufferBuilder,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanBufferBuilder),
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    Bytes {
        ends: Vec<usize>,
        bytes: Vec<u8>,
    },
    /// Lists and maps.
    List {
        ends: Vec<usize>,
        elements: Box<Column>,
    },
    Struct(Vec<Column>),
}

impl Column {
    fn of(data_type: &DataType, rows: usize) -> Column {
        let values = match data_type {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            DataType::List(element) | DataType::LargeList(element) | DataType::Map(element, _) => {
                Values::List {
                    ends: Vec::with_capacity(rows),
                    elements: Box::new(Column::of(element.data_type(), 0)),
                }
            }
            DataType::Struct(fields) => {
                Values::Struct(fields.iter().map(|field| Column::of(field.data_type(), rows)).collect())
            }
            other => match width(other) {
                Some(width) => Values::Fixed { width, bytes: Vec::with_capacity(rows * width) },
                None => Values::Bytes { ends: Vec::with_capacity(rows), bytes: Vec::new() },
            },
        };
        Column { data_type: data_type.clone(), nulls: NullBufferBuilder::new(rows), values }
    }

    /// Reads this column of every row, of which the beginning is taken away.
    fn read_all(&mut self, rows: &mut [&[u8]], is_null: impl Fn(usize) -> bool) -> Result<()> {
        match &mut self.values {
            Values::Fixed { width: 4, bytes } => read_fixed::<4>(bytes, &mut self.nulls, rows, is_null),
            Values::Fixed { width: 8, bytes } => read_fixed::<8>(bytes, &mut self.nulls, rows, is_null),
            Values::Bytes { ends, bytes } => {
                for (index, row) in rows.iter_mut().enumerate() {
                    let null = is_null(index);
                    self.nulls.append(!null);
                    if !null {
                        bytes.extend_from_slice(take_bytes(row)?);
                    }
                    ends.push(bytes.len());
                }
                Ok(())
            }
            _ => rows.iter_mut().enumerate().try_for_each(|(index, row)| self.read(is_null(index), row)),
        }
    }

    /// Reads one value.
    fn read(&mut self, null: bool, row: &mut &[u8]) -> Result<()> {
        self.nulls.append(!null);
        match &mut self.values {
            Values::Null if null => {}
            Values::Null => return Err(damaged()),
            Values::Boolean(values) => values.append(match null {
                true => false,
                false => match take(row, 1)? {
                    [0] => false,
                    [1] => true,
                    _ => return Err(damaged()),
                },
            }),
            Values::Fixed { width, bytes } if null => bytes.resize(bytes.len() + *width, 0),
            Values::Fixed { width, bytes } => bytes.extend_from_slice(take(row, *width)?),
            Values::Bytes { ends, bytes } => {
                if !null {
                    bytes.extend_from_slice(take_bytes(row)?);
                }
                ends.push(bytes.len());
            }
            Values::List { ends, elements } => {
                if !null {
                    read_elements(elements, row)?;
                }
                ends.push(elements.nulls.len());
            }
            Values::Struct(fields) if null => {
                fields.iter_mut().try_for_each(|field| field.read(true, row))?;
            }
            Values::Struct(fields) => {
                let bitmap = take(row, fields.len().div_ceil(8))?;
                for (index, field) in fields.iter_mut().enumerate() {
                    field.read(is_set(bitmap, index), row)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let rows = self.nulls.len();
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Null => Arc::new(NullArray::new(rows)),
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Fixed { bytes, .. } => {
                let data = ArrayData::builder(self.data_type).len(rows).nulls(nulls);
                // Of an `i128` the memory is aligned to 16 bytes, which that of bytes need not be.
                let data = data.add_buffer(Buffer::from_vec(bytes)).align_buffers(true);
                make_array(data.build().map_err(wrong)?)
            }
            Values::Bytes { ends, bytes } => texts(&self.data_type, &ends, bytes, nulls)?,
            Values::List { ends, elements } => list(&self.data_type, &ends, elements.finish()?, nulls)?,
            Values::Struct(columns) => {
                let columns = columns.into_iter().map(Column::finish).collect::<Result<_>>()?;
                Arc::new(structs(&self.data_type, columns, rows, nulls)?)
            }
        })
    }
}

fn read_fixed<const WIDTH: usize>(
    bytes: &mut Vec<u8>,
    nulls: &mut NullBufferBuilder,
    rows: &mut [&[u8]],
    is_null: impl Fn(usize) -> bool,
) -> Result<()> {
    for (index, row) in rows.iter_mut().enumerate() {
        let null = is_null(index);
        nulls.append(!null);
        if null {
            bytes.extend_from_slice(&[0; WIDTH]);
            continue;
        }
        let (value, rest) = row.split_first_chunk::<WIDTH>().ok_or_else(damaged)?;
        bytes.extend_from_slice(value);
        *row = rest;
    }
    Ok(())
}

fn read_elements(elements: &mut Column, row: &mut &[u8]) -> Result<()> {
    let length = take_varint(row)?;
    let (count, with_bitmap) = (length / 2, length % 2 == 1);
    let bitmap = if with_bitmap { take(row, count.div_ceil(8))? } else { &[] };
    // Elements have a byte at least where there is no bitmap.
    if !with_bitmap && count > row.len() {
        return Err(damaged());
    }
    (0..count).try_for_each(|index| elements.read(with_bitmap && is_set(bitmap, index), row))
}

fn texts(
    data_type: &DataType,
    ends: &[usize],
    bytes: Vec<u8>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let values = Buffer::from_vec(bytes);
    Ok(match data_type {
        DataType::LargeUtf8 => {
            Arc::new(LargeStringArray::try_new(large(ends), values, nulls).map_err(wrong)?)
        }
        DataType::LargeBinary => {
            Arc::new(LargeBinaryArray::try_new(large(ends), values, nulls).map_err(wrong)?)
        }
        DataType::Binary => Arc::new(BinaryArray::try_new(small(ends)?, values, nulls).map_err(wrong)?),
        DataType::BinaryView => {
            let array = BinaryArray::try_new(small(ends)?, values, nulls).map_err(wrong)?;
            Arc::new(BinaryViewArray::from(&array))
        }
        DataType::Utf8View => {
            let array = StringArray::try_new(small(ends)?, values, nulls).map_err(wrong)?;
            Arc::new(StringViewArray::from(&array))
        }
        _ => Arc::new(StringArray::try_new(small(ends)?, values, nulls).map_err(wrong)?),
    })
}

fn list(
    data_type: &DataType,
    ends: &[usize],
    elements: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::List(field) => {
            Arc::new(ListArray::try_new(Arc::clone(field), small(ends)?, elements, nulls).map_err(wrong)?)
        }
        DataType::LargeList(field) => {
            Arc::new(LargeListArray::try_new(Arc::clone(field), large(ends), elements, nulls).map_err(wrong)?)
        }
        DataType::Map(field, ordered) => {
            let entries = elements.as_any().downcast_ref::<StructArray>().ok_or_else(damaged)?.clone();
            let field: FieldRef = Arc::clone(field);
            Arc::new(MapArray::try_new(field, small(ends)?, entries, nulls, *ordered).map_err(wrong)?)
        }
        other => return Err(Error::internal(format!("{other} is not a list"))),
    })
}

fn structs(
    data_type: &DataType,
    columns: Vec<ArrayRef>,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> Result<StructArray> {
    let fields = match data_type {
        DataType::Struct(fields) => fields.clone(),
        _ => Fields::empty(),
    };
    StructArray::try_new_with_length(fields, columns, nulls, rows).map_err(wrong)
}

/// Offsets of at most 2 GiB.
fn small(ends: &[usize]) -> Result<OffsetBuffer<i32>> {
    if ends.last().is_some_and(|end| i32::try_from(*end).is_err()) {
        return Err(Error::internal("more than 2 GiB of one column of state are read at once"));
    }
    let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().map(|end| *end as i32)).collect();
    Ok(OffsetBuffer::new(offsets.into()))
}

fn large(ends: &[usize]) -> OffsetBuffer<i64> {
    let offsets: Vec<i64> = std::iter::once(0).chain(ends.iter().map(|end| *end as i64)).collect();
    OffsetBuffer::new(offsets.into())
}

fn is_set(bitmap: &[u8], index: usize) -> bool {
    bitmap[index / 8] >> (index % 8) & 1 == 1
}

fn take<'a>(row: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = row.split_at_checked(length).ok_or_else(damaged)?;
    *row = rest;
    Ok(taken)
}

fn take_bytes<'a>(row: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = take_varint(row)?;
    take(row, length)
}

fn take_varint(row: &mut &[u8]) -> Result<usize> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = row.split_first().ok_or_else(damaged)?;
        *row = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).map_err(|_| damaged());
        }
    }
    Err(damaged())
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    damaged().source(error)
}
