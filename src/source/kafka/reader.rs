//! A lane's reader: the records of offset ranges, each once, in order per partition, and no other.
//!
//! One librdkafka client, used from one thread and kept across micro-batches, so that the prefetch of what
//! follows goes on between them: a range that starts where the last one ended costs no request. The end
//! of a range is proven by what comes out of the client: a record at or behind it, the end-of-partition
//! event, or a transaction's marker. Neither pause nor seek is used; a partition is only ever assigned at an
//! explicit offset and taken away (research: librdkafka purges and refetches on both).
//!
//! Per record there is no allocation, no lock of ours, no clock and no log line.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::client::{self, Events, LANE_MEMORY_BYTES, Role, failed, is_forbidden, is_missing, is_refusal};
use super::loss::{LossReason, LostRange, judge};
use super::native::{self, Batch, Client, Message, Queue, RequestError, Topic};
use super::slot::{Slot, Verdict};
use crate::config::kafka::KafkaOptions;
use crate::model::{Error, Header, OffsetRange, Record, Result, TopicPartition};

/// How many messages are taken from the client at once.
const BATCH: usize = 4096;
/// The wait for a message when none is there.
const WAIT: Duration = Duration::from_millis(10);
/// How often the client's errors, logs and tokens are served.
const SERVE_EVERY: Duration = Duration::from_millis(100);
/// After how long without progress it is asked whether the partitions still exist, and again after twice
/// that, and so on; a partition that librdkafka has forgotten is placed anew then.
const STALL: Duration = Duration::from_secs(5);
/// How long a login that is refused again and again is believed to mend itself.
const REFUSED_PATIENCE: Duration = Duration::from_secs(10);
/// How often one read may place a partition anew because the brokers contradict themselves.
const RESTARTS_MAX: u32 = 8;
/// The longest wait for an answer about a partition in trouble.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
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
    slots: Vec<Slot<Message>>,
    batch: Batch,
    places: HashMap<(usize, i32), usize>,
    topics: HashMap<Arc<str>, Topic>,
    queue: Queue,
    client: Arc<Client>,
    options: KafkaOptions,
    /// How many bytes of messages for later batches may be held.
    held_max: usize,
    served: Instant,
    headers: Vec<Header<'static>>,
    mended: Vec<String>,
}

/// A read under way.
struct Progress {
    report: ReadReport,
    open: usize,
    last: Instant,
    next_stall: Duration,
}

impl LaneReader {
    /// A reader within about `memory_bytes` of fetched messages ([`LANE_MEMORY_BYTES`] is a good number):
    /// half for what waits in the client's queue, half for what was fetched for later batches. Each broker
    /// may overshoot by one fetch. No broker is asked yet.
    ///
    /// # Errors
    /// `Config` if librdkafka refuses a property.
    pub fn open(options: &KafkaOptions, memory_bytes: usize) -> Result<LaneReader> {
        let half = memory_bytes.min(LANE_MEMORY_BYTES * 64) / 2;
        let client = client::open(options, Role::Lane { queue_bytes: half })?;
        Ok(LaneReader {
            slots: Vec::new(),
            batch: Batch::new(BATCH),
            places: HashMap::new(),
            topics: HashMap::new(),
            queue: Queue::new(Arc::clone(&client)),
            client,
            options: options.clone(),
            held_max: half,
            served: Instant::now(),
            headers: Vec::new(),
            mended: Vec::new(),
        })
    }

    /// Delivers the records of `ranges` (each partition at most once) to `on_record`.
    ///
    /// After an error nothing fetched is kept: the same ranges may be read again from their start, by this
    /// reader or another.
    ///
    /// # Errors
    /// `Data` if offsets are lost and `failOnDataLoss` holds, or a message cannot be decoded; `Unavailable`
    /// if nothing came for `kafkaConsumer.pollTimeoutMs` although offsets are outstanding; `Config` if the
    /// brokers refuse the login or the topic; `Internal` if the client breaks its order; `Unavailable` soon
    /// after `cancel` is set; and what `on_record` returns.
    pub fn read(
        &mut self,
        ranges: &[OffsetRange],
        cancel: &AtomicBool,
        mut on_record: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        let outcome = self.read_all(ranges, cancel, &mut on_record);
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }

