//! A lane's reader: the records of offset ranges, each once, in order per partition, and no other.
//!
//! One librdkafka client, used from one thread and kept across micro-batches, so that the prefetch of what
//! follows goes on between them: a range that starts where the last one ended costs no request. The end
//! of a range is proven by what comes out of the client: a record at or behind it, the end-of-partition
//! event, or a transaction's marker. Neither pause nor seek is used; a partition is only ever assigned at an
//! explicit offset and taken away (research: librdkafka purges and refetches on both).
//!
//! Per record there is no allocation, no lock of ours, no clock and no log line.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::assignment::Assignment;
use super::client::{LANE_MEMORY_BYTES, Role};
use super::cursor::{Disposition, PartitionCursor};
use super::login::Login;
use super::loss::LostRange;
use super::native::{Batch, Message};
use super::standstill::Standstill;
use crate::config::kafka::KafkaOptions;
use crate::model::{Error, Header, MemoryAccount, MemoryClaim, OffsetRange, Record, Result, TopicPartition};
use crate::source::{Split, go_on};

/// How many messages are taken from the client at once.
const BATCH: usize = 4096;
/// The wait for a message when none is there.
const WAIT: Duration = Duration::from_millis(10);
/// How often the client's errors, logs and tokens are served.
const SERVE_EVERY: Duration = Duration::from_millis(100);
/// How much larger fetched bytes are in memory: about three times by decompression, twice by bookkeeping.
const EXPANSION: usize = 6;
/// What a held message costs beside its bytes.
const HELD_OVERHEAD: usize = 200;

/// What a read did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Records delivered.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// The next offset of each partition read: the ends of the ranges.
    pub next: Vec<(TopicPartition, i64)>,
    /// Offsets that could not be read (only without `failOnDataLoss`).
    pub lost: Vec<LostRange>,
}

/// Reads offset ranges for one lane. Not for several threads at once; it may move between reads.
pub struct LaneReader {
    // What holds messages stands above what holds the client: messages must go first.
    batch: Batch,
    pub(super) assignment: Assignment,
    pub(super) options: KafkaOptions,
    login: Arc<Login>,
    /// The version of the credentials that the client was made with.
    login_version: u64,
    role: Role,
    /// How many bytes of messages for later batches may be held.
    held_max: usize,
    /// What may wait in the client's queue, and what is held.
    claims: (MemoryClaim, MemoryClaim),
    pub(super) served: Instant,
    headers: Vec<Header<'static>>,
    mended: Vec<String>,
}

/// A read under way.
pub(super) struct Progress {
    pub(super) report: ReadReport,
    /// How many ranges have not ended.
    pub(super) open: usize,
    /// Whether a range has got on since this was last looked at: a record was delivered, or its position moved.
    pub(super) moved: bool,
    /// How long none has.
    pub(super) standstill: Standstill,
}

impl LaneReader {
    /// A reader within about `memory_bytes` of fetched messages ([`LANE_MEMORY_BYTES`] is a good number) for
    /// some of about `partitions` partitions: a quarter for what waits in the client's queue, the rest for
    /// what was fetched for later batches. Each broker may overshoot by one fetch. No broker is asked yet.
    ///
    /// # Errors
    /// `Config` if librdkafka refuses a property.
    pub fn open(options: &KafkaOptions, memory_bytes: usize, partitions: usize) -> Result<LaneReader> {
        LaneReader::open_as(options, Login::open(options)?, &MemoryAccount::new(memory_bytes), partitions)
    }

    /// The same with credentials that other clients of the source log in with too, within the limit of `memory`, which
    /// counts what is held. What may wait in the client's queue, where nobody else sees it, counts whole from the start.
    ///
    /// # Errors
    /// As for [`LaneReader::open`].
    pub(super) fn open_as(
        options: &KafkaOptions,
        login: Arc<Login>,
        memory: &Arc<MemoryAccount>,
        partitions: usize,
    ) -> Result<LaneReader> {
        let queue_bytes = memory.limit_bytes().min(LANE_MEMORY_BYTES * 64) / 4;
        let held_max = queue_bytes * 3;
        // While one partition's range is read, all others bring what comes after theirs: a fetch of each must
        // fit, grown by decompression and by what a message costs beside its bytes.
        let fetch_bytes = (held_max / (partitions.max(1) * EXPANSION)).clamp(64 << 10, 2 << 20);
        let role = Role::Lane { queue_bytes, fetch_bytes };
        let (client, login_version) = login.client(options, role)?;
        let mut claims = (memory.claim(), memory.claim());
        claims.0.set(queue_bytes);
        Ok(LaneReader {
            batch: Batch::new(BATCH),
            assignment: Assignment::new(client),
            options: options.clone(),
            login,
            login_version,
            role,
            held_max,
            claims,
            served: Instant::now(),
            headers: Vec::new(),
            mended: Vec::new(),
        })
    }

