//! The life of a stream: resume, then micro-batch after micro-batch.
//!
//! The order of durable steps is the guarantee, and it stands here:
//! plan (`offsets/N`) → files → dead letters' commit → sink's commit → commit log (`commits/N`).
//! After a crash between any two of them the newest plan without a commit is run again over exactly
//! the same ranges, or only the log is mended (`checkpoint::resume`).

mod landing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use uuid::Uuid;

use self::landing::same_definition;
use super::attempt::{self, Written, commit_of};
use super::lane::Attempt;
use super::letters;
use super::look::{self, Seen};
use super::row_pipeline::RowPipeline;
use super::start::{self, Opened, ProcessContext};
use super::trigger::{self, POLLING_DELAY};
use crate::checkpoint::{Decision, Lease, Plan, Planned};
use crate::config::{StreamConfig, Trigger};
use crate::failpoint;
use crate::model::{Error, Loss, Offsets, Result};
use crate::observe::progress::{Extra, SinkProgress};
use crate::observe::{Progress, Reporter, SourceProgress};
use crate::sink::{BatchCommit, DeadLetters};
use crate::source::kafka::{MinOffsets, limit};

/// How often a stream without work looks whether it was replaced.
const IDLE_LEASE_CHECK: Duration = Duration::from_secs(1);

/// What survives a restart of the stream inside the process.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where `availableNow` ends, fixed at the first look.
    pub bound: Option<Offsets>,
    /// The micro-batch that was planned and is not committed, if this process has begun one.
    pub unfinished: Option<i64>,
    /// Micro-batches committed since the process started.
    pub committed: u64,
    /// That we run the stream. Held between two starts, and never taken a second time: a process that
    /// was replaced must not replace its successor.
    pub lease: Option<Arc<Lease>>,
    /// How values become rows. Read, and remarked on, at the first start only.
    pub row_pipeline: Option<RowPipeline>,
}

