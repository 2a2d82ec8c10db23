//! `percentile`, `percentile_cont`, `percentile_disc` and `median`: exact, of all values that a group has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::EmitTo;

use super::bag::Bag;
use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, Shape, StateColumn, aggregate};
use crate::query::coerce::types::{Want, castable, list_of, mismatch, refused};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Exact quantiles.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "percentile",
        {
            types: Types::By(bind_percentile),
            state: state,
            make: |shape| make(shape, Fractions::of(shape, 1)?, false),
            of_none: OfNone::Null,
            unbounded: true,
        },
        ["aggregates/percentile_and_median", "generated/percentile"]
    ),
    aggregate!(
        "median",
        {
            types: Types::By(|bind| {
                count(bind, 1, 1)?;
                castable(bind, &bind.types[0], Want::Number)?;
                Ok(Bound::new([DataType::Float64], DataType::Float64))
            }),
            state: state,
            make: |shape| make(shape, Fractions::One(0.5), false),
            of_none: OfNone::Null,
            unbounded: true,
        },
        ["aggregates/percentile_and_median", "generated/percentile"]
    ),
    aggregate!(
        "percentile_cont",
        {
            types: Types::By(bind_ordered),
            state: state,
            make: |shape| make(shape, Fractions::of(shape, 1)?, false),
            of_none: OfNone::Null,
            unbounded: true,
        },
        ["aggregates/percentile_and_median", "generated/percentile"]
    ),
    aggregate!(
        "percentile_disc",
        {
            types: Types::By(bind_ordered),
            state: state,
            make: |shape| make(shape, Fractions::of(shape, 1)?, true),
            of_none: OfNone::Null,
            unbounded: true,
        },
        ["aggregates/percentile_and_median", "generated/percentile"]
    ),
];

/// The type that the fractions of argument `at` are cast to: DOUBLE or ARRAY<DOUBLE>, literals from 0 to 1.
///
/// # Errors
/// `DATATYPE_MISMATCH`.
pub(super) fn fraction_type(bind: &Bind, at: usize) -> Result<DataType> {
    let kind = match &bind.types[at] {
        DataType::List(element) => list_of(castable(bind, element.data_type(), Want::Double)?),
        kind => castable(bind, kind, Want::Double)?,
    };
    if bind.strict {
        let Some(literal) = &bind.literals[at] else {
            return Err(refused(
                "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
                format!("the percentage of {} is a literal", bind.name),
            ));
        };
        let fractions = arrow::compute::cast(&literal.to_array()?, &kind)?;
        let Some(fractions) = Fractions::read(&fractions) else {
            return Err(refused(
                "DATATYPE_MISMATCH.UNEXPECTED_NULL",
                format!("the percentage of {} is null", bind.name),
            ));
        };
        if !fractions.all().iter().all(|fraction| (0.0..=1.0).contains(fraction)) {
            return Err(refused(
                "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                format!("the percentage of {} is from 0.0 to 1.0", bind.name),
            ));
        }
    }
    Ok(kind)
}

/// DOUBLE, or ARRAY<DOUBLE> for several fractions.
fn returned(fractions: &DataType) -> DataType {
    match fractions {
        DataType::List(_) => DataType::List(Arc::new(Field::new("element", DataType::Float64, false))),
        _ => DataType::Float64,
    }
}

fn bind_percentile(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    castable(bind, &bind.types[0], Want::Number)?;
    let fractions = fraction_type(bind, 1)?;
    let returns = returned(&fractions);
    let mut args = vec![DataType::Float64, fractions];
    if let Some(frequency) = bind.types.get(2) {
        args.push(castable(bind, frequency, Want::Long)?);
    }
    Ok(Bound::new(args, returns))
}

/// The value, the fractions, and whether the order is descending, as `WITHIN GROUP (ORDER BY …)` says.
fn bind_ordered(bind: &Bind) -> Result<Bound> {
    if bind.types.len() != 3 {
        return Err(mismatch(bind, "it takes one percentage, and WITHIN GROUP (ORDER BY value)"));
    }
    castable(bind, &bind.types[0], Want::Number)?;
    let fractions = fraction_type(bind, 1)?;
    let returns = returned(&fractions);
    Ok(Bound::new([DataType::Float64, fractions, DataType::Boolean], returns))
}

fn state(_: &[DataType], _: &DataType) -> Vec<StateColumn> {
    vec![("values", list_of(DataType::Float64)), ("counts", list_of(DataType::Int64))]
}

fn make(shape: &Shape, fractions: Fractions, discrete: bool) -> Result<Box<dyn Groups>> {
    Ok(Box::new(Percentiles {
        bag: Bag::new(vec![DataType::Float64, DataType::Int64]),
        fractions,
        discrete,
        descending: matches!(shape.literals.get(2), Some(Some(ScalarValue::Boolean(Some(true))))),
    }))
}

/// The fractions that a call asks for.
#[derive(Debug, Clone)]
pub(super) enum Fractions {
    One(f64),
    Several(Vec<f64>),
}

impl Fractions {
    /// Those of the literal argument `at`.
    ///
    /// # Errors
    /// `Internal` if it is none: the analysis refuses that.
    pub(super) fn of(shape: &Shape, at: usize) -> Result<Fractions> {
        let literal = shape.literals.get(at).and_then(Option::as_ref);
        let array = literal.map(ScalarValue::to_array).transpose()?;
        match array.as_ref().and_then(Fractions::read) {
            Some(fractions) => Ok(fractions),
            None => internal_err!("the percentage of a percentile is not a literal"),
        }
    }

