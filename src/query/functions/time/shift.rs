//! Moving dates and timestamps, and what lies between two.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Date32Array, DurationMicrosecondArray, Float64Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, IntervalMonthDayNano, IntervalUnit};
use datafusion::common::Result;

use super::parts::clock;
use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{MICROS_PER_SECOND, SECONDS_PER_DAY, date_of, month_length};
use crate::query::cast::time::{MICROS_PER_DAY, from_clock, to_clock};
use crate::query::coerce::types::{Want, castable, clock_time, day_time, instant, mismatch, refused};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::interval::{Span, add_months, add_span};
use crate::query::functions::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};

/// Functions that move moments.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "date_add" | "dateadd",
        Types::By(bind_add),
        |call| add(call, 1),
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "date_sub",
        takes!([Date, Int] => DataType::Date32),
        |call| add(call, -1),
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "datediff" | "date_diff",
        Types::By(bind_difference),
        difference,
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "add_months",
        takes!([Date, Int] => DataType::Date32),
        months,
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "next_day",
        takes!([Date, Text] => DataType::Date32),
        next_day,
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "months_between",
        takes!([Instant, Instant, Boolean], 2 => DataType::Float64),
        months_between,
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "timestampadd",
        Types::By(bind_add),
        |call| add(call, 1),
        ["stateless/timestamp_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "timestampdiff",
        Types::By(bind_difference),
        difference,
        ["stateless/timestamp_arithmetic", "expressions/datetime"]
    ),
    entry!(
        "from_utc_timestamp",
        takes!([Instant, Text] => instant()),
        |call| in_zone(call, to_clock),
        ["stateless/time_zones", "expressions/datetime"]
    ),
    entry!(
        "to_utc_timestamp",
        takes!([Instant, Text] => instant()),
        |call| in_zone(call, from_clock),
        ["stateless/time_zones", "expressions/datetime"]
    ),
    entry!(
        "convert_timezone",
        Types::By(bind_zones),
        convert_timezone,
        ["stateless/time_zones", "expressions/datetime"]
    ),
    entry!(
        "make_interval",
        Types::By(bind_interval),
        make_interval,
        ["stateless/make_functions", "expressions/datetime"]
    ),
    entry!("make_dt_interval", Types::By(bind_day_time), make_dt_interval, ["expressions/datetime"]),
];

/// `date_add(date, days)`, or `timestampadd(unit, count, moment)`.
fn bind_add(bind: &Bind) -> Result<Bound> {
    if bind.types.len() == 3 {
        unit_of(bind)?;
        let moment = castable(bind, &bind.types[2], Want::AnyTimestamp)?;
        return Ok(Bound::new(
            [DataType::Utf8, castable(bind, &bind.types[1], Want::Long)?, moment.clone()],
            moment,
        ));
    }
    count(bind, 2, 2)?;
    let days = match &bind.types[1] {
        DataType::Int64 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
            return Err(mismatch(bind, "the days are an INT, a SMALLINT or a TINYINT"));
        }
        kind => castable(bind, kind, Want::Int)?,
    };
    Ok(Bound::new([castable(bind, &bind.types[0], Want::Date)?, days], DataType::Date32))
}

/// `datediff(end, start)`, or `timestampdiff(unit, start, end)`.
fn bind_difference(bind: &Bind) -> Result<Bound> {
    if bind.types.len() == 3 {
        unit_of(bind)?;
        return Ok(Bound::new([DataType::Utf8, instant(), instant()], DataType::Int64));
    }
    count(bind, 2, 2)?;
    let [end, start] = [0, 1].map(|at| castable(bind, &bind.types[at], Want::Date));
    Ok(Bound::new([end?, start?], DataType::Int32))
}

const UNITS: [&str; 11] = [
    "MICROSECOND",
    "MILLISECOND",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "DAYOFYEAR",
    "WEEK",
    "MONTH",
    "QUARTER",
    "YEAR",
];

fn unit_of(bind: &Bind) -> Result<()> {
    let unit = bind.text(0).ok_or_else(|| mismatch(bind, "the unit is a literal"))?.to_uppercase();
    if UNITS.contains(&unit.as_str()) {
        return Ok(());
    }
    Err(refused("INVALID_PARAMETER_VALUE.DATETIME_UNIT", format!("{} has no unit {unit}", bind.name)))
}

fn overflow() -> datafusion::common::DataFusionError {
    ExpressionError::raise("DATETIME_OVERFLOW", "the date or the timestamp is out of range")
}

fn add(call: &Call, sign: i32) -> Result<ArrayRef> {
    if call.args.len() == 3 {
        return add_units(call);
    }
    each::<Date32Array, _>(call, |row| {
        Some(call.dates(0).value(row).wrapping_add(call.ints(1).value(row).wrapping_mul(sign)))
    })
}

