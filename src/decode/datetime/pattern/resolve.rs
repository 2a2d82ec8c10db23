//! Fields to a date and a time: Java's `Parsed.resolve` with `ResolverStyle.STRICT`, then Spark's
//! defaults for what is missing (`DateTimeFormatterHelper.toLocalDate`, `toLocalTime`).

use super::compile::Field;
use super::parse::Fields;
use crate::decode::datetime::civil::{
    SECONDS_PER_DAY, checked_days_of, days_of, is_leap, month_length, year_of,
};
use crate::decode::datetime::zone::{OFFSET_SECONDS_MAX, Zone};

/// A date and time on the clock, and the zone that the text named.
#[derive(Debug)]
pub(super) struct Resolved {
    day: i64,
    second_of_day: i64,
    /// Nanoseconds of the second.
    pub nanos: u32,
    /// The zone, if the text named one.
    pub zone: Option<Zone>,
}

impl Resolved {
    /// Seconds since 1970-01-01T00:00:00 on the clock.
    pub(super) fn local_seconds(&self) -> i64 {
        self.day * SECONDS_PER_DAY + self.second_of_day
    }
}

/// The date alone, in days since 1970-01-01; the rest is checked as well.
pub(super) fn date(mut fields: Fields) -> Option<i64> {
    let whole = resolve_date(&mut fields)?;
    resolve_time(&mut fields)?;
    check(&fields, whole)?;
    whole.map_or_else(|| partial_date(&fields), Some)
}

/// Date, time and zone.
pub(super) fn date_and_time(mut fields: Fields) -> Option<Resolved> {
    let whole = resolve_date(&mut fields)?;
    let time = resolve_time(&mut fields)?;
    check(&fields, whole)?;
    let day = match whole {
        Some(day) => day,
        None => partial_date(&fields)?,
    };
    let (second_of_day, nanos) = match time {
        Some(time) => time,
        None => partial_time(&fields)?,
    };
    let zone = match (fields.zone.take(), fields.get(Field::Offset)) {
        (Some(zone), _) => Some(zone),
        (None, Some(offset)) if offset.abs() <= i64::from(OFFSET_SECONDS_MAX) => {
            Some(Zone::Fixed(i32::try_from(offset).ok()?))
        }
        (None, Some(_)) => return None,
        (None, None) => None,
    };
    Some(Resolved { day, second_of_day, nanos, zone })
}

/// The day, if year, month and day, or year and day of the year, are known. Outer `None`: conflict.
fn resolve_date(fields: &mut Fields) -> Option<Option<i64>> {
    if let Some(of_era) = fields.take(Field::YearOfEra) {
        if !(1..=1_000_000_000).contains(&of_era) {
            return None;
        }
        match fields.take(Field::Era) {
            Some(1) => fields.put(Field::Year, of_era)?,
            Some(_) => fields.put(Field::Year, 1 - of_era)?,
            None => match fields.get(Field::Year) {
                Some(year) if year > 0 => fields.put(Field::Year, of_era)?,
                Some(_) => fields.put(Field::Year, 1 - of_era)?,
                None => fields.put(Field::YearOfEra, of_era)?,
            },
        }
    }
    let day = match (fields.get(Field::Year), fields.get(Field::Month), fields.get(Field::Day)) {
        (Some(year), Some(month), Some(day)) => Some(checked_days(year, month, day)?),
        (Some(year), _, _) => match fields.get(Field::DayOfYear) {
            Some(of_year) if (1..=365 + i64::from(is_leap(year))).contains(&of_year) => {
                Some(checked_days(year, 1, 1)? + of_year - 1)
            }
            Some(_) => return None,
            None => None,
        },
        _ => None,
    };
    let Some(mjd) = fields.get(Field::ModifiedJulianDay) else {
        return Some(day);
    };
    // Java's EPOCH_DAY has bounds.
    let named = mjd.checked_sub(40_587).filter(|day| day.unsigned_abs() <= 365_241_780_471)?;
    day.is_none_or(|day| day == named).then_some(Some(named))
}

fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    checked_days_of(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)
}

/// Second of the day and nanoseconds, if an hour of the day is known. Outer `None`: out of range.
fn resolve_time(fields: &mut Fields) -> Option<Option<(i64, u32)>> {
    if let Some(clock) = fields.take(Field::ClockHourOfDay) {
        let hour = in_range(clock, 1, 24)? % 24;
        fields.put(Field::HourOfDay, hour)?;
    }
    if let Some(clock) = fields.take(Field::ClockHourOfAmPm) {
        let hour = in_range(clock, 1, 12)? % 12;
        fields.put(Field::HourOfAmPm, hour)?;
    }
    if let (Some(half), Some(hour)) = (fields.get(Field::AmPm), fields.get(Field::HourOfAmPm)) {
        fields.put(Field::HourOfDay, half * 12 + in_range(hour, 0, 11)?)?;
    }
    let ranges = [
        (Field::HourOfDay, 23),
        (Field::HourOfAmPm, 11),
        (Field::Minute, 59),
        (Field::Second, 59),
        (Field::Nano, 999_999_999),
    ];
    for (field, last) in ranges {
        if let Some(value) = fields.get(field) {
            in_range(value, 0, last)?;
        }
    }
    let Some(hour) = fields.get(Field::HourOfDay) else {
        return Some(None);
    };
    let [minute, second, nano] = [Field::Minute, Field::Second, Field::Nano].map(|field| fields.get(field));
    let with_holes = (minute.is_none() && (second.is_some() || nano.is_some()))
        || (minute.is_some() && second.is_none() && nano.is_some());
    if with_holes {
        return Some(None);
    }
    // Names of half days must fit the hour they stand beside.
    if fields.get(Field::AmPm).is_some_and(|half| half != hour / 12)
        || fields.get(Field::HourOfAmPm).is_some_and(|of_half| of_half != hour % 12)
    {
        return None;
    }
    time_of(hour, minute, second, nano).map(Some)
}

