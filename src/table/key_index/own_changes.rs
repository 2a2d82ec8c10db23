//! What a commit of ours did to the table's files, as the key index takes it in without reading them.

use super::Fingerprint;
use crate::model::Result;
use crate::table::file_entry::FileIdentity;
use crate::table::{AddedFile, FileEntry};

/// Files of our own commit that one writer wrote.
#[derive(Debug)]
pub struct OwnFiles {
    /// The files.
    pub files: Vec<AddedFile>,
    /// The keys of their rows, in the order in which they were written; `None` where a part of the key is NULL. `None` if
    /// they are not all known.
    pub keys: Option<Vec<Option<Fingerprint>>>,
}

/// A file of which a commit of ours has deleted rows.
#[derive(Debug)]
pub struct OwnDeletions {
    /// The file as it was.
    pub before: FileEntry,
    /// The file with its new deletion vector.
    pub after: FileEntry,
    /// The keys of the rows that are left; `None` if they were too many to be kept.
    pub keys: Option<Vec<Fingerprint>>,
}

/// What a commit of ours did to the table's files.
#[derive(Debug, Default)]
pub struct OwnChanges {
    /// Files that it added, by the writer that wrote them.
    pub added: Vec<OwnFiles>,
    /// Files that it took out.
    pub removed: Vec<FileEntry>,
    /// Files that have other deletion vectors since.
    pub deleted: Vec<OwnDeletions>,
}

/// A file and its keys.
pub(super) type KeysOfFile = (FileEntry, Vec<Fingerprint>);

impl OwnFiles {
    /// The keys of each file, by its path; `None` if that can't be said: the writer of a table with partitions does
    /// not keep the order of rows.
    fn by_file(mut self, partitioned: bool) -> Option<Vec<KeysOfFile>> {
        if self.files.is_empty() {
            return Some(Vec::new());
        }
        let rows: u64 = self.files.iter().map(|file| file.rows).sum();
        let keys = self.keys.filter(|keys| !partitioned && rows == keys.len() as u64)?;
        self.files.sort_unstable_by_key(|file| file.number);
        let mut keys = keys.into_iter();
        let of_file = |file: AddedFile| {
            let keys = keys.by_ref().take(file.rows as usize).flatten().collect();
            (FileEntry::of_added(&file), keys)
        };
        Some(self.files.into_iter().map(of_file).collect())
    }
}

impl OwnChanges {
    /// The keys of every file that is new to the table; `None` if those of one can't be said.
    pub(super) fn keys_by_file(self, partitioned: bool) -> Option<Vec<KeysOfFile>> {
        let mut files = Vec::new();
        for own in self.added {
            files.extend(own.by_file(partitioned)?);
        }
        for deleted in self.deleted {
            files.push((deleted.after, deleted.keys?));
        }
        Some(files)
    }

    /// What identifies the files that are no longer in the table.
    pub(super) fn gone(&self) -> Result<Vec<FileIdentity>> {
        let deleted = self.deleted.iter().map(|deleted| &deleted.before);
        self.removed.iter().chain(deleted).map(FileEntry::identity).collect()
    }
}
