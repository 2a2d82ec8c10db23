//! A run: an immutable file of entries in order, with a filter and a fence per page that are kept in memory.
//!
//! ```text
//! page 0 │ page 1 │ … │ filter │ fences: the first 8 bytes of each page │ footer
//! ```
//!
//! A key that is absent costs a check of the filter, one that is present the read of a page, which is checked each
//! time it is read. A run is written front to back and never changed; it belongs to the index whose manifest names it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::filter::{BLOCK_BYTES, Filter};
use super::fingerprint::Fingerprint;
use super::page::{self, PAGE_BYTES, PAGE_ENTRIES, Page, RunId};
use super::{Entry, FileId, damaged};

const MAGIC: &[u8; 8] = b"ALVKEYS1";
/// Magic, run id, entries, pages, blocks of the filter; the checksums of filter, fences and of the footer itself.
const FOOTER_BYTES: usize = 8 + 16 + 8 * 3 + 4 * 3;
/// Pages that are read at once where a run is read from front to back.
const PAGES_AT_ONCE: usize = 64;

/// A run that can be searched.
pub(super) struct Run {
    path: PathBuf,
    file: File,
    id: RunId,
    entries: u64,
    filter: Filter,
    /// The upper half of the first key of each page.
    fences: Vec<u64>,
    /// Whether all of it is on the disk.
    synced: bool,
}

impl Run {
    /// Opens a run; filter and fences are read and checked, pages when they are needed.
    ///
    /// # Errors
    /// `InvalidData` or `UnexpectedEof` if it is damaged, `NotFound` if it is gone, or what the system says.
    pub(super) fn open(path: &Path) -> io::Result<Run> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let footer = Footer::read(&file, size)?;
        let mut filter = vec![0; footer.blocks as usize * BLOCK_BYTES];
        file.read_exact_at(&mut filter, footer.filter_at())?;
        let mut fences = vec![0; footer.pages as usize * 8];
        file.read_exact_at(&mut fences, footer.filter_at() + filter.len() as u64)?;
        if crc32fast::hash(&filter) != footer.filter_checksum
            || crc32fast::hash(&fences) != footer.fences_checksum
        {
            return Err(damaged("the filter or the fences of a run do not match their checksums".into()));
        }
        let fence = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a fence is 8 bytes"));
        Ok(Run {
            path: path.to_owned(),
            file,
            id: footer.id,
            entries: footer.entries,
            filter: Filter::from_bytes(&filter),
            fences: fences.chunks_exact(8).map(fence).collect(),
            synced: true,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether all of it is known to be on the disk.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync_all()?;
            self.synced = true;
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes that the run holds in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.filter.block_count() * BLOCK_BYTES as u64 + self.fences.len() as u64 * 8
    }

    /// Hands over every entry of each of `keys`, which are in order: the key's position and the file.
    ///
    /// # Errors
    /// `InvalidData` if a page is damaged, or what the system says.
    pub(super) fn find(&self, keys: &[Fingerprint], found: &mut impl FnMut(usize, FileId)) -> io::Result<()> {
        let mut reader = PageReader { run: self, bytes: vec![0; PAGE_BYTES], number: None };
        let mut from = 0;
        for (position, key) in keys.iter().enumerate() {
            if !self.filter.may_hold(*key) {
                continue;
            }
            // Entries of one key may lie on several pages, and the fence holds but half of it.
            from = first_from(&self.fences, from, key.high);
            let mut number = from.saturating_sub(1);
            while number < self.fences.len() && self.fences[number] <= key.high {
                let page = reader.page(number as u64)?;
                let first = page.first_from(*key);
                for index in first..page.count() {
                    let entry = page.entry(index);
                    if entry.key != *key {
                        break;
                    }
                    found(position, entry.file);
                }
                number += 1;
            }
        }
        Ok(())
    }

    /// The run's entries in order, read from front to back.
    pub(super) fn iter(&self) -> RunEntries<'_> {
        RunEntries { run: self, next_page: 0, pages: Vec::new(), page: 0, index: 0 }
    }
}

/// The position, at `from` or behind it, of the first fence that is not below `key`: found in steps that double, for the
/// next key of a batch is near the last one.
fn first_from(fences: &[u64], from: usize, key: u64) -> usize {
    let (mut low, mut step) = (from, 1);
    while fences.get(low + step - 1).is_some_and(|fence| *fence < key) {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(fences.len());
    low + fences[low..high].partition_point(|fence| *fence < key)
}

/// Reads single pages of a run, the same one once.
struct PageReader<'a> {
    run: &'a Run,
    bytes: Vec<u8>,
    number: Option<u64>,
}

