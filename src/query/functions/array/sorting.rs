//! Elements in Spark's order: sorted, and the least and the greatest.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::arguments::{list, one_element};
use super::gather::{Gather, span};
use crate::query::functions::compare::{comparator, sorted_rows};
use crate::query::functions::scalar::{Bind, Bound, Call, count};

pub(super) fn bind_sort(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    one_element(&Bind { types: &bind.types[..1], ..*bind })?;
    let kind = list(bind, 0)?;
    let mut args = vec![kind.clone()];
    args.extend(bind.types.get(1).map(|_| DataType::Boolean));
    Ok(Bound::new(args, kind))
}

/// `sort_array`: ascending with nulls first, or the reverse.
pub(super) fn sort_array(call: &Call) -> Result<ArrayRef> {
    sorted(call, |row| call.has(1) && !call.flags(1).value(row), false)
}

/// Sorts each list; `nulls_last` for ascending order as `array_sort` has it.
pub(crate) fn sorted(call: &Call, descending: impl Fn(usize) -> bool, nulls_last: bool) -> Result<ArrayRef> {
    let list = call.lists(0);
    let values = list.values();
    // The rank of each value once for all rows.
    let ranks = sorted_rows(values)?;
    let mut rank = vec![0_usize; values.len()];
    ranks.values().iter().enumerate().for_each(|(at, row)| rank[*row as usize] = at);
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            let mut places: Vec<usize> = span(list, row).collect();
            if descending(row) {
                places.sort_by_key(|at| (values.is_null(*at), std::cmp::Reverse(rank[*at])));
            } else {
                places.sort_by_key(|at| (values.is_null(*at) && nulls_last, rank[*at]));
            }
            places.into_iter().for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(values, call.returns)
}

pub(super) fn extreme(call: &Call, wanted: Ordering) -> Result<ArrayRef> {
    let list = call.lists(0);
    let order = comparator(list.values(), list.values())?;
    let best = |row: usize| {
        let mut best: Option<usize> = None;
        for at in span(list, row).filter(|at| list.values().is_valid(*at)) {
            if best.is_none_or(|best| order(at, best) == wanted) {
                best = Some(at);
            }
        }
        best.and_then(|at| u32::try_from(at).ok())
    };
    let places: UInt32Array =
        (0..call.rows).map(|row| if list.is_valid(row) { best(row) } else { None }).collect();
    Ok(take(list.values(), &places, None)?)
}
