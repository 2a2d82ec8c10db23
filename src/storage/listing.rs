//! What lies in a folder of the local disk.
//!
//! `LocalFileSystem` ends a listing at the first name that no object can have, and at a link that leads back to a folder above
//! it. Here such an entry is left out, and whoever lists is told. Nothing of ours has such a name: Spark and Alluvia encode what
//! stands in the folders of partitions, and a UUID is in the name of a file. A link that leads nowhere is left out too; one that
//! can't be followed for any other reason ends the listing, for a file that is needed may be behind it.
//!
//! A link to a folder is followed by whoever reads, so that a partition may lie on another disk. Whoever deletes lists a
//! store's own files ([`Store::own_files`]), without what links lead to.

use std::fs::{self, DirEntry, Metadata, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};
use std::time::SystemTime;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::{Path, PathPart};
use object_store::{Error, ListResult, ObjectMeta, Result};

use super::Store;
use super::left_out::{LeftOut, say_once};

/// Entries that are looked at before the first of them is handed over.
const AT_A_TIME: usize = 1024;

/// What lies in a folder.
#[derive(Debug)]
pub enum Entry {
    /// A file, or a link to one: with the size and time of the file, but deleting it deletes the link.
    File(ObjectMeta),
    /// A link to a folder, whose files are not the store's own.
    LinkedFolder(Path),
}

impl Entry {
    /// The file that it is.
    pub fn file(self) -> Option<ObjectMeta> {
        match self {
            Entry::File(file) => Some(file),
            Entry::LinkedFolder(_) => None,
        }
    }
}

impl Store {
    /// The folder if it is on a local disk.
    pub fn local_folder(&self) -> Option<PathBuf> {
        // A URL of another scheme may have a path that a disk could have too.
        if self.url.scheme() == "file" { self.url.to_file_path().ok() } else { None }
    }

    /// What lies at any depth of `folder`, which is this store's folder or in it. On a local disk links to folders are shown
    /// and not entered; no other store has links.
    pub fn own_files(&self, folder: &Path) -> BoxStream<'static, Result<Entry>> {
        let root = self.local_folder();
        let (Some(root), Some(parts)) = (root, folder.prefix_match(&self.prefix)) else {
            return self.root.list(Some(folder)).map_ok(Entry::File).boxed();
        };
        let place = parts.fold(root.clone(), |place, part| place.join(part.as_ref()));
        let entries = in_pieces(Entries::below(place, folder.clone(), Links::Shown { root }));
        match &self.deadline {
            Some(deadline) => deadline.stream(entries),
            None => entries,
        }
    }
}

/// All files at any depth of the folder at `place`, which is called `location`, and of those that links in it lead to. A file
/// that is called `after`, or comes before that in the order of names, is left out.
pub(super) fn all_files(
    place: PathBuf,
    location: Path,
    after: Option<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let entries = Entries { after, ..Entries::below(place, location, Links::Followed) };
    in_pieces(entries).try_filter_map(|entry| std::future::ready(Ok(entry.file()))).boxed()
}

/// The files and folders directly in the folder at `place`, which is called `location`.
pub(super) fn level(place: &FsPath, location: &Path) -> Result<ListResult> {
    let mut found = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
    let Some(entries) = opened(place)? else { return Ok(found) };
    let left_out = LeftOut::default();
    for entry in entries {
        match look(&entry.map_err(failed)?, location, None, &left_out)? {
            None => {}
            Some(Found::File(file)) => found.objects.push(file),
            Some(Found::Folder { location, .. }) => found.common_prefixes.push(location),
        }
    }
    found.common_prefixes.sort();
    Ok(found)
}

/// What becomes of links to folders.
#[derive(Debug)]
enum Links {
    Followed,
    /// `root` may be one itself, or lie behind one.
    Shown {
        root: PathBuf,
    },
}

/// A folder whose entries are being looked at.
struct Open {
    place: PathBuf,
    location: Path,
    entries: ReadDir,
}

/// What lies at any depth of a folder, in no particular order.
struct Entries {
    /// The folder, until it is opened.
    top: Option<(PathBuf, Path)>,
    links: Links,
    after: Option<Path>,
    left_out: LeftOut,
    /// The folder that is looked at, behind those that it lies in.
    open: Vec<Open>,
}

