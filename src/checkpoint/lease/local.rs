//! Ownership on a local disk: a numbered file in `alluvia/lease/`.
//!
//! The highest number owns the stream, and its process holds a file lock that dies with it. A newcomer takes the
//! next number if the owner's lock is free (it died) or if it bears the owner's name (a restarted pod whose
//! predecessor hangs); else the answer is who owns the stream. An owner that finds a higher number than
//! its own has been replaced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{HeldLease, LeaseStore, Owner, Taken};
use crate::checkpoint::RESTORE;
use crate::checkpoint::paths::LEASE;
use crate::model::{Error, Result};
use crate::storage::Store;

/// The lease of a checkpoint on a local disk.
pub struct LocalLease<'s> {
    store: &'s Store,
    folder: PathBuf,
}

/// A lease that is ours.
#[derive(Debug)]
struct Held {
    folder: PathBuf,
    number: u64,
    /// The lock lives as long as this handle.
    _lock: File,
}

impl<'s> LocalLease<'s> {
    /// The lease of the checkpoint in `store`; `None` if that is not on a local disk.
    pub fn of(store: &'s Store) -> Option<LocalLease<'s>> {
        let folder = store.url().to_file_path().ok()?.join(LEASE);
        Some(LocalLease { store, folder })
    }
}

impl LeaseStore for LocalLease<'_> {
    fn take(&self, owner: &Owner, take_over: bool) -> Result<Taken> {
        let folder = &self.folder;
        self.store.make_local_folder(LEASE).map_err(|e| unavailable(folder, e))?;
        // A race with other newcomers is lost at most once per newcomer.
        for _ in 0..100 {
            let newest = newest(folder)?;
            let replaced = match newest {
                Some(number) => holder(folder, number)?,
                None => None,
            };
            if let Some(other) = &replaced
                && !take_over
                && (owner.name.is_empty() || other.name != owner.name)
            {
                return Ok(Taken::OwnedBy(other.clone()));
            }
            let number = match newest {
                None => 0,
                Some(number) => number.checked_add(1).ok_or_else(|| {
                    Error::corrupt(format!("{} is not a lease of Alluvia", path(folder, number).display()))
                        .hint("nothing of a stream is in it: delete it")
                })?,
            };
            if let Some(held) = create(folder, number, owner)? {
                for old in numbers(folder)
                    .map_err(|e| unavailable(folder, e))?
                    .into_iter()
                    .filter(|old| *old < number)
                {
                    // A predecessor that still runs keeps its lock on the nameless file.
                    let _ = fs::remove_file(path(folder, old));
                }
                if let Some(other) = replaced {
                    tracing::warn!(
                        checkpoint = %self.store.url(),
                        replaced = %other,
                        "took over from a process that still runs: it stops at its next step; two of the same ALLUVIA_OWNER that are both restarted replace each other for ever, so give each its own name"
                    );
                }
                return Ok(Taken::Ours(Box::new(held)));
            }
        }
        Err(Error::conflict(format!("too many processes want the lease in {}", folder.display())))
    }

    fn owner(&self) -> Result<Option<Owner>> {
        match newest_if_there(&self.folder)? {
            None => Ok(None),
            Some(number) => holder(&self.folder, number),
        }
    }
}

impl HeldLease for Held {
    fn still_ours(&self) -> Result<bool> {
        match newest_if_there(&self.folder)? {
            Some(number) if number >= self.number => Ok(number == self.number),
            // Nobody ever deletes the newest lease.
            _ => Err(Error::corrupt(format!(
                "checkpoint {} is gone, or its lease is: it was there when the stream started",
                self.folder.ancestors().nth(2).unwrap_or(&self.folder).display()
            ))
            .hint(RESTORE)),
        }
    }
}

/// What the disk said of the folder or of a lease in it.
fn unavailable(place: &Path, source: std::io::Error) -> Error {
    let text = format!("cannot use the lease at {}", place.display());
    match source.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Error::config(text)
            .source(source)
            .hint("checkpointLocation must be a folder in which this process may read and write all files"),
        std::io::ErrorKind::NotADirectory => Error::config(text)
            .source(source)
            .hint("checkpointLocation must be a folder, and a file is in its way"),
        _ => Error::unavailable(text).source(source),
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}"))
}

fn numbers(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        // Other names are those of leases on their way.
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(numbers)
}

fn newest(folder: &Path) -> Result<Option<u64>> {
    Ok(numbers(folder).map_err(|e| unavailable(folder, e))?.into_iter().max())
}

/// The same; none, too, if there is no such folder.
fn newest_if_there(folder: &Path) -> Result<Option<u64>> {
    match numbers(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        numbers => Ok(numbers.map_err(|e| unavailable(folder, e))?.into_iter().max()),
    }
}

/// Who holds the lock of lease `number`; `None` if no living process does.
fn holder(folder: &Path, number: u64) -> Result<Option<Owner>> {
    let file = path(folder, number);
    let mut opened = match File::open(&file) {
        // A lease is deleted only by whoever took a higher number.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|e| unavailable(&file, e))?,
    };
    // Shared, so that two newcomers who ask at the same time do not take each other for the holder.
    match opened.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = Vec::new();
            opened.read_to_end(&mut text).map_err(|e| unavailable(&file, e))?;
            let unknown =
                || Owner { name: String::new(), pid: 0, host: "unknown".into(), run: String::new() };
            Ok(Some(serde_json::from_slice(&text).unwrap_or_else(|_| unknown())))
        }
        Err(fs::TryLockError::Error(e)) => Err(unavailable(&file, e)),
    }
}

