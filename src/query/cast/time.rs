//! Casts between DATE, TIMESTAMP, TIMESTAMP_NTZ and numbers. Clock time is that of the session's zone.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Date32Array, PrimitiveArray,
    TimestampMicrosecondArray,
};
use arrow::compute::kernels::arity;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};

use super::{Mode, Way, invalid, overflow};
use crate::decode::datetime::Zone;
use crate::decode::datetime::civil::{MICROS_PER_SECOND, SECONDS_PER_DAY};
use crate::query::coerce::types::is_number;

/// Microseconds of a day.
pub(crate) const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

/// The clock's microseconds in `zone` at an instant.
pub(crate) fn to_clock(micros: i64, zone: &Zone) -> i64 {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    micros.wrapping_add((zone.utc_to_local(seconds) - seconds) * MICROS_PER_SECOND)
}

/// The instant at which clocks in `zone` show `micros`.
pub(crate) fn from_clock(micros: i64, zone: &Zone) -> i64 {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    micros.wrapping_add((zone.local_to_utc(seconds) - seconds) * MICROS_PER_SECOND)
}

/// The day of an instant in `zone`.
pub(crate) fn day_of(micros: i64, zone: &Zone) -> i32 {
    to_clock(micros, zone).div_euclid(MICROS_PER_DAY) as i32
}

/// The instant at which a day begins in `zone`.
pub(crate) fn start_of(day: i32, zone: &Zone) -> i64 {
    from_clock(i64::from(day).wrapping_mul(MICROS_PER_DAY), zone)
}

pub(super) fn cast(array: &ArrayRef, to: &DataType, way: Way) -> Result<ArrayRef> {
    let zone = &way.conf.zone;
    let from = array.data_type();
    let instants =
        |values: TimestampMicrosecondArray| Ok(Arc::new(values.with_data_type(to.clone())) as ArrayRef);
    match (from, to) {
        (DataType::Date32, DataType::Timestamp(_, named)) => {
            let clock = named.is_none();
            instants(arity::unary(array.as_primitive::<Date32Type>(), |day| {
                if clock { i64::from(day).wrapping_mul(MICROS_PER_DAY) } else { start_of(day, zone) }
            }))
        }
        (DataType::Date32, to) if is_number(to) || *to == DataType::Boolean => {
            Ok(new_null_array(to, array.len()))
        }
        (DataType::Timestamp(_, named), DataType::Date32) => {
            let zone = if named.is_some() { zone } else { &Zone::UTC };
            let days: Date32Array =
                arity::unary(array.as_primitive::<TimestampMicrosecondType>(), |at| day_of(at, zone));
            Ok(Arc::new(days))
        }
        (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => {
            instants(arity::unary(array.as_primitive::<TimestampMicrosecondType>(), |at| to_clock(at, zone)))
        }
        (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) => {
            instants(arity::unary(array.as_primitive::<TimestampMicrosecondType>(), |at| {
                from_clock(at, zone)
            }))
        }
        (DataType::Timestamp(_, Some(_)), to) => to_number(array.as_primitive(), to, way),
        (_, DataType::Timestamp(_, Some(_))) => instants(from_number(array, to, way)?),
        (from, to) => exec_err!("no cast from {from} to {to}"),
    }
}

/// Seconds since the epoch: rounded down for integers, with a fraction for the others.
fn to_number(array: &TimestampMicrosecondArray, to: &DataType, way: Way) -> Result<ArrayRef> {
    let seconds = |at: i64| at.div_euclid(MICROS_PER_SECOND);
    macro_rules! whole {
        ($kind:ty) => {{
            type Native = <$kind as ArrowPrimitiveType>::Native;
            let values = array.iter().map(|at| match at.map(|at| Native::try_from(seconds(at))) {
                None => Ok(None),
                Some(Ok(value)) => Ok(Some(value)),
                Some(Err(_)) => way.mode.fault(|| overflow(array.data_type(), to)),
            });
            Arc::new(values.collect::<Result<PrimitiveArray<$kind>>>()?) as ArrayRef
        }};
    }
    let double = |at: i64| at as f64 / MICROS_PER_SECOND as f64;
    Ok(match to {
        DataType::Boolean => Arc::new(array.iter().map(|at| at.map(|at| at != 0)).collect::<BooleanArray>()),
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Float32 => Arc::new(arity::unary::<_, _, Float32Type>(array, |at| double(at) as f32)),
        DataType::Float64 => Arc::new(arity::unary::<_, _, Float64Type>(array, double)),
        DataType::Decimal128(..) => {
            let doubles: ArrayRef = Arc::new(arity::unary::<_, _, Float64Type>(array, double));
            super::number::cast(&doubles, to, way)?
        }
        other => return exec_err!("no cast from TIMESTAMP to {other}"),
    })
}

/// Numbers are seconds since the epoch.
fn from_number(array: &ArrayRef, to: &DataType, way: Way) -> Result<TimestampMicrosecondArray> {
    let whole = |seconds: i64| seconds.saturating_mul(MICROS_PER_SECOND);
    let double = |seconds: f64| -> Result<Option<i64>> {
        if !seconds.is_finite() {
            return way.mode.fault(|| invalid(to));
        }
        let micros = seconds * MICROS_PER_SECOND as f64;
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros);
        if fits || way.mode == Mode::Lenient {
            return Ok(Some(micros as i64));
        }
        way.mode.fault(|| overflow(array.data_type(), to))
    };
    macro_rules! integers {
        ($kind:ty) => {
            arity::unary(array.as_primitive::<$kind>(), |value| whole(i64::from(value)))
        };
    }
    Ok(match array.data_type() {
        DataType::Boolean => array.as_boolean().iter().map(|value| value.map(i64::from)).collect(),
        DataType::Int8 => integers!(Int8Type),
        DataType::Int16 => integers!(Int16Type),
        DataType::Int32 => integers!(Int32Type),
        DataType::Int64 => integers!(Int64Type),
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().iter();
            values
                .map(|value| value.map_or(Ok(None), |value| double(f64::from(value))))
                .collect::<Result<_>>()?
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().iter();
            values.map(|value| value.map_or(Ok(None), double)).collect::<Result<_>>()?
        }
        DataType::Decimal128(_, scale) => {
            let unit = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
            let micros = |value: i128| {
                let (seconds, rest) = (value / unit, value % unit);
                let small = arrow::datatypes::i256::from_i128(rest)
                    .wrapping_mul(arrow::datatypes::i256::from_i128(i128::from(MICROS_PER_SECOND)))
                    .wrapping_div(arrow::datatypes::i256::from_i128(unit));
                (seconds as i64).wrapping_mul(MICROS_PER_SECOND).wrapping_add(small.as_i128() as i64)
            };
            arity::unary(array.as_primitive::<Decimal128Type>(), micros)
        }
        other => return exec_err!("no cast from {other} to TIMESTAMP"),
    })
}
