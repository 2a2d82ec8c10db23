//! Dates and timestamps out of numbers, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type};
use datafusion::common::{DataFusionError, Result};

use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{MICROS_PER_SECOND, SECONDS_PER_DAY, checked_days_of};
use crate::query::cast::time::{from_clock, start_of};
use crate::query::coerce::types::{Want, castable, clock_time, instant, is_integral, mismatch, name_of};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};

/// Functions between moments and numbers.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "timestamp_seconds",
        Types::By(bind_seconds),
        timestamp_seconds,
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "timestamp_millis",
        Types::By(bind_units),
        |call| from_units(call, 1000),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "timestamp_micros",
        Types::By(bind_units),
        |call| from_units(call, 1),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "unix_seconds",
        takes!([Instant] => DataType::Int64),
        |call| units(call, MICROS_PER_SECOND),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "unix_millis",
        takes!([Instant] => DataType::Int64),
        |call| units(call, 1000),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "unix_micros",
        takes!([Instant] => DataType::Int64),
        |call| units(call, 1),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "unix_date",
        takes!([Date] => DataType::Int32),
        |call| Ok(Arc::new(
            call.args[0].as_primitive::<Date32Type>().reinterpret_cast::<arrow::datatypes::Int32Type>()
        )),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "date_from_unix_date",
        takes!([Int] => DataType::Date32),
        |call| Ok(Arc::new(call.ints(0).reinterpret_cast::<Date32Type>())),
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "make_date",
        takes!([Int, Int, Int] => DataType::Date32),
        make_date,
        ["stateless/make_functions", "expressions/datetime"]
    ),
    entry!(
        "make_timestamp" | "make_timestamp_ltz",
        Types::By(|bind| bind_parts(bind, instant())),
        |call| make_timestamp(call, call.conf.ansi),
        ["stateless/make_functions", "expressions/datetime"]
    ),
    entry!(
        "make_timestamp_ntz",
        Types::By(|bind| bind_parts(bind, clock_time())),
        |call| make_timestamp(call, call.conf.ansi),
        ["expressions/datetime"]
    ),
    entry!(
        "try_make_timestamp" | "try_make_timestamp_ltz",
        Types::By(|bind| bind_parts(bind, instant())),
        |call| make_timestamp(call, false),
        ["expressions/forms"]
    ),
    entry!(
        "try_make_timestamp_ntz",
        Types::By(|bind| bind_parts(bind, clock_time())),
        |call| make_timestamp(call, false),
        ["expressions/forms"]
    ),
];

fn bind_seconds(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let number = match castable(bind, &bind.types[0], Want::Number)? {
        DataType::Float32 => DataType::Float64,
        kind if is_integral(&kind) => DataType::Int64,
        kind => kind,
    };
    Ok(Bound::new([number], instant()))
}

fn bind_units(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    if !is_integral(&bind.types[0]) && bind.types[0] != DataType::Null {
        return Err(mismatch(bind, format!("{} is not an integer", name_of(&bind.types[0]))));
    }
    Ok(Bound::new([DataType::Int64], instant()))
}

fn overflow() -> DataFusionError {
    ExpressionError::raise("ArithmeticException", "the timestamp is out of range")
}

fn timestamp_seconds(call: &Call) -> Result<ArrayRef> {
    let value = |row: usize| -> Result<Option<i64>> {
        match call.args[0].data_type() {
            DataType::Int64 => {
                call.longs(0).value(row).checked_mul(MICROS_PER_SECOND).map(Some).ok_or_else(overflow)
            }
            DataType::Decimal128(_, scale) => {
                let unscaled = call.args[0].as_primitive::<Decimal128Type>().value(row);
                let unit = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
                let micros = unscaled.checked_mul(i128::from(MICROS_PER_SECOND)).ok_or_else(overflow)?;
                // No more digits than microseconds have.
                if micros % unit != 0 {
                    return Err(ExpressionError::raise(
                        "ArithmeticException",
                        "the seconds have more than six digits",
                    ));
                }
                i64::try_from(micros / unit).map(Some).map_err(|_| overflow())
            }
            _ => {
                let seconds = call.args[0].as_primitive::<Float64Type>().value(row);
                Ok(seconds.is_finite().then_some((seconds * MICROS_PER_SECOND as f64) as i64))
            }
        }
    };
    instants(call, value)
}

