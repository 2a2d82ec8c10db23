//! By which names a listing shows the files of a table on a local disk.
//!
//! The log may name a file with other links in its path than the table was opened by, or by a place that the table's folder is
//! mounted at too, and a file may be a link to another one of the table. A vacuum must keep the file under the name that it finds.
//! What the disk does not tell may be such a file: then nothing is deleted.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};

use object_store::path::Path;

use crate::model::{Error, Result};
use crate::storage::Store;

/// Links that lead to one another: Linux follows as many.
const LINKS_MAX: usize = 40;
/// The longest name, in bytes, that the usual file systems take.
const NAME_BYTES_MAX: usize = 255;

/// The table's folder, and the folders that its files are named to be in.
pub(super) struct Links {
    /// The table's folder as it is listed.
    listed_root: PathBuf,
    /// Without links.
    root: PathBuf,
    /// What it is by any name.
    root_id: (u64, u64),
    /// What a listing calls folders; `None` of those outside of the table's.
    folders: HashMap<PathBuf, Option<PathBuf>>,
}

impl Links {
    /// Of a table on a local disk; `None` in an object store, which has no links.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not tell where the folder is.
    pub(super) fn of(store: &Store) -> Result<Option<Links>> {
        let Some(listed_root) = store.local_folder() else { return Ok(None) };
        let found = fs::canonicalize(&listed_root).and_then(|root| Ok((id(&fs::metadata(&root)?), root)));
        let (root_id, root) = found.map_err(|e| unknown(e, &listed_root))?;
        Ok(Some(Links { listed_root, root, root_id, folders: HashMap::new() }))
    }

    /// What a listing calls the file at `place`, and each link on the way to it, as far as they are in the table.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not tell.
    pub(super) fn listed(&mut self, place: &Path) -> Result<Vec<Path>> {
        let mut listed = Vec::new();
        let mut file = FsPath::new("/").join(place.as_ref());
        for _ in 0..LINKS_MAX {
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { break };
            if let Some(folder) = self.listed_folder(folder)? {
                listed.extend(Path::from_absolute_path(folder.join(name)).ok());
            }
            let target = match fs::read_link(&file) {
                // It is no link.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => None,
                target => there(target, &file)?,
            };
            let Some(target) = target else { break };
            file = folder.join(target);
        }
        Ok(listed)
    }

    /// What a listing calls a folder; `None` if it is outside of the table's, or not there.
    fn listed_folder(&mut self, folder: &FsPath) -> Result<Option<&FsPath>> {
        if !self.folders.contains_key(folder) {
            let listed = match there(fs::canonicalize(folder), folder)? {
                Some(resolved) => self.below_root(&resolved)?,
                None => None,
            };
            self.folders.insert(folder.to_owned(), listed);
        }
        Ok(self.folders.get(folder).and_then(Option::as_deref))
    }

    /// The same of a place that no link leads to.
    fn below_root(&self, resolved: &FsPath) -> Result<Option<PathBuf>> {
        if let Ok(below) = resolved.strip_prefix(&self.root) {
            return Ok(Some(self.listed_root.join(below)));
        }
        // What is mounted at two places is one folder by both names.
        for folder in resolved.ancestors() {
            let is_root =
                there(fs::metadata(folder), folder)?.is_some_and(|found| id(&found) == self.root_id);
            if let (true, Ok(below)) = (is_root, resolved.strip_prefix(folder)) {
                return Ok(Some(self.listed_root.join(below)));
            }
        }
        Ok(None)
    }
}

/// The device and the number on it.
fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// What the disk says of a place; `None` if nothing is there.
fn there<T>(answer: io::Result<T>, place: &FsPath) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        // One of the spellings of a name is URL-encoded, which may be longer than any name on the disk.
        Err(e) if e.raw_os_error() == Some(libc::ENAMETOOLONG) && has_long_name(place) => Ok(None),
        Err(e) => Err(unknown(e, place)),
    }
}

