//! Bits of integers, and numbers in other bases.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Int8Array, Int32Array, PrimitiveArray,
    StringArray,
};
use arrow::compute::kernels::arity;
use arrow::datatypes::{DataType, Int8Type, Int16Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, each, entry, takes, try_each};
use crate::query::coerce::types::{Want, castable, is_integral, mismatch, wider};
use crate::query::error::ExpressionError;

/// Functions of bits.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "&",
        Types::By(bind_both),
        |call| both(call, |a, b| a & b),
        ["stateless/bitwise", "expressions/bitwise"]
    ),
    entry!(
        "|",
        Types::By(bind_both),
        |call| both(call, |a, b| a | b),
        ["stateless/bitwise", "expressions/bitwise"]
    ),
    entry!(
        "^",
        Types::By(bind_both),
        |call| both(call, |a, b| a ^ b),
        ["stateless/bitwise", "expressions/bitwise"]
    ),
    entry!("bitwise_not", Types::By(bind_one), not, ["stateless/bitwise", "expressions/bitwise"]),
    entry!(
        "shiftleft",
        Types::By(bind_shift),
        |call| shift(call, |v, n| v.wrapping_shl(n), |v, n| v.wrapping_shl(n)),
        ["stateless/bitwise", "expressions/bitwise"]
    ),
    entry!(
        "shiftright",
        Types::By(bind_shift),
        |call| shift(call, |v, n| v.wrapping_shr(n), |v, n| v.wrapping_shr(n)),
        ["stateless/bitwise", "expressions/bitwise"]
    ),
    entry!(
        "shiftrightunsigned",
        Types::By(bind_shift),
        |call| shift(
            call,
            |v, n| (v as u32).wrapping_shr(n) as i32,
            |v, n| (v as u64).wrapping_shr(n) as i64
        ),
        ["expressions/bitwise"]
    ),
    entry!("bit_count", Types::By(bind_count), bit_count, ["stateless/bitwise", "expressions/bitwise"]),
    entry!("bit_get" | "getbit", Types::By(bind_get), bit_get, ["expressions/bitwise"]),
    entry!(
        "bin",
        takes!([Long] => DataType::Utf8),
        |call| each::<StringArray, _>(call, |row| Some(format!("{:b}", call.longs(0).value(row)))),
        ["expressions/bitwise"]
    ),
    entry!("hex", Types::By(bind_hex), hex, ["stateless/encodings", "expressions/bitwise"]),
    entry!(
        "unhex",
        takes!([Text] => DataType::Binary),
        |call| each::<BinaryArray, _>(call, |row| unhex(call.texts(0).value(row))),
        ["expressions/bitwise"]
    ),
    entry!("conv", takes!([Text, Int, Int] => DataType::Utf8), conv, ["expressions/bitwise"]),
];

fn bind_both(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let (a, b) =
        (castable(bind, &bind.types[0], Want::Integral)?, castable(bind, &bind.types[1], Want::Integral)?);
    let to = wider(bind.conf, &a, &b).ok_or_else(|| mismatch(bind, "integers are needed"))?;
    if !is_integral(&to)
        || !bind.types.iter().all(|kind| is_integral(kind) || matches!(kind, DataType::Null | DataType::Utf8))
    {
        return Err(mismatch(bind, "integers are needed"));
    }
    Ok(Bound::new([to.clone(), to.clone()], to))
}

fn bind_one(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let to = castable(bind, &bind.types[0], Want::Integral)?;
    Ok(Bound::new([to.clone()], to))
}

/// INT or BIGINT, shifted by an INT.
fn bind_shift(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let to = if bind.types[0] == DataType::Int64 {
        DataType::Int64
    } else {
        castable(bind, &bind.types[0], Want::Int)?
    };
    Ok(Bound::new([to.clone(), castable(bind, &bind.types[1], Want::Int)?], to))
}

fn bind_count(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    match &bind.types[0] {
        kind if is_integral(kind) => Ok(Bound::new([DataType::Int64], DataType::Int32)),
        DataType::Boolean | DataType::Null => Ok(Bound::new([DataType::Int64], DataType::Int32)),
        _ => Err(mismatch(bind, "an integer or a BOOLEAN is needed")),
    }
}

fn bind_get(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let to = castable(bind, &bind.types[0], Want::Integral)?;
    Ok(Bound::new([to, castable(bind, &bind.types[1], Want::Int)?], DataType::Int8))
}

fn bind_hex(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let to = match &bind.types[0] {
        DataType::Utf8 => DataType::Utf8,
        DataType::Binary => DataType::Binary,
        kind => castable(bind, kind, Want::Long)?,
    };
    Ok(Bound::new([to], DataType::Utf8))
}

