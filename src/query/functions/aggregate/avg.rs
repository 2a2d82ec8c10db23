//! `avg` and `try_avg`: DOUBLE, or DECIMAL with four more digits, rounded half up (`Average` of Spark 4.0).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::rows::{Rows, column};
use super::sum::decimal_sum;
use super::{OfNone, Shape, StateColumn, aggregate};
use crate::query::arithmetic::decimal::{PRECISION_MAX, apply};
use crate::query::arithmetic::operation::Operation;
use crate::query::coerce::types::{Want, castable};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Averages.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "avg" | "mean",
        {
            types: Types::By(bind),
            state: state,
            make: |shape| make(shape, shape.conf.ansi),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/sum_avg_min_max_of_int", "aggregates/avg_of_decimals_rounds", "generated/sum"]
    ),
    aggregate!(
        "try_avg",
        {
            types: Types::By(bind),
            state: state,
            make: |shape| make(shape, false),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/try_sum_and_try_avg", "generated/sum"]
    ),
];

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    Ok(match castable(bind, &bind.types[0], Want::Number)? {
        DataType::Decimal128(precision, scale) => {
            let most = i8::try_from(PRECISION_MAX).unwrap_or(i8::MAX);
            let returns = DataType::Decimal128((precision + 4).min(PRECISION_MAX), (scale + 4).min(most));
            Bound::new([DataType::Decimal128(precision, scale)], returns)
        }
        _ => Bound::new([DataType::Float64], DataType::Float64),
    })
}

fn state(args: &[DataType], returns: &DataType) -> Vec<StateColumn> {
    let sum = match args.first() {
        Some(DataType::Decimal128(precision, scale)) => decimal_sum(*precision, *scale),
        _ => returns.clone(),
    };
    vec![("sum", sum), ("count", DataType::Int64)]
}

fn make(shape: &Shape, raises: bool) -> Result<Box<dyn Groups>> {
    match (&shape.args[0], &shape.returns) {
        (DataType::Float64, _) => Ok(Box::new(Doubles::default())),
        (DataType::Decimal128(precision, scale), DataType::Decimal128(most, to)) => {
            let DataType::Decimal128(digits, _) = decimal_sum(*precision, *scale) else {
                return internal_err!("a sum of decimals is not a decimal");
            };
            Ok(Box::new(Decimals {
                sums: Vec::new(),
                counts: Vec::new(),
                of: (digits, *scale),
                returns: (*most, *to),
                raises,
            }))
        }
        (other, _) => internal_err!("an average of {other}"),
    }
}

#[derive(Default)]
struct Doubles {
    sums: Vec<f64>,
    counts: Vec<i64>,
}

impl Groups for Doubles {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, 0.0);
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let values = args[0].as_primitive::<Float64Type>().values();
        let (sums, counts) = (&mut self.sums, &mut self.counts);
        Rows::new(groups, args, filter).each(|group, row| {
            sums[group] += values[row];
            counts[group] += 1;
        });
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let sums = states[0].as_primitive::<Float64Type>().values();
        let counts = states[1].as_primitive::<Int64Type>().values();
        for (row, group) in groups.iter().enumerate() {
            self.sums[*group] += sums[row];
            self.counts[*group] += counts[row];
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            column::<Float64Type>(emit.take_needed(&mut self.sums), None, &DataType::Float64),
            column::<Int64Type>(emit.take_needed(&mut self.counts), None, &DataType::Int64),
        ])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (mut sums, counts) = (emit.take_needed(&mut self.sums), emit.take_needed(&mut self.counts));
        sums.iter_mut().zip(&counts).for_each(|(sum, count)| *sum /= *count as f64);
        let there = counts.iter().map(|count| *count > 0).collect();
        Ok(column::<Float64Type>(sums, Some(there), &DataType::Float64))
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<f64>() + self.counts.capacity() * size_of::<i64>()
    }
}

struct Decimals {
    /// `None` once it overflowed.
    sums: Vec<Option<i128>>,
    counts: Vec<i64>,
    /// Precision and scale of the sums.
    of: (u8, i8),
    returns: (u8, i8),
    raises: bool,
}

impl Decimals {
    fn add(&mut self, group: usize, more: Option<i128>, count: i64) {
        let bound = 10_i128.pow(u32::from(self.of.0));
        let sum = self.sums[group].zip(more).and_then(|(sum, more)| sum.checked_add(more));
        self.sums[group] = sum.filter(|sum| -bound < *sum && *sum < bound);
        self.counts[group] += count;
    }
}

impl Groups for Decimals {
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, Some(0));
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let values = args[0].as_primitive::<Decimal128Type>();
        Rows::new(groups, args, filter).each(|group, row| self.add(group, Some(values.value(row)), 1));
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let sums = states[0].as_primitive::<Decimal128Type>();
        let counts = states[1].as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            let sum = sums.is_valid(row).then(|| sums.value(row));
            self.add(*group, sum, counts.value(row));
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums: Decimal128Array = emit.take_needed(&mut self.sums).into_iter().collect();
        Ok(vec![
            Arc::new(sums.with_precision_and_scale(self.of.0, self.of.1)?),
            column::<Int64Type>(emit.take_needed(&mut self.counts), None, &DataType::Int64),
        ])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (sums, counts) = (emit.take_needed(&mut self.sums), emit.take_needed(&mut self.counts));
        let average = |(sum, count): (Option<i128>, i64)| {
            if count == 0 {
                return Ok(None);
            }
            let raised = |class, message| match self.raises {
                true => Err(ExpressionError::raise(class, message)),
                false => Ok(None),
            };
            let Some(sum) = sum else {
                return raised("ARITHMETIC_OVERFLOW", "Overflow in sum of decimals.");
            };
            match apply(Operation::Divide, (sum, self.of.1), (i128::from(count), 0), self.returns) {
                None => raised("NUMERIC_VALUE_OUT_OF_RANGE", "an average has more digits than its type"),
                average => Ok(average),
            }
        };
        let averages = sums.into_iter().zip(counts).map(average).collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(averages.with_precision_and_scale(self.returns.0, self.returns.1)?))
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i128>>() + self.counts.capacity() * size_of::<i64>()
    }
}
