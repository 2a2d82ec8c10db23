//! Spark's `rate` source: rows with a timestamp and a counter, so many a second.
//!
//! Columns `timestamp TIMESTAMP, value BIGINT`. An offset is the number of seconds since the query began, as in
//! Spark (`RateStreamMicroBatchStream`); the plan notes when that was, so that the same range gives the same
//! rows whoever reads it. A new query that has planned nothing begins at its next start.

mod schedule;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};

use self::schedule::Schedule;
use super::{
    Admission, Available, From, Intake, Position, ReadOutcome, Source, SourceOptions, SourceRange, Split,
    SplitReader, go_on,
};
use crate::config::RateOptions;
use crate::model::{Error, Loss, MemoryAccount, Notes, Offset, OffsetRange, Result, TopicPartition};

/// The note of when the query began, in milliseconds since the Unix epoch.
const BEGAN: &str = "startTimeMs";
/// Rows of one Arrow batch.
const BATCH_ROWS: i64 = 16 * 1024;

/// The asking side.
pub struct RateSource {
    options: RateOptions,
    schedule: Schedule,
}

/// What a reader needs beside a split's values: the range that they are of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    /// When the first second of the range began.
    start_ms: i64,
    /// The first value of the range.
    first: i64,
    /// Milliseconds from one value to the next.
    ms_per_value: f64,
}

impl RateSource {
    /// A source with these options.
    pub fn new(options: &RateOptions) -> RateSource {
        RateSource { options: options.clone(), schedule: Schedule::of(options) }
    }
}

impl SourceOptions for RateOptions {
    fn open(&self, _: bool) -> Result<Box<dyn Source>> {
        Ok(Box::new(RateSource::new(self)))
    }
}

/// The number of seconds that an offset says.
fn seconds(offset: &Offset) -> Result<i64> {
    offset.to_value().as_i64().ok_or_else(|| {
        Error::config(format!("the checkpoint holds the offset of another source than rate: {offset}"))
            .hint("give the stream a checkpointLocation of its own")
    })
}

fn at(seconds: i64) -> Offset {
    Offset::of(seconds.into())
}

/// When the query began; `None` before its first plan.
fn began(notes: &Notes) -> Result<Option<i64>> {
    let parsed = notes.get(BEGAN).map(|text| text.parse()).transpose();
    parsed.map_err(|e| Error::corrupt("a plan of the checkpoint does not say when the query began").source(e))
}

impl Source for RateSource {
    fn description(&self) -> String {
        let RateOptions { rows_per_second, ramp_up_seconds, partitions } = &self.options;
        let partitions = partitions.map_or("default".to_owned(), |count| count.to_string());
        format!(
            "RateStreamV2[rowsPerSecond={rows_per_second}, rampUpTimeSeconds={ramp_up_seconds}, numPartitions={partitions}]"
        )
    }

    fn initial_offset(&mut self) -> Result<Offset> {
        Ok(at(0))
    }

    fn latest_offset(&mut self, from: &Position, admission: &Admission<'_>) -> Result<Available> {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let start = seconds(&from.offset)?;
        let began_ms = began(&from.notes)?.unwrap_or(now_ms);
        let notes = Notes::from([(BEGAN.to_owned(), began_ms.to_string())]);
        // A clock that was set back does not take back what was read.
        let latest = ((now_ms - began_ms) / 1000).max(start);
        let bound = admission.last().map(seconds).transpose()?.unwrap_or(latest);
        let max = admission.default_max.filter(|_| !admission.is_unlimited());
        let batch_end = self.schedule.limited(start, latest.min(bound).max(start), max);
        let end = self.schedule.limited(start, batch_end, admission.part_max);
        let range = SourceRange { start: at(start), end: at(end), notes: notes.clone() };
        let has_rows = self.schedule.values_before(end) > self.schedule.values_before(start);
        Ok(Available {
            latest: at(latest),
            range: has_rows.then_some(range),
            lag: self.schedule.values_before(latest) - self.schedule.values_before(end),
            is_cut: end < latest.min(bound),
            remainder: (end < batch_end).then(|| at(batch_end)),
            notes,
            losses: Vec::new(),
            undecided: false,
        })
    }