fn has_long_name(place: &FsPath) -> bool {
    place.components().any(|part| part.as_os_str().len() > NAME_BYTES_MAX)
}

fn unknown(error: io::Error, place: &FsPath) -> Error {
    Error::unavailable(format!("cannot find out where {} is", place.display()))
        .source(error)
        .hint("nothing was deleted")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use url::Url;

    use super::*;
    use crate::model::Kind;
    use crate::storage::test_runtime;

    /// An empty table's folder.
    fn table() -> (TempDir, PathBuf, Links) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let url = Url::from_directory_path(&root).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let links = Links::of(&store).unwrap().unwrap();
        (folder, root, links)
    }

    /// What a listing calls a file, from `root`.
    fn listed(links: &mut Links, file: &FsPath, root: &str) -> Vec<String> {
        let listed = links.listed(&Path::from_absolute_path(file).unwrap()).unwrap();
        let below = |place: &Path| format!("/{place}").strip_prefix(root).unwrap().to_owned();
        listed.iter().map(below).collect()
    }

    #[test]
    fn every_link_on_the_way_to_a_file_is_needed() {
        let (_folder, root, mut links) = table();
        let other = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.join("p=1/data")).unwrap();
        fs::write(root.join("target.parquet"), "x").unwrap();
        symlink("target.parquet", root.join("mid.parquet")).unwrap();
        // Through a folder that is a link, up from where that leads to, and through one outside of the table.
        symlink("p=1/data", root.join("folder")).unwrap();
        symlink("../../mid.parquet", root.join("p=1/data/up.parquet")).unwrap();
        symlink(root.join("folder/up.parquet"), other.path().join("far.parquet")).unwrap();
        symlink(other.path().join("far.parquet"), root.join("link.parquet")).unwrap();
        symlink("round.parquet", root.join("round.parquet")).unwrap();
        let at = root.display().to_string();
        let found = listed(&mut links, &root.join("link.parquet"), &at);
        assert_eq!(found, ["/link.parquet", "/p=1/data/up.parquet", "/mid.parquet", "/target.parquet"]);
        assert_eq!(listed(&mut links, &root.join("gone/x.parquet"), &at), [""; 0]);
        assert!(listed(&mut links, &root.join("round.parquet"), &at).contains(&"/round.parquet".to_owned()));
    }

    #[test]
    fn a_folder_that_is_mounted_at_two_places_is_one_table() {
        let (_folder, root, links) = table();
        fs::create_dir(root.join("p=1")).unwrap();
        // As if the table had been opened by another place than the one that the log names.
        let mut links = Links { listed_root: "/mnt/t".into(), root: "/mnt/t".into(), ..links };
        for file in ["x.parquet", "p=1/x.parquet"] {
            assert_eq!(listed(&mut links, &root.join(file), "/mnt/t/"), [file]);
        }
        let other = tempfile::tempdir().unwrap();
        assert_eq!(listed(&mut links, &other.path().join("x.parquet"), "/mnt/t/"), [""; 0]);
    }

    #[test]
    fn what_the_disk_does_not_tell_is_not_outside_of_the_table() {
        let (_folder, root, mut links) = table();
        // As root too the disk refuses these.
        symlink("n".repeat(300), root.join("long")).unwrap();
        symlink("round", root.join("round")).unwrap();
        for folder in ["long", "round"] {
            let file = Path::from_absolute_path(root.join(folder).join("x.parquet")).unwrap();
            let error = links.listed(&file).unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert_eq!(error.hint_text(), Some("nothing was deleted"));
        }
        // A spelling that can't be the name of a file is no file's.
        let encoded = root.join("p=".to_owned() + &"%25".repeat(100));
        for file in [encoded.clone(), encoded.join("x.parquet")] {
            assert!(links.listed(&Path::parse(file.to_str().unwrap()).unwrap()).is_ok());
        }
    }
}
