//! The files of a table that an index covers, each with a number that its entries carry.
//!
//! A file is known by its path and its deletion vector, as the Delta protocol identifies logical files, and never
//! changes. A file that leaves the table gives up its number for good: its entries count no longer and vanish when their
//! run is written again. So nothing has to be read of a file that leaves, be it gone from storage or not, and one of
//! two copies of a key can leave without the other.

use std::collections::HashMap;

use super::fingerprint::Fingerprint;

/// The number of a file; never used twice in one index.
pub type FileId = u32;

/// A file that the index covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CoveredFile {
    /// Its number.
    pub(super) id: FileId,
    /// Entries that were made of it.
    pub(super) entries: u64,
}

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its entries are being added.
    Reserved,
    /// Its file is in the table, and all its entries are there.
    Live,
    /// Its file has left the table, or its entries were never completed.
    Dead,
}

/// The files that an index covers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CoveredFiles {
    by_identity: HashMap<Fingerprint, CoveredFile>,
    states: Vec<State>,
}

impl CoveredFiles {
    /// The files of an index that was written before: numbers below `next` are taken.
    pub(super) fn restore(files: Vec<(Fingerprint, CoveredFile)>, next: FileId) -> CoveredFiles {
        let mut states = vec![State::Dead; next as usize];
        for (_, file) in &files {
            states[file.id as usize] = State::Live;
        }
        CoveredFiles { by_identity: files.into_iter().collect(), states }
    }

    /// A number for a file whose entries are about to be added; they count from [`CoveredFiles::cover`] on.
    pub(super) fn reserve(&mut self) -> FileId {
        let id = FileId::try_from(self.states.len()).expect("no index lives to cover 2^32 files");
        self.states.push(State::Reserved);
        id
    }

    /// The file with number `id` is in the table, and its entries, so many, have all been added. Returns what stood for
    /// the file before.
    pub(super) fn cover(&mut self, identity: Fingerprint, id: FileId, entries: u64) -> Option<CoveredFile> {
        self.states[id as usize] = State::Live;
        let before = self.by_identity.insert(identity, CoveredFile { id, entries })?;
        self.states[before.id as usize] = State::Dead;
        Some(before)
    }

    /// A file leaves the table, and its entries become useless; returns what it was.
    pub(super) fn remove(&mut self, identity: Fingerprint) -> Option<CoveredFile> {
        let file = self.by_identity.remove(&identity)?;
        self.states[file.id as usize] = State::Dead;
        Some(file)
    }

    /// Keeps the files that `wanted` says are in the table; the others leave. Returns what those were.
    pub(super) fn retain(&mut self, wanted: impl Fn(Fingerprint) -> bool) -> Vec<CoveredFile> {
        let (states, mut left) = (&mut self.states, Vec::new());
        self.by_identity.retain(|identity, file| {
            let stays = wanted(*identity);
            if !stays {
                states[file.id as usize] = State::Dead;
                left.push(*file);
            }
            stays
        });
        left
    }

    pub(super) fn covers(&self, identity: Fingerprint) -> bool {
        self.by_identity.contains_key(&identity)
    }

    /// Returns whether the file with this number is in the table.
    pub(super) fn is_live(&self, id: FileId) -> bool {
        self.states.get(id as usize) == Some(&State::Live)
    }

    /// Returns whether entries of this number need not be kept.
    pub(super) fn is_dead(&self, id: FileId) -> bool {
        self.states.get(id as usize).is_none_or(|state| *state == State::Dead)
    }

    /// Entries of files that are in the table.
    pub(super) fn entries(&self) -> u64 {
        self.by_identity.values().map(|file| file.entries).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, CoveredFile)> + '_ {
        self.by_identity.iter().map(|(identity, file)| (*identity, *file))
    }

    pub(super) fn len(&self) -> usize {
        self.by_identity.len()
    }

    /// The number of the next file.
    pub(super) fn next_id(&self) -> FileId {
        self.states.len() as FileId
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u64) -> Fingerprint {
        Fingerprint { high: number, low: 0 }
    }

    fn add(files: &mut CoveredFiles, number: u64, entries: u64) -> FileId {
        let id = files.reserve();
        files.cover(identity(number), id, entries);
        id
    }

    #[test]
    fn a_file_that_leaves_gives_up_its_number_for_good() {
        let mut files = CoveredFiles::default();
        let (first, second) = (add(&mut files, 1, 10), add(&mut files, 2, 5));
        assert_eq!(files.remove(identity(1)), Some(CoveredFile { id: first, entries: 10 }));
        assert_eq!(files.remove(identity(1)), None);
        assert!(!files.is_live(first) && files.is_dead(first) && files.is_live(second));
        // As RESTORE does: the same file joins again.
        let again = add(&mut files, 1, 10);
        assert!(again != first && files.is_live(again) && !files.is_live(first));
        assert_eq!(files.entries(), 15);
        assert!(!files.is_live(99) && files.is_dead(99));
    }

    #[test]
    fn a_file_counts_once_all_its_entries_are_there_and_they_are_kept_until_then() {
        let mut files = CoveredFiles::default();
        let id = files.reserve();
        assert!(!files.is_live(id) && !files.is_dead(id));
        let restored = CoveredFiles::restore(files.iter().collect(), files.next_id());
        assert!(restored.is_dead(id), "entries that were never completed are of no use after a restart");
        files.cover(identity(1), id, 3);
        assert!(files.is_live(id) && files.covers(identity(1)));
    }

    #[test]
    fn files_are_restored_as_they_were() {
        let mut files = CoveredFiles::default();
        (0..5).for_each(|i| {
            add(&mut files, i, i);
        });
        let left: u64 = files.retain(|identity| identity.high % 2 == 0).iter().map(|file| file.entries).sum();
        assert_eq!(left, 1 + 3);
        let restored = CoveredFiles::restore(files.iter().collect(), files.next_id());
        assert_eq!(restored, files);
        assert_eq!((restored.len(), restored.next_id()), (3, 5));
    }
}