    fn splits(&self, range: &SourceRange, _: &[Loss], lanes: usize) -> Result<Vec<Vec<Split>>> {
        let (start, end) = (seconds(&range.start)?, seconds(&range.end)?);
        let began_ms = began(&range.notes)?
            .ok_or_else(|| Error::internal("a range of the rate source does not say when the query began"))?;
        let (first, until) = (self.schedule.values_before(start), self.schedule.values_before(end));
        let values = until - first;
        let ms_per_value = (end - start) as f64 * 1000.0 / values.max(1) as f64;
        let detail = Detail { start_ms: began_ms + start * 1000, first, ms_per_value };
        let detail = serde_json::to_string(&detail).expect("numbers are always JSON");
        let mut shares = vec![Vec::new(); lanes.max(1)];
        let partitions = self.options.partitions.map_or(shares.len() as i64, i64::from);
        let cut = |part: i64| {
            first
                + i64::try_from(i128::from(values) * i128::from(part) / i128::from(partitions))
                    .unwrap_or(values)
        };
        for part in 0..partitions {
            let partition = TopicPartition::new("rate", i32::try_from(part).unwrap_or(i32::MAX));
            let range = OffsetRange { partition, from: cut(part), until: cut(part + 1) };
            if !range.is_empty() {
                let lane = usize::try_from(part).unwrap_or(0) % shares.len();
                shares[lane].push(Split { range, detail: detail.clone() });
            }
        }
        Ok(shares)
    }

    fn reader(&self, _: &Arc<MemoryAccount>, _: Option<&Notes>) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(RateReader))
    }

    fn replay(&mut self, range: SourceRange) -> Result<(SourceRange, Vec<Loss>)> {
        Ok((range, Vec::new()))
    }

    fn preview(&mut self, _: From<'_>) -> Result<String> {
        Ok(format!("{} rows per second", self.options.rows_per_second))
    }
}

/// The reading side: makes the rows.
struct RateReader;

