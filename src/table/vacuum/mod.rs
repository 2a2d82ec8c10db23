//! Vacuum, as Delta's VACUUM: files in a table's folder that its log does not need any more are deleted.
//!
//! A file goes if neither the newest version nor a removal within the retention names it ([`needed`]) and it is older than
//! the retention; so do deletion vectors and change data. Folders and files whose names begin with `_` or `.` stay, as
//! with Delta. Files of runs of a stream's micro-batches that never became part of the table go sooner ([`orphans`]).
//!
//! The log is read before the folder is listed, and what is younger than that read stays whatever the retention is: a
//! file that another writer commits meanwhile is either named or young.

mod folders;
mod links;
mod needed;
mod orphans;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::Serialize;

use self::folders::Folders;
use self::needed::Needed;
use super::DeltaTable;
use crate::failpoint;
use crate::model::{Error, Result};
use crate::storage::{self, Store};

/// How long files stay that have left the table where it does not say: Delta's `interval 1 week`.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How old files of a batch that was committed without them are at least before they go.
pub const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);
/// Files that are collected before they are deleted.
const AT_A_TIME: usize = 1_000;
/// Deletions, and looks into files, that are under way at once.
const IN_FLIGHT: usize = 16;
/// Files that a report names: as many as Spark's dry run shows.
const NAMED_MAX: usize = 1_000;

/// What is deleted.
#[derive(Debug, Clone)]
pub struct VacuumRules {
    /// How long files stay that have left the table; `None` for the table's `delta.deletedFileRetentionDuration`.
    pub retain: Option<Duration>,
    /// How long they stay at least, whatever the table says.
    pub retain_at_least: Duration,
    /// Whether `retain` may be shorter than the table says.
    pub any_retention: bool,
    /// How old an orphan is at least.
    pub orphan_age: Duration,
    /// Whether files are only named.
    pub dry_run: bool,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VacuumCount {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub size_bytes: u64,
}

impl VacuumCount {
    fn add(&mut self, size_bytes: u64) {
        self.files += 1;
        self.size_bytes += size_bytes;
    }
}

/// What a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FileKind {
    /// A data file, or what else lay in the table's folder.
    DataFile,
    /// A file of deletion vectors.
    DeletionVector,
    /// Change data.
    ChangeData,
    /// Of a run of a stream's micro-batch that never became part of the table.
    Orphan,
}

/// A file that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VacuumedFile {
    /// Its path from the table's folder, as it is stored.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// What it was.
    pub kind: FileKind,
}

/// What a vacuum did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VacuumReport {
    /// The version that was read.
    pub version: u64,
    /// How long files stay that have left the table.
    pub retention_ms: u64,
    /// What went, or in a dry run would go, by kind.
    pub deleted: BTreeMap<FileKind, VacuumCount>,
    /// Files that the log does not need and that are too young to go.
    pub too_young: VacuumCount,
    /// Folders that are tables or checkpoints themselves, or that links lead to, and stay as they are.
    pub folders_left: Vec<String>,
    /// The first thousand files that went.
    pub files: Vec<VacuumedFile>,
}

impl VacuumReport {
    /// All that went.
    pub fn total(&self) -> VacuumCount {
        let mut total = VacuumCount::default();
        for count in self.deleted.values() {
            total.files += count.files;
            total.size_bytes += count.size_bytes;
        }
        total
    }
}

/// Until when files that are not needed must have been written to go.
struct Cutoffs {
    unneeded: DateTime<Utc>,
    /// Older than this a removal may be forgotten, so that it is not known whether a file ever was in the table.
    removals_known: DateTime<Utc>,
    orphan: DateTime<Utc>,
}

