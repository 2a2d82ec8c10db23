//! Snapshots of a key index in the checkpoint, so that a process whose local disk is gone need not read the whole table.
//!
//! A snapshot is the files that the index's manifest names, and the manifest itself, under the same names but for the
//! list of files, which grows: its bytes are part of the name. Runs never change, so each is uploaded once. The manifest
//! comes last and is put if absent; its name begins with the table's version. What makes a snapshot good is what makes an
//! index good: checksums, the table's id, the version and its commit. It is downloaded and opened as if it had lain there;
//! one that can't be opened is passed over. Never a reason to stop: without one the index is built from the table.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use uuid::Uuid;

use super::manifest::{MANIFEST, Manifest};
use super::{KeyIndex, name_of};
use crate::failpoint;
use crate::model::{Error, MemoryAccount, Result};
use crate::storage::Store;
use crate::table::upload::Upload;

/// Snapshots that are kept: if one turns out damaged, there is another.
const KEPT: usize = 2;
/// Files of uploads that were never ended are deleted after this time.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);
/// Bytes of a part of an upload.
const PART_BYTES: u64 = 8 << 20;
/// How the names of snapshots end.
const SUFFIX: &str = ".manifest";

/// Where the snapshots of one index are kept.
#[derive(Clone)]
pub struct Snapshots {
    store: Store,
}

/// A snapshot to be uploaded: the files as they are now, whatever becomes of the index meanwhile.
pub struct PendingSnapshot {
    to: Snapshots,
    name: String,
    manifest: Vec<u8>,
    /// The names in the store, the files and their bytes.
    files: Vec<(String, File, u64)>,
}

impl Snapshots {
    /// Snapshots in the folder `store`.
    pub fn new(store: Store) -> Snapshots {
        Snapshots { store }
    }

    /// Puts the newest snapshot that is whole into `folder`, in the place of whatever is there; returns whether there was
    /// one.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer or the folder can't be written to.
    pub(super) fn restore(&self, folder: &Path) -> Result<bool> {
        let mut names = self.manifests()?;
        while let Some(name) = names.pop() {
            match self.download(&name, folder) {
                Ok(()) => return Ok(true),
                Err(error) => {
                    tracing::warn!(snapshot = name, %error, "a snapshot of the key index cannot be used");
                }
            }
        }
        Ok(false)
    }

    /// The names of the snapshots, the oldest first.
    fn manifests(&self) -> Result<Vec<String>> {
        let mut names = self.store.names("")?;
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort_unstable();
        Ok(names)
    }

    fn manifest(&self, name: &str) -> Result<(Vec<u8>, Manifest)> {
        let gone = || Error::unavailable(format!("{}{name} is gone", self.store.url()));
        let bytes = self.store.get(name)?.ok_or_else(gone)?.to_vec();
        let manifest = Manifest::parse(&bytes).map_err(|e| self.unusable(name, e))?;
        Ok((bytes, manifest))
    }

    fn download(&self, name: &str, folder: &Path) -> Result<()> {
        let (bytes, manifest) = self.manifest(name)?;
        let failed = |e| self.unusable(name, e);
        fs::create_dir_all(folder).map_err(failed)?;
        match fs::remove_file(folder.join(MANIFEST)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        for run in &manifest.runs {
            self.fetch(run, &folder.join(run))?;
        }
        self.fetch(&list_name(&manifest.list, manifest.list_bytes), &folder.join(&manifest.list))?;
        let fresh = folder.join(format!("{MANIFEST}.{}", Uuid::new_v4()));
        let mut file = File::create_new(&fresh).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, folder.join(MANIFEST)).map_err(failed)
    }

    /// Brings one file to the local disk.
    fn fetch(&self, name: &str, to: &Path) -> Result<()> {
        let remote = |e| crate::storage::error(e, "read", self.store.url(), name);
        let mut file = File::create(to).map_err(|e| self.unusable(name, e))?;
        self.store.block_on(async {
            let mut chunks =
                self.store.root().get(&self.store.path(name)).await.map_err(remote)?.into_stream();
            while let Some(chunk) = chunks.try_next().await.map_err(remote)? {
                file.write_all(&chunk).map_err(|e| self.unusable(name, e))?;
            }
            Ok::<(), Error>(())
        })?;
        file.sync_all().map_err(|e| self.unusable(name, e))
    }

