//! Maintenance of a table's log, never on the commit path: checkpoints, and deletion of what they cover.
//!
//! A checkpoint is written when `delta.checkpointInterval` commits stand behind the last one, and after a missed one a
//! tenth of that later (Spark waits for the next multiple, and the log is twice as long), from a snapshot of its own, in
//! the background, one at a time, on a local disk by threads that end with it: it lists every file of the
//! table, and the memory for that goes with the threads (on those that stay, 5,000 commits left 90 MiB
//! behind). Log files older than `delta.logRetentionDuration` go once two
//! checkpoints cover them; the newest commit of every application id that Alluvia made stays, for a
//! lost checkpoint of its stream is rebuilt from it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use delta_kernel::{Engine, SnapshotRef};
use object_store::ObjectMeta;
use url::Url;

use super::commit::TableGuard;
use super::history::{commit_file, own_transactions};
use super::log_engine::LogEngine;
use super::{DeltaTable, engine, features, is_log_file, kernel_error, read_snapshot, sidecars};
use crate::model::error::Context;
use crate::model::{Error, Kind, Result};
use crate::storage::Store;

/// Commits between two checkpoints where the table does not say.
pub const CHECKPOINT_INTERVAL: u64 = 100;
/// How long log files are kept where the table does not say: Delta's `interval 30 days`.
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// A checkpoint that is due, with all it needs; runs on a blocking thread of its own.
pub struct Maintenance {
    store: Store,
    snapshot: SnapshotRef,
    _at_work: MaintenanceGuard,
}

/// That this process is at the maintenance of a table: what a stream that was started again left at work, or another stream
/// on the table, is not done twice at once.
struct MaintenanceGuard(Url);

static AT_WORK: Mutex<BTreeSet<Url>> = Mutex::new(BTreeSet::new());

impl MaintenanceGuard {
    fn at(table: &Url) -> Option<MaintenanceGuard> {
        let mut tables = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(table.clone()).then(|| MaintenanceGuard(table.clone()))
    }
}

impl Drop for MaintenanceGuard {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

impl DeltaTable {
    /// Whether maintenance has become due at a version after `since`, up to the current one.
    pub fn maintenance_due(&self, since: u64) -> bool {
        let interval = self.snapshot.table_properties().checkpoint_interval;
        let covered = self.snapshot.log_segment().checkpoint_version.unwrap_or(0);
        is_due(since, self.version(), covered, interval.map_or(CHECKPOINT_INTERVAL, NonZero::get))
    }

    /// Maintenance at the current version; `None` if this process is at the table's maintenance already.
    pub fn maintenance(&self) -> Option<Maintenance> {
        Some(Maintenance {
            store: self.store.clone(),
            snapshot: Arc::clone(&self.snapshot),
            _at_work: MaintenanceGuard::at(self.store.url())?,
        })
    }

    /// Forgets the names of the log files that a checkpoint covers, by reading the log anew; called between two
    /// micro-batches, after maintenance. A table that was changed or replaced meanwhile is left for the next commit to
    /// find, which judges it.
    ///
    /// # Errors
    /// As for [`DeltaTable::open`]; nothing is changed then.
    pub fn refresh_log_segment(&mut self) -> Result<()> {
        let fresh = read_snapshot(&self.store, &self.engine)?;
        self.go_on_from(fresh)
    }

    /// The same by what the log has that is new: one LIST, if that is nothing.
    ///
    /// # Errors
    /// As for [`DeltaTable::refresh_log_segment`].
    pub fn look_for_checkpoint(&mut self) -> Result<()> {
        let fresh = self.newest()?;
        self.go_on_from(fresh)
    }

