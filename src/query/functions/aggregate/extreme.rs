//! `min` and `max`, and the aggregates of flags and bits, which fold a group's numbers the same way.
//!
//! NaN is above all numbers and equals itself; of equal values, such as the two zeros, the first stays.

use std::marker::PhantomData;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, DurationSecondType,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType,
    TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::pick::{Picks, Rule};
use super::rows::{Rows, column};
use super::{OfNone, Shape, aggregate};
use crate::query::coerce::types::{Want, castable, has_order, is_integral, mismatch, name_of};
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count, takes};

/// Aggregates that fold values into one of their type.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "min",
        {
            types: Types::By(bind),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make(shape, false),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/sum_avg_min_max_of_int", "aggregates/min_max_of_times_dates_booleans", "generated/extreme"]
    ),
    aggregate!(
        "max",
        {
            types: Types::By(bind),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make(shape, true),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/sum_avg_min_max_of_int", "aggregates/min_max_of_times_dates_booleans", "generated/extreme"]
    ),
    aggregate!(
        "bool_and" | "every",
        {
            types: takes!([Boolean] => DataType::Boolean),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make(shape, false),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/boolean_aggregates", "generated/extreme"]
    ),
    aggregate!(
        "bool_or" | "some" | "any",
        {
            types: takes!([Boolean] => DataType::Boolean),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make(shape, true),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/boolean_aggregates", "generated/extreme"]
    ),
    aggregate!(
        "bit_and",
        {
            types: Types::By(bind_bits),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make_bits(shape, |a, b| a & b),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/bit_aggregates", "generated/extreme"]
    ),
    aggregate!(
        "bit_or",
        {
            types: Types::By(bind_bits),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make_bits(shape, |a, b| a | b),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/bit_aggregates", "generated/extreme"]
    ),
    aggregate!(
        "bit_xor",
        {
            types: Types::By(bind_bits),
            state: |_, returns| vec![("value", returns.clone())],
            make: |shape| make_bits(shape, |a, b| a ^ b),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/bit_aggregates", "generated/extreme"]
    ),
];

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = bind.types[0].clone();
    if !has_order(&kind) {
        return Err(mismatch(bind, format!("{} has no order", name_of(&kind))));
    }
    Ok(Bound::new([kind.clone()], kind))
}

fn bind_bits(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = castable(bind, &bind.types[0], Want::Integral)?;
    if !is_integral(&bind.types[0]) && bind.types[0] != DataType::Null {
        return Err(mismatch(bind, format!("it takes whole numbers, not {}", name_of(&bind.types[0]))));
    }
    Ok(Bound::new([kind.clone()], kind))
}

fn make(shape: &Shape, greatest: bool) -> Result<Box<dyn Groups>> {
    fn of<T: ArrowPrimitiveType>(kind: &DataType, greatest: bool) -> Box<dyn Groups> {
        let better = |kept: T::Native, new: T::Native, greatest: bool| {
            if greatest { new.is_gt(kept) } else { new.is_lt(kept) }
        };
        match greatest {
            true => folds::<T>(kind, move |a, b| if better(a, b, true) { b } else { a }),
            false => folds::<T>(kind, move |a, b| if better(a, b, false) { b } else { a }),
        }
    }
    let kind = &shape.returns;
    Ok(match kind {
        DataType::Int8 => of::<Int8Type>(kind, greatest),
        DataType::Int16 => of::<Int16Type>(kind, greatest),
        DataType::Int32 => of::<Int32Type>(kind, greatest),
        DataType::Int64 => of::<Int64Type>(kind, greatest),
        DataType::Decimal128(..) => of::<Decimal128Type>(kind, greatest),
        DataType::Date32 => of::<Date32Type>(kind, greatest),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of::<TimestampMicrosecondType>(kind, greatest),
        DataType::Duration(TimeUnit::Microsecond) => of::<DurationMicrosecondType>(kind, greatest),
        DataType::Duration(TimeUnit::Second) => of::<DurationSecondType>(kind, greatest),
        DataType::Interval(IntervalUnit::YearMonth) => of::<IntervalYearMonthType>(kind, greatest),
        DataType::Float32 if greatest => {
            folds::<Float32Type>(kind, |a, b| if b > a || (b.is_nan() && !a.is_nan()) { b } else { a })
        }
        DataType::Float32 => {
            folds::<Float32Type>(kind, |a, b| if b < a || (a.is_nan() && !b.is_nan()) { b } else { a })
        }
        DataType::Float64 if greatest => {
            folds::<Float64Type>(kind, |a, b| if b > a || (b.is_nan() && !a.is_nan()) { b } else { a })
        }
        DataType::Float64 => {
            folds::<Float64Type>(kind, |a, b| if b < a || (a.is_nan() && !b.is_nan()) { b } else { a })
        }
        other => {
            let rule = if greatest { Rule::Greatest } else { Rule::Least };
            Box::new(Picks::new(vec![other.clone()], rule))
        }
    })
}

fn make_bits(shape: &Shape, fold: fn(i64, i64) -> i64) -> Result<Box<dyn Groups>> {
    let kind = &shape.returns;
    // The bits of a narrow number are those of its sign-extended form.
    Ok(match kind {
        DataType::Int8 => folds::<Int8Type>(kind, move |a, b| fold(a.into(), b.into()) as i8),
        DataType::Int16 => folds::<Int16Type>(kind, move |a, b| fold(a.into(), b.into()) as i16),
        DataType::Int32 => folds::<Int32Type>(kind, move |a, b| fold(a.into(), b.into()) as i32),
        DataType::Int64 => folds::<Int64Type>(kind, fold),
        other => return internal_err!("bits of {other}"),
    })
}

fn folds<T: ArrowPrimitiveType>(
    kind: &DataType,
    fold: impl Fn(T::Native, T::Native) -> T::Native + Send + Sync + 'static,
) -> Box<dyn Groups> {
    Box::new(Folds::<T, _> {
        values: Vec::new(),
        there: Vec::new(),
        kind: kind.clone(),
        fold,
        of: PhantomData,
    })
}

/// A number of each group, folded from its rows' numbers.
struct Folds<T: ArrowPrimitiveType, Fold> {
    values: Vec<T::Native>,
    there: Vec<bool>,
    kind: DataType,
    fold: Fold,
    of: PhantomData<fn(T)>,
}

impl<T, Fold> Folds<T, Fold>
where
    T: ArrowPrimitiveType,
    Fold: Fn(T::Native, T::Native) -> T::Native + Send + Sync,
{
    fn take_up(&mut self, values: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) {
        let numbers = values[0].as_primitive::<T>().values();
        let (kept, there, fold) = (&mut self.values, &mut self.there, &self.fold);
        Rows::new(groups, values, filter).each(|group, row| {
            kept[group] = if there[group] { fold(kept[group], numbers[row]) } else { numbers[row] };
            there[group] = true;
        });
    }
}

impl<T, Fold> Groups for Folds<T, Fold>
where
    T: ArrowPrimitiveType,
    Fold: Fn(T::Native, T::Native) -> T::Native + Send + Sync,
{
    fn grow(&mut self, groups: usize) {
        self.values.resize(groups, T::default_value());
        self.there.resize(groups, false);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        self.take_up(args, groups, filter);
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.take_up(states, groups, None);
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let there = emit.take_needed(&mut self.there);
        Ok(column::<T>(emit.take_needed(&mut self.values), Some(there), &self.kind))
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.there.capacity()
    }
}
