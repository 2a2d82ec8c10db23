//! The manifest of an index: whose keys it holds as of which version, and which runs it is made of.
//!
//! One file, replaced as a whole: a line of JSON, the table's files in binary, and a checksum over both. What it names
//! is on the disk before it is. A manifest that can't be read, or that is of another table, of other key columns or of
//! another release's form, makes no index.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file_list::{EntryPlace, FileList};
use super::files::{CoveredFile, CoveredFiles};
use super::fingerprint::{FINGERPRINT_BYTES, Fingerprint, HashSecret};
use super::{FileId, damaged, name_of};

/// The name of the manifest in the index's folder.
pub(super) const MANIFEST: &str = "manifest";
/// The form of all files of an index, this one included.
const FORMAT: u32 = 2;
/// Bytes of a file in the manifest: its identity, its number, its entries, where the list of files has it.
const FILE_BYTES: usize = FINGERPRINT_BYTES + 4 + 8 + 8 + 4;

/// What an index holds the keys of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IndexedKeys {
    /// The table: `metaData.id`.
    pub table_id: String,
    /// The key columns and their types, in order.
    pub key_columns: Vec<(String, String)>,
    /// The column of event times and the microseconds of `merge.within`; `None` if the keys of all rows are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<(String, i64)>,
    /// What these columns are called in the table's files, where that is not their name: columns may have been renamed, or
    /// dropped and added again, and a name stands for other values then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_files: Vec<String>,
}

/// A version of the table's log, and a hash of the commit file that made it: a log that was restored and went on has
/// another commit under the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogPosition {
    /// The version.
    pub version: u64,
    /// The hash of its commit; none if the log no longer holds it.
    pub commit_hash: Option<u64>,
}

/// An index's manifest.
pub(super) struct Manifest {
    pub(super) keys: IndexedKeys,
    pub(super) position: LogPosition,
    pub(super) secret: HashSecret,
    /// The names of the runs in the index's folder.
    pub(super) runs: Vec<String>,
    pub(super) files: CoveredFiles,
    /// Rows from this event time on are in covered files; `None` if all are. Microseconds since the Unix epoch.
    pub(super) covered_from: Option<i64>,
    /// The name of the list of files in the index's folder, its bytes, and where in it the files are.
    pub(super) list: String,
    pub(super) list_bytes: u64,
    pub(super) list_places: HashMap<FileId, EntryPlace>,
}

/// What an index in a folder says of itself; nothing but its manifest is read, so that the stream that uses it is not disturbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedIndex {
    /// The key columns.
    pub key_columns: Vec<String>,
    /// The version of the table that it was last saved for.
    pub version: u64,
    /// The keys that it holds: a key that is in several files counts as often.
    pub keys: u64,
}

