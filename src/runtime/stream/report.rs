//! What a stream tells while it runs: that it is open, where it is, what its batches read, wrote and rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Stream;
use super::clock::{Clock, millis};
use crate::checkpoint::Plan;
use crate::decode::json::RejectionCode;
use crate::model::time::utc;
use crate::model::{Offset, OffsetSeq, Result};
use crate::observe::progress::StateOperatorProgress;
use crate::observe::progress::{ADD_BATCH_STEPS, AlluviaProgress, BatchTimes, SinkProgress};
use crate::observe::{CompactedFiles, Event, Progress, SourceProgress, StreamOpened};
use crate::query::OperatorProgress;
use crate::runtime::attempt::Written;
use crate::runtime::lane::Counts;
use crate::runtime::stateful::Stateful;

/// What a batch's state took, in milliseconds.
struct StateTimes {
    run_ms: u64,
    commit_ms: u64,
}

/// What the micro-batches of a process have read and written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenRows {
    /// Records read.
    pub input: u64,
    /// Rows that were made of them for the sink.
    pub for_sink: u64,
    /// Rows that the sink added.
    pub output: u64,
    /// What else the sink counted, by name.
    pub counts: BTreeMap<&'static str, u64>,
}

impl WrittenRows {
    fn add(&mut self, counts: &Counts, output: u64, of_sink: &[(&'static str, u64)]) {
        self.input += counts.input_rows;
        self.for_sink += counts.output_rows;
        self.output += output;
        for (name, count) in of_sink {
            *self.counts.entry(*name).or_default() += count;
        }
    }
}

/// A time as Spark's progress has it.
fn time(ms: i64) -> String {
    utc(ms).or_else(|| utc(0)).unwrap_or_default()
}

impl Stream<'_> {
    pub(super) fn report_opened(&self) {
        self.reporter.rejection_reasons(&RejectionCode::ALL.map(RejectionCode::name));
        self.reporter.emit(Event::Opened(Box::new(StreamOpened {
            query_id: self.open.query_id.clone(),
            run_id: self.run_id.clone(),
            source: self.open.source.description(),
            sink: self.open.sink.describe().name,
            memory_limit: self.config.memory_limit,
            memory: Arc::clone(&self.open.memory.account),
        })));
    }

    pub(super) fn report_position(&self) -> Result<()> {
        let position = self.position.source()?.offset.clone();
        self.reporter.emit(Event::Positioned { position, since_ms: self.position.planned_ms });
        self.report_resumed(self.position.next_batch - 1);
        Ok(())
    }

    /// Tells of the micro-batch that an earlier start has committed last.
    pub(super) fn report_resumed(&self, batch_id: i64) {
        self.reporter.emit(Event::Resumed {
            batch_id,
            table_version: self.position.sink_version,
            committed_ms: self.open.sink_commit_ms,
            watermark_ms: self.open.stateful.as_ref().and_then(Stateful::watermark_before_ms),
        });
    }

    /// Checks that nobody else took the stream over.
    pub(super) fn check_lease(&self) -> Result<()> {
        self.open.lease.check(&self.config.name)?;
        self.reporter.emit(Event::LeaseConfirmed);
        Ok(())
    }

    /// The same, asked of the store: nobody had taken the lease when this was called.
    pub(super) fn confirm_lease(&self) -> Result<()> {
        self.open.lease.confirm(&self.config.name)?;
        self.reporter.emit(Event::LeaseConfirmed);
        Ok(())
    }

    pub(super) fn report_written(&self, written: &Written, end: &Offset) {
        self.reporter.emit(Event::FilesWritten { end: end.clone() });
        if !written.rejected().is_empty() {
            self.reporter.emit(Event::RecordsRejected(written.rejected().clone()));
        }
    }

    /// Spark's `eventTime`: the watermark that the batch ran with, and the event times in it.
    fn event_time(&self, plan: &Plan) -> BTreeMap<&'static str, String> {
        let Some(stateful) = &self.open.stateful else { return BTreeMap::new() };
        let Some(seen) = stateful.seen() else { return BTreeMap::new() };
        let mut times = BTreeMap::from([("watermark", time(plan.watermark_ms))]);
        if let Some(average) = seen.average() {
            times.extend([("min", time(seen.min)), ("max", time(seen.max)), ("avg", time(average))]);
        }
        times
    }

