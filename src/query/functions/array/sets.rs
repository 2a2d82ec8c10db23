//! Arrays as sets: an element is there once, in the order of its first place.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, BooleanArray, ListArray};
use datafusion::common::Result;

use super::elements::with_values;
use super::gather::{Gather, span};
use crate::query::functions::compare::{Comparator, comparator};
use crate::query::functions::scalar::{Call, each};

/// The places of a row whose elements did not come before.
fn first_ones(places: impl Iterator<Item = usize>, same: &Comparator) -> Vec<usize> {
    let mut seen: Vec<usize> = Vec::new();
    for at in places {
        if !seen.iter().any(|before| same(*before, at) == Ordering::Equal) {
            seen.push(at);
        }
    }
    seen
}

pub(super) fn distinct(call: &Call) -> Result<ArrayRef> {
    let list = call.lists(0);
    let order = comparator(list.values(), list.values())?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = list.is_valid(row);
        if valid {
            first_ones(span(list, row), &order).into_iter().for_each(|at| lists.place(Some(at)));
        }
        lists.close(valid);
    }
    lists.finish(list.values(), call.returns)
}

/// The distinct elements of both lists for which `kept` holds: whether they are in the first, and in the second.
pub(super) fn sets(call: &Call, kept: fn(bool, bool) -> bool) -> Result<ArrayRef> {
    let (first, second) = (call.lists(0), call.lists(1));
    let (values, others) = with_values(first, second.values())?;
    let order = comparator(&values, &values)?;
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let behind = span(second, row);
            let second = others + behind.start..others + behind.end;
            let own = span(first, row);
            for at in first_ones(own.clone().chain(second.clone()), &order) {
                let within = |mut range: std::ops::Range<usize>| {
                    range.any(|other| order(other, at) == Ordering::Equal)
                };
                if kept(within(own.clone()), within(second.clone())) {
                    lists.place(Some(at));
                }
            }
        }
        lists.close(valid);
    }
    lists.finish(&values, call.returns)
}

/// Whether an element is in both: NULL if none is, but one list has a null and the other is not empty.
pub(super) fn overlap(call: &Call) -> Result<ArrayRef> {
    let (first, second) = (call.lists(0), call.lists(1));
    let order = comparator(first.values(), second.values())?;
    each::<BooleanArray, _>(call, |row| {
        let (own, other) = (span(first, row), span(second, row));
        let present = |list: &ListArray, at: usize| list.values().is_valid(at);
        for a in own.clone().filter(|at| present(first, *at)) {
            if other.clone().any(|b| present(second, b) && order(a, b) == Ordering::Equal) {
                return Some(true);
            }
        }
        let mut nulls = own.clone().any(|at| !present(first, at));
        nulls |= other.clone().any(|at| !present(second, at));
        if nulls && !own.is_empty() && !other.is_empty() { None } else { Some(false) }
    })
}
