//! Object stores: where tables and checkpoints live, and the promises both need of a store.
//!
//! A [`Store`] is one folder of a store (a table or a checkpoint). Everything durable goes through
//! it, and it gives three promises that the stores underneath do not all keep by themselves:
//! a write that returned is on the disk ([`local`]); put-if-absent has one winner and says so in
//! one way ([`conditional`]); and after a write whose outcome is unknown the object is read back
//! before anyone concludes anything ([`Store::put_if_absent`]).
//!
//! Stores are asynchronous underneath, and what stands above is not: a call of a [`Store`] waits for its answer, on the
//! runtime that the store was opened with, so it must not be made inside an asynchronous task. Whoever wants several
//! requests under way at once builds a future of them and waits for that ([`Store::block_on`]).

pub mod azure;
pub mod conditional;
pub mod credentials;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod faulty;
mod left_out;
mod listing;
pub mod local;
mod probe;
pub mod deadline;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::{DELIMITER, Path, PathPart};
use object_store::{DynObjectStore, ObjectMeta, ObjectStoreExt, ObjectStoreScheme, PutMode};
use tokio::runtime::Handle;
use url::Url;

use crate::model::{Error, Kind, Result};

pub use deadline::{Deadline, StopRequest};
pub use listing::Entry;

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is there with exactly our bytes, written by this call.
    Created,
    /// An object of another writer was there first.
    Exists,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its path under the folder; empty if the folder's URL is that of an object.
    pub path: String,
    /// How long it is.
    pub size_bytes: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub modified_ms: i64,
    /// What the store calls this content of it, if it does.
    pub tag: String,
}

/// One folder of an object store.
#[derive(Clone)]
pub struct Store {
    root: Arc<DynObjectStore>,
    url: Url,
    prefix: Path,
    runtime: Handle,
    deadline: Option<Deadline>,
    container: Option<Arc<azure::Container>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

impl Store {
    /// Opens the folder at `url` (`file:///…`, `abfss://…`, `az://…`, `https://ACCOUNT.blob…`, `memory:///`); `options`
    /// are `storageOptions`, under object_store's names. Calls run on `runtime`. Nothing is read or written.
    ///
    /// # Errors
    /// `Config` if the scheme is unknown, or an option or a credential is wrong or missing.
    pub fn open(url: &Url, options: &BTreeMap<String, String>, runtime: &Handle) -> Result<Store> {
        if let Some(folder) = azure::open(url, options) {
            let azure::Folder { root, prefix, url, container } = folder?;
            let root = Arc::new(conditional::CreateConflictAdapter::new(with_faults(root)));
            let store = Store::new(root, url, prefix, runtime);
            return Ok(Store { container: Some(Arc::new(container)), ..store });
        }
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let (scheme, _) = ObjectStoreScheme::parse(&url).map_err(|e| {
            Error::config(format!("{url} names no store that Alluvia knows"))
                .source(e)
                .hint("use a local path, file://, abfss:// or az://")
        })?;
        let (root, prefix): (Arc<DynObjectStore>, Path) = match scheme {
            ObjectStoreScheme::Local => {
                let prefix = Path::from_url_path(url.path()).map_err(|e| bad_url(&url, e))?;
                (with_faults(Arc::new(local::DurableLocal::new())), prefix)
            }
            ObjectStoreScheme::Memory => {
                let prefix = Path::from_url_path(url.path()).map_err(|e| bad_url(&url, e))?;
                (with_faults(Arc::new(InMemory::new())), prefix)
            }
            _ => {
                return Err(Error::config(format!("{url} is in a store that Alluvia cannot write to"))
                    .hint("use a local path, file://, abfss:// or az://"));
            }
        };
        Ok(Store::new(root, url, prefix, runtime))
    }

    /// A folder of a store that is open already; `url` must address it. Calls run on `runtime`.
    pub fn new(root: Arc<DynObjectStore>, url: Url, prefix: Path, runtime: &Handle) -> Store {
        Store { root, url, prefix, runtime: runtime.clone(), deadline: None, container: None }
    }

