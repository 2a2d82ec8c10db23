//! What the log says of the files that an index covers, on the disk: a merge that changes rows takes files out of the
//! table, and so needs their entries without a replay of the log.
//!
//! ```text
//! length │ checksum │ number of the file │ entry as JSON │ length │ …
//! ```
//!
//! Entries are appended; those of files that have left stay until half of the list is of no use, and the list is written
//! again under another name. In memory is only where each file's entry is.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{FileId, damaged};

/// How the names of lists begin.
pub(super) const LIST_PREFIX: &str = "files-";
/// Length, checksum, number of the file.
const HEAD_BYTES: usize = 4 + 4 + 4;
/// A list is not written again for less than this.
const USELESS_BYTES_MIN: u64 = 1 << 16;

/// The entries of an index's files.
pub(super) struct FileList {
    path: PathBuf,
    file: File,
    bytes: u64,
    useless_bytes: u64,
    places: HashMap<FileId, EntryPlace>,
}

/// Where a file's entry is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryPlace {
    /// Where it begins.
    pub(super) at: u64,
    /// How long it is with its head.
    pub(super) bytes: u32,
}

impl FileList {
    /// An empty list in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(folder: &Path) -> io::Result<FileList> {
        let path = folder.join(format!("{LIST_PREFIX}{}", Uuid::new_v4()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(FileList { path, file, bytes: 0, useless_bytes: 0, places: HashMap::new() })
    }

    /// The list at `path` of which the first `bytes` were saved; `places` says where the files' entries are. What was
    /// appended later is cut off.
    ///
    /// # Errors
    /// `InvalidData` if it is shorter, `NotFound` if it is gone, or what the system says.
    pub(super) fn open(path: &Path, bytes: u64, places: HashMap<FileId, EntryPlace>) -> io::Result<FileList> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Err(damaged("the list of files is cut off".into()));
        }
        file.set_len(bytes)?;
        let useful: u64 = places.values().map(|place| u64::from(place.bytes)).sum();
        let useless_bytes = bytes.saturating_sub(useful);
        Ok(FileList { path: path.to_owned(), file, bytes, useless_bytes, places })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the list.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the entry of a file is.
    pub(super) fn place(&self, id: FileId) -> Option<EntryPlace> {
        self.places.get(&id).copied()
    }

    /// Appends the entry of a file.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn add(&mut self, id: FileId, entry: &[u8]) -> io::Result<()> {
        let whole = HEAD_BYTES + entry.len();
        let length = u32::try_from(whole).map_err(|_| damaged("an entry is too long".into()))?;
        let mut bytes = Vec::with_capacity(whole);
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum(id, entry).to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend(entry);
        self.file.write_all_at(&bytes, self.bytes)?;
        self.places.insert(id, EntryPlace { at: self.bytes, bytes: length });
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The file has left the table.
    pub(super) fn remove(&mut self, id: FileId) {
        self.useless_bytes += self.places.remove(&id).map_or(0, |place| u64::from(place.bytes));
    }

    /// The entry of a file.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` if it is damaged or not there, or what the system says.
    pub(super) fn get(&self, id: FileId) -> io::Result<Vec<u8>> {
        let place = self.place(id).ok_or_else(|| damaged(format!("the list lacks file {id}")))?;
        let mut bytes = vec![0; (place.bytes as usize).max(HEAD_BYTES)];
        self.file.read_exact_at(&mut bytes, place.at)?;
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let sound =
            (number(0), number(8)) == (place.bytes, id) && number(4) == checksum(id, &bytes[HEAD_BYTES..]);
        if !sound {
            return Err(damaged(format!("the entry of file {id} does not match its checksum")));
        }
        bytes.drain(..HEAD_BYTES);
        Ok(bytes)
    }

    /// Writes the list to the disk, without what is of no use if that is half of it. Everything is on the disk when this
    /// returns; a list in another's place has another name.
    ///
    /// # Errors
    /// As for [`FileList::get`].
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.useless_bytes > USELESS_BYTES_MIN.max(self.bytes / 2) {
            let folder = self.path.parent().ok_or_else(|| damaged("the list is in no folder".into()))?;
            let mut fresh = FileList::create(folder)?;
            let mut ids: Vec<(u64, FileId)> = self.places.iter().map(|(id, place)| (place.at, *id)).collect();
            ids.sort_unstable();
            for (_, id) in ids {
                fresh.add(id, &self.get(id)?)?;
            }
            *self = fresh;
        }
        self.file.flush()?;
        self.file.sync_all()
    }
}

/// Covers the file's number: the entry of another file is found damaged.
fn checksum(id: FileId, entry: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(entry);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entry(id: FileId) -> Vec<u8> {
        format!("{{\"path\":\"{id}{}\"}}", "x".repeat(id as usize % 700)).into_bytes()
    }

    #[test]
    fn entries_are_found_by_their_number_before_and_after_the_list_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut list = FileList::create(folder.path()).unwrap();
        (0..1_000).for_each(|id| list.add(id, &entry(id)).unwrap());
        (0..1_000).filter(|id| id % 10 != 3).for_each(|id| list.remove(id));
        let before = list.bytes();
        list.save().unwrap();
        assert!(list.bytes() < before / 5, "{} of {before} bytes are left", list.bytes());
        let saved = list.bytes();
        list.add(2_000, b"after").unwrap();
        let opened = FileList::open(list.path(), saved, list.places.clone()).unwrap();
        (0..1_000).filter(|id| id % 10 == 3).for_each(|id| assert_eq!(opened.get(id).unwrap(), entry(id)));
        assert!(opened.get(1).is_err() && opened.get(2_000).is_err(), "neither removed nor unsaved ones");
    }

    #[test]
    fn a_list_that_is_cut_off_or_flipped_is_found_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut list = FileList::create(folder.path()).unwrap();
        (0..20).for_each(|id| list.add(id, &entry(id)).unwrap());
        list.save().unwrap();
        let (whole, places) = (fs::read(list.path()).unwrap(), list.places.clone());
        let sound = |bytes: &[u8]| {
            fs::write(list.path(), bytes).unwrap();
            let opened = FileList::open(list.path(), whole.len() as u64, places.clone());
            opened.is_ok_and(|opened| (0..20).all(|id| opened.get(id).is_ok()))
        };
        assert!(sound(&whole));
        assert!(!sound(&whole[..whole.len() - 1]));
        for bit in (0..whole.len() * 8).step_by(13) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!sound(&bytes), "bit {bit}");
        }
    }
}
