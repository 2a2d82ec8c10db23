//! The offset log and the commit log.
//!
//! The commit path writes one file of each per micro-batch and reads nothing. A [`Planned`] proves
//! that its plan is durable; only it can be run.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::document::{self, BatchCommitted, Plan};
use super::paths::{self, COMMITS, METADATA, OFFSETS, STATE, STATE_DEFINITION, STREAM};
use crate::model::error::Context;
use crate::model::time::utc;
use crate::model::{Error, Offset, OffsetSeq, Result};
use crate::storage::{Put, Store};

const NEW_CHECKPOINT: &str =
    "Spark's state can't be read by others: start this stream on a new checkpointLocation";

fn time(ms: i64) -> String {
    utc(ms).unwrap_or_else(|| ms.to_string())
}

/// A micro-batch whose plan is durable, with the offsets it starts from.
#[derive(Debug, Clone)]
pub struct Planned {
    plan: Plan,
    start: OffsetSeq,
}

impl Planned {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it starts: where the batch before ended, or what its sources made of that.
    pub fn start(&self) -> &OffsetSeq {
        &self.start
    }

    /// The same batch from the start that its sources complete for a replay.
    pub fn with_start(self, start: OffsetSeq) -> Planned {
        Planned { start, ..self }
    }
}

/// The checkpoint's two logs.
#[derive(Debug, Clone)]
pub struct CheckpointLog {
    store: Store,
    batches_to_retain: i64,
}

/// What the two logs hold, by batch id.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entries {
    /// The files of `offsets/`.
    pub plans: BTreeSet<i64>,
    /// The files of `commits/`.
    pub commits: BTreeSet<i64>,
}

impl Entries {
    /// Refuses an offset log with holes: Spark's asynchronous progress tracking leaves them, and the
    /// batches in them are not known.
    ///
    /// # Errors
    /// `Config`, naming a batch that is missing.
    pub fn refuse_gaps(&self, checkpoint: &Store) -> Result<()> {
        let followed = self.plans.iter().zip(self.plans.iter().skip(1));
        let Some((batch, next)) = followed.into_iter().find(|(batch, next)| **next > **batch + 1) else {
            return Ok(());
        };
        Err(Error::config(format!(
            "checkpoint {} has the plans of micro-batches {batch} and {next} and none between them: it is of a query with asynchronous progress tracking, or lost files",
            checkpoint.url()
        ))
        .hint("start the stream on a new checkpointLocation"))
    }
}

impl CheckpointLog {
    /// The logs of the checkpoint in `store`; `batches_to_retain` is Spark's `minBatchesToRetain`.
    pub fn new(store: Store, batches_to_retain: u32) -> CheckpointLog {
        CheckpointLog { store, batches_to_retain: i64::from(batches_to_retain.max(2)) }
    }

