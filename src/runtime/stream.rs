//! The life of a stream: resume, then micro-batch after micro-batch.
//!
//! The order of durable steps is the guarantee, and it stands here:
//! plan (`offsets/N`) → files → dead letters' commit → sink's commit → commit log (`commits/N`).
//! After a crash between any two of them the newest plan without a commit is run again over exactly
//! the same ranges, or only the log is mended (`checkpoint::resume`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::attempt::{self, Written};
use super::lane::Attempt;
use super::start::{Opened, Surroundings};
use super::trigger::{self, POLLING_DELAY};
use crate::checkpoint::{Decision, Plan, Planned};
use crate::config::{StreamConfig, Trigger};
use crate::failpoint;
use crate::model::{Error, OffsetRange, Offsets, Result};
use crate::observe::progress::{Extra, SinkProgress};
use crate::observe::{Progress, Reporter, SourceProgress};
use crate::sink::{BatchCommit, DeadLetters, Landed};
use crate::source::kafka::{MinOffsets, judge, limit, losses};
use crate::source::{Latest, LostRange};
use crate::table::OwnCommit;

/// What survives a restart of the stream inside the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where `availableNow` ends, fixed at the first look.
    pub bound: Option<Offsets>,
    /// Micro-batches committed since the process started.
    pub committed: u64,
}

/// A running stream.
pub struct Stream<'a> {
    config: &'a StreamConfig,
    around: &'a Surroundings,
    reporter: &'a Reporter,
    memory: &'a mut Memory,
    opened: Opened,
    run_id: String,
    next_batch: i64,
    position: Offsets,
    min_offsets: Option<MinOffsets>,
    lost_in_planning: Vec<LostRange>,
    last_trigger: Option<Instant>,
}

/// The times of one trigger.
struct Clock {
    started: Instant,
    started_ms: i64,
    steps: BTreeMap<&'static str, u64>,
}

impl Clock {
    fn start() -> Clock {
        Clock { started: Instant::now(), started_ms: now_ms(), steps: BTreeMap::new() }
    }