enum Found {
    File(ObjectMeta),
    Folder { place: PathBuf, location: Path, is_link: bool },
}

impl Entries {
    fn below(place: PathBuf, location: Path, links: Links) -> Entries {
        // The entries are looked at on another thread, which has nothing of the task.
        let left_out = LeftOut::of_task();
        Entries { top: Some((place, location)), links, after: None, left_out, open: Vec::new() }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some((place, location)) = self.top.take() {
            if let Links::Shown { root } = &self.links
                && place.ancestors().take_while(|folder| *folder != root.as_path()).any(FsPath::is_symlink)
            {
                return Ok(Some(Entry::LinkedFolder(location)));
            }
            self.enter(place, location)?;
        }
        while let Some(folder) = self.open.last_mut() {
            let Some(entry) = folder.entries.next() else {
                self.open.pop();
                continue;
            };
            let entry = entry.map_err(failed)?;
            match look(&entry, &folder.location, self.after.as_ref(), &self.left_out)? {
                None => {}
                Some(Found::File(file)) => return Ok(Some(Entry::File(file))),
                Some(Found::Folder { place, location, is_link: false }) => self.enter(place, location)?,
                Some(Found::Folder { place, location, is_link: true }) => match self.links {
                    Links::Shown { .. } => return Ok(Some(Entry::LinkedFolder(location))),
                    Links::Followed if self.leads_back(&place)? => {
                        say_once(&place, "a link leads back to a folder that it is in, and is not followed");
                    }
                    Links::Followed => self.enter(place, location)?,
                },
            }
        }
        Ok(None)
    }

    fn enter(&mut self, place: PathBuf, location: Path) -> Result<()> {
        if let Some(entries) = opened(&place)? {
            self.open.push(Open { place, location, entries });
        }
        Ok(())
    }

