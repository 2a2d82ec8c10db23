//! Parts of dates and timestamps, and cutting them to a unit.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int32Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use datafusion::common::Result;

use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{MICROS_PER_SECOND, date_of, days_of, month_length};
use crate::query::cast::time::{MICROS_PER_DAY, from_clock, to_clock};
use crate::query::coerce::types::{Want, castable, instant, mismatch, refused};
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Call, Types, count, each, entry, takes};

/// A part that a date has.
macro_rules! of_date {
    ($name:literal $(| $alias:literal)*, $part:expr, [$($case:literal),*]) => {
        entry!($name $(| $alias)*, takes!([Date] => DataType::Int32), |call| {
            each::<Int32Array, _>(call, |row| $part.of_day(call.dates(0).value(row)))
        }, [$($case),*])
    };
}

/// A part that a time of day has.
macro_rules! of_time {
    ($name:literal, $part:expr, [$($case:literal),*]) => {
        entry!($name, takes!([AnyTimestamp] => DataType::Int32), |call| {
            each::<Int32Array, _>(call, |row| $part.of_clock(clock(call, 0, row)))
        }, [$($case),*])
    };
}

/// Functions of parts.
pub(crate) const ENTRIES: &[Entry] = &[
    of_date!("year", Part::Year, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("quarter", Part::Quarter, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("month", Part::Month, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("day" | "dayofmonth", Part::Day, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("dayofyear", Part::DayOfYear, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("dayofweek", Part::DayOfWeek, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("weekday", Part::Weekday, ["stateless/date_parts", "expressions/datetime"]),
    of_date!("weekofyear", Part::Week, ["stateless/date_parts", "expressions/datetime"]),
    of_time!("hour", Part::Hour, ["stateless/date_parts", "expressions/datetime"]),
    of_time!("minute", Part::Minute, ["stateless/date_parts", "expressions/datetime"]),
    of_time!("second", Part::Second, ["stateless/date_parts", "expressions/datetime"]),
    entry!(
        "date_part" | "datepart" | "extract",
        Types::By(bind_part),
        date_part,
        ["stateless/date_parts", "expressions/datetime"]
    ),
    entry!(
        "dayname",
        takes!([Date] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(
            name_of_day(call.dates(0).value(row))[..3].to_owned()
        )),
        ["expressions/datetime"]
    ),
    entry!(
        "monthname",
        takes!([Date] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(
            name_of_month(date_of(i64::from(call.dates(0).value(row))).1)[..3].to_owned()
        )),
        ["expressions/datetime"]
    ),
    entry!(
        "date_trunc",
        takes!([Text, Instant] => instant()),
        date_trunc,
        ["stateless/date_trunc_units", "expressions/datetime"]
    ),
    entry!(
        "trunc",
        takes!([Date, Text] => DataType::Date32),
        trunc,
        ["stateless/trunc_date", "expressions/datetime"]
    ),
    entry!(
        "last_day",
        takes!([Date] => DataType::Date32),
        |call| each::<Date32Array, _>(call, |row| i32::try_from(last_day(i64::from(
            call.dates(0).value(row)
        )))
        .ok()),
        ["stateless/date_arithmetic", "expressions/datetime"]
    ),
];

/// A part of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year,
    YearOfWeek,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    DayOfWeekIso,
    Weekday,
    DayOfYear,
    Hour,
    Minute,
    Second,
}

impl Part {
    /// The part that a word means in `extract`.
    fn of_word(word: &str) -> Option<Part> {
        Some(match word.to_ascii_uppercase().as_str() {
            "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => Part::Year,
            "YEAROFWEEK" => Part::YearOfWeek,
            "QUARTER" | "QTR" => Part::Quarter,
            "MONTH" | "MON" | "MONS" | "MONTHS" => Part::Month,
            "WEEK" | "W" | "WEEKS" => Part::Week,
            "DAY" | "D" | "DAYS" => Part::Day,
            "DAYOFWEEK" | "DOW" => Part::DayOfWeek,
            "DAYOFWEEK_ISO" | "DOW_ISO" => Part::DayOfWeekIso,
            "DOY" => Part::DayOfYear,
            "HOUR" | "H" | "HOURS" | "HR" | "HRS" => Part::Hour,
            "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => Part::Minute,
            "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => Part::Second,
            _ => return None,
        })
    }

    fn of_day(self, day: i32) -> Option<i32> {
        let day = i64::from(day);
        let (year, month, of_month) = date_of(day);
        let month = i64::from(month);
        i32::try_from(match self {
            Part::Year => year,
            Part::Quarter => (month + 2) / 3,
            Part::Month => month,
            Part::Day => i64::from(of_month),
            Part::DayOfYear => day - days_of(year, 1, 1) + 1,
            Part::DayOfWeek => (day + 4).rem_euclid(7) + 1,
            Part::Weekday => (day + 3).rem_euclid(7),
            Part::DayOfWeekIso => (day + 3).rem_euclid(7) + 1,
            Part::Week => iso_week(day).1,
            Part::YearOfWeek => iso_week(day).0,
            Part::Hour | Part::Minute | Part::Second => 0,
        })
        .ok()
    }

    fn of_clock(self, micros: i64) -> Option<i32> {
        let second = micros.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND;
        i32::try_from(match self {
            Part::Hour => second / 3600,
            Part::Minute => second / 60 % 60,
            Part::Second => second % 60,
            _ => return self.of_day(i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()?),
        })
        .ok()
    }
}

/// The ISO year and week of a day.
fn iso_week(day: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = day - (day + 3).rem_euclid(7) + 3;
    let year = date_of(thursday).0;
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// The name of a day of the week in English.
pub(super) fn name_of_day(day: i32) -> &'static str {
    const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    NAMES[(i64::from(day) + 3).rem_euclid(7) as usize]
}

/// The name of a month in English.
pub(super) fn name_of_month(month: u32) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES[month as usize - 1]
}

/// The clock's microseconds of a timestamp in the session's zone; TIMESTAMP_NTZ is clock time already.
pub(super) fn clock(call: &Call, at: usize, row: usize) -> i64 {
    let value = call.instants(at).value(row);
    match call.args[at].data_type() {
        DataType::Timestamp(_, Some(_)) => to_clock(value, &call.conf.zone),
        _ => value,
    }
}

fn bind_part(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let moment = match &bind.types[1] {
        DataType::Date32 => DataType::Date32,
        kind => castable(bind, kind, Want::AnyTimestamp)?,
    };
    let word = bind.text(0).ok_or_else(|| mismatch(bind, "the part is a literal"))?;
    let part = Part::of_word(word)
        .ok_or_else(|| refused("INVALID_EXTRACT_FIELD", format!("{} has no part {word}", bind.name)))?;
    let returns = if part == Part::Second { DataType::Decimal128(8, 6) } else { DataType::Int32 };
    Ok(Bound::new([DataType::Utf8, moment], returns))
}

fn date_part(call: &Call) -> Result<ArrayRef> {
    let micros = |row: usize| match call.args[1].data_type() {
        DataType::Date32 => i64::from(call.args[1].as_primitive::<Date32Type>().value(row)) * MICROS_PER_DAY,
        _ => clock(call, 1, row),
    };
    if *call.returns == DataType::Int32 {
        return each::<Int32Array, _>(call, |row| {
            Part::of_word(call.texts(0).value(row))?.of_clock(micros(row))
        });
    }
    let seconds: Decimal128Array = (0..call.rows)
        .map(|row| call.all_valid(row).then(|| i128::from(micros(row).rem_euclid(60 * MICROS_PER_SECOND))))
        .collect();
    Ok(Arc::new(seconds.with_precision_and_scale(8, 6)?))
}

/// The last day of a day's month.
fn last_day(day: i64) -> i64 {
    let (year, month, _) = date_of(day);
    days_of(year, month, month_length(year, month))
}

/// The first day of the unit that a day is in; `None` for a unit that is no span of days.
fn first_day(day: i64, unit: &str) -> Option<i64> {
    let (year, month, _) = date_of(day);
    Some(match unit {
        "YEAR" | "YYYY" | "YY" => days_of(year, 1, 1),
        "QUARTER" => days_of(year, (month - 1) / 3 * 3 + 1, 1),
        "MONTH" | "MON" | "MM" => days_of(year, month, 1),
        "WEEK" => day - (day + 3).rem_euclid(7),
        _ => return None,
    })
}

fn trunc(call: &Call) -> Result<ArrayRef> {
    each::<Date32Array, _>(call, |row| {
        let unit = call.texts(1).value(row).to_uppercase();
        i32::try_from(first_day(i64::from(call.dates(0).value(row)), &unit)?).ok()
    })
}

/// An instant cut to a unit; `None` for an unknown unit.
fn cut(at: i64, unit: &str, zone: &Zone) -> Option<i64> {
    let clock = to_clock(at, zone);
    Some(match unit {
        "MICROSECOND" => at,
        "MILLISECOND" => at - at.rem_euclid(1000),
        "SECOND" => at - at.rem_euclid(MICROS_PER_SECOND),
        // Offsets of zones are whole minutes, but for those of long ago.
        "MINUTE" => at - clock.rem_euclid(60 * MICROS_PER_SECOND),
        "HOUR" => at - clock.rem_euclid(3600 * MICROS_PER_SECOND),
        "DAY" | "DD" => from_clock(clock - clock.rem_euclid(MICROS_PER_DAY), zone),
        unit => {
            from_clock(first_day(clock.div_euclid(MICROS_PER_DAY), unit)?.checked_mul(MICROS_PER_DAY)?, zone)
        }
    })
}

fn date_trunc(call: &Call) -> Result<ArrayRef> {
    let values: TimestampMicrosecondArray = (0..call.rows)
        .map(|row| {
            let unit = call.text(0, row)?.to_uppercase();
            let array = call.args[1].as_primitive::<TimestampMicrosecondType>();
            array.is_valid(row).then(|| cut(array.value(row), &unit, &call.conf.zone)).flatten()
        })
        .collect();
    Ok(Arc::new(values.with_data_type(call.returns.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_belong_to_the_year_of_their_thursday() {
        assert_eq!(iso_week(days_of(2024, 12, 30)), (2025, 1));
        assert_eq!(iso_week(days_of(2021, 1, 3)), (2020, 53));
        assert_eq!(iso_week(days_of(1970, 1, 1)), (1970, 1));
    }

    #[test]
    fn a_day_is_cut_in_the_sessions_zone() {
        let zone = Zone::of_id("America/New_York").unwrap();
        let at = days_of(2024, 3, 10) * MICROS_PER_DAY + 7 * 3600 * MICROS_PER_SECOND;
        assert_eq!(
            cut(at, "DAY", &zone),
            Some(days_of(2024, 3, 10) * MICROS_PER_DAY + 5 * 3600 * MICROS_PER_SECOND)
        );
        assert_eq!(cut(at, "BOGUS", &zone), None);
    }
}
