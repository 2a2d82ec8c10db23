//! Ownership in Azure Blob Storage: a lease on the blob `alluvia/lease` of the checkpoint.
//!
//! The lease's id is the owner's run, and the blob's metadata say who that is. A thread renews the lease while the owner
//! lives; of one that died the lease ends by itself after [`DURATION_S`]. Whoever bears the owner's name, or was told to take
//! over, changes the id from the run that it found to its own: that is one request, which only one newcomer wins, and
//! from then on the former owner's renewals are refused.
//!
//! What the thread knows is asked for free. A [`still_ours`](HeldLease::still_ours) is a request: a renewal, which Azure
//! grants only to the present owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use azure_core::http::StatusCode;
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{
    BlobClientAcquireLeaseOptions, BlobClientBreakLeaseOptions, BlobClientGetPropertiesResultHeaders,
    BlobClientSetMetadataOptions, BlobClientUploadOptions, LeaseState,
};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::{HeldLease, LeaseStore, Owner, Taken};
use crate::checkpoint::RESTORE;
use crate::checkpoint::paths::LEASE;
use crate::model::{Error, Result};
use crate::storage::azure::Container;
use crate::storage::{self, Deadline, Store};

/// What is in it.
const CONTENT: &str = "Whoever holds the lease of this blob runs the stream of this checkpoint; its metadata say who that is.\n";
/// How long a lease holds that is not renewed: Azure's shortest.
const DURATION_S: i32 = 15;
/// How often it is renewed, and how soon again after an attempt that failed.
const RENEWAL: Duration = Duration::from_secs(5);
const RENEWAL_RETRY: Duration = Duration::from_secs(1);
/// How old a renewal may be whose answer is taken for what still holds.
const FRESH: Duration = Duration::from_secs(10);
/// How long an answer is waited for, and how often a request is sent before its failure is told.
const ANSWER: Duration = Duration::from_secs(4);
const TRIES: u32 = 3;
/// How long a process that ends waits until its lease is given back.
const RELEASE: Duration = Duration::from_secs(2);
/// Races with other newcomers, of which each costs one look.
const RACES: u32 = 20;

/// The lease of a checkpoint in Azure.
pub struct BlobLease<'s> {
    store: &'s Store,
    container: &'s Container,
}

impl<'s> BlobLease<'s> {
    /// The lease of the checkpoint in `store`; `None` if that is not in Azure.
    pub fn of(store: &'s Store) -> Option<BlobLease<'s>> {
        Some(BlobLease { store, container: store.container()? })
    }

    fn blob(&self) -> Result<Blob> {
        Ok(Blob {
            client: self.container.blob(&self.store.path(LEASE))?,
            container: self.container.clone(),
            place: format!("{}{LEASE}", self.store.url()),
        })
    }
}

/// Requests of leases run on a runtime of their own: they must go on while storage calls of the stream hang.
fn runtime() -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Error::unavailable("cannot start a runtime for the lease").source(e))
}

impl LeaseStore for BlobLease<'_> {
    fn take(&self, owner: &Owner, take_over: bool) -> Result<Taken> {
        let (blob, runtime) = (self.blob()?, runtime()?);
        let asked_at = Instant::now();
        if let Some(other) = runtime.block_on(blob.take(owner, take_over))? {
            return Ok(Taken::OwnedBy(other));
        }
        let held = Held::start(blob, owner.run.clone(), asked_at, runtime, self.store.deadline().cloned())?;
        Ok(Taken::Ours(Box::new(held)))
    }

    fn owner(&self) -> Result<Option<Owner>> {
        let found = runtime()?.block_on(self.blob()?.look())?;
        Ok(found.filter(|found| found.leased).map(|found| found.owner))
    }
}

/// The blob, and how its errors are told.
struct Blob {
    client: BlobClient,
    container: Container,
    place: String,
}

/// What the blob said.
struct Found {
    /// Whether somebody holds its lease.
    leased: bool,
    /// Who took it last.
    owner: Owner,
}

/// Why a request was not granted.
enum Refused {
    /// The lease is another's, or nobody's.
    Lease,
    /// There is no such blob.
    Gone,
    /// Anything else.
    Failed(Error),
}

