//! Which rows of a batch an aggregate takes up, and the columns that a group's numbers become.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use std::sync::Arc;

/// The rows that FILTER lets through and in which no argument is null.
pub(super) struct Rows<'a> {
    groups: &'a [usize],
    chosen: Option<BooleanBuffer>,
}

impl<'a> Rows<'a> {
    /// The rows in which every array of `present` has a value and `filter` is true. `groups` has the group of each row.
    pub(super) fn new(groups: &'a [usize], present: &[ArrayRef], filter: Option<&BooleanArray>) -> Rows<'a> {
        let mut chosen: Option<BooleanBuffer> = filter.map(|filter| match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        });
        for array in present {
            if let Some(nulls) = array.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                chosen = Some(match chosen {
                    Some(before) => &before & nulls.inner(),
                    None => nulls.into_inner(),
                });
            }
        }
        Rows { groups, chosen }
    }

    /// Calls `take` with group and row of each, in order.
    pub(super) fn each(&self, mut take: impl FnMut(usize, usize)) {
        match &self.chosen {
            None => self.groups.iter().enumerate().for_each(|(row, group)| take(*group, row)),
            Some(chosen) => chosen.set_indices().for_each(|row| take(self.groups[row], row)),
        }
    }

    /// As [`Rows::each`], up to the first error.
    pub(super) fn try_each(&self, mut take: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        match &self.chosen {
            None => self.groups.iter().enumerate().try_for_each(|(row, group)| take(*group, row)),
            Some(chosen) => chosen.set_indices().try_for_each(|row| take(self.groups[row], row)),
        }
    }
}

/// A column of numbers, null where `there` is false.
pub(super) fn column<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    there: Option<Vec<bool>>,
    kind: &DataType,
) -> ArrayRef {
    let nulls = there.map(NullBuffer::from).filter(|nulls| nulls.null_count() > 0);
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(kind.clone()))
}
