//! `mode`: the value that a group has most often.

use std::cmp::Reverse;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::EmitTo;

use super::bag::Bag;
use super::collect::has_map;
use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, aggregate};
use crate::query::coerce::types::{list_of, mismatch};
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// The most frequent value.
pub(crate) const ENTRIES: &[Entry] = &[aggregate!(
    "mode",
    {
        types: Types::By(bind),
        state: |args, _| vec![("values", list_of(args[0].clone()))],
        make: |shape| {
            let greatest = matches!(shape.literals.get(2), Some(Some(ScalarValue::Boolean(Some(true)))));
            Ok(Box::new(Modes { bag: Bag::new(vec![shape.args[0].clone()]), greatest }))
        },
        of_none: OfNone::Null,
        unbounded: true,
    },
    ["aggregates/mode_of_values", "generated/mode"]
)];

/// The value; whether ties are decided by the least value, which they always are here; whether by the greatest instead,
/// as `WITHIN GROUP (ORDER BY value DESC)` says.
fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 3)?;
    let kind = bind.types[0].clone();
    if has_map(&kind) {
        return Err(mismatch(bind, "MAP values can't be compared"));
    }
    if bind.types[1..].iter().any(|flag| *flag != DataType::Boolean) {
        return Err(mismatch(bind, "its second argument is true or false"));
    }
    let mut args = bind.types.to_vec();
    args[0] = kind.clone();
    Ok(Bound::new(args, kind))
}

struct Modes {
    bag: Bag,
    /// Whether the greatest of several most frequent values is meant.
    greatest: bool,
}

impl Groups for Modes {
    fn grow(&mut self, groups: usize) {
        self.bag.grow(groups);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        self.bag.push(&args[..1], &Rows::new(groups, &args[..1], filter))
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        self.bag.push_lists(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.bag.take(emit)?.lists()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let rows = self.bag.take(emit)?;
        let values = &rows.columns[0];
        let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
        let keys = converter.convert_columns(std::slice::from_ref(values))?;
        let mode = |bounds: &[usize]| {
            let mut places: Vec<usize> = (bounds[0]..bounds[1]).collect();
            places.sort_by(|a, b| keys.row(*a).cmp(&keys.row(*b)));
            let runs = places.chunk_by(|a, b| keys.row(*a) == keys.row(*b));
            let longest = match self.greatest {
                true => runs.max_by_key(|run| run.len()),
                false => runs.min_by_key(|run| Reverse(run.len())),
            };
            longest.map(|run| run[0] as u32)
        };
        let modes: UInt32Array = rows.starts.windows(2).map(mode).collect();
        Ok(take(values, &modes, None)?)
    }

    fn size(&self) -> usize {
        self.bag.size()
    }
}