    fn time<T>(&mut self, step: &'static str, work: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let result = work();
        *self.steps.entry(step).or_default() += millis(before.elapsed());
        result
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

impl<'a> Stream<'a> {
    /// A stream from what was opened.
    pub fn new(
        config: &'a StreamConfig,
        around: &'a Surroundings,
        reporter: &'a Reporter,
        memory: &'a mut Memory,
        opened: Opened,
    ) -> Stream<'a> {
        let kafka = &config.source.kafka;
        let min_offsets = kafka.min_offsets_per_trigger.map(|min| MinOffsets::new(min, kafka.max_trigger_delay));
        Stream {
            config,
            around,
            reporter,
            memory,
            opened,
            run_id: Uuid::new_v4().to_string(),
            next_batch: 0,
            position: Offsets::default(),
            min_offsets,
            lost_in_planning: Vec::new(),
            last_trigger: None,
        }
    }

    /// Runs until the trigger ends it or a stop is asked for.
    ///
    /// # Errors
    /// Whatever a step met; what it means is decided by `supervise`.
    pub fn run(&mut self) -> Result<()> {
        let mended = self.resume()?;
        if mended && self.config.trigger == Trigger::Once {
            return Ok(());
        }
        while !self.around.stop.requested() {
            let mut clock = Clock::start();
            let did = self.trigger(&mut clock)?;
            match self.config.trigger {
                Trigger::Once => return Ok(()),
                Trigger::AvailableNow if !did => return Ok(()),
                _ => {}
            }
            let pause = if did {
                trigger::pause(self.config.trigger, self.config.min_commit_interval, clock.started_ms, now_ms())
            } else {
                trigger::pause(self.config.trigger, Duration::ZERO, clock.started_ms, now_ms()).max(POLLING_DELAY)
            };
            if !pause.is_zero() {
                self.around.stop.wait(pause);
            }
        }
        Ok(())
    }

    /// Brings the stream to where its next batch is planned; whether it ran one for that.
    fn resume(&mut self) -> Result<bool> {
        let log = self.opened.log.clone();
        let handle = &self.around.handle;
        match self.opened.decision.clone() {
            Decision::Refuse(refusal) => {
                let table = self.opened.sink.table().store().url().to_string();
                Err(refusal.into_error(log.store().url().as_str(), &table))
            }
            Decision::StartFresh => {
                let initial = match handle.block_on(log.initial_offsets())? {
                    Some(initial) => initial,
                    None => {
                        let initial = self.opened.source.initial_offsets()?;
                        handle.block_on(log.fix_initial_offsets(&initial))?
                    }
                };
                self.position = initial;
                Ok(false)
            }
            Decision::PlanAfter(batch) => {
                let planned = handle.block_on(log.planned(batch))?;
                self.stand_after(&planned);
                Ok(false)
            }
            Decision::MendCommitLog(batch) => {
                let planned = handle.block_on(log.planned(batch))?;
                handle.block_on(log.put_commit(batch, planned.plan().watermark_ms))?;
                tracing::info!(stream = self.config.name, batch, "the table held the batch, the commit log now says so");
                self.stand_after(&planned);
                Ok(false)
            }
            Decision::Rerun { batch_id, replace_dead_letters } => {
                let planned = handle.block_on(log.planned(batch_id))?;
                tracing::info!(stream = self.config.name, batch = batch_id, "running a planned batch again");
                let mut clock = Clock::start();
                let latest = planned.plan().end.clone();
                self.complete(planned, &latest, replace_dead_letters, &mut clock)?;
                Ok(true)
            }
        }
    }

    fn stand_after(&mut self, planned: &Planned) {
        self.next_batch = planned.plan().batch_id + 1;
        self.position = planned.plan().end.clone();
    }

    /// One firing of the trigger; whether there was a batch.
    fn trigger(&mut self, clock: &mut Clock) -> Result<bool> {
        let latest = clock.time("latestOffset", || self.opened.source.latest(&self.position))?;
        let lost = losses(&self.position, &latest);
        judge(&lost, self.config.source.kafka.fail_on_data_loss)?;
        for range in &lost {
            tracing::warn!(stream = self.config.name, "{range}; going on, because failOnDataLoss is false");
        }
        self.lost_in_planning.extend(lost);
        let start = latest.start(&self.position);
        let Some(end) = self.end_of_batch(&start, &latest) else { return Ok(false) };
        self.still_owner()?;
        let planned = clock.time("walCommit", || self.plan(start, end))?;
        self.complete(planned, &latest.end, false, clock)?;
        Ok(true)
    }

    /// How far the next batch reaches; `None` if there is nothing for it.
    fn end_of_batch(&mut self, start: &Offsets, latest: &Latest) -> Option<Offsets> {
        let reach = match self.config.trigger {
            Trigger::AvailableNow => {
                let bound = self.memory.bound.get_or_insert_with(|| latest.end.clone());
                within(&latest.end, bound)
            }
            _ => latest.end.clone(),
        };
        if !advances(start, &reach) {
            return None;
        }
        if let Some(gate) = &mut self.min_offsets
            && self.config.trigger != Trigger::Once
            && !gate.permits(start, &reach, Instant::now())
        {
            return None;
        }
        let max = trigger::batch_limit(self.config.trigger, self.config.source.kafka.max_offsets_per_trigger);
        Some(limit(start, &reach, max))
    }

    /// Stops an owner that was replaced before it plans anything.
    fn still_owner(&self) -> Result<()> {
        if self.opened.lease.still_ours()? {
            return Ok(());
        }
        Err(Error::fenced(format!("another process took over stream {}", self.config.name))
            .hint("nothing is lost: the new owner goes on where this one stopped"))
    }

    /// Makes the plan durable, or adopts the one that a former owner made for the same batch.
    fn plan(&mut self, start: Offsets, end: Offsets) -> Result<Planned> {
        let new_starts = start.0.iter().filter(|(p, _)| self.position.get(p).is_none());
        let plan = Plan {
            batch_id: self.next_batch,
            end,
            new_starts: Offsets(new_starts.map(|(p, offset)| (p.clone(), *offset)).collect()),
            timestamp_ms: now_ms(),
            watermark_ms: 0,
            definition: self.opened.recipe.definition.clone(),
            isolation: self.config.source.kafka.isolation.as_str().to_owned(),
            writer: Uuid::new_v4().to_string(),
            conf: BTreeMap::new(),
        };
        failpoint!("plan.before");
        let put = self.around.handle.block_on(self.opened.log.put_plan(plan, start))?;
        failpoint!("plan.after");
        match put {
            Some(planned) => Ok(planned),
            None => {
                self.still_owner()?;
                tracing::warn!(stream = self.config.name, batch = self.next_batch, "adopting a plan that another process made");
                self.around.handle.block_on(self.opened.log.planned(self.next_batch))
            }
        }
    }

    /// From a durable plan to an entry in the commit log.
    fn complete(
        &mut self,
        planned: Planned,
        latest: &Offsets,
        replace_dead_letters: bool,
        clock: &mut Clock,
    ) -> Result<()> {
        let batch_id = planned.plan().batch_id;
        let watermark_ms = planned.plan().watermark_ms;
        let mut written = clock.time("addBatch", || self.write(planned))?;
        failpoint!("files.after");
        let commit = self.batch_commit(&written);
        self.commit_dead_letters(&mut written, &commit, replace_dead_letters)?;
        let files = written.take_files();
        failpoint!("sink.before");
        let landed = clock.time("addBatch", || self.opened.sink.commit(&commit, files))?;
        failpoint!("sink.after");
        let version = self.judge_landing(landed, &commit)?;
        clock.time("commitOffsets", || {
            self.around.handle.block_on(self.opened.log.put_commit(batch_id, watermark_ms))
        })?;
        failpoint!("log.after");
        self.memory.committed += 1;
        self.stand_after(written.planned());
        self.report(&written, latest, version, clock);
        self.upkeep(batch_id);
        Ok(())
    }

    fn write(&mut self, planned: Planned) -> Result<Written> {
        let id = Uuid::new_v4().to_string();
        let handle = &self.around.handle;
        let dead_letters = match &self.opened.dead_letters {
            None => None,
            Some(sink) => {
                let of = DeadLetters {
                    batch_id: planned.plan().batch_id,
                    attempt: id.clone(),
                    rejected_at_micros: planned.plan().timestamp_ms.saturating_mul(1000),
                };
                Some((sink.writers(&id, handle, &self.opened.budget)?, of))
            }
        };
        let attempt = Attempt {
            rows: self.opened.sink.writers(&id, handle, &self.opened.budget)?,
            alignment: self.opened.sink.alignment().clone(),
            dead_letters,
            rejected: self.opened.recipe.rejected,
            now_micros: planned.plan().timestamp_ms.saturating_mul(1000),
            gather: false,
            cancel: Arc::new(AtomicBool::new(false)),
        };
        let min_partitions = self.config.source.kafka.min_partitions;
        let patience = self.config.shutdown_timeout;
        attempt::run(&self.opened.lanes, planned, attempt, min_partitions, &self.around.stop, patience)
    }

    fn batch_commit(&mut self, written: &Written) -> BatchCommit {
        let planning = std::mem::take(&mut self.lost_in_planning);
        let lost = planning.iter().chain(written.lost()).map(|lost| lost.range.clone());
        BatchCommit {
            query_id: self.opened.query_id.clone(),
            batch_id: written.planned().plan().batch_id,
            attempt: written.attempt().to_owned(),
            start: written.planned().start().clone(),
            end: written.planned().plan().end.clone(),
            next_watermark_ms: written.planned().plan().watermark_ms,
            definition: self.opened.recipe.definition.clone(),
            lost: lost.collect::<Vec<OffsetRange>>(),
        }
    }

    /// Before the sink's commit, so that no record is ever in neither table.
    fn commit_dead_letters(&mut self, written: &mut Written, commit: &BatchCommit, replace: bool) -> Result<()> {
        let Some(sink) = &mut self.opened.dead_letters else { return Ok(()) };
        let files = written.take_letters();
        if replace {
            sink.replace(commit, files)?;
        } else if !files.is_empty() {
            failpoint!("letters.before");
            sink.commit(commit, files)?;
        }
        failpoint!("letters.after");
        Ok(())
    }

    /// Ours, or that of an owner who ran the same plan; anything else stops the stream.
    fn judge_landing(&self, landed: Landed, ours: &BatchCommit) -> Result<Option<u64>> {
        let theirs = match landed {
            Landed::Ours { version } => return Ok(Some(version)),
            Landed::Theirs { commit: None } => return self.still_owner().map(|()| None),
            Landed::Theirs { commit: Some(theirs) } => theirs,
        };
        let same_batch = theirs.batch_id == ours.batch_id;
        if same_batch && same_offsets(&theirs, ours)? {
            tracing::warn!(stream = self.config.name, batch = ours.batch_id, "another process had committed the batch; its rows stand, ours are dropped");
            return Ok(Some(theirs.version));
        }
        self.still_owner()?;
        Err(Error::corrupt(format!(
            "the table holds micro-batch {} of stream {} with other offsets than were planned here",
            theirs.batch_id, self.config.name
        ))
        .hint("the checkpoint was copied and run elsewhere: run only one copy"))
    }

    fn report(&mut self, written: &Written, latest: &Offsets, table_version: Option<u64>, clock: &mut Clock) {
        let (planned, counts) = (written.planned(), written.counts());
        let duration = clock.started.elapsed();
        clock.steps.insert("triggerExecution", millis(duration));
        let object = |offsets: &Offsets| serde_json::from_str(&offsets.to_json()).unwrap_or_default();
        let since_last = self.last_trigger.replace(clock.started).map(|last| clock.started - last);
        let per_second = |time: Duration| counts.input_rows as f64 / time.as_secs_f64().max(0.001);
        self.reporter.progress(Progress {
            event: "progress",
            id: self.opened.query_id.clone(),
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
                description: self.opened.source.description(),
                start_offset: object(planned.start()),
                end_offset: object(&planned.plan().end),
                latest_offset: object(latest),
                num_input_rows: counts.input_rows,
            }],
            sink: SinkProgress {
                description: format!("DeltaSink[{}]", self.opened.sink.table().store().url()),
                num_output_rows: counts.output_rows,
            },
            alluvia: Extra {
                table_version,
                input_bytes: counts.input_bytes,
                lag: planned.plan().end.distance_to(latest),
                malformed_rows: counts.malformed_kept,
                dead_letters: counts.dead_letters,
                dropped_rows: counts.dropped,
                lost_ranges: written.lost().iter().map(ToString::to_string).collect(),
            },
        });
    }

    /// Off the commit path, and never a reason to stop.
    fn upkeep(&mut self, batch_id: i64) {
        let log = self.opened.log.clone();
        self.around.handle.spawn(async move {
            if let Err(error) = log.collect(batch_id).await {
                tracing::warn!(%error, "old checkpoint files could not be deleted");
            }
        });
        for sink in std::iter::once(&mut self.opened.sink).chain(&mut self.opened.dead_letters) {
            sink.upkeep(&self.around.handle);
        }
    }
}

