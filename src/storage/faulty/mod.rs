//! A store that fails on demand, for tests: it stands under every [`Store`](super::Store) when the
//! environment variable `ALLUVIA_STORE_FAULTS` names rules. Only with the feature `failpoints`.
//!
//! ```text
//! RULE; RULE; …            RULE = OPERATION FRAGMENT HITS ACTION
//!
//! OPERATION  create (put-if-absent) put (replacing) multipart (start of an upload) part complete
//!            get list delete
//! FRAGMENT   part of the path from the store's root; * for any
//! HITS       3 | 2-5 | 4- | * (counted per rule, from 1) | 10% (at random, by ALLUVIA_STORE_SEED)
//! ACTION     reject         not done, and an error that may pass
//!            refuse         not done, and an error of rights
//!            disk-full      not done, and ENOSPC
//!            delay=MS       done MS milliseconds later
//!            do-and-fail    done, and reported as failed
//!            do-and-exists  done, and reported as there already: a request that the client sent twice
//!            cut            half of it is written, and reported as failed; of an upload nothing
//!            412            where AlreadyExists is due, Precondition
//!            replace        a put-if-absent that replaces
//!            trace          done, and told when it is done
//!            count          done; all calls so far are told
//! ```
//!
//! Of the rules that a call hits the first decides; `trace` and `count` never stand in the way. Each
//! fault that happens is told in a JSON line on standard error, so that a test can see that it did.

mod rules;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, DynObjectStore, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};

use rules::Action;
pub use rules::{Faults, Operation};

fn failed(path: &Path, what: &'static str) -> Error {
    let source = std::io::Error::other(format!("{what} (a fault asked for) at {path}"));
    Error::Generic { store: "faulty", source: source.into() }
}

/// What a call that is not done answers; `None` where it is done.
async fn before(action: Option<Action>, path: &Path) -> Result<()> {
    match action {
        Some(Action::Reject) => Err(failed(path, "rejected")),
        Some(Action::Refuse) => {
            let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied).into();
            Err(Error::PermissionDenied { path: path.to_string(), source })
        }
        Some(Action::DiskFull) => {
            let source = std::io::Error::from_raw_os_error(libc::ENOSPC).into();
            Err(Error::Generic { store: "faulty", source })
        }
        Some(Action::Delay(time)) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The store with faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<DynObjectStore>,
    faults: Arc<Faults>,
}

impl Faulty {
    /// Puts `faults` over `inner`.
    pub fn new(inner: Arc<DynObjectStore>, faults: Arc<Faults>) -> Faulty {
        Faulty { inner, faults }
    }

