//! The local disk, durably: a write that returned survives a power cut.
//!
//! object_store's `LocalFileSystem` neither flushes a file nor the folder that names it. Here a file
//! is written beside its place, flushed, put in place in one step (a hard link where an existing
//! file must win, else a rename), and then the folder is flushed, and so is the parent of every
//! folder on the way. What is found there may be in the page cache only: another process wrote it, or
//! its folder's flush failed. So it is flushed before it is called there ([`sync`]). Reads are
//! `LocalFileSystem`'s.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::listing;

/// The local file system with durable, atomic writes.
#[derive(Debug)]
pub struct DurableLocal {
    files: LocalFileSystem,
}

impl DurableLocal {
    /// The whole file system; paths start at `/`.
    pub fn new() -> Self {
        DurableLocal { files: LocalFileSystem::new() }
    }
}

impl Default for DurableLocal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local disk")
    }
}

/// A file on its way: written beside its place under a name that listings leave out. The name goes with the last of
/// those who write there; only a process that dies leaves it.
struct Staged {
    file: File,
    staged: PathBuf,
    place: PathBuf,
}

impl Staged {
    fn create(place: PathBuf) -> io::Result<Staged> {
        let folder = place.parent().unwrap_or(FsPath::new("/"));
        make_folders(folder)?;
        let mut staged = place.clone().into_os_string();
        staged.push(format!("#{}", rand::random::<u64>()));
        let staged = PathBuf::from(staged);
        let file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        Ok(Staged { file, staged, place })
    }

    /// Flushes the data, puts the file in its place, flushes the folder. A file that was there first is
    /// flushed too, before it is called there.
    fn publish(&self, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        crate::failpoint!("disk.written");
        if replace {
            fs::rename(&self.staged, &self.place)?;
        } else {
            match fs::hard_link(&self.staged, &self.place) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    sync(&self.place)?;
                    return Err(e);
                }
                placed => placed?,
            }
            crate::failpoint!("disk.placed");
            fs::remove_file(&self.staged)?;
        }
        flush(self.place.parent().unwrap_or(FsPath::new("/")))?;
        crate::failpoint!("disk.after");
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A file in its place has this name no more. A leftover is harmless, and there is no one to tell.
        let _ = fs::remove_file(&self.staged);
    }
}

/// Removes staged files of a folder that a killed process left, where `done` says of the name of their
/// place that nobody is writing there any more.
pub(crate) fn sweep(folder: &FsPath, done: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let staged = name.rsplit_once('#').filter(|(_, number)| number.parse::<u64>().is_ok());
        if staged.is_some_and(|(place, _)| done(place)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A staged file that a killed process left.
#[derive(Debug)]
pub struct CutOff {
    place: PathBuf,
    /// Its path from the folder that was searched.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
}

impl CutOff {
    /// Deletes it.
    ///
    /// # Errors
    /// What the disk answers; that it is gone is no error.
    pub fn delete(&self) -> crate::model::Result<()> {
        match fs::remove_file(&self.place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(crate::model::Error::unavailable(format!("cannot delete {}", self.place.display()))
                    .source(e))
            }
            _ => Ok(()),
        }
    }
}

/// Staged files at any depth of a folder that nobody has written to since `cutoff`; only folders are entered of which
/// `enters` allows the path from there.
pub(super) fn cut_off(
    folder: &FsPath,
    cutoff: SystemTime,
    enters: &dyn Fn(&str) -> bool,
) -> io::Result<Vec<CutOff>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let (place, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let path = place.strip_prefix(folder).unwrap_or(&place).display().to_string();
            let kind = entry.file_type()?;
            if kind.is_dir() && enters(&path) {
                folders.push(place);
                continue;
            }
            let staged = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u64>().is_ok());
            if !kind.is_file() || !staged {
                continue;
            }
            let metadata = match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            if metadata.modified()? < cutoff {
                found.push(CutOff { place, path, size_bytes: metadata.len() });
            }
        }
    }
    Ok(found)
}

/// Folders that this process knows to be there after a power cut, with all their parents.
static FLUSHED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
/// Of those so many at most; what is forgotten is flushed again.
const FLUSHED_MAX: usize = 4096;

/// Makes a folder and its missing parents; each name is flushed into its own parent, once by each
/// process: whoever made a folder that is there already may have died before its flush.
pub(crate) fn make_folders(folder: &FsPath) -> io::Result<()> {
    let flushed = || FLUSHED.lock().unwrap_or_else(PoisonError::into_inner);
    let there = folder.is_dir();
    if there && flushed().contains(folder) {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    make_folders(parent)?;
    if !there
        && let Err(e) = fs::create_dir(folder)
        && e.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(e);
    }
    // What is mounted there has no name in its parent; a folder that was there and whose parent we may not open,
    // or that its file system can't flush, is not ours.
    if fs::metadata(folder)?.dev() == fs::metadata(parent)?.dev() {
        match flush(parent) {
            Err(e) if there && is_not_ours(e.kind()) => {}
            done => done?,
        }
    }
    let mut flushed = flushed();
    if flushed.len() >= FLUSHED_MAX {
        flushed.clear();
    }
    flushed.insert(folder.to_owned());
    Ok(())
}

