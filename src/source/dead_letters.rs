//! Dead letters as a source: the records of a replay.
//!
//! What a replay takes is decided before it runs and made durable first: micro-batch K of a replay is the
//! letters that selection K names, whoever runs it and how often. So a letter that was taken once is
//! never taken again, and one that was left stays eligible: selections are the ledger of both. The offset
//! `{"tableId": …, "selection": K}` is the position before selection K.
//!
//! Reads the table through [`Letters`]; writes nothing but selections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Admission, Available, From, Intake, Position, ReadOutcome, Source, SourceRange, Split, SplitReader, go_on,
};
use crate::model::{Error, Loss, MemoryAccount, Notes, Offset, OffsetRange, Record, Result, TopicPartition};
use crate::storage::{Put, Store};

/// The folder of selections in a replay's checkpoint.
const SELECTIONS: &str = "alluvia/selections";

/// The dead letters of one query, wherever they are.
pub trait Letters: Send + Sync {
    /// The identity of the table that holds them.
    fn table_id(&self) -> &str;

    /// Hands every letter to `visit`, with the micro-batch that rejected it; letters that stand for lost
    /// offsets are none.
    ///
    /// # Errors
    /// If the table can't be read; what `visit` returns.
    fn visit(&self, visit: &mut dyn FnMut(i64, &Record<'_>) -> Result<()>) -> Result<()>;
}

/// Letters by micro-batch, topic, partition and offset: a topic that was recreated uses its offsets again,
/// but not within one micro-batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    places: BTreeMap<i64, BTreeMap<String, BTreeMap<i32, BTreeSet<i64>>>>,
    len: usize,
}

/// Half-open ranges of offsets by batch, topic and partition.
type Ranges = BTreeMap<i64, BTreeMap<String, BTreeMap<i32, Vec<(i64, i64)>>>>;

/// A selection as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    format: u32,
    /// Makes the document unique to its writer.
    writer: String,
    letters: Ranges,
}

impl Selection {
    /// Adds a letter; whether it was not there yet.
    pub fn add(&mut self, batch_id: i64, record: &Record<'_>) -> bool {
        let topics = self.places.entry(batch_id).or_default();
        let partitions = topics.entry(record.topic.to_owned()).or_default();
        let added = partitions.entry(record.partition).or_default().insert(record.offset);
        self.len += usize::from(added);
        added
    }

    /// Whether a letter is among them.
    pub fn contains(&self, batch_id: i64, record: &Record<'_>) -> bool {
        let partitions = self.places.get(&batch_id).and_then(|topics| topics.get(record.topic));
        let offsets = partitions.and_then(|partitions| partitions.get(&record.partition));
        offsets.is_some_and(|offsets| offsets.contains(&record.offset))
    }

    /// How many letters there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds all of another selection.
    pub fn extend(&mut self, other: &Selection) {
        for (batch, topics) in &other.places {
            for (topic, partitions) in topics {
                for (partition, offsets) in partitions {
                    let mine = self.places.entry(*batch).or_default().entry(topic.clone()).or_default();
                    let mine = mine.entry(*partition).or_default();
                    self.len += offsets.iter().filter(|offset| mine.insert(**offset)).count();
                }
            }
        }
    }

    fn to_bytes(&self, writer: &str) -> Bytes {
        let mut letters = BTreeMap::new();
        for (batch, topics) in &self.places {
            for (topic, partitions) in topics {
                for (partition, offsets) in partitions {
                    let topics: &mut BTreeMap<_, BTreeMap<_, _>> =
                        letters.entry(*batch).or_insert_with(BTreeMap::new);
                    topics.entry(topic.clone()).or_default().insert(*partition, ranges(offsets));
                }
            }
        }
        let document = Document { format: 1, writer: writer.to_owned(), letters };
        Bytes::from(serde_json::to_vec(&document).expect("numbers and strings are always JSON"))
    }

    fn from_bytes(bytes: &[u8], file: &str) -> Result<Selection> {
        let damaged = || {
            Error::corrupt(format!("checkpoint file {file} is damaged"))
                .hint("restore it from a backup; without it a replay can't tell which letters were taken")
        };
        let document: Document = serde_json::from_slice(bytes).map_err(|e| damaged().source(e))?;
        if document.format != 1 {
            return Err(Error::config(format!("{file} has format {}", document.format))
                .hint("it was written by a newer Alluvia; use that one"));
        }
        let mut selection = Selection::default();
        for (batch, topics) in document.letters {
            for (topic, partitions) in topics {
                for (partition, ranges) in partitions {
                    let offsets: BTreeSet<i64> =
                        ranges.iter().flat_map(|(from, until)| *from..*until).collect();
                    selection.len += offsets.len();
                    selection
                        .places
                        .entry(batch)
                        .or_default()
                        .entry(topic.clone())
                        .or_default()
                        .insert(partition, offsets);
                }
            }
        }
        Ok(selection)
    }
}

