//! The 4 KiB page of a run: up to 204 entries in order, their number, and a checksum.
//!
//! The checksum covers the page's place, too (its run and its number), so a page that was written to, or copied from,
//! somewhere else is found damaged.

use std::io;

use super::fingerprint::{FINGERPRINT_BYTES, Fingerprint};
use super::{Entry, FileId, damaged};

/// Bytes of a page.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of an entry: the fingerprint, and the file's number.
const ENTRY_BYTES: usize = FINGERPRINT_BYTES + 4;
/// Entries of a page at most.
pub(super) const PAGE_ENTRIES: usize = 204;
/// Where the number of entries is.
const COUNT_AT: usize = PAGE_ENTRIES * ENTRY_BYTES;
/// Where the checksum is.
const CHECKSUM_AT: usize = PAGE_BYTES - 4;

/// The random number that a run's pages carry in their checksums.
pub(super) type RunId = [u8; 16];

/// Writes `entries`, at most [`PAGE_ENTRIES`], as page `number` of a run.
pub(super) fn encode(entries: &[Entry], run: &RunId, number: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    for (bytes, entry) in page.chunks_exact_mut(ENTRY_BYTES).zip(entries) {
        bytes[..FINGERPRINT_BYTES].copy_from_slice(&entry.key.to_bytes());
        bytes[FINGERPRINT_BYTES..].copy_from_slice(&entry.file.to_le_bytes());
    }
    let count = u16::try_from(entries.len()).expect("a page holds at most 204 entries");
    page[COUNT_AT..COUNT_AT + 2].copy_from_slice(&count.to_le_bytes());
    let checksum = checksum(&page, run, number);
    page[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    page
}

/// A page that was found whole.
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Page<'a> {
    /// Checks page `number` of a run.
    ///
    /// # Errors
    /// `InvalidData` if it is damaged.
    pub(super) fn decode(bytes: &'a [u8], run: &RunId, number: u64) -> io::Result<Page<'a>> {
        let found = u32::from_le_bytes(bytes[CHECKSUM_AT..PAGE_BYTES].try_into().expect("four bytes"));
        let page = Page::checked(bytes);
        if found != checksum(bytes, run, number) || page.count > PAGE_ENTRIES {
            return Err(damaged(format!("page {number} of a run does not match its checksum")));
        }
        Ok(page)
    }

    /// A page that [`Page::decode`] has found whole.
    pub(super) fn checked(bytes: &'a [u8]) -> Page<'a> {
        let count = usize::from(u16::from_le_bytes([bytes[COUNT_AT], bytes[COUNT_AT + 1]]));
        Page { bytes, count }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn entry(&self, index: usize) -> Entry {
        let bytes = &self.bytes[index * ENTRY_BYTES + FINGERPRINT_BYTES..][..4];
        let file = FileId::from_le_bytes(bytes.try_into().expect("four bytes"));
        Entry { key: self.key(index), file }
    }

    /// The position of the first entry whose key is not below `key`.
    pub(super) fn first_from(&self, key: Fingerprint) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn key(&self, index: usize) -> Fingerprint {
        let bytes = &self.bytes[index * ENTRY_BYTES..][..FINGERPRINT_BYTES];
        Fingerprint::from_bytes(bytes.try_into().expect("a fingerprint is 16 bytes"))
    }
}

fn checksum(page: &[u8], run: &RunId, number: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(run);
    hasher.update(&number.to_le_bytes());
    hasher.update(&page[..CHECKSUM_AT]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Entry> {
        (0..count).map(|i| Entry { key: Fingerprint { high: i / 3, low: i }, file: i as u32 }).collect()
    }

    #[test]
    fn a_page_holds_what_was_put_into_it_and_no_other_page_passes_for_it() {
        let (run, written) = ([1; 16], entries(PAGE_ENTRIES as u64));
        let bytes = encode(&written, &run, 5);
        let page = Page::decode(&bytes, &run, 5).unwrap();
        let read: Vec<Entry> = (0..page.count()).map(|i| page.entry(i)).collect();
        assert_eq!(read, written);
        assert_eq!(page.first_from(Fingerprint { high: 2, low: 7 }), 7);
        assert_eq!(page.first_from(Fingerprint { high: 1_000, low: 0 }), PAGE_ENTRIES);
        assert!(Page::decode(&bytes, &run, 6).is_err());
        assert!(Page::decode(&bytes, &[2; 16], 5).is_err());
    }

    #[test]
    fn every_flipped_bit_of_a_page_is_found() {
        let run = [1; 16];
        let whole = encode(&entries(100), &run, 0);
        for bit in (0..PAGE_BYTES * 8).step_by(7).chain([PAGE_BYTES * 8 - 1]) {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Page::decode(&bytes, &run, 0).is_err(), "bit {bit}");
        }
    }
}
