//! Time zones by the ids Spark takes, and what local time is which instant in them.
//!
//! Spark's `SparkDateTimeUtils.getZoneId`, Java's `ZoneId` and `ZonedDateTime.of`. Both the
//! session's zone and zones inside values go through here; a known zone costs no allocation.

use std::sync::Arc;

use super::region::{self, Rules};
use crate::model::error::{Error, Result};

/// The seconds of the greatest offset of Java's `ZoneOffset`: 18 hours.
pub(super) const OFFSET_SECONDS_MAX: i32 = 18 * 3600;

/// A time zone.
#[derive(Debug, Clone, PartialEq)]
pub enum Zone {
    /// The same offset from UTC at all times, in seconds, to the east; 0 is UTC.
    Fixed(i32),
    /// A region with rules, such as `Europe/Berlin`.
    Region(Arc<Rules>),
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone::Fixed(0);

    /// The zone that a configuration names: `UTC`, `Europe/Berlin`, `+05:30`, `GMT+1`, `PST`.
    ///
    /// # Errors
    /// `Config` if Spark knows no such zone (`INVALID_TIMEZONE`). Ids are compared in exact case.
    pub fn parse(id: &str) -> Result<Zone> {
        Zone::of_id(id).ok_or_else(|| {
            Error::config(format!("unknown time zone {id:?}"))
                .hint("timeZone takes a region such as Europe/Berlin, an offset such as +05:30, or UTC")
        })
    }

    /// The zone of an id, if Spark knows it.
    pub fn of_id(id: &str) -> Option<Zone> {
        let bytes = id.as_bytes();
        // Spark pads the first `+h:` anywhere in the id, then a final `+hh:m`.
        if let Some(at) = bytes.windows(3).position(is_single_hour) {
            let padded = Padded::with_zero_at(bytes, at + 1)?;
            return of_padded(padded.text());
        }
        of_padded(bytes)
    }

    /// The instant, in seconds since the epoch, at which clocks show `local` (seconds since
    /// 1970-01-01T00:00:00 on the clock). Inside a gap the time moves forward by the gap's length,
    /// inside an overlap the earlier instant is taken (`ZonedDateTime.of`).
    #[inline]
    pub fn local_to_utc(&self, local: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => local - i64::from(*offset),
            Zone::Region(rules) => local - i64::from(rules.offset_of_local(local)),
        }
    }

    /// What clocks show at the instant `utc`, both in seconds.
    pub fn utc_to_local(&self, utc: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => utc + i64::from(*offset),
            Zone::Region(rules) => utc + i64::from(rules.offset_of_utc(utc)),
        }
    }
}

fn is_single_hour(window: &[u8]) -> bool {
    matches!(window, [b'+' | b'-', digit, b':'] if digit.is_ascii_digit())
}

/// An id with a `0` put in, on the stack; ids that matter are short.
struct Padded {
    bytes: [u8; 48],
    length: usize,
}

impl Padded {
    fn with_zero_at(id: &[u8], at: usize) -> Option<Padded> {
        let mut bytes = [0; 48];
        let length = id.len() + 1;
        bytes.get_mut(..at)?.copy_from_slice(id.get(..at)?);
        *bytes.get_mut(at)? = b'0';
        bytes.get_mut(at + 1..length)?.copy_from_slice(&id[at..]);
        Some(Padded { bytes, length })
    }

    fn text(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn of_padded(id: &[u8]) -> Option<Zone> {
    if let [.., b'+' | b'-', h1, h2, b':', m] = id
        && h1.is_ascii_digit()
        && h2.is_ascii_digit()
        && m.is_ascii_digit()
    {
        let padded = Padded::with_zero_at(id, id.len() - 1)?;
        return java_zone_id(padded.text());
    }
    java_zone_id(id)
}

/// Java's `ZoneId.of(id, ZoneId.SHORT_IDS)`.
fn java_zone_id(id: &[u8]) -> Option<Zone> {
    if let Some(long) = region::short_id(id) {
        return java_zone_id(long.as_bytes());
    }
    match id {
        [] => None,
        [_] | [b'+' | b'-', ..] => offset(id),
        [b'U', b'T', b'C', rest @ ..] | [b'G', b'M', b'T', rest @ ..] | [b'U', b'T', rest @ ..] => match rest
        {
            [] => Some(Zone::UTC),
            [b'+' | b'-', ..] => offset(rest),
            _ => region::rules(id).map(Zone::Region),
        },
        _ => region::rules(id).map(Zone::Region),
    }
}

/// Java's `ZoneOffset.of`: `Z`, `+h`, `+hh`, `+hhmm`, `+hh:mm`, `+hhmmss`, `+hh:mm:ss`.
fn offset(id: &[u8]) -> Option<Zone> {
    let two = |tens: u8, ones: u8| {
        (tens.is_ascii_digit() && ones.is_ascii_digit())
            .then(|| i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
    };
    let (sign, hours, minutes, seconds) = match *id {
        [b'Z'] => return Some(Zone::UTC),
        [sign, h] => (sign, two(b'0', h)?, 0, 0),
        [sign, h1, h2] => (sign, two(h1, h2)?, 0, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, two(h1, h2)?, two(m1, m2)?, 0),
        [sign, h1, h2, m1, m2, s1, s2] | [sign, h1, h2, b':', m1, m2, b':', s1, s2] => {
            (sign, two(h1, h2)?, two(m1, m2)?, two(s1, s2)?)
        }
        _ => return None,
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    let valid = minutes < 60 && seconds < 60 && total <= OFFSET_SECONDS_MAX;
    match sign {
        b'+' if valid => Some(Zone::Fixed(total)),
        b'-' if valid => Some(Zone::Fixed(-total)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_java_and_sparks_forms_and_no_others() {
        let seconds = |id: &str| match Zone::of_id(id) {
            Some(Zone::Fixed(seconds)) => Some(seconds),
            Some(Zone::Region(_)) => panic!("{id} is a region"),
            None => None,
        };
        for (id, expected) in [
            ("Z", Some(0)),
            ("UTC", Some(0)),
            ("GMT", Some(0)),
            ("UT", Some(0)),
            ("+1", Some(3600)),
            ("+01", Some(3600)),
            ("-0830", Some(-30_600)),
            ("+1:5", Some(3900)),
            ("+01:5", Some(3900)),
            ("GMT+1:30", Some(5400)),
            ("UTC-2", Some(-7200)),
            ("+01:00:30", Some(3630)),
            ("+010030", Some(3630)),
            ("+18:00", Some(64_800)),
            ("EST", Some(-18_000)),
            ("+18:01", None),
            ("+19", None),
            ("+100", None),
            ("+01:60", None),
            ("+01:00:3", None),
            ("", None),
            ("+", None),
            ("1", None),
            ("05:30", None),
            ("z", None),
        ] {
            assert_eq!(seconds(id), expected, "{id}");
        }
    }

    #[test]
    fn regions_are_known_by_exact_case_and_javas_list() {
        assert!(Zone::of_id("Europe/Berlin").is_some());
        assert!(Zone::of_id("Zulu").is_some());
        for id in ["europe/berlin", "utc", "ROC", "Factory", "Mars/Phobos", "Europe/Berlin "] {
            assert!(Zone::parse(id).is_err(), "{id}");
        }
    }
}
