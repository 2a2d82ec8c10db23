//! Columns of values that all have the same width, and of booleans.

use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType as ArrowType};
use std::sync::Arc;

use super::validity::Validity;

/// Values of one width; a null row holds the default value.
#[derive(Debug, Default)]
pub(in crate::decode::json) struct Fixed<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T: Copy + Default> Fixed<T> {
    #[inline(always)]
    pub(in crate::decode::json) fn len(&self) -> usize {
        self.values.len()
    }

    #[inline(always)]
    pub(in crate::decode::json) fn push(&mut self, value: T) {
        self.values.push(value);
        self.validity.push_valid();
    }

    pub(super) fn push_null(&mut self) {
        self.values.push(T::default());
        self.validity.push_null();
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_null(row)
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.values.drain(range.clone());
        self.validity.remove(range);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.values.len() * size_of::<T>() + self.validity.memory_bytes()
    }

    /// Hands the values out as an array of `data_type`, and starts anew with room for as many.
    pub(super) fn finish<A>(&mut self, data_type: &ArrowType) -> ArrayRef
    where
        A: ArrowPrimitiveType<Native = T>,
        T: ArrowNativeType,
    {
        let room = self.values.len();
        let values = std::mem::replace(&mut self.values, Vec::with_capacity(room));
        let array = PrimitiveArray::<A>::new(ScalarBuffer::from(values), self.validity.finish());
        Arc::new(array.with_data_type(data_type.clone()))
    }
}

/// Booleans: one byte each while they are gathered, one bit in the array.
#[derive(Debug, Default)]
pub(in crate::decode::json) struct Booleans(Fixed<bool>);

impl Booleans {
    #[inline(always)]
    pub(in crate::decode::json) fn push(&mut self, value: bool) {
        self.0.push(value);
    }

    pub(super) fn inner(&self) -> &Fixed<bool> {
        &self.0
    }

    pub(super) fn inner_mut(&mut self) -> &mut Fixed<bool> {
        &mut self.0
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let bits = BooleanBuffer::from(self.0.values.as_slice());
        self.0.values.clear();
        Arc::new(BooleanArray::new(bits, self.0.validity.finish()))
    }
}