    /// Whether a link leads to one of the folders that it lies in.
    fn leads_back(&self, link: &FsPath) -> Result<bool> {
        let id = |place: &FsPath| there(fs::metadata(place).map(|folder| (folder.dev(), folder.ino())));
        let Some(target) = id(link)? else { return Ok(true) };
        for folder in &self.open {
            if id(&folder.place)? == Some(target) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// The entries, looked for off the async workers.
fn in_pieces(entries: Entries) -> BoxStream<'static, Result<Entry>> {
    let piece = |entries: Option<Entries>| async move {
        let mut entries = entries?;
        let looked = tokio::task::spawn_blocking(move || {
            let piece: Vec<_> = entries.by_ref().take(AT_A_TIME).collect();
            let rest = (piece.len() == AT_A_TIME).then_some(entries);
            (piece, rest)
        });
        Some(looked.await.unwrap_or_else(|e| (vec![Err(e.into())], None)))
    };
    stream::unfold(Some(entries), move |entries| piece(entries).boxed()).flat_map(stream::iter).boxed()
}

/// The entries of a folder; `None` if there is none, or a file is in its place.
fn opened(place: &FsPath) -> Result<Option<ReadDir>> {
    match there(fs::metadata(place))? {
        Some(metadata) if metadata.is_dir() => there(fs::read_dir(place)),
        _ => Ok(None),
    }
}

/// What an entry of the folder `parent` is; `None` of what is left out.
fn look(entry: &DirEntry, parent: &Path, after: Option<&Path>, left_out: &LeftOut) -> Result<Option<Found>> {
    let (place, name) = (entry.path(), entry.file_name());
    let Some(part) = name.to_str().and_then(|name| PathPart::parse(name).ok()) else {
        left_out.tell(&place, "a name that is not UTF-8 or has a control character is left out of listings");
        return Ok(None);
    };
    let is_staged = is_staged(part.as_ref());
    let location = parent.clone().join(part);
    let Some(kind) = there(entry.file_type())? else { return Ok(None) };
    if kind.is_dir() {
        return Ok(Some(Found::Folder { place, location, is_link: false }));
    }
    let is_left_out = is_staged || after.is_some_and(|after| location <= *after);
    if !kind.is_symlink() && (is_left_out || !kind.is_file()) {
        return Ok(None);
    }
    let metadata = match fs::metadata(&place) {
        Err(e) if kind.is_symlink() && leads_nowhere(&e) => return Ok(None),
        Err(e) if kind.is_symlink() => {
            let why = format!("cannot follow the link {}: {e}", place.display());
            return Err(failed(io::Error::new(e.kind(), why)));
        }
        metadata => there(metadata)?,
    };
    Ok(match metadata {
        Some(folder) if folder.is_dir() => Some(Found::Folder { place, location, is_link: true }),
        Some(file) if file.is_file() && !is_left_out => Some(Found::File(object(&file, location)?)),
        _ => None,
    })
}

/// Whether the disk says of a link that nothing is behind it. What else it may say (no right to look, a server that does not
/// answer) says nothing of the file.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// Whether a file of this name is on its way to its place: `LocalFileSystem` neither reads nor deletes it.
fn is_staged(name: &str) -> bool {
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A file as `LocalFileSystem` shows it when it is asked for it, tag included.
fn object(file: &Metadata, location: Path) -> Result<ObjectMeta> {
    let modified = file.modified().map_err(failed)?;
    let micros = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    Ok(ObjectMeta {
        location,
        last_modified: modified.into(),
        size: file.len(),
        e_tag: Some(format!("{:x}-{micros:x}-{:x}", file.ino(), file.len())),
        version: None,
    })
}

/// What the disk says of something that may be gone meanwhile.
fn there<T>(answer: io::Result<T>) -> Result<Option<T>> {
    match answer {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        answer => answer.map(Some).map_err(failed),
    }
}

fn failed(error: io::Error) -> Error {
    Error::Generic { store: "local disk", source: error.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use object_store::local::LocalFileSystem;
    use object_store::{ObjectStore, ObjectStoreExt};
    use url::Url;

    use super::*;
    use crate::storage::local::DurableLocal;
    use crate::storage::test_runtime;

    fn store_at(folder: &FsPath) -> Store {
        let url = Url::from_directory_path(folder).unwrap();
        Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap()
    }

    fn write(folder: &FsPath, names: &[&str]) {
        for name in names {
            let place = folder.join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, name).unwrap();
        }
    }

    /// The store's own files and the folders that links lead to.
    fn own(store: &Store) -> (Vec<String>, Vec<String>) {
        let entries = store.own_files(&store.path("")).try_collect::<Vec<Entry>>();
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for entry in store.block_on(entries).unwrap() {
            match entry {
                Entry::File(file) => files.push(store.relative(&file.location).unwrap()),
                Entry::LinkedFolder(folder) => links.push(store.relative(&folder).unwrap()),
            }
        }
        files.sort();
        links.sort();
        (files, links)
    }

    #[test]
    fn names_that_no_object_can_have_are_left_out_and_end_no_listing() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a", "b/c", "line\nfeed", "tab\tfolder/d", "next\u{85}line", "b/e\u{7f}"]);
        fs::write(folder.path().join(OsStr::from_bytes(b"latin-\xFC.parquet")), "x").unwrap();
        let store = store_at(folder.path());
        let all = ["a", "b/c", "next\u{85}line"];
        assert_eq!(store.all_paths().unwrap(), all);
        assert_eq!(own(&store).0, all);
        let mut names = store.names("").unwrap();
        names.sort();
        assert_eq!(names, ["a", "next\u{85}line"]);
        assert!(!store.is_empty().unwrap());
    }

    #[test]
    fn links_to_folders_are_read_through_and_are_not_the_stores_own() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(other.path(), &["far", "deep/er", "t/own", "t/p=1/x"]);
        let table = other.path().join("t");
        symlink(other.path().join("deep"), table.join("link")).unwrap();
        symlink(other.path().join("far"), table.join("file")).unwrap();
        symlink(other.path().join("gone"), table.join("broken")).unwrap();
        symlink(&table, table.join("p=1/round")).unwrap();
        symlink("self", table.join("self")).unwrap();
        symlink("own/inner", table.join("behind-a-file")).unwrap();
        // The store's folder may be a link itself.
        symlink(&table, folder.path().join("t")).unwrap();
        let store = store_at(&folder.path().join("t"));
        assert_eq!(store.all_paths().unwrap(), ["file", "link/er", "own", "p=1/x"]);
        let (files, links) = own(&store);
        assert_eq!(files, ["file", "own", "p=1/x"]);
        assert_eq!(links, ["link", "p=1/round"]);
        for inner in ["link", "p=1/round/p=1"] {
            let entries = store.own_files(&store.path(inner)).try_collect::<Vec<Entry>>();
            let entries = store.block_on(entries).unwrap();
            assert!(matches!(&entries[..], [Entry::LinkedFolder(_)]), "{inner}: {entries:?}");
        }
        store.delete("file").unwrap();
        assert!(other.path().join("far").exists() && !table.join("file").is_symlink());
    }

    #[test]
    fn a_link_that_cannot_be_followed_ends_a_listing_and_takes_no_file_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a", "p=1/b"]);
        // As root too the disk refuses this one.
        symlink("n".repeat(300), folder.path().join("p=1/link")).unwrap();
        let store = store_at(folder.path());
        let own = store.own_files(&store.path("")).try_collect::<Vec<Entry>>();
        let own = store.block_on(own).unwrap_err().to_string();
        let all = store.all_paths().map(|_| ()).unwrap_err();
        let level = store.names("p=1").map(|_| ()).unwrap_err();
        assert_eq!(all.kind(), crate::model::Kind::Unavailable, "{all}");
        for said in [own, all.to_string(), level.to_string()] {
            assert!(said.contains("cannot follow the link") && said.contains("p=1/link"), "{said}");
        }
        let leads_nowhere = |code: i32| leads_nowhere(&io::Error::from_raw_os_error(code));
        assert!([libc::ENOENT, libc::ENOTDIR, libc::ELOOP].into_iter().all(leads_nowhere));
        let others = [libc::EACCES, libc::EPERM, libc::EIO, libc::ESTALE, libc::ENAMETOOLONG];
        assert!(!others.into_iter().any(leads_nowhere));
    }

