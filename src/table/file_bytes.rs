//! The finished bytes of a Parquet file, on their way from the encoder to the upload.
//!
//! Parquet keeps the encoded pages of a row group in a page store until the row group ends, and then writes each of them
//! into the file in one piece. Copied there, all pages of a row group would be in memory once more, in fresh memory of the
//! system. So the store notes the page that it gives out last, and [`FileBytes`] takes that page instead of copying it when
//! it is asked to write the same memory. Everything else (headers, small pages, the footer) is copied.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::column::page_store::{InMemoryPageStore, PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::errors::Result;

/// The page that a store gave out last. A page that is noted here is alive, so no other bytes are at its address.
type LastPage = Arc<Mutex<Bytes>>;

/// Page stores in memory for the columns of one file.
#[derive(Debug)]
pub(super) struct PageStores(LastPage);

impl PageStoreFactory for PageStores {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>> {
        Ok(Box::new(NotingStore { pages: InMemoryPageStore::default(), last: Arc::clone(&self.0) }))
    }
}

struct NotingStore {
    pages: InMemoryPageStore,
    last: LastPage,
}

impl PageStore for NotingStore {
    fn put(&mut self, page: Bytes) -> Result<PageKey> {
        self.pages.put(page)
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes> {
        let page = self.pages.take(key)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = page.clone();
        Ok(page)
    }

    fn memory_size(&self) -> usize {
        self.pages.memory_size()
    }
}

/// Collects the bytes of a file as pieces in their order.
#[derive(Debug, Default)]
pub(super) struct FileBytes {
    pieces: Vec<Bytes>,
    /// Bytes after the last piece.
    copied: BytesMut,
    bytes: usize,
    last: LastPage,
}

impl FileBytes {
    /// The page stores whose pages are taken without a copy.
    pub(super) fn page_stores(&self) -> PageStores {
        PageStores(Arc::clone(&self.last))
    }

    /// Bytes that were written and not taken yet.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Takes what was written.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.end_piece();
        self.bytes = 0;
        std::mem::take(&mut self.pieces)
    }

    fn end_piece(&mut self) {
        if !self.copied.is_empty() {
            self.pieces.push(self.copied.split().freeze());
        }
    }
}

impl io::Write for FileBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let page = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let same = std::ptr::eq(last.as_ptr(), bytes.as_ptr()) && last.len() == bytes.len();
            same.then(|| std::mem::take(&mut *last))
        };
        match page {
            Some(page) if !page.is_empty() => {
                self.end_piece();
                self.pieces.push(page);
            }
            _ => self.copied.extend_from_slice(bytes),
        }
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
