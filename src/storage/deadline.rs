//! A store that is given up once the deadline of a stop is over.
//!
//! A stream that was asked to stop may finish its micro-batch for as long as `shutdownTimeout` says. Then
//! every call of its stores fails, those that are under way too, however long the service would take: so
//! each thread of the stream comes to its end by the way of any other storage error. What a call that
//! was left may still do is what a killed process's may: everything is put-if-absent, and attempts have ids.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};
use tokio::sync::watch;

/// Whether a stop was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopRequest {
    /// When it was.
    pub since: Option<Instant>,
}

impl StopRequest {
    /// What is left of a deadline of `limit`; `None` while no stop was asked for.
    pub fn left(&self, limit: Duration) -> Option<Duration> {
        self.since.map(|since| limit.saturating_sub(since.elapsed()))
    }
}

/// How long a stop may take.
#[derive(Debug, Clone)]
pub struct Deadline {
    asked: watch::Receiver<StopRequest>,
    limit: Duration,
}

impl Deadline {
    /// `limit` from the moment at which a stop is asked for.
    pub fn new(asked: watch::Receiver<StopRequest>, limit: Duration) -> Deadline {
        Deadline { asked, limit }
    }

    /// Waits until it is over; for ever if no stop is asked for.
    pub async fn over(mut self) {
        loop {
            let left = self.asked.borrow_and_update().left(self.limit).unwrap_or(Duration::MAX);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                Ok(()) = self.asked.changed() => {}
            }
        }
    }

    /// What `work` comes to, or an error once the deadline is over.
    pub(super) async fn race<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.clone().over() => Err(given_up()),
        }
    }

    /// A stream that ends with an error once the deadline is over, never as if it were whole.
    pub(super) fn stream<T: Send + 'static>(
        &self,
        inner: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let deadline = self.clone();
        stream::unfold(Some(inner), move |inner| {
            let deadline = deadline.clone();
            async move {
                let mut inner = inner?;
                tokio::select! {
                    biased;
                    next = inner.next() => next.map(|item| (item, Some(inner))),
                    () = deadline.over() => Some((Err(given_up()), None)),
                }
            }
        })
        // Readers that buffer what comes ask once more after the end.
        .fuse()
        .boxed()
    }
}

fn given_up() -> Error {
    let source = std::io::Error::other("given up: the deadline of the stop (shutdownTimeout) is over");
    Error::Generic { store: "storage", source: source.into() }
}

/// The store with an end.
#[derive(Debug)]
pub struct DeadlineStore {
    inner: Arc<DynObjectStore>,
    deadline: Deadline,
}

impl DeadlineStore {
    /// Gives `inner` up when `deadline` is over.
    pub fn new(inner: Arc<DynObjectStore>, deadline: Deadline) -> DeadlineStore {
        DeadlineStore { inner, deadline }
    }
}

impl fmt::Display for DeadlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for DeadlineStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.deadline.race(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.deadline.race(self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(DeadlineUpload { inner, deadline: self.deadline.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.deadline.race(self.inner.get_opts(location, options)).await?;
        found.payload = match found.payload {
            GetResultPayload::Stream(bytes) => GetResultPayload::Stream(self.deadline.stream(bytes)),
            file => file,
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.deadline.race(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.deadline.stream(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.deadline.stream(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.deadline.stream(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.deadline.race(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.deadline.race(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.deadline.race(self.inner.rename_opts(from, to, options)).await
    }
}

/// An upload with an end.
#[derive(Debug)]
struct DeadlineUpload {
    inner: Box<dyn MultipartUpload>,
    deadline: Deadline,
}

#[async_trait::async_trait]
impl MultipartUpload for DeadlineUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (put, deadline) = (self.inner.put_part(data), self.deadline.clone());
        async move { deadline.race(put).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.deadline.race(self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.deadline.race(self.inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn store(limit: Duration) -> (watch::Sender<StopRequest>, DeadlineStore) {
        let (stop, asked) = watch::channel(StopRequest::default());
        (stop, DeadlineStore::new(Arc::new(InMemory::new()), Deadline::new(asked, limit)))
    }

    /// What a call that must end gives.
    async fn ended<T>(call: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), call).await.expect("the call is not given up")
    }

    async fn hangs(deadline: &Deadline) -> Result<()> {
        deadline.race(futures::future::pending()).await
    }

    #[tokio::test]
    async fn a_call_that_hangs_ends_at_the_deadline_and_not_before_a_stop() {
        let (stop, store) = store(Duration::from_millis(20));
        let call = hangs(&store.deadline);
        let mut call = std::pin::pin!(call);
        assert!(tokio::time::timeout(Duration::from_millis(60), &mut call).await.is_err());
        stop.send_modify(|asked| asked.since = Some(Instant::now()));
        let error = ended(call).await.unwrap_err();
        assert!(error.to_string().contains("shutdownTimeout"), "{error}");
    }

    #[tokio::test]
    async fn a_listing_that_is_given_up_is_an_error_and_never_a_short_one() {
        let (stop, store) = store(Duration::ZERO);
        for name in ["a", "b"] {
            store.put(&Path::from(name), name.into()).await.unwrap();
        }
        let whole: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(whole.len(), 2);
        let slow = stream::iter(whole).then(|meta| async move {
            if meta.location.as_ref() == "b" {
                futures::future::pending::<()>().await;
            }
            Ok(meta)
        });
        let mut listing = store.deadline.stream(slow.boxed());
        assert!(listing.next().await.unwrap().is_ok());
        stop.send_modify(|asked| asked.since = Some(Instant::now()));
        assert!(ended(listing.next()).await.unwrap().is_err());
        assert!(ended(listing.next()).await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_has_ended_may_be_asked_again() {
        let (_stop, store) = store(Duration::ZERO);
        let mut listing = store.list(None);
        assert!(listing.next().await.is_none() && listing.next().await.is_none());
    }

    #[tokio::test]
    async fn without_anyone_who_could_ask_nothing_is_given_up() {
        let (stop, store) = store(Duration::ZERO);
        drop(stop);
        assert!(tokio::time::timeout(Duration::from_millis(50), hangs(&store.deadline)).await.is_err());
    }
}
