//! Literals with Spark's types: `1` is an INT, `1.5` a DECIMAL(2,1), `1e3` a DOUBLE, an interval months, days and
//! microseconds.
//!
//! The rewriter writes them as [`build::typed`]; [`Literals`] makes the values when DataFusion plans.

use arrow::array::types::IntervalMonthDayNanoType;
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue, plan_err};
use datafusion::logical_expr::Expr as PlanExpr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Interval, TypedString, Value};

use super::build;
use super::name::unnested;
use crate::decode::datetime::{Zone, cast};
use crate::model::{Error, Result};
use crate::query::dialect;

/// A number as Spark types it; `long` is a number with an L.
pub(super) fn number(digits: &str, long: bool, negative: bool) -> Expr {
    let sign = if negative { "-" } else { "" };
    let signed = format!("{sign}{digits}");
    if digits.contains(['e', 'E']) {
        return build::typed("DOUBLE", signed);
    }
    if let Some((whole, fraction)) = digits.split_once('.') {
        let significant = (whole.trim_start_matches('0').len() + fraction.len()).max(1);
        return build::typed(&format!("DECIMAL({significant},{})", fraction.len()), signed);
    }
    if !long && signed.parse::<i32>().is_ok() {
        return build::typed("INT", signed);
    }
    if signed.parse::<i64>().is_ok() {
        return build::typed("BIGINT", signed);
    }
    build::typed(&format!("DECIMAL({},0)", digits.trim_start_matches('0').len().max(1)), signed)
}

/// `DATE '…'`, `TIMESTAMP '…'`, and the numbers that the tokens' pass made of `1S` and its kin.
///
/// # Errors
/// `Config` if there is no literal of the type.
pub(super) fn typed_string(literal: &TypedString) -> Result<Expr> {
    let data_type = literal.data_type.to_string().to_uppercase();
    let Value::SingleQuotedString(value) = &literal.value.value else {
        return Err(Error::config(format!("{data_type} takes a text in quotes")));
    };
    match data_type.as_str() {
        "DECIMAL" => match number(value, false, false) {
            Expr::Dictionary(fields) if !fields[0].key.value.starts_with("DECIMAL") => {
                let digits = value.trim_start_matches('0').len().max(1);
                Ok(build::typed(&format!("DECIMAL({digits},0)"), value))
            }
            decimal => Ok(decimal),
        },
        "DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "TINYINT" | "SMALLINT" | "INT"
        | "BIGINT" | "FLOAT" | "DOUBLE" => Ok(build::typed(&data_type, value)),
        _ => Err(Error::config(format!("there is no literal of type {data_type}"))
            .hint(format!("write CAST('…' AS {data_type})"))),
    }
}

/// Months, days and microseconds of an interval's text, such as `10 minutes` or `1 day -2 hours`.
pub(crate) fn interval_of(text: &str) -> Option<(i32, i32, i64)> {
    let lower = text.trim().to_lowercase();
    let lower = lower.strip_prefix("interval").unwrap_or(&lower).replace('\'', " ");
    let mut words = lower.split_whitespace().peekable();
    let (mut months, mut days, mut micros) = (0_i32, 0_i32, 0_i64);
    words.peek()?;
    while let Some(word) = words.next() {
        let (sign, number) = match word {
            "+" => (1, words.next()?),
            "-" => (-1, words.next()?),
            _ => (1, word),
        };
        let unit = dialect::unit(words.next()?)?;
        let amount = |scale: i64| fixed(number, scale).and_then(|value| value.checked_mul(sign));
        let whole =
            || amount(1).filter(|_| !number.contains('.')).and_then(|value| i32::try_from(value).ok());
        match unit {
            "YEAR" => months = months.checked_add(whole()?.checked_mul(12)?)?,
            "MONTH" => months = months.checked_add(whole()?)?,
            "WEEK" => days = days.checked_add(whole()?.checked_mul(7)?)?,
            "DAY" => days = days.checked_add(whole()?)?,
            "HOUR" => micros = micros.checked_add(i64::from(whole()?).checked_mul(3_600_000_000)?)?,
            "MINUTE" => micros = micros.checked_add(i64::from(whole()?).checked_mul(60_000_000)?)?,
            "SECOND" => micros = micros.checked_add(amount(1_000_000)?)?,
            "MILLISECOND" => micros = micros.checked_add(amount(1000)?)?,
            _ => micros = micros.checked_add(amount(1)?)?,
        }
    }
    Some((months, days, micros))
}

