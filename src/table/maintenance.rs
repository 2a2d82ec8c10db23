//! Maintenance of a table's log, never on the commit path: checkpoints, and deletion of what they cover.
//!
//! A checkpoint is written when `delta.checkpointInterval` commits stand behind the last one, and after a missed one a
//! tenth of that later (Spark waits for the next multiple, and the log is twice as long), from a snapshot of its own,
//! in the background, one at a time, on a local disk by threads that end with it: it lists every file of the table, and
//! the memory for that goes with the threads (on those that stay, 5,000 commits left 90 MiB behind). Log files older
//! than `delta.logRetentionDuration` go once two checkpoints cover them, down to the checkpoint from which the oldest
//! younger version is rebuilt; the newest commit of every application id that Alluvia made stays, for a lost checkpoint
//! of its stream is rebuilt from it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use delta_kernel::{Engine, SnapshotRef};
use object_store::ObjectMeta;
use url::Url;

use super::commit::TableGuard;
use super::damage::whole_checkpoints;
use super::features::Shown;
use super::history::{commit_file, own_transactions};
use super::log_engine::log_engine;
use super::read_log::{For, is_log_file, read_snapshot};
use super::{DeltaTable, engine, features, kernel_error, sidecars};
use crate::model::error::Context;
use crate::model::{Error, Kind, Result};
use crate::storage::Store;

/// Commits between two checkpoints where the table does not say.
pub const CHECKPOINT_INTERVAL: u64 = 100;
/// How long log files are kept where the table does not say: Delta's `interval 30 days`.
const LOG_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How old a sidecar is at least that no checkpoint names: another writer stores the sidecars of a checkpoint first.
const SIDECAR_AGE: Duration = Duration::from_secs(24 * 3600);

