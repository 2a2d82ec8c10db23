//! How the texts of one stream become dates and timestamps: its formats, zone and fallback.
//!
//! Spark's `JacksonParser` for DATE, TIMESTAMP and TIMESTAMP_NTZ texts. Only texts: what a bare
//! JSON number means is the JSON decoder's business.

use super::cast;
use super::civil::days_of;
use super::pattern::Pattern;
use super::zone::Zone;
use crate::model::error::{Context, Result};

/// The options that decide how texts are read, by Spark's names.
#[derive(Debug, Clone, Copy, Default)]
pub struct FormatOptions<'a> {
    /// `timestampFormat`: a pattern instead of CAST's rules.
    pub timestamp_format: Option<&'a str>,
    /// `timestampNTZFormat`.
    pub timestamp_ntz_format: Option<&'a str>,
    /// `dateFormat`.
    pub date_format: Option<&'a str>,
    /// `timeZone`, or else the session's; default UTC.
    pub time_zone: Option<&'a str>,
    /// `locale`, a language tag; default `en-US`. Matters for names of months, eras and AM/PM.
    pub locale: Option<&'a str>,
    /// `enableDateTimeParsingFallback`; by default on for a type that has no format.
    pub fallback: Option<bool>,
}

/// What reads the date and time texts of a stream. Made once, used for each value; shared by threads.
#[derive(Debug)]
pub struct Formats {
    timestamp: Way,
    timestamp_ntz: Option<Pattern>,
    date: Way,
    zone: Zone,
}

/// A pattern or CAST's rules, and whether Spark's rules of 2.0 apply where these fail.
#[derive(Debug)]
struct Way {
    pattern: Option<Pattern>,
    fallback: bool,
}

impl Way {
    fn new(key: &str, format: Option<&str>, options: &FormatOptions<'_>) -> Result<Way> {
        let pattern = pattern(key, format, options)?;
        Ok(Way { fallback: options.fallback.unwrap_or(pattern.is_none()), pattern })
    }
}

fn pattern(key: &str, format: Option<&str>, options: &FormatOptions<'_>) -> Result<Option<Pattern>> {
    let locale = options.locale.unwrap_or("en-US");
    let compile = |text| Pattern::compile(text, locale).context(|| format!("read {key} {text:?}"));
    format.map(compile).transpose()
}

impl Formats {
    /// The reader for `options`.
    ///
    /// # Errors
    /// `Config` if a pattern is one that Spark's query would fail on, or the zone is unknown.
    pub fn new(options: &FormatOptions<'_>) -> Result<Formats> {
        Ok(Formats {
            timestamp: Way::new("timestampFormat", options.timestamp_format, options)?,
            timestamp_ntz: pattern("timestampNTZFormat", options.timestamp_ntz_format, options)?,
            date: Way::new("dateFormat", options.date_format, options)?,
            zone: options.time_zone.map_or(Ok(Zone::UTC), Zone::parse)?,
        })
    }

    /// TIMESTAMP: microseconds since the epoch, or `None` if the text is none. `now` (microseconds
    /// since the epoch) gives the day to a time without a date.
    #[inline]
    pub fn timestamp_micros(&self, text: &[u8], now: i64) -> Option<i64> {
        let value = match &self.timestamp.pattern {
            None => cast::timestamp_micros(text, &self.zone, now),
            Some(pattern) => pattern.parse_timestamp(text, &self.zone),
        };
        if value.is_some() || !self.timestamp.fallback {
            return value;
        }
        self.old_timestamp(text, now)
    }

    /// TIMESTAMP_NTZ: microseconds since 1970-01-01T00:00:00 on the clock.
    #[inline]
    pub fn timestamp_ntz_micros(&self, text: &[u8]) -> Option<i64> {
        match &self.timestamp_ntz {
            None => cast::timestamp_ntz_micros(text),
            Some(pattern) => pattern.parse_ntz(text),
        }
    }

    /// DATE: days since 1970-01-01.
    #[inline]
    pub fn date_days(&self, text: &[u8]) -> Option<i32> {
        let value = match &self.date.pattern {
            None => cast::date_days(text),
            Some(pattern) => pattern.parse_date(text),
        };
        if value.is_some() || !self.date.fallback {
            return value;
        }
        old_date(text)
    }