fn ranges(offsets: &BTreeSet<i64>) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, until)) if *until == *offset => *until += 1,
            _ => ranges.push((*offset, offset + 1)),
        }
    }
    ranges
}

/// The selections of a replay's checkpoint.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    /// The selections in the replay's checkpoint `store`.
    pub fn new(store: Store) -> Ledger {
        Ledger { store }
    }

    /// How many selections there are; they are numbered from 0.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer; `Corrupt` if one is missing.
    pub fn count(&self) -> Result<i64> {
        let names = self.store.names(SELECTIONS)?;
        let numbers: BTreeSet<i64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let len = numbers.last().map_or(0, |last| last + 1);
        match (0..len).find(|number| !numbers.contains(number)) {
            None => Ok(len),
            Some(missing) => Err(Error::corrupt(format!(
                "checkpoint file {}{SELECTIONS}/{missing} is missing",
                self.store.url()
            ))
            .hint("restore it from a backup; without it a replay can't tell which letters were taken")),
        }
    }

    /// Reads a selection.
    ///
    /// # Errors
    /// `Corrupt` if it is missing or damaged; `Unavailable` if storage does not answer.
    pub fn read(&self, number: i64) -> Result<Selection> {
        let name = format!("{SELECTIONS}/{number}");
        let file = format!("{}{name}", self.store.url());
        let bytes = self.store.get(&name)?;
        let bytes = bytes.ok_or_else(|| Error::corrupt(format!("checkpoint file {file} is missing")))?;
        Selection::from_bytes(&bytes, &file)
    }

    /// All letters that selections before `until` name.
    ///
    /// # Errors
    /// As for [`Ledger::read`].
    pub fn read_before(&self, until: i64) -> Result<Selection> {
        let mut all = Selection::default();
        for number in 0..until {
            all.extend(&self.read(number)?);
        }
        Ok(all)
    }

    /// Makes a selection durable; `writer` is unique to this call.
    ///
    /// # Errors
    /// `Conflict` if another process made one of this number; `Unavailable` if storage does not answer.
    pub fn put(&self, number: i64, selection: &Selection, writer: &str) -> Result<()> {
        let name = format!("{SELECTIONS}/{number}");
        match self.store.put_if_absent(&name, selection.to_bytes(writer))? {
            Put::Created => Ok(()),
            Put::Exists => Err(Error::conflict("another process replays the same dead letters")),
        }
    }

    /// Removes a selection that no plan names.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn remove(&self, number: i64) -> Result<()> {
        self.store.delete(&format!("{SELECTIONS}/{number}"))
    }
}

/// The asking side of a replay.
pub struct DeadLetterSource {
    letters: Arc<dyn Letters>,
    ledger: Ledger,
    place: String,
}

impl DeadLetterSource {
    /// A source of the letters that the ledger names; `place` is where they are, for people.
    pub fn new(letters: Arc<dyn Letters>, ledger: Ledger, place: String) -> DeadLetterSource {
        DeadLetterSource { letters, ledger, place }
    }

    fn at(&self, selection: i64) -> Offset {
        Offset::of(json!({"tableId": self.letters.table_id(), "selection": selection}))
    }

    /// The selection that an offset is before.
    fn selection(&self, offset: &Offset) -> Result<i64> {
        let said = offset.to_value();
        let table = self.letters.table_id();
        // Before 0.1.0 an offset was {table id: {"0": selection}}.
        let (id, selection) = match said["tableId"].as_str() {
            Some(id) => (id, said["selection"].as_i64()),
            None => (table, said[table]["0"].as_i64()),
        };
        match selection {
            Some(selection) if id == table => Ok(selection),
            _ => Err(Error::corrupt(format!(
                "the dead-letter table was replaced: the replay has read up to {offset}, this is table {table}"
            ))),
        }
    }
}

impl Source for DeadLetterSource {
    fn description(&self) -> String {
        format!("DeadLetters[{}]", self.place)
    }

    fn initial_offset(&mut self) -> Result<Offset> {
        Ok(self.at(0))
    }

    /// One selection per micro-batch.
    fn latest_offset(&mut self, from: &Position, admission: &Admission<'_>) -> Result<Available> {
        let (start, count) = (self.selection(&from.offset)?, self.ledger.count()?);
        let bound = admission.bound.map_or(Ok(count), |bound| self.selection(bound))?;
        let end = (start + 1).min(count).min(bound);
        let range = SourceRange { start: self.at(start), end: self.at(end), notes: Notes::new() };
        Ok(Available {
            latest: self.at(count),
            range: (end > start).then_some(range),
            lag: count - end,
            is_cut: false,
            remainder: None,
            notes: Notes::new(),
            losses: Vec::new(),
            undecided: false,
        })
    }

