//! Which type an argument is cast to without being asked: Spark's coercion rules as functions of types.
//!
//! `AnsiTypeCoercion` and `TypeCoercion` of Spark 4.0. No expressions here; `coerce` applies the rules to a plan.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use datafusion::common::{DataFusionError, Result};

pub(crate) use crate::model::spark_type::name_of;
use crate::query::arithmetic::decimal::{bounded_wider, of_integral};
use crate::query::conf::Conf;
use crate::query::error::ExpressionError;
use crate::query::functions::bind::Bind;

/// A kind of type that a function wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Text,
    Bytes,
    Boolean,
    Int,
    Long,
    Double,
    Date,
    /// TIMESTAMP.
    Instant,
    /// STRING or BINARY, as it is; others become STRING.
    TextOrBytes,
    /// TIMESTAMP or TIMESTAMP_NTZ; DATE and STRING become TIMESTAMP.
    AnyTimestamp,
    /// TINYINT to BIGINT, as they are; others become BIGINT.
    Integral,
    /// A number of any kind, as it is; STRING becomes DOUBLE.
    Number,
    Any,
}

/// TIMESTAMP.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// TIMESTAMP_NTZ.
pub(crate) fn clock_time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// INTERVAL DAY TO SECOND.
pub(crate) fn day_time() -> DataType {
    DataType::Duration(TimeUnit::Microsecond)
}

/// INTERVAL DAY: what lies between two dates, in seconds.
pub(crate) fn days() -> DataType {
    DataType::Duration(TimeUnit::Second)
}

/// ARRAY of `element`.
pub(crate) fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, true)))
}

/// MAP of `key` and `value`.
pub(crate) fn map_of(key: DataType, value: DataType) -> DataType {
    let entry = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false)
}

/// The key's and the value's type of a MAP.
pub(crate) fn entry_of(map: &DataType) -> Option<(&DataType, &DataType)> {
    match map {
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                Some((fields[0].data_type(), fields[1].data_type()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The element's type of an ARRAY.
pub(crate) fn element_of(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(field) => Some(field.data_type()),
        _ => None,
    }
}

pub(crate) fn is_integral(kind: &DataType) -> bool {
    matches!(kind, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

pub(crate) fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

pub(crate) fn is_decimal(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal128(..))
}

pub(crate) fn is_number(kind: &DataType) -> bool {
    is_integral(kind) || is_float(kind) || is_decimal(kind)
}

pub(crate) fn is_timestamp(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..))
}

pub(crate) fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_) | DataType::Duration(_))
}

/// Whether the type has no parts.
pub(crate) fn is_atomic(kind: &DataType) -> bool {
    !matches!(kind, DataType::List(_) | DataType::Map(..) | DataType::Struct(_) | DataType::Null)
}

/// Whether values of a type have an order.
pub(crate) fn has_order(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => has_order(element.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| has_order(field.data_type())),
        kind => entry_of(kind).is_none() && !matches!(kind, DataType::Interval(IntervalUnit::MonthDayNano)),
    }
}

/// Spark's short name of a type (`simpleString`), as `typeof` gives it.
pub(crate) fn simple_name(kind: &DataType) -> String {
    match kind {
        DataType::List(element) => format!("array<{}>", simple_name(element.data_type())),
        DataType::Map(..) => match entry_of(kind) {
            Some((key, value)) => format!("map<{},{}>", simple_name(key), simple_name(value)),
            None => "map".into(),
        },
        DataType::Struct(fields) => {
            let shown =
                fields.iter().map(|field| format!("{}:{}", field.name(), simple_name(field.data_type())));
            format!("struct<{}>", shown.collect::<Vec<_>>().join(","))
        }
        other => name_of(other).to_lowercase(),
    }
}

/// An error of the query's analysis: Spark's class and what is wrong.
pub(crate) fn refused(class: &'static str, message: impl Into<String>) -> DataFusionError {
    ExpressionError::raise(class, message)
}

/// The error for argument `from` of a function.
pub(crate) fn mismatch(bind: &Bind, what: impl std::fmt::Display) -> DataFusionError {
    refused("DATATYPE_MISMATCH", format!("{}: {what}", bind.name))
}

