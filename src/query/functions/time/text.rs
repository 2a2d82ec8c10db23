//! Dates and timestamps as text, by patterns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Date32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::epoch::start_of_day;
use super::pattern::{Moment, Writer};
use crate::decode::datetime::civil::MICROS_PER_SECOND;
use crate::decode::datetime::{Pattern, Zone};
use crate::query::cast::time::{MICROS_PER_DAY, day_of, to_clock};
use crate::query::cast::to_text::write_date;
use crate::query::cast::{self, Mode, Way};
use crate::query::coerce::types::{Want, castable, clock_time, instant, is_timestamp};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Call, Types, count, entry};

/// Functions between moments and texts.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "date_format",
        Types::By(bind_format),
        date_format,
        ["stateless/date_format_patterns", "expressions/datetime"]
    ),
    entry!(
        "from_unixtime",
        Types::By(bind_unixtime),
        from_unixtime,
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
    entry!(
        "to_timestamp" | "to_timestamp_ltz" | "timestamp",
        Types::By(|bind| bind_parse(bind, instant())),
        |call| parse(call, call.conf.ansi),
        ["stateless/to_timestamp_fails_on_bad_text", "expressions/datetime"]
    ),
    entry!(
        "try_to_timestamp",
        Types::By(|bind| bind_parse(bind, instant())),
        |call| parse(call, false),
        ["stateless/to_timestamp_patterns", "expressions/datetime"]
    ),
    entry!(
        "to_timestamp_ntz",
        Types::By(|bind| bind_parse(bind, clock_time())),
        |call| parse(call, call.conf.ansi),
        ["expressions/datetime"]
    ),
    entry!(
        "to_date" | "date",
        Types::By(|bind| bind_parse(bind, DataType::Date32)),
        |call| parse(call, call.conf.ansi),
        ["stateless/to_date_patterns", "expressions/datetime"]
    ),
    entry!(
        "unix_timestamp" | "to_unix_timestamp",
        Types::By(bind_seconds),
        unix_timestamp,
        ["stateless/epoch_conversions", "expressions/datetime"]
    ),
];

/// The pattern that Spark takes where none is given.
const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss";

fn bind_format(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let moment = castable(bind, &bind.types[0], Want::Instant)?;
    Ok(Bound::new([moment, castable(bind, &bind.types[1], Want::Text)?], DataType::Utf8))
}

fn bind_unixtime(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    let mut args = vec![castable(bind, &bind.types[0], Want::Long)?];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Utf8))
}

/// Texts of the moments that `at` gives, by the pattern of argument 1.
fn write(call: &Call, at: impl Fn(usize) -> i64) -> Result<ArrayRef> {
    let mut writer: Option<(String, Writer)> = None;
    let mut texts = arrow::array::StringBuilder::new();
    let mut text = String::new();
    for row in 0..call.rows {
        if !call.all_valid(row) {
            texts.append_null();
            continue;
        }
        let pattern = call.text(1, row).unwrap_or(DEFAULT);
        if writer.as_ref().is_none_or(|(known, _)| known != pattern) {
            writer = Some((pattern.to_owned(), Writer::new(pattern)?));
        }
        let micros = at(row);
        let clock = to_clock(micros, &call.conf.zone);
        let offset = clock.wrapping_sub(micros) / MICROS_PER_SECOND;
        let moment = Moment { clock, offset, zone: &call.conf.zone, zone_id: &call.conf.zone_id };
        text.clear();
        if let Some((_, writer)) = &writer {
            writer.write(moment, &mut text)?;
        }
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()) as Arc<StringArray>)
}

fn date_format(call: &Call) -> Result<ArrayRef> {
    write(call, |row| call.instants(0).value(row))
}

fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    write(call, |row| call.longs(0).value(row).wrapping_mul(MICROS_PER_SECOND))
}

/// What a pattern reads: the three kinds of moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Instant,
    Clock,
    Day,
}

fn bind_parse(bind: &Bind, returns: DataType) -> Result<Bound> {
    count(bind, 1, 2)?;
    let from = &bind.types[0];
    let moment = is_timestamp(from) || *from == DataType::Date32;
    let value = match bind.types.len() {
        // Without a pattern this is a cast; numbers are seconds.
        1 if moment || *from == DataType::Utf8 || bind.name.starts_with("to_timestamp") => from.clone(),
        1 => castable(bind, from, Want::Text)?,
        _ if moment => from.clone(),
        _ => castable(bind, from, Want::Text)?,
    };
    let mut args = vec![value];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, returns))
}

/// Reads texts by the pattern of argument 1; what is a moment already is cast.
fn parse(call: &Call, raise: bool) -> Result<ArrayRef> {
    let output = match call.returns {
        DataType::Date32 => Output::Day,
        DataType::Timestamp(_, None) => Output::Clock,
        _ => Output::Instant,
    };
    if !call.has(1) || *call.args[0].data_type() != DataType::Utf8 {
        let mode = match (raise, call.conf.ansi) {
            (true, _) => Mode::Ansi,
            (false, true) => Mode::Try,
            (false, false) => Mode::Lenient,
        };
        return cast::cast(&call.args[0], call.returns, Way { mode, conf: call.conf });
    }
    let values = read(call, raise, output)?;
    Ok(match output {
        Output::Day => {
            let zone = &call.conf.zone;
            Arc::new(values.iter().map(|at| at.map(|at| day_of(at, zone))).collect::<Date32Array>())
        }
        _ => Arc::new(
            values.into_iter().collect::<TimestampMicrosecondArray>().with_data_type(call.returns.clone()),
        ),
    })
}