impl Blob {
    /// Sends `request` until it is answered, [`TRIES`] times at most. Every request of a lease may be sent twice.
    async fn send<T, F>(&self, what: &str, request: impl Fn() -> F) -> std::result::Result<T, Refused>
    where
        F: Future<Output = azure_core::Result<T>>,
    {
        let mut failed = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(200) * attempt).await;
            }
            match tokio::time::timeout(ANSWER, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => match self.refusal(what, &error) {
                    Refused::Failed(error) if error.kind().retries() => failed = Some(error),
                    refused => return Err(refused),
                },
                Err(_) => {
                    let text =
                        format!("cannot {what} at {}: no answer within {} s", self.place, ANSWER.as_secs());
                    failed = Some(Error::unavailable(text));
                }
            }
        }
        Err(Refused::Failed(failed.unwrap_or_else(|| Error::internal("a request of a lease was never sent"))))
    }

    fn refusal(&self, what: &str, error: &azure_core::Error) -> Refused {
        let text = self.container.text_of(error);
        let failed = |error: Error| Refused::Failed(error.source(text.clone()));
        let message = format!("cannot {what} at {}", self.place);
        if let Some(ours) = storage::ours(error) {
            return Refused::Failed(Error::new(ours.kind(), message).source(text));
        }
        match error.http_status() {
            Some(StatusCode::Conflict | StatusCode::PreconditionFailed) => Refused::Lease,
            Some(StatusCode::NotFound) if text.contains("ContainerNotFound") => failed(
                Error::config(message).hint("the container is not there: make it, or correct its name"),
            ),
            Some(StatusCode::NotFound) => Refused::Gone,
            Some(StatusCode::Forbidden | StatusCode::Unauthorized) => failed(Error::config(message).hint(
                "the credential of storageOptions needs the rights to read, write and lease blobs there",
            )),
            _ => failed(Error::unavailable(message)),
        }
    }

    /// Who holds the lease; `None` if there is no such blob.
    async fn look(&self) -> Result<Option<Found>> {
        let properties = match self.send("read the lease", || self.client.get_properties(None)).await {
            Ok(properties) => properties,
            Err(Refused::Gone) => return Ok(None),
            Err(refused) => return Err(self.error(refused, "read the lease")),
        };
        let unreadable = |e: azure_core::Error| {
            Error::unavailable(format!("cannot read the lease at {}", self.place)).source(e)
        };
        let state = properties.lease_state().map_err(unreadable)?;
        let leased = matches!(state, Some(LeaseState::Leased | LeaseState::Breaking));
        let metadata = properties.metadata().map_err(unreadable)?;
        Ok(Some(Found { leased, owner: owner_of(&metadata) }))
    }

    /// A refusal where none is expected.
    fn error(&self, refused: Refused, what: &str) -> Error {
        match refused {
            Refused::Failed(error) => error,
            Refused::Lease => Error::conflict(format!("cannot {what} at {}: it changed hands", self.place)),
            Refused::Gone => self.gone(),
        }
    }

    fn gone(&self) -> Error {
        let checkpoint = self.place.trim_end_matches(LEASE);
        Error::corrupt(format!(
            "checkpoint {checkpoint} is gone, or its lease is: it was there when the stream started"
        ))
        .hint(RESTORE)
    }

    /// Becomes the owner, or says who is.
    async fn take(&self, owner: &Owner, take_over: bool) -> Result<Option<Owner>> {
        for race in 0..RACES {
            let Some(found) = self.look().await? else {
                self.create().await?;
                continue;
            };
            let replaced = found.leased.then_some(found.owner);
            if let Some(other) = &replaced
                && !take_over
                && (owner.name.is_empty() || other.name != owner.name)
            {
                return Ok(Some(other.clone()));
            }
            let taken = match &replaced {
                Some(other) => self.change(other, owner, take_over && race + 1 == RACES).await?,
                None => self.acquire(owner).await?,
            };
            if taken && self.sign(owner).await? {
                if let Some(other) = replaced {
                    tracing::warn!(
                        lease = self.place,
                        replaced = %other,
                        "took over from another process: if it still runs, it stops before its next commit"
                    );
                }
                return Ok(None);
            }
            // Whoever was faster has perhaps not said its name yet.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Error::conflict(format!("too many processes want the lease at {}", self.place)))
    }

    async fn create(&self) -> Result<()> {
        let what = "make the lease's blob";
        let options = || Some(BlobClientUploadOptions::default().if_not_exists());
        match self
            .send(what, || self.client.upload(Bytes::from_static(CONTENT.as_bytes()).into(), options()))
            .await
        {
            Ok(_) | Err(Refused::Lease) => Ok(()),
            Err(refused) => Err(self.error(refused, what)),
        }
    }

    /// Takes a lease that nobody holds; false if another was faster.
    async fn acquire(&self, owner: &Owner) -> Result<bool> {
        let options = || BlobClientAcquireLeaseOptions {
            proposed_lease_id: Some(owner.run.clone()),
            ..BlobClientAcquireLeaseOptions::default()
        };
        let what = "take the lease";
        match self.send(what, || self.client.acquire_lease(DURATION_S, Some(options()))).await {
            Ok(_) => Ok(true),
            Err(Refused::Lease) => Ok(false),
            Err(refused) => Err(self.error(refused, what)),
        }
    }

    /// Takes the lease from `other`; false if it is no longer its. `by_force`, a lease that no process of Alluvia took is
    /// broken, to be taken next.
    async fn change(&self, other: &Owner, owner: &Owner, by_force: bool) -> Result<bool> {
        let what = "take over the lease";
        let change = || self.client.change_lease(other.run.clone(), owner.run.clone(), None);
        let refused = match self.send(what, change).await {
            // The change prolongs nothing.
            Ok(_) => return self.renew(&owner.run).await.map_err(|refused| self.error(refused, what)),
            Err(refused) => refused,
        };
        if by_force {
            let now = || BlobClientBreakLeaseOptions {
                break_period: Some(0),
                ..BlobClientBreakLeaseOptions::default()
            };
            let broken = self.send("break the lease", || self.client.break_lease(Some(now()))).await;
            broken.map_err(|refused| self.error(refused, "break the lease"))?;
            return self.acquire(owner).await;
        }
        match refused {
            Refused::Lease => Ok(false),
            // A lease without an owner of ours has no run: Azure takes that for no id at all.
            Refused::Failed(_) if other.run.is_empty() => Ok(false),
            refused => Err(self.error(refused, what)),
        }
    }

    /// Prolongs the lease of `run`; false if it has another or none.
    async fn renew(&self, run: &str) -> std::result::Result<bool, Refused> {
        match self.send("renew the lease", || self.client.renew_lease(run.to_owned(), None)).await {
            Ok(_) => Ok(true),
            Err(Refused::Lease) => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// Says on the blob who holds its lease; false if it changed hands meanwhile.
    async fn sign(&self, owner: &Owner) -> Result<bool> {
        let metadata = metadata_of(owner);
        let options = || BlobClientSetMetadataOptions {
            lease_id: Some(owner.run.clone()),
            ..BlobClientSetMetadataOptions::default()
        };
        let what = "write the owner of the lease";
        match self.send(what, || self.client.set_metadata(&metadata, Some(options()))).await {
            Ok(_) => Ok(true),
            Err(Refused::Lease) => Ok(false),
            Err(refused) => Err(self.error(refused, what)),
        }
    }
}

/// Header values are ASCII: other characters are percent-encoded.
fn metadata_of(owner: &Owner) -> HashMap<String, String> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let fields = [("name", &owner.name), ("host", &owner.host), ("run", &owner.run)];
    let mut metadata: HashMap<String, String> = (fields.iter())
        // Azure knows no metadata without a value.
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (format!("owner{key}"), encoded(value)))
        .collect();
    metadata.insert("ownerpid".into(), owner.pid.to_string());
    metadata
}

