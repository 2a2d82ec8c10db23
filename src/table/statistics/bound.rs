//! The least and the greatest value of a column: of one batch, in Spark's order.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{max_string, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};

/// Characters of a text that decide its bound, and some more. Beginnings order as whole texts do.
const KEPT_CHARS: usize = 80;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound {
    Integer(i128),
    Float(f64),
    Text(Box<str>),
}

impl Bound {
    /// Spark's order: NaN is the greatest.
    pub(super) fn is_below(&self, other: &Bound) -> bool {
        match (self, other) {
            (Bound::Integer(a), Bound::Integer(b)) => a < b,
            (Bound::Float(a), Bound::Float(b)) => a < b || (b.is_nan() && !a.is_nan()),
            (Bound::Text(a), Bound::Text(b)) => a < b,
            _ => false,
        }
    }
}

/// The least and the greatest value; `None` if all are null.
pub(super) fn range(values: &ArrayRef, nulls: Option<&NullBuffer>) -> Option<(Bound, Bound)> {
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
