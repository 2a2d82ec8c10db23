//! Aggregates that keep one of a group's rows: `first`, `last`, `any_value`, `max_by`, `min_by`, and `min` and `max`
//! of values that are no numbers.
//!
//! The kept values of all groups are one column; a batch of rows chooses for each group between what is kept and one
//! of its rows.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_empty_array, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use std::cmp::Ordering;
use std::sync::Arc;

use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, Shape, aggregate};
use crate::query::coerce::types::{has_order, mismatch, name_of};
use crate::query::functions::compare::{Comparator, comparator};
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// Aggregates that keep a row.
pub(crate) const ENTRIES: &[Entry] = &[
    aggregate!(
        "first" | "first_value",
        {
            types: Types::By(bind_any),
            state: |_, returns| vec![("value", returns.clone()), ("is_set", DataType::Boolean)],
            make: |shape| by_place(shape, true),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/first_last", "generated/pick"]
    ),
    aggregate!(
        "last" | "last_value",
        {
            types: Types::By(bind_any),
            state: |_, returns| vec![("value", returns.clone()), ("is_set", DataType::Boolean)],
            make: |shape| by_place(shape, false),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/first_last", "generated/pick"]
    ),
    aggregate!(
        "any_value",
        {
            types: Types::By(bind_any),
            state: |_, returns| vec![("value", returns.clone()), ("is_set", DataType::Boolean)],
            make: |shape| by_place(shape, true),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/first_last", "generated/pick"]
    ),
    aggregate!(
        "max_by",
        {
            types: Types::By(bind_by),
            state: |args, returns| vec![("value", returns.clone()), ("order", order_of(args))],
            make: |shape| Ok(Box::new(Picks::new(shape.args.clone(), Rule::LastGreatest))),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/min_by_max_by", "generated/pick"]
    ),
    aggregate!(
        "min_by",
        {
            types: Types::By(bind_by),
            state: |args, returns| vec![("value", returns.clone()), ("order", order_of(args))],
            make: |shape| Ok(Box::new(Picks::new(shape.args.clone(), Rule::LastLeast))),
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/min_by_max_by", "generated/pick"]
    ),
];

/// Whether IGNORE NULLS may follow a call of the aggregate.
pub(super) fn takes_null_treatment(name: &str) -> bool {
    matches!(name, "first" | "last" | "any_value")
}

/// The value; in a call that is not analysed yet also whether nulls are ignored.
fn bind_any(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    if bind.types.get(1).is_some_and(|flag| *flag != DataType::Boolean) {
        return Err(mismatch(bind, "its second argument is true or false"));
    }
    let kind = bind.types[0].clone();
    Ok(Bound::new(bind.types.to_vec(), kind))
}

fn bind_by(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let [value, order] = [bind.types[0].clone(), bind.types[1].clone()];
    if !has_order(&order) {
        return Err(mismatch(bind, format!("{} has no order", name_of(&order))));
    }
    Ok(Bound::new([value.clone(), order], value))
}

fn order_of(args: &[DataType]) -> DataType {
    args.get(1).cloned().unwrap_or(DataType::Null)
}

fn by_place(shape: &Shape, first: bool) -> Result<Box<dyn Groups>> {
    let rule = if first { Rule::First } else { Rule::Last };
    let mut picks = Picks::new(shape.args.clone(), rule);
    picks.takes_nulls = !shape.ignore_nulls;
    Ok(Box::new(picks))
}

/// Which row of a group is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    First,
    Last,
    /// The first of the least.
    Least,
    /// The first of the greatest.
    Greatest,
    /// The last of those whose last column is least.
    LastLeast,
    /// The last of those whose last column is greatest.
    LastGreatest,
}

impl Rule {
    /// Whether the order of the last column decides.
    fn compares(self) -> bool {
        !matches!(self, Rule::First | Rule::Last)
    }

    /// Whether a row takes the place of the kept one, by its order to that.
    fn replaces(self, order: Ordering) -> bool {
        match self {
            Rule::First => false,
            Rule::Last => true,
            Rule::Least => order == Ordering::Less,
            Rule::Greatest => order == Ordering::Greater,
            Rule::LastLeast => order != Ordering::Greater,
            Rule::LastGreatest => order != Ordering::Less,
        }
    }
}

/// The kept rows of all groups.
pub(super) struct Picks {
    /// The kept rows; groups beyond their length have none.
    columns: Vec<ArrayRef>,
    set: Vec<bool>,
    rule: Rule,
    /// Whether a row whose value is null may be kept; such a row has no order.
    takes_nulls: bool,
}

/// Where the row of a group comes from.
#[derive(Clone, Copy)]
enum Place {
    None,
    Kept,
    Row(usize),
}

impl Picks {
    /// No groups, whose rows have columns of these types.
    pub(super) fn new(kinds: Vec<DataType>, rule: Rule) -> Picks {
        let columns = kinds.iter().map(new_empty_array).collect();
        Picks { columns, set: Vec::new(), rule, takes_nulls: false }
    }

    fn choose(&mut self, rows: &Rows, values: &[ArrayRef]) -> Result<()> {
        let mut places: Vec<Place> =
            self.set.iter().map(|set| if *set { Place::Kept } else { Place::None }).collect();
        let (kept, new) = (self.columns.last(), values.last());
        let orders: Option<(Comparator, Comparator)> = match (kept, new) {
            (Some(kept), Some(new)) if self.rule.compares() => {
                Some((comparator(new, kept)?, comparator(new, new)?))
            }
            _ => None,
        };
        let mut changed = false;
        rows.each(|group, row| {
            let order = match (&orders, places[group]) {
                (_, Place::None) => None,
                (None, _) => Some(Ordering::Equal),
                (Some((to_kept, _)), Place::Kept) => Some(to_kept(row, group)),
                (Some((_, to_new)), Place::Row(chosen)) => Some(to_new(row, chosen)),
            };
            if order.is_none_or(|order| self.rule.replaces(order)) {
                places[group] = Place::Row(row);
                changed = true;
            }
        });
        if !changed {
            return Ok(());
        }
        let source = |(group, place): (usize, &Place)| match place {
            Place::None => (2, 0),
            Place::Kept => (0, group),
            Place::Row(row) => (1, *row),
        };
        let sources: Vec<(usize, usize)> = places.iter().enumerate().map(source).collect();
        for (column, new) in self.columns.iter_mut().zip(values) {
            let null = new_null_array(column.data_type(), 1);
            *column = interleave(&[column.as_ref(), new.as_ref(), null.as_ref()], &sources)?;
        }
        self.set = places.iter().map(|place| !matches!(place, Place::None)).collect();
        Ok(())
    }

    /// The columns of the first groups or of all, and which groups have a row.
    fn take(&mut self, emit: EmitTo) -> Result<(Vec<ArrayRef>, Vec<bool>)> {
        let set = emit.take_needed(&mut self.set);
        let mut taken = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let known = set.len().min(column.len());
            let given = column.slice(0, known);
            let missing = new_null_array(column.data_type(), set.len() - known);
            taken.push(arrow::compute::concat(&[given.as_ref(), missing.as_ref()])?);
            *column = column.slice(known, column.len() - known);
        }
        Ok((taken, set))
    }
}

impl Groups for Picks {
    fn grow(&mut self, groups: usize) {
        self.set.resize(groups, false);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        // The last argument decides: the value itself, or what it is ordered by.
        let present = if self.takes_nulls { &[] } else { &args[args.len() - 1..] };
        self.choose(&Rows::new(groups, present, filter), args)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        if self.rule.compares() {
            return self.update(states, groups, None);
        }
        let set = states[1].as_boolean();
        self.choose(&Rows::new(groups, &[], Some(set)), &states[..1])
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (mut columns, set) = self.take(emit)?;
        if !self.rule.compares() {
            columns.push(Arc::new(BooleanArray::from(set)));
        }
        Ok(columns)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (mut columns, _) = self.take(emit)?;
        Ok(columns.swap_remove(0))
    }

    fn size(&self) -> usize {
        let columns: usize = self.columns.iter().map(|column| column.get_array_memory_size()).sum();
        columns + self.set.capacity()
    }
}
