//! Who runs the stream: one owner at a time, known by name. Safety never depends on it.
//!
//! Each kind of store keeps ownership in its own way behind [`LeaseStore`]: on a local disk a numbered file and its
//! lock ([`local`]), in Azure the lease of a blob ([`blob`]). Of a store without one (in memory) the put-if-absent of its
//! plans and the transaction of its table still let only one owner win.

pub mod blob;
pub mod local;

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Error, Result};
use crate::storage::Store;

/// Who wants to run a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// A name that survives restarts (`ALLUVIA_OWNER`, a pod's name); empty if there is none.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// The machine.
    pub host: String,
    /// Unique to one start.
    pub run: String,
}

impl Owner {
    /// This process under `name` (empty for none).
    pub fn here(name: &str) -> Owner {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Owner {
            name: name.to_owned(),
            pid: std::process::id(),
            host: host.trim().to_owned(),
            run: Uuid::new_v4().to_string(),
        }
    }
}

impl Owner {
    /// Whether it is a process of this machine that has ended: then its lease ends soon, if it did not with it.
    pub fn has_ended(&self) -> bool {
        let here = Owner::here("");
        !here.host.is_empty()
            && self.host == here.host
            && self.pid != 0
            && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{} (", self.name)?;
        }
        write!(f, "process {} on {}", self.pid, self.host)?;
        if self.name.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

/// How a kind of store keeps who runs the stream of a checkpoint.
pub trait LeaseStore {
    /// Tries once to become the owner. Whoever bears the present owner's name takes its place at once, for that is
    /// a restarted process whose predecessor hangs; so does anybody who is told to `take_over`.
    ///
    /// # Errors
    /// `Unavailable` (or `Config`) if the lease can't be read or written.
    fn take(&self, owner: &Owner, take_over: bool) -> Result<Taken>;

    /// Who is the owner now; `None` if no living process is. Writes nothing.
    ///
    /// # Errors
    /// `Unavailable` if the lease can't be read.
    fn owner(&self) -> Result<Option<Owner>>;
}

/// Ownership, for as long as it lives: when it is dropped the next owner need not wait.
pub trait HeldLease: fmt::Debug + Send + Sync {
    /// Whether no one has replaced us.
    ///
    /// # Errors
    /// `Corrupt` if the checkpoint is gone; `Unavailable` if the lease can't be read.
    fn still_ours(&self) -> Result<bool>;

    /// The same as far as it is known without a request, where one costs something: an answer that is a few seconds old
    /// is taken for what still holds.
    ///
    /// # Errors
    /// As for [`HeldLease::still_ours`].
    fn seems_ours(&self) -> Result<bool> {
        self.still_ours()
    }
}

/// What a store's lease answered.
pub enum Taken {
    /// It is ours.
    Ours(Box<dyn HeldLease>),
    /// This owner runs the stream.
    OwnedBy(Owner),
}

/// The lease that the store of a checkpoint has; `None` if it has none.
fn lease_store(store: &Store) -> Option<Box<dyn LeaseStore + '_>> {
    if let Some(blob) = blob::BlobLease::of(store) {
        return Some(Box::new(blob));
    }
    let local = local::LocalLease::of(store)?;
    Some(Box::new(local))
}

/// A held lease.
#[derive(Debug)]
pub struct Lease {
    /// `None` where the store has no lease.
    held: Option<Box<dyn HeldLease>>,
}

/// What an attempt to take the lease met.
#[derive(Debug)]
pub enum Acquire {
    /// It is ours.
    Acquired(Lease),
    /// This owner runs the stream.
    HeldBy(Owner),
}

impl Lease {
    /// Tries once to take the lease of the checkpoint in `store`, from whomever if `take_over`.
    ///
    /// # Errors
    /// As for [`LeaseStore::take`].
    pub fn take(store: &Store, owner: &Owner, take_over: bool) -> Result<Acquire> {
        let Some(leases) = lease_store(store) else {
            tracing::debug!(checkpoint = %store.url(), "no lease on this kind of store");
            return Ok(Acquire::Acquired(Lease { held: None }));
        };
        Ok(match leases.take(owner, take_over)? {
            Taken::Ours(held) => Acquire::Acquired(Lease { held: Some(held) }),
            Taken::OwnedBy(other) => Acquire::HeldBy(other),
        })
    }

    /// Stops an owner of stream `stream` that knows that it was replaced: spares it work that would be in vain.
    ///
    /// # Errors
    /// `Fenced` if it was; else as for [`HeldLease::seems_ours`].
    pub fn check(&self, stream: &str) -> Result<()> {
        let ours = self.held.as_ref().map_or(Ok(true), |held| held.seems_ours())?;
        if ours { Ok(()) } else { Err(replaced(stream)) }
    }

    /// Stops an owner of stream `stream` that was replaced before this was asked.
    ///
    /// # Errors
    /// `Fenced` if it was; else as for [`HeldLease::still_ours`].
    pub fn confirm(&self, stream: &str) -> Result<()> {
        if self.still_ours()? { Ok(()) } else { Err(replaced(stream)) }
    }

    /// Who runs the stream of the checkpoint in `store` now; `None` if no one does, or if this kind of
    /// store has no lease. Writes nothing.
    ///
    /// # Errors
    /// As for [`LeaseStore::owner`].
    pub fn owner(store: &Store) -> Result<Option<Owner>> {
        lease_store(store).map_or(Ok(None), |leases| leases.owner())
    }

    /// Whether no one has replaced us.
    ///
    /// # Errors
    /// As for [`HeldLease::still_ours`].
    pub fn still_ours(&self) -> Result<bool> {
        self.held.as_ref().map_or(Ok(true), |held| held.still_ours())
    }
}

fn replaced(stream: &str) -> Error {
    Error::fenced(format!("another process took over stream {stream}"))
        .hint("nothing is lost: the new owner goes on where this one stopped")
}