impl DeltaTable {
    /// Deletes what the table does not need any more; `each` is told how far it is, and whether it goes on is its answer.
    ///
    /// # Errors
    /// `Config` if the retention is shorter than the table's, or the table's can't be read; `Corrupt` if the log can't
    /// be read; `Unavailable` if storage does not answer. What was deleted by then stays deleted, and another vacuum
    /// deletes the rest.
    pub fn vacuum(
        &mut self,
        rules: &VacuumRules,
        each: &mut dyn FnMut(&VacuumReport) -> bool,
    ) -> Result<VacuumReport> {
        // Before the log is read.
        let now = Utc::now();
        self.refresh()?;
        let of_table = self.snapshot.table_properties().deleted_file_retention_duration.unwrap_or(RETENTION);
        let retention = rules.retain.unwrap_or(of_table).max(rules.retain_at_least);
        if retention < of_table && !rules.any_retention {
            return Err(too_short(&self.store, retention, of_table));
        }
        let cutoffs = Cutoffs {
            unneeded: before(now, retention),
            removals_known: before(now, of_table),
            orphan: before(now, rules.orphan_age),
        };
        let needed = Needed::read(self, cutoffs.unneeded)?;
        let mut report = VacuumReport {
            version: self.version(),
            retention_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX),
            ..VacuumReport::default()
        };
        let folders = Folders::of(self);
        let mut places = self.store.block_on(folders.places(&mut report.folders_left))?;
        loop {
            let found = self.store.block_on(next_unneeded(&mut places, &needed, &folders))?;
            if found.is_empty() {
                break;
            }
            self.delete_unneeded(found, &cutoffs, rules, &folders, &mut report)?;
            if !each(&report) {
                return Ok(report);
            }
        }
        self.delete_cut_off(&cutoffs, rules, &folders, &mut report)?;
        Ok(report)
    }

    /// Deletes those of some files that are old enough.
    fn delete_unneeded(
        &mut self,
        found: Vec<ObjectMeta>,
        cutoffs: &Cutoffs,
        rules: &VacuumRules,
        folders: &Folders,
        report: &mut VacuumReport,
    ) -> Result<()> {
        let (old, young): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|file| file.last_modified < cutoffs.unneeded);
        let may_be = |file: &ObjectMeta| {
            file.last_modified < cutoffs.orphan
                && file.last_modified >= cutoffs.removals_known
                && orphans::is_named_as_ours(file.location.filename().unwrap_or_default())
        };
        let (suspects, young): (Vec<_>, Vec<_>) = young.into_iter().partition(may_be);
        let (orphans, others) = self.orphans_among(suspects)?;
        young.iter().chain(&others).for_each(|file| report.too_young.add(file.size));
        let goes: Vec<(ObjectMeta, FileKind)> = old
            .into_iter()
            .map(|file| {
                let kind = folders.kind_of(&file.location);
                (file, kind)
            })
            .chain(orphans.into_iter().map(|file| (file, FileKind::Orphan)))
            .collect();
        if !rules.dry_run {
            self.store.block_on(delete(&self.store, goes.iter().map(|(file, _)| file.location.clone())))?;
        }
        for (file, kind) in goes {
            count(report, folders.relative(&file.location), file.size, kind);
        }
        Ok(())
    }

    /// Deletes what killed processes have left of files on a local disk, which no listing shows. Folders that are left as
    /// they are keep theirs: a writer of the table in there may still be at work.
    fn delete_cut_off(
        &self,
        cutoffs: &Cutoffs,
        rules: &VacuumRules,
        folders: &Folders,
        report: &mut VacuumReport,
    ) -> Result<()> {
        let enters = |path: &str| {
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            !folders.is_hidden(name) && !report.folders_left.iter().any(|left| left == path)
        };
        for left in self.store.cut_off_files(cutoffs.orphan.into(), &enters)? {
            if !rules.dry_run {
                left.delete()?;
            }
            count(report, left.path, left.size_bytes, FileKind::Orphan);
        }
        Ok(())
    }
}

/// The time so long before another, not before 1970.
fn before(time: DateTime<Utc>, age: Duration) -> DateTime<Utc> {
    let age = chrono::Duration::from_std(age).unwrap_or(chrono::Duration::MAX);
    time.checked_sub_signed(age).unwrap_or(DateTime::UNIX_EPOCH).max(DateTime::UNIX_EPOCH)
}

fn count(report: &mut VacuumReport, path: String, size_bytes: u64, kind: FileKind) {
    report.deleted.entry(kind).or_default().add(size_bytes);
    if report.files.len() < NAMED_MAX {
        report.files.push(VacuumedFile { path, size_bytes, kind });
    }
}

/// The next files that the log does not need, not more than are deleted at a time; none at the end.
async fn next_unneeded(
    places: &mut BoxStream<'static, Result<ObjectMeta>>,
    needed: &Needed,
    folders: &Folders,
) -> Result<Vec<ObjectMeta>> {
    let mut found = Vec::new();
    while found.len() < AT_A_TIME
        && let Some(file) = places.try_next().await?
    {
        if folders.belongs_to_table(&file.location) && !needed.contains(&file.location) {
            found.push(file);
        }
    }
    Ok(found)
}

async fn delete(store: &Store, files: impl Iterator<Item = Path>) -> Result<()> {
    let one = |place: Path| async move {
        match store.root().delete(&place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                failpoint!("vacuum.some");
                Ok(())
            }
            Err(e) => Err(storage::error(e, "delete", store.url(), "")
                .context(format!("delete {place}, which the table does not need any more"))),
        }
    };
    stream::iter(files.map(Ok)).try_for_each_concurrent(IN_FLIGHT, one).await
}

