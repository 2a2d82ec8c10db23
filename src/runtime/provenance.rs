//! The records of the batch that is being decoded, for rows that a later stage rejects.
//!
//! A rejected record becomes a dead letter, whole, and an error names its place; but after the decoder only
//! columns are left. So where a stage can reject rows, the lane keeps the place of each record, and, where
//! there are dead letters, its bytes, in one arena that is reused from batch to batch.

use std::ops::Range;
use std::sync::Arc;

use crate::decode::stage::StageRows;
use crate::model::{Error, Header, Record, Result, TimestampType};
use crate::sink::RowPlaces;

/// The records of one decoded batch.
#[derive(Debug, Default)]
pub(super) struct Provenance {
    /// Whether bytes are kept, or places only.
    whole: bool,
    topics: Vec<Arc<str>>,
    records: Vec<Kept>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    topic: usize,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: TimestampType,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Option<Range<usize>>,
}

impl Provenance {
    /// Keeps records `whole`, or only their places.
    pub(super) fn new(whole: bool) -> Provenance {
        Provenance { whole, ..Provenance::default() }
    }

    /// Forgets the records; the memory stays for the next batch.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.headers.clear();
        self.bytes.clear();
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the record of the next row.
    pub(super) fn push(&mut self, record: &Record<'_>) {
        let topic = match self.topics.iter().rposition(|topic| **topic == *record.topic) {
            Some(topic) => topic,
            None => {
                self.topics.push(record.topic.into());
                self.topics.len() - 1
            }
        };
        let (mut key, mut value, mut headers) = (None, None, None);
        if self.whole {
            key = record.key.map(|bytes| keep(&mut self.bytes, bytes));
            value = record.value.map(|bytes| keep(&mut self.bytes, bytes));
            if let Some(found) = record.headers {
                let first = self.headers.len();
                for header in found {
                    let name = keep(&mut self.bytes, header.key.as_bytes());
                    let value = header.value.map(|bytes| keep(&mut self.bytes, bytes));
                    self.headers.push((name, value));
                }
                headers = Some(first..self.headers.len());
            }
        }
        self.records.push(Kept {
            topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            timestamp_type: record.timestamp_type,
            key,
            value,
            headers,
        });
    }

    /// Where each of `rows` was read.
    ///
    /// # Errors
    /// `Internal` if a row is of a record that was not kept.
    pub(super) fn places(&self, rows: &StageRows) -> Result<RowPlaces> {
        let mut places = RowPlaces::default();
        for row in 0..rows.batch().num_rows() {
            let kept = self.records.get(rows.record_of(row));
            let kept = kept.ok_or_else(|| Error::internal("a row is of a record that was not read"))?;
            places.push(&self.topics[kept.topic], kept.partition, kept.offset);
        }
        Ok(places)
    }

    /// Gives record number `record` to `visit`; `None` if none of that number was kept.
    pub(super) fn visit<T>(
        &self,
        record: usize,
        visit: impl FnOnce(&Record<'_>) -> Result<T>,
    ) -> Option<Result<T>> {
        let kept = self.records.get(record)?;
        let slice = |range: &Range<usize>| &self.bytes[range.clone()];
        let header = |(name, value): &(Range<usize>, Option<Range<usize>>)| Header {
            // It was a text when it was kept.
            key: std::str::from_utf8(&self.bytes[name.clone()]).unwrap_or_default(),
            value: value.as_ref().map(|range| &self.bytes[range.clone()]),
        };
        let headers: Option<Vec<Header<'_>>> =
            kept.headers.as_ref().map(|range| self.headers[range.clone()].iter().map(header).collect());
        Some(visit(&Record {
            topic: &self.topics[kept.topic],
            partition: kept.partition,
            offset: kept.offset,
            timestamp_ms: kept.timestamp_ms,
            timestamp_type: kept.timestamp_type,
            key: kept.key.as_ref().map(slice),
            value: kept.value.as_ref().map(slice),
            headers: headers.as_deref(),
        }))
    }
}

fn keep(arena: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let from = arena.len();
    arena.extend_from_slice(bytes);
    from..arena.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_kept_whole_or_by_its_place_and_the_arena_is_used_again() {
        let headers = [Header { key: "h", value: Some(b"1") }, Header { key: "n", value: None }];
        let record = |offset, headers| Record {
            topic: "t",
            partition: 3,
            offset,
            timestamp_ms: 5,
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: Some(b"payload"),
            headers,
        };
        let mut whole = Provenance::new(true);
        for _ in 0..2 {
            whole.clear();
            whole.push(&record(1, None));
            whole.push(&record(2, Some(&headers)));
            let check = |kept: &Record<'_>| {
                assert_eq!((kept.topic, kept.partition, kept.offset), ("t", 3, 2));
                assert_eq!(
                    (kept.key, kept.value, kept.headers),
                    (None, Some(&b"payload"[..]), Some(&headers[..]))
                );
                Ok(())
            };
            whole.visit(1, check).unwrap().unwrap();
            assert!(whole.visit(2, |_| Ok(())).is_none());
            assert_eq!(whole.bytes(), 2 * 7 + 3);
        }
        let mut place = Provenance::new(false);
        place.push(&record(9, Some(&headers)));
        let kept = place.visit(0, |kept| Ok((kept.offset, kept.value.is_none())));
        assert_eq!(kept.unwrap().unwrap(), (9, true));
        assert_eq!(place.bytes(), 0);
    }
}
