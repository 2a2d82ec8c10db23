//! `approx_percentile`: the summaries of `super::quantile` for groups.
//!
//! A state has the number of values, and for each sample its value, `g` and `delta`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::percentile::{Fractions, fraction_type};
use super::quantile::{Sample, Summary};
use super::rows::{Rows, column};
use super::{OfNone, Shape, aggregate};
use crate::query::cast::{Mode, Way, cast};
use crate::query::coerce::types::{Want, castable, is_timestamp, list_of, mismatch, refused};
use crate::query::conf::Conf;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Quantiles within an error.
pub(crate) const ENTRIES: &[Entry] = &[aggregate!(
    "approx_percentile" | "percentile_approx",
    {
        types: Types::By(bind),
        state: |_, _| {
            vec![
                ("count", DataType::Int64),
                ("values", list_of(DataType::Float64)),
                ("g", list_of(DataType::Int64)),
                ("delta", list_of(DataType::Int64)),
            ]
        },
        make: make,
        of_none: OfNone::Null,
        unbounded: false,
    },
    ["aggregates/approx_percentile_small", "generated/percentile"]
)];

/// Spark's default of the accuracy.
const ACCURACY: i64 = 10_000;

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    let value = match &bind.types[0] {
        kind if *kind == DataType::Date32 || is_timestamp(kind) => kind.clone(),
        kind => castable(bind, kind, Want::Number)?,
    };
    let fractions = fraction_type(bind, 1)?;
    let returns = match fractions {
        DataType::List(_) => DataType::List(Arc::new(Field::new("element", value.clone(), false))),
        _ => value.clone(),
    };
    let mut args = vec![value, fractions];
    if bind.types.len() == 3 {
        args.push(castable(bind, &bind.types[2], Want::Long)?);
        if bind.strict {
            match bind.integer(2) {
                Some(accuracy) if (1..=i64::from(i32::MAX)).contains(&accuracy) => {}
                Some(_) => {
                    return Err(refused(
                        "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                        format!("the accuracy of {} is from 1 to 2147483647", bind.name),
                    ));
                }
                None => return Err(mismatch(bind, "the accuracy is a literal")),
            }
        }
    }
    Ok(Bound::new(args, returns))
}

fn make(shape: &Shape) -> Result<Box<dyn Groups>> {
    let accuracy = shape.integer(2).unwrap_or(ACCURACY);
    Ok(Box::new(Quantiles {
        groups: Vec::new(),
        fractions: Fractions::of(shape, 1)?,
        error: 1.0 / accuracy as f64,
        kind: shape.args[0].clone(),
        conf: shape.conf.clone(),
    }))
}

struct Quantiles {
    groups: Vec<Summary>,
    fractions: Fractions,
    /// 1 / accuracy.
    error: f64,
    kind: DataType,
    conf: Conf,
}

/// A number, a date or a time as DOUBLE, as Java converts it.
fn doubles(values: &ArrayRef) -> Result<Float64Array> {
    Ok(match values.data_type() {
        DataType::Int8 => values.as_primitive::<Int8Type>().unary(f64::from),
        DataType::Int16 => values.as_primitive::<Int16Type>().unary(f64::from),
        DataType::Int32 => values.as_primitive::<Int32Type>().unary(f64::from),
        DataType::Int64 => values.as_primitive::<Int64Type>().unary(|value| value as f64),
        DataType::Float32 => values.as_primitive::<Float32Type>().unary(f64::from),
        DataType::Float64 => values.as_primitive::<Float64Type>().clone(),
        DataType::Date32 => values.as_primitive::<Date32Type>().unary(f64::from),
        DataType::Timestamp(..) => {
            values.as_primitive::<TimestampMicrosecondType>().unary(|value| value as f64)
        }
        _ => {
            let way = Way { mode: Mode::Lenient, conf: &Conf::default() };
            cast(values, &DataType::Float64, way)?.as_primitive::<Float64Type>().clone()
        }
    })
}

