//! Keys of state: columns as bytes, led by a time.

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimestampMicrosecondType};
use std::sync::Arc;

use crate::state::time_prefix;

/// The time of a key that has none: such keys come last, and no watermark passes them.
pub(super) const NO_TIME: i64 = i64::MAX;

/// One time for each row: the event time in microseconds, or [`NO_TIME`].
pub(super) fn times_of(column: Option<&ArrayRef>, rows: usize) -> Vec<i64> {
    let Some(column) = column else { return vec![NO_TIME; rows] };
    let times = column.as_primitive::<TimestampMicrosecondType>();
    (0..rows).map(|row| if times.is_valid(row) { times.value(row) } else { NO_TIME }).collect()
}

/// A key's bytes behind its time.
pub(super) fn timed(time: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + key.len());
    bytes.extend_from_slice(&time_prefix(time));
    bytes.extend_from_slice(key);
    bytes
}

/// The first key after all whose time is not after `watermark`, both in microseconds.
pub(super) fn bound(watermark: i64) -> [u8; 8] {
    time_prefix(watermark.saturating_add(1))
}

/// Floats as GROUP BY compares them: one zero, one NaN.
pub(super) fn normalised(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            let made: Float64Array = column.as_primitive::<Float64Type>().unary(one);
            Arc::new(made)
        }
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            let made: Float32Array = column.as_primitive::<Float32Type>().unary(one);
            Arc::new(made)
        }
        _ => Arc::clone(column),
    }
}
