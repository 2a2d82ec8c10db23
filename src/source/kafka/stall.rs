//! What a reader does when no record comes: ends that no record shows, and everything that can be wrong with a
//! partition while it is read.
//!
//! Each wait here is bounded: by the end-of-partition event or the client's position, by asking whether the
//! partition still exists and reaches the end of its range, and at last by `kafkaConsumer.pollTimeoutMs`, or when it is
//! decided whether a partition that the brokers do not know is gone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, warn};

use super::answer::{is_forbidden, is_missing, is_refusal};
use super::client::{self, failed};
use super::cursor::PartitionCursor;
use super::doubt::DOUBT_TIMEOUT;
use super::loss::{LossReason, LostRange, check_data_loss};
use super::native::{self, Message, OffsetSpec, RequestError};
use super::reader::{LaneReader, Progress};
use super::standstill::STALL;
use crate::model::{Error, OffsetRange, Result};

/// How long a login that is refused again and again is believed to mend itself.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(10);
/// How often one read may place a partition anew because the brokers contradict themselves.
const RESTARTS_MAX: u32 = 8;
/// The longest wait for an answer about a partition in trouble.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How librdkafka says that a log was cut: in words only, for the code is that of every offset that it cannot go on from.
const CUT: &str = "log truncation detected";

impl LaneReader {
    /// Serves the client's main queue between two reads: it has no bound, and statistics, errors and log lines wait there.
    pub(super) fn rest(&mut self) {
        native::serve(&self.assignment.client);
    }

    /// Serves the client's main queue. `works`: something has just come, so past trouble is over.
    pub(super) fn serve(&mut self, now: Instant, works: bool) -> Result<()> {
        self.served = now;
        native::serve(&self.assignment.client);
        if works {
            self.assignment.client.context().forget();
        }
        self.mend_strays()
    }

    /// A partition that was made anew inside the client lost its way to our queue: what came is gone, and the
    /// client's position with it, so every open range goes on from what was seen, and the rest is dropped.
    fn mend_strays(&mut self) -> Result<()> {
        if !self.assignment.client.context().take_stray() {
            return Ok(());
        }
        debug!("the Kafka client created a partition again: all are placed again");
        let slots = &self.assignment.slots;
        let places: Vec<(usize, i64)> =
            self.assignment.open().into_iter().map(|at| (at, slots[at].seen())).collect();
        self.assignment.release(&self.assignment.assigned())?;
        self.assignment.assign(&places)
    }

    /// No range got on: looks for ends that no record shows, and for reasons why nothing comes.
    pub(super) fn idle(&mut self, progress: &mut Progress, now: Instant) -> Result<()> {
        self.mend_strays()?;
        for (at, position) in self.assignment.positions() {
            let slot = &mut self.assignment.slots[at];
            if slot.pass_position(position) {
                progress.moved |= slot.until.is_some();
                self.close_if_ended(at, progress);
            }
        }
        if progress.moved {
            return Ok(());
        }
        let silent = progress.standstill.elapsed(now);
        let trouble = || self.assignment.client.context().trouble();
        if silent >= REFUSED_TIMEOUT && trouble().is_some_and(|t| is_refusal(t.code)) {
            return Err(self.silence("fetch messages"));
        }
        if progress.standstill.is_look_due(now) {
            self.look_into_stall(progress, now)?;
            progress.standstill.looked(now, Instant::now(), self.is_in_doubt());
        }
        if !progress.moved && progress.standstill.is_over(now) && !self.is_in_doubt() {
            return Err(self.timed_out(silent));
        }
        Ok(())
    }

    /// Whether the brokers do not know a partition of an open range, and the next looks will show whether to believe it: so
    /// long a read lasts, whatever its timeout, for the next one would begin to doubt anew.
    fn is_in_doubt(&self) -> bool {
        let mut doubts = self.assignment.slots.iter().filter_map(PartitionCursor::missing);
        doubts.any(|doubt| doubt.elapsed(Instant::now()) < DOUBT_TIMEOUT + STALL * 2)
    }

