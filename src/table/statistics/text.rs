//! A bound as the text that every reader parses alike; see [the module above](super).

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use serde_json::Value;

use super::Bounds;
use super::bound::Bound;

/// Characters of a text's bound; Delta's number.
const BOUND_CHARS: usize = 32;

/// Characters up to which an upper bound may grow where the next one is the greatest there is; Delta's number.
const BOUND_CHARS_MAX: usize = 2 * BOUND_CHARS;

/// A bound as JSON; `None` if readers don't agree on how it is written.
pub(super) fn bound_text(bound: &Bound, bounds: Bounds, upper: bool) -> Option<String> {
    Some(match (bounds, bound) {
        (Bounds::Integer, Bound::Integer(value)) => value.to_string(),
        (Bounds::Decimal { scale }, Bound::Integer(value)) => decimal(*value, scale),
        (Bounds::Date, Bound::Integer(days)) => quoted(&date(*days)?),
        (Bounds::Time { utc }, Bound::Integer(micros)) => quoted(&time(*micros, utc)?),
        (Bounds::Single | Bounds::Double, Bound::Float(value)) if !value.is_finite() => {
            quoted(if value.is_nan() {
                "NaN"
            } else if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        }
        (Bounds::Single | Bounds::Double, Bound::Float(value)) if *value == 0.0 => {
            if upper { "0.0" } else { "-0.0" }.to_owned()
        }
        (Bounds::Single, Bound::Float(value)) => format!("{:?}", *value as f32),
        (Bounds::Double, Bound::Float(value)) => format!("{value:?}"),
        (Bounds::Text, Bound::Text(text)) if upper => quoted(&upper_bound(text)?),
        (Bounds::Text, Bound::Text(text)) => quoted(first_chars(text, BOUND_CHARS)),
        _ => return None,
    })
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let digits = value.unsigned_abs().to_string();
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{part}")
}

/// The years that every reader can write and read as four digits.
fn is_plain(year: i32) -> bool {
    (1..=9999).contains(&year)
}

fn date(days: i128) -> Option<String> {
    let since_ce = i32::try_from(days + 719_163).ok()?;
    let date = NaiveDate::from_num_days_from_ce_opt(since_ce).filter(|date| is_plain(date.year()))?;
    Some(date.format("%Y-%m-%d").to_string())
}

/// In milliseconds, as Spark writes it, where that is the time. Spark cuts the rest off and reads upper bounds a
/// millisecond wider; other readers don't, so that here the microseconds are kept.
fn time(micros: i128, utc: bool) -> Option<String> {
    let time: NaiveDateTime = DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)?.naive_utc();
    if !is_plain(time.year()) {
        return None;
    }
    let format = if time.nanosecond().is_multiple_of(1_000_000) {
        "%Y-%m-%dT%H:%M:%S%.3f"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6f"
    };
    Some(format!("{}{}", time.format(format), if utc { "Z" } else { "" }))
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// A text of at most [`BOUND_CHARS`] that is not below `text`, as Delta makes it: a beginning, and a character that no
/// other is above at its place. Longer where the place has that character already; `None` if it goes on so.
fn upper_bound(text: &str) -> Option<String> {
    if first_chars(text, BOUND_CHARS).len() == text.len() {
        return Some(text.to_owned());
    }
    let mut cuts = text.char_indices().skip(BOUND_CHARS).take(BOUND_CHARS_MAX - BOUND_CHARS);
    match cuts.find(|(_, next)| *next != char::MAX) {
        Some((end, next)) => {
            let above = if next < '\x7F' { '\x7F' } else { char::MAX };
            Some(format!("{}{above}", &text[..end]))
        }
        None if first_chars(text, BOUND_CHARS_MAX).len() == text.len() => Some(text.to_owned()),
        None => None,
    }
}