    /// Delivers the records of `ranges` (each partition at most once) to `on_record`, of whatever log is there.
    ///
    /// # Errors
    /// As [`LaneReader::read_splits`].
    pub fn read(
        &mut self,
        ranges: &[OffsetRange],
        cancel: &AtomicBool,
        on_record: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        let split = |range: &OffsetRange| Split { range: range.clone(), detail: String::new() };
        self.read_splits(&ranges.iter().map(split).collect::<Vec<_>>(), cancel, on_record)
    }

    /// Delivers the records of `splits` (each partition at most once) to `on_record`. What was fetched ahead is used only
    /// for splits that speak of the same log (see [`Split::detail`]).
    ///
    /// After an error nothing fetched is kept: the same ranges may be read again from their start, by this
    /// reader or another.
    ///
    /// # Errors
    /// `Data` if offsets are lost and `failOnDataLoss` holds, or a message cannot be decoded; `Unavailable`
    /// if nothing came for `kafkaConsumer.pollTimeoutMs` although offsets are outstanding; `Config` if the
    /// brokers refuse the login or the topic; `Unavailable` if the client breaks its order, and soon after
    /// `cancel` is set; `Conflict` if a log was cut while it was read; and what `on_record` returns.
    pub(super) fn read_splits(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        mut on_record: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        let outcome = self.read_all(splits, cancel, &mut on_record);
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }

    /// Drops everything fetched and stops fetching, until the next read.
    pub fn forget(&mut self) {
        while self.batch.pop().is_some() {}
        let assigned = self.assignment.assigned();
        if let Err(error) = self.assignment.release(&assigned) {
            warn!(%error, "partitions could not be taken from the Kafka client");
        }
        for slot in &mut self.assignment.slots {
            slot.until = None;
        }
        self.claims.1.set(0);
    }

    fn read_all(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        self.log_in_again()?;
        let mut progress = Progress {
            report: ReadReport::default(),
            open: 0,
            moved: false,
            standstill: Standstill::begin(Instant::now(), self.options.poll_timeout),
        };
        self.begin(splits, &mut progress)?;
        self.deliver_held(&mut progress, on_record)?;
        while progress.open > 0 {
            go_on(cancel)?;
            self.assignment.round += 1;
            self.assignment.queue.consume(&mut self.batch, WAIT);
            let came = !self.batch.is_empty();
            self.take_batch(&mut progress, on_record)?;
            let now = Instant::now();
            if !progress.moved {
                self.idle(&mut progress, now)?;
            }
            let moved = std::mem::take(&mut progress.moved);
            if moved {
                progress.standstill = Standstill::begin(now, self.options.poll_timeout);
            }
            if now.duration_since(self.served) >= SERVE_EVERY {
                self.serve(now, came || moved)?;
            }
        }
        self.retire()?;
        progress.report.next = splits.iter().map(|s| (s.range.partition.clone(), s.range.until)).collect();
        Ok(progress.report)
    }

    /// Makes the client again if its credentials have changed since; what was fetched ahead is fetched again.
    fn log_in_again(&mut self) -> Result<()> {
        if self.login.version() != self.login_version {
            self.forget();
            let (client, version) = self.login.client(&self.options, self.role)?;
            self.assignment = Assignment::new(client);
            self.login_version = version;
        }
        Ok(())
    }

    /// Opens the ranges, and places the partitions that are not where their range starts, or not of its log.
    fn begin(&mut self, splits: &[Split], progress: &mut Progress) -> Result<()> {
        for slot in &mut self.assignment.slots {
            slot.until = None;
        }
        let mut elsewhere = Vec::new();
        for Split { range, detail } in splits.iter().filter(|split| !split.range.is_empty()) {
            let at = self.assignment.slot_of(&range.partition)?;
            if self.assignment.slots[at].until.is_some() {
                return Err(Error::internal(format!("a lane was given partition {} twice", range.partition)));
            }
            if !self.assignment.slots[at].open(range.from, range.until, detail) {
                elsewhere.push((at, range.from));
            }
            progress.open += 1;
        }
        self.assignment.assign(&elsewhere)
    }