/// The type that an argument of type `from` is cast to where `want` is wanted.
///
/// # Errors
/// `DATATYPE_MISMATCH` if Spark has no implicit cast.
pub(crate) fn castable(bind: &Bind, from: &DataType, want: Want) -> Result<DataType> {
    let text = *from == DataType::Utf8;
    let target = match want {
        Want::Any => return Ok(from.clone()),
        Want::Text => DataType::Utf8,
        Want::Bytes => DataType::Binary,
        Want::Boolean => DataType::Boolean,
        Want::Int => DataType::Int32,
        Want::Long => DataType::Int64,
        Want::Double => DataType::Float64,
        Want::Date => DataType::Date32,
        Want::Instant => instant(),
        Want::TextOrBytes if *from == DataType::Binary => DataType::Binary,
        Want::TextOrBytes => DataType::Utf8,
        Want::AnyTimestamp if is_timestamp(from) => from.clone(),
        Want::AnyTimestamp => instant(),
        Want::Integral if is_integral(from) => from.clone(),
        Want::Integral => DataType::Int64,
        Want::Number if is_number(from) => from.clone(),
        Want::Number => DataType::Float64,
    };
    // Only under ANSI is a text taken for a BOOLEAN.
    let refuses = text && target == DataType::Boolean && !bind.conf.ansi;
    if !refuses
        && (*from == target
            || *from == DataType::Null
            || implicit(from, &target)
            || (text && is_atomic(&target)))
    {
        return Ok(target);
    }
    Err(refused(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("{} takes {}, not {}", bind.name, name_of(&target), name_of(from)),
    ))
}

/// Whether a value of `from` may become `to` without being asked (`Cast.canANSIStoreAssign`).
pub(crate) fn implicit(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Null, _) => true,
        (from, to) if from == to => true,
        (from, to) if is_number(from) && is_number(to) => true,
        (from, DataType::Utf8) => is_atomic(from),
        (DataType::Utf8, to) => is_atomic(to),
        (from, to) if is_timestamp(from) && is_timestamp(to) => true,
        (DataType::Date32, to) => is_timestamp(to),
        (from, DataType::Date32) => is_timestamp(from),
        (DataType::List(from), DataType::List(to)) => implicit(from.data_type(), to.data_type()),
        (DataType::Map(..), DataType::Map(..)) => match (entry_of(from), entry_of(to)) {
            (Some((k1, v1)), Some((k2, v2))) => implicit(k1, k2) && implicit(v1, v2),
            _ => false,
        },
        (DataType::Struct(from), DataType::Struct(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(a, b)| implicit(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

/// Whether a cast under ANSI may find a value that has no counterpart in `to`.
pub(crate) fn cast_may_fail(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Int64, List, Null, Struct, Utf8};
    // Digits before the point.
    let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    match (from, to) {
        (from, to) if from == to => false,
        (Null, _) | (_, Utf8) | (Utf8, Binary) => false,
        (from, Boolean) => !is_number(from),
        (Boolean, to) => is_decimal(to),
        (Decimal128(p1, s1), Decimal128(p2, s2)) => {
            // Rounding may carry into one more digit before the point.
            whole(*p1, *s1) + i16::from(s1 > s2) > whole(*p2, *s2)
        }
        (Decimal128(..), to) => !is_float(to),
        (from, Decimal128(precision, scale)) => {
            of_integral(from).is_none_or(|(digits, _)| i16::from(digits) > whole(*precision, *scale))
        }
        (Float64, Float32) => false,
        (Date32, to) => !is_timestamp(to),
        (from, to) if is_timestamp(from) => {
            !(is_timestamp(to) || is_float(to) || matches!(to, Date32 | Int64))
        }
        (List(from), List(to)) => cast_may_fail(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            from.iter().zip(to).any(|(from, to)| cast_may_fail(from.data_type(), to.data_type()))
        }
        (from, to) => match (rank(from), rank(to)) {
            (Some(from), Some(to)) => from > to,
            _ => true,
        },
    }
}

/// The order of the numbers without decimals, from narrow to wide.
pub(crate) fn rank(kind: &DataType) -> Option<usize> {
    const ORDER: [DataType; 6] = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
    ];
    ORDER.iter().position(|known| known == kind)
}

/// `findTightestCommonType` and `findWiderTypeForDecimal`: the least type that holds both without text.
pub(crate) fn wider(conf: &Conf, a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            Some(bounded_wider((*p1, *s1), (*p2, *s2)))
        }
        (DataType::Decimal128(p, s), other) | (other, DataType::Decimal128(p, s)) => {
            if is_float(other) {
                return Some(DataType::Float64);
            }
            of_integral(other).map(|integral| bounded_wider((*p, *s), integral))
        }
        (DataType::Date32, other) | (other, DataType::Date32) if is_timestamp(other) => Some(other.clone()),
        (a, b) if is_timestamp(a) && is_timestamp(b) => Some(instant()),
        _ => {
            let (first, second) = (rank(a)?, rank(b)?);
            let widest = if first > second { a } else { b };
            let mixed = *widest == DataType::Float32 && (is_integral(a) || is_integral(b));
            Some(if mixed && conf.ansi { DataType::Float64 } else { widest.clone() })
        }
    }
}

