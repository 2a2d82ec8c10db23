//! Text to dates and timestamps by the rules of Spark's CAST.
//!
//! `SparkDateTimeUtils.stringToDate`, `stringToTimestamp` and `stringToTimestampWithoutTimeZone` of
//! Spark 4.0. This is what a stream without its own format uses for each value, so the usual form
//! (`2026-01-02T03:04:05.678Z`) takes a short way. Nothing here allocates.

use super::civil::{MICROS_PER_SECOND, SECONDS_PER_DAY, checked_days_of, micros_of};
use super::zone::Zone;

/// Microseconds since the epoch of the instant that `text` names, or `None` if it is no timestamp.
///
/// Text without a zone is read in `zone`. A time of day without a date is that time of the day
/// that `now` (microseconds since the epoch) has in its zone.
#[inline]
pub fn timestamp_micros(text: &[u8], zone: &Zone, now: i64) -> Option<i64> {
    if let Some((local, micros, end)) = plain(text) {
        let instant = match &text[end..] {
            [b'Z'] => Some(local),
            [] => Some(zone.local_to_utc(local)),
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                plain_offset(*sign, [*h1, *h2, *m1, *m2]).map(|offset| local - offset)
            }
            _ => None,
        };
        if let Some(seconds) = instant {
            return Some(seconds * MICROS_PER_SECOND + micros);
        }
    }
    any_timestamp(text, zone, now)
}

/// Microseconds since 1970-01-01T00:00:00 of the local time that `text` names, or `None` if it is
/// none: text with a zone, or without a date, is none.
#[inline]
pub fn timestamp_ntz_micros(text: &[u8]) -> Option<i64> {
    if let Some((local, micros, end)) = plain(text)
        && end == text.len()
    {
        return Some(local * MICROS_PER_SECOND + micros);
    }
    any_timestamp_ntz(text)
}

/// As [`timestamp_ntz_micros`], but a zone in the text is passed over, as `CAST(… AS TIMESTAMP_NTZ)` does.
pub fn local_micros(text: &[u8]) -> Option<i64> {
    let parts = Parts::of(text)?;
    if parts.time_only {
        return None;
    }
    micros_of(parts.day()? * SECONDS_PER_DAY + parts.second_of_day()?, parts.micros())
}

/// Days since 1970-01-01 of the date that `text` begins with, or `None` if it is no date.
#[inline]
pub fn date_days(text: &[u8]) -> Option<i32> {
    if let Some(day) = text.first_chunk::<10>().and_then(plain_date)
        && matches!(text.get(10), None | Some(b' ' | b'T'))
    {
        return i32::try_from(day).ok();
    }
    any_date(text)
}

/// Eight bytes, digits where `marks` has zeros and the very bytes of `marks` elsewhere, to the
/// digits' values, one a byte; `None` if they are not.
#[inline]
fn eight(bytes: [u8; 8], marks: [u8; 8]) -> Option<[u8; 8]> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let marks_word = u64::from_le_bytes(marks);
    // One where a byte of `marks` is not zero.
    let any_bit = marks_word | marks_word >> 4;
    let is_mark = (any_bit | any_bit >> 2 | any_bit >> 1 | any_bit >> 3) & EACH;
    let zeros = (EACH ^ is_mark) * u64::from(b'0');
    let values = u64::from_le_bytes(bytes) ^ marks_word ^ zeros;
    // Valid are 0 to 9 for a digit and 0 for a mark: adding 0x76 or 0x7f carries the rest into bit 7.
    let wrong = (values.wrapping_add(EACH * 0x76 + is_mark * 9) | values) & (EACH * 0x80);
    (wrong == 0).then(|| values.to_le_bytes())
}

/// `YYYY-MM-DD` to days.
#[inline]
fn plain_date(text: &[u8; 10]) -> Option<i64> {
    let [y1, y2, y3, y4, _, m1, m2, _] = eight(*text.first_chunk()?, *b"\0\0\0\0-\0\0-")?.map(u32::from);
    let [.., d1, d2] = eight(*text.last_chunk()?, *b"\0\0-\0\0-\0\0")?.map(u32::from);
    checked_days_of(i64::from(y1 * 1000 + y2 * 100 + y3 * 10 + y4), m1 * 10 + m2, d1 * 10 + d2)
}

/// The clock's seconds since the epoch, the microseconds of the second, and where the text goes on,
/// if the text begins `YYYY-MM-DD[T ]HH:MM:SS[.f{1,9}]`.
#[inline]
fn plain(text: &[u8]) -> Option<(i64, i64, usize)> {
    let head = text.first_chunk::<19>()?;
    let day = plain_date(head.first_chunk::<10>()?)?;
    let [h1, h2, _, m1, m2, _, s1, s2] = eight(*head.last_chunk()?, *b"\0\0:\0\0:\0\0")?.map(u32::from);
    let (hour, minute, second) = (h1 * 10 + h2, m1 * 10 + m2, s1 * 10 + s2);
    if !(matches!(head[10], b'T' | b' ') && hour < 24 && minute < 60 && second < 60) {
        return None;
    }
    let local = day * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second);
    let Some((b'.', fraction)) = text[19..].split_first() else {
        return Some((local, 0, 19));
    };
    let mut micros = 0;
    let mut length = 0;
    for byte in fraction {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if length < 6 {
            micros = micros * 10 + i64::from(digit);
        }
        length += 1;
    }
    const SCALE: [i64; 7] = [1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    Some((local, micros * SCALE[length.min(6)], 20 + length))
}

