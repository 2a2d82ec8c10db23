//! The durable state of a query.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::TableId;
use super::batch::{BatchChanges, StoreBatch};
use super::cache::{Cache, Marker};
use super::file::{FileKind, RowWriter, to_bytes};
use super::files::{CHANGES, ChangesHeader, changes_name, check_attempt, check_run};
use super::options::StateOptions;
use super::restore::{Origin, Restored, SinceSnapshot, restore};
use super::snapshot::{Job, Task};
use super::version::{Committed, Layer, Version};
use super::view::View;
use crate::failpoint;
use crate::model::{Error, Result};
use crate::storage::Put;

/// When changes move on; tests have smaller ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes and batches of changes that wait in memory before the local copy takes them over: enough for files of some size.
    pub(super) layer_bytes: usize,
    pub(super) layer_batches: u32,
    /// Files of changes after which a snapshot is made in any case, for a restore reads each.
    pub(super) files: u64,
    /// What a file of changes costs a restore, in bytes.
    pub(super) file_cost_bytes: u64,
    /// A snapshot is made when the changes since the last one are as large as it, but no smaller than this.
    pub(super) snapshot_bytes_min: u64,
    /// Bytes of rows in a part of a snapshot.
    pub(super) part_bytes: usize,
}

impl Limits {
    /// For a store that may hold `memory_bytes` in memory.
    fn of(memory_bytes: usize) -> Limits {
        Limits {
            layer_bytes: (memory_bytes / 16).clamp(1 << 20, 16 << 20),
            layer_batches: 100,
            files: 1000,
            file_cost_bytes: 16 << 10,
            snapshot_bytes_min: 1 << 20,
            part_bytes: 8 << 20,
        }
    }
}

/// The state of a query, as of the newest committed batch.
pub struct StateStore {
    options: StateOptions,
    /// The definition, as text.
    definition: String,
    cache: Arc<Cache>,
    /// What the local copy holds.
    cached: Version,
    version: Arc<Version>,
    /// Changes that came after those that are being written to the local copy.
    layer: Arc<Layer>,
    limits: Limits,
    writing: Option<Writing>,
    /// Why the local copy could not be written.
    failed: Option<Error>,
    since: SinceSnapshot,
    snapshot: Option<Task>,
    /// Whether a snapshot begins as soon as the local copy has taken over what is being written.
    snapshot_wanted: bool,
    origin: Origin,
}

/// Changes that are being written to the local copy.
struct Writing {
    layer: Arc<Layer>,
    version: Version,
    thread: JoinHandle<Result<()>>,
}

/// A batch whose changes are durable in the checkpoint, and not yet committed.
pub struct SealedBatch {
    committed: Committed,
    parent: Option<Committed>,
    changes: BatchChanges,
    bytes: u64,
    rows: u64,
}

impl SealedBatch {
    /// The batch and its run.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Bytes of its file of changes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many keys it put or removed, without those that expired.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many keys each table has after the batch.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.changes.tables.iter().map(|table| table.count)
    }
}

/// What a store takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSize {
    /// Bytes in memory, about.
    pub memory_bytes: u64,
    /// Bytes of the local copy.
    pub disk_bytes: u64,
    /// The batch that the local copy holds; -1 for none.
    pub cached_batch_id: i64,
}

impl StateStore {
    /// Opens the state after `committed`, the newest batch that the sink holds; `None` for a query that has committed nothing.
    ///
    /// # Errors
    /// `Config` if the query has changed, or had no state before; `Corrupt` if a file of the checkpoint is missing or damaged,
    /// which is named; `Unavailable` if storage or the local disk does not answer. Nothing is changed in the checkpoint then.
    pub fn open(options: StateOptions, committed: Option<&Committed>) -> Result<StateStore> {
        let limits = Limits::of(options.memory_bytes);
        StateStore::open_with(options, committed, limits)
    }

    pub(super) fn open_with(
        options: StateOptions,
        committed: Option<&Committed>,
        limits: Limits,
    ) -> Result<StateStore> {
        let checkpoint = &options.checkpoint;
        let newest = committed.map(|committed| committed.batch_id);
        let has_state = options.definition.check_start(checkpoint, newest)?;
        if !has_state {
            options.definition.write(checkpoint)?;
        }
        if let Some(committed) = committed {
            check_run(checkpoint, committed)?;
        }
        let definition = options.definition.to_string();
        let Restored { cache, cached, version, layer, since, origin } =
            restore(&options, &definition, committed, limits.layer_bytes)?;
        options.definition.check_forgotten(&version)?;
        Ok(StateStore {
            definition,
            cache: Arc::new(cache),
            cached,
            version: Arc::new(version),
            layer: Arc::new(layer),
            limits,
            writing: None,
            failed: None,
            since,
            snapshot: None,
            snapshot_wanted: false,
            origin,
            options,
        })
    }

