//! The local disk, durably: a write that returned survives a power cut.
//!
//! object_store's `LocalFileSystem` neither flushes a file nor the folder that names it. Here a file
//! is written beside its place, flushed, put in place in one step (a hard link where an existing
//! file must win, else a rename), and then the folder is flushed, and so is the parent of every
//! folder that had to be made. Reads and listings are `LocalFileSystem`'s.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// A step that was done, for the test of their order; nothing at all elsewhere.
macro_rules! step {
    ($what:literal, $path:expr) => {
        #[cfg(test)]
        tests::STEPS.lock().unwrap().push(($what, ($path).to_path_buf()));
    };
}

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

/// A file on its way: written beside its place under a name that listings leave out.
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

    /// Flushes the data, puts the file in its place, flushes the folder.
    fn publish(&self, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        step!("flush file", self.place);
        crate::failpoint!("disk.written");
        if replace {
            fs::rename(&self.staged, &self.place)?;
        } else {
            fs::hard_link(&self.staged, &self.place)?;
            crate::failpoint!("disk.placed");
            fs::remove_file(&self.staged)?;
        }
        step!("put in place", self.place);
        flush_folder(self.place.parent().unwrap_or(FsPath::new("/")))?;
        crate::failpoint!("disk.after");
        Ok(())
    }

    fn discard(&self) {
        // A leftover is harmless: listings leave it out. There is no one to tell either.
        let _ = fs::remove_file(&self.staged);
    }
}

/// Makes a folder and its missing parents; each new name is flushed into its own parent.
pub(crate) fn make_folders(folder: &FsPath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(FsPath::new("/"));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => {
            step!("make folder", folder);
            flush_folder(parent)
        }
    }
}

fn flush_folder(folder: &FsPath) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    step!("flush folder", folder);
    Ok(())
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
            let written = payload.iter().try_for_each(|part| staged.file.write_all(part));
            written.and_then(|()| staged.publish(replace)).inspect_err(|_| staged.discard())
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
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
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
        blocking(staged.place.clone(), move || staged.publish(false).inspect_err(|_| staged.discard()))
            .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged.discard();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use object_store::{ObjectStoreExt, WriteMultipart};

    use super::*;

    /// What was done on the disk, by all tests of the binary at once.
    pub(super) static STEPS: Mutex<Vec<(&str, PathBuf)>> = Mutex::new(Vec::new());

    /// The steps below `folder`, with paths from there on.
    fn steps_in(folder: &FsPath) -> Vec<String> {
        let steps = STEPS.lock().unwrap();
        let below = steps.iter().filter_map(|(what, path)| Some((what, path.strip_prefix(folder).ok()?)));
        below.map(|(what, path)| format!("{what} /{}", path.display())).collect()
    }

    #[tokio::test]
    async fn data_is_flushed_before_it_has_its_name_and_its_folder_after() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableLocal::new();
        let at = |name: &str| Path::from_absolute_path(folder.path().join(name)).unwrap();
        store.put_opts(&at("a/b/one"), "1".into(), PutMode::Create.into()).await.unwrap();
        let made = ["make folder /a", "flush folder /", "make folder /a/b", "flush folder /a"];
        let put = |name| {
            [
                format!("flush file /a/b/{name}"),
                format!("put in place /a/b/{name}"),
                "flush folder /a/b".into(),
            ]
        };
        let mut expected: Vec<String> = made.map(String::from).into();
        expected.extend(put("one"));
        assert_eq!(steps_in(folder.path()), expected);
        store.put(&at("a/b/one"), "2".into()).await.unwrap();
        expected.extend(put("one"));
        let mut upload = store.put_multipart(&at("a/b/two")).await.unwrap();
        upload.put_part("rows".into()).await.unwrap();
        assert_eq!(steps_in(folder.path()), expected, "an upload that is not complete has no name");
        upload.complete().await.unwrap();
        expected.extend(put("two"));
        assert_eq!(steps_in(folder.path()), expected);
    }

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
}
