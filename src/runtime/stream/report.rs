//! A finished batch as a report: Spark's `StreamingQueryProgress`.

use std::time::Duration;

use serde_json::Value;

use super::{Clock, Stream, millis};
use crate::model::{Offset, OffsetSeq};
use crate::observe::progress::{AlluviaProgress, SinkProgress};
use crate::observe::{Progress, SourceProgress};
use crate::runtime::attempt::Written;

impl Stream<'_> {
    pub(super) fn report(
        &mut self,
        written: &Written,
        latest: &Offset,
        lag: i64,
        sink_version: Option<u64>,
        clock: &mut Clock,
    ) {
        let (planned, counts) = (written.planned(), written.counts());
        let duration = clock.started.elapsed();
        clock.steps.insert("triggerExecution", millis(duration));
        let value = |offsets: &OffsetSeq| offsets.get(0).map_or(Value::Null, Offset::to_value);
        let since_last = self.pace.last_trigger.replace(clock.started).map(|last| clock.started - last);
        let per_second = |time: Duration| counts.input_rows as f64 / time.as_secs_f64().max(0.001);
        self.reporter.progress(Progress {
            event: "progress",
            id: self.open.query_id.clone(),
            run_id: self.run_id.clone(),
            name: self.config.name.clone(),
            timestamp: timestamp(clock.started_ms),
            batch_id: planned.plan().batch_id,
            batch_duration: millis(duration),
            num_input_rows: counts.input_rows,
            input_rows_per_second: since_last.map_or(0.0, per_second),
            processed_rows_per_second: per_second(duration),
            duration_ms: std::mem::take(&mut clock.steps),
            sources: vec![SourceProgress {
                description: self.open.source.description(),
                start_offset: value(planned.start()),
                end_offset: value(&planned.plan().end),
                latest_offset: latest.to_value(),
                num_input_rows: counts.input_rows,
            }],
            sink: SinkProgress {
                description: self.open.sink.describe().name,
                num_output_rows: counts.output_rows,
            },
            alluvia: AlluviaProgress {
                table_version: sink_version,
                input_bytes: counts.input_bytes,
                lag,
                malformed_rows: counts.malformed_kept,
                dead_letters: counts.dead_letters,
                dropped_rows: counts.dropped,
                lost_ranges: written.lost().iter().map(ToString::to_string).collect(),
            },
        });
    }
}

fn timestamp(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}