/// The common type of values that stand for each other (`findWiderTypeForTwo`): CASE, coalesce, IN, arrays.
pub(crate) fn common(conf: &Conf, a: &DataType, b: &DataType) -> Option<DataType> {
    if let Some(found) = wider(conf, a, b) {
        return Some(found);
    }
    match (a, b) {
        (DataType::Utf8, other) | (other, DataType::Utf8) if is_atomic(other) => {
            if conf.ansi {
                return with_text(other);
            }
            (!matches!(other, DataType::Binary | DataType::Boolean)).then_some(DataType::Utf8)
        }
        (DataType::List(a), DataType::List(b)) => {
            let element = common(conf, a.data_type(), b.data_type())?;
            Some(DataType::List(Arc::new(Field::new(a.name(), element, true))))
        }
        (DataType::Map(..), DataType::Map(..)) => {
            let ((k1, v1), (k2, v2)) = (entry_of(a)?, entry_of(b)?);
            Some(map_of(common(conf, k1, k2)?, common(conf, v1, v2)?))
        }
        (DataType::Struct(a), DataType::Struct(b)) if a.len() == b.len() => {
            let fields = a.iter().zip(b).map(|(a, b)| {
                let same = a.name().eq_ignore_ascii_case(b.name());
                let kind = common(conf, a.data_type(), b.data_type()).filter(|_| same)?;
                Some(Field::new(a.name(), kind, true))
            });
            Some(DataType::Struct(fields.collect::<Option<Vec<_>>>()?.into()))
        }
        _ => None,
    }
}

/// What STRING and `other` become under ANSI (`findWiderTypeForString`).
fn with_text(other: &DataType) -> Option<DataType> {
    match other {
        kind if is_integral(kind) => Some(DataType::Int64),
        kind if is_float(kind) || is_decimal(kind) => Some(DataType::Float64),
        kind if is_interval(kind) => None,
        kind if is_atomic(kind) => Some(kind.clone()),
        _ => None,
    }
}

/// The type in which two values are compared.
pub(crate) fn compared(conf: &Conf, a: &DataType, b: &DataType) -> Option<DataType> {
    let text_and = match (a, b) {
        (DataType::Utf8, other) | (other, DataType::Utf8) if *other != DataType::Utf8 => Some(other),
        _ => None,
    };
    match text_and {
        Some(other) if !conf.ansi && is_decimal(other) => Some(DataType::Float64),
        Some(other) if !conf.ansi && is_atomic(other) && !is_interval(other) => Some(other.clone()),
        _ => common_unnamed(conf, a, b),
    }
}

/// As [`common`], where the names of fields decide nothing: in comparisons and IN, structs of other names are of one type
/// if their fields are of the same types (`equalsStructurally`).
pub(crate) fn common_unnamed(conf: &Conf, a: &DataType, b: &DataType) -> Option<DataType> {
    common(conf, a, b).or_else(|| same_unnamed(a, b).then(|| a.clone()))
}

/// Whether two types are one but for the names of fields and where null may stand.
fn same_unnamed(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => same_unnamed(a.data_type(), b.data_type()),
        (DataType::Map(..), DataType::Map(..)) => match (entry_of(a), entry_of(b)) {
            (Some((k1, v1)), Some((k2, v2))) => same_unnamed(k1, k2) && same_unnamed(v1, v2),
            _ => false,
        },
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_unnamed(a.data_type(), b.data_type()))
        }
        (a, b) => a == b,
    }
}

/// Whether two nested types differ at most in where null may stand and in the width of numbers.
pub(crate) fn wider_nested(conf: &Conf, a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::List(a), DataType::List(b)) => wider_nested(conf, a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| wider_nested(conf, a.data_type(), b.data_type()))
        }
        _ => wider(conf, a, b).is_some(),
    }
}
