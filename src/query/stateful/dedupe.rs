//! `dropDuplicates` and `dropDuplicatesWithinWatermark`: of rows with one key the first passes.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimeUnit};

use super::keys::{NO_TIME, bound, timed, times_of};
use super::observed::times;
use super::{BatchTimes, Operator, OperatorProgress, failed};
use crate::model::{Error, OutputMode, Result};
use crate::state::codec::{Codec, Rows};
use crate::state::{KeyTime, StateBatch, StateColumn, TableDefinition, TableId};

/// The operator. Its rows pass with all columns that it is given.
#[derive(Debug)]
pub(in crate::query) struct DropDuplicates {
    /// The columns of the keys, among those that it is given.
    pub(super) keys: Vec<usize>,
    pub(super) codec: Arc<Codec>,
    /// The column of the event time, if a watermark is declared.
    pub(super) event_time: Option<usize>,
    pub(super) expiry: Expiry,
    pub(super) table: TableId,
    /// The keys.
    pub(super) columns: Vec<StateColumn>,
}

/// When a key is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Never.
    Never,
    /// When the watermark passes the event time, which is one of its columns.
    EventTime,
    /// When the watermark passes the time of the key's first row and this many microseconds; `index` holds the keys by
    /// that time.
    Within { delay: i64, index: TableId },
}

impl DropDuplicates {
    /// Spark's name of the operator.
    fn name(&self) -> &'static str {
        match self.expiry {
            Expiry::Within { .. } => "dedupeWithinWatermark",
            Expiry::Never | Expiry::EventTime => "dedupe",
        }
    }

    /// The keys of rows whose event times are `times`.
    fn keys(&self, batch: &RecordBatch, times: &[i64]) -> Result<Rows> {
        let columns: Vec<_> = self.keys.iter().map(|key| Arc::clone(batch.column(*key))).collect();
        match self.expiry {
            Expiry::EventTime => self.codec.encode_keys(times, &columns),
            Expiry::Never | Expiry::Within { .. } => {
                self.codec.encode_keys(&vec![NO_TIME; batch.num_rows()], &columns)
            }
        }
    }

    /// Removes what the watermark has passed; returns how many keys went.
    fn evict(&self, state: &mut dyn StateBatch, watermark: i64) -> Result<u64> {
        match self.expiry {
            Expiry::Never => Ok(0),
            Expiry::EventTime => state.expire(self.table, &bound(watermark), &mut |_, _| Ok(())),
            Expiry::Within { index, .. } => {
                let mut gone = Vec::new();
                let count = state.expire(index, &bound(watermark), &mut |key, _| {
                    gone.push(key.get(8..).unwrap_or_default().to_vec());
                    Ok(())
                })?;
                gone.into_iter().for_each(|key| state.delete(self.table, key));
                Ok(count)
            }
        }
    }
}

impl Operator for DropDuplicates {
    fn run(
        &self,
        state: &mut dyn StateBatch,
        rows: Vec<RecordBatch>,
        at: BatchTimes,
    ) -> Result<(Vec<RecordBatch>, OperatorProgress)> {
        let (mut late, mut duplicates, mut new) = (0, 0, 0);
        // Keys that the watermark has passed already: they go at the end of the batch, and the index never has them.
        let mut passed_by: Vec<Vec<u8>> = Vec::new();
        let mut out = Vec::with_capacity(rows.len());
        for batch in rows {
            let column =
                self.event_time.map(|column| times(batch.column(column))).transpose().map_err(failed)?;
            let event_times = times_of(column.as_ref(), batch.num_rows());
            let keys = self.keys(&batch, &event_times)?;
            let mut order: Vec<usize> = (0..keys.len()).filter(|row| event_times[*row] > at.late).collect();
            late += (keys.len() - order.len()) as u64;
            order.sort_by_key(|row| keys.row(*row));
            let asked: Vec<&[u8]> = order.iter().map(|row| keys.row(*row)).collect();
            let known = state.get_many(self.table, &asked)?;
            // What batches of rows before this one let pass is in the state.
            let mut passed: HashSet<&[u8]> = HashSet::new();
            let mut keep = vec![false; keys.len()];
            for (row, known) in order.into_iter().zip(known) {
                let key = keys.row(row);
                if known.is_some() || !passed.insert(key) {
                    duplicates += 1;
                    continue;
                }
                keep[row] = true;
                new += 1;
                let mut value = Vec::new();
                if let Expiry::Within { delay, index } = self.expiry {
                    // As in Spark, a NULL time is the epoch.
                    let time = if event_times[row] == NO_TIME { 0 } else { event_times[row] };
                    let expires = time.saturating_add(delay);
                    value = expires.to_be_bytes().to_vec();
                    if expires > at.watermark {
                        state.insert(index, timed(expires, key), Vec::new());
                    } else {
                        passed_by.push(key.to_vec());
                    }
                }
                state.insert(self.table, key.to_vec(), value);
            }
            let kept = filter_record_batch(&batch, &BooleanArray::from(keep))
                .map_err(|error| Error::internal("leave duplicates out").source(error))?;
            if kept.num_rows() > 0 {
                out.push(kept);
            }
        }
        let removed = self.evict(state, at.watermark)? + passed_by.len() as u64;
        passed_by.into_iter().for_each(|key| state.delete(self.table, key));
        let progress = OperatorProgress {
            operator_name: self.name(),
            num_rows_total: state.len(self.table)?,
            num_rows_updated: new,
            num_rows_removed: removed,
            num_rows_dropped_by_watermark: late,
            num_dropped_duplicate_rows: Some(duplicates),
        };
        Ok((out, progress))
    }

    fn wants_empty_batch(&self, _mode: OutputMode) -> bool {
        true
    }

    fn explain(&self) -> String {
        let keys: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let keys = keys.join(", ");
        match self.expiry {
            Expiry::Never => {
                format!(
                    "DropDuplicates by {keys}: keeps every key for ever, for none of them is the event time"
                )
            }
            Expiry::EventTime => {
                format!("DropDuplicates by {keys}: keeps a key until the watermark passes its event time")
            }
            Expiry::Within { delay, .. } => format!(
                "DropDuplicatesWithinWatermark by {keys}: keeps a key until the watermark passes its first row's time and {} ms",
                delay / 1000
            ),
        }
    }

    fn state_definition(&self) -> Vec<TableDefinition> {
        let keys = self.columns.clone();
        let time = match self.expiry {
            Expiry::Never => Some(KeyTime::None),
            Expiry::EventTime => {
                let column = self.keys.iter().position(|key| Some(*key) == self.event_time);
                Some(column.map_or(KeyTime::None, KeyTime::Column))
            }
            Expiry::Within { .. } => None,
        };
        let table = |name: &str, keys, values| TableDefinition {
            name: name.to_owned(),
            operator: self.name().to_owned(),
            keys,
            values,
            layout: None,
            time,
            any_time: self.expiry == Expiry::Never,
        };
        match self.expiry {
            Expiry::Never | Expiry::EventTime => vec![table("keys", keys, Vec::new())],
            Expiry::Within { .. } => {
                let expires = StateColumn::new("expires", &DataType::Timestamp(TimeUnit::Microsecond, None));
                let mut by_time = vec![expires.clone()];
                by_time.extend(keys.clone());
                vec![table("keys", keys, vec![expires]), table("keys by expiry", by_time, Vec::new())]
            }
        }
    }
}
