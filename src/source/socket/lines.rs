//! The lines of a socket that wait until their batch is committed, and the thread that takes them from the server.

use std::collections::VecDeque;
use std::collections::vec_deque;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::model::{MemoryAccount, MemoryClaim};

/// Bytes of lines that wait at most, and one line beyond.
pub(super) const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a line at most.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a line that waits takes beside its text: its place in the queue, and the allocator's share.
pub(super) const LINE_OVERHEAD_BYTES: usize = size_of::<(String, i64)>() + 16;

/// Lines that wait, shared by the source, its readers and the thread that takes them from the server.
#[derive(Default)]
pub(super) struct Lines {
    waiting: Mutex<Waiting>,
    taken: Condvar,
}

/// The lines, under the lock.
pub(super) struct Waiting {
    /// The number of the first line that waits.
    pub(super) first: i64,
    /// Lines, and when they came, in microseconds since the Unix epoch.
    pub(super) lines: VecDeque<(String, i64)>,
    bytes: usize,
    bytes_max: usize,
    /// What the lines hold of a reader's account, once there is a reader.
    claim: Option<MemoryClaim>,
    /// Whether the lines have their numbers: those that come first follow what the checkpoint knows.
    pub(super) numbered: bool,
    /// The source is gone: the thread ends.
    closed: bool,
    /// The server sent a line that is too long, behind those that wait; no more are read.
    pub(super) too_long: bool,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting {
            first: 0,
            lines: VecDeque::new(),
            bytes: 0,
            bytes_max: WAITING_BYTES_MAX,
            claim: None,
            numbered: false,
            closed: false,
            too_long: false,
        }
    }
}

impl Lines {
    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, and adds a line. Returns whether anyone still wants lines.
    fn push(&self, line: String) -> bool {
        let full = |waiting: &mut Waiting| waiting.is_full() && !waiting.closed;
        let mut waiting = self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return false;
        }
        let bytes = waiting.bytes + cost(&line);
        waiting.lines.push_back((line, chrono::Utc::now().timestamp_micros()));
        waiting.set_bytes(bytes);
        true
    }

    /// Lines were dropped: whoever waits for room looks again.
    pub(super) fn made_room(&self) {
        self.taken.notify_all();
    }

    /// No one wants lines any more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.lines = VecDeque::new();
        waiting.set_bytes(0);
        drop(waiting);
        self.taken.notify_all();
    }
}

/// What a line counts while it waits.
fn cost(line: &str) -> usize {
    line.len() + LINE_OVERHEAD_BYTES
}

impl Waiting {
    /// The number of the line behind the last.
    pub(super) fn end(&self) -> i64 {
        self.first + i64::try_from(self.lines.len()).unwrap_or(i64::MAX)
    }

    /// What the lines hold.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no further line is taken from the server; one is, however little may be held.
    fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max && !self.lines.is_empty()
    }

    fn set_bytes(&mut self, bytes: usize) {
        self.bytes = bytes;
        if let Some(claim) = &mut self.claim {
            claim.set(bytes);
        }
    }

    /// Counts the lines in `memory`, whose limit is theirs too, unless they are counted already.
    pub(super) fn count_in(&mut self, memory: &Arc<MemoryAccount>) {
        if self.claim.is_none() {
            self.bytes_max = WAITING_BYTES_MAX.min(memory.limit_bytes());
            self.claim = Some(memory.claim());
            self.set_bytes(self.bytes);
        }
    }

    /// The first line of this process is number `first`, unless lines have numbers already.
    pub(super) fn number_from(&mut self, first: i64) {
        if !self.numbered {
            self.first = first;
            self.numbered = true;
        }
    }

    /// The lines from number `from` to `until` that wait.
    pub(super) fn range(&self, from: i64, until: i64) -> vec_deque::Iter<'_, (String, i64)> {
        let index = |number: i64| usize::try_from(number - self.first).unwrap_or(0).min(self.lines.len());
        self.lines.range(index(from)..index(until))
    }

    /// Drops the lines before number `until`.
    pub(super) fn drop_before(&mut self, until: i64) {
        let mut bytes = self.bytes;
        while self.first < until
            && let Some((line, _)) = self.lines.pop_front()
        {
            bytes -= cost(&line);
            self.first += 1;
        }
        self.set_bytes(bytes);
    }
}

/// Reads lines until the server closes the connection, a line is too long, or no one wants them. Then the connection is
/// closed. To shut it down would not do: a server whose window is full would wait until the source is dropped.
pub(super) fn read_lines(connection: Arc<TcpStream>, lines: &Lines) {
    read(&connection, lines);
    drop(connection);
}

fn read(connection: &TcpStream, lines: &Lines) {
    let mut socket = BufReader::new(connection);
    loop {
        let mut line = Vec::new();
        // One byte more, the end of a line that is as long as it may be.
        let read = socket.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        if read.is_err() || line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > LINE_BYTES_MAX {
            lines.lock().too_long = true;
            return;
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !lines.push(String::from_utf8_lossy(&line).into_owned()) {
            return;
        }
    }
    if lines.lock().closed {
        return;
    }
    tracing::warn!("the server of the socket source has closed the connection; no more lines come");
}