    /// The zone in which texts without a zone are read.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// What the configuration's author should know: patterns that match no text at all.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let patterns = [&self.timestamp.pattern, &self.timestamp_ntz, &self.date.pattern];
        patterns.into_iter().flatten().filter_map(Pattern::never_matches)
    }

    #[cold]
    fn old_timestamp(&self, text: &[u8], now: i64) -> Option<i64> {
        let cleaned = without_gmt(text);
        if cleaned.is_none() && self.timestamp.pattern.is_none() {
            return None;
        }
        cast::timestamp_micros(cleaned.as_deref().unwrap_or(text), &self.zone, now)
    }
}

/// A date as Spark 2.0 and before read it: `GMT` dropped wherever it stands, then CAST's rules, then
/// a number of days since 1970.
#[cold]
fn old_date(text: &[u8]) -> Option<i32> {
    let cleaned = without_gmt(text);
    cast::date_days(cleaned.as_deref().unwrap_or(text)).or_else(|| {
        let days: i32 = std::str::from_utf8(text).ok()?.parse().ok()?;
        i32::try_from(julian_to_gregorian(days.into())).ok()
    })
}

/// The day that has the date which the calendar with the switch of 1582 gives to day `days`
/// (`RebaseDateTime.rebaseJulianToGregorianDays`).
fn julian_to_gregorian(days: i64) -> i64 {
    const FIRST_GREGORIAN: i64 = -141_427;
    /// 0000-03-01 of the Julian calendar.
    const JULIAN_MARCH: i64 = -719_470;
    if days >= FIRST_GREGORIAN {
        return days;
    }
    let since = days - JULIAN_MARCH;
    let (cycle, day_of_cycle) = (since.div_euclid(1461), since.rem_euclid(1461));
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460) / 365;
    let day_of_year = day_of_cycle - year_of_cycle * 365;
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    let month = u32::try_from(month).expect("a month is 1 to 12");
    // A 29 February that only the Julian calendar has moves on to 1 March.
    days_of(cycle * 4 + year_of_cycle + next_year, month, 1) + day
}

/// The text without each `GMT` (`DateTimeUtils.cleanLegacyTimestampStr`), if it has one.
fn without_gmt(text: &[u8]) -> Option<Vec<u8>> {
    let mut found = text.windows(3).position(|window| window == b"GMT")?;
    let (mut kept, mut rest) = (Vec::with_capacity(text.len()), text);
    loop {
        kept.extend_from_slice(&rest[..found]);
        rest = &rest[found + 3..];
        match rest.windows(3).position(|window| window == b"GMT") {
            Some(next) => found = next,
            None => break,
        }
    }
    kept.extend_from_slice(rest);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_format_old_texts_are_read_too() {
        let formats = Formats::new(&FormatOptions::default()).unwrap();
        assert_eq!(formats.date_days(b"365"), Some(365));
        assert_eq!(
            formats.date_days(b"-2147483648"),
            Some(i32::try_from(days_of(-5_877_520, 3, 3)).unwrap())
        );
        assert_eq!(formats.date_days(b"1970GMT-01-GMT02"), Some(1));
        assert_eq!(formats.timestamp_micros(b"1970-01-02 GMT", 0), Some(86_400_000_000));
        let strict = Formats::new(&FormatOptions { fallback: Some(false), ..Default::default() }).unwrap();
        assert_eq!(strict.date_days(b"365"), None);
        assert_eq!(strict.timestamp_micros(b"1970-01-02 GMT", 0), None);
    }

    #[test]
    fn a_format_stands_alone_unless_the_fallback_is_asked_for() {
        let mut options = FormatOptions { timestamp_format: Some("dd/MM/yyyy"), ..Default::default() };
        let formats = Formats::new(&options).unwrap();
        assert_eq!(formats.timestamp_micros(b"02/01/1970", 0), Some(86_400_000_000));
        assert_eq!(formats.timestamp_micros(b"1970-01-02", 0), None);
        options.fallback = Some(true);
        let formats = Formats::new(&options).unwrap();
        assert_eq!(formats.timestamp_micros(b"1970-01-02", 0), Some(86_400_000_000));
    }

    #[test]
    fn a_refused_pattern_names_its_key() {
        let options = FormatOptions { date_format: Some("EEE yyyy"), ..Default::default() };
        let error = Formats::new(&options).unwrap_err().to_string();
        assert!(error.starts_with("read dateFormat \"EEE yyyy\": "), "{error}");
    }
}
