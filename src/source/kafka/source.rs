//! The Kafka source behind the trait of all sources: positions as JSON, limits, ids of topics, lost offsets.
//!
//! The order of a look at the brokers, and what follows from it, is in [`super::admission`]; what a loss is in
//! [`super::loss`]; who reads what in [`super::splits`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::admission::{self, AvailableOffsets};
use super::left::{Known, Left};
use super::loss::check_data_loss;
use super::mirror::Mirror;
use super::{KafkaSource, LaneReader, assign_splits, limit, loss};
use crate::config::kafka::{Isolation, Subscription};
use crate::model::numbers::counted;
use crate::model::{Error, Loss, MemoryAccount, Notes, Offset, OffsetRange, Offsets, Result, TopicPartition};
use crate::source::{
    Admission, Available, From, Intake, Position, ReadOutcome, Source, SourceRange, Split, SplitReader,
};

/// The note of partitions that do not start where the batch before ended, with their start offsets.
const STARTS: &str = "startOffsets";
/// The note of the isolation level that the end offsets were asked with.
const ISOLATION: &str = "isolationLevel";
/// The note of the ids of the topics that are read, as far as the brokers gave them (KIP-516).
const TOPIC_IDS: &str = "topicIds";
/// The note of the leader epochs under which the offsets were known, in the form of offsets, as far as the brokers gave
/// them (KIP-320).
const LEADER_EPOCHS: &str = "leaderEpochs";
/// The note of the partitions that vanished or are not subscribed any more, with what was read of them.
const LEFT: &str = "leftPartitions";

impl Source for KafkaSource {
    fn description(&self) -> String {
        let inner = match &self.options().subscription {
            Subscription::Topics(topics) => format!("Subscribe[{}]", topics.join(", ")),
            Subscription::Pattern(pattern) => format!("SubscribePattern[{pattern}]"),
            Subscription::Assign(partitions) => {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                format!("Assign[{}]", names.join(", "))
            }
        };
        format!("KafkaV2[{inner}]")
    }

    fn initial_offset(&mut self) -> Result<Offset> {
        Ok(self.initial_offsets()?.to_offset())
    }

    fn latest_offset(&mut self, from: &Position, admission: &Admission<'_>) -> Result<Available> {
        let known = known(from)?;
        let (position, known_ids) = (known.offsets.clone(), known.ids.clone());
        let bound = admission.last().map(offsets).transpose()?;
        let left = left(&from.notes)?;
        let Some(available) = admission::available(self, known, left, bound.as_ref())? else {
            return Ok(Available::undecided(from));
        };
        let mut notes = from.notes.clone();
        // They are of the batch that the position is behind.
        notes.remove(STARTS);
        let mut pinned = known_ids.clone();
        for (name, id) in &available.topic_ids {
            // Before the first batch, pin the ids of the topics on which the initial offsets were resolved.
            pinned.entry(name.clone()).or_insert_with(|| id.clone());
        }
        note_topic_ids(&mut notes, &pinned);
        if available.lost.is_empty() {
            note_leader_epochs(&mut notes, &available.latest.epochs);
        }
        let batch_end = self.end_of_batch(&available, admission, bound.as_ref());
        let end = batch_end.as_ref().map(|end| limit(&available.start, end, admission.part_max));
        let lag = end.as_ref().map_or(0, |end| end.distance_to(&available.latest.end));
        let is_cut = lag > 0 && !admission.unlimited && self.options().max_offsets_per_trigger.is_none();
        let remainder = batch_end.filter(|batch_end| end.as_ref() != Some(batch_end));
        Ok(Available {
            latest: available.latest.end.to_offset(),
            lag,
            is_cut,
            remainder: remainder.map(|end| end.to_offset()),
            range: end.map(|end| self.range(&position, known_ids, &available, &end)),
            notes,
            losses: available.lost.iter().map(Loss::from).collect(),
            undecided: false,
        })
    }

    fn check_start(&self, from: Option<&Offset>) -> Result<()> {
        match from {
            None => self.initial_offsets().map(drop),
            Some(from) => {
                let view = self.topics.view();
                self.check_missing(&view, &offsets(from)?)?;
                if !view.missing.is_empty() {
                    tracing::warn!(
                        "subscribed topics that do not exist are left out: {}",
                        view.missing.join(", ")
                    );
                }
                Ok(())
            }
        }
    }

    fn ends(&mut self) -> Result<Option<Offset>> {
        Ok(Some(self.end_offsets()?.to_offset()))
    }