impl SplitReader for RateReader {
    fn read(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        intake: &mut dyn Intake,
    ) -> Result<ReadOutcome> {
        let mut outcome = ReadOutcome::default();
        for Split { range, detail } in splits {
            let Detail { start_ms, first, ms_per_value } = serde_json::from_str(detail)
                .map_err(|e| Error::internal("a split of the rate source is damaged").source(e))?;
            let mut next = range.from;
            while next < range.until {
                go_on(cancel)?;
                let until = range.until.min(next + BATCH_ROWS);
                let micros =
                    |value: i64| (start_ms + ((value - first) as f64 * ms_per_value).round() as i64) * 1000;
                let timestamps: TimestampMicrosecondArray =
                    (next..until).map(|value| Some(micros(value))).collect();
                let values = Int64Array::from_iter_values(next..until);
                let rows = RecordBatch::try_new(
                    RateOptions::columns(),
                    vec![Arc::new(timestamps.with_timezone("UTC")), Arc::new(values)],
                );
                intake.rows(rows.map_err(|e| Error::internal("make rows of the rate source").source(e))?)?;
                outcome.records += (until - next) as u64;
                outcome.bytes += (until - next) as u64 * 16;
                next = until;
            }
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    use super::*;
    use crate::model::Record;

    fn source(rows_per_second: i64, ramp_up_seconds: i64, partitions: Option<u32>) -> RateSource {
        RateSource::new(&RateOptions { rows_per_second, ramp_up_seconds, partitions })
    }

    #[derive(Default)]
    struct Rows(Vec<(i64, i64)>);

    impl Intake for Rows {
        fn record(&mut self, _: &Record<'_>) -> Result<()> {
            panic!("a rate source has no records")
        }

        fn rows(&mut self, rows: RecordBatch) -> Result<()> {
            let times = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
            let values = rows.column(1).as_primitive::<Int64Type>().values();
            self.0.extend(times.iter().zip(values).map(|(time, value)| (*time, *value)));
            Ok(())
        }
    }

    #[test]
    fn the_rows_of_a_range_are_the_same_for_any_number_of_lanes_and_evenly_apart() {
        let range = |source: &mut RateSource| {
            let notes = Notes::from([(BEGAN.to_owned(), "1000".to_owned())]);
            source.replay(SourceRange { start: at(2), end: at(5), notes }).unwrap().0
        };
        let read = |mut source: RateSource, lanes: usize| {
            let range = range(&mut source);
            let mut rows = Rows::default();
            for share in source.splits(&range, &[], lanes).unwrap() {
                RateReader.read(&share, &AtomicBool::new(false), &mut rows).unwrap();
            }
            rows.0.sort_by_key(|(_, value)| *value);
            rows.0
        };
        let one = read(source(4, 0, None), 1);
        assert_eq!(one, read(source(4, 0, Some(5)), 3));
        assert_eq!(one.iter().map(|(_, value)| *value).collect::<Vec<_>>(), (8..20).collect::<Vec<_>>());
        assert_eq!((one[0].0, one[1].0, one[11].0), (3_000_000, 3_250_000, 5_750_000));
    }

    #[test]
    fn a_batch_ends_at_its_bound_and_the_beginning_is_noted() {
        let mut source = source(10, 0, None);
        let long_ago = (chrono::Utc::now().timestamp_millis() - 60_000).to_string();
        let from = Position { offset: at(3), notes: Notes::from([(BEGAN.to_owned(), long_ago)]) };
        let bound = at(7);
        let admission = Admission { bound: Some(&bound), ..Admission::default() };
        let available = source.latest_offset(&from, &admission).unwrap();
        let range = available.range.unwrap();
        assert_eq!((range.start, range.end, range.notes), (at(3), at(7), from.notes.clone()));
        assert!(available.lag >= 520 && !available.is_cut, "{}", available.lag);
        let new = Position { offset: at(0), notes: Notes::new() };
        let begins = source.latest_offset(&new, &Admission::default()).unwrap();
        assert!(begins.range.is_none() && begins.notes.contains_key(BEGAN));
        assert!(
            source
                .latest_offset(&Position { offset: Offset::of("x".into()), notes: Notes::new() }, &admission)
                .is_err()
        );
    }

    #[test]
    fn a_range_that_a_limit_cuts_says_so_and_one_that_ends_at_its_bound_does_not() {
        let mut source = source(10, 0, None);
        let long_ago = (chrono::Utc::now().timestamp_millis() - 60_000).to_string();
        let from = Position { offset: at(3), notes: Notes::from([(BEGAN.to_owned(), long_ago)]) };
        let bound = at(7);
        let mut cut = |unlimited, default_max, bound| {
            let admission = Admission { unlimited, default_max, bound, ..Admission::default() };
            let available = source.latest_offset(&from, &admission).unwrap();
            (available.range.unwrap().end, available.is_cut)
        };
        assert_eq!(cut(false, Some(25), None), (at(5), true));
        assert_eq!(cut(false, Some(25), Some(&bound)), (at(5), true));
        assert_eq!(cut(false, Some(40), Some(&bound)), (at(7), false));
        assert!(!cut(true, Some(25), None).1 && !cut(false, None, None).1);
    }

    #[test]
    fn a_batch_that_does_not_fit_in_memory_is_read_in_parts() {
        let mut source = source(10, 0, None);
        let long_ago = (chrono::Utc::now().timestamp_millis() - 60_000).to_string();
        let mut part = |start: i64, remainder: Option<&Offset>| {
            let notes = Notes::from([(BEGAN.to_owned(), long_ago.clone())]);
            let from = Position { offset: at(start), notes };
            let default_max = Some(30);
            let admission = Admission { default_max, part_max: Some(20), remainder, ..Admission::default() };
            let available = source.latest_offset(&from, &admission).unwrap();
            (available.range.map(|range| range.end), available.remainder)
        };
        assert_eq!(part(3, None), (Some(at(5)), Some(at(6))));
        assert_eq!(part(5, Some(&at(6))), (Some(at(6)), None));
        assert_eq!(part(6, Some(&at(6))), (None, None), "nothing beyond the batch");
        assert_eq!(part(3, Some(&at(9))), (Some(at(5)), Some(at(9))), "the limit has made the batch");
    }
}