fn owner_of(metadata: &HashMap<String, String>) -> Owner {
    let field = |key: &str| -> String {
        let found = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        let decoded = found.and_then(|value| url::form_urlencoded::parse(value.as_bytes()).next());
        decoded.map(|(text, _)| text.into_owned()).unwrap_or_default()
    };
    let host = field("ownerhost");
    Owner {
        name: field("ownername"),
        pid: field("ownerpid").parse().unwrap_or(0),
        host: if host.is_empty() { "unknown".into() } else { host },
        run: field("ownerrun"),
    }
}

/// A lease that is ours, and the thread that renews it.
#[derive(Debug)]
struct Held {
    known: Arc<Mutex<Known>>,
    asked: Option<mpsc::UnboundedSender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

type Ask = oneshot::Sender<Result<bool>>;

/// What the thread has found out.
#[derive(Debug)]
struct Known {
    /// When the newest renewal was asked for that was granted.
    renewed_at: Instant,
    /// Whether one was refused, which is for good.
    lost: bool,
}

impl Held {
    fn start(
        blob: Blob,
        run: String,
        taken_at: Instant,
        runtime: Runtime,
        deadline: Option<Deadline>,
    ) -> Result<Held> {
        let known = Arc::new(Mutex::new(Known { renewed_at: taken_at, lost: false }));
        let (asked, asks) = mpsc::unbounded_channel();
        let keeper = Keeper { blob, run, known: Arc::clone(&known), deadline };
        let thread = thread::Builder::new()
            .name("lease".into())
            .spawn(move || {
                runtime.block_on(keeper.keep(asks));
                // A thread that still waits for a token must not hold up the stream's end.
                runtime.shutdown_background();
            })
            .map_err(|e| Error::unavailable("cannot start a thread for the lease").source(e))?;
        Ok(Held { known, asked: Some(asked), thread: Some(thread) })
    }
}

impl HeldLease for Held {
    fn still_ours(&self) -> Result<bool> {
        let ended = || Error::internal("the thread that renews the lease has ended");
        let (answer, answered) = oneshot::channel();
        self.asked.as_ref().ok_or_else(ended)?.send(answer).map_err(|_| ended())?;
        answered.blocking_recv().map_err(|_| ended())?
    }