    fn go_on_from(&mut self, fresh: SnapshotRef) -> Result<()> {
        let same = TableGuard::of(&self.snapshot).check(&TableGuard::of(&fresh), self).is_ok();
        if !same || fresh.version() < self.version() || self.read_tip(self.version())? != self.head {
            return Ok(());
        }
        if fresh.version() > self.version() {
            return self.adopt(fresh);
        }
        self.snapshot = fresh;
        Ok(())
    }
}

impl Maintenance {
    /// Writes the checkpoint, then deletes what is old and covered.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`; the stream goes on without. A checkpoint is tried again after a tenth of the interval,
    /// the deletion after the next checkpoint.
    pub fn run(&self) -> Result<()> {
        // An object store's connections live on the threads that opened them, and commits use them too.
        if self.store.url().scheme() != "file" {
            return self.checkpoint_and_clean(&self.store);
        }
        thread::scope(|scope| {
            let own = thread::Builder::new().name("maintenance".into()).spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("maintenance-io")
                    .enable_all()
                    .build()
                    .map_err(cannot_start)?;
                self.checkpoint_and_clean(&self.store.clone().with_runtime(runtime.handle()))
            });
            own.map_err(cannot_start)?
                .join()
                .unwrap_or_else(|_| Err(Error::internal("the maintenance's thread panicked")))
        })
    }

    fn checkpoint_and_clean(&self, store: &Store) -> Result<()> {
        crate::failpoint!("maintenance.before");
        let engine = LogEngine::new(engine(store), store);
        self.snapshot.checkpoint(&engine, None).map_err(|e| kernel_error(e, "write a checkpoint", store))?;
        crate::failpoint!("maintenance.after");
        let retention = self.snapshot.table_properties().log_retention_duration.unwrap_or(LOG_RETENTION);
        let enabled = self.snapshot.table_properties().enable_expired_log_cleanup.unwrap_or(true);
        let protocol = self.snapshot.table_configuration().protocol();
        if !enabled || !features::allow_cleanup(protocol) {
            return Ok(());
        }
        let deleted = self.delete_expired(store, retention, &engine);
        deleted.context(|| format!("delete old files from the log of {}", store.url()))
    }

    fn delete_expired(&self, store: &Store, retention: Duration, engine: &dyn Engine) -> Result<()> {
        let files = store.objects("_delta_log")?;
        let cutoff = chrono::Utc::now() - retention;
        let expired = expired(&files, cutoff);
        // Of each application the newest commit that expires, and its transaction.
        let mut newest: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for (version, name) in &expired {
            if *name != commit_file(*version) {
                continue;
            }
            match own_transactions(store, *version) {
                Ok(transactions) => {
                    newest
                        .extend(transactions.into_iter().map(|(app_id, batch)| (app_id, (*version, batch))));
                }
                // It may be the commit that a stream needs: that it is there, and damaged, stops the stream by name.
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!(%error, "a damaged commit is not deleted from the table's log");
                    kept.insert(*version);
                }
                Err(error) => return Err(error),
            }
        }
        // A stream that has committed since needs its old commit no more.
        let needed = |app_id: &str, transaction: i64| {
            let now = self.snapshot.get_app_id_version(app_id, engine);
            !matches!(now, Ok(Some(now)) if now > transaction)
        };
        let needed = newest.into_iter().filter(|(app_id, (_, transaction))| needed(app_id, *transaction));
        kept.extend(needed.map(|(_, (version, _))| version));
        let mut goes = BTreeSet::new();
        for (version, name) in &expired {
            if !(kept.contains(version) && name.ends_with(".json")) {
                store.delete(&format!("_delta_log/{name}"))?;
                goes.insert(name.as_str());
            }
        }
        if goes.iter().any(|name| name.contains(".checkpoint")) {
            let left = files.iter().filter_map(|file| file.location.filename());
            let checkpoints = left.filter(|name| name.contains(".checkpoint") && !goes.contains(name));
            sidecars::delete_unused(store, checkpoints, cutoff)?;
        }
        Ok(())
    }
}

/// Whether a checkpoint became due after version `since`, up to `version`, where the last one is of version `covered`:
/// an interval after it, and where none came of that, each tenth of an interval further on. By versions, so that a process
/// that is started again and again does not try more often, for it may be large work; passed, not met, for other
/// writers have versions too.
fn is_due(since: u64, version: u64, covered: u64, interval: u64) -> bool {
    let overdue = version.checked_sub(covered.saturating_add(interval));
    overdue.is_some_and(|commits| version - commits % (interval / 10).max(1) > since)
}

fn cannot_start(error: std::io::Error) -> Error {
    Error::unavailable("cannot start the threads of a table's maintenance").source(error)
}

