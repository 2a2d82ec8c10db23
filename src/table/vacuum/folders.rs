//! What of a folder belongs to the table in it, by names alone, as Delta has it.
//!
//! Names that begin with `_` or `.` are others' (`_delta_log`, a stream's `_checkpoints`), but for change data, Delta's
//! index, and folders of a partition column with such a name. A folder that is a table or a checkpoint of its own, however
//! deep it lies, is left as it is, which Delta does not see to. So is what a link to a folder leads to, for it may lie outside of
//! the table. A listing shows what a folder is only after some of its files, so the table's folder is listed twice.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::{FileKind, IN_FLIGHT};
use crate::model::Result;
use crate::storage::{self, Entry, Store};
use crate::table::DeltaTable;

/// What shows that a folder is a table, a stream's checkpoint, or none of the table's folder.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    log: bool,
    offsets: bool,
    commits: bool,
    metadata: bool,
    /// It is a link.
    link: bool,
}

impl Signs {
    /// Before its first batch is committed a checkpoint has no file in `commits`.
    fn are_of_its_own(self) -> bool {
        self.log || self.link || (self.offsets && (self.commits || self.metadata))
    }
}

/// The folders that a place lies in, from the outermost on.
fn folders_of(place: &str) -> impl Iterator<Item = &str> {
    place.match_indices('/').map(move |(at, _)| &place[..at])
}

const CHANGE_DATA: &str = "_change_data";
/// Folders of the table whose names begin with `_`.
const NOT_HIDDEN: [&str; 2] = [CHANGE_DATA, "_delta_index"];

/// The folders of one table.
pub(super) struct Folders {
    store: Store,
    root: Path,
    partition_columns: Vec<String>,
    /// Whether others keep Iceberg's metadata of the table beside it.
    has_iceberg: bool,
}

impl Folders {
    pub(super) fn of(table: &DeltaTable) -> Folders {
        let formats = table.metadata().configuration().get("delta.universalFormat.enabledFormats");
        Folders {
            store: table.store.clone(),
            root: table.store.path(""),
            partition_columns: table.partition_columns().to_vec(),
            has_iceberg: formats.is_some_and(|formats| formats.contains("iceberg")),
        }
    }

