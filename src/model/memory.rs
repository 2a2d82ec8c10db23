//! What the buffers of a process hold, against a limit.
//!
//! Buffers claim their bytes here: what is fetched, rows that a query makes or that wait for their file, statistics, row groups
//! being encoded, parts on their way to storage, state. Bounds of their own, and no claim, have the rows that a lane decodes or
//! gathers at once, and the keys of a merge (`docs/ARCHITECTURE.md`, Memory). A stream has an account of its own within the
//! process's, so that it keeps to its limit, and all of them together to the process's. Counts only: whoever finds the
//! account exceeded writes something out; nobody waits for memory here. What nobody can write out is counted as lasting, too:
//! rows of static tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that buffers hold, and how many they may.
#[derive(Debug)]
pub struct MemoryAccount {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    /// Those of them that nobody can write out.
    lasting_bytes: AtomicUsize,
    within: Option<Arc<MemoryAccount>>,
}

impl MemoryAccount {
    /// An account of `limit_bytes` of its own.
    pub fn new(limit_bytes: usize) -> Arc<MemoryAccount> {
        MemoryAccount::make(limit_bytes, None)
    }

    /// An account of `limit_bytes` that counts against this one too.
    pub fn part(self: &Arc<Self>, limit_bytes: usize) -> Arc<MemoryAccount> {
        MemoryAccount::make(limit_bytes, Some(Arc::clone(self)))
    }

    fn make(limit_bytes: usize, within: Option<Arc<MemoryAccount>>) -> Arc<MemoryAccount> {
        let (used_bytes, lasting_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(MemoryAccount { limit_bytes, used_bytes, lasting_bytes, within })
    }

    /// The account that this is a part of in the end: the process's.
    pub fn whole(&self) -> &MemoryAccount {
        self.within.as_ref().map_or(self, |within| within.whole())
    }

    /// What may be held.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// What is held.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// What of it nobody can write out.
    pub fn lasting_bytes(&self) -> usize {
        self.lasting_bytes.load(Ordering::Relaxed)
    }

    /// Returns whether more is held than may be, here or in the account that this is a part of.
    pub fn is_exceeded(&self) -> bool {
        self.exceeds_own_limit() || self.within.as_ref().is_some_and(|whole| whole.is_exceeded())
    }

    /// Returns whether more is held than may be here, whatever else is held in the account that this is a part of.
    pub fn exceeds_own_limit(&self) -> bool {
        self.used_bytes() > self.limit_bytes
    }

    /// A claim of nothing yet.
    pub fn claim(self: &Arc<Self>) -> MemoryClaim {
        MemoryClaim { account: Arc::clone(self), bytes: 0, lasts: false }
    }

    /// A claim of nothing yet, of a buffer that nobody can write out.
    pub fn lasting_claim(self: &Arc<Self>) -> MemoryClaim {
        MemoryClaim { account: Arc::clone(self), bytes: 0, lasts: true }
    }

    fn change(&self, before: usize, after: usize, lasts: bool) {
        change(&self.used_bytes, before, after);
        if lasts {
            change(&self.lasting_bytes, before, after);
        }
        if let Some(whole) = &self.within {
            whole.change(before, after, lasts);
        }
    }
}

fn change(bytes: &AtomicUsize, before: usize, after: usize) {
    if after >= before {
        bytes.fetch_add(after - before, Ordering::Relaxed);
    } else {
        bytes.fetch_sub(before - after, Ordering::Relaxed);
    }
}

/// What one buffer holds of an account; given back when it is dropped.
#[derive(Debug)]
pub struct MemoryClaim {
    account: Arc<MemoryAccount>,
    bytes: usize,
    lasts: bool,
}

impl MemoryClaim {
    /// What the buffer holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The buffer holds `bytes` now.
    pub fn set(&mut self, bytes: usize) {
        self.account.change(self.bytes, bytes, self.lasts);
        self.bytes = bytes;
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_holds_counts_for_the_process_until_it_is_dropped() {
        let process = MemoryAccount::new(100);
        let (one, other) = (process.part(80), process.part(80));
        let (mut first, mut second) = (one.claim(), other.claim());
        first.set(60);
        assert!(!one.is_exceeded());
        second.set(70);
        assert!(one.is_exceeded() && other.is_exceeded(), "130 of the process's 100");
        second.set(90);
        assert_eq!((process.used_bytes(), other.used_bytes(), second.bytes()), (150, 90, 90));
        drop(second);
        assert!(!one.is_exceeded());
        drop(first);
        assert_eq!(process.used_bytes(), 0);
    }

    #[test]
    fn what_nobody_can_write_out_is_counted_by_itself_and_with_the_rest() {
        let process = MemoryAccount::new(100);
        let stream = process.part(80);
        let (mut rows, mut buffer) = (stream.lasting_claim(), stream.part(10).claim());
        rows.set(30);
        buffer.set(5);
        assert_eq!((stream.used_bytes(), stream.lasting_bytes()), (35, 30));
        assert_eq!((stream.whole().used_bytes(), stream.whole().lasting_bytes()), (35, 30));
        rows.set(20);
        assert_eq!((process.used_bytes(), process.lasting_bytes()), (25, 20));
        drop(rows);
        assert_eq!((process.used_bytes(), process.lasting_bytes()), (5, 0));
    }
}