    /// An empty folder in memory that has this one's address: for what is to be looked at before it is written here.
    pub fn in_memory(&self) -> Store {
        Store::new(Arc::new(InMemory::new()), self.url.clone(), Path::default(), &self.runtime)
    }

    /// The same folder, whose calls run on another runtime.
    pub fn with_runtime(self, runtime: &Handle) -> Store {
        Store { runtime: runtime.clone(), ..self }
    }

    /// The same folder, given up when `deadline` is over: calls that are under way then fail.
    pub fn with_deadline(mut self, deadline: Deadline) -> Store {
        self.root = Arc::new(deadline::DeadlineStore::new(self.root, deadline.clone()));
        self.deadline = Some(deadline);
        self
    }

    /// Until when calls are waited for; `None` for as long as they take.
    pub fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }

    /// The runtime that calls run on: for background tasks, and for what needs a runtime itself.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Waits for `future` on the store's runtime: for several requests at once, and for calls of [`Store::root`].
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits before a call is tried again.
    ///
    /// # Errors
    /// `Unavailable` if the deadline is over: then there is no other try.
    pub fn pause(&self, duration: Duration) -> Result<()> {
        let Some(deadline) = &self.deadline else {
            self.block_on(async { tokio::time::sleep(duration).await });
            return Ok(());
        };
        self.block_on(async {
            tokio::select! {
                biased;
                () = deadline.clone().over() => Err(Error::unavailable(format!(
                    "given up at {}: the deadline of the stop (shutdownTimeout) is over", self.url
                ))),
                () = tokio::time::sleep(duration) => Ok(()),
            }
        })
    }

    /// The container of Azure that the folder is in; `None` for other stores.
    pub fn container(&self) -> Option<&azure::Container> {
        self.container.as_deref()
    }

    /// The folder's address, with a slash at its end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store that the folder is in; its paths start at the store's root, not at the folder.
    pub fn root(&self) -> &Arc<DynObjectStore> {
        &self.root
    }

    /// The path from the store's root of `relative`: names with `/` between them, as they are stored and as a listing shows
    /// them. So a path that was listed is the path that is asked for, whatever letters its names have.
    pub fn path(&self, relative: &str) -> Path {
        // No store has a name such as `..`, or one with a control character: encoded it is at least not another one's.
        let part = |name| PathPart::parse(name).unwrap_or_else(|_| PathPart::from(name));
        let names = relative.split(DELIMITER).filter(|name| !name.is_empty());
        self.prefix.parts().chain(names.map(part)).collect()
    }

    /// Reads an object; `None` if it is not there.
    ///
    /// # Errors
    /// `Unavailable` (or `Config` for refused credentials), naming the object.
    pub fn get(&self, relative: &str) -> Result<Option<Bytes>> {
        self.block_on(self.get_async(relative))
    }

