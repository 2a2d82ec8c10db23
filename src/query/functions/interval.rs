//! `+` and `-` over dates, timestamps and intervals.
//!
//! Spark has an interval type for each pair of units; here an interval is months, days and nanoseconds, or a duration
//! (DAY TO SECOND). Days are those of the calendar in the session's zone, the rest is exact.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DurationMicrosecondArray, DurationSecondArray,
    IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, DurationSecondType, Int32Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err};

use super::scalar::{Bind, Bound, Call};
use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{SECONDS_PER_DAY, date_of, days_of, month_length};
use crate::query::arithmetic::operation::{OnFault, Operation};
use crate::query::cast::time::{MICROS_PER_DAY, from_clock, to_clock};
use crate::query::coerce::types::{clock_time, day_time, days, instant, is_interval, is_timestamp};
use crate::query::error::ExpressionError;

/// Months, days and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

impl Span {
    /// So many of it, one after the other.
    pub(crate) fn times(self, number: i32) -> Option<Span> {
        Some(Span {
            months: self.months.checked_mul(number)?,
            days: self.days.checked_mul(number)?,
            micros: self.micros.checked_mul(i64::from(number))?,
        })
    }
}

/// The types of an operator over dates and intervals; `None` if it is one over numbers.
pub(crate) fn bind(bind: &Bind, operation: Operation) -> Result<Option<Bound>> {
    let [a, b] = bind.types else { return Ok(None) };
    let minus = operation == Operation::Subtract;
    if !minus && operation != Operation::Add {
        return Ok(None);
    }
    let temporal = |kind: &DataType| is_timestamp(kind) || *kind == DataType::Date32;
    let whole = |kind: &DataType| matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32);
    let bound = match (a, b) {
        (DataType::Date32, b) if whole(b) => {
            Bound::new([DataType::Date32, DataType::Int32], DataType::Date32)
        }
        (a, DataType::Date32) if whole(a) && !minus => {
            Bound::new([DataType::Int32, DataType::Date32], DataType::Date32)
        }
        (DataType::Date32, DataType::Date32) if minus => {
            Bound::new([DataType::Date32, DataType::Date32], days())
        }
        (a, b) if temporal(a) && temporal(b) && minus => {
            let clock = |kind: &DataType| *kind == clock_time();
            let common = if clock(a) || clock(b) { clock_time() } else { instant() };
            Bound::new([common.clone(), common], day_time())
        }
        (a, b) if is_interval(a) && is_interval(b) => {
            let both = if a == b { a.clone() } else { DataType::Interval(IntervalUnit::MonthDayNano) };
            Bound::new([both.clone(), both.clone()], both)
        }
        (a, b) if temporal(a) && is_interval(b) => {
            let result = moved(a, b, literal_interval(bind, 1));
            Bound::new([result.clone(), b.clone()], result)
        }
        (a, b) if is_interval(a) && temporal(b) && !minus => {
            let result = moved(b, a, literal_interval(bind, 0));
            Bound::new([a.clone(), result.clone()], result)
        }
        _ => return Ok(None),
    };
    Ok(Some(bound))
}

fn literal_interval(bind: &Bind, at: usize) -> Option<IntervalMonthDayNano> {
    match bind.literals.get(at)?.as_ref()? {
        ScalarValue::IntervalMonthDayNano(value) => *value,
        _ => None,
    }
}

/// The type of a date or timestamp with an interval added: a DATE stays one while the interval has no time of day.
fn moved(kind: &DataType, interval: &DataType, value: Option<IntervalMonthDayNano>) -> DataType {
    match (kind, interval, value) {
        (DataType::Date32, DataType::Duration(TimeUnit::Microsecond), _) => instant(),
        (DataType::Date32, _, Some(value)) if value.nanoseconds != 0 => instant(),
        (kind, ..) => kind.clone(),
    }
}

/// The value of an interval array.
pub(crate) fn span_of(array: &dyn Array, row: usize) -> Span {
    match array.data_type() {
        DataType::Duration(TimeUnit::Second) => {
            let seconds = array.as_primitive::<DurationSecondType>().value(row);
            Span { months: 0, days: (seconds / SECONDS_PER_DAY) as i32, micros: 0 }
        }
        DataType::Duration(_) => {
            let micros = array.as_primitive::<DurationMicrosecondType>().value(row);
            Span { months: 0, days: (micros / MICROS_PER_DAY) as i32, micros: micros % MICROS_PER_DAY }
        }
        _ => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let micros = value.nanoseconds / 1000;
            let days = value.days + (micros / MICROS_PER_DAY) as i32;
            Span { months: value.months, days, micros: micros % MICROS_PER_DAY }
        }
    }
}