fn unreadable(pattern: &Pattern) -> DataFusionError {
    match pattern.never_matches() {
        Some(_) => ExpressionError::raise(
            "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER",
            "the pattern matches no text",
        ),
        None => ExpressionError::raise("CANNOT_PARSE_TIMESTAMP", "the text does not match the pattern"),
    }
}

/// Microseconds of each text; a DATE is read as the instant at which it begins.
fn read(call: &Call, raise: bool, output: Output) -> Result<Vec<Option<i64>>> {
    let mut known: Option<(String, Pattern)> = None;
    let mut values = Vec::with_capacity(call.rows);
    for row in 0..call.rows {
        if !call.all_valid(row) {
            values.push(None);
            continue;
        }
        let text = call.texts(0).value(row);
        let format = call.text(1, row).unwrap_or(DEFAULT);
        if known.as_ref().is_none_or(|(before, _)| before != format) {
            let pattern = Pattern::compile(format, "en-US").map_err(|error| {
                ExpressionError::raise(
                    "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION",
                    error.message().to_owned(),
                )
            })?;
            known = Some((format.to_owned(), pattern));
        }
        let Some((_, pattern)) = &known else { continue };
        if pattern.never_matches().is_some() {
            return Err(unreadable(pattern));
        }
        let found = match output {
            Output::Clock => pattern.parse_ntz(text.as_bytes()),
            Output::Instant | Output::Day => pattern.parse_timestamp(text.as_bytes(), &call.conf.zone),
        };
        if found.is_none() && raise {
            return Err(unreadable(pattern));
        }
        values.push(found);
    }
    Ok(values)
}

fn bind_seconds(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    let value = match &bind.types[0] {
        kind if is_timestamp(kind) || *kind == DataType::Date32 => kind.clone(),
        kind => castable(bind, kind, Want::Text)?,
    };
    let mut args = vec![value];
    for kind in &bind.types[1..] {
        args.push(castable(bind, kind, Want::Text)?);
    }
    Ok(Bound::new(args, DataType::Int64))
}

fn unix_timestamp(call: &Call) -> Result<ArrayRef> {
    // Spark divides, so that what is before 1970 is rounded up; a TIMESTAMP_NTZ counts as if it were UTC.
    let seconds = |micros: i64| micros / MICROS_PER_SECOND;
    let values: Vec<Option<i64>> = match call.args[0].data_type() {
        DataType::Utf8 => read(call, call.conf.ansi, Output::Instant)?,
        DataType::Date32 => call.dates(0).iter().map(|day| day.map(|day| start_of_day(call, day))).collect(),
        _ => call.instants(0).iter().collect(),
    };
    Ok(Arc::new(values.into_iter().map(|at| at.map(seconds)).collect::<Int64Array>()))
}

/// Writes moments by one pattern in one zone.
struct MomentWriter {
    writer: Writer,
    zone: Zone,
    zone_id: String,
}

impl MomentWriter {
    /// A writer of `pattern` for clocks in the zone `zone_id`.
    ///
    /// # Errors
    /// As [`Writer::new`], and `INVALID_TIMEZONE`.
    fn new(pattern: &str, zone_id: &str) -> Result<MomentWriter> {
        let zone = Zone::of_id(zone_id)
            .ok_or_else(|| ExpressionError::raise("INVALID_TIMEZONE", "the text is not a time zone"))?;
        Ok(MomentWriter { writer: Writer::new(pattern)?, zone, zone_id: zone_id.to_owned() })
    }

    /// Writes the instant `micros`.
    fn write(&self, micros: i64, out: &mut String) -> Result<()> {
        let clock = to_clock(micros, &self.zone);
        let offset = clock.wrapping_sub(micros) / MICROS_PER_SECOND;
        self.writer.write(Moment { clock, offset, zone: &self.zone, zone_id: &self.zone_id }, out)
    }
}

/// Writes dates and moments as the options of JSON and CSV say.
pub(crate) struct MomentWriters {
    instants: MomentWriter,
    clocks: MomentWriter,
    days: Option<MomentWriter>,
}

impl MomentWriters {
    /// By `dateFormat`, `timestampFormat`, `timestampNTZFormat` and `timeZone`, whose names are in lower case in `options`;
    /// `zone_id` is the session's zone.
    ///
    /// # Errors
    /// As [`Writer::new`], and `INVALID_TIMEZONE`.
    pub(crate) fn new(options: &BTreeMap<String, String>, zone_id: &str) -> Result<MomentWriters> {
        let text = |name: &str| options.get(name).map(String::as_str);
        let instants = text("timestampformat").unwrap_or("yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]");
        let clocks = text("timestampntzformat").unwrap_or("yyyy-MM-dd'T'HH:mm:ss[.SSS]");
        Ok(MomentWriters {
            instants: MomentWriter::new(instants, text("timezone").unwrap_or(zone_id))?,
            clocks: MomentWriter::new(clocks, "UTC")?,
            days: text("dateformat").map(|format| MomentWriter::new(format, "UTC")).transpose()?,
        })
    }

    /// Writes a DATE.
    pub(crate) fn write_date(&self, day: i32, out: &mut String) -> Result<()> {
        match &self.days {
            Some(writer) => writer.write(i64::from(day) * MICROS_PER_DAY, out)?,
            None => write_date(day, out),
        }
        Ok(())
    }

    /// Writes a TIMESTAMP, or a TIMESTAMP_NTZ where it `has_zone` not.
    pub(crate) fn write_timestamp(&self, micros: i64, has_zone: bool, out: &mut String) -> Result<()> {
        let writer = if has_zone { &self.instants } else { &self.clocks };
        writer.write(micros, out)
    }
}