fn in_range(value: i64, first: i64, last: i64) -> Option<i64> {
    (first..=last).contains(&value).then_some(value)
}

fn time_of(hour: i64, minute: Option<i64>, second: Option<i64>, nano: Option<i64>) -> Option<(i64, u32)> {
    let second_of_day = hour * 3600 + minute.unwrap_or(0) * 60 + second.unwrap_or(0);
    Some((second_of_day, u32::try_from(nano.unwrap_or(0)).ok()?))
}

/// Fields of the date beside those that made it must agree with it.
fn check(fields: &Fields, day: Option<i64>) -> Option<()> {
    let Some(day) = day else {
        return Some(());
    };
    let year = year_of(day);
    let of_year = day - days_of(year, 1, 1) + 1;
    let (mut month, mut of_month) = (1, of_year);
    while of_month > i64::from(month_length(year, month)) {
        of_month -= i64::from(month_length(year, month));
        month += 1;
    }
    let known = [
        (Field::Era, i64::from(year > 0)),
        (Field::Year, year),
        (Field::YearOfEra, if year > 0 { year } else { 1 - year }),
        (Field::Month, i64::from(month)),
        (Field::Day, of_month),
        (Field::DayOfYear, of_year),
    ];
    known.iter().all(|(field, value)| fields.get(*field).is_none_or(|said| said == *value)).then_some(())
}

/// The day with 1970-01-01 for what is missing.
fn partial_date(fields: &Fields) -> Option<i64> {
    let or = |field, default| fields.get(field).unwrap_or(default);
    checked_days(or(Field::Year, 1970), or(Field::Month, 1), or(Field::Day, 1))
}

/// The time with zeros for what is missing; without AM or PM it is the morning.
fn partial_time(fields: &Fields) -> Option<(i64, u32)> {
    let afternoon = fields.get(Field::AmPm) == Some(1);
    let hour = fields.get(Field::HourOfDay).or_else(|| fields.get(Field::HourOfAmPm));
    let hour = hour.unwrap_or(if afternoon { 12 } else { 0 });
    time_of(hour, fields.get(Field::Minute), fields.get(Field::Second), fields.get(Field::Nano))
}

#[cfg(test)]
mod tests {
    use super::super::Pattern;
    use super::Zone;

    fn read(pattern: &str, text: &str) -> Option<i64> {
        let pattern = Pattern::compile(pattern, "en-US").unwrap();
        pattern.parse_timestamp(text.as_bytes(), &Zone::UTC).map(|micros| micros / 1_000_000)
    }

    #[test]
    fn fields_that_contradict_each_other_are_no_date() {
        assert_eq!(read("yyyy-MM-dd D", "1970-01-02 2"), Some(86_400));
        assert_eq!(read("yyyy-MM-dd D", "1970-01-02 3"), None);
        assert_eq!(read("yyyy yyyy", "1970 1971"), None);
        assert_eq!(read("HH:mm a", "03:00 PM"), None);
        assert_eq!(read("G yyyy", "BC 0000"), None);
    }

    #[test]
    fn what_is_missing_is_that_of_the_first_of_january_1970() {
        assert_eq!(read("mm:ss", "04:05"), Some(245));
        assert_eq!(read("a", "PM"), Some(43_200));
        assert_eq!(read("ss", "60"), None);
        assert_eq!(read("D", "45"), Some(0));
        assert_eq!(read("dd", "05"), Some(4 * 86_400));
    }

    #[test]
    fn numbers_side_by_side_share_the_digits() {
        assert_eq!(read("yyyyMMddHHmmss", "19700102000001"), Some(86_401));
        assert_eq!(read("yyMMdd", "000101"), Some(946_684_800));
        assert_eq!(read("yyyyMMddHHmmssS", "197001020000019"), Some(86_401));
        assert_eq!(read("yyyyMMddHHmmssSSS", "19700102000001999"), None);
    }

    #[test]
    fn days_beyond_javas_calendar_are_none() {
        assert_eq!(read("g", "40588"), Some(86_400));
        for text in ["9223372036854775807", "-9223372036854775807", "99999999999999999999"] {
            assert_eq!(read("g", text), None, "{text}");
        }
    }
}
