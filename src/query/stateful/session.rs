//! Session windows: rows of a key whose spans touch are one session, in a batch and across batches.
//!
//! The sessions of a key lie together in the state, by their start; a second table has them by their end, for the
//! watermark, or by the key that carries the event time if they do not.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute;
use arrow::datatypes::TimestampMicrosecondType;

use super::aggregate::{EMIT_ROWS, Grouping, Groups};
use super::keys::{bound, timed, times_of};
use super::{BatchTimes, Operator, OperatorProgress, failed};
use crate::model::{Error, OutputMode, Result};
use crate::state::codec::{Codec, Rows};
use crate::state::{KeyTime, StateBatch, TableDefinition, TableId, in_words, time_of, time_prefix};

/// The operator.
#[derive(Debug)]
pub(in crate::query) struct Sessions {
    /// Rows are grouped by the keys and by their own span.
    pub(super) grouping: Arc<Grouping>,
    /// The key that is a span's start; its end is the next one.
    pub(super) start: usize,
    /// Of the other keys.
    pub(super) codec: Arc<Codec>,
    pub(super) mode: OutputMode,
    pub(super) table: TableId,
    /// The sessions by the time at which the watermark passes them.
    pub(super) index: TableId,
    /// Whether a key carries the event time.
    pub(super) has_event_time: bool,
    /// The key that does, if the session does not: the watermark passes a session by it, whenever the session ends.
    pub(super) by_key: Option<usize>,
}

/// A session of one key: of the state, or of the batch.
struct Span {
    start: i64,
    end: i64,
    /// Its row among the states of where it is from.
    from: From,
}

#[derive(Clone, Copy)]
enum From {
    State(usize),
    Batch(usize),
}

/// What the batch does to the sessions of its keys.
#[derive(Default)]
struct Merged {
    /// For each session its key (a row of the batch's groups), start and end.
    sessions: Vec<(usize, i64, i64)>,
    /// Of each row of the state the session that it goes into.
    of_state: Vec<usize>,
    /// The same of each row of the batch.
    of_batch: Vec<usize>,
    /// Values of the state that are merged, in the order of `of_state`.
    values: Vec<Vec<u8>>,
}

impl Sessions {
    fn other_keys(&self, groups: &Groups) -> Vec<ArrayRef> {
        let other = |(at, key): (usize, &ArrayRef)| {
            (at != self.start && at != self.start + 1).then(|| Arc::clone(key))
        };
        groups.keys.iter().enumerate().filter_map(other).collect()
    }

    /// The bytes of the other keys of each group.
    fn bytes(&self, groups: &Groups) -> Result<Rows> {
        self.codec.encode(&self.other_keys(groups), groups.rows)
    }

    /// The times at which the watermark passes the sessions of each group, if that is not their end.
    fn by_key(&self, groups: &Groups) -> Option<Vec<i64>> {
        self.by_key.map(|key| times_of(Some(&groups.keys[key]), groups.rows))
    }

    /// Takes the sessions of the batch's keys out of the state and puts them together with the batch's.
    fn merge_spans(&self, state: &mut dyn StateBatch, groups: &Groups, keys: &Rows) -> Result<Merged> {
        let starts = groups.keys[self.start].as_primitive::<TimestampMicrosecondType>();
        let ends = groups.keys[self.start + 1].as_primitive::<TimestampMicrosecondType>();
        let by_key = self.by_key(groups);
        let mut order: Vec<usize> = (0..groups.rows).collect();
        order.sort_by_key(|row| keys.row(*row));
        let mut merged = Merged { of_batch: vec![0; groups.rows], ..Merged::default() };
        for rows in order.chunk_by(|a, b| keys.row(*a) == keys.row(*b)) {
            let key = keys.row(rows[0]);
            let mut spans: Vec<Span> = rows
                .iter()
                .map(|row| Span { start: starts.value(*row), end: ends.value(*row), from: From::Batch(*row) })
                .collect();
            let mut old: Vec<(Vec<u8>, i64)> = Vec::new();
            let (first, values) = (merged.values.len(), &mut merged.values);
            state.scan(self.table, key, Some(&after(key)), &mut |found, value| {
                if found.len() != key.len() + 8 {
                    return Ok(());
                }
                let start = time_of(&found[key.len()..]).ok_or_else(damaged)?;
                let end = time_of(value).ok_or_else(damaged)?;
                spans.push(Span { start, end, from: From::State(values.len() - first) });
                old.push((found.to_vec(), end));
                values.push(value[8..].to_vec());
                Ok(())
            })?;
            for (found, end) in &old {
                state.delete(self.table, found.clone());
                let until = by_key.as_ref().map_or(*end, |times| times[rows[0]]);
                state.delete(self.index, timed(until, found));
            }
            // Of equal starts the state's session comes first.
            spans.sort_by_key(|span| (span.start, matches!(span.from, From::Batch(_))));
            let mut of_state = vec![0; old.len()];
            let mut current: Option<usize> = None;
            for span in spans {
                let session = match current {
                    Some(session) if span.start <= merged.sessions[session].2 => session,
                    _ => {
                        merged.sessions.push((rows[0], span.start, span.end));
                        merged.sessions.len() - 1
                    }
                };
                current = Some(session);
                let end = &mut merged.sessions[session].2;
                *end = (*end).max(span.end);
                match span.from {
                    From::State(row) => of_state[row] = session,
                    From::Batch(row) => merged.of_batch[row] = session,
                }
            }
            merged.of_state.extend(of_state);
        }
        Ok(merged)
    }