    fn seems_ours(&self) -> Result<bool> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.lost || known.renewed_at.elapsed() < FRESH {
                return Ok(!known.lost);
            }
        }
        self.still_ours()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // It ends within the time of a release.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Keeper {
    blob: Blob,
    run: String,
    known: Arc<Mutex<Known>>,
    deadline: Option<Deadline>,
}

impl Keeper {
    /// Renews until nobody asks any more; then gives the lease back.
    async fn keep(self, mut asks: mpsc::UnboundedReceiver<Ask>) {
        let mut pause = RENEWAL;
        loop {
            let ask = match tokio::time::timeout(pause, asks.recv()).await {
                Ok(None) => return self.release().await,
                Ok(Some(ask)) => Some(ask),
                Err(_) => None,
            };
            let answer = tokio::select! {
                answer = self.renew() => answer,
                // The stream is gone while an answer is waited for.
                () = closed(&asks) => return self.release().await,
            };
            pause = if answer.is_ok() { RENEWAL } else { RENEWAL_RETRY };
            match ask {
                // Nobody waits any more if the stream has ended.
                Some(ask) => drop(ask.send(answer)),
                None => {
                    if let Err(error) = answer {
                        tracing::warn!(%error, "the lease could not be renewed; it is tried again");
                    }
                }
            }
        }
    }

    async fn renew(&self) -> Result<bool> {
        if self.lock().lost {
            return Ok(false);
        }
        let asked_at = Instant::now();
        let renewed = match &self.deadline {
            None => self.blob.renew(&self.run).await,
            Some(deadline) => tokio::select! {
                renewed = self.blob.renew(&self.run) => renewed,
                () = deadline.clone().over() => Err(Refused::Failed(Error::unavailable(format!(
                    "given up at {}: the deadline of the stop (shutdownTimeout) is over", self.blob.place
                )))),
            },
        };
        match renewed {
            Ok(ours) => {
                let mut known = self.lock();
                known.lost = !ours;
                known.renewed_at = asked_at;
                Ok(ours)
            }
            Err(Refused::Gone) => Err(self.blob.gone()),
            Err(refused) => Err(self.blob.error(refused, "renew the lease")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn release(&self) {
        if self.lock().lost {
            return;
        }
        let released =
            tokio::time::timeout(RELEASE, self.blob.client.release_lease(self.run.clone(), None)).await;
        if !matches!(released, Ok(Ok(_))) {
            tracing::debug!(lease = self.blob.place, "the lease was not given back; it ends by itself");
        }
    }
}

/// Waits until nobody can ask any more.
async fn closed(asks: &mpsc::UnboundedReceiver<Ask>) {
    while !asks.is_closed() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_comes_back_from_its_metadata_whatever_its_name() {
        for name in ["", "pod-0", "Müller & Söhne = 1"] {
            let owner = Owner::here(name);
            let metadata = metadata_of(&owner);
            assert!(metadata.values().all(|value| value.is_ascii() && !value.is_empty()), "{metadata:?}");
            assert_eq!(owner_of(&metadata), owner);
        }
        assert_eq!(owner_of(&HashMap::new()).to_string(), "process 0 on unknown");
    }
}