/// The timestamps of the rows in which all arguments have a value.
fn instants(call: &Call, value: impl Fn(usize) -> Result<Option<i64>>) -> Result<ArrayRef> {
    let values = (0..call.rows).map(|row| if call.all_valid(row) { value(row) } else { Ok(None) });
    let values: TimestampMicrosecondArray = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_data_type(call.returns.clone())))
}

fn from_units(call: &Call, micros: i64) -> Result<ArrayRef> {
    instants(call, |row| call.longs(0).value(row).checked_mul(micros).map(Some).ok_or_else(overflow))
}

fn units(call: &Call, micros: i64) -> Result<ArrayRef> {
    each::<Int64Array, _>(call, |row| Some(call.instants(0).value(row).div_euclid(micros)))
}

fn out_of_bounds() -> DataFusionError {
    ExpressionError::raise(
        "DATETIME_FIELD_OUT_OF_BOUNDS",
        "a part of the date or the time is out of its range",
    )
}

fn make_date(call: &Call) -> Result<ArrayRef> {
    try_each::<Date32Array, _>(call, |row| {
        let [year, month, day] = [0, 1, 2].map(|at| call.ints(at).value(row));
        let parts = u32::try_from(month).ok().zip(u32::try_from(day).ok());
        let days = parts.and_then(|(month, day)| checked_days_of(i64::from(year), month, day));
        match days.and_then(|days| i32::try_from(days).ok()) {
            None if call.conf.ansi => Err(out_of_bounds()),
            days => Ok(days),
        }
    })
}

/// Year to minute, the seconds as DECIMAL(16, 6), and perhaps a zone.
fn bind_parts(bind: &Bind, returns: DataType) -> Result<Bound> {
    let zones = usize::from(returns == instant());
    count(bind, 6, 6 + zones)?;
    let mut args = Vec::with_capacity(7);
    for (at, kind) in bind.types.iter().enumerate() {
        args.push(match at {
            0..5 => castable(bind, kind, Want::Int)?,
            5 => DataType::Decimal128(16, 6),
            _ => castable(bind, kind, Want::Text)?,
        });
    }
    Ok(Bound::new(args, returns))
}

/// Timestamps of their parts; a part out of its range fails, or the result is NULL.
fn make_timestamp(call: &Call, raise: bool) -> Result<ArrayRef> {
    let clock_only = *call.returns == clock_time();
    let value = |row: usize| -> Result<Option<i64>> {
        let zone = if clock_only {
            Zone::UTC
        } else if call.has(6) {
            let id = call.texts(6).value(row);
            Zone::of_id(id)
                .ok_or_else(|| ExpressionError::raise("INVALID_TIMEZONE", "the text is not a time zone"))?
        } else {
            call.conf.zone.clone()
        };
        match clock_of(call, row) {
            None if raise => Err(out_of_bounds()),
            clock => Ok(clock.map(|clock| from_clock(clock, &zone))),
        }
    };
    instants(call, value)
}

/// The clock's microseconds; 60 seconds are the next minute.
fn clock_of(call: &Call, row: usize) -> Option<i64> {
    let [year, month, day, hour, minute] = [0, 1, 2, 3, 4].map(|at| call.ints(at).value(row));
    let day = checked_days_of(i64::from(year), u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    let micros = i64::try_from(call.args[5].as_primitive::<Decimal128Type>().value(row)).ok()?;
    let whole = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60 * MICROS_PER_SECOND).contains(&micros);
    if !whole {
        return None;
    }
    let seconds = day * SECONDS_PER_DAY + i64::from(hour) * 3600 + i64::from(minute) * 60;
    seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)
}

/// The instant at which a day begins in the session's zone.
pub(super) fn start_of_day(call: &Call, day: i32) -> i64 {
    start_of(day, &call.conf.zone)
}