    /// Where the state came from when the store was opened.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The newest batch of the state; -1 before the first.
    pub fn batch_id(&self) -> i64 {
        self.version.batch_id()
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.version.tables.iter().all(|table| table.count == 0)
    }

    /// Begins a batch on the state after the batch before it. A batch that is dropped leaves nothing.
    ///
    /// # Errors
    /// `Internal` if the batch before is not the newest one; `Unavailable` if the local copy could not be written: the store
    /// must be opened again.
    pub fn begin(&mut self, batch_id: i64) -> Result<StoreBatch> {
        self.poll();
        if let Some(failed) = &self.failed {
            return Err(failed.again());
        }
        if batch_id != self.batch_id() + 1 {
            return Err(Error::internal(format!(
                "micro-batch {batch_id} cannot begin on the state after micro-batch {}",
                self.batch_id()
            )));
        }
        let writing = self.writing.iter().map(|writing| Arc::clone(&writing.layer));
        let view = View {
            version: Arc::clone(&self.version),
            layers: std::iter::once(Arc::clone(&self.layer)).chain(writing).collect(),
            cache: Arc::clone(&self.cache),
        };
        Ok(StoreBatch::new(batch_id, view))
    }

    /// Writes what a batch changed to the checkpoint, durably. `attempt` names this run of the batch and no other one.
    ///
    /// # Errors
    /// `Unavailable` if storage or the local copy does not answer; `Conflict` if there is such a run.
    pub fn seal(&self, batch: StoreBatch, attempt: &str) -> Result<SealedBatch> {
        check_attempt(attempt)?;
        let committed = Committed { batch_id: batch.batch_id(), attempt: attempt.to_owned() };
        let parent = batch.base().version.committed.clone();
        let changes = batch.into_changes()?;
        let mut rows = RowWriter::default();
        for table in &changes.changes {
            rows.begin_table();
            table.iter().for_each(|(key, change)| rows.push(key, change.value.as_deref()));
        }
        let header = ChangesHeader {
            query_id: self.options.query_id.clone(),
            committed,
            parent,
            tables: changes.tables.clone(),
            rows: changes.changes.iter().map(|table| table.len() as u64).collect(),
        };
        let bytes = to_bytes(FileKind::Changes, &header, rows.bytes())?;
        let size = bytes.len() as u64;
        let path = format!("{CHANGES}/{}", changes_name(&header.committed));
        failpoint!("state.before");
        let put = self.options.checkpoint.put_if_absent(&path, bytes)?;
        if put == Put::Exists {
            return Err(Error::conflict(format!(
                "{}{path} is there: another process has run the batch under the same name",
                self.options.checkpoint.url()
            )));
        }
        failpoint!("state.after");
        let rows = header.rows.iter().sum();
        Ok(SealedBatch { committed: header.committed, parent: header.parent, changes, bytes: size, rows })
    }

    /// Makes a sealed batch the newest of the state, after the sink has committed it.
    ///
    /// # Errors
    /// `Internal` if it was begun on another state.
    pub fn commit(&mut self, sealed: SealedBatch) -> Result<()> {
        if sealed.parent != self.version.committed {
            return Err(Error::internal(format!(
                "micro-batch {} was sealed on another state than that after micro-batch {}",
                sealed.committed.batch_id,
                self.batch_id()
            )));
        }
        let BatchChanges { tables, changes } = sealed.changes;
        let layer = Arc::make_mut(&mut self.layer);
        for (id, (table, changes)) in tables.iter().zip(changes).enumerate() {
            let id = TableId(id as u16);
            if table.expired_below.as_slice() > self.version.expired_below(id) {
                layer.expire(id, &table.expired_below);
            }
            if !changes.is_empty() {
                layer.add(id, changes);
            }
        }
        layer.batches += 1;
        let is_full = layer.bytes >= self.limits.layer_bytes || layer.batches >= self.limits.layer_batches;
        self.version = Arc::new(Version { committed: Some(sealed.committed), tables });
        self.since.files += 1;
        self.since.bytes += sealed.bytes;
        if is_full {
            self.write_layer();
        }
        Ok(())
    }

