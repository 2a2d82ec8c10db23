//! One answer for a lost put-if-absent.
//!
//! Azure says 409 or 412 to a `PutMode::Create` whose object exists; object_store 0.13 turns the
//! first into `AlreadyExists` and the second into `Precondition`, and the Delta kernel knows only the
//! former. Under Entra ID the loser may be told 403, for an identity may have the right to create an object and
//! none to replace it: whether it lost is seen from the object that is there. [`CreateConflictAdapter`] makes
//! `AlreadyExists` of all three. Everything else passes through untouched.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result,
};

/// A store that answers a lost put-if-absent with `AlreadyExists`, whatever the service said.
#[derive(Debug)]
pub struct CreateConflictAdapter {
    inner: Arc<DynObjectStore>,
}

impl CreateConflictAdapter {
    /// Wraps `inner`.
    pub fn new(inner: Arc<DynObjectStore>) -> Self {
        CreateConflictAdapter { inner }
    }
}

impl fmt::Display for CreateConflictAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for CreateConflictAdapter {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = matches!(opts.mode, PutMode::Create);
        match self.inner.put_opts(location, payload, opts).await {
            Err(Error::Precondition { path, source }) if create => Err(Error::AlreadyExists { path, source }),
            Err(Error::PermissionDenied { path, source }) if create => {
                match self.inner.head(location).await {
                    Ok(_) => Err(Error::AlreadyExists { path, source }),
                    Err(_) => Err(Error::PermissionDenied { path, source }),
                }
            }
            answer => answer,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