/// Seconds of `±HH:MM`.
#[inline]
fn plain_offset(sign: u8, digits: [u8; 4]) -> Option<i64> {
    let [h1, h2, m1, m2] = digits.map(|byte| i64::from(byte.wrapping_sub(b'0')));
    let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
    let valid = h1 <= 9 && h2 <= 9 && m1 <= 9 && m2 <= 9 && hours < 18 && minutes < 60;
    let seconds = hours * 3600 + minutes * 60;
    valid.then_some(if sign == b'-' { -seconds } else { seconds })
}

#[cold]
fn any_timestamp(text: &[u8], zone: &Zone, now: i64) -> Option<i64> {
    let parts = Parts::of(text)?;
    let named = match parts.zone {
        Some(id) => Some(Zone::of_id(trim_java(std::str::from_utf8(id).ok()?))?),
        None => None,
    };
    let zone = named.as_ref().unwrap_or(zone);
    let day = if parts.time_only {
        zone.utc_to_local(now.div_euclid(MICROS_PER_SECOND)).div_euclid(SECONDS_PER_DAY)
    } else {
        parts.day()?
    };
    micros_of(zone.local_to_utc(day * SECONDS_PER_DAY + parts.second_of_day()?), parts.micros())
}

#[cold]
fn any_timestamp_ntz(text: &[u8]) -> Option<i64> {
    let parts = Parts::of(text)?;
    if parts.time_only || parts.zone.is_some() {
        return None;
    }
    micros_of(parts.day()? * SECONDS_PER_DAY + parts.second_of_day()?, parts.micros())
}

#[cold]
fn any_date(text: &[u8]) -> Option<i32> {
    let text = trim(text);
    let (sign, digits) = signed(text);
    let mut parts = [1, 1, 1];
    let mut at = 0;
    let mut number = Number::default();
    let mut end = digits.len();
    for (position, &byte) in digits.iter().enumerate() {
        match byte {
            b' ' | b'T' => {
                end = position;
                break;
            }
            b'-' if at < 2 => {
                parts[at] = number.take(if at == 0 { 4..=7 } else { 1..=2 })?;
                at += 1;
            }
            b'0'..=b'9' => number.push(byte),
            _ => return None,
        }
    }
    parts[at] = number.take(if at == 0 { 4..=7 } else { 1..=2 })?;
    if at < 2 && end < digits.len() {
        return None;
    }
    let days = checked_days_of(sign * i64::from(parts[0]), parts[1], parts[2])?;
    i32::try_from(days).ok()
}

/// Digits read so far of one part of a date or time.
#[derive(Default)]
struct Number {
    value: u32,
    digits: usize,
}

impl Number {
    fn push(&mut self, digit: u8) {
        // More than seven digits are refused by every caller, or cut off.
        self.value = self.value.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'));
        self.digits += 1;
    }

    fn take(&mut self, allowed: std::ops::RangeInclusive<usize>) -> Option<u32> {
        let done = std::mem::take(self);
        allowed.contains(&done.digits).then_some(done.value)
    }
}

/// A timestamp's text taken apart, each part with a valid number of digits, not yet in range.
#[derive(Debug)]
struct Parts<'a> {
    sign: i64,
    /// Year, month, day, hour, minute, second; the fraction in microseconds.
    numbers: [u32; 7],
    time_only: bool,
    zone: Option<&'a [u8]>,
}

const HOUR: usize = 3;
const SECOND: usize = 5;
const FRACTION: usize = 6;