    /// Drops everything fetched and stops fetching, until the next read.
    pub fn forget(&mut self) {
        while self.batch.pop().is_some() {}
        let assigned: Vec<usize> = (0..self.slots.len()).filter(|&at| self.slots[at].assigned).collect();
        if let Err(error) = self.release(&assigned) {
            warn!(%error, "partitions could not be taken from the Kafka client");
        }
        for slot in &mut self.slots {
            slot.upto = None;
        }
    }

    fn read_all(
        &mut self,
        ranges: &[OffsetRange],
        cancel: &AtomicBool,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        let mut progress =
            Progress { report: ReadReport::default(), open: 0, last: Instant::now(), next_stall: STALL };
        self.begin(ranges, &mut progress)?;
        self.deliver_held(&mut progress, on_record)?;
        while progress.open > 0 {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::unavailable("the read was told to stop before its end"));
            }
            self.queue.consume(&mut self.batch, WAIT);
            let now = Instant::now();
            if self.batch.len() == 0 {
                self.idle(&mut progress, now)?;
            } else {
                progress.last = now;
                progress.next_stall = STALL;
                self.take_batch(&mut progress, on_record)?;
            }
            if now.duration_since(self.served) >= SERVE_EVERY {
                self.serve(now)?;
            }
        }
        self.retire()?;
        progress.report.next = ranges.iter().map(|r| (r.partition.clone(), r.upto)).collect();
        Ok(progress.report)
    }

    /// Opens the ranges, and places the partitions that are not where their range starts.
    fn begin(&mut self, ranges: &[OffsetRange], progress: &mut Progress) -> Result<()> {
        for slot in &mut self.slots {
            slot.upto = None;
        }
        let mut elsewhere = Vec::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let at = self.slot_of(&range.partition)?;
            if self.slots[at].upto.is_some() {
                return Err(Error::internal(format!("a lane was given partition {} twice", range.partition)));
            }
            if !self.slots[at].open(range.from, range.upto) {
                elsewhere.push((at, range.from));
            }
            progress.open += 1;
        }
        self.place(&elsewhere)
    }

    fn slot_of(&mut self, partition: &TopicPartition) -> Result<usize> {
        if !self.topics.contains_key(&partition.topic) {
            let topic = Topic::new(&self.client, &partition.topic);
            let topic = topic.ok_or_else(|| {
                Error::internal(format!("{:?} cannot be the name of a topic", partition.topic))
            })?;
            self.topics.insert(Arc::clone(&partition.topic), topic);
        }
        let place = (self.topics[&partition.topic].identity(), partition.partition);
        let next = self.slots.len();
        let at = *self.places.entry(place).or_insert(next);
        if at == next {
            self.slots.push(Slot::new(partition.clone()));
        }
        Ok(at)
    }

    /// Assigns partitions at explicit offsets, taking away first those that are assigned elsewhere.
    fn place(&mut self, places: &[(usize, i64)]) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let assigned: Vec<usize> =
            places.iter().map(|&(at, _)| at).filter(|&at| self.slots[at].assigned).collect();
        self.release(&assigned)?;
        let mut list = TopicPartitionList::with_capacity(places.len());
        for &(at, offset) in places {
            let partition = &self.slots[at].partition;
            if !self.queue.take_partition(partition) {
                return Err(Error::internal(format!("partition {partition} has no queue")));
            }
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
                .map_err(|e| Error::internal(format!("{offset} is no offset of {partition}")).source(e))?;
        }
        self.client
            .incremental_assign(&list)
            .map_err(|e| Error::unavailable("the Kafka client does not take its partitions").source(e))?;
        for &(at, offset) in places {
            self.slots[at].restart(offset);
        }
        for (at, position) in self.positions() {
            if places.iter().any(|&(placed, _)| placed == at) {
                self.slots[at].position_at_assign = position;
            }
        }
        Ok(())
    }

    /// Takes partitions away from the client, and drops what was held of them.
    fn release(&mut self, slots: &[usize]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(slots.len());
        for &at in slots {
            let slot = &mut self.slots[at];
            slot.release();
            list.add_partition(&slot.partition.topic, slot.partition.partition);
        }
        let gone = |e| Error::unavailable("the Kafka client does not give back its partitions").source(e);
        self.client.incremental_unassign(&list).map_err(gone)?;
        // Stopping a partition resets where its messages go, in librdkafka's main thread. This question is
        // answered by that thread behind it: after it, the partition can be forwarded anew.
        self.client.assignment().map(drop).map_err(gone)
    }

    /// The client's own positions of the assigned partitions.
    fn positions(&self) -> Vec<(usize, i64)> {
        let Ok(list) = self.client.position() else { return Vec::new() };
        let known = |topic: &str| self.topics.get(topic).map(Topic::identity);
        let elements = list.elements();
        let positions = elements.iter().filter_map(|e| {
            let Offset::Offset(position) = e.offset() else { return None };
            Some((*self.places.get(&(known(e.topic())?, e.partition()))?, position))
        });
        positions.collect()
    }

    fn deliver_held(
        &mut self,
        progress: &mut Progress,
        on_record: &mut impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        for at in 0..self.slots.len() {
            while let Some(message) = self.slots[at].take_held() {
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
                at = self.places.get(&place).copied().unwrap_or(usize::MAX);
                last_place = place;
            }
            if at == usize::MAX {
                debug!("a message of a partition that was never asked for is dropped");
                continue;
            }
            if message.error().is_some() {
                self.take_error(at, &message, progress)?;
                continue;
            }
            let offset = message.offset();
            match self.slots[at].arrive(offset) {
                Verdict::Deliver => self.deliver(at, &message, &mut progress.report, on_record)?,
                Verdict::Hold => {
                    let size = message.value().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                    self.slots[at].hold(offset, size + HELD_OVERHEAD, message);
                    held = true;
                }
                Verdict::Drop => {}
                Verdict::Disorder => {
                    let slot = &self.slots[at];
                    return Err(Error::internal(format!(
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
    fn close_if_ended(&mut self, at: usize, progress: &mut Progress) {
        if self.slots[at].ended() {
            self.slots[at].close();
            progress.open -= 1;
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
        let partition = &self.slots[at].partition;
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
    /// a range asks for them. Bounded by the number of slots, since each round empties one.
    fn bound_held(&mut self) -> Result<()> {
        let mut held: usize = self.slots.iter().map(Slot::held_bytes).sum();
        while held > self.held_max {
            let largest = (0..self.slots.len()).max_by_key(|&at| self.slots[at].held_bytes());
            let Some(at) = largest else { break };
            debug!(partition = %self.slots[at].partition, "fetched too far ahead: fetched again later");
            held -= self.slots[at].held_bytes();
            self.release(&[at])?;
        }
        Ok(())
    }

    /// After a read: partitions whose held messages nobody asks for have moved to another lane.
    fn retire(&mut self) -> Result<()> {
        let mut moved = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.unused_reads = if slot.holds() { slot.unused_reads + 1 } else { 0 };
            if slot.assigned && slot.unused_reads > 3 {
                moved.push(at);
            }
        }
        self.release(&moved)
    }

    /// Serves the client's main queue.
    fn serve(&mut self, now: Instant) -> Result<()> {
        self.served = now;
        if native::serve(&self.client) {
            // A message there means that a partition was made anew inside the client and lost its way here:
            // what came is gone, so every open range goes on from what was seen.
            self.replace_open()?;
        }
        Ok(())
    }

    fn replace_open(&mut self) -> Result<()> {
        let open = self.slots.iter().enumerate().filter(|(_, slot)| slot.upto.is_some());
        let places: Vec<(usize, i64)> = open.map(|(at, slot)| (at, slot.seen())).collect();
        let others = self.slots.iter().enumerate().filter(|(_, s)| s.upto.is_none() && s.assigned);
        let others: Vec<usize> = others.map(|(at, _)| at).collect();
        self.release(&others)?;
        self.place(&places)
    }

    /// Nothing came: looks for ends that no record shows, and for reasons why nothing comes.
    fn idle(&mut self, progress: &mut Progress, now: Instant) -> Result<()> {
        for (at, position) in self.positions() {
            if self.slots[at].pass_position(position) {
                progress.last = now;
                self.close_if_ended(at, progress);
            }
        }
        let silent = now.duration_since(progress.last);
        if progress.open == 0 || silent < STALL.min(self.options.poll_timeout) {
            return Ok(());
        }
        let trouble = self.client.client_events().trouble();
        if silent >= REFUSED_PATIENCE && trouble.is_some_and(|t| is_refusal(t.code)) {
            return Err(self.silence("fetch messages"));
        }
        if silent >= self.options.poll_timeout {
            return Err(self.timed_out(silent));
        }
        if silent >= progress.next_stall {
            progress.next_stall = silent * 2;
            self.look_into_stall(progress)?;
        }
        Ok(())
    }

    fn silence(&self, what: &str) -> Error {
        let error =
            RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() };
        failed(&self.options, &self.client, what, &error)
    }

    fn timed_out(&self, silent: Duration) -> Error {
        let open = self.slots.iter().filter_map(|slot| Some((slot, slot.upto?)));
        let ranges: Vec<String> =
            open.map(|(slot, upto)| format!("{} [{}, {upto})", slot.partition, slot.seen())).collect();
        let why = self.client.client_events().trouble().map_or(String::new(), |t| format!(": {}", t.text));
        let shown = ranges.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if ranges.len() > 5 { format!(" and {} more", ranges.len() - 5) } else { String::new() };
        Error::unavailable(format!(
            "Kafka at {} brought nothing for {} s of {shown}{more}{why}",
            client::brokers(&self.options),
            silent.as_secs()
        ))
        .hint("check the brokers, or raise kafkaConsumer.pollTimeoutMs")
    }

    /// An event instead of a record: the end of the partition, or what is wrong with it.
    fn take_error(&mut self, at: usize, message: &Message, progress: &mut Progress) -> Result<()> {
        let Some(code) = message.error() else { return Ok(()) };
        let slot = &mut self.slots[at];
        slot.mark(message.offset());
        if code == RDKafkaErrorCode::PartitionEOF {
            if slot.assigned {
                slot.pass(message.offset());
            }
            self.close_if_ended(at, progress);
            return Ok(());
        }
        let out_of_range = matches!(
            code,
            RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::LogTruncation
                | RDKafkaErrorCode::OffsetOutOfRange
        );
        debug!(partition = %slot.partition, offset = message.offset(), error = message.error_text(), "fetch");
        if slot.upto.is_none() {
            // Only the prefetch is hit: the read that wants the partition will find out.
            let assigned = slot.assigned && (out_of_range || is_missing(code));
            return if assigned { self.release(&[at]) } else { Ok(()) };
        }
        if out_of_range {
            return self.out_of_range(at, progress);
        }
        if is_missing(code) {
            return self.look_into(&[at], progress);
        }
        self.client.client_events().keep(code, &message.error_text());
        let (partition, offset, text) = (slot.partition.clone(), message.offset(), message.error_text());
        match code {
            RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::NotImplemented => Err(Error::data(format!(
                "offset {offset} of partition {partition} cannot be decoded: {text}"
            ))),
            RDKafkaErrorCode::MessageSizeTooLarge => Err(Error::config(format!(
                "the message at offset {offset} of partition {partition} is too large to fetch: {text}"
            ))
            .hint("raise kafka.receive.message.max.bytes and kafka.max.partition.fetch.bytes")),
            code if is_forbidden(code) => Err(self.silence(&format!("read partition {partition}"))),
            _ => Ok(()),
        }
    }

    /// The next offset is not in the log: below its start, or behind its end.
    fn out_of_range(&mut self, at: usize, progress: &mut Progress) -> Result<()> {
        let slot = &self.slots[at];
        let (partition, next) = (slot.partition.clone(), slot.seen());
        let Some(upto) = slot.upto else { return Ok(()) };
        let bounds = self.client.fetch_watermarks(&partition.topic, partition.partition, ASK_TIMEOUT);
        let (start, end) = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                debug!(%error, %partition, "the bounds of the partition are not known");
                return self.look_into(&[at], progress);
            }
        };
        if (start..=end).contains(&next) {
            return self.restart(at);
        }
        let range = |to| OffsetRange { partition: partition.clone(), from: next, upto: to };
        let lost = if next < start {
            LostRange { range: range(start.min(upto)), reason: LossReason::AgedOut, found: Some(start) }
        } else {
            LostRange { range: range(upto), reason: LossReason::PartitionOffsetChanged, found: Some(end) }
        };
        let go_on = lost.range.upto;
        self.lose(lost, progress)?;
        if go_on < upto {
            return self.place(&[(at, go_on)]);
        }
        self.give_up_range(at, progress)
    }

    fn lose(&self, lost: LostRange, progress: &mut Progress) -> Result<()> {
        let lost = [lost];
        judge(&lost, self.options.fail_on_data_loss)?;
        let [lost] = lost;
        warn!(%lost, "offsets are lost");
        progress.report.lost.push(lost);
        Ok(())
    }

    /// The rest of the range is lost.
    fn give_up_range(&mut self, at: usize, progress: &mut Progress) -> Result<()> {
        if self.slots[at].assigned {
            self.release(&[at])?;
        }
        self.slots[at].close();
        progress.open -= 1;
        Ok(())
    }

    fn restart(&mut self, at: usize) -> Result<()> {
        let slot = &mut self.slots[at];
        slot.restarts += 1;
        let (restarts, next) = (slot.restarts, slot.seen());
        if restarts > RESTARTS_MAX {
            return Err(Error::unavailable(format!(
                "Kafka does not let offset {next} of partition {} be read, though it is in the log",
                slot.partition
            )));
        }
        self.place(&[(at, next)])
    }

    fn look_into_stall(&mut self, progress: &mut Progress) -> Result<()> {
        let open: Vec<usize> = (0..self.slots.len()).filter(|&at| self.slots[at].upto.is_some()).collect();
        debug!(partitions = open.len(), "nothing comes: the brokers are asked whether the partitions exist");
        self.look_into(&open, progress)
    }

    /// Asks whether partitions of open ranges still exist; those that do are placed anew.
    fn look_into(&mut self, slots: &[usize], progress: &mut Progress) -> Result<()> {
        let mut names: Vec<String> =
            slots.iter().map(|&at| self.slots[at].partition.topic.to_string()).collect();
        names.sort();
        names.dedup();
        let topics = match native::describe_topics(&self.client, &names, ASK_TIMEOUT, &|| false) {
            Ok(topics) => topics,
            Err(error) => {
                debug!(error = error.text, "the brokers do not say whether the partitions exist");
                return Ok(());
            }
        };
        for &at in slots {
            let slot = &self.slots[at];
            let (partition, from) = (slot.partition.clone(), slot.seen());
            let Some(upto) = slot.upto else { continue };
            let Some(topic) = topics.iter().find(|topic| *topic.name == *partition.topic) else { continue };
            let gone = match &topic.partitions {
                Ok(numbers) => !numbers.contains(&partition.partition),
                Err(code) => is_missing(*code),
            };
            if gone {
                let range = OffsetRange { partition, from, upto };
                let lost = LostRange { range, reason: LossReason::PartitionDeleted, found: None };
                self.lose(lost, progress)?;
                self.give_up_range(at, progress)?;
            } else {
                self.place(&[(at, from)])?;
            }
        }
        Ok(())
    }
}

/// The same allocation for headers of another lifetime: an empty vector collects in place.
fn reused<'a>(mut headers: Vec<Header<'_>>) -> Vec<Header<'a>> {
    headers.clear();
    headers.into_iter().map(|_| Header { key: "", value: None }).collect()
}
