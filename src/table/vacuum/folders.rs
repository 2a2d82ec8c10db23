//! What of a folder belongs to the table in it, by names alone, as Delta has it.
//!
//! Names that begin with `_` or `.` are others' (`_delta_log`, a stream's `_checkpoints`), but for change data, Delta's
//! index, and folders of a partition column with such a name. A folder that is a table or a checkpoint of its own, however
//! deep it lies, is left as it is, which Delta does not see to. A listing shows what a folder is only after some of its files,
//! so the table's folder is listed twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::{FileKind, IN_FLIGHT};
use crate::model::Result;
use crate::storage::{self, Store};
use crate::table::DeltaTable;

/// What lies in a folder that is a table, or a stream's checkpoint.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    log: bool,
    offsets: bool,
    commits: bool,
    metadata: bool,
}

impl Signs {
    /// Before its first batch is committed a checkpoint has no file in `commits`.
    fn are_of_its_own(self) -> bool {
        self.log || (self.offsets && (self.commits || self.metadata))
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

    /// Everything in the table's folder but what is hidden; folders that are something of their own are put in `left`.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub(super) async fn places(
        &self,
        left: &mut Vec<String>,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let url = self.store.url().clone();
        let failed = move |e| storage::error(e, "list", &url, "");
        let root = Arc::clone(self.store.root());
        let mut top = root.list_with_delimiter(Some(&self.root)).await.map_err(&failed)?;
        top.common_prefixes.retain(|folder| !self.is_hidden(folder.filename().unwrap_or_default()));
        let own = self.own_folders(&top.common_prefixes).await.map_err(&failed)?;
        let prefix = self.root.as_ref();
        left.extend(own.iter().map(|folder| folder[prefix.len()..].trim_start_matches('/').to_owned()));
        let below = stream::iter(top.common_prefixes).flat_map(move |folder| root.list(Some(&folder)));
        let places = stream::iter(top.objects.into_iter().map(Ok)).chain(below);
        let is_left = move |place: &Path| folders_of(place.as_ref()).any(|folder| own.contains(folder));
        let places = places.try_filter(move |file| std::future::ready(!is_left(&file.location)));
        Ok(places.map_err(failed).boxed())
    }

    /// The folders below `tops` that are a table or a checkpoint, but for those that lie in another one.
    async fn own_folders(&self, tops: &[Path]) -> object_store::Result<BTreeSet<String>> {
        let listed = stream::iter(tops.to_vec()).map(|top| async move {
            let mut signs = BTreeMap::new();
            let mut files = self.store.root().list(Some(&top));
            while let Some(file) = files.try_next().await? {
                self.note_signs(file.location.as_ref(), &mut signs);
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
    use std::time::Duration;

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
            store.put(&file.replace("%25", "%"), Bytes::from_static(b"x")).unwrap();
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
}
