//! What a stream tells while it runs: that it is open, where it is, what its batches read, wrote and rejected.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Clock, Stream, millis};
use crate::decode::json::RejectionCode;
use crate::model::{Offset, OffsetSeq, Result};
use crate::observe::progress::{ADD_BATCH_STEPS, AlluviaProgress, BatchTimes, SinkProgress};
use crate::observe::{Event, Progress, SourceProgress, StreamOpened};
use crate::runtime::attempt::Written;

impl Stream<'_> {
    pub(super) fn report_opened(&self) {
        self.reporter.rejection_reasons(&RejectionCode::ALL.map(RejectionCode::name));
        self.reporter.emit(Event::Opened(Box::new(StreamOpened {
            query_id: self.open.query_id.clone(),
            run_id: self.run_id.clone(),
            source: self.open.source.description(),
            sink: self.open.sink.describe().name,
            memory_limit: self.config.memory_limit,
        })));
    }

    pub(super) fn report_position(&self) -> Result<()> {
        let position = self.position.source()?.offset.clone();
        self.reporter.emit(Event::Positioned { position });
        Ok(())
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
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources: vec![source],
            sink: SinkProgress {
                description: self.open.sink.describe().name,
                num_output_rows: metrics.output_rows.unwrap_or(counts.output_rows),
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
                lost_ranges: written.lost().iter().map(ToString::to_string).collect(),
                files: written.file_count(),
                file_bytes: written.file_bytes(),
                add_batch_ms: parts,
            },
        })));
    }
}
