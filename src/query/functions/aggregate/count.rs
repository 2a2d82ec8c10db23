//! `count`, `count_if` and `regr_count`.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::rows::{Rows, column};
use super::{OfNone, aggregate};
use crate::query::coerce::types::mismatch;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bound, Types, takes};

/// Functions that count rows.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "count",
        {
            types: Types::By(|bind| {
                if bind.types.is_empty() {
                    return Err(mismatch(bind, "it counts rows by *, or by one argument at least"));
                }
                Ok(Bound::new(bind.types.to_vec(), DataType::Int64))
            }),
            state: |_, _| vec![("count", DataType::Int64)],
            make: |_| Ok(Box::new(Counts { counts: Vec::new(), only_true: false })),
            of_none: OfNone::Zero,
            unbounded: false,
        },
        ["aggregates/count_variants", "generated/count"]
    ),
    aggregate!(
        "count_if",
        {
            types: takes!([Boolean] => DataType::Int64),
            state: |_, _| vec![("count", DataType::Int64)],
            make: |_| Ok(Box::new(Counts { counts: Vec::new(), only_true: true })),
            of_none: OfNone::Zero,
            unbounded: false,
        },
        ["aggregates/count_variants", "generated/count"]
    ),
    aggregate!(
        "regr_count",
        {
            types: takes!([Double, Double] => DataType::Int64),
            state: |_, _| vec![("count", DataType::Int64)],
            make: |_| Ok(Box::new(Counts { counts: Vec::new(), only_true: false })),
            of_none: OfNone::Zero,
            unbounded: false,
        },
        ["generated/moments"]
    ),
];

struct Counts {
    counts: Vec<i64>,
    /// Whether the argument must be true.
    only_true: bool,
}

impl Groups for Counts {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let counts = &mut self.counts;
        let rows = Rows::new(groups, args, filter);
        if self.only_true {
            let flags = args[0].as_boolean();
            rows.each(|group, row| counts[group] += i64::from(flags.value(row)));
        } else {
            rows.each(|group, _| counts[group] += 1);
        }
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let more = states[0].as_primitive::<Int64Type>();
        groups.iter().zip(more.values()).for_each(|(group, more)| self.counts[*group] += more);
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit)?])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(column::<Int64Type>(emit.take_needed(&mut self.counts), None, &DataType::Int64))
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
