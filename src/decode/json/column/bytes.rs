//! Columns of texts and of bytes.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::validity::Validity;
use crate::model::error::{Error, Result};

/// Byte sequences end to end, with the end of each.
///
/// A value is built in place: bytes are added to [`Bytes::data`], then [`Bytes::close`] makes a row
/// of what was added since the last one, or [`Bytes::discard`] drops it.
#[derive(Debug)]
pub(in crate::decode::json) struct Bytes {
    data: Vec<u8>,
    ends: Vec<i32>,
    validity: Validity,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { data: Vec::new(), ends: vec![0], validity: Validity::default() }
    }
}

impl Bytes {
    #[inline(always)]
    pub(in crate::decode::json) fn len(&self) -> usize {
        self.validity.len()
    }

    /// Adds a row that holds `value`.
    #[inline(always)]
    pub(in crate::decode::json) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.close();
    }

    /// The bytes of all rows and of the one in the making.
    #[inline(always)]
    pub(in crate::decode::json) fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Makes a row of the bytes added since the last one.
    ///
    /// The decoder bounds what it takes in before a batch is handed out (`BATCH_BYTES_MAX`), so that
    /// the ends always fit.
    #[inline(always)]
    pub(in crate::decode::json) fn close(&mut self) {
        self.ends.push(self.data.len() as i32);
        self.validity.push_valid();
    }

    /// Drops the bytes added since the last row.
    pub(in crate::decode::json) fn discard(&mut self) {
        let end = self.end_of(self.len());
        self.data.truncate(end);
    }

    pub(super) fn push_null(&mut self) {
        self.ends.push(self.data.len() as i32);
        self.validity.push_null();
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.is_null(row)
    }

    fn end_of(&self, row: usize) -> usize {
        self.ends[row] as usize
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.data.truncate(self.end_of(len));
        self.validity.truncate(len);
    }

    pub(super) fn remove(&mut self, range: Range<usize>) {
        let (from, until) = (self.end_of(range.start), self.end_of(range.end));
        self.data.drain(from..until);
        remove_ends(&mut self.ends, range.clone());
        self.validity.remove(range);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.data.len() + self.ends.len() * 4 + self.validity.memory_bytes()
    }

    fn parts(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let ends = take_ends(&mut self.ends);
        let room = self.data.len();
        let data = std::mem::replace(&mut self.data, Vec::with_capacity(room));
        (ends, Buffer::from_vec(data))
    }

    pub(super) fn finish_text(&mut self) -> Result<ArrayRef> {
        let (ends, data) = self.parts();
        Ok(Arc::new(text_array(ends, data, self.validity.finish())?))
    }

    pub(super) fn finish_binary(&mut self) -> Result<ArrayRef> {
        let (ends, data) = self.parts();
        let array = BinaryArray::try_new(ends, data, self.validity.finish())
            .map_err(|error| Error::internal("decoded bytes make no array").source(error))?;
        Ok(Arc::new(array))
    }
}

/// What `StringArray::try_new` does, with the quicker check: the values are UTF-8, and none begins or
/// ends within a character.
#[allow(unsafe_code)]
fn text_array(ends: OffsetBuffer<i32>, data: Buffer, nulls: Option<NullBuffer>) -> Result<StringArray> {
    let no_text = || Error::internal("decoded texts are not UTF-8");
    let text = simdutf8::basic::from_utf8(&data).map_err(|_| no_text())?;
    let on_boundaries = ends.iter().all(|end| text.is_char_boundary(*end as usize));
    let whole = ends.last().is_some_and(|end| *end as usize <= text.len());
    let rows = nulls.as_ref().is_none_or(|nulls| nulls.len() + 1 == ends.len());
    if !whole || !rows || !on_boundaries {
        return Err(no_text());
    }
    // SAFETY: `OffsetBuffer` holds ends that never fall, the last within the data; the data are UTF-8,
    // each end stands between two characters, and there is one validity bit for each value.
    Ok(unsafe { StringArray::new_unchecked(ends, data, nulls) })
}

/// Takes the ends out as Arrow's offsets and starts anew with room for as many.
pub(super) fn take_ends(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut fresh = Vec::with_capacity(ends.len());
    fresh.push(0);
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, fresh)))
}

/// Takes the rows of `range` out of a list of ends (the first of which is 0) and closes the gap.
pub(super) fn remove_ends(ends: &mut Vec<i32>, range: Range<usize>) {
    let gap = ends[range.end] - ends[range.start];
    ends.drain(range.start + 1..range.end + 1);
    for end in &mut ends[range.start + 1..] {
        *end -= gap;
    }
}
