//! Where a stream is: what its next batch is called and where that starts; and when it last did what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::checkpoint::{Plan, Remainder};
use crate::model::{Error, Loss, Notes, Offset, Result};
use crate::source::Position;

/// How often a stream without work checks whether it was replaced.
pub(super) const IDLE_LEASE_CHECK: Duration = Duration::from_secs(1);
/// A stream that has no batch for so long has come to rest.
const REST: Duration = Duration::from_secs(1);

/// Where a stream is.
#[derive(Debug, Default)]
pub(super) struct StreamPosition {
    /// The next micro-batch.
    pub(super) next_batch: i64,
    /// Where it starts; `None` before the stream has resumed.
    source: Option<Position>,
    /// When the batch before it was planned, in ms since the Unix epoch; `None` in a new query.
    pub(super) planned_ms: Option<i64>,
    /// The settings of Spark that the newest plan carries; handed on to the next one.
    pub(super) spark_conf: BTreeMap<String, String>,
    /// The version of the sink's target that holds the batch before, where it numbers versions.
    pub(super) sink_version: Option<u64>,
    /// Losses that were reported, and that no batch has recorded yet: the source finds them again until one has.
    reported_losses: Vec<Loss>,
    /// What is left to read of a batch that was read in part.
    pub(super) remainder: Option<Remainder>,
}

impl StreamPosition {
    /// Not known yet, but for the version of the sink's target that holds the newest batch.
    pub(super) fn after(sink_version: Option<u64>) -> StreamPosition {
        StreamPosition { sink_version, ..StreamPosition::default() }
    }

    /// A new query starts at `initial`.
    pub(super) fn begin(&mut self, initial: Offset) {
        self.source = Some(Position { offset: initial, notes: Notes::new() });
    }

    /// The batch of `plan` is done.
    ///
    /// # Errors
    /// `Config` if the plan is of a query with several sources.
    pub(super) fn advance_to(&mut self, plan: &Plan) -> Result<()> {
        self.next_batch = plan.batch_id + 1;
        self.planned_ms = Some(plan.timestamp_ms);
        self.source = Some(Position { offset: plan.only_end()?.clone(), notes: plan.notes_of(0) });
        self.spark_conf = plan.conf.clone();
        self.remainder = plan.remainder.clone();
        self.reported_losses.clear();
        Ok(())
    }

    /// Where the source goes on.
    ///
    /// # Errors
    /// `Internal` if the stream has not resumed.
    pub(super) fn source(&self) -> Result<&Position> {
        self.source.as_ref().ok_or_else(|| Error::internal("a stream triggered before it resumed"))
    }

    /// Those of `losses` that were not reported yet.
    pub(super) fn news_of<'l>(&self, losses: &'l [Loss]) -> impl Iterator<Item = &'l Loss> {
        losses.iter().filter(|loss| !self.reported_losses.contains(loss)).collect::<Vec<_>>().into_iter()
    }

    /// What the source noted of the position, and what it found lost.
    ///
    /// # Errors
    /// `Internal` if the stream has not resumed.
    pub(super) fn note(&mut self, notes: Notes, losses: Vec<Loss>) -> Result<()> {
        self.reported_losses = losses;
        match &mut self.source {
            Some(position) => position.notes = notes,
            None => return Err(Error::internal("a stream triggered before it resumed")),
        }
        Ok(())
    }
}

/// When a stream last did what.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the newest trigger fired that had a batch.
    pub(super) last_trigger: Option<Instant>,
    lease_checked: Instant,
    /// When the last batch ended whose memory was not given back yet.
    batch_ended: Option<Instant>,
}

impl Pace {
    /// Nothing was done yet.
    pub(super) fn start() -> Pace {
        Pace { last_trigger: None, lease_checked: Instant::now(), batch_ended: None }
    }

    /// A batch has ended.
    pub(super) fn batch_ended(&mut self) {
        self.batch_ended = Some(Instant::now());
    }

    /// Whether a stream that is about to wait for `pause` has come to rest since its last batch; true once.
    pub(super) fn comes_to_rest(&mut self, pause: Duration) -> bool {
        let rests = self.batch_ended.is_some_and(|ended| ended.elapsed() + pause >= REST);
        if rests {
            self.batch_ended = None;
        }
        rests
    }

    /// Whether a stream without work should check its lease; if so, the next check is due later.
    pub(super) fn lease_check_due(&mut self) -> bool {
        let due = self.lease_checked.elapsed() >= IDLE_LEASE_CHECK;
        if due {
            self.lease_checked = Instant::now();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_comes_to_rest_once_after_its_last_batch() {
        let mut pace = Pace::start();
        assert!(!pace.comes_to_rest(REST), "it has had no batch");
        pace.batch_ended();
        assert!(!pace.comes_to_rest(Duration::from_millis(20)), "the next batch may come at once");
        assert!(pace.comes_to_rest(REST), "none comes before the next trigger");
        assert!(!pace.comes_to_rest(REST));
    }
}
