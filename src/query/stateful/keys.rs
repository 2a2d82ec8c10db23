//! Keys of state: columns as bytes, led by a time.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;

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
