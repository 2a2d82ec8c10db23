//! `sum` and `try_sum`: BIGINT of whole numbers, DOUBLE of floats, DECIMAL with ten more digits of decimals.
//!
//! A sum that overflows stays without a value. Under ANSI that is an error: for BIGINT where it happens, for DECIMAL
//! when the result is asked for (`Sum` of Spark 4.0).

use std::marker::PhantomData;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::rows::{Rows, column};
use super::{OfNone, Shape, StateColumn, aggregate};
use crate::query::arithmetic::decimal::PRECISION_MAX;
use crate::query::coerce::types::{Want, castable};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Sums.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "sum",
        {
            types: Types::By(bind),
            state: state,
            make: |shape| make(shape, if shape.conf.ansi { Over::Raise } else { Over::Lenient }),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/sum_avg_min_max_of_int", "aggregates/sum_avg_min_max_of_double", "generated/sum"]
    ),
    aggregate!(
        "try_sum",
        {
            types: Types::By(bind),
            state: state,
            make: |shape| make(shape, Over::Null),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/try_sum_and_try_avg", "generated/sum"]
    ),
];

/// What becomes of a sum that overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Raise,
    Null,
    /// BIGINT wraps, DECIMAL is null.
    Lenient,
}

/// The type of a sum of decimals.
pub(super) fn decimal_sum(precision: u8, scale: i8) -> DataType {
    DataType::Decimal128((precision + 10).min(PRECISION_MAX), scale)
}

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    Ok(match castable(bind, &bind.types[0], Want::Number)? {
        DataType::Decimal128(precision, scale) => {
            Bound::new([DataType::Decimal128(precision, scale)], decimal_sum(precision, scale))
        }
        DataType::Float32 | DataType::Float64 => Bound::new([DataType::Float64], DataType::Float64),
        _ => Bound::new([DataType::Int64], DataType::Int64),
    })
}

fn state(_: &[DataType], returns: &DataType) -> Vec<StateColumn> {
    vec![("sum", returns.clone()), ("is_empty", DataType::Boolean)]
}

fn make(shape: &Shape, over: Over) -> Result<Box<dyn Groups>> {
    Ok(match (&shape.returns, over) {
        (DataType::Float64, _) => Box::new(Sums::<Float64Type, _>::new(shape, over, |a, b| Some(a + b))),
        (DataType::Int64, Over::Lenient) => {
            Box::new(Sums::<Int64Type, _>::new(shape, over, |a: i64, b| Some(a.wrapping_add(b))))
        }
        (DataType::Int64, _) => Box::new(Sums::<Int64Type, _>::new(shape, over, i64::checked_add)),
        (DataType::Decimal128(precision, _), _) => {
            let bound = 10_i128.pow(u32::from(*precision));
            let add = move |a: i128, b| a.checked_add(b).filter(|sum: &i128| -bound < *sum && *sum < bound);
            Box::new(Sums::<Decimal128Type, _>::new(shape, over, add))
        }
        (other, _) => return internal_err!("a sum of {other}"),
    })
}

/// What is known of a group's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Empty,
    Sum,
    Overflowed,
}

struct Sums<T: ArrowPrimitiveType, Add> {
    sums: Vec<T::Native>,
    known: Vec<Known>,
    kind: DataType,
    over: Over,
    add: Add,
    of: PhantomData<fn(T)>,
}

impl<T, Add> Sums<T, Add>
where
    T: ArrowPrimitiveType,
    Add: Fn(T::Native, T::Native) -> Option<T::Native>,
{
    fn new(shape: &Shape, over: Over, add: Add) -> Self {
        Sums { sums: Vec::new(), known: Vec::new(), kind: shape.returns.clone(), over, add, of: PhantomData }
    }

    fn add(&mut self, group: usize, more: T::Native) -> Result<()> {
        if self.known[group] == Known::Overflowed {
            return Ok(());
        }
        match (self.add)(self.sums[group], more) {
            Some(sum) => {
                self.sums[group] = sum;
                self.known[group] = Known::Sum;
                Ok(())
            }
            None if self.over == Over::Raise && self.kind == DataType::Int64 => {
                Err(ExpressionError::raise("ARITHMETIC_OVERFLOW", "long overflow in sum"))
            }
            None => {
                self.known[group] = Known::Overflowed;
                Ok(())
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> (ArrayRef, Vec<Known>) {
        let known = emit.take_needed(&mut self.known);
        let there = known.iter().map(|known| *known == Known::Sum).collect();
        (column::<T>(emit.take_needed(&mut self.sums), Some(there), &self.kind), known)
    }
}

impl<T, Add> Groups for Sums<T, Add>
where
    T: ArrowPrimitiveType,
    Add: Fn(T::Native, T::Native) -> Option<T::Native> + Send + Sync,
{
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, T::default_value());
        self.known.resize(groups, Known::Empty);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let values = args[0].as_primitive::<T>();
        Rows::new(groups, args, filter).try_each(|group, row| self.add(group, values.value(row)))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let (sums, empty) = (states[0].as_primitive::<T>(), states[1].as_boolean());
        Rows::new(groups, &states[..1], None).try_each(|group, row| self.add(group, sums.value(row)))?;
        for (row, group) in groups.iter().enumerate() {
            if states[0].is_null(row) && !empty.value(row) {
                self.known[*group] = Known::Overflowed;
            }
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, known) = self.take(emit);
        let empty: BooleanArray = known.iter().map(|known| Some(*known == Known::Empty)).collect();
        Ok(vec![sums, std::sync::Arc::new(empty)])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (sums, known) = self.take(emit);
        if self.over == Over::Raise && known.contains(&Known::Overflowed) {
            return Err(ExpressionError::raise("ARITHMETIC_OVERFLOW", "Overflow in sum of decimals."));
        }
        Ok(sums)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.known.capacity()
    }
}
