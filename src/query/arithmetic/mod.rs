//! `+ - * / % DIV`, unary minus and their `try_` forms over numbers, with Spark's result types and errors.
//!
//! The planner makes calls of these functions out of operators; dates and intervals are in `functions::interval`.
//! Under ANSI what does not fit is an error, else it wraps (integers) or is NULL (decimals); `try_` gives NULL.

pub(crate) mod decimal;
pub(crate) mod operation;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, Int64Array, PrimitiveArray,
};
use arrow::compute::kernels::arity;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err};

use crate::query::cast::out_of_range;
use crate::query::coerce::types::{is_decimal, is_float, is_integral, is_number, mismatch, name_of, wider};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::interval;
use crate::query::functions::scalar::{Bind, Bound, Call, Types, count, entry};
use decimal::{Size, decimal, of_integral, of_value, result_size};
use operation::{OnFault, Operation};

/// The functions that stand for operators, under the names the planner gives them, and those with names of Spark.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "+",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Add))),
        |call| run(call, Operation::Add, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "-",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Subtract))),
        |call| run(call, Operation::Subtract, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "*",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Multiply))),
        |call| run(call, Operation::Multiply, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "/",
        Types::By(bind_divide),
        |call| run(call, Operation::Divide, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "%" | "mod",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Remainder))),
        |call| run(call, Operation::Remainder, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "pmod",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Pmod))),
        |call| run(call, Operation::Pmod, on_fault(call)),
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "div",
        Types::By(bind_whole),
        whole_quotient,
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "negative",
        Types::By(bind_sign),
        negate,
        ["stateless/integer_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "positive",
        Types::By(bind_sign),
        |call| Ok(Arc::clone(&call.args[0])),
        ["expressions/arithmetic"]
    ),
    entry!("abs", Types::By(bind_sign), absolute, ["stateless/integer_arithmetic", "expressions/arithmetic"]),
    entry!(
        "try_add",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Add))),
        |call| run(call, Operation::Add, OnFault::Null),
        ["stateless/try_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "try_subtract",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Subtract))),
        |call| run(call, Operation::Subtract, OnFault::Null),
        ["stateless/try_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "try_multiply",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Multiply))),
        |call| run(call, Operation::Multiply, OnFault::Null),
        ["stateless/try_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "try_divide",
        Types::By(bind_divide),
        |call| run(call, Operation::Divide, OnFault::Null),
        ["stateless/try_arithmetic", "expressions/arithmetic"]
    ),
    entry!(
        "try_mod",
        Types::By(|bind| bind_numbers(bind, Some(Operation::Remainder))),
        |call| run(call, Operation::Remainder, OnFault::Null),
        ["expressions/forms"]
    ),
];

/// Whether a function is one of the `try_` forms, which give NULL also for a text that is no number.
pub(crate) fn tries(function: &str) -> bool {
    matches!(function, "try_add" | "try_subtract" | "try_multiply" | "try_divide" | "try_mod")
}

fn on_fault(call: &Call) -> OnFault {
    if call.conf.ansi { OnFault::Raise } else { OnFault::Wrap }
}

/// The size of a number as an operand of a decimal: a literal takes the width of its value.
fn operand_size(bind: &Bind, at: usize) -> Option<Size> {
    match &bind.types[at] {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        kind => bind.integer(at).map(of_value).or_else(|| of_integral(kind)),
    }
}

/// What the operands become before the operator's own rules: STRING beside a number, NULL beside anything.
fn promoted(bind: &Bind) -> Result<[DataType; 2]> {
    count(bind, 2, 2)?;
    let (a, b) = (&bind.types[0], &bind.types[1]);
    let text = |other: &DataType| match other {
        _ if !bind.conf.ansi => DataType::Float64,
        other if is_integral(other) => DataType::Int64,
        _ => DataType::Float64,
    };
    Ok(match (a, b) {
        (DataType::Utf8, DataType::Utf8) if !bind.conf.ansi => [DataType::Float64, DataType::Float64],
        (DataType::Utf8, other) if is_number(other) => [text(other), other.clone()],
        (other, DataType::Utf8) if is_number(other) => [other.clone(), text(other)],
        (DataType::Null, DataType::Null) => [DataType::Float64, DataType::Float64],
        (DataType::Null, DataType::Utf8) | (DataType::Utf8, DataType::Null) => {
            [DataType::Float64, DataType::Float64]
        }
        (DataType::Null, other) | (other, DataType::Null) => [other.clone(), other.clone()],
        (a, b) => [a.clone(), b.clone()],
    })
}

fn wrong(bind: &Bind) -> datafusion::common::DataFusionError {
    mismatch(bind, format!("{} and {} do not go together", name_of(&bind.types[0]), name_of(&bind.types[1])))
}

/// Types of `+ - * % pmod` over numbers; `/` over decimals.
fn bind_numbers(bind: &Bind, operation: Option<Operation>) -> Result<Bound> {
    if let Some(operation) = operation
        && let Some(bound) = interval::bind(bind, operation)?
    {
        return Ok(bound);
    }
    let [a, b] = promoted(bind)?;
    if !is_number(&a) || !is_number(&b) {
        return Err(wrong(bind));
    }
    let operation = operation.unwrap_or(Operation::Divide);
    if (is_decimal(&a) || is_decimal(&b)) && !is_float(&a) && !is_float(&b) {
        // A text beside a decimal became DOUBLE, so both have a size.
        let sizes = operand_size(bind, 0).zip(operand_size(bind, 1));
        let (s1, s2) = sizes.or_else(|| size_of(&a).zip(size_of(&b))).ok_or_else(|| wrong(bind))?;
        return Ok(Bound::new([decimal(s1), decimal(s2)], decimal(result_size(operation, s1, s2))));
    }
    let result = wider(bind.conf, &a, &b).ok_or_else(|| wrong(bind))?;
    Ok(Bound::new([result.clone(), result.clone()], result))
}

fn size_of(kind: &DataType) -> Option<Size> {
    match kind {
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        other => of_integral(other),
    }
}

/// `/`: decimals by their own rule, all else as DOUBLE.
fn bind_divide(bind: &Bind) -> Result<Bound> {
    if let Some(bound) = interval::bind(bind, Operation::Divide)? {
        return Ok(bound);
    }
    let bound = bind_numbers(bind, None)?;
    if is_decimal(&bound.returns) {
        return Ok(bound);
    }
    // A text beside an integer is read as a BIGINT first.
    let text = bind.types.contains(&DataType::Utf8) && bind.types.iter().any(is_integral) && bind.conf.ansi;
    let side = if text { DataType::Int64 } else { DataType::Float64 };
    Ok(Bound::new([side.clone(), side], DataType::Float64))
}

/// `DIV`: BIGINT out of integers or decimals.
fn bind_whole(bind: &Bind) -> Result<Bound> {
    let [a, b] = promoted(bind)?;
    if !is_number(&a) || !is_number(&b) || is_float(&a) || is_float(&b) {
        return Err(wrong(bind));
    }
    if is_decimal(&a) || is_decimal(&b) {
        let (s1, s2) = operand_size(bind, 0).zip(operand_size(bind, 1)).ok_or_else(|| wrong(bind))?;
        return Ok(Bound::new([decimal(s1), decimal(s2)], DataType::Int64));
    }
    Ok(Bound::new([DataType::Int64, DataType::Int64], DataType::Int64))
}

/// One number, which keeps its type.
fn bind_sign(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = match &bind.types[0] {
        kind if is_number(kind) => kind.clone(),
        DataType::Duration(unit) => DataType::Duration(*unit),
        DataType::Interval(unit) => DataType::Interval(*unit),
        DataType::Utf8 | DataType::Null => DataType::Float64,
        other => return Err(mismatch(bind, format!("{} is not a number", name_of(other)))),
    };
    Ok(Bound::new([kind.clone()], kind))
}

fn overflow(kind: &DataType) -> ArrowError {
    let narrow = matches!(kind, DataType::Int8 | DataType::Int16);
    let class = if narrow { "BINARY_ARITHMETIC_OVERFLOW" } else { "ARITHMETIC_OVERFLOW" };
    external(ExpressionError::raise(class, format!("{} overflow", name_of(kind))))
}

fn by_zero() -> ArrowError {
    external(ExpressionError::raise("DIVIDE_BY_ZERO", "division by zero"))
}

fn external(error: datafusion::common::DataFusionError) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

/// The operations of one machine type.
trait Machine: ArrowPrimitiveType {
    fn checked(operation: Operation, a: Self::Native, b: Self::Native) -> Option<Self::Native>;
    fn wrapped(operation: Operation, a: Self::Native, b: Self::Native) -> Self::Native;
    fn is_zero(value: Self::Native) -> bool;
}

macro_rules! integer {
    ($($kind:ty),*) => {$(
        impl Machine for $kind {
            fn checked(operation: Operation, a: Self::Native, b: Self::Native) -> Option<Self::Native> {
                match operation {
                    Operation::Add => a.checked_add(b),
                    Operation::Subtract => a.checked_sub(b),
                    Operation::Multiply => a.checked_mul(b),
                    other => Some(Self::wrapped(other, a, b)),
                }
            }

            fn wrapped(operation: Operation, a: Self::Native, b: Self::Native) -> Self::Native {
                match operation {
                    Operation::Add => a.wrapping_add(b),
                    Operation::Subtract => a.wrapping_sub(b),
                    Operation::Multiply => a.wrapping_mul(b),
                    Operation::Divide => a.wrapping_div(b),
                    Operation::Remainder => a.wrapping_rem(b),
                    Operation::Pmod => {
                        let rest = a.wrapping_rem(b);
                        if rest < 0 { rest.wrapping_add(b).wrapping_rem(b) } else { rest }
                    }
                }
            }

            fn is_zero(value: Self::Native) -> bool {
                value == 0
            }
        }
    )*};
}

macro_rules! floating {
    ($($kind:ty),*) => {$(
        impl Machine for $kind {
            fn checked(operation: Operation, a: Self::Native, b: Self::Native) -> Option<Self::Native> {
                Some(Self::wrapped(operation, a, b))
            }

            fn wrapped(operation: Operation, a: Self::Native, b: Self::Native) -> Self::Native {
                match operation {
                    Operation::Add => a + b,
                    Operation::Subtract => a - b,
                    Operation::Multiply => a * b,
                    Operation::Divide => a / b,
                    Operation::Remainder => a % b,
                    Operation::Pmod => {
                        let rest = a % b;
                        if rest < 0.0 { (rest + b) % b } else { rest }
                    }
                }
            }

            fn is_zero(value: Self::Native) -> bool {
                value == 0.0
            }
        }
    )*};
}

integer!(Int8Type, Int16Type, Int32Type, Int64Type);
floating!(Float32Type, Float64Type);

/// Runs an operator over two arrays of the same type, or two decimals.
fn run(call: &Call, operation: Operation, fault: OnFault) -> Result<ArrayRef> {
    if let Some(result) = interval::run(call, operation, fault)? {
        return Ok(result);
    }
    match call.args[0].data_type() {
        DataType::Int8 => numbers::<Int8Type>(call, operation, fault),
        DataType::Int16 => numbers::<Int16Type>(call, operation, fault),
        DataType::Int32 => numbers::<Int32Type>(call, operation, fault),
        DataType::Int64 if operation == Operation::Divide => {
            let doubles = call.args.iter().map(|array| Ok(arrow::compute::cast(array, &DataType::Float64)?));
            let call = Call { args: doubles.collect::<Result<Vec<_>>>()?, ..*call };
            numbers::<Float64Type>(&call, operation, fault)
        }
        DataType::Int64 => numbers::<Int64Type>(call, operation, fault),
        DataType::Float32 => numbers::<Float32Type>(call, operation, fault),
        DataType::Float64 => numbers::<Float64Type>(call, operation, fault),
        DataType::Decimal128(..) => decimals(call, operation, fault),
        other => exec_err!("no arithmetic over {other}"),
    }
}

fn divides(operation: Operation) -> bool {
    matches!(operation, Operation::Divide | Operation::Remainder | Operation::Pmod)
}

fn numbers<T: Machine>(call: &Call, operation: Operation, fault: OnFault) -> Result<ArrayRef> {
    let (a, b) = (call.args[0].as_primitive::<T>(), call.args[1].as_primitive::<T>());
    let result: PrimitiveArray<T> = if divides(operation) {
        match fault {
            OnFault::Raise => arity::try_binary(a, b, |a, b| {
                if T::is_zero(b) { Err(by_zero()) } else { Ok(T::wrapped(operation, a, b)) }
            })?,
            _ => pairs(a, b, |a, b| (!T::is_zero(b)).then(|| T::wrapped(operation, a, b))),
        }
    } else {
        match fault {
            OnFault::Raise => arity::try_binary(a, b, |a, b| {
                T::checked(operation, a, b).ok_or_else(|| overflow(&T::DATA_TYPE))
            })?,
            OnFault::Wrap => arity::binary(a, b, |a, b| T::wrapped(operation, a, b))?,
            OnFault::Null => pairs(a, b, |a, b| T::checked(operation, a, b)),
        }
    };
    Ok(Arc::new(result))
}

fn pairs<T: ArrowPrimitiveType>(
    a: &PrimitiveArray<T>,
    b: &PrimitiveArray<T>,
    value: impl Fn(T::Native, T::Native) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    a.iter().zip(b).map(|(a, b)| a.zip(b).and_then(|(a, b)| value(a, b))).collect()
}

/// Scale of a decimal array.
fn scale_of(array: &Decimal128Array) -> i8 {
    array.scale()
}

fn decimals(call: &Call, operation: Operation, fault: OnFault) -> Result<ArrayRef> {
    let (a, b) =
        (call.args[0].as_primitive::<Decimal128Type>(), call.args[1].as_primitive::<Decimal128Type>());
    let DataType::Decimal128(precision, scale) = *call.returns else {
        return exec_err!("a decimal operator returns {}", call.returns);
    };
    let (s1, s2) = (scale_of(a), scale_of(b));
    let mut result = Decimal128Array::builder(call.rows);
    for (a, b) in a.iter().zip(b) {
        let Some((a, b)) = a.zip(b) else {
            result.append_null();
            continue;
        };
        if divides(operation) && b == 0 {
            if fault == OnFault::Raise {
                return Err(by_zero().into());
            }
            result.append_null();
            continue;
        }
        let value = decimal::apply(operation, (a, s1), (b, s2), (precision, scale));
        if value.is_none() && fault == OnFault::Raise {
            return Err(out_of_range(call.returns));
        }
        result.append_option(value);
    }
    Ok(Arc::new(result.finish().with_precision_and_scale(precision, scale)?))
}

/// `DIV`.
fn whole_quotient(call: &Call) -> Result<ArrayRef> {
    let fault = on_fault(call);
    let zero = |fault| match fault {
        OnFault::Raise => Err(datafusion::common::DataFusionError::from(by_zero())),
        _ => Ok(None),
    };
    if let (Some(a), Some(b)) =
        (call.args[0].as_primitive_opt::<Int64Type>(), call.args[1].as_primitive_opt::<Int64Type>())
    {
        let values = a.iter().zip(b).map(|(a, b)| match a.zip(b) {
            None => Ok(None),
            Some((_, 0)) => zero(fault),
            Some((i64::MIN, -1)) if fault == OnFault::Raise => Err(overflow(&DataType::Int64).into()),
            Some((a, b)) => Ok(Some(a.wrapping_div(b))),
        });
        return Ok(Arc::new(values.collect::<Result<Int64Array>>()?));
    }
    let (a, b) =
        (call.args[0].as_primitive::<Decimal128Type>(), call.args[1].as_primitive::<Decimal128Type>());
    let (s1, s2) = (scale_of(a), scale_of(b));
    let quotient_type = decimal((decimal::PRECISION_MAX, 0));
    let values = a.iter().zip(b).map(|(a, b)| match a.zip(b) {
        None => Ok(None),
        Some((_, 0)) => zero(fault),
        Some((a, b)) => match decimal::whole_quotient((a, s1), (b, s2)) {
            Some(quotient) => Ok(Some(quotient)),
            None if fault == OnFault::Raise => Err(out_of_range(&quotient_type)),
            None => Ok(None),
        },
    });
    Ok(Arc::new(values.collect::<Result<Int64Array>>()?))
}

fn negate(call: &Call) -> Result<ArrayRef> {
    signs(call, true)
}

fn absolute(call: &Call) -> Result<ArrayRef> {
    signs(call, false)
}

/// Unary minus of every value, or of the negative ones (`abs`).
fn signs(call: &Call, all: bool) -> Result<ArrayRef> {
    macro_rules! whole {
        ($kind:ty) => {{
            let array = call.args[0].as_primitive::<$kind>();
            let fault = on_fault(call);
            let result: PrimitiveArray<$kind> = arity::try_unary(array, |value| {
                if !all && value >= 0 {
                    return Ok(value);
                }
                match value.checked_neg() {
                    None if fault == OnFault::Raise => Err(external(ExpressionError::raise(
                        "ARITHMETIC_OVERFLOW",
                        "the value has no negative",
                    ))),
                    _ => Ok(value.wrapping_neg()),
                }
            })?;
            Arc::new(result) as ArrayRef
        }};
    }
    macro_rules! float {
        ($kind:ty) => {{
            let array = call.args[0].as_primitive::<$kind>();
            let result: PrimitiveArray<$kind> =
                arity::unary(array, |value| if all { -value } else { value.abs() });
            Arc::new(result) as ArrayRef
        }};
    }
    Ok(match call.args[0].data_type() {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Float32 => float!(Float32Type),
        DataType::Float64 => float!(Float64Type),
        DataType::Decimal128(precision, scale) => {
            let array = call.args[0].as_primitive::<Decimal128Type>();
            let result: Decimal128Array = arity::try_unary(array, |value| {
                if !all && value >= 0 {
                    return Ok(value);
                }
                let negated = -to_34_digits(value);
                if negated.unsigned_abs() < 10_u128.pow(38) {
                    return Ok(negated);
                }
                // Spark raises this with ANSI off, too.
                Err(external(ExpressionError::raise(
                    "NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION",
                    "the rounded value has 39 digits",
                )))
            })?;
            Arc::new(result.with_precision_and_scale(*precision, *scale)?)
        }
        _ => interval::negate(&call.args[0], all)?,
    })
}

/// Spark negates a decimal through Scala's `BigDecimal`, which keeps 34 digits and rounds half to even.
fn to_34_digits(value: i128) -> i128 {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    if digits <= 34 {
        return value;
    }
    let unit = 10_i128.pow(digits - 34);
    let (quotient, rest) = (value / unit, (value % unit).abs());
    let up = rest * 2 > unit || (rest * 2 == unit && quotient % 2 != 0);
    (quotient + if up { value.signum() } else { 0 }) * unit
}