    /// Everything in the table's folder but what is hidden; folders that are something of their own, and links to folders,
    /// are put in `left`.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub(super) async fn places(
        &self,
        left: &mut Vec<String>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let url = self.store.url().clone();
        let failed = move |e| storage::error(e, "list", &url, "");
        let mut top = self.store.root().list_with_delimiter(Some(&self.root)).await.map_err(&failed)?;
        top.common_prefixes.retain(|folder| !self.is_hidden(folder.filename().unwrap_or_default()));
        let own = self.own_folders(&top.common_prefixes).await.map_err(&failed)?;
        let prefix = self.root.as_ref();
        left.extend(own.iter().map(|folder| folder[prefix.len()..].trim_start_matches('/').to_owned()));
        let store = self.store.clone();
        let below = stream::iter(top.common_prefixes).flat_map(move |folder| store.own_files(&folder));
        let below = below.try_filter_map(|entry| std::future::ready(Ok(entry.file())));
        let places = stream::iter(top.objects.into_iter().map(Ok)).chain(below);
        let is_left = move |place: &Path| folders_of(place.as_ref()).any(|folder| own.contains(folder));
        let places = places.try_filter(move |file| std::future::ready(!is_left(&file.location)));
        Ok(places.map_err(failed).boxed())
    }

    /// The folders below `tops` that are a table or a checkpoint, and those that links lead to, but for those that lie in
    /// another one.
    async fn own_folders(&self, tops: &[Path]) -> object_store::Result<BTreeSet<String>> {
        let listed = stream::iter(tops.to_vec()).map(|top| async move {
            let mut signs = BTreeMap::new();
            let mut entries = self.store.own_files(&top);
            while let Some(entry) = entries.try_next().await? {
                match entry {
                    Entry::File(file) => self.note_signs(file.location.as_ref(), &mut signs),
                    Entry::LinkedFolder(folder) => {
                        // The log of a table may be a link.
                        self.note_signs(&format!("{folder}/"), &mut signs);
                        if self.belongs_to_table(&folder) {
                            signs.entry(folder.to_string()).or_default().link = true;
                        }
                    }
                }
            }
            Ok::<_, object_store::Error>(signs)
        });
        let signs: Vec<BTreeMap<String, Signs>> = listed.buffered(IN_FLIGHT).try_collect().await?;
        let own = signs.into_iter().flatten().filter(|(_, signs)| signs.are_of_its_own());
        let own: BTreeSet<String> = own.map(|(folder, _)| folder).collect();
        let is_outermost = |folder: &&String| !folders_of(folder).any(|outer| own.contains(outer));
        Ok(own.iter().filter(is_outermost).cloned().collect())
    }

    /// Notes what a file says of the folders that it lies in, as far as they are not hidden.
    fn note_signs(&self, place: &str, signs: &mut BTreeMap<String, Signs>) {
        let root = self.root.as_ref().len();
        let mut outer: Option<&str> = None;
        for folder in folders_of(place).filter(|folder| folder.len() > root) {
            let name = folder.rsplit_once('/').map_or(folder, |(_, name)| name);
            match (outer, name) {
                (Some(outer), "_delta_log") => signs.entry(outer.to_owned()).or_default().log = true,
                (Some(outer), "offsets") => signs.entry(outer.to_owned()).or_default().offsets = true,
                (Some(outer), "commits") => signs.entry(outer.to_owned()).or_default().commits = true,
                _ => {}
            }
            if self.is_hidden(name) {
                return;
            }
            outer = Some(folder);
        }
        if let (Some(outer), true) = (outer, place.ends_with("/metadata")) {
            signs.entry(outer.to_owned()).or_default().metadata = true;
        }
    }

    fn is_of_partition(&self, name: &str) -> bool {
        let is =
            |column: &String| name.strip_prefix(column.as_str()).is_some_and(|rest| rest.starts_with('='));
        self.partition_columns.iter().any(is)
    }

    /// Whether a folder or file of this name is none of the table's.
    pub(super) fn is_hidden(&self, name: &str) -> bool {
        if self.has_iceberg && name == "metadata" {
            return true;
        }
        name.starts_with(['_', '.']) && !NOT_HIDDEN.contains(&name) && !self.is_of_partition(name)
    }

    /// Whether no part of a path is hidden.
    pub(super) fn belongs_to_table(&self, place: &Path) -> bool {
        place
            .prefix_match(&self.root)
            .is_some_and(|mut parts| parts.all(|part| !self.is_hidden(part.as_ref())))
    }

    /// A path from the table's folder.
    pub(super) fn relative(&self, place: &Path) -> String {
        let parts = place.prefix_match(&self.root).into_iter().flatten();
        let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        parts.join("/")
    }

    /// What a file is that is not needed.
    pub(super) fn kind_of(&self, place: &Path) -> FileKind {
        let name = place.filename().unwrap_or_default();
        if name.starts_with("deletion_vector_") && name.ends_with(".bin") {
            FileKind::DeletionVector
        } else if self.relative(place).starts_with(CHANGE_DATA) {
            FileKind::ChangeData
        } else {
            FileKind::DataFile
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::Bytes;
    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::storage::test_runtime;
    use crate::table::vacuum::VacuumRules;

    /// What a vacuum of all that the log does not need leaves of `files`, and the folders that it says it has left.
    fn left(store: &Store, files: &[&str]) -> (Vec<String>, Vec<String>) {
        let schema =
            Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("p", DataType::Utf8, true)]);
        let mut table = DeltaTable::create(store, &schema, &["p".to_owned()], &BTreeMap::new()).unwrap();
        for file in files {
            store.put(file, Bytes::from_static(b"x")).unwrap();
        }
        let rules = VacuumRules {
            retain: Some(Duration::ZERO),
            retain_at_least: Duration::ZERO,
            any_retention: true,
            orphan_age: Duration::ZERO,
            dry_run: false,
        };
        // Files that are as young as the vacuum stay.
        std::thread::sleep(Duration::from_millis(50));
        let report = table.vacuum(&rules, &mut |_| true).unwrap();
        let there = store.all_paths().unwrap().into_iter().filter(|file| !file.starts_with("_delta_log/"));
        (there.collect(), report.folders_left)
    }

    const STAYS: [&str; 13] = [
        "_hidden/x.parquet",
        "a/_delta_log/00000000000000000000.json",
        // Listed before and after the log that says what the folder is.
        "b/silver/orders/A.parquet",
        "b/silver/orders/_delta_log/00000000000000000000.json",
        "b/silver/orders/day=1/part-0.parquet",
        "b/silver/orders/inner/_delta_log/00000000000000000000.json",
        "b/silver/orders/part-0.parquet",
        "c/100%25/d/commits/0",
        "c/100%25/d/offsets/0",
        "c/100%25/d/state/0/1.delta",
        "e/f/metadata",
        "e/f/offsets/0",
        "p=1/g/_delta_log/00000000000000000000.json",
    ];
    const GOES: [&str; 6] = [
        "b/part-0.parquet",
        "b/silver/orders.parquet",
        "c/100%25/part-0.parquet",
        "e/part-0.parquet",
        "h/offsets/part-0.parquet",
        "p=1/part-0.parquet",
    ];

    #[test]
    fn tables_and_checkpoints_in_the_folder_stay_as_they_are_however_deep_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let on_disk = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let url = Url::parse("memory:///lake/t/").unwrap();
        let in_memory = Store::new(Arc::new(InMemory::new()), url, Path::from("lake/t"), test_runtime());
        for store in [on_disk, in_memory] {
            let (there, folders) = left(&store, &[&STAYS[..], &GOES[..]].concat());
            assert_eq!(there, STAYS);
            assert_eq!(folders, ["a", "b/silver/orders", "c/100%25/d", "e/f", "p=1/g"]);
        }
    }

    #[test]
    fn what_a_link_leads_to_is_never_deleted_and_a_link_to_a_file_is() {
        let (folder, victim) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (real, victim) = (folder.path().join("real"), victim.path());
        fs::create_dir(&real).unwrap();
        // The table is found by a link.
        symlink(&real, folder.path().join("t")).unwrap();
        let url = Url::from_directory_path(folder.path().join("t")).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        for name in
            ["part-0.parquet", "inner/part-1.parquet", "part-2.parquet#7", "log/00000000000000000000.json"]
        {
            let place = victim.join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, "x").unwrap();
            let past = SystemTime::now() - Duration::from_secs(3600);
            File::options().write(true).open(&place).unwrap().set_modified(past).unwrap();
        }
        for inner in ["d/e", "p=2", "silver"] {
            fs::create_dir_all(real.join(inner)).unwrap();
        }
        symlink(victim, real.join("link")).unwrap();
        symlink(victim, real.join("d/e/link")).unwrap();
        symlink(victim, real.join("p=1")).unwrap();
        symlink(&real, real.join("d/round")).unwrap();
        symlink(victim.join("part-0.parquet"), real.join("d/file.parquet")).unwrap();
        // A table whose log is a link.
        symlink(victim.join("log"), real.join("silver/_delta_log")).unwrap();
        let (there, folders) =
            left(&store, &["d/part-0.parquet", "p=2/part-0.parquet", "silver/part-0.parquet"]);
        assert!(
            there.iter().all(|file| !file.starts_with("p=2/") && !file.starts_with("d/part")),
            "{there:?}"
        );
        assert_eq!(folders, ["d/e/link", "d/round", "link", "p=1", "silver"]);
        assert!(!real.join("d/file.parquet").is_symlink() && real.join("silver/part-0.parquet").exists());
        for name in ["part-0.parquet", "inner/part-1.parquet", "part-2.parquet#7"] {
            assert!(victim.join(name).exists(), "{name}");
        }
        for link in ["link", "d/e/link", "p=1", "d/round"] {
            assert!(real.join(link).is_symlink(), "{link}");
        }
    }

    #[test]
    fn names_that_no_object_can_have_stop_no_vacuum() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        for name in ["a\n.parquet", "d/\t.parquet"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let (there, _) = left(&store, &["d/part-0.parquet"]);
        assert!(there.is_empty(), "{there:?}");
        assert!(folder.path().join("d/\t.parquet").exists());
    }

    #[test]
    fn what_killed_writers_left_in_a_table_inside_the_table_is_that_tables() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let staged = ["b/silver/orders/part-1.parquet#7", "p=ü%20/g/day=1/part-1.parquet#8", "_hidden/x#9"];
        let goes = ["b/part-1.parquet#10", "p=ü%20/part-1.parquet#11", "b/silver/orders-2/part-1.parquet#12"];
        for file in staged.iter().chain(&goes) {
            let place = folder.path().join(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, "x").unwrap();
        }
        let tables =
            ["b/silver/orders/_delta_log/00000000000000000000.json", "p=ü%20/g/_delta_log/_last_checkpoint"];
        let (_, folders) = left(&store, &tables);
        assert_eq!(folders, ["b/silver/orders", "p=ü%20/g"]);
        let is_there = |file: &&&str| folder.path().join(file).exists();
        assert_eq!(staged.iter().filter(is_there).count(), staged.len());
        assert_eq!(goes.iter().filter(is_there).count(), 0);
    }
}