    fn splits(&self, range: &SourceRange, _: &[Loss], lanes: usize) -> Result<Vec<Vec<Split>>> {
        let mut shares = vec![Vec::new(); lanes.max(1)];
        let (from, until) = (self.selection(&range.start)?, self.selection(&range.end)?);
        if from < until {
            let partition = TopicPartition::new(self.letters.table_id(), 0);
            shares[0].push(Split { range: OffsetRange { partition, from, until }, detail: String::new() });
        }
        Ok(shares)
    }

    fn reader(&self, _: &Arc<MemoryAccount>, _: Option<&Notes>) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(LetterReader { letters: Arc::clone(&self.letters), ledger: self.ledger.clone() }))
    }

    fn replay(&mut self, range: SourceRange) -> Result<(SourceRange, Vec<Loss>)> {
        Ok((range, Vec::new()))
    }

    fn preview(&mut self, from: From<'_>) -> Result<String> {
        let start = match from {
            From::New => 0,
            From::Position(position) => self.selection(&position.offset)?,
            From::Planned(range) => self.selection(&range.start)?,
        };
        Ok(format!("{} selections of dead letters", self.ledger.count()? - start))
    }
}

/// The reading side of a replay.
struct LetterReader {
    letters: Arc<dyn Letters>,
    ledger: Ledger,
}

impl SplitReader for LetterReader {
    fn read(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        intake: &mut dyn Intake,
    ) -> Result<ReadOutcome> {
        let mut wanted = Selection::default();
        for number in splits.iter().flat_map(|split| split.range.from..split.range.until) {
            wanted.extend(&self.ledger.read(number)?);
        }
        let mut outcome = ReadOutcome::default();
        self.letters.visit(&mut |batch_id, record| {
            go_on(cancel)?;
            if !wanted.contains(batch_id, record) {
                return Ok(());
            }
            outcome.records += 1;
            outcome.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
            intake.record(record)
        })?;
        let gone = wanted.len() as u64 - outcome.records.min(wanted.len() as u64);
        if gone > 0 {
            tracing::warn!(letters = gone, "dead letters were deleted before they were replayed");
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampType;
    use crate::storage::test_runtime;

    fn record(topic: &str, partition: i32, offset: i64) -> Record<'_> {
        Record {
            topic,
            partition,
            offset,
            timestamp_ms: 0,
            timestamp_type: TimestampType::None,
            key: None,
            value: None,
            headers: None,
        }
    }

    #[test]
    fn a_selection_reads_back_and_knows_its_letters() {
        let mut some = Selection::default();
        for (batch, offset) in [(0, 7), (0, 8), (0, 11), (3, 7)] {
            assert!(some.add(batch, &record("t", 1, offset)));
        }
        assert!(!some.add(0, &record("t", 1, 8)));
        let bytes = some.to_bytes("w");
        assert!(std::str::from_utf8(&bytes).unwrap().contains("[[7,9],[11,12]]"));
        let back = Selection::from_bytes(&bytes, "x").unwrap();
        assert_eq!((&back, back.len()), (&some, 4));
        assert!(back.contains(3, &record("t", 1, 7)) && !back.contains(3, &record("t", 1, 8)));
        assert!(!back.contains(0, &record("t", 0, 7)));
    }

    struct NoLetters;

    impl Letters for NoLetters {
        fn table_id(&self) -> &str {
            "the-table"
        }

        fn visit(&self, _: &mut dyn FnMut(i64, &Record<'_>) -> Result<()>) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_offset_is_a_selection_of_one_table_in_the_form_of_before_too() {
        let url = url::Url::parse("memory:///").unwrap();
        let ledger = Ledger::new(Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap());
        let source = DeadLetterSource::new(Arc::new(NoLetters), ledger, String::new());
        let selection = |json: &str| source.selection(&Offset::from_json(json).unwrap());
        assert_eq!(source.selection(&source.at(3)).unwrap(), 3);
        assert_eq!(selection(r#"{"the-table":{"0":5}}"#).unwrap(), 5);
        for other in [r#"{"tableId":"another","selection":3}"#, r#"{"another":{"0":5}}"#, "17"] {
            assert!(selection(other).unwrap_err().to_string().contains("was replaced"), "{other}");
        }
    }

    #[test]
    fn a_damaged_selection_is_told_from_an_empty_one() {
        assert!(Selection::from_bytes(&Selection::default().to_bytes("w"), "x").unwrap().is_empty());
        assert_eq!(Selection::from_bytes(b"{", "x").unwrap_err().kind(), crate::model::Kind::Corrupt);
    }

    #[test]
    fn a_missing_selection_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let ledger = Ledger::new(Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap());
        assert_eq!(ledger.count().unwrap(), 0);
        ledger.put(0, &Selection::default(), "a").unwrap();
        ledger.put(1, &Selection::default(), "b").unwrap();
        assert_eq!(ledger.count().unwrap(), 2);
        assert!(ledger.put(1, &Selection::default(), "c").is_err());
        ledger.remove(0).unwrap();
        assert!(ledger.count().unwrap_err().to_string().contains("selections/0 is missing"));
    }
}