/// Microseconds of one of the units of exact length.
fn micros_of(unit: &str) -> Option<i64> {
    Some(match unit {
        "MICROSECOND" => 1,
        "MILLISECOND" => 1000,
        "SECOND" => MICROS_PER_SECOND,
        "MINUTE" => 60 * MICROS_PER_SECOND,
        "HOUR" => 3600 * MICROS_PER_SECOND,
        "DAY" | "DAYOFYEAR" => MICROS_PER_DAY,
        "WEEK" => 7 * MICROS_PER_DAY,
        _ => return None,
    })
}

fn add_units(call: &Call) -> Result<ArrayRef> {
    let zone = if *call.returns == clock_time() { &Zone::UTC } else { &call.conf.zone };
    let moved = |row: usize| {
        let unit = call.texts(0).value(row).to_uppercase();
        let (count, at) = (call.longs(1).value(row), call.instants(2).value(row));
        let span = match micros_of(&unit) {
            Some(micros) => {
                let total = count.checked_mul(micros)?;
                Span {
                    months: 0,
                    days: i32::try_from(total / MICROS_PER_DAY).ok()?,
                    micros: total % MICROS_PER_DAY,
                }
            }
            None => {
                let months = match unit.as_str() {
                    "MONTH" => 1,
                    "QUARTER" => 3,
                    _ => 12,
                };
                Span { months: i32::try_from(count.checked_mul(months)?).ok()?, days: 0, micros: 0 }
            }
        };
        add_span(at, span, zone)
    };
    let values = (0..call.rows).map(|row| match call.all_valid(row) {
        true => moved(row).map(Some).ok_or_else(overflow),
        false => Ok(None),
    });
    let values: TimestampMicrosecondArray = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_data_type(call.returns.clone())))
}

fn difference(call: &Call) -> Result<ArrayRef> {
    if call.args.len() == 2 {
        return each::<Int32Array, _>(call, |row| {
            Some(call.dates(0).value(row).wrapping_sub(call.dates(1).value(row)))
        });
    }
    each::<Int64Array, _>(call, |row| {
        let unit = call.texts(0).value(row).to_uppercase();
        let (start, end) = (clock(call, 1, row), clock(call, 2, row));
        Some(match micros_of(&unit) {
            Some(micros) => (i128::from(end) - i128::from(start)) as i64 / micros,
            None => {
                let months = whole_months(start, end);
                match unit.as_str() {
                    "MONTH" => months,
                    "QUARTER" => months / 3,
                    _ => months / 12,
                }
            }
        })
    })
}

/// How many whole months lie between two clock times.
fn whole_months(start: i64, end: i64) -> i64 {
    let parts = |micros: i64| {
        let (year, month, day) = date_of(micros.div_euclid(MICROS_PER_DAY));
        (year * 12 + i64::from(month), i64::from(day) * MICROS_PER_DAY + micros.rem_euclid(MICROS_PER_DAY))
    };
    let ((first, from), (last, to)) = (parts(start), parts(end));
    let months = last - first;
    match months {
        1.. if to < from => months - 1,
        ..=-1 if to > from => months + 1,
        _ => months,
    }
}

fn months(call: &Call) -> Result<ArrayRef> {
    try_each::<Date32Array, _>(call, |row| {
        let day = add_months(i64::from(call.dates(0).value(row)), i64::from(call.ints(1).value(row)));
        let out = |_| ExpressionError::raise("ARITHMETIC_OVERFLOW", "the date is out of range");
        i32::try_from(day).map(Some).map_err(out)
    })
}

/// The number of a day's name, Monday is 0.
fn weekday_of(name: &str) -> Option<i64> {
    const DAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
    let name = name.trim_matches(' ').to_uppercase();
    let short = |day: &&str| *day == name || (name.len() == 2 || name.len() == 3) && day.starts_with(&name);
    DAYS.iter().position(short).and_then(|at| i64::try_from(at).ok())
}

fn next_day(call: &Call) -> Result<ArrayRef> {
    try_each::<Date32Array, _>(call, |row| {
        let day = i64::from(call.dates(0).value(row));
        let Some(wanted) = weekday_of(call.texts(1).value(row)) else {
            if call.conf.ansi {
                return Err(ExpressionError::raise(
                    "ILLEGAL_DAY_OF_WEEK",
                    "the text is not a day of the week",
                ));
            }
            return Ok(None);
        };
        let today = (day + 3).rem_euclid(7);
        Ok(i32::try_from(day + 1 + (wanted - today - 1).rem_euclid(7)).ok())
    })
}

