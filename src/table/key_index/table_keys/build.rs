//! The files that are new to an index, read into it by all lanes; of an index that is built, all files of the table.
//!
//! A build saves the index as it goes, so that one that is interrupted need not begin again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use super::{TableKeys, fingerprint_of};
use crate::table::DeltaTable;
use crate::table::file_entry::LiveFile;
use crate::table::key_index::fingerprint::Fingerprint;
use crate::table::key_index::reader::{KeyReader, Trouble};
use crate::table::key_index::{FileId, LogPosition};

/// How often a build says how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How often it saves what it has, so that one that is interrupted need not begin again.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// A file that is new to the index, and the number that it has there.
pub(super) struct Joined {
    pub(super) file: LiveFile,
    pub(super) id: FileId,
    /// The newest event time of its rows, if that matters and is known.
    pub(super) newest: Option<i64>,
}

impl TableKeys {
    /// Reads the keys of files into the index, with all lanes.
    pub(super) fn load(&mut self, table: &DeltaTable, files: Vec<Joined>) -> Result<(), Trouble> {
        if files.is_empty() {
            return Ok(());
        }
        let reader = KeyReader::new(table, &self.columns, self.index.hasher())?;
        // If this ends early, the index covers a part of the table as of no version, and its files are compared.
        self.index.move_to(LogPosition { version: self.index.position().version, commit_hash: None });
        self.same_log = false;
        self.index.begin_load();
        let lanes = self.lanes.min(files.len());
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, loaded) = bounded::<Loaded>(lanes);
        let loaded = std::thread::scope(|scope| {
            for _ in 0..lanes {
                let sender = sender.clone();
                scope.spawn(|| read_files(&reader, &files, &next, &stop, sender));
            }
            drop(sender);
            let mut progress = Progress::new(table, files.len());
            let mut result = Ok(());
            // After an error the lanes are listened to until they have seen `stop`: they wait for a place to send to.
            for loaded in loaded {
                if result.is_ok() {
                    result = self.take_in(loaded, &files, &mut progress);
                    stop.store(result.is_err(), Ordering::Relaxed);
                }
            }
            result
        });
        let merged = self.index.end_load().map_err(|e| self.local(e));
        loaded.and(merged)
    }

    fn take_in(&mut self, loaded: Loaded, files: &[Joined], progress: &mut Progress) -> Result<(), Trouble> {
        match loaded {
            Loaded::Piece(file, keys) => self.index.add(files[file].id, keys).map_err(|e| self.local(e))?,
            Loaded::File(file, keys) => {
                let identity = fingerprint_of(&self.index.hasher(), &files[file].file.identity());
                self.cover(identity, files[file].id, keys, files[file].newest);
                if progress.file_done(keys) {
                    self.index.save().map_err(|e| self.local(e))?;
                }
            }
            Loaded::Failed(trouble) => return Err(trouble),
        }
        Ok(())
    }
}

/// What a lane has read: of which file, by its position, and what.
enum Loaded {
    /// Keys of it.
    Piece(usize, Vec<Fingerprint>),
    /// All its keys, so many, have been sent.
    File(usize, u64),
    /// It could not be read.
    Failed(Trouble),
}

/// Reads files, each of them once over all lanes, until there are none left or `stop` is set.
fn read_files(
    reader: &KeyReader,
    files: &[Joined],
    next: &AtomicUsize,
    stop: &AtomicBool,
    sender: Sender<Loaded>,
) {
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = files.get(number) else { return };
        let read = reader.read(&file.file, |keys| {
            // Nobody listens only if the build has panicked.
            let _ = sender.send(Loaded::Piece(number, keys));
            Ok(())
        });
        let loaded = match read {
            Ok(keys) => Loaded::File(number, keys),
            Err(trouble) => Loaded::Failed(trouble),
        };
        let _ = sender.send(loaded);
    }
}

/// Says how far a build is.
struct Progress {
    table: String,
    files: usize,
    files_done: usize,
    keys: u64,
    started: Instant,
    reported: Instant,
    saved: Instant,
}

impl Progress {
    fn new(table: &DeltaTable, files: usize) -> Progress {
        let now = Instant::now();
        let table = table.store().url().to_string();
        Progress { table, files, files_done: 0, keys: 0, started: now, reported: now, saved: now }
    }

    /// Counts a file, and reports if it is time to; returns whether it is time to save.
    fn file_done(&mut self, keys: u64) -> bool {
        self.files_done += 1;
        self.keys += keys;
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.reported = Instant::now();
            tracing::info!(
                table = self.table,
                files = self.files,
                files_done = self.files_done,
                keys = self.keys,
                seconds = self.started.elapsed().as_secs(),
                "building the key index"
            );
        }
        let due = self.saved.elapsed() >= SAVE_INTERVAL;
        if due {
            self.saved = Instant::now();
        }
        due
    }
}