impl PageReader<'_> {
    fn page(&mut self, number: u64) -> io::Result<Page<'_>> {
        if self.number != Some(number) {
            self.number = None;
            self.run.file.read_exact_at(&mut self.bytes, number * PAGE_BYTES as u64)?;
            Page::decode(&self.bytes, &self.run.id, number)?;
            self.number = Some(number);
        }
        Ok(Page::checked(&self.bytes))
    }
}

/// The entries of a run in order; ends after the first error.
pub(super) struct RunEntries<'a> {
    run: &'a Run,
    next_page: u64,
    pages: Vec<u8>,
    page: usize,
    index: usize,
}

impl RunEntries<'_> {
    fn read_on(&mut self) -> io::Result<bool> {
        let left = self.run.fences.len() as u64 - self.next_page;
        let count = left.min(PAGES_AT_ONCE as u64);
        if count == 0 {
            return Ok(false);
        }
        self.pages.resize(count as usize * PAGE_BYTES, 0);
        self.run.file.read_exact_at(&mut self.pages, self.next_page * PAGE_BYTES as u64)?;
        for (bytes, number) in self.pages.chunks_exact(PAGE_BYTES).zip(self.next_page..) {
            Page::decode(bytes, &self.run.id, number)?;
        }
        self.next_page += count;
        (self.page, self.index) = (0, 0);
        Ok(true)
    }
}

impl Iterator for RunEntries<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        loop {
            if let Some(bytes) = self.pages.chunks_exact(PAGE_BYTES).nth(self.page) {
                let page = Page::checked(bytes);
                if self.index < page.count() {
                    self.index += 1;
                    return Some(Ok(page.entry(self.index - 1)));
                }
                (self.page, self.index) = (self.page + 1, 0);
                continue;
            }
            match self.read_on() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => {
                    self.next_page = self.run.fences.len() as u64;
                    self.pages.clear();
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Writes a run from entries in order.
pub(super) struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
    id: RunId,
    page: Vec<Entry>,
    entries: u64,
    fences: Vec<u64>,
    filter: Filter,
}

impl RunWriter {
    /// Starts a run at `path`, which must not be there, whose filter has room for `keys` keys; none for a run that is
    /// only read from front to back.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(path: &Path, keys: u64) -> io::Result<RunWriter> {
        let file = BufWriter::with_capacity(PAGES_AT_ONCE * PAGE_BYTES, File::create_new(path)?);
        Ok(RunWriter {
            path: path.to_owned(),
            file,
            id: rand::random(),
            page: Vec::with_capacity(PAGE_ENTRIES),
            entries: 0,
            fences: Vec::new(),
            filter: Filter::for_keys(keys),
        })
    }

    /// Adds an entry, which must not be below the one before.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.filter.insert(entry.key);
        self.entries += 1;
        self.page.push(entry);
        if self.page.len() == PAGE_ENTRIES { self.write_page() } else { Ok(()) }
    }

    fn write_page(&mut self) -> io::Result<()> {
        let bytes = page::encode(&self.page, &self.id, self.fences.len() as u64);
        self.fences.push(self.page[0].key.high);
        self.page.clear();
        self.file.write_all(&bytes)
    }

    /// Ends the run. It is on the disk once it was synced ([`Run::sync`]): many a run becomes part of another before that.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn finish(mut self) -> io::Result<Run> {
        if !self.page.is_empty() {
            self.write_page()?;
        }
        let filter = self.filter.to_bytes();
        let fences: Vec<u8> = self.fences.iter().flat_map(|fence| fence.to_le_bytes()).collect();
        let footer = Footer {
            id: self.id,
            entries: self.entries,
            pages: self.fences.len() as u64,
            blocks: self.filter.block_count(),
            filter_checksum: crc32fast::hash(&filter),
            fences_checksum: crc32fast::hash(&fences),
        };
        self.file.write_all(&filter)?;
        self.file.write_all(&fences)?;
        self.file.write_all(&footer.to_bytes())?;
        self.file.flush()?;
        Ok(Run {
            file: File::open(&self.path)?,
            path: self.path,
            id: self.id,
            entries: self.entries,
            filter: self.filter,
            fences: self.fences,
            synced: false,
        })
    }
}

/// What the end of a run says about the rest.
struct Footer {
    id: RunId,
    entries: u64,
    pages: u64,
    blocks: u64,
    filter_checksum: u32,
    fences_checksum: u32,
}