/// A day with months added: the day of the month is cut to the month's length.
pub(crate) fn add_months(day: i64, months: i64) -> i64 {
    let (year, month, of_month) = date_of(day);
    let total = year * 12 + i64::from(month) - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) as u32 + 1);
    days_of(year, month, of_month.min(month_length(year, month)))
}

/// An instant with an interval added, by the calendar of `zone`.
pub(crate) fn add_span(at: i64, span: Span, zone: &Zone) -> Option<i64> {
    let mut at = at;
    if span.months != 0 || span.days != 0 {
        let clock = to_clock(at, zone);
        let (day, rest) = (clock.div_euclid(MICROS_PER_DAY), clock.rem_euclid(MICROS_PER_DAY));
        let mut day = day;
        if span.months != 0 {
            day = add_months(day, i64::from(span.months));
        }
        let clock = (day + i64::from(span.days)).checked_mul(MICROS_PER_DAY)?.checked_add(rest)?;
        at = from_clock(clock, zone);
    }
    at.checked_add(span.micros)
}

fn overflow() -> datafusion::common::DataFusionError {
    ExpressionError::raise("DATETIME_OVERFLOW", "the date or the timestamp is out of range")
}

/// Runs an operator over dates and intervals; `None` if its arguments are numbers.
pub(crate) fn run(call: &Call, operation: Operation, fault: OnFault) -> Result<Option<ArrayRef>> {
    let [a, b] = &call.args[..] else { return Ok(None) };
    let sign = if operation == Operation::Subtract { -1 } else { 1 };
    let result: ArrayRef = match (a.data_type(), b.data_type()) {
        (DataType::Date32, DataType::Int32) => Arc::new(add_days(a, b, sign)),
        (DataType::Int32, DataType::Date32) => Arc::new(add_days(b, a, 1)),
        (DataType::Date32, DataType::Date32) => {
            let pairs = a.as_primitive::<Date32Type>().iter().zip(b.as_primitive::<Date32Type>());
            let between = |(a, b): (i32, i32)| (i64::from(a) - i64::from(b)) * SECONDS_PER_DAY;
            Arc::new(pairs.map(|(a, b)| a.zip(b).map(between)).collect::<DurationSecondArray>())
        }
        (DataType::Timestamp(..), DataType::Timestamp(..)) => {
            let pairs = a.as_primitive::<TimestampMicrosecondType>().iter();
            let pairs = pairs.zip(b.as_primitive::<TimestampMicrosecondType>());
            Arc::new(
                pairs
                    .map(|(a, b)| a.zip(b).map(|(a, b)| a.wrapping_sub(b)))
                    .collect::<DurationMicrosecondArray>(),
            )
        }
        (kind, other) if is_interval(kind) && is_interval(other) => add_intervals(a, b, sign)?,
        (kind, other) if is_interval(other) => add_to(kind, a, b, sign, call, fault)?,
        (kind, other) if is_interval(kind) => add_to(other, b, a, 1, call, fault)?,
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn add_days(dates: &ArrayRef, count: &ArrayRef, sign: i32) -> Date32Array {
    let pairs = dates.as_primitive::<Date32Type>().iter().zip(count.as_primitive::<Int32Type>());
    pairs
        .map(|(day, count)| day.zip(count).map(|(day, count)| day.wrapping_add(count.wrapping_mul(sign))))
        .collect()
}

fn add_to(
    kind: &DataType,
    moments: &ArrayRef,
    intervals: &ArrayRef,
    sign: i32,
    call: &Call,
    fault: OnFault,
) -> Result<ArrayRef> {
    let zone = if *kind == clock_time() { &Zone::UTC } else { &call.conf.zone };
    let span = |row: usize| {
        let span = span_of(intervals, row);
        Span {
            months: span.months.wrapping_mul(sign),
            days: span.days.wrapping_mul(sign),
            micros: span.micros.wrapping_mul(i64::from(sign)),
        }
    };
    let valid = |row: usize| moments.is_valid(row) && intervals.is_valid(row);
    if *kind == DataType::Date32 {
        let dates = moments.as_primitive::<Date32Type>();
        let moved = |row: usize| {
            let span = span(row);
            let day = add_months(i64::from(dates.value(row)), i64::from(span.months)) + i64::from(span.days);
            i32::try_from(day).ok()
        };
        let values = (0..call.rows).map(|row| match valid(row).then(|| moved(row)) {
            Some(None) if fault == OnFault::Raise => Err(overflow()),
            value => Ok(value.flatten()),
        });
        return Ok(Arc::new(values.collect::<Result<Date32Array>>()?));
    }
    let instants = moments.as_primitive::<TimestampMicrosecondType>();
    let values =
        (0..call.rows).map(|row| match valid(row).then(|| add_span(instants.value(row), span(row), zone)) {
            Some(None) if fault == OnFault::Raise => Err(overflow()),
            value => Ok(value.flatten()),
        });
    Ok(Arc::new(values.collect::<Result<TimestampMicrosecondArray>>()?.with_data_type(kind.clone())))
}

fn add_intervals(a: &ArrayRef, b: &ArrayRef, sign: i32) -> Result<ArrayRef> {
    if a.data_type() != b.data_type() {
        return exec_err!("intervals of two kinds do not add up");
    }
    Ok(match a.data_type() {
        DataType::Interval(_) => {
            let pairs = a.as_primitive::<IntervalMonthDayNanoType>().iter();
            let pairs = pairs.zip(b.as_primitive::<IntervalMonthDayNanoType>());
            let sum = |(a, b): (IntervalMonthDayNano, IntervalMonthDayNano)| {
                IntervalMonthDayNano::new(
                    a.months.wrapping_add(b.months.wrapping_mul(sign)),
                    a.days.wrapping_add(b.days.wrapping_mul(sign)),
                    a.nanoseconds.wrapping_add(b.nanoseconds.wrapping_mul(i64::from(sign))),
                )
            };
            Arc::new(pairs.map(|(a, b)| a.zip(b).map(sum)).collect::<IntervalMonthDayNanoArray>())
        }
        DataType::Duration(TimeUnit::Second) => {
            let pairs =
                a.as_primitive::<DurationSecondType>().iter().zip(b.as_primitive::<DurationSecondType>());
            let sum = |(a, b): (i64, i64)| a + b * i64::from(sign);
            Arc::new(pairs.map(|(a, b)| a.zip(b).map(sum)).collect::<DurationSecondArray>())
        }
        _ => {
            let pairs = a.as_primitive::<DurationMicrosecondType>().iter();
            let pairs = pairs.zip(b.as_primitive::<DurationMicrosecondType>());
            let sum = |(a, b): (i64, i64)| a.wrapping_add(b.wrapping_mul(i64::from(sign)));
            Arc::new(pairs.map(|(a, b)| a.zip(b).map(sum)).collect::<DurationMicrosecondArray>())
        }
    })
}

/// Minus an interval, or (`all` false) its size.
pub(crate) fn negate(array: &ArrayRef, all: bool) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Interval(_) if all => {
            let values = array.as_primitive::<IntervalMonthDayNanoType>().iter();
            let minus = |value: IntervalMonthDayNano| {
                IntervalMonthDayNano::new(-value.months, -value.days, value.nanoseconds.wrapping_neg())
            };
            Arc::new(values.map(|value| value.map(minus)).collect::<IntervalMonthDayNanoArray>())
        }
        DataType::Duration(TimeUnit::Second) => {
            let values = array.as_primitive::<DurationSecondType>().iter();
            Arc::new(
                values
                    .map(|value| value.map(|value| if all { -value } else { value.abs() }))
                    .collect::<DurationSecondArray>(),
            )
        }
        DataType::Duration(_) => {
            let values = array.as_primitive::<DurationMicrosecondType>().iter();
            let minus = |value: i64| if all { value.wrapping_neg() } else { value.wrapping_abs() };
            Arc::new(values.map(|value| value.map(minus)).collect::<DurationMicrosecondArray>())
        }
        other => return exec_err!("{other} has no sign"),
    })
}