    fn unusable(&self, name: &str, error: io::Error) -> Error {
        Error::unavailable(format!("{}{name} cannot be taken for the key index", self.store.url()))
            .source(error)
    }

    /// Deletes the snapshots that are not kept, and what only they named.
    fn retain(&self) -> Result<()> {
        let mut names = self.manifests()?;
        let kept = names.split_off(names.len().saturating_sub(KEPT));
        let mut needed = BTreeSet::new();
        for name in &kept {
            let (_, manifest) = self.manifest(name)?;
            needed.extend(manifest.runs);
            needed.insert(list_name(&manifest.list, manifest.list_bytes));
        }
        let mut useless = BTreeSet::new();
        for name in &names {
            if let Ok((_, manifest)) = self.manifest(name) {
                useless.extend(manifest.runs);
                useless.insert(list_name(&manifest.list, manifest.list_bytes));
            }
            self.store.delete(name)?;
        }
        let long_ago = chrono::Utc::now().timestamp_millis() - LEFT_OVER.as_millis() as i64;
        for found in self.store.listing()? {
            let left_over = found.modified_ms < long_ago && !found.path.ends_with(SUFFIX);
            if (useless.contains(&found.path) || left_over) && !needed.contains(&found.path) {
                self.store.delete(&found.path)?;
            }
        }
        Ok(())
    }
}

impl PendingSnapshot {
    /// What is to be uploaded of an index that was just saved.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn of(index: &KeyIndex, to: &Snapshots) -> io::Result<PendingSnapshot> {
        let manifest = fs::read(index.folder.join(MANIFEST))?;
        let named = Manifest::parse(&manifest)?;
        let mut files = Vec::with_capacity(named.runs.len() + 1);
        for run in &index.runs {
            let file = File::open(run.path())?;
            let bytes = file.metadata()?.len();
            files.push((name_of(run.path()), file, bytes));
        }
        let list = File::open(index.folder.join(&named.list))?;
        files.push((list_name(&named.list, named.list_bytes), list, named.list_bytes));
        let name = format!("{:020}-{}{SUFFIX}", named.position.version, Uuid::new_v4());
        Ok(PendingSnapshot { to: to.clone(), name, manifest, files })
    }

    /// Uploads what is not there yet, the manifest last, and deletes older snapshots. Blocks; for a thread of its own.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub fn upload(self) -> Result<()> {
        let there: BTreeSet<String> = self.to.store.names("")?.into_iter().collect();
        for (name, file, bytes) in &self.files {
            if !there.contains(name) {
                self.to.send(name, file, *bytes)?;
            }
        }
        failpoint!("merge.uploaded");
        self.to.store.put_if_absent(&self.name, self.manifest.into())?;
        failpoint!("merge.snapshot");
        self.to.retain()
    }
}

impl Snapshots {
    /// Uploads the first `bytes` of a file.
    fn send(&self, name: &str, file: &File, bytes: u64) -> Result<()> {
        let failed = |e| self.unusable(name, e);
        let url = self
            .store
            .url()
            .join(name)
            .map_err(|e| Error::internal("a snapshot has no address").source(e))?;
        let account = MemoryAccount::new(4 * PART_BYTES as usize);
        let mut upload = Upload::new(&self.store, url, self.store.path(name), &account);
        let mut at = 0;
        loop {
            let mut part = vec![0; PART_BYTES.min(bytes - at) as usize];
            file.read_exact_at(&mut part, at).map_err(failed)?;
            at += part.len() as u64;
            if at == bytes {
                return self.store.block_on(upload.finish(part.into())).map(|_| ());
            }
            upload.send(part.into())?;
        }
    }
}

/// The name of a list of files in the store: it grows under its own.
fn list_name(list: &str, bytes: u64) -> String {
    format!("{list}-{bytes}")
}