/// Applies an operator of 64 bits, which keeps the sign of narrower ones.
fn both(call: &Call, operator: fn(i64, i64) -> i64) -> Result<ArrayRef> {
    fn run<T: ArrowPrimitiveType>(call: &Call, operator: fn(i64, i64) -> i64) -> Result<ArrayRef>
    where
        T::Native: Into<i64> + TryFrom<i64>,
    {
        let (a, b) = (call.args[0].as_primitive::<T>(), call.args[1].as_primitive::<T>());
        let bits = |a: T::Native, b: T::Native| T::Native::try_from(operator(a.into(), b.into())).ok();
        let values = a.iter().zip(b).map(|(a, b)| a.zip(b).and_then(|(a, b)| bits(a, b)));
        Ok(Arc::new(values.collect::<PrimitiveArray<T>>()))
    }
    match call.args[0].data_type() {
        DataType::Int8 => run::<Int8Type>(call, operator),
        DataType::Int16 => run::<Int16Type>(call, operator),
        DataType::Int32 => run::<Int32Type>(call, operator),
        _ => run::<Int64Type>(call, operator),
    }
}

fn not(call: &Call) -> Result<ArrayRef> {
    macro_rules! inverted {
        ($kind:ty) => {
            Arc::new(arity::unary::<_, _, $kind>(call.args[0].as_primitive::<$kind>(), |value| !value))
        };
    }
    Ok(match call.args[0].data_type() {
        DataType::Int8 => inverted!(Int8Type),
        DataType::Int16 => inverted!(Int16Type),
        DataType::Int32 => inverted!(Int32Type),
        _ => inverted!(Int64Type),
    })
}

/// As Java shifts: only the low five (six) bits of the count matter.
fn shift(call: &Call, ints: fn(i32, u32) -> i32, longs: fn(i64, u32) -> i64) -> Result<ArrayRef> {
    let count = |row: usize| call.ints(1).value(row) as u32;
    if *call.returns == DataType::Int64 {
        return each::<arrow::array::Int64Array, _>(call, |row| {
            Some(longs(call.longs(0).value(row), count(row)))
        });
    }
    each::<Int32Array, _>(call, |row| Some(ints(call.ints(0).value(row), count(row))))
}

fn bit_count(call: &Call) -> Result<ArrayRef> {
    each::<Int32Array, _>(call, |row| i32::try_from(call.longs(0).value(row).count_ones()).ok())
}

fn bit_get(call: &Call) -> Result<ArrayRef> {
    type Value = fn(&dyn Array, usize) -> i64;
    let (value, width): (Value, i32) = match call.args[0].data_type() {
        DataType::Int8 => (|array, row| i64::from(array.as_primitive::<Int8Type>().value(row)), 8),
        DataType::Int16 => (|array, row| i64::from(array.as_primitive::<Int16Type>().value(row)), 16),
        DataType::Int32 => (|array, row| i64::from(array.as_primitive::<Int32Type>().value(row)), 32),
        DataType::Int64 => (|array, row| array.as_primitive::<Int64Type>().value(row), 64),
        other => return exec_err!("no bits of {other}"),
    };
    try_each::<Int8Array, _>(call, |row| {
        let at = call.ints(1).value(row);
        if !(0..width).contains(&at) {
            let message = format!("the value has bits 0 to {}", width - 1);
            return Err(ExpressionError::raise("INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE", message));
        }
        Ok(Some((value(&call.args[0], row) >> at & 1) as i8))
    })
}

/// Bytes in capital hexadecimal digits.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn hex(call: &Call) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| {
        Some(match call.args[0].data_type() {
            DataType::Utf8 => hex_of(call.texts(0).value(row).as_bytes()),
            DataType::Binary => hex_of(call.bytes(0).value(row)),
            _ => format!("{:X}", call.longs(0).value(row)),
        })
    })
}

/// The bytes of hexadecimal digits; an odd count begins with a single one.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().map(|byte| char::from(byte).to_digit(16));
    let mut digits = digits.collect::<Option<Vec<u32>>>()?;
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    Some(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

/// `NumberConverter.convert`: a number in one base written in another; a negative base is one with a sign.
fn conv(call: &Call) -> Result<ArrayRef> {
    try_each::<StringArray, _>(call, |row| {
        let text = call.texts(0).value(row).trim_matches(' ');
        let (from, to) = (call.ints(1).value(row), call.ints(2).value(row));
        if !(2..=36).contains(&from) || !(2..=36).contains(&to.unsigned_abs()) || text.is_empty() {
            return Ok(None);
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let base = from.unsigned_abs();
        let mut value = Some(0_u64);
        for digit in digits.chars().map_while(|c| c.to_digit(base)) {
            value = value.and_then(|value| value.checked_mul(u64::from(base))?.checked_add(u64::from(digit)));
        }
        let mut value = match value {
            Some(value) => value,
            None if call.conf.ansi => {
                return Err(ExpressionError::raise("ARITHMETIC_OVERFLOW", "conv has 64 bits"));
            }
            None => u64::MAX,
        };
        let mut minus = negative;
        if negative && to > 0 {
            value = if (value as i64) < 0 { u64::MAX } else { value.wrapping_neg() };
            minus = false;
        }
        if to < 0 && !negative && (value as i64) < 0 {
            value = value.wrapping_neg();
            minus = true;
        }
        Ok(Some(in_base(value, u64::from(to.unsigned_abs()), minus)))
    })
}

fn in_base(mut value: u64, base: u64, minus: bool) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(value % base).expect("a digit is below 36");
        digits.push(char::from_digit(digit, 36).expect("a digit is below 36").to_ascii_uppercase());
        value /= base;
        if value == 0 {
            break;
        }
    }
    digits.extend(minus.then_some('-'));
    digits.iter().rev().collect()
}