    fn splits(&self, range: &SourceRange, lost: &[Loss], lanes: usize) -> Result<Vec<Vec<Split>>> {
        let mut ranges = ranges(range)?;
        let lost: Vec<OffsetRange> = lost.iter().map(|loss| loss.range.clone()).collect();
        // What is lost of a range is all of it, or its tail: one piece is left at most.
        ranges = ranges.iter().flat_map(|range| range.minus(&lost)).collect();
        let shares = assign_splits(&ranges, lanes, self.options().min_partitions);
        let (ids, epochs) = (topic_ids(&range.notes)?, leader_epochs(&range.notes)?);
        let split = |range: OffsetRange| Split { detail: log_of(&range.partition, &ids, &epochs), range };
        Ok(shares.into_iter().map(|share| share.into_iter().map(split).collect()).collect())
    }

    fn reader(&self, memory: &Arc<MemoryAccount>, pinned: Option<&Notes>) -> Result<Box<dyn SplitReader>> {
        let mut options = self.options().clone();
        if let Some(level) = pinned.map(isolation).transpose()?.flatten() {
            options.isolation = level;
        }
        let login = Arc::clone(&self.cluster.login);
        Ok(Box::new(LaneReader::open_as(&options, login, memory, self.partitions().len())?))
    }

    fn committed(&mut self, until: &Offset) -> Result<()> {
        let Some(group) = self.options().commit_group.clone() else { return Ok(()) };
        if self.mirror.is_none() {
            let login = Arc::clone(&self.cluster.login);
            self.mirror = Some(Mirror::start(self.options(), &group, login)?);
        }
        if let Some(mirror) = &self.mirror {
            mirror.note(offsets(until)?);
        }
        Ok(())
    }

    fn mirrored(&self) -> Option<Offset> {
        Some(self.mirror.as_ref()?.take_news()?.to_offset())
    }

    fn differs(&self, notes: &Notes) -> Result<Option<String>> {
        let level = isolation(notes)?.filter(|level| *level != self.options().isolation);
        Ok(level.map(|level| format!("isolation level {}", level.as_str())))
    }

    fn verify(&self, range: &SourceRange, lost: &[Loss]) -> Result<()> {
        let mut known = topic_ids(&range.notes)?;
        known.retain(|name, _| !lost.iter().any(|loss| *loss.range.partition.topic == **name));
        if let Some(name) = loss::recreated(&known, &self.topic_ids_now(&known)?).first() {
            return Err(Error::conflict(format!(
                "topic {name} was deleted and recreated while the micro-batch was read"
            )));
        }
        let mut read = ranges(range)?;
        read.retain(|range| !lost.iter().any(|loss| loss.range.partition == range.partition));
        match admission::truncated(self, &read, &leader_epochs(&range.notes)?)?.first() {
            None => Ok(()),
            Some(cut) => Err(Error::conflict(format!("{cut}: while the micro-batch was read"))),
        }
    }

    fn replay(&mut self, range: SourceRange) -> Result<(SourceRange, Vec<Loss>)> {
        let end = offsets(&range.end)?;
        let mut start = offsets(&range.start)?;
        // Older versions copied the starts of a batch into the plan of the one without data behind it.
        if range.start != range.end {
            start.0.extend(starts(&range.notes)?.0);
        }
        let (start, mut lost) = admission::start_added(self, start, &end)?;
        lost.extend(admission::gone(self, &start, &end, &topic_ids(&range.notes)?)?);
        let mut planned = start.ranges_to(&end)?;
        planned.retain(|range| !lost.iter().any(|gone| gone.range.partition == range.partition));
        let truncated = admission::truncated(self, &planned, &leader_epochs(&range.notes)?)?;
        check_data_loss(&truncated, self.options().fail_on_data_loss)?;
        lost.extend(truncated);
        Ok((SourceRange { start: start.to_offset(), ..range }, lost.iter().map(Loss::from).collect()))
    }

