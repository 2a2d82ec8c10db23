//! The event times that the watermarks of a query saw in a micro-batch.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, internal_err};

/// The times, in microseconds since the Unix epoch, of a column that carries the event time: a window's is its end.
pub(super) fn times(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Struct(_) => match column.as_struct().column_by_name("end") {
            Some(end) => Ok(Arc::clone(end)),
            None => internal_err!("a window without an end"),
        },
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(Arc::clone(column)),
        other => internal_err!("an event time of type {other}"),
    }
}

/// The event times that a watermark saw in a micro-batch, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EventTimes {
    /// Rows.
    pub count: u64,
    /// The smallest.
    pub min: i64,
    /// The greatest.
    pub max: i64,
    /// Their sum, for the average.
    pub sum: f64,
    /// The greatest that raises the watermark; `None` without one.
    pub latest: Option<i64>,
    /// How many are further ahead of the clock than `maxFutureSkew`, and raise no watermark.
    pub future: u64,
}

impl EventTimes {
    /// The mean; `None` without rows.
    pub fn average(&self) -> Option<i64> {
        (self.count > 0).then(|| (self.sum / self.count as f64) as i64)
    }

    /// Both together.
    pub fn merge(&mut self, other: &EventTimes) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.latest = self.latest.max(other.latest);
        self.future += other.future;
    }

    /// Of a column; times after `limit`, in milliseconds, raise no watermark.
    pub(super) fn of(column: &ArrayRef, limit: i64) -> Result<EventTimes> {
        let column = times(column)?;
        let times = column.as_primitive::<TimestampMicrosecondType>();
        let mut seen = EventTimes { min: i64::MAX, max: i64::MIN, ..EventTimes::default() };
        for row in 0..times.len() {
            // As Spark has it, a NULL is the epoch.
            let ms = if times.is_valid(row) { times.value(row).div_euclid(1000) } else { 0 };
            seen.count += 1;
            seen.min = seen.min.min(ms);
            seen.max = seen.max.max(ms);
            seen.sum += ms as f64;
            if ms <= limit {
                seen.latest = seen.latest.max(Some(ms));
            } else {
                seen.future += 1;
            }
        }
        Ok(if seen.count == 0 { EventTimes::default() } else { seen })
    }
}

/// What the watermarks of a query saw in one run of a micro-batch, by their number; shared by its lanes.
#[derive(Debug, Default)]
pub(in crate::query) struct Observed(Mutex<Vec<EventTimes>>);

impl Observed {
    pub(super) fn note(&self, watermark: usize, times: &EventTimes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= watermark {
            all.resize(watermark + 1, EventTimes::default());
        }
        all[watermark].merge(times);
    }

    /// Adds what another run saw.
    pub(in crate::query) fn add(&self, other: &Observed) {
        let other = other.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        other.iter().enumerate().for_each(|(number, times)| self.note(number, times));
    }

    /// What the first `count` watermarks saw.
    pub(in crate::query) fn all(&self, count: usize) -> Vec<EventTimes> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.resize(count, EventTimes::default());
        all
    }
}
