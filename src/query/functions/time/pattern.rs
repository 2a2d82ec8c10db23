//! Writing moments by Java's patterns, in English.
//!
//! The letters that Spark 4.0 takes for writing (`DateTimeFormatterHelper`); reading has its own patterns
//! (`decode::datetime::Pattern`).

use std::fmt::Write;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{OffsetName, Tz};
use datafusion::common::Result;

use super::parts::{name_of_day, name_of_month};
use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{MICROS_PER_SECOND, date_of, days_of};
use crate::query::cast::time::MICROS_PER_DAY;
use crate::query::error::ExpressionError;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter and how often it is there.
    Field(char, usize),
}

/// A pattern, ready to write.
#[derive(Debug)]
pub(super) struct Writer(Vec<Piece>);

/// What is written: the clock, and the zone it is the clock of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// Microseconds since 1970-01-01T00:00:00 on the clock.
    pub(super) clock: i64,
    /// How many seconds the clock is before UTC.
    pub(super) offset: i64,
    pub(super) zone: &'a Zone,
    pub(super) zone_id: &'a str,
}

impl Writer {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION` for letters that Spark 3 gave up,
    /// `INVALID_DATETIME_PATTERN` for what no formatter takes.
    pub(super) fn new(pattern: &str) -> Result<Writer> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            match c {
                '\'' => {
                    let (text, length) = quoted(rest)?;
                    pieces.push(Piece::Text(text));
                    rest = &rest[length..];
                }
                'a'..='z' | 'A'..='Z' => {
                    let run = rest.len() - rest.trim_start_matches(c).len();
                    check(c, run)?;
                    pieces.push(Piece::Field(c, run));
                    rest = &rest[run..];
                }
                '[' | ']' => rest = &rest[1..],
                '{' | '}' | '#' => return Err(invalid("a reserved character is in it")),
                c => {
                    pieces.push(Piece::Text(c.to_string()));
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        // Without an era a year is the proleptic one.
        let era = pieces.iter().any(|piece| matches!(piece, Piece::Field('G', _)));
        if !era {
            for piece in &mut pieces {
                if let Piece::Field(letter @ 'y', _) = piece {
                    *letter = 'u';
                }
            }
        }
        Ok(Writer(pieces))
    }

    pub(super) fn write(&self, moment: Moment, out: &mut String) -> Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(letter, count) => field(*letter, *count, moment, out)?,
            }
        }
        Ok(())
    }
}

fn invalid(why: &str) -> datafusion::common::DataFusionError {
    ExpressionError::raise("INVALID_DATETIME_PATTERN", format!("the pattern cannot be used: {why}"))
}

fn quoted(rest: &str) -> Result<(String, usize)> {
    let mut at = 1;
    loop {
        let Some(found) = rest[at..].find('\'') else {
            return Err(invalid("it ends inside a quoted text"));
        };
        at += found + 1;
        if rest[at..].starts_with('\'') {
            at += 1;
            continue;
        }
        let inside = &rest[1..at - 1];
        return Ok((if inside.is_empty() { "'".to_owned() } else { inside.replace("''", "'") }, at));
    }
}

/// Whether a run of a letter can be written.
fn check(letter: char, count: usize) -> Result<()> {
    if "YWwuec".contains(letter) {
        return Err(ExpressionError::raise(
            "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION",
            format!("letter {letter} of a pattern is week-based or a day of the week"),
        ));
    }
    let most = match letter {
        'y' => 6,
        'G' | 'M' | 'L' | 'E' | 'Q' | 'q' | 'z' => 4,
        'D' => 3,
        'a' | 'F' => 1,
        'V' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' => 2,
        'S' => 9,
        'O' => 4,
        'X' | 'x' | 'Z' => 5,
        _ => return Err(invalid(&format!("letter {letter} cannot be written"))),
    };
    let good = match letter {
        'V' => count == 2,
        'O' => count == 1 || count == 4,
        _ => count <= most,
    };
    if good { Ok(()) } else { Err(invalid(&format!("letter {letter} cannot be there {count} times"))) }
}

fn field(letter: char, count: usize, moment: Moment, out: &mut String) -> Result<()> {
    let day = moment.clock.div_euclid(MICROS_PER_DAY);
    let (year, month, of_month) = date_of(day);
    let of_day = moment.clock.rem_euclid(MICROS_PER_DAY);
    let second = of_day / MICROS_PER_SECOND;
    let hour = second / 3600;
    let month_name = || name_of_month(month);
    let day_name = || name_of_day(day as i32);
    let quarter = (month - 1) / 3 + 1;
    let number =
        |value: i64, out: &mut String| write!(out, "{value:0count$}").expect("a String takes everything");
    match (letter, count) {
        ('u', 2) => write!(out, "{:02}", year.rem_euclid(100)).expect("a String takes everything"),
        ('y', 2) => write!(out, "{:02}", era_year(year).rem_euclid(100)).expect("a String takes everything"),
        ('u', _) => write_year(year, count, out),
        ('y', _) => write_year(era_year(year), count, out),
        ('G', 4) => out.push_str(if year > 0 { "Anno Domini" } else { "Before Christ" }),
        ('G', _) => out.push_str(if year > 0 { "AD" } else { "BC" }),
        ('M' | 'L', 3) => out.push_str(&month_name()[..3]),
        ('M' | 'L', 4) => out.push_str(month_name()),
        ('M' | 'L', _) => number(i64::from(month), out),
        ('d', _) => number(i64::from(of_month), out),
        ('D', _) => number(day - days_of(year, 1, 1) + 1, out),
        ('E', 4) => out.push_str(day_name()),
        ('E', _) => out.push_str(&day_name()[..3]),
        ('F', _) => number(i64::from((of_month - 1) % 7 + 1), out),
        ('a', _) => out.push_str(if hour < 12 { "AM" } else { "PM" }),
        ('H', _) => number(hour, out),
        ('k', _) => number(if hour == 0 { 24 } else { hour }, out),
        ('K', _) => number(hour % 12, out),
        ('h', _) => number(if hour % 12 == 0 { 12 } else { hour % 12 }, out),
        ('m', _) => number(second / 60 % 60, out),
        ('s', _) => number(second % 60, out),
        ('S', _) => {
            let nanos = format!("{:09}", of_day % MICROS_PER_SECOND * 1000);
            out.push_str(&nanos[..count]);
        }
        ('Q' | 'q', 3) => write!(out, "Q{quarter}").expect("a String takes everything"),
        ('Q' | 'q', 4) => {
            let ending = ["st", "nd", "rd", "th"][quarter as usize - 1];
            write!(out, "{quarter}{ending} quarter").expect("a String takes everything");
        }
        ('Q' | 'q', _) => number(i64::from(quarter), out),
        ('V', _) => out.push_str(moment.zone_id),
        ('z', 4) => return Err(invalid("full names of zones are not known")),
        ('z', _) => out.push_str(&zone_name(moment)?),
        ('O', _) => localized_offset(moment.offset, count == 4, out),
        ('Z', 4) => localized_offset(moment.offset, true, out),
        ('Z', 1..=3) => offset(moment.offset, "+HHMM", "+0000", out),
        ('Z', _) => offset(moment.offset, "+HH:MM:ss", "Z", out),
        ('X' | 'x', _) => {
            let form = ["+HHmm", "+HHMM", "+HH:MM", "+HHMMss", "+HH:MM:ss"][count - 1];
            let zero = match (letter, count) {
                ('X', _) => "Z",
                (_, 1) => "+00",
                (_, 2 | 4) => "+0000",
                _ => "+00:00",
            };
            offset(moment.offset, form, zero, out);
        }
        _ => return Err(invalid("a letter cannot be written")),
    }
    Ok(())
}

fn era_year(year: i64) -> i64 {
    if year > 0 { year } else { 1 - year }
}

/// At least `width` digits; a sign for negative years, and a plus for more than four digits.
fn write_year(year: i64, width: usize, out: &mut String) {
    let digits = format!("{:0width$}", year.unsigned_abs());
    if year < 0 {
        out.push('-');
    } else if width >= 4 && digits.len() > width {
        out.push('+');
    }
    out.push_str(&digits);
}

/// `GMT+2`, or `GMT+02:00` if full.
fn localized_offset(seconds: i64, full: bool, out: &mut String) {
    out.push_str("GMT");
    if seconds == 0 {
        return;
    }
    let size = seconds.abs();
    let (hour, minute, second) = (size / 3600, size / 60 % 60, size % 60);
    out.push(if seconds < 0 { '-' } else { '+' });
    let written = if full {
        write!(out, "{hour:02}:{minute:02}")
    } else if minute != 0 || second != 0 {
        write!(out, "{hour}:{minute:02}")
    } else {
        write!(out, "{hour}")
    };
    written.expect("a String takes everything");
    if second != 0 {
        write!(out, ":{second:02}").expect("a String takes everything");
    }
}

/// An offset in one of Java's forms: small letters are left out if zero.
fn offset(seconds: i64, form: &str, zero: &str, out: &mut String) {
    if seconds == 0 {
        out.push_str(zero);
        return;
    }
    let size = seconds.abs();
    let (hour, minute, second) = (size / 3600, size / 60 % 60, size % 60);
    let colon = if form.contains(':') { ":" } else { "" };
    out.push(if seconds < 0 { '-' } else { '+' });
    write!(out, "{hour:02}").expect("a String takes everything");
    if form.contains("MM") || minute != 0 {
        write!(out, "{colon}{minute:02}").expect("a String takes everything");
    }
    if form.contains("ss") && second != 0 {
        write!(out, "{colon}{second:02}").expect("a String takes everything");
    }
}

/// `UTC`, `EST`, `CEST`: the short name of the zone at the moment.
fn zone_name(moment: Moment) -> Result<String> {
    let Zone::Region(rules) = moment.zone else {
        return Ok(moment.zone_id.to_owned());
    };
    let unknown = || invalid("the zone has no short name");
    let zone: Tz = rules.name().parse().map_err(|_| unknown())?;
    let seconds = moment.clock.div_euclid(MICROS_PER_SECOND) - moment.offset;
    let at = DateTime::from_timestamp(seconds, 0).ok_or_else(unknown)?;
    let offset = zone.offset_from_utc_datetime(&at.naive_utc());
    debug_assert_eq!(i64::from(offset.fix().local_minus_utc()), moment.offset);
    let name = offset.abbreviation().unwrap_or_default();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { Ok(name.to_owned()) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pattern: &str, clock: i64, offset: i64) -> String {
        let mut out = String::new();
        let zone = Zone::Fixed(offset as i32);
        let moment = Moment { clock, offset, zone: &zone, zone_id: "UTC" };
        Writer::new(pattern).unwrap().write(moment, &mut out).unwrap();
        out
    }

    #[test]
    fn letters_are_javas() {
        let at =
            days_of(2024, 2, 29) * MICROS_PER_DAY + (13 * 3600 + 4 * 60 + 5) * MICROS_PER_SECOND + 123_456;
        assert_eq!(written("EEE, d MMM yyyy HH:mm:ss", at, 0), "Thu, 29 Feb 2024 13:04:05");
        assert_eq!(written("hh:mm a", at, 0), "01:04 PM");
        assert_eq!(written("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", at, 0), "2024-02-29T13:04:05.123Z");
        assert_eq!(written("XXX xx O OOOO", at, 19_800), "+05:30 +0530 GMT+5:30 GMT+05:30");
        assert_eq!(written("X x Z", at, 0), "Z +00 +0000");
        assert_eq!(written("QQQ Q qqqq D F", at, 0), "Q1 1 1st quarter 60 1");
    }

    #[test]
    fn letters_that_spark_gave_up_are_refused() {
        for pattern in ["YYYY", "u", "ww", "MMMMM", "yyyy-'x", "B", "{"] {
            assert!(Writer::new(pattern).is_err(), "{pattern}");
        }
    }
}