    fn read(array: &ArrayRef) -> Option<Fractions> {
        let numbers = |array: &ArrayRef| {
            let numbers = array.as_primitive_opt::<Float64Type>()?;
            (numbers.null_count() == 0).then(|| numbers.values().to_vec())
        };
        if array.is_null(0) {
            return None;
        }
        match array.as_list_opt::<i32>() {
            Some(list) => Some(Fractions::Several(numbers(&list.value(0))?)),
            None => Some(Fractions::One(*numbers(array)?.first()?)),
        }
    }

    pub(super) fn all(&self) -> &[f64] {
        match self {
            Fractions::One(fraction) => std::slice::from_ref(fraction),
            Fractions::Several(fractions) => fractions,
        }
    }

    /// The fractions in ascending order, and the place of each in the call.
    pub(super) fn ascending(&self) -> (Vec<f64>, Vec<usize>) {
        let all = self.all();
        let mut places: Vec<usize> = (0..all.len()).collect();
        places.sort_by(|a, b| all[*a].total_cmp(&all[*b]));
        (places.iter().map(|place| all[*place]).collect(), places)
    }

    /// The column of results, from what each group has for each fraction; `of` makes the values' own type.
    ///
    /// # Errors
    /// Those of `of`.
    pub(super) fn results(
        &self,
        found: &[Option<Vec<f64>>],
        of: impl Fn(Float64Array) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        if let Fractions::One(_) = self {
            return of(found
                .iter()
                .map(|values| values.as_ref().and_then(|values| values.first().copied()))
                .collect());
        }
        let values = of(found.iter().flatten().flatten().copied().map(Some).collect())?;
        let lengths = found.iter().map(|values| values.as_ref().map_or(0, Vec::len));
        let nulls: NullBuffer = found.iter().map(Option::is_some).collect();
        let field = Arc::new(Field::new("element", values.data_type().clone(), false));
        Ok(Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, Some(nulls))))
    }
}

struct Percentiles {
    /// Values, and how often each counts.
    bag: Bag,
    fractions: Fractions,
    /// Whether the result is one of the values, never between two.
    discrete: bool,
    descending: bool,
}

impl Percentiles {
    /// The percentiles of a group's values and their counts.
    fn of(&self, values: &[f64], counts: &[i64]) -> Option<Vec<f64>> {
        let mut sorted: Vec<(f64, i64)> = values.iter().copied().zip(counts.iter().copied()).collect();
        // NaN is above all. Of the two zeros -0.0 comes first, in either direction.
        let key = |value: f64| if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
        sorted.sort_by(|a, b| {
            let order = key(a.0).total_cmp(&key(b.0));
            let order = if self.descending { order.reverse() } else { order };
            order.then(a.0.total_cmp(&b.0))
        });
        let mut total = 0;
        for (_, count) in &mut sorted {
            total += *count;
            *count = total;
        }
        if total == 0 {
            return None;
        }
        let at = |rank: i64| sorted[sorted.partition_point(|(_, until)| *until < rank)].0;
        let one = |fraction: &f64| {
            if self.discrete {
                return at(((fraction * total as f64).ceil() as i64).max(1));
            }
            let position = (total - 1) as f64 * fraction;
            let (lower, higher) = (position.floor(), position.ceil());
            let (low, high) = (at(lower as i64 + 1), at(higher as i64 + 1));
            if lower == higher || low == high {
                return low;
            }
            (higher - position) * low + (position - lower) * high
        };
        Some(self.fractions.all().iter().map(one).collect())
    }
}

impl Groups for Percentiles {
    fn grow(&mut self, groups: usize) {
        self.bag.grow(groups);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let given = args.get(2).filter(|frequency| *frequency.data_type() == DataType::Int64);
        let counts: Int64Array = match given {
            Some(frequency) => frequency.as_primitive::<Int64Type>().clone(),
            None => vec![1; args[0].len()].into(),
        };
        let columns: [ArrayRef; 2] = [Arc::clone(&args[0]), Arc::new(counts.clone())];
        Rows::new(groups, &columns, filter).try_each(|_, row| match counts.value(row) < 0 {
            true => Err(ExpressionError::raise(
                "NEGATIVE_VALUES_IN_FREQUENCY_EXPRESSION",
                "a frequency is negative",
            )),
            false => Ok(()),
        })?;
        // A frequency of zero is no row.
        let counted = arrow::compute::kernels::cmp::gt(&counts, &Int64Array::new_scalar(0))?;
        let chosen = match filter {
            Some(filter) => arrow::compute::and_kleene(filter, &counted)?,
            None => counted,
        };
        self.bag.push(&columns, &Rows::new(groups, &columns, Some(&chosen)))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.bag.push_lists(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.bag.take(emit)?.lists()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rows = self.bag.take(emit)?;
        let values = rows.columns[0].as_primitive::<Float64Type>().values();
        let counts = rows.columns[1].as_primitive::<Int64Type>().values();
        let bounds = rows.starts.windows(2);
        let found: Vec<Option<Vec<f64>>> =
            bounds.map(|at| self.of(&values[at[0]..at[1]], &counts[at[0]..at[1]])).collect();
        self.fractions.results(&found, |values| Ok(Arc::new(values)))
    }

    fn size(&self) -> usize {
        self.bag.size()
    }
}