/// The log files that are older than `cutoff` and covered by the last but one checkpoint, oldest
/// first, by version and name.
fn expired(files: &[ObjectMeta], cutoff: chrono::DateTime<chrono::Utc>) -> Vec<(u64, String)> {
    let mut log: Vec<(u64, String, bool)> = files
        .iter()
        .filter_map(|file| {
            let name = file.location.filename()?;
            let version = name.get(..20)?.parse().ok()?;
            let of_it = is_log_file(name) || name.ends_with(".crc");
            of_it.then(|| (version, name.to_owned(), file.last_modified < cutoff))
        })
        .collect();
    log.sort();
    let checkpoints: BTreeSet<u64> =
        log.iter().filter(|(_, name, _)| name.contains(".checkpoint")).map(|(v, ..)| *v).collect();
    let Some(covered) = checkpoints.iter().rev().nth(1).copied() else { return Vec::new() };
    // Versions go from the oldest on without a gap, so the first young file ends what may go.
    let young = log.iter().filter(|(.., old)| !old).map(|(v, ..)| *v).min().unwrap_or(u64::MAX);
    log.into_iter().filter(|(v, ..)| *v < covered.min(young)).map(|(v, name, _)| (v, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, days_old: i64) -> ObjectMeta {
        ObjectMeta {
            location: format!("t/_delta_log/{name}").into(),
            last_modified: chrono::Utc::now() - chrono::Duration::days(days_old),
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    #[test]
    fn a_checkpoint_is_due_an_interval_after_the_last_one_and_until_it_is_made_each_tenth_of_one() {
        let at = |versions: &[u64], covered, interval| -> Vec<u64> {
            let pairs = versions.windows(2).map(|pair| (pair[0], pair[1]));
            pairs.filter(|(since, now)| is_due(*since, *now, covered, interval)).map(|(_, now)| now).collect()
        };
        let alone: Vec<u64> = (0..140).collect();
        assert_eq!(at(&alone, 0, 100), [100, 110, 120, 130]);
        assert_eq!(at(&alone, 17, 100), [117, 127, 137], "it was made at 17");
        assert_eq!(at(&alone[..9], 2, 4), [6, 7, 8]);
        assert_eq!(at(&alone[..4], 0, 1), [1, 2, 3]);
        assert!(at(&alone, 9, u64::MAX).is_empty());
        let every_other: Vec<u64> = (0..140).filter(|version| version % 2 == 1).collect();
        assert_eq!(at(&every_other, 0, 100), [101, 111, 121, 131], "others commit the even versions");
        assert_eq!(at(&[104, 104, 105, 177, 178], 0, 100), [177], "a table rests, others have been at work");
        assert_eq!(at(&[0, 177], 0, 100), [177]);
    }

    #[test]
    fn a_table_has_one_upkeep_at_a_time() {
        let [one, other] = ["file:///one/", "file:///other/"].map(|url| Url::parse(url).unwrap());
        let at_work = MaintenanceGuard::at(&one);
        assert!(
            at_work.is_some()
                && MaintenanceGuard::at(&one).is_none()
                && MaintenanceGuard::at(&other).is_some()
        );
        drop(at_work);
        assert!(MaintenanceGuard::at(&one).is_some());
    }

    #[test]
    fn only_what_is_old_and_covered_by_two_checkpoints_expires() {
        let mut files: Vec<ObjectMeta> = (0..6).map(|v| file(&format!("{v:020}.json"), 40 - v)).collect();
        let cutoff = chrono::Utc::now() - chrono::Duration::days(30);
        assert!(expired(&files, cutoff).is_empty(), "no checkpoint covers anything");
        files.push(file(&format!("{:020}.checkpoint.parquet", 3), 36));
        assert!(expired(&files, cutoff).is_empty(), "one checkpoint may be damaged");
        files.push(file(&format!("{:020}.checkpoint.parquet", 5), 1));
        let gone: Vec<u64> = expired(&files, cutoff).into_iter().map(|(v, _)| v).collect();
        assert_eq!(gone, [0, 1, 2]);
        files.push(file(&format!("{:020}.crc", 1), 39));
        files.push(file(&format!("{:020}.crc", 4), 36));
        let gone: Vec<String> = expired(&files, cutoff).into_iter().map(|(_, name)| name).collect();
        assert_eq!(gone.len(), 4, "the checksum of version 1 goes with it: {gone:?}");
    }
}