/// A checkpoint that is due, with all it needs; runs on a blocking thread of its own.
pub struct Maintenance {
    store: Store,
    snapshot: SnapshotRef,
    /// Whether old files of the log may go, as far as the table's features say.
    may_clean: bool,
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
            may_clean: features::allow_cleanup(self.protocol()),
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
        let fresh = read_snapshot(&self.store, &self.engine, For::Writing)?;
        self.go_on_from(features::for_writing(fresh, &self.store)?)
    }

    /// The same by what the log has that is new: one LIST, if that is nothing.
    ///
    /// # Errors
    /// As for [`DeltaTable::refresh_log_segment`].
    pub fn look_for_checkpoint(&mut self) -> Result<()> {
        let fresh = self.newest()?;
        self.go_on_from(fresh)
    }

    fn go_on_from(&mut self, fresh: Shown) -> Result<()> {
        let version = fresh.snapshot.version();
        let same = TableGuard::of(&self.snapshot).check(&TableGuard::of(&fresh.snapshot), self).is_ok();
        if !same || version < self.version() || self.read_head(self.version())? != self.head {
            return Ok(());
        }
        if version > self.version() {
            return self.adopt(fresh);
        }
        (self.snapshot, self.own) = (fresh.snapshot, fresh.own);
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
        let engine = log_engine(engine(store), store);
        self.snapshot.checkpoint(&engine, None).map_err(|e| kernel_error(e, "write a checkpoint", store))?;
        crate::failpoint!("maintenance.after");
        let retention = self.snapshot.table_properties().log_retention_duration.unwrap_or(LOG_RETENTION);
        let enabled = self.snapshot.table_properties().enable_expired_log_cleanup.unwrap_or(true);
        if !enabled || !self.may_clean {
            return Ok(());
        }
        let deleted = self.delete_expired(store, retention, &engine);
        deleted.context(|| format!("delete old files from the log of {}", store.url()))
    }

    fn delete_expired(&self, store: &Store, retention: Duration, engine: &dyn Engine) -> Result<()> {
        let files = store.objects("_delta_log")?;
        let cutoff = cutoff(retention);
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
            sidecars::delete_unused(store, checkpoints, cutoff.min(self::cutoff(SIDECAR_AGE)))?;
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

/// The time before which log files are old.
fn cutoff(retention: Duration) -> DateTime<Utc> {
    let age = chrono::Duration::from_std(retention).unwrap_or(chrono::Duration::MAX);
    Utc::now().checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// The log files that are older than `cutoff`, covered by the last but one checkpoint, and of no use for the versions that
/// are younger, oldest first, by version and name.
fn expired(files: &[ObjectMeta], cutoff: DateTime<Utc>) -> Vec<(u64, String)> {
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
    let names = log.iter().map(|(_, name, _)| name.as_str());
    let checkpoints: BTreeSet<u64> = whole_checkpoints(names).into_iter().map(|(v, _)| v).collect();
    let Some(covered) = checkpoints.iter().rev().nth(1).copied() else { return Vec::new() };
    // Versions go from the oldest on without a gap, so the first young file ends what may go. Its version, and those up to
    // the next checkpoint, are rebuilt from the one before.
    let young = log.iter().filter(|(.., old)| !old).map(|(v, ..)| *v).min().unwrap_or(u64::MAX);
    let Some(first) = checkpoints.range(..=covered.min(young)).next_back() else { return Vec::new() };
    log.into_iter().filter(|(v, ..)| v < first).map(|(v, name, _)| (v, name)).collect()
}

#[cfg(test)]
mod tests {
    use delta_kernel::Snapshot;
    use serde_json::json;

    use super::*;
    use crate::table::test_log::{DAY, TestLog};

    fn file(name: &str, days_old: i64) -> ObjectMeta {
        ObjectMeta {
            location: format!("t/_delta_log/{name}").into(),
            last_modified: Utc::now() - chrono::Duration::days(days_old),
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
    fn a_table_has_one_maintenance_at_a_time() {
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
        let cutoff = Utc::now() - chrono::Duration::days(30);
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

    #[test]
    fn the_checkpoint_stays_from_which_young_versions_are_rebuilt() {
        let now = Utc::now();
        let cutoff = now - chrono::Duration::days(30);
        let age = |version: u64| if version <= 12 { 40 } else { 2 };
        let commits = (0..=22).map(|v| file(&format!("{v:020}.json"), age(v)));
        let checkpoint = |v: u64| file(&format!("{v:020}.checkpoint.parquet"), age(v));
        let part = |v: u64, n: u32| file(&format!("{v:020}.checkpoint.{n:010}.{:010}.parquet", 2), age(v));
        let first_left = |checkpoints: &[ObjectMeta]| {
            let files: Vec<ObjectMeta> = commits.clone().chain(checkpoints.iter().cloned()).collect();
            expired(&files, cutoff).last().map_or(0, |(version, _)| version + 1)
        };
        assert_eq!(first_left(&[checkpoint(5), checkpoint(10), checkpoint(15), checkpoint(20)]), 10);
        assert_eq!(first_left(&[checkpoint(5), checkpoint(15), checkpoint(20)]), 5);
        assert_eq!(first_left(&[checkpoint(15), checkpoint(20)]), 0, "versions 13 and 14 need all of them");
        // A checkpoint of which a part is missing is none.
        let torn = [checkpoint(5), part(10, 1), checkpoint(15), checkpoint(20)];
        assert_eq!(first_left(&torn), 5);
        let whole = [checkpoint(5), part(10, 1), part(10, 2), checkpoint(15), checkpoint(20)];
        assert_eq!(first_left(&whole), 10);
        assert_eq!(first_left(&[checkpoint(10), part(20, 2), checkpoint(21)]), 10);
        assert_eq!(first_left(&[checkpoint(10), part(20, 2)]), 0, "one checkpoint may be damaged");
    }

    #[test]
    fn a_retention_without_end_is_no_error() {
        assert_eq!(cutoff(Duration::MAX), DateTime::<Utc>::MIN_UTC);
        assert!(cutoff(LOG_RETENTION) < Utc::now());
    }

    /// A table with commits up to version 20 and a checkpoint every 5, of which what is of versions up to 12 is 40 days old,
    /// after maintenance at version 25.
    fn maintained(protocol: &serde_json::Value, properties: serde_json::Value) -> TestLog {
        let log = TestLog::new(protocol, properties);
        for version in [5, 10, 15, 20] {
            log.commit_until(version);
            log.maintain();
        }
        log.age(12, 40 * DAY);
        log.commit_until(25);
        log.maintain();
        log
    }

    #[test]
    fn every_version_within_the_retention_can_be_read_after_a_cleanup() {
        let log = maintained(&json!({"minReaderVersion": 1, "minWriterVersion": 2}), json!({}));
        assert_eq!(log.versions().first(), Some(&10));
        let store = log.store();
        for version in 10..=25 {
            let read = Snapshot::builder_for(store.url().as_str())
                .at_version(version)
                .build(engine(&store).as_ref());
            assert!(read.is_ok(), "{version}: {}", read.err().unwrap());
        }
    }

    #[test]
    fn properties_in_any_form_of_deltas_decide_on_the_cleanup() {
        let protocol = json!({"minReaderVersion": 1, "minWriterVersion": 2});
        for (properties, first) in [
            (json!({"delta.logRetentionDuration": "30 days"}), 10),
            (json!({"delta.logRetentionDuration": "365 days"}), 0),
            (json!({"delta.logRetentionDuration": "Interval 5 Weeks 6 days"}), 0),
            (json!({"delta.enableExpiredLogCleanup": "False"}), 0),
        ] {
            let log = maintained(&protocol, properties.clone());
            assert_eq!(log.versions().first(), Some(&first), "{properties}");
        }
    }

    #[test]
    fn the_log_of_a_table_with_checkpoint_protection_is_not_cleaned() {
        let properties = json!({"delta.requireCheckpointProtectionBeforeVersion": "100000"});
        for (features, first) in [(json!([]), 10), (json!(["checkpointProtection"]), 0)] {
            let protocol = json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features});
            let log = maintained(&protocol, properties.clone());
            assert_eq!(log.versions().first(), Some(&first), "{protocol}");
        }
    }
    #[test]
    fn sidecars_of_a_checkpoint_that_another_writer_has_begun_stay_whatever_the_retention_is() {
        let log = TestLog::plain(json!({"delta.logRetentionDuration": "0 seconds"}));
        let store = log.store();
        store.put("_delta_log/_sidecars/young.parquet", "x".into()).unwrap();
        log.write("_delta_log/_sidecars/old.parquet", DAY * 2);
        for version in [5, 10, 15] {
            log.commit_until(version);
            log.maintain();
        }
        assert_eq!(log.versions().first(), Some(&10));
        assert_eq!(store.names("_delta_log/_sidecars").unwrap(), ["young.parquet"]);
    }
}