    fn metrics(&self) -> BTreeMap<&'static str, String> {
        let throttled = self.cluster.login.take_throttle_ms();
        throttled.map(|ms| ("throttleTimeMs", ms.to_string())).into_iter().collect()
    }

    fn preview(&mut self, from: From<'_>) -> Result<String> {
        let (start, reach, end) = match from {
            From::New => {
                let start = self.initial_offsets()?;
                let latest = self.latest(&start)?;
                admission::refuse_beyond_end(self, &start, &latest)?;
                (start, latest.end.clone(), latest.end)
            }
            From::Position(position) => {
                let available = admission::awaited(self, &known(position)?, &left(&position.notes)?)?;
                (available.start, available.latest.end.clone(), available.latest.end)
            }
            From::Planned(range) => {
                let (range, gone) = self.replay(range.clone())?;
                let mut start = offsets(&range.start)?;
                let latest = self.latest(&start)?.end;
                let whole = start.clone();
                start.0.retain(|partition, _| !gone.iter().any(|loss| loss.range.partition == *partition));
                admission::refuse_aged_out(self, &start, &offsets(&range.end)?)?;
                return Ok(partitions_and_offsets(&whole, &latest));
            }
        };
        admission::refuse_aged_out(self, &start, &reach)?;
        Ok(partitions_and_offsets(&start, &end))
    }
}

impl KafkaSource {
    /// How far the next batch reaches, whether it fits in memory or not; `None` if there is nothing for it.
    fn end_of_batch(
        &mut self,
        available: &AvailableOffsets,
        admission: &Admission<'_>,
        bound: Option<&Offsets>,
    ) -> Option<Offsets> {
        let start = &available.start;
        let reach = admission::reach(start, &available.latest.end, bound);
        let max = match (admission.is_unlimited(), self.options().max_offsets_per_trigger) {
            (true, _) => None,
            (false, Some(max)) => Some(max),
            (false, None) => admission.default_max,
        };
        if available.lost.iter().any(|loss| available.position.get(&loss.range.partition).is_some()) {
            // A loss is recorded by a batch even if there is nothing else to write.
            return Some(limit(start, &reach, max));
        }
        if !admission::advances(start, &reach) {
            return None;
        }
        if let Some(gate) = &mut self.min_offsets
            && !admission.is_unlimited()
            && !gate.permits(start, &reach, Instant::now())
        {
            return None;
        }
        Some(limit(start, &reach, max))
    }

    fn range(
        &self,
        position: &Offsets,
        mut ids: BTreeMap<String, String>,
        available: &AvailableOffsets,
        end: &Offsets,
    ) -> SourceRange {
        let mut notes = Notes::from([(ISOLATION.to_owned(), self.options().isolation.as_str().to_owned())]);
        let new = available.start.0.iter().filter(|(p, offset)| position.get(p) != Some(**offset));
        let new = Offsets(new.map(|(p, offset)| (p.clone(), *offset)).collect());
        if !new.0.is_empty() {
            notes.insert(STARTS.to_owned(), new.to_json());
        }
        ids.extend(available.topic_ids.clone());
        ids.retain(|name, _| end.0.keys().any(|partition| *partition.topic == **name));
        note_topic_ids(&mut notes, &ids);
        let mut epochs = available.latest.epochs.clone();
        epochs.0.retain(|partition, _| end.get(partition).is_some());
        note_leader_epochs(&mut notes, &epochs);
        if !available.left.is_empty() {
            let text = serde_json::to_string(&available.left).expect("names and numbers are always JSON");
            notes.insert(LEFT.to_owned(), text);
        }
        SourceRange { start: available.start.to_offset(), end: end.to_offset(), notes }
    }
}

/// The next offset of each partition.
fn offsets(offset: &Offset) -> Result<Offsets> {
    Offsets::from_json(offset.as_json()).map_err(|cause| {
        Error::config(format!(
            "the checkpoint holds the offset of another source than Kafka: {offset}; it is of another query"
        ))
        .source(cause)
        .hint("give the stream a checkpointLocation of its own")
    })
}

fn ranges(range: &SourceRange) -> Result<Vec<OffsetRange>> {
    offsets(&range.start)?.ranges_to(&offsets(&range.end)?)
}

/// Start offsets of partitions that do not start where the batch before ended.
fn starts(notes: &Notes) -> Result<Offsets> {
    match notes.get(STARTS) {
        Some(text) => Offsets::from_json(text).map_err(|e| damaged(STARTS, e)),
        None => Ok(Offsets::default()),
    }
}

/// The ids of the topics by name; empty where the brokers gave none, and in a plan of Spark.
fn topic_ids(notes: &Notes) -> Result<BTreeMap<String, String>> {
    match notes.get(TOPIC_IDS) {
        Some(text) => serde_json::from_str(text).map_err(|e| damaged(TOPIC_IDS, e)),
        None => Ok(BTreeMap::new()),
    }
}

fn note_topic_ids(notes: &mut Notes, ids: &BTreeMap<String, String>) {
    if !ids.is_empty() {
        let text = serde_json::to_string(ids).expect("strings are always JSON");
        notes.insert(TOPIC_IDS.to_owned(), text);
    }
}