    /// The checkpoint's folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lists both logs.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn entries(&self) -> Result<Entries> {
        let numbers = |names: Vec<String>| names.iter().filter_map(|name| name.parse().ok()).collect();
        Ok(Entries {
            plans: numbers(self.store.names(OFFSETS)?),
            commits: numbers(self.store.names(COMMITS)?),
        })
    }

    /// Makes durable what a start rests on: whoever wrote it may have died before its flush. What it
    /// says is then as good as what this process writes.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer, or a flush fails.
    pub fn sync(&self, entries: &Entries) -> Result<()> {
        let newest = entries.plans.iter().rev().take(2).map(|batch| paths::plan(*batch));
        let commit = entries.commits.last().map(|batch| paths::commit(*batch));
        let identity = [METADATA.to_owned(), STREAM.to_owned(), paths::initial(0)];
        for file in identity.into_iter().chain(newest).chain(commit) {
            self.store.sync(&file)?;
        }
        Ok(())
    }

    /// Refuses the checkpoint of a query that keeps state, which a stateless stream can't carry on.
    ///
    /// # Errors
    /// `Config` if there is state; `Unavailable` if storage does not answer.
    pub fn refuse_state(&self) -> Result<()> {
        self.refuse_state_of_spark()?;
        match self.store.get(STATE_DEFINITION)? {
            None => Ok(()),
            Some(_) => Err(Error::config(format!(
                "checkpoint {} holds the state of a stateful query",
                self.store.url()
            ))
            .hint(
                "the stream keeps no state now: run it as it was, or start it on a new checkpointLocation",
            )),
        }
    }

    /// Refuses a checkpoint with state that Spark has written, which only Spark reads.
    ///
    /// # Errors
    /// `Config` if there is such state; the hint has the offsets to start from instead. `Unavailable` if storage does not answer.
    pub fn refuse_state_of_spark(&self) -> Result<()> {
        let (root, url) = (std::sync::Arc::clone(self.store.root()), self.store.url().clone());
        let state = Store::new(root, url, self.store.path(STATE), self.store.runtime());
        if state.is_empty()? || self.store.get(STATE_DEFINITION)?.is_some() {
            return Ok(());
        }
        let error =
            Error::config(format!("checkpoint {} holds state that Spark has written", self.store.url()));
        Err(error.hint(self.way_round_state().unwrap_or_else(|_| NEW_CHECKPOINT.to_owned())))
    }

    /// From which offsets a stream goes on where a query of Spark with state is.
    fn way_round_state(&self) -> Result<String> {
        let entries = self.entries()?;
        let Some(newest) = entries.commits.last().copied() else { return Ok(NEW_CHECKPOINT.to_owned()) };
        let after = self.plan(newest)?;
        let Some(end) = after.end.get(0) else { return Ok(NEW_CHECKPOINT.to_owned()) };
        let mut text = format!(
            "{NEW_CHECKPOINT}. After micro-batch {newest}, with empty windows, it begins with startingOffsets: '{end}'"
        );
        let oldest = entries
            .plans
            .iter()
            .copied()
            .find(|batch| *batch < newest && (*batch == 0 || entries.plans.contains(&(*batch - 1))));
        if let Some(oldest) = oldest {
            let planned = self.planned(oldest)?;
            if let Some(start) = planned.start().get(0) {
                text.push_str(&format!(
                    ". To fill windows and keys again, begin earlier: with micro-batch {oldest}, the oldest that is kept, with startingOffsets: '{start}'; the watermark was {} then and is {} now. Windows that are closed since then come out once more: write them to another table, or with sink.merge",
                    time(planned.plan().watermark_ms),
                    time(after.watermark_ms)
                ));
            }
        }
        Ok(text)
    }

    /// Why a checkpoint that only Spark has written is not carried on in a table that holds no transaction of its query, and
    /// from which offsets a new one goes on.
    ///
    /// # Errors
    /// `Corrupt` if the plan of the newest committed micro-batch is missing or damaged.
    pub fn without_transaction(&self, table: &str) -> Result<Error> {
        let newest = self.entries()?.commits.last().copied();
        let error = Error::config(format!(
            "checkpoint {} is of Spark, and table {table} holds no transaction of its query: the query wrote with foreachBatch, which leaves none, or into another table",
            self.store.url()
        ));
        let end =
            newest.map(|newest| self.plan(newest)).transpose()?.and_then(|plan| plan.end.get(0).cloned());
        Ok(error.hint(match (newest, end) {
            (Some(newest), Some(end)) => format!(
                "start the stream on a new checkpointLocation; after micro-batch {newest} it begins with startingOffsets: '{end}'. Rows of a micro-batch that Spark began and did not commit come once more, which changes nothing with sink.merge; nothing was changed"
            ),
            _ => "start the stream on a new checkpointLocation; nothing was changed".to_owned(),
        }))
    }

    /// Reads the plan of batch `batch_id` and where it starts.
    ///
    /// # Errors
    /// `Corrupt` if a file that must be there is missing or damaged.
    pub fn planned(&self, batch_id: i64) -> Result<Planned> {
        let plan = self.plan(batch_id)?;
        if batch_id > 0 {
            let start = self.plan(batch_id - 1)?.end;
            return Ok(Planned { plan, start });
        }
        let mut start = OffsetSeq::default();
        for source in 0..plan.end.0.len() {
            let offset = self.initial_offset(source)?;
            start.0.push(Some(offset.ok_or_else(|| self.missing(&paths::initial(source)))?));
        }
        Ok(Planned { plan, start })
    }

    fn missing(&self, file: &str) -> Error {
        Error::corrupt(format!("checkpoint file {}{file} is missing", self.store.url())).hint(super::RESTORE)
    }

    /// Reads the plan of batch `batch_id` alone.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing or damaged.
    pub fn plan(&self, batch_id: i64) -> Result<Plan> {
        let file = paths::plan(batch_id);
        let bytes = self.store.get(&file)?.ok_or_else(|| self.missing(&file))?;
        let text = String::from_utf8_lossy(&bytes);
        Plan::from_text(batch_id, &text).context(|| format!("read checkpoint {}", self.store.url()))
    }

    /// What `commits/N` says; `None` if the file is not there.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged.
    pub fn committed(&self, batch_id: i64) -> Result<Option<BatchCommitted>> {
        let Some(bytes) = self.store.get(&paths::commit(batch_id))? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        document::commit_from_text(batch_id, &text)
            .map(Some)
            .context(|| format!("read checkpoint {}", self.store.url()))
    }

    /// The offset that source `source` of the query starts from; `None` before it was fixed.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged.
    pub fn initial_offset(&self, source: usize) -> Result<Option<Offset>> {
        let file = paths::initial(source);
        let Some(bytes) = self.store.get(&file)? else { return Ok(None) };
        document::initial_offset_from_bytes(&file, &bytes)
            .map(Some)
            .context(|| format!("read checkpoint {}", self.store.url()))
    }

    /// Fixes the offset that source `source` of the query starts from; returns that of whoever was first.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer; `Corrupt` if the file that was there is gone or damaged.
    pub fn fix_initial_offset(&self, source: usize, offset: &Offset) -> Result<Offset> {
        let file = paths::initial(source);
        let bytes = Bytes::from(document::initial_offset_bytes(offset));
        match self.store.put_if_absent(&file, bytes)? {
            Put::Created => Ok(offset.clone()),
            Put::Exists => self.initial_offset(source)?.ok_or_else(|| self.missing(&file)),
        }
    }

    /// Makes a plan durable. `None` if another owner planned the batch first.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn put_plan(&self, plan: Plan, start: OffsetSeq) -> Result<Option<Planned>> {
        let file = paths::plan(plan.batch_id);
        match self.store.put_if_absent(&file, Bytes::from(plan.to_text()))? {
            Put::Created => Ok(Some(Planned { plan, start })),
            Put::Exists => Ok(None),
        }
    }

    /// Says that batch `batch_id` is in the sink; a file that is there already is no error.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn put_commit(&self, batch_id: i64, commit: &BatchCommitted) -> Result<()> {
        let text = document::commit_text(commit);
        self.store.put_if_absent(&paths::commit(batch_id), Bytes::from(text))?;
        Ok(())
    }

    /// Deletes what retention no longer asks for once `batch_id` is committed, Hadoop's checksum
    /// files included. For a task beside the stream, off the commit path; what it misses is found at the next start.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub async fn collect(&self, batch_id: i64) -> Result<()> {
        let expired = batch_id - self.batches_to_retain;
        if expired >= 0 {
            self.delete(expired).await?;
        }
        Ok(())
    }

    /// Deletes all of both logs that retention no longer asks for.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn collect_all(&self, entries: &Entries, newest_commit: i64) -> Result<()> {
        let kept_from = newest_commit - self.batches_to_retain;
        let expired: BTreeSet<i64> = entries
            .plans
            .iter()
            .chain(&entries.commits)
            .copied()
            .filter(|batch| *batch <= kept_from)
            .collect();
        for batch in expired {
            self.store.block_on(self.delete(batch))?;
        }
        // A plan or commit that was on its way when its process was killed, of a batch that is done.
        let done = |name: &str| name.parse().is_ok_and(|batch: i64| batch <= newest_commit);
        for folder in [COMMITS, OFFSETS] {
            self.store.sweep(folder, done)?;
        }
        Ok(())
    }

    async fn delete(&self, batch_id: i64) -> Result<()> {
        crate::failpoint!("retention.before");
        for folder in [COMMITS, OFFSETS] {
            self.store.delete_async(&format!("{folder}/{batch_id}")).await?;
            crate::failpoint!("retention.some");
            self.store.delete_async(&format!("{folder}/.{batch_id}.crc")).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::test_runtime;

    fn at(until: i64) -> Offset {
        Offset::of(serde_json::json!({"t": {"0": until}}))
    }

    fn plan(batch_id: i64, until: i64, writer: &str) -> Plan {
        Plan { batch_id, end: OffsetSeq::of(at(until)), writer: writer.into(), ..Plan::default() }
    }

    fn log(folder: &tempfile::TempDir, retain: u32) -> CheckpointLog {
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        CheckpointLog::new(Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap(), retain)
    }

    #[test]
    fn of_two_plans_of_one_batch_the_first_stays() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 100);
        let start = plan(0, 0, "").end;
        assert!(log.put_plan(plan(0, 5, "a"), start.clone()).unwrap().is_some());
        assert!(log.put_plan(plan(0, 9, "b"), start.clone()).unwrap().is_none());
        log.fix_initial_offset(0, &at(0)).unwrap();
        let there = log.planned(0).unwrap();
        assert_eq!((there.plan().writer.as_str(), there.start()), ("a", &start));
    }

    #[test]
    fn retention_keeps_the_newest_and_removes_the_checksums_of_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 2);
        for batch in 0..5 {
            log.put_plan(plan(batch, batch, "a"), OffsetSeq::default()).unwrap();
            log.put_commit(batch, &BatchCommitted::default()).unwrap();
            log.store().put(&format!("offsets/.{batch}.crc"), Bytes::from_static(b"x")).unwrap();
            log.store().block_on(log.collect(batch)).unwrap();
        }
        let entries = log.entries().unwrap();
        assert_eq!(entries.plans.into_iter().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(entries.commits.into_iter().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(log.store().names("offsets").unwrap().len(), 4);
    }

    #[test]
    fn what_killed_processes_left_of_batches_that_are_done_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 100);
        for batch in 0..3 {
            log.put_plan(plan(batch, batch, "a"), OffsetSeq::default()).unwrap();
            log.put_commit(batch, &BatchCommitted::default()).unwrap();
        }
        let path = |name: &str| folder.path().join(name);
        let left = [
            "offsets/2#17",
            "commits/0#18446744073709551615",
            "offsets/3#5",
            "offsets/1#mine",
            "offsets/x#7",
        ];
        for name in left {
            std::fs::write(path(name), "half").unwrap();
        }
        log.collect_all(&log.entries().unwrap(), 2).unwrap();
        assert_eq!(left.map(|name| path(name).exists()), [false, false, true, true, true]);
        assert_eq!(log.entries().unwrap().plans, [0, 1, 2].into());
    }

    #[test]
    fn a_checkpoint_of_foreach_batch_is_named_with_the_offsets_to_go_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 100);
        for batch in 0..3 {
            log.put_plan(plan(batch, 10 * (batch + 1), ""), OffsetSeq::default()).unwrap();
        }
        let error = log.without_transaction("file:///t/").unwrap().to_string();
        assert!(error.contains("foreachBatch") && !error.contains("startingOffsets"), "{error}");
        log.put_commit(0, &BatchCommitted::default()).unwrap();
        log.put_commit(1, &BatchCommitted::default()).unwrap();
        let error = log.without_transaction("file:///t/").unwrap().to_string();
        let next = format!("after micro-batch 1 it begins with startingOffsets: '{}'", at(20));
        assert!(error.contains("table file:///t/ holds no transaction") && error.contains(&next), "{error}");
    }

    #[test]
    fn state_is_refused_with_the_way_out_of_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 100);
        log.refuse_state().unwrap();
        log.store().put("state/0/0/1.delta", Bytes::from_static(b"x")).unwrap();
        let error = log.refuse_state().unwrap_err();
        assert!(error.to_string().contains("Spark's state"), "{error}");
        assert!(!error.to_string().contains("startingOffsets"), "{error}");
        for batch in 0..4 {
            let mut plan = plan(batch, 10 * (batch + 1), "a");
            plan.watermark_ms = 60_000 * batch;
            log.put_plan(plan, OffsetSeq::default()).unwrap();
            let committed = BatchCommitted { next_watermark_ms: 60_000 * (batch + 1), attempt: None };
            log.put_commit(batch, &committed).unwrap();
        }
        std::fs::remove_file(folder.path().join("offsets/0")).unwrap();
        let error = log.refuse_state_of_spark().unwrap_err().to_string();
        let next =
            format!("After micro-batch 3, with empty windows, it begins with startingOffsets: '{}'", at(40));
        let earlier =
            format!("with micro-batch 2, the oldest that is kept, with startingOffsets: '{}'", at(20));
        let times = "the watermark was 1970-01-01T00:02:00.000Z then and is 1970-01-01T00:03:00.000Z now";
        assert!([&next, &earlier, times].into_iter().all(|text| error.contains(text)), "{error}");
        log.store().put(STATE_DEFINITION, Bytes::from_static(b"x")).unwrap();
        log.refuse_state_of_spark().unwrap();
        let error = log.refuse_state().unwrap_err();
        assert!(error.to_string().contains("run it as it was"), "{error}");
    }

    #[test]
    fn holes_in_the_offset_log_are_refused() {
        let url = url::Url::parse("memory:///").unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let entries =
            |plans: &[i64]| Entries { plans: plans.iter().copied().collect(), commits: BTreeSet::new() };
        for whole in [&[][..], &[0], &[7, 8, 9]] {
            entries(whole).refuse_gaps(&store).unwrap();
        }
        let error = entries(&[0, 4, 5]).refuse_gaps(&store).unwrap_err();
        assert!(error.to_string().contains("micro-batches 0 and 4"), "{error}");
    }

    #[test]
    fn the_first_batch_starts_at_the_initial_offset_of_each_source() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 2);
        let mut two = plan(0, 5, "");
        two.end.0.push(Some(at(9)));
        log.put_plan(two, OffsetSeq::default()).unwrap();
        log.fix_initial_offset(0, &at(3)).unwrap();
        assert!(log.planned(0).unwrap_err().to_string().contains("sources/1/0 is missing"));
        assert_eq!(log.fix_initial_offset(1, &at(4)).unwrap(), at(4));
        assert_eq!(log.fix_initial_offset(1, &at(7)).unwrap(), at(4), "the first one stays");
        let planned = log.planned(0).unwrap();
        assert_eq!(planned.start(), &OffsetSeq(vec![Some(at(3)), Some(at(4))]));
    }

    #[test]
    fn a_missing_predecessor_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder, 2);
        log.put_plan(plan(4, 4, "a"), OffsetSeq::default()).unwrap();
        let error = log.planned(4).unwrap_err();
        assert!(error.to_string().contains("offsets/3 is missing"), "{error}");
    }
}