/// A decimal number times a power of ten, without rounding.
fn fixed(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let whole = if whole.is_empty() || whole == "-" { 0 } else { whole.parse::<i64>().ok()? };
    let mut value = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        let part = i64::from(digit.to_digit(10)?) * place;
        value = if negative { value.checked_sub(part)? } else { value.checked_add(part)? };
    }
    Some(value)
}

/// An interval literal.
///
/// # Errors
/// `Config` if the text is no interval, or its value is no literal.
pub(super) fn interval(interval: &Interval) -> Result<Expr> {
    let refuse = || {
        Error::config(format!("{interval} is not a valid interval")).hint(
            "write INTERVAL '10' MINUTE, INTERVAL '1 day 2 hours' or INTERVAL '1 02:03:04' DAY TO SECOND",
        )
    };
    let (negative, value) = match &*interval.value {
        Expr::Value(value) => (false, &value.value),
        Expr::UnaryOp { expr, .. } => match &**expr {
            Expr::Value(value) => (true, &value.value),
            _ => return Err(refuse()),
        },
        _ => return Err(refuse()),
    };
    let text = match value {
        Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
        _ => return Err(refuse()),
    };
    let parsed = match (&interval.leading_field, &interval.last_field) {
        (None, _) => interval_of(&text),
        (Some(unit), None) => interval_of(&format!("{} {unit}", text.trim())),
        (Some(from), Some(to)) => ranged(&text, &from.to_string(), &to.to_string()),
    };
    let (months, days, micros) = parsed.ok_or_else(refuse)?;
    let sign = if negative { -1 } else { 1 };
    let value = format!("{} {} {}", months * sign, days * sign, micros * i64::from(sign));
    Ok(build::typed("INTERVAL", value))
}

/// The units that Spark's types of intervals have, the longest first.
const UNITS_OF_TYPES: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];

/// What `typeof` says of an interval. The plan does not tell: it has one type for all that are written or made of parts.
pub(super) fn type_of_interval(args: &[FunctionArg]) -> Option<String> {
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] = args else { return None };
    match unnested(expr) {
        Expr::Interval(interval) => type_of_literal(interval),
        Expr::Function(function) => {
            let name = function.name.to_string().replace('`', "");
            name.eq_ignore_ascii_case("make_interval").then(|| "interval".to_owned())
        }
        _ => None,
    }
}

/// The type of an interval literal: from its longest unit to its shortest. Months and days do not mix.
fn type_of_literal(interval: &Interval) -> Option<String> {
    let words = match (&interval.leading_field, &interval.last_field, &*interval.value) {
        (Some(first), Some(last), _) => format!("{first} {last}"),
        (Some(unit), None, _) => unit.to_string(),
        (None, _, Expr::Value(value)) => value.value.clone().into_string()?,
        (None, ..) => return None,
    };
    let place = |word: &str| {
        let unit = match dialect::unit(word)? {
            "WEEK" => "DAY",
            "MILLISECOND" | "MICROSECOND" => "SECOND",
            unit => unit,
        };
        UNITS_OF_TYPES.iter().position(|known| *known == unit)
    };
    let places: Vec<usize> = words.split_whitespace().filter_map(place).collect();
    let (first, last) = (*places.iter().min()?, *places.iter().max()?);
    let [longest, shortest] = [first, last].map(|place| UNITS_OF_TYPES[place].to_lowercase());
    if first == last {
        return Some(format!("interval {longest}"));
    }
    let days = UNITS_OF_TYPES.iter().position(|unit| *unit == "DAY")?;
    (first >= days || last < days).then(|| format!("interval {longest} to {shortest}"))
}