    fn deliver_held(
        &mut self,
        progress: &mut Progress,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        for at in 0..self.assignment.slots.len() {
            while let Some(message) = self.assignment.slots[at].take_held() {
                progress.moved = true;
                self.deliver(at, &message, &mut progress.report, on_record)?;
            }
            self.close_if_ended(at, progress);
        }
        Ok(())
    }

    /// Deals with everything in the batch.
    fn take_batch(
        &mut self,
        progress: &mut Progress,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut last_place = (0, -1);
        let mut at = usize::MAX;
        let mut held = false;
        while let Some(message) = self.batch.pop() {
            let place = message.place();
            if place != last_place {
                at = self.assignment.find(place).unwrap_or(usize::MAX);
                last_place = place;
            }
            if at == usize::MAX {
                debug!("a message of a partition that was never asked for is dropped");
                continue;
            }
            // Placed anew by an event of this very batch: what stands behind it would come twice.
            if self.assignment.slots[at].is_leftover(self.assignment.round) {
                continue;
            }
            if message.error().is_some() {
                self.take_error(at, &message, progress)?;
                continue;
            }
            let offset = message.offset();
            match self.assignment.slots[at].arrive(offset) {
                Disposition::Deliver => {
                    progress.moved = true;
                    self.deliver(at, &message, &mut progress.report, on_record)?;
                }
                Disposition::Hold => {
                    let size = message.value().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                    self.assignment.slots[at].hold(offset, size + HELD_OVERHEAD, message);
                    held = true;
                }
                Disposition::Drop => {}
                Disposition::Disorder => {
                    let slot = &self.assignment.slots[at];
                    // Nothing of this read is kept, so that it may be tried again.
                    return Err(Error::unavailable(format!(
                        "the Kafka client delivered offset {offset} of partition {} after offset {}",
                        slot.partition,
                        slot.seen() - 1
                    )));
                }
            }
            self.close_if_ended(at, progress);
        }
        if held { self.bound_held() } else { Ok(()) }
    }

    #[inline]
    pub(super) fn close_if_ended(&mut self, at: usize, progress: &mut Progress) {
        if self.assignment.slots[at].ended() {
            self.assignment.slots[at].close();
            progress.open -= 1;
            progress.moved = true;
        }
    }

    #[inline]
    fn deliver(
        &mut self,
        at: usize,
        message: &Message,
        report: &mut ReadReport,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let partition = &self.assignment.slots[at].partition;
        let (timestamp_ms, timestamp_type) = message.timestamp();
        let (key, value) = (message.key(), message.value());
        report.records += 1;
        report.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
        let mut record = Record {
            topic: &partition.topic,
            partition: partition.partition,
            offset: message.offset(),
            timestamp_ms,
            timestamp_type,
            key,
            value,
            headers: None,
        };
        if !self.options.include_headers {
            return on_record(&record);
        }
        let mut headers = reused(std::mem::take(&mut self.headers));
        let outcome = {
            let some = message.headers(&mut self.mended, &mut headers);
            record.headers = some.then_some(headers.as_slice());
            on_record(&record)
        };
        self.headers = reused(headers);
        outcome
    }

    /// Too much held for later batches: the partitions with the most are taken away, and fetched again when
    /// a range asks for them. What is left counts as held. Bounded by the number of slots, since each round empties one.
    fn bound_held(&mut self) -> Result<()> {
        let mut held: usize = self.assignment.slots.iter().map(PartitionCursor::held_bytes).sum();
        while held > self.held_max {
            let largest =
                (0..self.assignment.slots.len()).max_by_key(|&at| self.assignment.slots[at].held_bytes());
            let Some(at) = largest else { break };
            debug!(partition = %self.assignment.slots[at].partition, "fetched too far ahead: fetched again later");
            held -= self.assignment.slots[at].held_bytes();
            self.assignment.release(&[at])?;
        }
        self.claims.1.set(held);
        Ok(())
    }

    /// After a read: partitions whose held messages nobody asks for have moved to another lane.
    fn retire(&mut self) -> Result<()> {
        let mut moved = Vec::new();
        for (at, slot) in self.assignment.slots.iter_mut().enumerate() {
            slot.unused_reads = if slot.holds() { slot.unused_reads + 1 } else { 0 };
            if slot.assigned && slot.unused_reads > 3 {
                moved.push(at);
            }
        }
        self.assignment.release(&moved)?;
        self.bound_held()
    }
}

/// The same allocation for headers of another lifetime: an empty vector collects in place.
fn reused<'a>(mut headers: Vec<Header<'_>>) -> Vec<Header<'a>> {
    headers.clear();
    headers.into_iter().map(|_| Header { key: "", value: None }).collect()
}