    /// [`Store::get`] for whoever reads several objects at once.
    ///
    /// # Errors
    /// As for [`Store::get`].
    pub async fn get_async(&self, relative: &str) -> Result<Option<Bytes>> {
        let path = self.path(relative);
        let found = match self.root.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(e) => Err(e),
        };
        match found {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(error(e, "read", &self.url, relative)),
        }
    }

    /// Writes an object unless one is there, durably before it returns.
    ///
    /// A write that failed, or that found an object, may still have been ours: a lost answer, a
    /// request that the client sent twice. So the object is read back and compared, which is why
    /// `bytes` must be unique to this writer (every document of Alluvia names its attempt). What is
    /// found is durable before it is called created or there.
    ///
    /// # Errors
    /// `Unavailable` if the object is provably not there, or if that cannot be found out, or if it
    /// can't be made durable.
    pub fn put_if_absent(&self, relative: &str, bytes: Bytes) -> Result<Put> {
        let path = self.path(relative);
        let put = self.root.put_opts(&path, bytes.clone().into(), PutMode::Create.into());
        let outcome = self.block_on(put);
        let failed = match outcome {
            Ok(_) => return Ok(Put::Created),
            Err(e) => e,
        };
        let found = match self.sync(relative) {
            Ok(()) => self.get(relative),
            Err(e) => Err(e),
        };
        match found {
            Ok(Some(there)) if there == bytes => Ok(Put::Created),
            Ok(Some(_)) => Ok(Put::Exists),
            Ok(None) if self.is_folder(relative) => {
                Err(Error::corrupt(format!("a folder is at {}{relative}, where a file belongs", self.url))
                    .hint("move it away; nothing was changed"))
            }
            Ok(None) => Err(error(failed, "write", &self.url, relative)),
            Err(unread) => Err(unread.context(format!("find out what became of a failed write ({failed})"))),
        }
    }

    /// Makes an object durable that was found and that the next step rests on: its writer may have died
    /// between the name and the flush of the folder. One that is not there is no error.
    ///
    /// # Errors
    /// `Unavailable` if a flush fails. What an object store answers is durable: there nothing is done.
    pub fn sync(&self, relative: &str) -> Result<()> {
        let Ok(folder) = self.url.to_file_path() else { return Ok(()) };
        let synced = local::sync_later(folder.join(relative));
        let synced = match &self.deadline {
            Some(deadline) => self.block_on(deadline.race(synced)),
            None => self.block_on(synced),
        };
        synced.map_err(|e| error(e, "flush", &self.url, relative))
    }

    /// Makes the sub-folder `relative`, durably, if the store is a local disk: what locks files or resolves paths there
    /// needs it before the first object.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn make_local_folder(&self, relative: &str) -> std::io::Result<()> {
        match self.url.to_file_path() {
            Ok(root) => local::make_folders(&root.join(relative)),
            Err(()) => Ok(()),
        }
    }

    /// Whether a local disk has a folder in an object's place, which no object store could have.
    fn is_folder(&self, relative: &str) -> bool {
        self.url.to_file_path().is_ok_and(|root| root.join(relative).is_dir())
    }

    /// Writes an object, replacing what is there. Only for caches and files with unique names.
    ///
    /// # Errors
    /// `Unavailable`, naming the object.
    pub fn put(&self, relative: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(relative);
        let put = self.block_on(self.root.put(&path, bytes.into()));
        put.map(|_| ()).map_err(|e| error(e, "write", &self.url, relative))
    }

    /// The names of the objects directly in the sub-folder `relative` (`""` for the folder itself),
    /// in no particular order; none if there is no such folder.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder.
    pub fn names(&self, relative: &str) -> Result<Vec<String>> {
        let objects = self.objects(relative)?;
        Ok(objects.iter().filter_map(|o| o.location.filename().map(str::to_owned)).collect())
    }

    /// The same with what a listing says of each.
    ///
    /// # Errors
    /// As for [`Store::names`].
    pub fn objects(&self, relative: &str) -> Result<Vec<ObjectMeta>> {
        let prefix = self.path(relative);
        match self.block_on(self.root.list_with_delimiter(Some(&prefix))) {
            Ok(listed) => Ok(listed.objects),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(error(e, "list", &self.url, relative)),
        }
    }

    /// Removes what killed processes left beside the places of objects in the sub-folder `relative` of a
    /// local disk, where `done` says of an object's name that nobody is writing it any more.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder. Object stores leave nothing behind.
    pub fn sweep(&self, relative: &str, done: impl Fn(&str) -> bool) -> Result<()> {
        let Ok(folder) = self.url.to_file_path() else { return Ok(()) };
        local::sweep(&folder.join(relative), done).map_err(|e| {
            Error::unavailable(format!("cannot clear away what is left in {}{relative}", self.url)).source(e)
        })
    }

    /// What killed processes left beside the places of objects at any depth of a folder on a local disk, not written to
    /// since `cutoff`; only sub-folders are entered of which `enters` allows the path from the folder. None in an object
    /// store, which leaves nothing behind.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder.
    pub fn cut_off_files(
        &self,
        cutoff: std::time::SystemTime,
        enters: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<local::CutOff>> {
        let Ok(folder) = self.url.to_file_path() else { return Ok(Vec::new()) };
        local::cut_off(&folder, cutoff, enters).map_err(|e| {
            Error::unavailable(format!("cannot look for what is left in {}", self.url)).source(e)
        })
    }

    /// The paths of all objects under the folder, from it, in order; none if there is no such folder.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder.
    pub fn all_paths(&self) -> Result<Vec<String>> {
        let objects = self.block_on(self.listed())?;
        let mut paths: Vec<String> =
            objects.iter().filter_map(|object| self.relative(&object.location)).collect();
        paths.sort();
        Ok(paths)
    }

    /// What the store lists under the folder; nothing if there is no such folder.
    async fn listed(&self) -> Result<Vec<ObjectMeta>> {
        match self.root.list(Some(&self.prefix)).try_collect().await {
            Ok(objects) => Ok(objects),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(error(e, "list", &self.url, "")),
        }
    }

    /// The path from the folder of an object under it.
    fn relative(&self, location: &Path) -> Option<String> {
        let parts: Vec<String> =
            location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// The objects under the folder, in no particular order; the object itself if the folder's URL is that of one. None is
    /// left out: this is for whoever makes rows of them all.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder; `Config` if an object has a name by which it can't be asked for.
    pub fn listing(&self) -> Result<Vec<Stored>> {
        let (objects, left_out) = self.block_on(left_out::noting(self.listed()));
        let mut objects = objects?;
        if let Some(name) = left_out {
            return Err(Error::config(format!(
                "cannot list {}: {name} has a control character, an empty part or bytes that are not UTF-8 in its name",
                self.url
            ))
            .hint("rename it or move it away"));
        }
        if objects.is_empty() {
            match self.block_on(self.root.head(&self.prefix)) {
                Ok(object) => objects.push(object),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(error(e, "look for", &self.url, "")),
            }
        }
        let stored = |object: ObjectMeta| {
            Some(Stored {
                path: self.relative(&object.location)?,
                size_bytes: object.size,
                modified_ms: object.last_modified.timestamp_millis(),
                tag: object.e_tag.unwrap_or_default(),
            })
        };
        Ok(objects.into_iter().filter_map(stored).collect())
    }

    /// When an object was written; `None` if it is not there.
    ///
    /// # Errors
    /// `Unavailable`, naming the object.
    pub fn written_at(&self, relative: &str) -> Result<Option<chrono::DateTime<chrono::Utc>>> {
        match self.block_on(self.root.head(&self.path(relative))) {
            Ok(meta) => Ok(Some(meta.last_modified)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(error(e, "look at", &self.url, relative)),
        }
    }

    /// Whether no object at all lies under the folder.
    ///
    /// # Errors
    /// `Unavailable`, naming the folder.
    pub fn is_empty(&self) -> Result<bool> {
        match self.block_on(async { self.root.list(Some(&self.prefix)).try_next().await }) {
            Ok(first) => Ok(first.is_none()),
            Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(e) => Err(error(e, "list", &self.url, "")),
        }
    }

    /// Deletes an object; one that is not there is no error.
    ///
    /// # Errors
    /// `Unavailable`, naming the object.
    pub fn delete(&self, relative: &str) -> Result<()> {
        self.block_on(self.delete_async(relative))
    }

    /// [`Store::delete`] for a task that nobody waits for.
    ///
    /// # Errors
    /// As for [`Store::delete`].
    pub async fn delete_async(&self, relative: &str) -> Result<()> {
        match self.root.delete(&self.path(relative)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(error(e, "delete", &self.url, relative)),
        }
    }

    /// Writes one object twice and expects the second write to lose: a store that lets two writers
    /// win would break the protocol, so it is refused before anything else is written.
    ///
    /// # Errors
    /// `Config` if the second write won; `Unavailable` (or `Config`) if nothing can be written.
    pub fn probe_put_if_absent(&self, name: &str) -> Result<()> {
        let first = self.put_if_absent(name, Bytes::from(format!("{name} first")))?;
        let second = self.put_if_absent(name, Bytes::from(format!("{name} second")));
        self.delete(name)?;
        match (first, second?) {
            (Put::Created, Put::Exists) => Ok(()),
            _ => Err(Error::config(format!(
                "the store of {} lets a second writer win a put-if-absent",
                self.url
            ))
            .hint("exactly-once needs a store with conditional writes: ADLS, Azure Blob or a local disk")),
        }
    }
}

/// The store itself; in tests the faults that the environment asks for stand over it.
fn with_faults(root: Arc<DynObjectStore>) -> Arc<DynObjectStore> {
    #[cfg(any(debug_assertions, feature = "failpoints"))]
    if let Some(faults) = faulty::Faults::of_environment() {
        return Arc::new(conditional::CreateConflictAdapter::new(Arc::new(faulty::Faulty::new(
            root, faults,
        ))));
    }
    root
}

fn bad_url(url: &Url, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::config(format!("cannot open the store of {url}")).source(source)
}

/// What a store's error means: refused credentials and rights are for the operator to mend, a full disk
/// and everything else may pass.
pub fn kind(error: &object_store::Error) -> Kind {
    if let Some(ours) = ours(error) {
        return ours.kind();
    }
    match error {
        _ if no_container(error) => Kind::Config,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }
        | object_store::Error::NotImplemented { .. }
        | object_store::Error::NotSupported { .. } => Kind::Config,
        _ if denied_by_the_disk(error) || file_in_the_way(error) => Kind::Config,
        _ => Kind::Unavailable,
    }
}

/// Gives a store's error its kind, and says what could not be done where.
pub fn error(source: object_store::Error, verb: &str, url: &Url, relative: &str) -> Error {
    let hint = match &source {
        _ if no_container(&source) => {
            Some("the container is not there: make it, or correct its name; Alluvia makes none")
        }
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Some("the identity needs read, write and delete rights there")
        }
        _ if denied_by_the_disk(&source) && ["read", "list", "look at"].contains(&verb) => {
            Some("the user of this process needs the right to read there")
        }
        _ if denied_by_the_disk(&source) => Some("the user of this process needs the right to write there"),
        _ if file_in_the_way(&source) => Some("a folder belongs there, and a file is in its way"),
        _ if verb == "write" && from_the_disk(&source) == Some(std::io::ErrorKind::NotFound) => {
            Some("its folder is not there and cannot be made: correct the path")
        }
        _ => None,
    };
    let error = Error::new(kind(&source), format!("cannot {verb} {url}{relative}")).source(source);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// An error of ours that is the cause of another one: a token that was not given.
pub fn ours<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Error> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<Error>() {
            return Some(found);
        }
        cause = inner.source();
    }
    None
}

/// Whether Azure says that the container itself is not there.
fn no_container(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.to_string().contains("<Code>ContainerNotFound</Code>") {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Whether the cause is the operating system's "permission denied" or "read-only file system".
fn denied_by_the_disk(error: &object_store::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(from_the_disk(error), Some(PermissionDenied | ReadOnlyFilesystem))
}

/// Whether the cause is a file where a folder must be.
fn file_in_the_way(error: &object_store::Error) -> bool {
    from_the_disk(error) == Some(std::io::ErrorKind::NotADirectory)
}

/// What the operating system said, if it is the cause.
fn from_the_disk(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = inner.source();
    }
    None
}

/// The runtime that stores are opened with in unit tests.
#[cfg(test)]
pub(crate) fn test_runtime() -> &'static Handle {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
        std::sync::LazyLock::new(|| tokio::runtime::Runtime::new().expect("threads for storage calls"));
    RUNTIME.handle()
}

#[cfg(test)]
mod tests;