impl SavedIndex {
    /// The index in `folder` of the table with this id; `None` if there is none that can be read.
    pub fn of(folder: &Path, table_id: &str) -> Option<SavedIndex> {
        let manifest = Manifest::read(folder).ok()?;
        (manifest.keys.table_id == table_id).then(|| SavedIndex {
            key_columns: manifest.keys.key_columns.into_iter().map(|(name, _)| name).collect(),
            version: manifest.position.version,
            keys: manifest.files.entries(),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    format: u32,
    keys: IndexedKeys,
    position: LogPosition,
    secret: [u8; 16],
    runs: Vec<String>,
    files: u64,
    next_file: FileId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    covered_from: Option<i64>,
    list: String,
    list_bytes: u64,
}

impl Manifest {
    /// Reads the manifest in `folder`.
    ///
    /// # Errors
    /// `InvalidData` if it is damaged or in another form, `NotFound` if there is none, or what the system says.
    pub(super) fn read(folder: &Path) -> io::Result<Manifest> {
        Manifest::parse(&fs::read(folder.join(MANIFEST))?)
    }

    /// The same of the manifest's bytes.
    ///
    /// # Errors
    /// `InvalidData` if they are damaged or in another form.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Manifest> {
        let broken = || damaged("the manifest is cut off or damaged".into());
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(broken)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return Err(broken());
        }
        let line = body.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let head: Head = serde_json::from_slice(&body[..line]).map_err(|_| broken())?;
        if head.format != FORMAT {
            return Err(damaged(format!("the manifest has the form {}, not {FORMAT}", head.format)));
        }
        let records = &body[line + 1..];
        if records.len() as u64 != head.files * FILE_BYTES as u64 {
            return Err(broken());
        }
        let (files, list_places) = records.chunks_exact(FILE_BYTES).map(decode_file).unzip();
        Ok(Manifest {
            keys: head.keys,
            position: head.position,
            secret: HashSecret::from_bytes(head.secret),
            runs: head.runs,
            files: CoveredFiles::restore(files, head.next_file),
            covered_from: head.covered_from,
            list: head.list,
            list_bytes: head.list_bytes,
            list_places,
        })
    }

    /// Puts the manifest in the place of the one in `folder`; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(
        folder: &Path,
        (keys, position, secret): (&IndexedKeys, LogPosition, &HashSecret),
        runs: Vec<String>,
        (files, covered_from): (&CoveredFiles, Option<i64>),
        list: &FileList,
    ) -> io::Result<()> {
        let head = Head {
            format: FORMAT,
            keys: keys.clone(),
            position,
            secret: *secret.as_bytes(),
            runs,
            files: files.len() as u64,
            next_file: files.next_id(),
            covered_from,
            list: name_of(list.path()),
            list_bytes: list.bytes(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        for (identity, file) in files.iter() {
            bytes.extend(identity.to_bytes());
            bytes.extend(file.id.to_le_bytes());
            bytes.extend(file.entries.to_le_bytes());
            let place = list.place(file.id).ok_or_else(|| damaged("a file is not in the list".into()))?;
            bytes.extend(place.at.to_le_bytes());
            bytes.extend(place.bytes.to_le_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        let fresh = folder.join(format!("{MANIFEST}.{}", uuid::Uuid::new_v4()));
        let mut file = File::create_new(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(MANIFEST))?;
        File::open(folder)?.sync_all()
    }
}

fn decode_file(bytes: &[u8]) -> ((Fingerprint, CoveredFile), (FileId, EntryPlace)) {
    let (identity, rest) = bytes.split_at(FINGERPRINT_BYTES);
    let (id, rest) = rest.split_at(4);
    let (entries, rest) = rest.split_at(8);
    let (at, length) = rest.split_at(8);
    let id = FileId::from_le_bytes(id.try_into().expect("four bytes"));
    let entries = u64::from_le_bytes(entries.try_into().expect("eight bytes"));
    let at = u64::from_le_bytes(at.try_into().expect("eight bytes"));
    let bytes = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let identity = Fingerprint::from_bytes(identity.try_into().expect("a fingerprint is 16 bytes"));
    ((identity, CoveredFile { id, entries }), (id, EntryPlace { at, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> IndexedKeys {
        IndexedKeys {
            table_id: "t".into(),
            key_columns: vec![("id".into(), "STRING".into())],
            within: Some(("at".into(), 7)),
            in_files: vec!["col-1".into(), "col-2".into()],
        }
    }

    fn files() -> CoveredFiles {
        let mut files = CoveredFiles::default();
        (0..100).for_each(|i| {
            let id = files.reserve();
            files.cover(Fingerprint { high: i, low: i * 7 }, id, i);
        });
        files.retain(|identity| identity.high != 50);
        files
    }

    const POSITION: LogPosition = LogPosition { version: 7, commit_hash: Some(99) };

    fn write(folder: &Path) {
        let secret = HashSecret::from_bytes([4; 16]);
        let lists = tempfile::tempdir().unwrap();
        let mut list = FileList::create(lists.path()).unwrap();
        files().iter().for_each(|(_, file)| list.add(file.id, b"{}").unwrap());
        let of = (&keys(), POSITION, &secret);
        Manifest::write(folder, of, vec!["a".into()], (&files(), Some(-5)), &list).unwrap();
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        write(folder.path());
        let read = Manifest::read(folder.path()).unwrap();
        assert_eq!((read.keys, read.position, read.files), (keys(), POSITION, files()));
        assert_eq!((read.secret.as_bytes(), read.runs), (&[4; 16], vec!["a".to_owned()]));
        assert_eq!((read.list_places.len(), read.list_bytes), (99, 99 * 14));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_manifest_that_is_missing_cut_off_or_flipped_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).err().unwrap().kind(), io::ErrorKind::NotFound);
        write(folder.path());
        let path = folder.path().join(MANIFEST);
        let whole = fs::read(&path).unwrap();
        for cut in [0, 3, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Manifest::read(folder.path()).is_err(), "cut to {cut}");
        }
        for bit in (0..whole.len() * 8).step_by(31) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert!(Manifest::read(folder.path()).is_err(), "bit {bit}");
        }
    }
}
