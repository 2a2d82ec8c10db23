//! CAST, `try_cast` and the casts that Spark puts in by itself: every pair of types, with ANSI and without.
//!
//! `Cast` of Spark 4.0. [`Cast`] is the function the analyzer's rule puts in place of DataFusion's own casts;
//! [`cast`] is the kernel, for other functions too. Errors name types, never the value.

pub(crate) mod from_text;
pub(crate) mod number;
#[cfg(test)]
mod tests;
pub(crate) mod time;
pub(crate) mod to_text;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, MapArray, StringArray, StructArray,
    UInt32Array, new_empty_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{nullif, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::coerce::types::{
    cast_may_fail, entry_of, is_integral, is_interval, is_number, is_timestamp, name_of, refused,
};
use crate::query::conf::Conf;
use crate::query::error::{ExpressionError, cut, shown};

/// What becomes of a value that has no counterpart in the target type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// CAST under ANSI: an error.
    Ansi,
    /// `try_cast`: NULL, for what is an error under ANSI.
    Try,
    /// CAST without ANSI: NULL, or the low bits.
    Lenient,
}

impl Mode {
    /// The mode of CAST under `conf`.
    pub(crate) fn of(conf: &Conf) -> Mode {
        if conf.ansi { Mode::Ansi } else { Mode::Lenient }
    }

    /// NULL, or the error.
    fn fault<T>(self, error: impl FnOnce() -> DataFusionError) -> Result<Option<T>> {
        if self == Mode::Ansi { Err(error()) } else { Ok(None) }
    }
}

/// What a cast needs to know of the query.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) mode: Mode,
    pub(crate) conf: &'a Conf,
}

fn invalid(to: &DataType) -> DataFusionError {
    ExpressionError::raise("CAST_INVALID_INPUT", format!("the text is not a valid {}", name_of(to)))
}

fn overflow(from: &DataType, to: &DataType) -> DataFusionError {
    ExpressionError::raise(
        "CAST_OVERFLOW",
        format!("a value of {} is out of the range of {}", name_of(from), name_of(to)),
    )
}

/// The error for a DECIMAL that does not fit `to`.
pub(crate) fn out_of_range(to: &DataType) -> DataFusionError {
    ExpressionError::raise(
        "NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION",
        format!("the value does not fit {}", name_of(to)),
    )
}

/// Whether Spark has the cast (`Cast.canAnsiCast`, `Cast.canCast`).
pub(crate) fn allowed(mode: Mode, from: &DataType, to: &DataType) -> bool {
    let lenient = mode == Mode::Lenient;
    match (from, to) {
        (DataType::Null, _) | (_, DataType::Utf8) => true,
        (from, to) if from == to => true,
        (DataType::Utf8, to) => {
            is_number(to)
                || is_timestamp(to)
                || matches!(to, DataType::Boolean | DataType::Date32 | DataType::Binary)
        }
        (from, DataType::Binary) => lenient && is_integral(from),
        (DataType::Boolean, to) => {
            is_number(to) || (lenient && matches!(to, DataType::Timestamp(_, Some(_))))
        }
        (from, to) if is_number(from) => {
            is_number(to) || *to == DataType::Boolean || matches!(to, DataType::Timestamp(_, Some(_)))
        }
        (DataType::Date32, to) => {
            is_timestamp(to) || (lenient && (is_number(to) || *to == DataType::Boolean))
        }
        (DataType::Timestamp(_, Some(_)), to) => {
            is_number(to)
                || is_timestamp(to)
                || *to == DataType::Date32
                || (lenient && *to == DataType::Boolean)
        }
        (DataType::Timestamp(_, None), to) => is_timestamp(to) || *to == DataType::Date32,
        (DataType::List(a), DataType::List(b)) => allowed(mode, a.data_type(), b.data_type()),
        (DataType::Map(..), DataType::Map(..)) => match (entry_of(from), entry_of(to)) {
            (Some((k1, v1)), Some((k2, v2))) => allowed(mode, k1, k2) && allowed(mode, v1, v2),
            _ => false,
        },
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| allowed(mode, a.data_type(), b.data_type()))
        }
        (from, to) => is_interval(from) && is_interval(to),
    }
}

/// The values of `array` in the type `to`.
///
/// # Errors
/// Under ANSI the error of the first value that has no counterpart.
pub(crate) fn cast(array: &ArrayRef, to: &DataType, way: Way) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    if *from == DataType::Null || array.null_count() == array.len() && !is_nested(to) {
        return Ok(new_null_array(to, array.len()));
    }
    match (from, to) {
        (DataType::Utf8, to) => from_text::cast(array.as_string::<i32>(), to, way),
        (DataType::Binary, DataType::Utf8) => Ok(Arc::new(text_of(array.as_binary::<i32>()))),
        (_, DataType::Utf8) => to_text::cast(array, way),
        (from, to) if is_timestamp(from) || *from == DataType::Date32 || is_timestamp(to) => {
            time::cast(array, to, way)
        }
        (from, to) if is_number(from) || *from == DataType::Boolean => number::cast(array, to, way),
        (DataType::List(_), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = held(list.offsets(), list.nulls(), list.values())?;
            let values = cast(&values, field.data_type(), way)?;
            let nullable = field.as_ref().clone().with_nullable(true);
            Ok(Arc::new(ListArray::try_new(Arc::new(nullable), offsets, values, list.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entry, sorted)) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, entries) = held(map.offsets(), map.nulls(), &entries)?;
            let entries = cast(&entries, entry.data_type(), way)?;
            let entries = entries.as_struct().clone();
            Ok(Arc::new(MapArray::try_new(
                Arc::clone(entry),
                offsets,
                entries,
                map.nulls().cloned(),
                *sorted,
            )?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let record = array.as_struct();
            let columns = record.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| {
                cast(&without_hidden(column, record.nulls())?, field.data_type(), way)
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, record.nulls().cloned())?))
        }
        (from, to) => exec_err!("no cast from {from} to {to}"),
    }
}