/// A running stream.
pub struct Stream<'a> {
    config: &'a StreamConfig,
    ctx: &'a ProcessContext,
    reporter: &'a Reporter,
    memory: &'a mut Memory,
    opened: Opened,
    run_id: String,
    next_batch: i64,
    position: Offsets,
    /// The settings of Spark that the newest plan carries; handed on to the next one.
    conf: BTreeMap<String, String>,
    min_offsets: Option<MinOffsets>,
    /// The topics that were read up to `position`.
    topic_ids: BTreeMap<String, String>,
    /// Losses that were told of, and that no batch has recorded yet.
    told: Vec<Loss>,
    last_trigger: Option<Instant>,
    lease_seen: Instant,
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
        ctx: &'a ProcessContext,
        reporter: &'a Reporter,
        memory: &'a mut Memory,
        opened: Opened,
    ) -> Stream<'a> {
        let kafka = &config.source.kafka;
        let min_offsets =
            kafka.min_offsets_per_trigger.map(|min| MinOffsets::new(min, kafka.max_trigger_delay));
        Stream {
            config,
            ctx,
            reporter,
            memory,
            opened,
            run_id: Uuid::new_v4().to_string(),
            next_batch: 0,
            position: Offsets::default(),
            conf: BTreeMap::new(),
            min_offsets,
            topic_ids: BTreeMap::new(),
            told: Vec::new(),
            last_trigger: None,
            lease_seen: Instant::now(),
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
        while !self.ctx.stop.requested() {
            let mut clock = Clock::start();
            let did = self.trigger(&mut clock)?;
            match self.config.trigger {
                Trigger::Once => return Ok(()),
                Trigger::AvailableNow if !did => return Ok(()),
                _ => {}
            }
            let pause = if did {
                trigger::pause(
                    self.config.trigger,
                    self.config.min_commit_interval,
                    clock.started_ms,
                    now_ms(),
                )
            } else {
                self.leave_if_replaced()?;
                trigger::pause(self.config.trigger, Duration::ZERO, clock.started_ms, now_ms())
                    .max(POLLING_DELAY)
            };
            if !pause.is_zero() {
                self.ctx.stop.wait(pause);
            }
        }
        Ok(())
    }

    /// Lets an owner that was replaced go while it has nothing to do; it can do no harm, but no good either.
    fn leave_if_replaced(&mut self) -> Result<()> {
        if self.lease_seen.elapsed() < IDLE_LEASE_CHECK {
            return Ok(());
        }
        self.lease_seen = Instant::now();
        self.opened.lease.check(&self.config.name)
    }

    /// Brings the stream to where its next batch is planned; whether it ran one for that.
    fn resume(&mut self) -> Result<bool> {
        let log = self.opened.log.clone();
        let handle = &self.ctx.handle;
        match self.opened.decision.clone() {
            Decision::StartFresh => {
                let initial = match handle.block_on(log.initial_offsets())? {
                    Some(initial) => initial,
                    None => {
                        let initial = self.opened.source.initial_offsets()?;
                        handle.block_on(log.fix_initial_offsets(&initial))?
                    }
                };
                failpoint!("initial.written");
                self.position = initial;
                Ok(false)
            }
            Decision::PlanAfter(batch) => {
                let planned = handle.block_on(log.planned(batch))?;
                self.advance_to(&planned);
                Ok(false)
            }
            Decision::MendCommitLog(batch) => {
                let planned = handle.block_on(log.planned(batch))?;
                self.withdraw_dead_letters(&planned)?;
                handle.block_on(log.put_commit(batch, planned.plan().watermark_ms))?;
                failpoint!("mend.after");
                tracing::info!(
                    stream = self.config.name,
                    batch,
                    "the table held the batch, the commit log now says so"
                );
                self.advance_to(&planned);
                Ok(false)
            }
            Decision::Rerun(batch_id) => {
                let planned = handle.block_on(log.planned(batch_id))?;
                // As after a plan of our own: one that a successor can't have seen must not be run.
                self.opened.lease.check(&self.config.name)?;
                tracing::info!(stream = self.config.name, batch = batch_id, "running a planned batch again");
                let mut clock = Clock::start();
                let latest = planned.plan().end.clone();
                let fail_on_data_loss = self.config.source.kafka.fail_on_data_loss;
                let source = self.opened.source.as_ref();
                let (planned, mut gone) = look::start_added(source, planned, fail_on_data_loss)?;
                gone.extend(look::gone(source, &planned, fail_on_data_loss)?);
                self.complete(planned, &latest, gone, &mut clock)?;
                Ok(true)
            }
        }
    }

    fn advance_to(&mut self, planned: &Planned) {
        self.next_batch = planned.plan().batch_id + 1;
        self.position = planned.plan().end.clone();
        self.conf = planned.plan().conf_of_spark();
        self.topic_ids = planned.plan().topic_ids();
        self.told.clear();
    }

    /// One firing of the trigger; whether there was a batch.
    fn trigger(&mut self, clock: &mut Clock) -> Result<bool> {
        let fail_on_data_loss = self.config.source.kafka.fail_on_data_loss;
        let source = self.opened.source.as_ref();
        let seen = clock.time("latestOffset", || {
            look::look(source, &self.position, &self.topic_ids, fail_on_data_loss)
        })?;
        // What stands before the first batch was asked of this topic and no other.
        for (name, id) in &seen.topic_ids {
            self.topic_ids.entry(name.clone()).or_insert_with(|| id.clone());
        }
        // Found again at every look until a batch has recorded it.
        for loss in seen.lost.iter().filter(|loss| !self.told.contains(loss)) {
            tracing::warn!(stream = self.config.name, "{loss}; going on, because failOnDataLoss is false");
        }
        self.told.clone_from(&seen.lost);
        let Some(end) = self.end_of_batch(&seen) else { return Ok(false) };
        let reaches = seen.latest.end.clone();
        let planned = clock.time("walCommit", || self.plan(seen, end))?;
        self.complete(planned, &reaches, Vec::new(), clock)?;
        Ok(true)
    }

    /// How far the next batch reaches; `None` if there is nothing for it.
    fn end_of_batch(&mut self, seen: &Seen) -> Option<Offsets> {
        let (start, latest) = (&seen.start, &seen.latest);
        let mut reach = match self.config.trigger {
            Trigger::AvailableNow => {
                let bound = self.memory.bound.get_or_insert_with(|| latest.end.clone());
                within(&latest.end, bound)
            }
            _ => latest.end.clone(),
        };
        reach.0.retain(|partition, _| start.get(partition).is_some());
        if seen.lost.iter().any(|loss| self.position.get(&loss.range.partition).is_some()) {
            // A loss is recorded by a batch even if there is nothing else to write.
            return Some(limit(start, &reach, self.batch_limit()));
        }
        if !advances(start, &reach) {
            return None;
        }
        if let Some(gate) = &mut self.min_offsets
            && self.config.trigger != Trigger::Once
            && !gate.permits(start, &reach, Instant::now())
        {
            return None;
        }
        Some(limit(start, &reach, self.batch_limit()))
    }

    fn batch_limit(&self) -> Option<u64> {
        trigger::batch_limit(self.config.trigger, self.config.source.kafka.max_offsets_per_trigger)
    }

    /// Makes the plan durable, or adopts the one that a former owner made for the same batch.
    fn plan(&mut self, seen: Seen, end: Offsets) -> Result<Planned> {
        let new_starts = seen.start.0.iter().filter(|(p, offset)| self.position.get(p) != Some(**offset));
        let mut plan = Plan {
            batch_id: self.next_batch,
            end,
            new_starts: Offsets(new_starts.map(|(p, offset)| (p.clone(), *offset)).collect()),
            timestamp_ms: now_ms(),
            watermark_ms: 0,
            definition: self.opened.row_pipeline.definition.clone(),
            isolation: self.config.source.kafka.isolation.as_str().to_owned(),
            writer: Uuid::new_v4().to_string(),
            conf: self.conf.clone(),
        };
        let mut topic_ids = std::mem::take(&mut self.topic_ids);
        topic_ids.extend(seen.topic_ids);
        topic_ids.retain(|name, _| plan.end.0.keys().any(|partition| *partition.topic == **name));
        plan.note_topic_ids(&topic_ids);
        plan.note_lost(&seen.lost);
        let start = seen.start;
        self.opened.lease.check(&self.config.name)?;
        failpoint!("plan.before");
        let put = self.ctx.handle.block_on(self.opened.log.put_plan(plan, start))?;
        failpoint!("plan.after");
        // StopRequest again, now that the plan is durable: whoever replaced us before this moment has perhaps
        // not seen it, and whoever does so later will. So a plan is run only if every later owner knows
        // it, and of one batch only one is ever run, even where retention made room for a second.
        self.opened.lease.check(&self.config.name)?;
        match put {
            Some(planned) => Ok(planned),
            None => {
                tracing::warn!(
                    stream = self.config.name,
                    batch = self.next_batch,
                    "adopting a plan that another process made"
                );
                let planned = self.ctx.handle.block_on(self.opened.log.planned(self.next_batch))?;
                if planned.plan().is_ours() {
                    return Ok(planned);
                }
                // A start knows how to run a plan of Spark.
                Err(Error::conflict(format!(
                    "Spark planned micro-batch {} of stream {} too",
                    self.next_batch, self.config.name
                ))
                .hint("run the query in one place only"))
            }
        }
    }

    /// From a durable plan to an entry in the commit log.
    fn complete(
        &mut self,
        planned: Planned,
        latest: &Offsets,
        gone: Vec<Loss>,
        clock: &mut Clock,
    ) -> Result<()> {
        let batch_id = planned.plan().batch_id;
        self.memory.unfinished = Some(batch_id);
        let watermark_ms = planned.plan().watermark_ms;
        let mut written = clock.time("addBatch", || self.write(planned, &gone))?;
        failpoint!("files.after");
        look::check_topics(self.opened.source.as_ref(), written.planned(), &gone)?;
        // Safe without: this only spares a replaced owner the commits that it would lose.
        self.opened.lease.check(&self.config.name)?;
        let mut commit = self.batch_commit(&written);
        if !commit.dead_letters_pending {
            self.commit_dead_letters(&mut written, &commit)?;
        }
        if let Some(letters) = &mut self.opened.dead_letters {
            commit.newest_dead_letter_batch = letters.until(&commit.query_id)?;
        }
        let files = written.take_files();
        failpoint!("sink.before");
        let landed = clock.time("addBatch", || self.opened.sink.commit(&commit, files))?;
        failpoint!("sink.after");
        let version = self.resolve_commit(&landed, &commit)?;
        if commit.dead_letters_pending && same_definition(&landed, &commit) {
            self.supersede_dead_letters(&mut written, &commit)?;
        }
        if written.planned().plan().definition != commit.definition {
            self.withdraw_dead_letters(written.planned())?;
        }
        clock.time("commitOffsets", || {
            self.ctx.handle.block_on(self.opened.log.put_commit(batch_id, watermark_ms))
        })?;
        failpoint!("log.after");
        self.memory.committed += 1;
        self.memory.unfinished = None;
        self.advance_to(written.planned());
        self.report(&written, latest, version, clock);
        self.maintenance(batch_id);
        Ok(())
    }

    fn write(&mut self, planned: Planned, gone: &[Loss]) -> Result<Written> {
        let id = Uuid::new_v4().to_string();
        let handle = &self.ctx.handle;
        let dead_letters = match &self.opened.dead_letters {
            None => None,
            Some(sink) => {
                let of = DeadLetters {
                    query_id: self.opened.query_id.clone(),
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
            rejected: self.opened.row_pipeline.rejected,
            now_micros: planned.plan().timestamp_ms.saturating_mul(1000),
            gather: false,
            cancel: Arc::new(AtomicBool::new(false)),
        };
        let min_partitions = self.config.source.kafka.min_partitions;
        let deadline = self.config.shutdown_timeout;
        let lost = planned.plan().lost().into_iter().chain(gone.iter().cloned()).collect();
        let pinned = start::pinned_lanes(self.config, &self.opened, planned.plan())?;
        let lanes = pinned.as_ref().unwrap_or(&self.opened.lanes);
        attempt::run(lanes, planned, attempt, lost, min_partitions, &self.ctx.stop, deadline)
    }

    fn batch_commit(&self, written: &Written) -> BatchCommit {
        let (opened, planned) = (&self.opened, written.planned());
        let definition = &opened.row_pipeline.definition;
        let store = opened.log.store();
        BatchCommit {
            lost: written.lost().iter().map(|lost| lost.range.clone()).collect(),
            dead_letters_pending: opened.dead_letters.is_some() && planned.plan().definition != *definition,
            ..commit_of(self.config, store, &opened.query_id, planned, written.attempt(), definition)
        }
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
    fn maintenance(&mut self, batch_id: i64) {
        let log = self.opened.log.clone();
        self.ctx.handle.spawn(async move {
            if let Err(error) = log.collect(batch_id).await {
                tracing::warn!(%error, "old checkpoint files could not be deleted");
            }
        });
        for sink in std::iter::once(&mut self.opened.sink).chain(&mut self.opened.dead_letters) {
            sink.maintenance(&self.ctx.handle);
        }
    }
}

/// The ends of `latest`, none beyond `bound`; partitions that the bound does not know stay out.
fn within(latest: &Offsets, bound: &Offsets) -> Offsets {
    let ends = latest.0.iter().filter_map(|(p, end)| Some((p.clone(), (*end).min(bound.get(p)?))));
    Offsets(ends.collect())
}

/// Whether any partition has something new.
fn advances(start: &Offsets, end: &Offsets) -> bool {
    end.0.iter().any(|(partition, until)| start.get(partition).is_some_and(|from| *until > from))
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