fn is_not_ours(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// Flushes a file or a folder.
fn flush(place: &FsPath) -> io::Result<()> {
    File::open(place)?.sync_all()
}

/// Flushes a file that was found, the folder that names it, and the folders above; one that is not
/// there is no error.
fn sync(place: &FsPath) -> io::Result<()> {
    match flush(place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        done => done?,
    }
    let folder = place.parent().unwrap_or(FsPath::new("/"));
    make_folders(folder)?;
    flush(folder)
}

/// [`sync`] off the async workers.
pub(super) async fn sync_later(place: PathBuf) -> Result<()> {
    blocking(place.clone(), move || sync(&place)).await
}

/// Where a folder is: also one whose name `LocalFileSystem` would take for a staged file's.
fn place_of_folder(location: &Path) -> PathBuf {
    FsPath::new("/").join(location.as_ref())
}

fn store_error(error: io::Error, place: &FsPath) -> Error {
    let path = place.display().to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        _ => Error::Generic { store: "local disk", source: error.into() },
    }
}

async fn blocking<T: Send + 'static>(
    place: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?.map_err(|e| store_error(e, &place))
}

#[async_trait::async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let replace = match opts.mode {
            PutMode::Create => false,
            PutMode::Overwrite => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "replacing a file only in a known state".into(),
                    implementer: self.to_string(),
                });
            }
        };
        let place = self.files.path_to_filesystem(location)?;
        blocking(place.clone(), move || {
            let mut staged = Staged::create(place)?;
            payload.iter().try_for_each(|part| staged.file.write_all(part))?;
            staged.publish(replace)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let place = self.files.path_to_filesystem(location)?;
        let staged = blocking(place.clone(), move || Staged::create(place)).await?;
        Ok(Box::new(Upload { staged: Arc::new(staged), written: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        listing::all_files(place_of_folder(&prefix), prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        listing::all_files(place_of_folder(&prefix), prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        tokio::task::spawn_blocking(move || listing::level(&place_of_folder(&prefix), &prefix)).await?
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

/// A file that arrives in parts, each written at its place in the staged file.
#[derive(Debug)]
struct Upload {
    staged: Arc<Staged>,
    written: u64,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({})", self.place.display())
    }
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (staged, mut at) = (Arc::clone(&self.staged), self.written);
        self.written += data.content_length() as u64;
        let place = staged.place.clone();
        blocking(place, move || {
            for part in data.iter() {
                staged.file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = Arc::clone(&self.staged);
        blocking(staged.place.clone(), move || staged.publish(false)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        // What was written goes when this and the parts on their way are dropped.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, WriteMultipart};

    use super::*;

    #[tokio::test]
    async fn a_file_in_parts_is_whole_in_its_place_and_only_then_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let location = Path::from_absolute_path(folder.path().join("x").join("part.parquet")).unwrap();
        let upload = store.put_multipart(&location).await.unwrap();
        let mut writer = WriteMultipart::new_with_chunk_size(upload, 4);
        writer.write(b"0123456789");
        let prefix = Path::from_absolute_path(folder.path().join("x")).unwrap();
        assert!(store.list_with_delimiter(Some(&prefix)).await.unwrap().objects.is_empty());
        writer.finish().await.unwrap();
        let read = store.get(&location).await.unwrap().bytes().await.unwrap();
        assert_eq!(read, Bytes::from_static(b"0123456789"));
        assert_eq!(store.list_with_delimiter(Some(&prefix)).await.unwrap().objects.len(), 1);
    }

    #[tokio::test]
    async fn a_create_never_replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let location = Path::from_absolute_path(folder.path().join("a")).unwrap();
        store.put_opts(&location, "one".into(), PutMode::Create.into()).await.unwrap();
        let lost = store.put_opts(&location, "two".into(), PutMode::Create.into()).await.unwrap_err();
        assert!(matches!(lost, Error::AlreadyExists { .. }), "{lost}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"one");
    }

    #[tokio::test]
    async fn an_upload_that_is_dropped_leaves_nothing_and_one_that_ended_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let names = || -> Vec<_> {
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        };
        let store = DurableLocal::new();
        let location = Path::from_absolute_path(folder.path().join("a")).unwrap();
        let mut upload = store.put_multipart(&location).await.unwrap();
        let (written, late) = (upload.put_part("one".into()), upload.put_part("two".into()));
        written.await.unwrap();
        drop(upload);
        assert_eq!(names().len(), 1, "a part is still on its way");
        drop(late);
        assert!(names().is_empty(), "{:?}", names());
        let mut upload = store.put_multipart(&location).await.unwrap();
        upload.put_part("one".into()).await.unwrap();
        upload.complete().await.unwrap();
        drop(upload);
        assert_eq!(names(), ["a"]);
    }
}