    fn silence(&self, what: &str) -> Error {
        let error =
            RequestError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() };
        failed(&self.options, &self.assignment.client, what, &error)
    }

    fn timed_out(&self, silent: Duration) -> Error {
        let open = self.assignment.slots.iter().filter_map(|slot| Some((slot, slot.until?)));
        let ranges: Vec<String> =
            open.map(|(slot, until)| format!("{} [{}, {until})", slot.partition, slot.seen())).collect();
        let why =
            self.assignment.client.context().trouble().map_or(String::new(), |t| format!(": {}", t.text));
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
    pub(super) fn take_error(&mut self, at: usize, message: &Message, progress: &mut Progress) -> Result<()> {
        let Some(code) = message.error() else { return Ok(()) };
        let slot = &mut self.assignment.slots[at];
        slot.mark(message.offset());
        if code == RDKafkaErrorCode::PartitionEOF {
            if slot.assigned && slot.pass(message.offset()) {
                progress.moved |= slot.until.is_some();
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
        if slot.until.is_none() {
            // Only the prefetch is hit: the read that wants the partition will find out.
            let assigned = slot.assigned && (out_of_range || is_missing(code));
            return if assigned { self.assignment.release(&[at]) } else { Ok(()) };
        }
        if out_of_range && message.error_text().contains(CUT) {
            // What was delivered of the range may be gone, and what stands there now was never seen.
            return Err(Error::conflict(format!(
                "the log of partition {} was cut while it was read: {}",
                slot.partition,
                message.error_text()
            )));
        }
        if out_of_range {
            return self.out_of_range(at, progress);
        }
        if is_missing(code) {
            return self.look_into(&[at], progress).map(drop);
        }
        self.assignment.client.context().keep(code, &message.error_text());
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
        let slot = &self.assignment.slots[at];
        let (partition, next) = (slot.partition.clone(), slot.seen());
        let Some(until) = slot.until else { return Ok(()) };
        let bounds =
            self.assignment.client.fetch_watermarks(&partition.topic, partition.partition, ASK_TIMEOUT);
        let (start, end) = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                debug!(%error, %partition, "the bounds of the partition are not known");
                return self.look_into(&[at], progress).map(drop);
            }
        };
        if (start..=end).contains(&next) {
            return self.restart(at);
        }
        let range = |to| OffsetRange { partition: partition.clone(), from: next, until: to };
        let lost = if next < start {
            LostRange { range: range(start.min(until)), reason: LossReason::AgedOut, found: Some(start) }
        } else {
            LostRange { range: range(until), reason: LossReason::PartitionOffsetChanged, found: Some(end) }
        };
        let go_on = lost.range.until;
        self.lose(lost, progress)?;
        if go_on < until {
            return self.assignment.assign(&[(at, go_on)]);
        }
        self.give_up_range(at, progress)
    }

    fn lose(&self, lost: LostRange, progress: &mut Progress) -> Result<()> {
        let lost = [lost];
        check_data_loss(&lost, self.options.fail_on_data_loss)?;
        let [lost] = lost;
        warn!(%lost, "offsets are lost");
        progress.report.lost.push(lost);
        progress.moved = true;
        Ok(())
    }

    /// The rest of the range is lost.
    fn give_up_range(&mut self, at: usize, progress: &mut Progress) -> Result<()> {
        if self.assignment.slots[at].assigned {
            self.assignment.release(&[at])?;
        }
        self.assignment.slots[at].close();
        progress.open -= 1;
        Ok(())
    }

    fn restart(&mut self, at: usize) -> Result<()> {
        let slot = &mut self.assignment.slots[at];
        slot.restarts += 1;
        let (restarts, next) = (slot.restarts, slot.seen());
        if restarts > RESTARTS_MAX {
            return Err(Error::unavailable(format!(
                "Kafka does not let offset {next} of partition {} be read, though it is in the log",
                slot.partition
            )));
        }
        self.assignment.assign(&[(at, next)])
    }

    fn look_into_stall(&mut self, progress: &mut Progress, now: Instant) -> Result<()> {
        let open = self.assignment.open();
        if progress.standstill.is_told(now) {
            let first = open.first().map(|&at| self.assignment.slots[at].partition.to_string());
            warn!(
                first,
                partitions = open.len(),
                seconds = progress.standstill.elapsed(now).as_secs(),
                "no records arrive from partitions that a micro-batch still has to read; asking the brokers about them"
            );
        }
        let there = self.look_into(&open, progress)?;
        self.look_at_ends(&there, progress)
    }

    /// Asks whether the logs of open ranges still reach the ends of these. The high watermark counts: an open
    /// transaction holds back the last stable offset, and nothing is lost by it.
    fn look_at_ends(&mut self, slots: &[usize], progress: &mut Progress) -> Result<()> {
        let name = |&at: &usize| self.assignment.slots[at].partition.clone();
        let asked: Vec<_> = slots.iter().map(name).map(|p| (p, OffsetSpec::Latest)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let client = &self.assignment.client;
        let ends: HashMap<_, _> = match native::list_offsets(client, &asked, false, ASK_TIMEOUT, &|| false) {
            Ok(answers) => answers.into_iter().collect(),
            Err(error) => {
                debug!(error = error.text, "the brokers do not say where the partitions end");
                HashMap::new()
            }
        };
        for &at in slots {
            let slot = &mut self.assignment.slots[at];
            let end = ends.get(&slot.partition).and_then(|answer| Some(answer.ok()?.offset));
            let (true, Some(until)) = (slot.is_cut(end), slot.until) else { continue };
            let range = OffsetRange { partition: slot.partition.clone(), from: slot.seen(), until };
            let lost = LostRange { range, reason: LossReason::PartitionOffsetChanged, found: end };
            self.lose(lost, progress)?;
            self.give_up_range(at, progress)?;
        }
        Ok(())
    }

    /// Asks whether partitions of open ranges still exist; those that do are placed anew, and returned. That one does not is
    /// believed when it was said for [`DOUBT_TIMEOUT`]: a broker that has just started, or lags behind, may say so.
    fn look_into(&mut self, slots: &[usize], progress: &mut Progress) -> Result<Vec<usize>> {
        let mut names: Vec<String> =
            slots.iter().map(|&at| self.assignment.slots[at].partition.topic.to_string()).collect();
        names.sort();
        names.dedup();
        let began = Instant::now();
        let topics = match native::describe_topics(&self.assignment.client, &names, ASK_TIMEOUT, &|| false) {
            Ok(topics) => topics,
            Err(error) => {
                debug!(error = error.text, "the brokers do not say whether the partitions exist");
                return Ok(Vec::new());
            }
        };
        let mut there = Vec::new();
        for &at in slots {
            let slot = &self.assignment.slots[at];
            let (partition, from) = (slot.partition.clone(), slot.seen());
            let Some(until) = slot.until else { continue };
            let Some(topic) = topics.iter().find(|topic| *topic.name == *partition.topic) else { continue };
            let gone = match &topic.partitions {
                Ok(numbers) => !numbers.contains(&partition.partition),
                Err(code) => is_missing(*code),
            };
            let slot = &mut self.assignment.slots[at];
            if gone {
                if !slot.miss(began, Instant::now()).is_over() {
                    debug!(%partition, "the brokers do not know the partition; it is not believed yet");
                    continue;
                }
                let range = OffsetRange { partition, from, until };
                let lost = LostRange { range, reason: LossReason::PartitionDeleted, found: None };
                self.lose(lost, progress)?;
                self.give_up_range(at, progress)?;
            } else {
                slot.find();
                self.assignment.assign(&[(at, from)])?;
                there.push(at);
            }
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::testing::options;

    #[test]
    fn the_words_for_a_log_that_was_cut_are_those_of_librdkafka() {
        let said = RDKafkaErrorCode::LogTruncation.to_string();
        assert!(said.contains(CUT), "{said}");
    }

    #[test]
    fn what_a_client_says_of_itself_does_not_pile_up_while_nothing_is_read() {
        let mut options = options("127.0.0.1:1");
        options.client.insert("statistics.interval.ms".into(), "20".into());
        let mut reader = LaneReader::open(&options, 4 << 20, 1).unwrap();
        let started = Instant::now();
        while native::queued(&reader.assignment.client) < 5 {
            assert!(started.elapsed() < Duration::from_secs(30), "no statistics came");
            std::thread::sleep(Duration::from_millis(10));
        }
        reader.rest();
        assert!(native::queued(&reader.assignment.client) < 5);
    }
}
