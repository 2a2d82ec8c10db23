//! What of a folder belongs to the table in it, by names alone, as Delta has it.
//!
//! Names that begin with `_` or `.` are others' (`_delta_log`, a stream's `_checkpoints`), but for change data, Delta's
//! index, and folders of a partition column with such a name. A folder that is a table or a checkpoint of its own is left
//! as it is, which Delta does not see to.

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::FileKind;
use crate::model::Result;
use crate::storage::{self, Store};
use crate::table::DeltaTable;

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
        let top = self.store.root().list_with_delimiter(Some(&self.root)).await.map_err(&failed)?;
        let mut entered = Vec::new();
        for folder in top.common_prefixes {
            let name = folder.filename().unwrap_or_default().to_owned();
            if self.is_hidden(&name) {
                continue;
            }
            if !self.is_of_partition(&name) && self.is_its_own(&folder).await.map_err(&failed)? {
                left.push(name);
            } else {
                entered.push(folder);
            }
        }
        let root = std::sync::Arc::clone(self.store.root());
        let below = stream::iter(entered).flat_map(move |folder| root.list(Some(&folder)));
        Ok(stream::iter(top.objects.into_iter().map(Ok)).chain(below).map_err(failed).boxed())
    }

    /// Whether a folder is a table, or a stream's checkpoint.
    async fn is_its_own(&self, folder: &Path) -> object_store::Result<bool> {
        let found = self.store.root().list_with_delimiter(Some(folder)).await?;
        let has = |name: &str| found.common_prefixes.iter().any(|inner| inner.filename() == Some(name));
        Ok(has("_delta_log") || (has("offsets") && has("commits")))
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