fn months_between(call: &Call) -> Result<ArrayRef> {
    each::<Float64Array, _>(call, |row| {
        let (first, second) = (clock(call, 0, row), clock(call, 1, row));
        let parts = |micros: i64| {
            let (year, month, day) = date_of(micros.div_euclid(MICROS_PER_DAY));
            let last = day == month_length(year, month);
            (
                year * 12 + i64::from(month),
                i64::from(day),
                last,
                micros.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND,
            )
        };
        let ((m1, d1, last1, s1), (m2, d2, last2, s2)) = (parts(first), parts(second));
        let months = (m1 - m2) as f64;
        if d1 == d2 || (last1 && last2) {
            return Some(months);
        }
        let seconds = (d1 - d2) * SECONDS_PER_DAY + s1 - s2;
        let between = months + seconds as f64 / (31 * SECONDS_PER_DAY) as f64;
        let rounded = !call.has(2) || call.flags(2).value(row);
        // Java's Math.round: the floor of half more.
        Some(if rounded { (between * 1e8 + 0.5).floor() / 1e8 } else { between })
    })
}

/// The zone of an id.
fn zone_of(id: &str) -> Result<Zone> {
    Zone::of_id(id).ok_or_else(|| ExpressionError::raise("INVALID_TIMEZONE", "the text is not a time zone"))
}

fn in_zone(call: &Call, change: fn(i64, &Zone) -> i64) -> Result<ArrayRef> {
    let values = (0..call.rows).map(|row| match call.all_valid(row) {
        true => Ok(Some(change(call.instants(0).value(row), &zone_of(call.texts(1).value(row))?))),
        false => Ok(None),
    });
    let values: TimestampMicrosecondArray = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_data_type(call.returns.clone())))
}

fn bind_zones(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    let mut args = vec![DataType::Utf8; bind.types.len() - 1];
    args.push(clock_time());
    Ok(Bound::new(args, clock_time()))
}

/// `convert_timezone([from,] to, clock)`.
fn convert_timezone(call: &Call) -> Result<ArrayRef> {
    let last = call.args.len() - 1;
    let values = (0..call.rows).map(|row| {
        if !call.all_valid(row) {
            return Ok(None);
        }
        let to = zone_of(call.texts(last - 1).value(row))?;
        let from = if last == 2 { zone_of(call.texts(0).value(row))? } else { call.conf.zone.clone() };
        Ok(Some(to_clock(from_clock(call.instants(last).value(row), &from), &to)))
    });
    Ok(Arc::new(values.collect::<Result<TimestampMicrosecondArray>>()?))
}

/// Six whole numbers and the seconds, all of which may be left out.
fn bind_interval(bind: &Bind) -> Result<Bound> {
    count(bind, 0, 7)?;
    let args =
        (0..bind.types.len()).map(|at| if at == 6 { DataType::Decimal128(18, 6) } else { DataType::Int32 });
    Ok(Bound::new(args.collect::<Vec<_>>(), DataType::Interval(IntervalUnit::MonthDayNano)))
}

fn bind_day_time(bind: &Bind) -> Result<Bound> {
    count(bind, 0, 4)?;
    let args =
        (0..bind.types.len()).map(|at| if at == 3 { DataType::Decimal128(18, 6) } else { DataType::Int32 });
    Ok(Bound::new(args.collect::<Vec<_>>(), day_time()))
}

fn whole(call: &Call, at: usize, row: usize) -> i64 {
    if call.has(at) { i64::from(call.ints(at).value(row)) } else { 0 }
}

/// The microseconds of a DECIMAL(18, 6) of seconds.
fn seconds(call: &Call, at: usize, row: usize) -> i64 {
    if call.has(at) { call.args[at].as_primitive::<Decimal128Type>().value(row) as i64 } else { 0 }
}

fn make_interval(call: &Call) -> Result<ArrayRef> {
    try_each::<IntervalMonthDayNanoArray, _>(call, |row| {
        let months = whole(call, 0, row) * 12 + whole(call, 1, row);
        let days = whole(call, 2, row) * 7 + whole(call, 3, row);
        let micros =
            whole(call, 4, row) * 3_600_000_000 + whole(call, 5, row) * 60_000_000 + seconds(call, 6, row);
        let (months, days) = (i32::try_from(months).ok(), i32::try_from(days).ok());
        match (months, days, micros.checked_mul(1000)) {
            (Some(months), Some(days), Some(nanos)) => {
                Ok(Some(IntervalMonthDayNano::new(months, days, nanos)))
            }
            _ if call.conf.ansi => {
                Err(ExpressionError::raise("INTERVAL_ARITHMETIC_OVERFLOW", "the interval is too long"))
            }
            _ => Ok(None),
        }
    })
}

fn make_dt_interval(call: &Call) -> Result<ArrayRef> {
    try_each::<DurationMicrosecondArray, _>(call, |row| {
        let micros = whole(call, 0, row).checked_mul(MICROS_PER_DAY).and_then(|days| {
            let rest = whole(call, 1, row) * 3_600_000_000 + whole(call, 2, row) * 60_000_000;
            days.checked_add(rest)?.checked_add(seconds(call, 3, row))
        });
        micros
            .map(Some)
            .ok_or_else(|| ExpressionError::raise("INTERVAL_ARITHMETIC_OVERFLOW", "the interval is too long"))
    })
}