impl<'a> Parts<'a> {
    /// `SparkDateTimeUtils.parseTimestampString`.
    fn of(text: &'a [u8]) -> Option<Parts<'a>> {
        let trimmed = trim(text);
        let (sign, body) = signed(trimmed);
        let has_sign = body.len() < trimmed.len();
        let mut parts = Parts { sign, numbers: [1, 1, 1, 0, 0, 0, 0], time_only: false, zone: None };
        let mut body = body;
        let mut at = 0;
        // A leading T counts only if nothing, not even a blank, stands before it.
        if let [b'T', rest @ ..] = text
            && !rest.is_empty()
        {
            (parts.time_only, at, body) = (true, HOUR, &body[1..]);
        }
        let mut number = Number::default();
        for (position, &byte) in body.iter().enumerate() {
            match (at, byte) {
                (FRACTION, b'0'..=b'9') if number.digits >= 6 => number.digits += 1,
                (_, b'0'..=b'9') => number.push(byte),
                (0 | 1, b'-') | (2, b' ' | b'T') | (3 | 4, b':') | (SECOND, b'.') => {
                    parts.set(at, &mut number)?;
                    at += 1;
                }
                (0, b':') if !has_sign => {
                    parts.time_only = true;
                    parts.set(HOUR, &mut number)?;
                    at = HOUR + 1;
                }
                (SECOND | FRACTION, _) => {
                    parts.set(at, &mut number)?;
                    parts.zone = Some(&body[position..]);
                    return Some(parts);
                }
                _ => return None,
            }
        }
        parts.set(at, &mut number)?;
        Some(parts)
    }

    fn set(&mut self, at: usize, number: &mut Number) -> Option<()> {
        let digits = number.digits;
        self.numbers[at] = match at {
            0 => number.take(4..=6)?,
            FRACTION => {
                let scale = 10_u32.pow(6 - u32::try_from(digits.min(6)).expect("at most 6"));
                number.take(0..=usize::MAX)? * scale
            }
            _ => number.take(1..=2)?,
        };
        Some(())
    }

    fn day(&self) -> Option<i64> {
        checked_days_of(self.sign * i64::from(self.numbers[0]), self.numbers[1], self.numbers[2])
    }

    fn second_of_day(&self) -> Option<i64> {
        let [.., hour, minute, second, _] = self.numbers;
        (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second))
    }

    fn micros(&self) -> u32 {
        self.numbers[FRACTION]
    }
}

/// Without the blanks and control characters at both ends (`UTF8String.trimAll`).
fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let Some(start) = text.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// Java's `String.trim`.
fn trim_java(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

fn signed(text: &[u8]) -> (i64, &[u8]) {
    match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T12:00:00Z
    const NOW: i64 = 1_767_355_200_000_000;

    fn utc(text: &str) -> Option<i64> {
        timestamp_micros(text.as_bytes(), &Zone::UTC, NOW)
    }

    #[test]
    fn the_short_way_and_the_long_way_agree() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05.",
            "2026-01-02T03:04:05.1",
            "2026-01-02T03:04:05.123456789+05:45",
            "2026-01-02T03:04:05-17:59",
            "2026-01-02T03:04:05-18:00",
            "0000-02-29T23:59:59.999999Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05+01:60",
            "2026-01-02T03:04:05.5x",
        ] {
            assert_eq!(utc(text), any_timestamp(text.as_bytes(), &Zone::UTC, NOW), "{text}");
        }
        assert_eq!(utc("1970-01-01T00:00:01.5-00:01"), Some(61_500_000));
    }

    #[test]
    fn a_wrong_byte_anywhere_is_seen_by_the_short_way() {
        let good = *b"2026-01-02T03:04:05.678Z";
        for at in 0..19 {
            for byte in 0..=255 {
                let mut text = good;
                text[at] = byte;
                let short = plain(&text);
                let digit = !matches!(at, 4 | 7 | 10 | 13 | 16);
                let fits =
                    if digit { byte.is_ascii_digit() } else { byte == good[at] || at == 10 && byte == b' ' };
                assert!(fits || short.is_none(), "byte {byte} at {at}");
                assert_eq!(
                    timestamp_micros(&text, &Zone::UTC, NOW),
                    any_timestamp(&text, &Zone::UTC, NOW),
                    "byte {byte} at {at}"
                );
            }
        }
    }

    #[test]
    fn a_time_without_a_date_is_of_today_in_its_zone() {
        let midnight = 1_767_312_000_000_000;
        assert_eq!(utc("03:00"), Some(midnight + 3 * 3_600_000_000));
        assert_eq!(utc("T03:00:00.5"), Some(midnight + 3 * 3_600_000_000 + 500_000));
        // At noon UTC it is the next day already in Kiritimati.
        let tomorrow = midnight + 86_400_000_000;
        assert_eq!(utc("00:00:00 Pacific/Kiritimati"), Some(tomorrow - 14 * 3_600_000_000));
        assert_eq!(utc("T03:00:00"), utc("03:00:00"));
        assert_eq!(utc(" T03:00:00"), None);
        assert_eq!(utc("+03:00"), None);
        assert_eq!(timestamp_ntz_micros(b"03:00:00"), None);
    }

    #[test]
    fn dates_end_at_a_blank_or_t_only_when_they_are_whole() {
        assert_eq!(date_days(b"1970-01-02 and more"), Some(1));
        assert_eq!(date_days(b" 1970-1-2Tx"), Some(1));
        assert_eq!(date_days(b"1970-01 x"), None);
        assert_eq!(date_days(b"1970 "), Some(0));
        assert_eq!(date_days(b"1970-01-02Z"), None);
        assert_eq!(date_days(b""), None);
        assert_eq!(date_days(b"+"), None);
    }
}
