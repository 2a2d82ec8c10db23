//! The memory that a process gives the buffers of its streams.
//!
//! One account for the process, of which each stream has a part, and of that its lanes and its writers. A stream keeps to
//! its own limit; all streams together keep to the process's, so that many streams without a `memoryLimit` do not take
//! more than the container has: what is buffered is then written out earlier, in smaller row groups.
//!
//! What may be made of a record follows from the limits alone, and not from what is held: a micro-batch that is run again
//! rejects the same records.

use std::sync::Arc;

use crate::config::StreamConfig;
use crate::model::MemoryAccount;
use crate::query::RecordBytes;

/// Bytes that a lane's reader may hold fetched, where no memory limit says otherwise.
const LANE_FETCH_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that all writers of a stream may hold encoded, where no memory limit says otherwise.
const WRITER_BYTES: usize = 128 * 1024 * 1024;
/// What a merge keeps of a row, beside the row itself: key, place, and a candidate at the commit (measured: 135 to 180).
const ROW_UNTIL_COMMIT_BYTES: usize = 200;
/// What a query that keeps state holds of a row until the commit: the row or its group, its key, and what it changes of the
/// state (measured: 320, of rows of 270 bytes).
const ROW_OF_STATE_BYTES: usize = 500;
/// Rows of a batch that are held in memory and are allowed under every limit.
const ROWS_UNTIL_COMMIT_MIN: usize = 50_000;
/// Bytes that the state of a stream may hold, where no memory limit says otherwise.
const STATE_BYTES: usize = 256 * 1024 * 1024;

/// What buffers may hold of a stream, by what they are for.
#[derive(Debug, Clone)]
pub struct StreamMemory {
    /// The stream's part of the process's account.
    pub account: Arc<MemoryAccount>,
    /// What the writers of all lanes may hold: rows, row groups, parts on their way to storage.
    pub writers: Arc<MemoryAccount>,
    limit: Option<usize>,
    /// What the process may hold.
    process_limit: usize,
    lanes: usize,
}

impl StreamMemory {
    /// The part of a stream with `lanes` lanes in the account of `process`.
    pub fn of(process: &Arc<MemoryAccount>, config: &StreamConfig, lanes: usize) -> StreamMemory {
        let limit = config.memory_limit.map(|limit| limit as usize);
        let account = process.part(limit.unwrap_or(usize::MAX));
        let writers = account.part(limit.map_or(WRITER_BYTES, |limit| (limit / 8).min(WRITER_BYTES)));
        StreamMemory { account, writers, limit, process_limit: process.limit_bytes(), lanes }
    }

    /// How many rows of one micro-batch a merge can hold, with a quarter of what the stream may hold: the keys and places of
    /// all rows are in memory until the commit, whatever is spooled to the disk.
    pub fn rows_until_commit(&self) -> u64 {
        self.rows_of(ROW_UNTIL_COMMIT_BYTES)
    }

    /// The same of a query that keeps state, with the other quarter.
    pub fn rows_of_state(&self) -> u64 {
        self.rows_of(ROW_OF_STATE_BYTES)
    }

    fn rows_of(&self, row_bytes: usize) -> u64 {
        let bytes = least(self.limit, self.process_limit);
        (bytes / 4 / row_bytes).max(ROWS_UNTIL_COMMIT_MIN) as u64
    }

    /// What one lane's reader may hold of fetched records: of a memory limit an eighth is for what is fetched and an
    /// eighth for what is encoded; columns grow by doubling, a batch is there twice while it is encoded, and the program
    /// itself needs the rest.
    pub fn reader(&self) -> Arc<MemoryAccount> {
        let share = |limit: usize| (limit / 8 / self.lanes).clamp(1024 * 1024, LANE_FETCH_BYTES);
        self.account.part(self.limit.map_or(LANE_FETCH_BYTES, share))
    }

    /// Bytes of rows that one lane decodes at once; `None` for the decoder's own bound.
    pub fn decoding_bytes(&self) -> Option<usize> {
        self.limit.map(|limit| limit / 32 / self.lanes)
    }

    /// What the state may hold.
    pub fn state(&self) -> Arc<MemoryAccount> {
        self.account.part(self.limit.map_or(STATE_BYTES, |limit| limit / 4))
    }
}

