//! Lists in the order that a lambda says: `array_sort(array, (x, y) -> …)`.
//!
//! Each list is sorted by binary insertion. All lists of a batch take a step together, so that the lambda is run once for
//! a step, and not for each comparison.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, exec_err};

use super::array::Gather;
use crate::query::error::ExpressionError;

/// A list of which a part is sorted.
struct Sorting {
    row: usize,
    /// Where its elements lie.
    span: Range<usize>,
    sorted: Vec<usize>,
    /// Where the next element belongs among the sorted ones.
    belongs: Range<usize>,
}

impl Sorting {
    fn new(row: usize, span: Range<usize>) -> Sorting {
        Sorting { row, span, sorted: Vec::new(), belongs: 0..0 }
    }

    /// Puts elements where they belong, until one has to be compared; returns it and the one it is compared with.
    fn question(&mut self) -> Option<(usize, usize)> {
        loop {
            let next = self.span.start + self.sorted.len();
            if next >= self.span.end {
                return None;
            }
            if !self.belongs.is_empty() {
                return Some((next, self.sorted[self.middle()]));
            }
            self.sorted.insert(self.belongs.start, next);
            self.belongs = 0..self.sorted.len();
        }
    }

    fn middle(&self) -> usize {
        self.belongs.start.midpoint(self.belongs.end)
    }

    /// What the lambda says of the element that was asked for; equal elements keep their order.
    fn answer(&mut self, order: i32) {
        let middle = self.middle();
        self.belongs = if order < 0 { self.belongs.start..middle } else { middle + 1..self.belongs.end };
    }
}

/// What the lambda is asked in one step: pairs of elements, and the rows of their lists.
#[derive(Default)]
struct Questions {
    firsts: Vec<u32>,
    seconds: Vec<u32>,
    rows: Vec<u32>,
}

/// A question of each list of `open`, in their order; a list that is sorted is taken out of `open`.
fn questions(lists: &mut [Sorting], open: &mut Vec<usize>) -> Questions {
    let mut asked = Questions::default();
    open.retain(|number| {
        let sorting = &mut lists[*number];
        let Some((first, second)) = sorting.question() else { return false };
        asked.firsts.push(first as u32);
        asked.seconds.push(second as u32);
        asked.rows.push(sorting.row as u32);
        true
    });
    asked
}

/// The lists, each sorted. `compare` runs the lambda for pairs of elements, of the rows that it is given.
pub(super) fn sorted_by(
    list: &ListArray,
    returns: &DataType,
    compare: impl Fn(&[ArrayRef], &UInt32Array) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let (values, offsets) = (list.values(), list.value_offsets());
    let span = |row: usize| offsets[row] as usize..offsets[row + 1] as usize;
    let valid = (0..list.len()).filter(|row| list.is_valid(*row));
    let mut lists: Vec<Sorting> = valid.map(|row| Sorting::new(row, span(row))).collect();
    let mut open: Vec<usize> = (0..lists.len()).collect();
    loop {
        let Questions { firsts, seconds, rows } = questions(&mut lists, &mut open);
        if open.is_empty() {
            break;
        }
        let pair = [
            take(values, &UInt32Array::from(firsts), None)?,
            take(values, &UInt32Array::from(seconds), None)?,
        ];
        let orders = compare(&pair, &UInt32Array::from(rows))?;
        let Some(orders) = orders.as_primitive_opt::<Int32Type>() else {
            return exec_err!("the lambda of array_sort gives {}", orders.data_type());
        };
        for (at, number) in open.iter().enumerate() {
            if orders.is_null(at) {
                return Err(ExpressionError::raise(
                    "COMPARATOR_RETURNS_NULL",
                    "the lambda of array_sort gives NULL for two elements",
                ));
            }
            lists[*number].answer(orders.value(at));
        }
    }
    let mut made = Gather::new(list.len());
    let mut sorted = lists.into_iter().peekable();
    for row in 0..list.len() {
        let own = sorted.next_if(|sorting| sorting.row == row);
        let is_valid = own.is_some();
        own.into_iter().flat_map(|sorting| sorting.sorted).for_each(|at| made.place(Some(at)));
        made.close(is_valid);
    }
    made.finish(values, returns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_sorted_costs_nothing_while_a_longer_one_is_sorted() {
        let values = [7, 3, 1, 2, 9, 4, 8];
        let mut lists: Vec<Sorting> = [0..1, 1..3, 3..7, 7..7]
            .into_iter()
            .enumerate()
            .map(|(row, span)| Sorting::new(row, span))
            .collect();
        let mut open = vec![0, 1, 2, 3];
        let mut asked = Vec::new();
        loop {
            let Questions { firsts, seconds, rows } = questions(&mut lists, &mut open);
            asked.push(rows);
            if open.is_empty() {
                break;
            }
            for (at, number) in open.iter().enumerate() {
                lists[*number].answer(values[firsts[at] as usize] - values[seconds[at] as usize]);
            }
        }
        assert_eq!(asked[..2], [vec![1, 2], vec![2]]);
        assert_eq!(lists[2].sorted, [3, 5, 6, 4]);
    }
}