    fn update(&self, state: &mut dyn StateBatch, groups: &Groups) -> Result<u64> {
        let keys = self.bytes(groups)?;
        let merged = self.merge_spans(state, groups, &keys)?;
        let count = merged.sessions.len();
        let values: Vec<&[u8]> = merged.values.iter().map(Vec::as_slice).collect();
        let old = self.grouping.state_codec.decode(&values)?;
        let parts = [(old.as_slice(), merged.of_state.as_slice()), (&groups.states, &merged.of_batch)];
        let states = self.grouping.merged(&parts, count).map_err(failed)?;
        let states = self.grouping.state_codec.encode(&states, count)?;
        let by_key = self.by_key(groups);
        for ((row, start, end), states) in merged.sessions.into_iter().zip(states.iter()) {
            let mut key = keys.row(row).to_vec();
            key.extend_from_slice(&time_prefix(start));
            let mut value = time_prefix(end).to_vec();
            value.extend_from_slice(states);
            let until = by_key.as_ref().map_or(end, |times| times[row]);
            state.insert(self.index, timed(until, &key), Vec::new());
            state.insert(self.table, key, value);
        }
        Ok(count as u64)
    }

    /// The result of sessions, by their keys in the table; a few at once.
    fn results(&self, sessions: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<RecordBatch>> {
        sessions.chunks(EMIT_ROWS).map(|sessions| self.result(sessions)).collect()
    }

    fn result(&self, sessions: &[(Vec<u8>, Vec<u8>)]) -> Result<RecordBatch> {
        let (mut keys, mut starts, mut ends, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (key, value) in sessions {
            let split = key.len().checked_sub(8).ok_or_else(damaged)?;
            keys.push(&key[..split]);
            starts.push(time_of(&key[split..]).ok_or_else(damaged)?);
            ends.push(time_of(value).ok_or_else(damaged)?);
            states.push(&value[8..]);
        }
        let grouping = &self.grouping;
        let mut others = self.codec.decode(&keys)?.into_iter();
        let times = |values: &[i64], at: usize| -> ArrayRef {
            let array = TimestampMicrosecondArray::from(values.to_vec());
            Arc::new(array.with_data_type(grouping.keys[at].clone()))
        };
        let mut columns = Vec::with_capacity(grouping.keys.len());
        for at in 0..grouping.keys.len() {
            columns.push(match at {
                at if at == self.start => times(&starts, at),
                at if at == self.start + 1 => times(&ends, at),
                _ => others.next().ok_or_else(damaged)?,
            });
        }
        let states = grouping.state_codec.decode(&states)?;
        let groups = Groups { keys: columns, states, rows: sessions.len() };
        grouping.result(&groups).map_err(failed)
    }

    /// Takes the sessions that the watermark has passed out of the state.
    fn take_ended(&self, state: &mut dyn StateBatch, watermark: i64) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut keys = Vec::new();
        state.expire(self.index, &bound(watermark), &mut |key, _| {
            keys.push(key.get(8..).unwrap_or_default().to_vec());
            Ok(())
        })?;
        keys.sort();
        let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let values = state.get_many(self.table, &asked)?;
        let mut ended = Vec::with_capacity(keys.len());
        for (key, value) in keys.into_iter().zip(values) {
            state.delete(self.table, key.clone());
            ended.push((key, value.ok_or_else(damaged)?));
        }
        Ok(ended)
    }

    fn all(&self, state: &dyn StateBatch) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = Vec::new();
        state.scan(self.table, &[], None, &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(all)
    }
}

/// Groups by the start of their span, so that those of one session are merged in that order.
fn in_order_of_start(
    groups: Groups,
    start: usize,
) -> std::result::Result<Groups, datafusion::common::DataFusionError> {
    let starts = groups.keys[start].as_primitive::<TimestampMicrosecondType>();
    let mut order: Vec<u32> = (0..groups.rows as u32).collect();
    order.sort_by_key(|row| (starts.is_valid(*row as usize).then(|| starts.value(*row as usize)), *row));
    let order = UInt32Array::from(order);
    let take = |columns: &[ArrayRef]| {
        columns
            .iter()
            .map(|column| compute::take(column, &order, None))
            .collect::<std::result::Result<_, _>>()
    };
    Ok(Groups { keys: take(&groups.keys)?, states: take(&groups.states)?, rows: groups.rows })
}

/// The first bytes after all that begin with `key`: keys are self-delimiting, so what begins with one is of it.
fn after(key: &[u8]) -> Vec<u8> {
    let mut bytes = key.to_vec();
    bytes.extend_from_slice(&[0xff; 9]);
    bytes
}

fn damaged() -> Error {
    Error::corrupt("the state of a session window is damaged")
}

impl Operator for Sessions {
    fn run(
        &self,
        state: &mut dyn StateBatch,
        partials: Vec<RecordBatch>,
        at: BatchTimes,
    ) -> Result<(Vec<RecordBatch>, OperatorProgress)> {
        // Session windows drop late rows in every mode.
        let late = self.has_event_time.then_some(at.late);
        let (groups, dropped) = self.grouping.combine(partials, late).map_err(failed)?;
        let groups = in_order_of_start(groups, self.start).map_err(failed)?;
        let updated = self.update(state, &groups)?;
        let mut progress = OperatorProgress {
            operator_name: "sessionWindowStateStoreSaveExec",
            num_rows_updated: updated,
            num_rows_dropped_by_watermark: dropped,
            ..OperatorProgress::default()
        };
        let out = match self.mode {
            OutputMode::Append => {
                let ended = self.take_ended(state, at.watermark)?;
                progress.num_rows_removed = ended.len() as u64;
                self.results(&ended)?
            }
            OutputMode::Update | OutputMode::Complete => self.results(&self.all(state)?)?,
        };
        progress.num_rows_total = state.len(self.table)?;
        Ok((out, progress))
    }

