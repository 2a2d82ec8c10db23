//! Days and dates of the proleptic Gregorian calendar, as `java.time.LocalDate` counts them.
//!
//! Arithmetic only: no text, no zones, no clock.

/// Microseconds of a second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Seconds of a day.
pub const SECONDS_PER_DAY: i64 = 86_400;

/// Years beyond these are no `LocalDate` (`java.time.Year.MIN_VALUE`, `MAX_VALUE`).
const YEAR_LIMIT: i64 = 999_999_999;

/// Whether `year` has a 29 February; year 0 exists and is 1 BC.
pub fn is_leap(year: i64) -> bool {
    year & 3 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days `month` (1 to 12) of `year` has.
pub fn month_length(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date that is known to be one.
pub fn days_of(year: i64, month: u32, day: u32) -> i64 {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted - era * 400;
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days since 1970-01-01, or `None` if there is no such date (`LocalDate.of` throws).
pub fn checked_days_of(year: i64, month: u32, day: u32) -> Option<i64> {
    let exists = (1..=12).contains(&month)
        && (-YEAR_LIMIT..=YEAR_LIMIT).contains(&year)
        && day >= 1
        && (day <= 28 || day <= month_length(year, month));
    exists.then(|| days_of(year, month, day))
}

/// The year in which day `days` since 1970-01-01 lies.
pub fn year_of(days: i64) -> i64 {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years begin in March here; the last two months belong to the next.
    era * 400 + year_of_era + i64::from(day_of_year >= 306)
}

/// Year, month and day of day `days` since 1970-01-01.
pub fn date_of(days: i64) -> (i64, u32, u32) {
    let year = year_of(days);
    let mut day = (days - days_of(year, 1, 1)) as u32;
    let mut month = 1;
    while day >= month_length(year, month) {
        day -= month_length(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

/// Microseconds since the epoch of `seconds` and `micros` (0 to 999 999) of the second; `None`
/// beyond 64 bits (`DateTimeUtils.instantToMicros` throws).
pub fn micros_of(seconds: i64, micros: u32) -> Option<i64> {
    let total = i128::from(seconds) * i128::from(MICROS_PER_SECOND) + i128::from(micros);
    i64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_years_agree_over_all_eras() {
        assert_eq!(days_of(1970, 1, 1), 0);
        assert_eq!(days_of(2000, 3, 1), 11_017);
        assert_eq!(days_of(0, 1, 1), -719_528);
        for year in [-290_308, -401, -400, -1, 0, 1, 1582, 1900, 1970, 2024, 2026, 294_247] {
            assert_eq!(year_of(days_of(year, 1, 1)), year);
            assert_eq!(year_of(days_of(year, 12, 31)), year);
            assert_eq!(days_of(year + 1, 1, 1), days_of(year, 12, 31) + 1);
            for (month, day) in [(1, 1), (2, 28), (3, 1), (12, 31)] {
                assert_eq!(date_of(days_of(year, month, day)), (year, month, day));
            }
        }
    }

    #[test]
    fn dates_that_do_not_exist_have_no_day() {
        assert_eq!(checked_days_of(2026, 2, 29), None);
        assert_eq!(checked_days_of(1900, 2, 29), None);
        assert_eq!(checked_days_of(2026, 0, 1), None);
        assert_eq!(checked_days_of(2026, 1, 0), None);
        assert_eq!(checked_days_of(2026, 4, 31), None);
        assert!(checked_days_of(2000, 2, 29).is_some());
    }

    #[test]
    fn the_least_and_the_greatest_instant_fit() {
        assert_eq!(micros_of(-9_223_372_036_855, 224_192), Some(i64::MIN));
        assert_eq!(micros_of(-9_223_372_036_855, 224_191), None);
        assert_eq!(micros_of(9_223_372_036_854, 775_807), Some(i64::MAX));
        assert_eq!(micros_of(9_223_372_036_854, 775_808), None);
    }
}
