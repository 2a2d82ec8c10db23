//! `collect_list` and `collect_set`: a group's values, in the order of their arrival.
//!
//! A set keeps every NaN, as Spark's does.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::bag::Bag;
use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, aggregate};
use crate::query::coerce::types::{entry_of, list_of, mismatch};
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Aggregates that keep all values.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "collect_list" | "array_agg",
        {
            types: Types::By(bind),
            state: |args, _| vec![("values", list_of(args[0].clone()))],
            make: |shape| Ok(Box::new(Collected(Bag::new(shape.args.clone())))),
            of_none: OfNone::EmptyList,
            unbounded: true,
        },
        ["aggregates/collect_list_in_arrival_order", "aggregates/collect_of_structs", "generated/collect"]
    ),
    aggregate!(
        "collect_set",
        {
            types: Types::By(|bind| {
                let bound = self::bind(bind)?;
                if bind.types.iter().any(has_map) {
                    return Err(mismatch(bind, "MAP values can't be compared"));
                }
                Ok(bound)
            }),
            state: |args, _| vec![("values", list_of(args[0].clone()))],
            make: |shape| Ok(Box::new(Collected(Bag::of_distinct(shape.args.clone(), false)?))),
            of_none: OfNone::EmptyList,
            unbounded: true,
        },
        ["aggregates/collect_set_sorted", "generated/collect"]
    ),
];

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 1)?;
    let kind = bind.types[0].clone();
    Ok(Bound::new([kind.clone()], list_of(kind)))
}

/// Whether there is a MAP in the type.
pub(super) fn has_map(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => has_map(element.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        kind => entry_of(kind).is_some(),
    }
}

struct Collected(Bag);

impl Groups for Collected {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        self.0.push(args, &Rows::new(groups, args, filter))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.0.push_lists(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.take(emit)?.lists()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(self.0.take(emit)?.lists()?.swap_remove(0))
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
