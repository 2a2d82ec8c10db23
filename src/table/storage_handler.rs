//! The kernel's way to a store, by the paths that the store has.
//!
//! The kernel's own handler decodes the path of a listed file once more, so that of a table in the folder `a%20b` nothing is found,
//! and encodes the path of what it reads whole once more in every store but a local disk, so that deletion vectors of a table in
//! the folder `Zürich` are not found.

use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::{CancellationTokenRef, DeltaResult, Error, FileMeta, FileSlice, StorageHandler};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use url::Url;

use crate::storage::Store;

/// The file that says where a listing of the log may begin.
pub(super) const LAST_CHECKPOINT: &str = "_last_checkpoint";

type Listed = Box<dyn Iterator<Item = DeltaResult<FileMeta>>>;
type ReadBytes = Box<dyn Iterator<Item = DeltaResult<Bytes>>>;

/// The handler of a table's store.
pub(super) struct StoreHandler {
    pub(super) inner: Arc<dyn StorageHandler>,
    pub(super) store: Store,
    /// Whether `_last_checkpoint` counts as not there.
    pub(super) hides_last_checkpoint: bool,
}

impl StoreHandler {
    fn read(&self, (url, range): FileSlice) -> DeltaResult<Bytes> {
        let name = url.path_segments().and_then(|mut parts| parts.next_back());
        if self.hides_last_checkpoint && name == Some(LAST_CHECKPOINT) {
            return Err(Error::file_not_found(LAST_CHECKPOINT));
        }
        let (root, path) = (self.store.root(), Path::from_url_path(url.path())?);
        let bytes = match range {
            Some(range) => self.store.block_on(root.get_range(&path, range)),
            None => self.store.block_on(async { root.get(&path).await?.bytes().await }),
        };
        Ok(bytes?)
    }
}

impl StorageHandler for StoreHandler {
    fn list_from(&self, path: &Url) -> DeltaResult<Listed> {
        self.list_from_with_cancellation(path, None)
    }

    fn list_from_with_cancellation(
        &self,
        path: &Url,
        token: Option<CancellationTokenRef>,
    ) -> DeltaResult<Listed> {
        let listed = self.inner.list_from_with_cancellation(path, token)?;
        let Ok(folder) = path.join(".") else { return Ok(listed) };
        Ok(Box::new(listed.map(move |file| {
            let file = file?;
            Ok(FileMeta { location: below(&folder, &file.location), ..file })
        })))
    }

    fn read_files(&self, files: Vec<FileSlice>) -> DeltaResult<ReadBytes> {
        let read: Vec<_> = files.into_iter().map(|file| self.read(file)).collect();
        Ok(Box::new(read.into_iter()))
    }

    fn copy_atomic(&self, src: &Url, dest: &Url) -> DeltaResult<()> {
        self.inner.copy_atomic(src, dest)
    }

    fn put(&self, path: &Url, data: Bytes, overwrite: bool) -> DeltaResult<()> {
        self.inner.put(path, data, overwrite)
    }

    fn head(&self, path: &Url) -> DeltaResult<FileMeta> {
        self.inner.head(path)
    }

    fn delete(&self, path: &Url) -> DeltaResult<()> {
        self.inner.delete(path)
    }
}

/// The URL of a file that was listed below `folder`: the folder's own, and what is behind as many names in the file's.
fn below(folder: &Url, listed: &Url) -> Url {
    let names = |url: &Url| url.path().split('/').filter(|name| !name.is_empty()).count();
    let rest = listed.path().split('/').filter(|name| !name.is_empty()).skip(names(folder));
    let mut url = folder.clone();
    url.set_path(&format!("{}{}", folder.path(), rest.collect::<Vec<_>>().join("/")));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_is_below_the_folder_that_was_listed() {
        for (folder, listed, expected) in [
            ("file:///t/_delta_log/", "file:///t/_delta_log/1.json", "file:///t/_delta_log/1.json"),
            (
                "file:///a%2520b/_delta_log/",
                "file:///a%20b/_delta_log/1.json",
                "file:///a%2520b/_delta_log/1.json",
            ),
            ("az://c/%C3%BC/", "az://c/%C3%BC/x/y.json", "az://c/%C3%BC/x/y.json"),
        ] {
            let url = |text: &str| Url::parse(text).unwrap();
            assert_eq!(below(&url(folder), &url(listed)), url(expected));
        }
    }
}