    #[test]
    fn a_listing_of_which_every_file_is_needed_fails_with_a_name_that_no_object_can_have() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a", "next\u{85}line/b"]);
        let store = store_at(folder.path());
        assert_eq!(store.listing().unwrap().len(), 2);
        write(folder.path(), &["p=1/line\nfeed"]);
        let error = store.listing().unwrap_err();
        assert_eq!(error.kind(), crate::model::Kind::Config, "{error}");
        assert!(error.to_string().contains(r#"p=1/line\nfeed""#), "{error}");
        assert_eq!(store.all_paths().unwrap(), ["a", "next\u{85}line/b"]);
    }

    #[test]
    fn a_listing_is_that_of_local_file_system() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &["a", "b/c", "b/c2", "d#1", "d#x", "z ü%20/e", "f#1#2"]);
        let prefix = Path::from_absolute_path(folder.path()).unwrap();
        let after = prefix.clone().join("b").join("c");
        let sorted = |mut files: Vec<ObjectMeta>| {
            files.sort_by(|a, b| a.location.cmp(&b.location));
            files
        };
        let (ours, theirs) = (DurableLocal::new(), LocalFileSystem::new());
        let both: [&dyn ObjectStore; 2] = [&ours, &theirs];
        test_runtime().block_on(async {
            let mut listings = Vec::new();
            for store in both {
                let all = store.list(Some(&prefix)).try_collect().await.unwrap();
                let rest = store.list_with_offset(Some(&prefix), &after).try_collect().await.unwrap();
                let level = store.list_with_delimiter(Some(&prefix)).await.unwrap();
                let none = store.list(Some(&prefix.clone().join("none"))).try_collect::<Vec<_>>().await;
                let file = store.list(Some(&prefix.clone().join("a"))).try_collect::<Vec<_>>().await;
                assert_eq!((none.unwrap().len(), file.unwrap().len()), (0, 0));
                let head = store.head(&prefix.clone().join("a")).await.unwrap();
                listings.push((
                    sorted(all),
                    sorted(rest),
                    sorted(level.objects),
                    level.common_prefixes,
                    head,
                ));
            }
            assert_eq!(listings[0], listings[1]);
            assert!(listings[0].0.contains(&listings[0].4));
        });
    }
}