/// The account of this process: half of what its container may use, or of what the machine has.
pub fn process_account() -> Arc<MemoryAccount> {
    MemoryAccount::new(process_limit())
}

/// What a stream's query may make of one record: of what the stream may hold, or the process, whichever is less.
pub fn record_bytes(config: &StreamConfig) -> RecordBytes {
    RecordBytes::within(least(config.memory_limit.map(|limit| limit as usize), process_limit()))
}

fn process_limit() -> usize {
    usable_bytes().map_or(usize::MAX, |bytes| usize::try_from(bytes / 2).unwrap_or(usize::MAX))
}

fn least(limit: Option<usize>, process_limit: usize) -> usize {
    limit.map_or(process_limit, |limit| limit.min(process_limit))
}

/// The least of the limits of the container (cgroup version 2 or 1) and the machine's memory.
fn usable_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_bytes(&text));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    // "max", and the huge number of version 1, stand for no limit.
    limits.iter().filter_map(|path| read(path)?.trim().parse().ok()).chain(machine).min()
}

/// `MemTotal` of /proc/meminfo, which is in kibibytes.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessLookup};

    const STREAMS: &str = "
streams:
  - {name: one, memoryLimit: 64 MiB, source: {format: rate}, sink: {format: delta, path: /tmp/one}, checkpointLocation: /tmp/c1}
  - {name: other, source: {format: rate}, sink: {format: delta, path: /tmp/other}, checkpointLocation: /tmp/c2}
";

    #[test]
    fn the_process_has_half_of_what_the_machine_or_its_container_may_use() {
        assert_eq!(total_bytes("MemTotal:       24671284 kB\nMemFree: 1 kB\n"), Some(24_671_284 * 1024));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        let usable = usable_bytes().expect("this machine says how much memory it has");
        assert_eq!(process_account().limit_bytes() as u64, usable / 2);
    }

    #[test]
    fn what_the_streams_of_a_process_hold_counts_for_all_of_them() {
        let config = Config::from_texts(&[("s.yaml".into(), STREAMS.into())], &[], &ProcessLookup).unwrap();
        let process = MemoryAccount::new(48 << 20);
        let [one, other] = [0, 1].map(|at| StreamMemory::of(&process, &config.streams[at], 2));
        assert_eq!((one.writers.limit_bytes(), one.reader().limit_bytes()), (8 << 20, 4 << 20));
        assert_eq!((other.writers.limit_bytes(), other.reader().limit_bytes()), (128 << 20, 16 << 20));
        assert_eq!((one.state().limit_bytes(), one.decoding_bytes()), (16 << 20, Some(1 << 20)));
        assert_eq!(other.decoding_bytes(), None);
        assert_eq!(
            (one.rows_until_commit(), other.rows_until_commit()),
            (62_914, 62_914),
            "a quarter of the process's 48 MiB"
        );
        let large = MemoryAccount::new(1 << 30);
        assert_eq!(StreamMemory::of(&large, &config.streams[0], 2).rows_of_state(), 50_000);
        assert_eq!(StreamMemory::of(&large, &config.streams[1], 2).rows_of_state(), 536_870);
        let mut fetched = other.reader().claim();
        fetched.set(30 << 20);
        assert!(!one.writers.is_exceeded());
        let mut encoded = one.writers.claim();
        encoded.set(7 << 20);
        assert!(!one.writers.is_exceeded() && !other.writers.is_exceeded());
        let mut state = other.state().claim();
        state.set(12 << 20);
        assert!(one.writers.is_exceeded() && other.writers.is_exceeded(), "49 of the process's 48 MiB");
        drop(state);
        assert!(!one.writers.is_exceeded());
        assert_eq!((one.account.used_bytes(), other.account.used_bytes()), (7 << 20, 30 << 20));
    }

    #[test]
    fn what_is_made_of_a_record_is_a_share_of_the_least_limit() {
        let config = Config::from_texts(&[("s.yaml".into(), STREAMS.into())], &[], &ProcessLookup).unwrap();
        let [limited, other] = [0, 1].map(|at| record_bytes(&config.streams[at]));
        assert_eq!(limited, RecordBytes::within(process_limit().min(64 << 20)));
        assert_eq!(other, RecordBytes::within(process_limit()));
        assert_eq!((least(Some(64), 128), least(Some(256), 128), least(None, 128)), (64, 128, 128));
    }
}