fn too_short(store: &Store, retention: Duration, of_table: Duration) -> Error {
    let hours = |time: Duration| (time.as_secs_f64() / 36.0).round() / 100.0;
    Error::config(format!(
        "a retention of {} hours is shorter than the {} hours of table {} (delta.deletedFileRetentionDuration)",
        hours(retention),
        hours(of_table),
        store.url()
    ))
    .hint("a reader or a writer that is at work on an older version needs them, and a file that is not committed yet may be one of them; if nothing else uses the table, --no-retention-check deletes them all the same")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::storage::test_runtime;
    use crate::table::test_log::{DAY, TestLog};

    #[test]
    fn files_of_the_table_stay_whatever_links_the_table_is_opened_and_they_are_named_by() {
        let links = tempfile::tempdir().unwrap();
        let log = TestLog::plain(json!({}));
        let real = log.store().url().to_file_path().unwrap();
        let [one, two] = ["one", "two"].map(|name| links.path().join(name));
        [&one, &two].into_iter().for_each(|link| symlink(&real, link).unwrap());
        let vector = json!({
            "storageType": "u", "pathOrInlineDv": "vBn[lx{q8@P<9BNH/isA", "offset": 1, "sizeInBytes": 1, "cardinality": 1,
        });
        let vector_name = "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin";
        let places = [
            "relative.parquet".to_owned(),
            Url::from_file_path(real.join("real.parquet")).unwrap().to_string(),
            Url::from_file_path(one.join("one.parquet")).unwrap().to_string(),
            two.join("two.parquet").display().to_string(),
        ];
        for place in &places {
            let (_, name) = place.rsplit_once('/').unwrap_or(("", place));
            log.write(name, 60 * DAY);
            log.commit(&[json!({"add": {
                "path": place, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true,
                "deletionVector": vector,
            }})]);
        }
        log.write(vector_name, 60 * DAY);
        log.write("gone.parquet", 60 * DAY);
        // A partition and a file that are links to what lies beside them.
        std::fs::create_dir(real.join("data")).unwrap();
        symlink("data", real.join("p=1")).unwrap();
        log.write("data/part.parquet", 60 * DAY);
        log.write("target.parquet", 60 * DAY);
        symlink("target.parquet", real.join("mid.parquet")).unwrap();
        symlink("mid.parquet", real.join("link.parquet")).unwrap();
        for path in ["p=1/part.parquet", "link.parquet"] {
            log.commit(&[json!({"add": {
                "path": path, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true,
            }})]);
        }
        let rules = VacuumRules {
            retain: Some(Duration::ZERO),
            retain_at_least: Duration::ZERO,
            any_retention: true,
            orphan_age: ORPHAN_AGE,
            dry_run: true,
        };
        for root in [&real, &one, &two] {
            let url = Url::from_directory_path(root).unwrap();
            let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
            let report = DeltaTable::open(&store).unwrap().unwrap().vacuum(&rules, &mut |_| true).unwrap();
            let goes: Vec<&str> = report.files.iter().map(|file| file.path.as_str()).collect();
            assert_eq!(goes, ["gone.parquet"], "{}", root.display());
        }
    }

    #[test]
    fn a_retention_in_any_form_of_deltas_counts_also_once_a_checkpoint_holds_the_removal() {
        let rules = VacuumRules {
            retain: None,
            retain_at_least: Duration::ZERO,
            any_retention: false,
            orphan_age: ORPHAN_AGE,
            dry_run: true,
        };
        let name = "gone.parquet";
        for (retention, days, kept) in [
            ("interval 30 days", 30, true),
            ("30 days", 30, true),
            ("INTERVAL 4 weeks 2 Days", 30, true),
            ("1 week", 7, false),
        ] {
            let log = TestLog::plain(json!({"delta.deletedFileRetentionDuration": retention}));
            let removed = (Utc::now() - chrono::Duration::days(10)).timestamp_millis();
            log.commit(&[
                json!({"remove": {"path": name, "deletionTimestamp": removed, "dataChange": true}}),
            ]);
            // Older than any of the retentions, so that the removal alone keeps it.
            log.write(name, 60 * DAY);
            for checkpoints in 0..2 {
                let report = log.open().unwrap().vacuum(&rules, &mut |_| true).unwrap();
                assert_eq!(u128::from(report.retention_ms), (days * DAY).as_millis(), "{retention}");
                assert_eq!(report.files.is_empty(), kept, "{retention}, {checkpoints} checkpoints");
                if checkpoints == 0 {
                    log.maintain();
                }
            }
        }
    }
}