/// Offsets and values of the lists or maps that are there. A slice keeps all values of the array it was cut from, and
/// below a NULL there may be values, too: neither may fail a cast.
fn held(
    offsets: &OffsetBuffer<i32>,
    nulls: Option<&NullBuffer>,
    values: &ArrayRef,
) -> Result<(OffsetBuffer<i32>, ArrayRef)> {
    let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
    if offsets.lengths().enumerate().any(|(row, length)| length > 0 && is_null(row)) {
        let lengths = offsets.lengths().enumerate();
        let lengths = lengths.map(|(row, length)| if is_null(row) { 0 } else { length });
        let rows = offsets.windows(2).enumerate().filter(|(row, _)| !is_null(*row));
        let places: UInt32Array = rows.flat_map(|(_, ends)| ends[0] as u32..ends[1] as u32).collect();
        return Ok((OffsetBuffer::from_lengths(lengths), take(values, &places, None)?));
    }
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let values = values.slice(first as usize, (last - first) as usize);
    let offsets: ScalarBuffer<i32> = offsets.iter().map(|offset| offset - first).collect();
    Ok((OffsetBuffer::new(offsets), values))
}

/// A field's values without those below a STRUCT that is NULL.
fn without_hidden(column: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    match nulls {
        Some(nulls) if nulls.null_count() > 0 && *column.data_type() != DataType::Null => {
            Ok(nullif(column, &BooleanArray::new(!nulls.inner(), None))?)
        }
        _ => Ok(Arc::clone(column)),
    }
}

fn is_nested(kind: &DataType) -> bool {
    matches!(kind, DataType::List(_) | DataType::Map(..) | DataType::Struct(_))
}

/// Bytes as text. Bytes that are no UTF-8 become U+FFFD: Spark keeps them, but an Arrow text cannot.
fn text_of(bytes: &BinaryArray) -> StringArray {
    bytes.iter().map(|value| value.map(String::from_utf8_lossy)).collect()
}

/// The cast to one type as a function of DataFusion.
#[derive(Debug)]
pub(crate) struct Cast {
    to: DataType,
    mode: Mode,
    conf: Conf,
    signature: Signature,
}

impl Cast {
    pub(crate) fn new(to: DataType, mode: Mode, conf: &Conf) -> Cast {
        Cast { to, mode, conf: conf.clone(), signature: Signature::any(1, Volatility::Immutable) }
    }

    /// Whether it may raise an error for a value of `from`.
    pub(crate) fn may_fail(&self, from: &DataType) -> bool {
        self.mode == Mode::Ansi && cast_may_fail(from, &self.to)
    }

    /// Checks that Spark has the cast from `from`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION` if it has not.
    pub(crate) fn check(&self, from: &DataType) -> Result<()> {
        let to = &self.to;
        if allowed(self.mode, from, to) {
            return Ok(());
        }
        let message = format!("{} cannot be cast to {}", name_of(from), name_of(to));
        Err(refused("DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION", message))
    }
}

impl PartialEq for Cast {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to && self.mode == other.mode && self.conf == other.conf
    }
}

impl Eq for Cast {}

impl Hash for Cast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.to, self.mode, &self.conf.zone_id).hash(state);
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        "cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if let [from] = types {
            self.check(from)?;
        }
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let ([from], [literal]) = (args.arg_fields, args.scalar_arguments) else {
            return exec_err!("a cast has one argument");
        };
        self.check(from.data_type())?;
        let shown = format!("CAST({} AS {})", shown(from, *literal), name_of(&self.to));
        Ok(Arc::new(Field::new(cut(shown), self.to.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let way = Way { mode: self.mode, conf: &self.conf };
        let cast = |array: &ArrayRef| {
            cast(array, &self.to, way)
                .map_err(|error| ExpressionError::inside(error, args.return_field.name()))
        };
        match &args.args[..] {
            // A branch of a CASE without rows may come here, and fails for none.
            [_] if args.number_rows == 0 => Ok(ColumnarValue::Array(new_empty_array(&self.to))),
            [ColumnarValue::Scalar(value)] => {
                let result = cast(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(cast(array)?)),
            _ => exec_err!("a cast has one argument"),
        }
    }
}

/// The same values under the field names of `to`, a type that differs in nothing else.
///
/// # Errors
/// If the types differ in more.
pub(crate) fn relabel(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast(array, to, Way { mode: Mode::Try, conf: &Conf::default() })
}