/// Makes lease `number`, locked from the moment it has its name; `None` if another was faster.
fn create(folder: &Path, number: u64, owner: &Owner) -> Result<Option<Held>> {
    let staged = folder.join(format!("{}.tmp", Uuid::new_v4()));
    let text = serde_json::to_vec(owner).expect("strings and numbers are always JSON");
    // Open for both: NFS makes a lock of ranges of it, and an exclusive one of those needs a writable handle.
    let mut options = File::options();
    let lock = options.read(true).write(true).create_new(true).open(&staged);
    let mut lock = lock.map_err(|e| unavailable(folder, e))?;
    let named = lock
        .write_all(&text)
        .and_then(|()| lock.lock())
        .and_then(|()| fs::hard_link(&staged, path(folder, number)));
    // It has its name, or comes to nothing. What a killed process leaves of it stays: a few bytes that are no lease, and
    // no one could tell them from those of a newcomer that has not locked its own yet.
    let _ = fs::remove_file(&staged);
    match named {
        Ok(()) => Ok(Some(Held { folder: folder.to_owned(), number, _lock: lock })),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(unavailable(folder, e)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Acquire, Lease};
    use super::*;
    use crate::model::Kind;
    use crate::storage::test_runtime;

    fn store(folder: &tempfile::TempDir) -> Store {
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap()
    }

    fn ours(taken: Acquire) -> Lease {
        match taken {
            Acquire::Acquired(lease) => lease,
            Acquire::HeldBy(other) => panic!("owned by {other}"),
        }
    }

    #[test]
    fn a_second_owner_is_told_the_first_and_takes_over_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let first = ours(Lease::take(&store, &Owner::here("a"), false).unwrap());
        let Acquire::HeldBy(other) = Lease::take(&store, &Owner::here("b"), false).unwrap() else {
            panic!("taken")
        };
        assert_eq!((other.name.as_str(), other.pid), ("a", std::process::id()));
        assert!(first.still_ours().unwrap());
        drop(first);
        assert!(ours(Lease::take(&store, &Owner::here("b"), false).unwrap()).still_ours().unwrap());
    }

    #[test]
    fn the_same_name_takes_over_at_once_and_the_replaced_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let zombie = ours(Lease::take(&store, &Owner::here("pod-0"), false).unwrap());
        let successor = ours(Lease::take(&store, &Owner::here("pod-0"), false).unwrap());
        assert!(!zombie.still_ours().unwrap());
        assert!(successor.still_ours().unwrap());
        let Acquire::HeldBy(_) = Lease::take(&store, &Owner::here("pod-1"), false).unwrap() else {
            panic!("taken")
        };
    }

    #[test]
    fn an_owner_whose_checkpoint_is_gone_is_told_so_and_a_strange_number_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let lease = ours(Lease::take(&store, &Owner::here(""), false).unwrap());
        fs::remove_dir_all(folder.path().join("alluvia")).unwrap();
        let error = lease.check("s").unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(
            error.to_string().contains(&format!("checkpoint {} is gone", folder.path().display())),
            "{error}"
        );
        let largest = folder.path().join("alluvia/lease").join(u64::MAX.to_string());
        fs::create_dir_all(largest.parent().unwrap()).unwrap();
        fs::write(&largest, "").unwrap();
        let error = Lease::take(&store, &Owner::here(""), false).unwrap_err();
        assert!(error.kind() == Kind::Corrupt && error.to_string().contains("delete it"), "{error}");
    }

    #[test]
    fn owners_without_a_name_never_replace_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let _first = ours(Lease::take(&store, &Owner::here(""), false).unwrap());
        assert!(matches!(Lease::take(&store, &Owner::here(""), false).unwrap(), Acquire::HeldBy(_)));
    }

    #[test]
    fn a_lease_that_cannot_be_opened_is_an_error_by_name_and_nobody_takes_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        drop(ours(Lease::take(&store, &Owner::here(""), false).unwrap()));
        let leases = folder.path().join("alluvia/lease");
        // A link to itself: not even root can open it.
        let closed = path(&leases, 7);
        std::os::unix::fs::symlink(&closed, &closed).unwrap();
        for error in [
            Lease::take(&store, &Owner::here(""), false).map(|_| ()).unwrap_err(),
            Lease::owner(&store).map(|_| ()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(error.to_string().contains(&closed.display().to_string()), "{error}");
        }
        assert_eq!(numbers(&leases).unwrap().into_iter().max(), Some(7));
        fs::remove_file(&closed).unwrap();
        assert!(ours(Lease::take(&store, &Owner::here(""), false).unwrap()).still_ours().unwrap());
    }

    #[test]
    fn a_lease_without_the_right_to_it_is_a_matter_of_configuration() {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = unavailable(Path::new("/c/alluvia/lease/0000000007"), denied);
        assert_eq!(error.kind(), Kind::Config);
        for says in ["/c/alluvia/lease/0000000007", "checkpointLocation", "read and write"] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn an_owner_that_cannot_be_told_is_an_error_and_not_no_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        assert!(Lease::owner(&store).unwrap().is_none());
        let leases = folder.path().join("alluvia/lease");
        fs::create_dir(leases.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&leases, &leases).unwrap();
        let error = Lease::owner(&store).unwrap_err();
        assert!(error.kind() == Kind::Unavailable && error.to_string().contains("lease"), "{error}");
    }
}