fn same_offsets(theirs: &OwnCommit, ours: &BatchCommit) -> Result<bool> {
    // A commit of Spark says none; its transaction is taken at its word, as Spark takes it.
    Ok(crate::sink::delta::end_of(theirs)?.is_none_or(|end| end == ours.end))
}

/// The ends of `latest`, none beyond `bound`; partitions that the bound does not know stay out.
fn within(latest: &Offsets, bound: &Offsets) -> Offsets {
    let ends = latest.0.iter().filter_map(|(p, end)| Some((p.clone(), (*end).min(bound.get(p)?))));
    Offsets(ends.collect())
}

/// Whether any partition has something new.
fn advances(start: &Offsets, end: &Offsets) -> bool {
    end.0.iter().any(|(partition, upto)| start.get(partition).is_some_and(|from| *upto > from))
}

fn timestamp(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TopicPartition;

    fn offsets(entries: &[(i32, i64)]) -> Offsets {
        Offsets(entries.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    #[test]
    fn a_bound_holds_ends_and_leaves_later_partitions_out() {
        let latest = offsets(&[(0, 50), (1, 7), (2, 9)]);
        assert_eq!(within(&latest, &offsets(&[(0, 40), (1, 10)])), offsets(&[(0, 40), (1, 7)]));
    }

    #[test]
    fn only_new_offsets_make_a_batch() {
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 5)])));
        assert!(!advances(&offsets(&[(0, 5)]), &offsets(&[(0, 3)])));
        assert!(advances(&offsets(&[(0, 5), (1, 1)]), &offsets(&[(0, 5), (1, 2)])));
    }
}