/// The reverse of [`doubles`].
fn undoubled(values: Float64Array, kind: &DataType, conf: &Conf) -> Result<ArrayRef> {
    Ok(match kind {
        DataType::Int8 => Arc::new(values.unary::<_, Int8Type>(|value| value as i32 as i8)),
        DataType::Int16 => Arc::new(values.unary::<_, Int16Type>(|value| value as i32 as i16)),
        DataType::Int32 => Arc::new(values.unary::<_, Int32Type>(|value| value as i32)),
        DataType::Int64 => Arc::new(values.unary::<_, Int64Type>(|value| value as i64)),
        DataType::Float32 => Arc::new(values.unary::<_, Float32Type>(|value| value as f32)),
        DataType::Float64 => Arc::new(values),
        DataType::Date32 => Arc::new(values.unary::<_, Date32Type>(|value| value as i32)),
        DataType::Timestamp(..) => {
            let instants = values.unary::<_, TimestampMicrosecondType>(|value| value as i64);
            Arc::new(instants.with_data_type(kind.clone()))
        }
        _ => cast(&(Arc::new(values) as ArrayRef), kind, Way { mode: Mode::Lenient, conf })?,
    })
}

impl Groups for Quantiles {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, Summary::default());
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let values = doubles(&args[0])?;
        let (summaries, error) = (&mut self.groups, self.error);
        Rows::new(groups, &args[..1], filter)
            .each(|group, row| summaries[group].insert(values.value(row), error));
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        let lists: Vec<&ListArray> = states[1..].iter().map(|list| list.as_list()).collect();
        for (row, group) in groups.iter().enumerate() {
            let parts: Vec<ArrayRef> = lists.iter().map(|list| list.value(row)).collect();
            let values = parts[0].as_primitive::<Float64Type>().values();
            let g = parts[1].as_primitive::<Int64Type>().values();
            let delta = parts[2].as_primitive::<Int64Type>().values();
            let sample = |at: usize| Sample { value: values[at], g: g[at], delta: delta[at] };
            let other = Summary::of(counts.value(row), (0..values.len()).map(sample).collect());
            self.groups[*group].merge(other, self.error);
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let mut summaries = emit.take_needed(&mut self.groups);
        let (mut counts, mut lengths) = (Vec::new(), Vec::new());
        let (mut values, mut gs, mut deltas) = (Vec::new(), Vec::new(), Vec::new());
        for summary in &mut summaries {
            let (count, samples) = summary.parts(self.error);
            counts.push(count);
            lengths.push(samples.len());
            values.extend(samples.iter().map(|sample| sample.value));
            gs.extend(samples.iter().map(|sample| sample.g));
            deltas.extend(samples.iter().map(|sample| sample.delta));
        }
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let list = |values: ArrayRef| {
            let field = Arc::new(Field::new("element", values.data_type().clone(), true));
            Arc::new(ListArray::new(field, offsets.clone(), values, None)) as ArrayRef
        };
        Ok(vec![
            column::<Int64Type>(counts, None, &DataType::Int64),
            list(Arc::new(Float64Array::from(values))),
            list(Arc::new(Int64Array::from(gs))),
            list(Arc::new(Int64Array::from(deltas))),
        ])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let mut summaries = emit.take_needed(&mut self.groups);
        let (ascending, places) = self.fractions.ascending();
        let found = summaries.iter_mut().map(|summary| {
            let sorted = summary.query(&ascending, self.error)?;
            let mut values = vec![0.0; sorted.len()];
            places.iter().zip(sorted).for_each(|(place, value)| values[*place] = value);
            Some(values)
        });
        let found: Vec<Option<Vec<f64>>> = found.collect();
        self.fractions.results(&found, |values| undoubled(values, &self.kind, &self.conf))
    }

    fn size(&self) -> usize {
        self.groups.iter().map(|summary| size_of::<Summary>() + summary.size()).sum()
    }
}