/// The leader epochs of partitions; empty where the brokers gave none, and in a plan of Spark.
fn leader_epochs(notes: &Notes) -> Result<Offsets> {
    match notes.get(LEADER_EPOCHS) {
        Some(text) => Offsets::from_json(text).map_err(|e| damaged(LEADER_EPOCHS, e)),
        None => Ok(Offsets::default()),
    }
}

fn note_leader_epochs(notes: &mut Notes, epochs: &Offsets) {
    if epochs.0.is_empty() {
        notes.remove(LEADER_EPOCHS);
    } else {
        notes.insert(LEADER_EPOCHS.to_owned(), epochs.to_json());
    }
}

/// The partitions that were left; none in a plan of Spark.
fn left(notes: &Notes) -> Result<Left> {
    match notes.get(LEFT) {
        Some(text) => serde_json::from_str(text).map_err(|e| damaged(LEFT, e)),
        None => Ok(Left::default()),
    }
}

fn known(position: &Position) -> Result<Known> {
    let notes = &position.notes;
    Ok(Known { offsets: offsets(&position.offset)?, ids: topic_ids(notes)?, epochs: leader_epochs(notes)? })
}

/// Which log a plan speaks of: the topic's id, and the epoch of the leader at its end, as far as the plan knows them. Between
/// two plans that say the same the log was not cut.
fn log_of(partition: &TopicPartition, ids: &BTreeMap<String, String>, epochs: &Offsets) -> String {
    let epoch = epochs.get(partition).map_or(String::new(), |epoch| epoch.to_string());
    format!("{}@{epoch}", ids.get(&*partition.topic).map_or("", String::as_str))
}

/// The level that a range was planned with; `None` in a plan of Spark.
fn isolation(notes: &Notes) -> Result<Option<Isolation>> {
    let Some(name) = notes.get(ISOLATION).filter(|name| !name.is_empty()) else { return Ok(None) };
    Isolation::named(name).map(Some).ok_or_else(|| {
        Error::config(format!(
            "a micro-batch was planned with the isolation level {name:?}, which is not known"
        ))
        .hint("it was planned by a newer Alluvia; use that one")
    })
}

fn damaged(note: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::corrupt(format!("the note {note} of a plan in the checkpoint is damaged"))
        .source(cause)
        .hint("restore the checkpoint from a backup, or move it aside and run `alluvia checkpoint rebuild`")
}

fn partitions_and_offsets(start: &Offsets, end: &Offsets) -> String {
    let offsets = u64::try_from(start.distance_to(end)).unwrap_or(0);
    format!("{}, {}", counted(end.0.len() as u64, "partition"), counted(offsets, "offset"))
}

impl SplitReader for LaneReader {
    fn read(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        intake: &mut dyn Intake,
    ) -> Result<ReadOutcome> {
        let report = self.read_splits(splits, cancel, |record| intake.record(record))?;
        Ok(ReadOutcome {
            records: report.records,
            bytes: report.bytes,
            losses: report.lost.iter().map(Loss::from).collect(),
        })
    }

    fn rest(&mut self) {
        LaneReader::rest(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    #[test]
    fn notes_read_back_and_damaged_ones_are_named() {
        let mut notes = Notes::new();
        assert!(topic_ids(&notes).unwrap().is_empty() && starts(&notes).unwrap().0.is_empty());
        let ids = BTreeMap::from([("t".to_owned(), "q83vEjRWeJA".to_owned())]);
        note_topic_ids(&mut notes, &ids);
        assert_eq!(topic_ids(&notes).unwrap(), ids);
        notes.insert(ISOLATION.into(), "read_committed".into());
        assert_eq!(isolation(&notes).unwrap(), Some(Isolation::ReadCommitted));
        notes.insert(ISOLATION.into(), "read_tomorrow".into());
        assert_eq!(isolation(&notes).unwrap_err().kind(), Kind::Config);
        let epochs = Offsets([(TopicPartition::new("t", 0), 7)].into());
        note_leader_epochs(&mut notes, &epochs);
        assert_eq!(leader_epochs(&notes).unwrap(), epochs);
        for key in [STARTS, TOPIC_IDS, LEFT] {
            notes.insert(key.into(), "{".into());
        }
        for error in [topic_ids(&notes).unwrap_err(), starts(&notes).unwrap_err(), left(&notes).unwrap_err()]
        {
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        }
    }

    #[test]
    fn the_offset_of_another_source_is_refused() {
        let error = offsets(&Offset::from_json("17").unwrap()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{error}");
    }
}
