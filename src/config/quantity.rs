//! Durations, sizes and the like as Spark writes them.
//!
//! Spark has two notations of time, interval strings (`1 hour 30 minutes`, `CalendarInterval`) and
//! time strings (`15m`, `JavaUtils.timeStringAs`). Both are read everywhere; a number without a
//! unit is a time only where Spark takes one (milliseconds).

use std::time::Duration;

/// Reads an interval or a time string. `bare_ms`: whether a number alone counts milliseconds.
///
/// # Errors
/// A sentence that says what is wrong, without the text itself.
pub fn duration(text: &str, bare_ms: bool) -> Result<Duration, String> {
    const FORM: &str = "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms";
    let lower = text.trim().to_lowercase();
    let mut rest = lower.strip_prefix("interval ").unwrap_or(&lower).trim_start();
    if rest.is_empty() {
        return Err(FORM.into());
    }
    if bare_ms && rest.bytes().all(|b| b.is_ascii_digit()) {
        return rest.parse().map(Duration::from_millis).map_err(|_| "the number is too large".into());
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).ok_or(FORM)?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let unit_len = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(unit_len);
        let unit_nanos = unit_nanos(unit).map_err(|e| e.replace("{n}", number))?;
        let part = scaled(number, unit_nanos).ok_or(FORM)?;
        nanos = nanos.checked_add(part).ok_or("the time is too long")?;
        rest = tail.trim_start();
    }
    if nanos < 0 {
        return Err("a time must not be negative".into());
    }
    // Spark counts microseconds and cuts what is finer.
    let micros = u64::try_from(nanos / 1000).map_err(|_| "the time is too long")?;
    Ok(Duration::from_micros(micros))
}

fn unit_nanos(unit: &str) -> Result<i128, String> {
    const MICRO: i128 = 1_000;
    const SECOND: i128 = 1_000_000 * MICRO;
    Ok(match unit {
        "us" | "microsecond" | "microseconds" => MICRO,
        "ms" | "millisecond" | "milliseconds" => 1000 * MICRO,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hour" | "hours" => 3_600 * SECOND,
        "d" | "day" | "days" => 86_400 * SECOND,
        "week" | "weeks" => 7 * 86_400 * SECOND,
        "month" | "months" | "year" | "years" => {
            return Err(format!("Doesn't support month or year interval: {{n}} {unit}"));
        }
        "" => return Err("{n} has no unit; expected one such as seconds, ms or minutes".into()),
        _ => {
            return Err(format!("{unit} is not a unit of time; expected one such as seconds, ms or minutes"));
        }
    })
}

/// `number * unit`; a fraction is taken for seconds only, up to nine digits, as in Spark.
fn scaled(number: &str, unit_nanos: i128) -> Option<i128> {
    let negative = number.starts_with('-');
    let number = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if unit_nanos == 1_000_000_000 && (1..=9).contains(&fraction.len()) => {
            (whole, format!("{fraction:0<9}").parse::<u32>().ok()?)
        }
        Some(_) => return None,
        None => (number, 0),
    };
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = i128::from(whole.parse::<u64>().ok()?) * unit_nanos + i128::from(fraction);
    Some(if negative { -value } else { value })
}

/// Reads a number of bytes: `512 MiB`, `1g`, `1048576`. As in Spark (`JavaUtils.byteStringAs`) and
/// on the JVM, `m` and `mb` are powers of two too.
///
/// # Errors
/// A sentence that says what is wrong, without the text itself.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    const FORM: &str = "expected a size such as 512 MiB, 1g or 1048576";
    let lower = text.trim().to_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return Err(FORM.into()),
    };
    let number: u64 = number.parse().map_err(|_| FORM)?;
    number.checked_mul(1 << shift).ok_or_else(|| "the size is too large".into())
}

/// Reads `true` or `false`, in any case, as Spark's options do.
///
/// # Errors
/// A sentence that says what is expected.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_notations_are_read() {
        let cases = [
            ("5 seconds", 5_000_000),
            ("interval 1 minute", 60_000_000),
            ("INTERVAL 1 Hour 30 Minutes", 5_400_000_000),
            ("250 ms", 250_000),
            ("15m", 900_000_000),
            ("1 week", 604_800_000_000),
            ("1.5 seconds", 1_500_000),
            ("0.0000019 seconds", 1),
            ("1 hour -30 minutes", 1_800_000_000),
            ("0 seconds", 0),
            ("10us", 10),
        ];
        for (text, micros) in cases {
            assert_eq!(duration(text, false), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(duration("10", true), Ok(Duration::from_millis(10)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        let cases = [
            ("1 month", "Doesn't support month or year interval: 1 month"),
            ("2 years", "Doesn't support month or year interval: 2 years"),
            ("10", "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms"),
            ("-1 second", "a time must not be negative"),
            ("5 fortnights", "fortnights is not a unit of time; expected one such as seconds, ms or minutes"),
            ("1.5 minutes", "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms"),
            ("", "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms"),
            ("5,", "5 has no unit; expected one such as seconds, ms or minutes"),
            ("1-2 seconds", "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms"),
            ("99999999999999999999 days", "expected a time such as 5 seconds, 1 minute 30 seconds or 250 ms"),
            ("18446744073709551615 days", "the time is too long"),
        ];
        for (text, message) in cases {
            assert_eq!(duration(text, false), Err(message.into()), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        for (text, bytes) in [
            ("512 MiB", 512 << 20),
            ("1g", 1 << 30),
            ("64Mi", 64 << 20),
            ("10kb", 10_240),
            ("7", 7),
            ("7 b", 7),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "1.5g", "-1", "5 parsecs", "20000000 TiB"] {
            assert!(size_bytes(text).is_err(), "{text}");
        }
    }
}