    /// Does what can wait, after `commits/N` was written: begins a snapshot if one is due, and says whether an earlier one failed.
    ///
    /// # Errors
    /// What kept a snapshot from being written, or superfluous files from being deleted. The state is whole in any case, and
    /// it is tried again.
    pub fn maintain(&mut self) -> Result<()> {
        self.poll();
        let failed = match self.snapshot.take_if(|task| task.is_finished()) {
            Some(task) => task.finish().map(|bytes| self.since.snapshot_bytes = bytes).err(),
            None => None,
        };
        if self.snapshot.is_none() && self.is_snapshot_due() {
            self.snapshot_wanted = true;
            if self.writing.is_none() && self.layer.batches > 0 {
                self.write_layer();
            } else if self.writing.is_none() {
                self.start_snapshot();
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// [`StateStore::maintain`], and waits for the snapshot that is due, as long as it `goes_on`: the runs of a stream that ends
    /// by itself may have one batch each, and without a snapshot the files of changes would never be deleted.
    ///
    /// # Errors
    /// As for [`StateStore::maintain`].
    pub fn finish(&mut self, goes_on: &mut dyn FnMut() -> bool) -> Result<()> {
        loop {
            self.maintain()?;
            let is_under_way = self.snapshot.is_some() || self.snapshot_wanted;
            if !is_under_way || self.failed.is_some() || !goes_on() {
                return Ok(());
            }
        }
    }

    /// Writes to the local copy what it lacks, so that the next start finds it current; a snapshot that is not finished is given up.
    ///
    /// # Errors
    /// `Unavailable` if the local disk does not take it. The next start then reads the files of changes.
    pub fn close(mut self) -> Result<()> {
        (self.snapshot, self.snapshot_wanted) = (None, false);
        if self.layer.batches > 0 {
            self.write_layer();
        }
        self.wait();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// What the store takes up now.
    pub fn size(&self) -> StateSize {
        let writing = self.writing.as_ref().map_or(0, |writing| writing.layer.bytes);
        StateSize {
            memory_bytes: self.cache.memory_bytes() + (self.layer.bytes + writing) as u64,
            disk_bytes: self.cache.disk_bytes(),
            cached_batch_id: self.cached.batch_id(),
        }
    }

    /// Waits for a snapshot that is being written, or is about to be.
    ///
    /// # Errors
    /// As for [`StateStore::maintain`].
    pub fn finish_snapshot(&mut self) -> Result<()> {
        self.wait();
        let Some(task) = self.snapshot.take() else { return Ok(()) };
        self.since.snapshot_bytes = task.finish()?;
        Ok(())
    }

    fn is_snapshot_due(&self) -> bool {
        let SinceSnapshot { files, bytes, snapshot_bytes } = self.since;
        let limits = &self.limits;
        files >= limits.files
            || bytes + files * limits.file_cost_bytes >= snapshot_bytes.max(limits.snapshot_bytes_min)
    }

    /// Begins a snapshot of what the local copy holds, while nothing is being written to it.
    fn start_snapshot(&mut self) {
        self.snapshot_wanted = false;
        if self.cached.committed.is_none() {
            return;
        }
        self.since = SinceSnapshot { snapshot_bytes: self.since.snapshot_bytes, ..SinceSnapshot::default() };
        let job = Job {
            checkpoint: self.options.checkpoint.clone(),
            query_id: self.options.query_id.clone(),
            version: self.cached.clone(),
            part_bytes: self.limits.part_bytes,
            newest: self.batch_id(),
            batches_to_retain: i64::from(self.options.batches_to_retain.max(2)),
        };
        self.snapshot = Some(Task::start(job, self.cache.all()));
    }

    /// Begins to write what waits in memory to the local copy, when what was begun before has come to its end.
    fn write_layer(&mut self) {
        self.wait();
        let (layer, version) = (std::mem::take(&mut self.layer), Version::clone(&self.version));
        let marker = Marker {
            query_id: self.options.query_id.clone(),
            definition: self.definition.clone(),
            version: version.clone(),
        };
        let (cache, before, rows) = (Arc::clone(&self.cache), self.cached.clone(), Arc::clone(&layer));
        let thread = std::thread::spawn(move || cache.take_over(&rows, &marker, &before));
        self.writing = Some(Writing { layer, version, thread });
    }

    /// Takes note of what has been written.
    fn poll(&mut self) {
        if self.writing.as_ref().is_some_and(|writing| writing.thread.is_finished()) {
            self.wait();
        }
    }

    fn wait(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let panicked = |_| Err(Error::internal("writing to the local copy of the state ended by a panic"));
        match writing.thread.join().unwrap_or_else(panicked) {
            Ok(()) => {
                self.cached = writing.version;
                if self.snapshot_wanted {
                    self.start_snapshot();
                }
            }
            Err(error) => {
                // The store cannot go on without these changes, but the checkpoint has them.
                self.failed = Some(error);
            }
        }
    }
}

/// Waits for the threads that use the local copy.
impl Drop for StateStore {
    fn drop(&mut self) {
        (self.snapshot, self.snapshot_wanted) = (None, false);
        self.wait();
    }
}