    fn state_operators(&self, written: &Written, times: &StateTimes) -> Vec<StateOperatorProgress> {
        let memory_bytes = self.open.stateful.as_ref().map_or(0, |stateful| stateful.size_bytes().0);
        let one = |operator: &OperatorProgress| StateOperatorProgress {
            operator_name: operator.operator_name.to_owned(),
            num_rows_total: operator.num_rows_total,
            num_rows_updated: operator.num_rows_updated,
            all_updates_time_ms: times.run_ms,
            num_rows_removed: operator.num_rows_removed,
            all_removals_time_ms: 0,
            commit_time_ms: times.commit_ms,
            memory_used_bytes: memory_bytes,
            num_rows_dropped_by_watermark: operator.num_rows_dropped_by_watermark,
            num_shuffle_partitions: 1,
            num_state_store_instances: 1,
            custom_metrics: operator
                .num_dropped_duplicate_rows
                .map(|count| ("numDroppedDuplicateRows".to_owned(), count))
                .into_iter()
                .collect(),
        };
        written.operators().iter().map(one).collect()
    }

    /// What the sink did beside the batches.
    pub(super) fn report_maintenance(&mut self) {
        if let Some(report) = self.open.sink.take_vacuumed() {
            let total = report.total();
            self.reporter.emit(Event::Vacuumed { files: total.files, size_bytes: total.size_bytes });
        }
        let Some(done) = self.open.sink.take_compacted() else { return };
        self.reporter.emit(Event::Compacted(CompactedFiles {
            version: done.version,
            files_removed: done.files_removed,
            files_added: done.files_added,
            bytes_removed: done.bytes_removed,
            files_left: done.files_dropped,
        }));
    }

    /// The finished batch as Spark's `StreamingQueryProgress`.
    pub(super) fn report(
        &mut self,
        written: &Written,
        latest: &Offset,
        lag: i64,
        sink_version: Option<u64>,
        clock: &mut Clock,
    ) {
        let (planned, counts) = (written.planned(), written.counts());
        let metrics = self.open.sink.metrics();
        let files = metrics.files.unwrap_or_else(|| written.files());
        let output_rows = metrics.output_rows.unwrap_or(counts.output_rows);
        self.restart.written.add(counts, output_rows, &metrics.counts);
        let since_last_trigger =
            self.pace.last_trigger.replace(clock.started).map(|last| clock.started - last);
        let times = BatchTimes {
            started_ms: clock.started_ms,
            duration: clock.started.elapsed(),
            since_last_trigger,
        };
        clock.steps.insert("triggerExecution", millis(times.duration));
        let rows = counts.input_rows;
        let json = |offsets: &OffsetSeq| offsets.get(0).map_or_else(|| "null".into(), Offset::to_string);
        let mut source = SourceProgress::new(
            self.open.source.description(),
            &json(planned.start()),
            &json(&planned.plan().end),
            latest.as_json(),
            rows,
            &times,
        );
        source.metrics.extend(self.open.source.metrics());
        let mut steps = std::mem::take(&mut clock.steps);
        let steps_of_state = StateTimes {
            run_ms: steps.remove("runState").unwrap_or_default(),
            commit_ms: steps.get("commitState").copied().unwrap_or_default(),
        };
        let stateful = self.open.stateful.as_mut();
        let (future_rows, watermark_moved_by_clock) = stateful.map_or((0, false), |stateful| {
            let future = stateful.seen().map_or(0, |seen| seen.future);
            (future, stateful.take_moved_by_clock())
        });
        let parts = ADD_BATCH_STEPS.iter().filter_map(|step| Some((*step, steps.remove(step)?))).collect();
        self.reporter.emit(Event::BatchCommitted(Arc::new(Progress {
            event: "progress",
            id: self.open.query_id.clone(),
            run_id: self.run_id.clone(),
            name: self.config.name.clone(),
            timestamp: times.timestamp(),
            batch_id: planned.plan().batch_id,
            batch_duration: millis(times.duration),
            num_input_rows: rows,
            input_rows_per_second: times.input_per_second(rows),
            processed_rows_per_second: times.processed_per_second(rows),
            duration_ms: steps,
            event_time: self.event_time(planned.plan()),
            state_operators: self.state_operators(written, &steps_of_state),
            sources: vec![source],
            sink: SinkProgress {
                description: self.open.sink.describe().name,
                num_output_rows: output_rows,
                metrics: metrics
                    .counts
                    .iter()
                    .map(|(name, count)| ((*name).to_owned(), count.to_string()))
                    .collect(),
            },
            observed_metrics: BTreeMap::new(),
            alluvia: AlluviaProgress {
                table_version: sink_version,
                input_bytes: counts.input_bytes,
                lag,
                malformed_rows: counts.malformed_kept,
                dead_letters: counts.dead_letters,
                dropped_rows: counts.dropped,
                rejected_rows: written.rejected().iter().map(|(code, r)| (*code, r.count)).collect(),
                future_rows,
                watermark_moved_by_clock,
                lost_ranges: written.lost().iter().map(ToString::to_string).collect(),
                files: files.count,
                file_bytes: files.bytes,
                add_batch_ms: parts,
            },
        })));
    }
}