    async fn meet(&self, operation: Operation, path: &Path) -> Result<()> {
        before(self.faults.meet(operation, path.as_ref(), 0).action, path).await
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with faults", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let operation = match opts.mode {
            PutMode::Create => Operation::Create,
            PutMode::Overwrite | PutMode::Update(_) => Operation::Put,
        };
        let met = self.faults.meet(operation, location.as_ref(), payload.content_length());
        let outcome = self.put_as(met.action, location, payload, opts).await;
        met.over(operation, location, &outcome);
        outcome
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meet(Operation::Multipart, location).await?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultyUpload { inner, location: location.clone(), faults: Arc::clone(&self.faults) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.meet(Operation::Get, location).await?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.meet(Operation::Get, location).await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let faults = Arc::clone(&self.faults);
        let judged = locations.and_then(move |path| {
            let met = faults.meet(Operation::Delete, path.as_ref(), 0);
            async move { before(met.action, &path).await.map(|()| path) }
        });
        self.inner.delete_stream(judged.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meet(Operation::List, prefix.unwrap_or(&Path::default())).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

impl Faulty {
    async fn put_as(
        &self,
        action: Option<Action>,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        before(action, location).await?;
        match action {
            Some(Action::DoAndFail) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(failed(location, "written, the answer lost"))
            }
            Some(Action::DoAndExists) => {
                self.inner.put_opts(location, payload, opts).await?;
                let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists).into();
                Err(Error::AlreadyExists { path: location.to_string(), source })
            }
            Some(Action::Cut) => {
                let whole = Bytes::from(payload);
                self.inner.put_opts(location, whole.slice(..whole.len() / 2).into(), opts).await?;
                Err(failed(location, "cut"))
            }
            Some(Action::Replace) => {
                opts.mode = PutMode::Overwrite;
                self.inner.put_opts(location, payload, opts).await
            }
            Some(Action::Precondition) => match self.inner.put_opts(location, payload, opts).await {
                Err(Error::AlreadyExists { path, source }) => Err(Error::Precondition { path, source }),
                answer => answer,
            },
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }

    fn listing(
        &self,
        prefix: Option<&Path>,
        found: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.cloned().unwrap_or_default();
        let met = self.faults.meet(Operation::List, path.as_ref(), 0);
        stream::once(async move { before(met.action, &path).await.map(|()| found) }).try_flatten().boxed()
    }
}

/// An upload whose parts and end may fail.
#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    faults: Arc<Faults>,
}

#[async_trait::async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let met = self.faults.meet(Operation::Part, self.location.as_ref(), data.content_length());
        let (put, location) = (self.inner.put_part(data), self.location.clone());
        async move {
            before(met.action, &location).await?;
            put.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let met = self.faults.meet(Operation::Complete, self.location.as_ref(), 0);
        let outcome = self.complete_as(met.action).await;
        met.over(Operation::Complete, &self.location, &outcome);
        outcome
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

impl FaultyUpload {
    async fn complete_as(&mut self, action: Option<Action>) -> Result<PutResult> {
        before(action, &self.location).await?;
        match action {
            Some(Action::DoAndFail) => {
                self.inner.complete().await?;
                Err(failed(&self.location, "completed, the answer lost"))
            }
            Some(Action::Cut) => {
                self.inner.abort().await?;
                Err(failed(&self.location, "lost"))
            }
            _ => self.inner.complete().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::storage::{Put, Store, test_runtime};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn faulty(rules: &str) -> Store {
        let faults = Arc::new(Faults::parse(rules, 7).unwrap());
        let root = super::super::conditional::CreateConflictAdapter::new(Arc::new(Faulty::new(
            Arc::new(InMemory::new()),
            faults,
        )));
        Store::new(Arc::new(root), url::Url::parse("memory:///t/").unwrap(), Path::from("t"), test_runtime())
    }

    fn create(store: &Store, name: &str, bytes: &'static [u8]) -> crate::model::Result<Put> {
        store.put_if_absent(name, Bytes::from_static(bytes))
    }

    #[test]
    fn a_put_whose_answer_is_lost_is_recognised_as_our_own() {
        for action in ["do-and-fail", "do-and-exists"] {
            let store = faulty(&format!("create offsets/ 1 {action}"));
            assert_eq!(create(&store, "offsets/0", b"mine").unwrap(), Put::Created, "{action}");
            assert_eq!(create(&store, "offsets/0", b"other").unwrap(), Put::Exists, "{action}");
        }
    }

    #[test]
    fn a_put_that_was_not_done_is_an_error_that_may_pass_and_a_cut_one_is_someone_elses() {
        let store = faulty("create a 1 reject; create a 2 disk-full; create b 1 cut");
        assert_eq!(create(&store, "a", b"mine").unwrap_err().kind(), Kind::Unavailable);
        let full = create(&store, "a", b"mine").unwrap_err();
        assert!(full.to_string().contains("No space left"), "{full}");
        assert_eq!(create(&store, "a", b"mine").unwrap(), Put::Created);
        assert_eq!(create(&store, "b", b"mine").unwrap(), Put::Exists);
    }

    #[test]
    fn a_lost_put_is_told_in_one_way_whether_the_store_says_409_or_412() {
        let store = faulty("create * * 412");
        assert_eq!(create(&store, "a", b"mine").unwrap(), Put::Created);
        let path = store.path("a");
        let lost = store.block_on(store.root().put_opts(&path, "x".into(), PutMode::Create.into()));
        let lost = lost.unwrap_err();
        assert!(matches!(lost, Error::AlreadyExists { .. }), "{lost}");
    }

    #[test]
    fn a_store_that_lets_a_second_writer_win_is_refused() {
        let error = faulty("create * * replace").probe_put_if_absent("probe").unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("second writer"), "{error}");
    }

    #[test]
    fn uploads_are_lost_or_done_without_an_answer_and_reads_fail() {
        let store =
            faulty("complete lost 1 cut; complete done 1 do-and-fail; get done 1 reject; list * 1 reject");
        for name in ["lost", "done"] {
            let mut upload = store.block_on(store.root().put_multipart(&store.path(name))).unwrap();
            store.block_on(upload.put_part("rows".into())).unwrap();
            assert!(store.block_on(upload.complete()).is_err(), "{name}");
        }
        assert_eq!(store.get("done").unwrap_err().kind(), Kind::Unavailable);
        assert!(store.get("done").unwrap().is_some());
        assert!(store.get("lost").unwrap().is_none());
        assert!(store.names("").is_err());
        assert_eq!(store.names("").unwrap(), ["done"]);
    }

    #[test]
    fn rates_follow_the_seed_and_wrong_rules_are_named() {
        let met = |seed| {
            let faults = Faults::parse("get * 20% reject", seed).unwrap();
            (0..1000).map(|_| faults.meet(Operation::Get, "p", 0).action.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(met(1), met(1));
        assert_ne!(met(1), met(2));
        assert!((150..250).contains(&met(3).iter().filter(|hit| **hit).count()));
        for wrong in ["get * 1", "fetch * 1 reject", "get * x reject", "get * 1 cut", "put * 1 explode"] {
            assert!(Faults::parse(wrong, 0).is_err(), "{wrong}");
        }
    }
}