impl Footer {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.id);
        for number in [self.entries, self.pages, self.blocks] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.filter_checksum.to_le_bytes());
        bytes.extend(self.fences_checksum.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the footer of a file of `size` bytes, and checks that the file is as long as it says.
    fn read(file: &File, size: u64) -> io::Result<Footer> {
        let at = size.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| damaged("a run is cut off".into()))?;
        let mut bytes = vec![0; FOOTER_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let whole = bytes.starts_with(MAGIC) && short(56) == crc32fast::hash(&bytes[..56]);
        let footer = Footer {
            id: bytes[8..24].try_into().expect("16 bytes"),
            entries: long(24),
            pages: long(32),
            blocks: long(40),
            filter_checksum: short(48),
            fences_checksum: short(52),
        };
        if !whole || footer.filter_at() + footer.blocks * BLOCK_BYTES as u64 + footer.pages * 8 != at {
            return Err(damaged("a run is cut off, or its footer is damaged".into()));
        }
        Ok(footer)
    }

    fn filter_at(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::fingerprint::HashSecret;
    use super::*;

    fn entries(count: u32, file: FileId) -> Vec<Entry> {
        let hasher = HashSecret::from_bytes([9; 16]).hasher();
        let mut entries: Vec<Entry> =
            (0..count).map(|i| Entry { key: hasher.fingerprint(&i.to_le_bytes()), file }).collect();
        entries.sort_unstable();
        entries
    }

    fn write(path: &Path, entries: &[Entry]) -> Run {
        let mut writer = RunWriter::create(path, entries.len() as u64).unwrap();
        entries.iter().for_each(|entry| writer.push(*entry).unwrap());
        writer.finish().unwrap()
    }

    fn found(run: &Run, keys: &[Fingerprint]) -> Vec<(usize, FileId)> {
        let mut found = Vec::new();
        run.find(keys, &mut |position, file| found.push((position, file))).unwrap();
        found
    }

    #[test]
    fn a_run_finds_every_entry_and_nothing_else_before_and_after_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let all = entries(10_000, 1);
        let (even, odd): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(|(i, _)| i % 2 == 0);
        let even: Vec<Entry> = even.into_iter().map(|(_, entry)| *entry).collect();
        let odd: Vec<Fingerprint> = odd.into_iter().map(|(_, entry)| entry.key).collect();
        let keys: Vec<Fingerprint> = even.iter().map(|entry| entry.key).collect();
        write(&path, &even);
        let run = Run::open(&path).unwrap();
        assert_eq!(run.entries(), 5_000);
        assert_eq!(found(&run, &keys), (0..5_000).map(|i| (i, 1)).collect::<Vec<_>>());
        assert_eq!(found(&run, &odd), []);
        assert_eq!(run.iter().collect::<io::Result<Vec<_>>>().unwrap(), even);
    }

    #[test]
    fn a_key_of_many_files_is_found_with_each_of_them_over_the_ends_of_pages() {
        let folder = tempfile::tempdir().unwrap();
        let mut all = entries(500, 0);
        let often = all[100].key;
        all.extend((1..1_000).map(|file| Entry { key: often, file }));
        // Another key with the same upper half: the fence does not distinguish them.
        let twin = Fingerprint { high: often.high, low: often.low ^ 1 };
        all.push(Entry { key: twin, file: 7 });
        all.sort_unstable();
        let run = write(&folder.path().join("run"), &all);
        let files: Vec<FileId> = found(&run, &[often]).into_iter().map(|(_, file)| file).collect();
        assert_eq!(files, (0..1_000).collect::<Vec<_>>());
        assert_eq!(found(&run, &[twin]), [(0, 7)]);
    }

    #[test]
    fn the_first_fence_from_a_position_on_is_that_of_a_search_over_all() {
        let fences: Vec<u64> = (0..1_000).map(|i| i / 3 * 2).collect();
        for key in 0..670 {
            let first = fences.partition_point(|fence| *fence < key);
            for from in [0, first / 2, first.saturating_sub(1), first] {
                assert_eq!(first_from(&fences, from, key), first, "key {key} from {from}");
            }
        }
        assert_eq!(first_from(&[], 0, 7), 0);
        assert_eq!(first_from(&fences, 1_000, 7_000), 1_000);
    }

    #[test]
    fn an_empty_run_is_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        write(&path, &[]);
        let run = Run::open(&path).unwrap();
        assert_eq!(found(&run, &[entries(1, 0)[0].key]), []);
        assert_eq!(run.iter().count(), 0);
    }

    #[test]
    fn a_run_that_is_cut_off_or_flipped_anywhere_is_refused_when_opened_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let all = entries(1_000, 1);
        let keys: Vec<Fingerprint> = all.iter().map(|entry| entry.key).collect();
        write(&path, &all);
        let whole = fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let read = Run::open(&path).and_then(|run| run.find(&keys, &mut |_, _| {}));
            read.is_err_and(|e| matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof))
        };
        assert!(!refused(&whole));
        for cut in [0, 1, FOOTER_BYTES, PAGE_BYTES, whole.len() / 2, whole.len() - 1] {
            assert!(refused(&whole[..cut]), "cut to {cut}");
        }
        for bit in (0..whole.len() * 8).step_by(997) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes), "bit {bit} of {}", whole.len() * 8);
        }
    }
}