/// `1-6` YEAR TO MONTH, `1 02:03:04.5` DAY TO SECOND and what lies between.
fn ranged(text: &str, from: &str, to: &str) -> Option<(i32, i32, i64)> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (from, to) = (dialect::unit(from)?, dialect::unit(to)?);
    let units: &[&str] =
        if from == "YEAR" { &["YEAR", "MONTH"] } else { &["DAY", "HOUR", "MINUTE", "SECOND"] };
    let first = units.iter().position(|unit| *unit == from)?;
    let last = units.iter().position(|unit| *unit == to)?;
    let parts: Vec<&str> = text.split(['-', ' ', ':']).filter(|part| !part.is_empty()).collect();
    if last <= first || parts.len() != last - first + 1 {
        return None;
    }
    let words: Vec<String> =
        parts.iter().zip(&units[first..]).map(|(part, unit)| format!("{part} {unit}")).collect();
    let (months, days, micros) = interval_of(&words.join(" "))?;
    let sign = if negative { -1 } else { 1 };
    Some((months * sign, days * sign, micros * i64::from(sign)))
}

/// Makes the values of typed literals.
#[derive(Debug)]
pub(crate) struct Literals {
    /// The zone of timestamps without one.
    pub(crate) zone: Zone,
}

impl ExprPlanner for Literals {
    fn plan_dictionary_literal(
        &self,
        expr: RawDictionaryExpr,
        _schema: &DFSchema,
    ) -> PlanResult<PlannerResult<RawDictionaryExpr>> {
        let ([key], [value]) = (expr.keys.as_slice(), expr.values.as_slice()) else {
            return Ok(PlannerResult::Original(expr));
        };
        match (key, value) {
            (
                PlanExpr::Literal(ScalarValue::Utf8(Some(data_type)), _),
                PlanExpr::Literal(ScalarValue::Utf8(Some(value)), _),
            ) => match self.value(data_type, value) {
                Some(value) => Ok(PlannerResult::Planned(PlanExpr::Literal(value, None))),
                None => plan_err!("INVALID_TYPED_LITERAL: the text is not a valid {data_type}"),
            },
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}

impl Literals {
    fn value(&self, data_type: &str, text: &str) -> Option<ScalarValue> {
        let bytes = text.as_bytes();
        Some(match data_type {
            "TINYINT" => ScalarValue::Int8(Some(text.parse().ok()?)),
            "SMALLINT" => ScalarValue::Int16(Some(text.parse().ok()?)),
            "INT" => ScalarValue::Int32(Some(text.parse().ok()?)),
            "BIGINT" => ScalarValue::Int64(Some(text.parse().ok()?)),
            "FLOAT" => ScalarValue::Float32(Some(text.parse().ok()?)),
            "DOUBLE" => ScalarValue::Float64(Some(text.parse().ok()?)),
            "DATE" => ScalarValue::Date32(Some(cast::date_days(bytes)?)),
            "TIMESTAMP" | "TIMESTAMP_LTZ" => {
                let micros = cast::timestamp_micros(bytes, &self.zone, 0)?;
                ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
            }
            "TIMESTAMP_NTZ" => {
                ScalarValue::TimestampMicrosecond(Some(cast::timestamp_ntz_micros(bytes)?), None)
            }
            "BINARY" => ScalarValue::Binary(Some(hex(text)?)),
            "INTERVAL" => {
                let mut parts = text.split(' ');
                let months = parts.next()?.parse().ok()?;
                let days = parts.next()?.parse().ok()?;
                let nanos = parts.next()?.parse::<i64>().ok()?.checked_mul(1000)?;
                let value = IntervalMonthDayNanoType::make_value(months, days, nanos);
                ScalarValue::IntervalMonthDayNano(Some(value))
            }
            decimal => {
                let digits = decimal.strip_prefix("DECIMAL(")?.strip_suffix(')')?;
                let (precision, scale) = digits.split_once(',')?;
                let unscaled = text.replace('.', "").parse().ok()?;
                let precision = precision.parse().ok().filter(|precision| *precision <= 38)?;
                ScalarValue::Decimal128(Some(unscaled), precision, scale.parse().ok()?)
            }
        })
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits.to_owned() };
    let pair = |at: usize| u8::from_str_radix(padded.get(at..at + 2)?, 16).ok();
    (0..padded.len()).step_by(2).map(pair).collect()
}