    fn grouping(&self) -> Option<&Arc<Grouping>> {
        Some(&self.grouping)
    }

    fn wants_empty_batch(&self, mode: OutputMode) -> bool {
        mode != OutputMode::Complete
    }

    fn explain(&self) -> String {
        let columns = &self.grouping.key_columns;
        let keys: Vec<String> = columns.iter().map(|column| in_words(&column.name)).collect();
        let bound = match self.mode {
            OutputMode::Append => "keeps a session until the watermark passes its end",
            OutputMode::Update | OutputMode::Complete => "keeps every session for ever",
        };
        format!("Sessions by {}: {bound}", keys.join(", "))
    }

    fn state_definition(&self) -> Vec<TableDefinition> {
        let table = |name: &str, values, time, any_time| TableDefinition {
            name: name.to_owned(),
            operator: "sessionWindowStateStoreSaveExec".to_owned(),
            keys: self.grouping.key_columns.clone(),
            values,
            layout: None,
            time,
            any_time,
        };
        vec![
            table("sessions", self.grouping.state_columns.clone(), None, false),
            // Every session is written out, or without an event time no row is late.
            table(
                "sessions by end",
                Vec::new(),
                Some(KeyTime::Column(self.by_key.unwrap_or(self.start + 1))),
                self.mode == OutputMode::Complete
                    || (!self.has_event_time && self.mode != OutputMode::Append),
            ),
        ]
    }
}
