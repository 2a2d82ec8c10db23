//! Which rows of a column hold a value: a bitmap that costs nothing while no row is null.

use std::ops::Range;

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

/// One bit for each row, set if the row holds a value; no bits at all before the first null.
#[derive(Debug, Default)]
pub(in crate::decode::json) struct Validity {
    words: Vec<u64>,
    len: usize,
    nulls: usize,
}

impl Validity {
    /// How many rows there are.
    #[inline(always)]
    pub(in crate::decode::json) fn len(&self) -> usize {
        self.len
    }

    /// Adds a row that holds a value.
    #[inline(always)]
    pub(in crate::decode::json) fn push_valid(&mut self) {
        if self.nulls != 0 {
            self.push_bit(true);
        }
        self.len += 1;
    }

    /// Adds a row without a value.
    #[inline]
    pub(in crate::decode::json) fn push_null(&mut self) {
        if self.nulls == 0 {
            self.words.clear();
            self.words.resize(self.len / 64, u64::MAX);
            if !self.len.is_multiple_of(64) {
                self.words.push((1 << (self.len % 64)) - 1);
            }
        }
        self.push_bit(false);
        self.nulls += 1;
        self.len += 1;
    }

    #[inline(always)]
    fn push_bit(&mut self, valid: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(u64::from(valid));
        } else if let Some(last) = self.words.last_mut() {
            *last |= u64::from(valid) << (self.len % 64);
        }
    }

    /// Whether row `row` is null.
    pub(in crate::decode::json) fn is_null(&self, row: usize) -> bool {
        self.nulls != 0 && self.words[row / 64] >> (row % 64) & 1 == 0
    }

    /// Forgets the rows from `len` on.
    pub(in crate::decode::json) fn truncate(&mut self, len: usize) {
        if self.nulls != 0 {
            self.nulls -= (len..self.len).filter(|row| self.is_null(*row)).count();
            self.words.truncate(len.div_ceil(64));
            if !len.is_multiple_of(64)
                && let Some(last) = self.words.last_mut()
            {
                *last &= (1 << (len % 64)) - 1;
            }
        }
        self.len = len;
    }

    /// Takes the rows of `range` out of the middle.
    pub(in crate::decode::json) fn remove(&mut self, range: Range<usize>) {
        let behind: Vec<bool> = (range.end..self.len).map(|row| self.is_null(row)).collect();
        self.truncate(range.start);
        for null in behind {
            if null { self.push_null() } else { self.push_valid() }
        }
    }

    /// The bytes in use.
    pub(in crate::decode::json) fn memory_bytes(&self) -> usize {
        if self.nulls == 0 { 0 } else { self.words.len() * 8 }
    }

    /// Hands the bitmap out and starts anew; `None` if no row is null.
    pub(in crate::decode::json) fn finish(&mut self) -> Option<NullBuffer> {
        let (len, nulls) = (self.len, self.nulls);
        self.len = 0;
        self.nulls = 0;
        if nulls == 0 {
            self.words.clear();
            return None;
        }
        let room = self.words.len();
        let words = std::mem::replace(&mut self.words, Vec::with_capacity(room));
        let bits = BooleanBuffer::new(Buffer::from_vec(words), 0, len);
        Some(NullBuffer::new(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_list_of_booleans(steps in proptest::collection::vec((0u8..4, 0usize..200), 0..300)) {
            let mut bits = Validity::default();
            let mut naive: Vec<bool> = Vec::new();
            for (what, number) in steps {
                match what {
                    0 => { bits.push_null(); naive.push(false); }
                    1 => { for _ in 0..number { bits.push_valid(); } naive.resize(naive.len() + number, true); }
                    2 => { let n = number.min(naive.len()); bits.truncate(n); naive.truncate(n); }
                    _ => {
                        let end = number.min(naive.len());
                        let start = end - end.min(3);
                        bits.remove(start..end);
                        naive.drain(start..end);
                    }
                }
                prop_assert_eq!(bits.len(), naive.len());
            }
            let found = bits.finish();
            prop_assert_eq!(found.is_none(), naive.iter().all(|valid| *valid));
            if let Some(found) = found {
                prop_assert_eq!(found.iter().collect::<Vec<_>>(), naive);
            }
        }
    }
}
