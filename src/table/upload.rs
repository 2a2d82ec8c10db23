//! The bytes of one data file on their way to storage, whole or in parts.
//!
//! A file that fits one part is one PUT, made by put-if-absent; a larger one is a multipart upload whose parts leave
//! memory as they are stored. The name is the attempt's alone, so a file found there is the one a lost answer wrote.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutPayload};
use tokio::task::JoinSet;
use url::Url;

use crate::model::{MemoryAccount, MemoryClaim, Result};
use crate::storage::{self, Store};

/// Parts of one file on their way at once.
const PARTS_IN_FLIGHT: usize = 2;

/// One file's upload.
pub(super) struct Upload {
    store: Store,
    url: Url,
    path: Path,
    parts: Option<Parts>,
    sent_bytes: usize,
    account: Arc<MemoryAccount>,
}

impl Upload {
    /// An upload to `path`, of which errors say `url`; what is on its way counts against `account`.
    pub(super) fn new(store: &Store, url: Url, path: Path, account: &Arc<MemoryAccount>) -> Upload {
        Upload { store: store.clone(), url, path, parts: None, sent_bytes: 0, account: Arc::clone(account) }
    }

    /// Bytes handed over so far.
    pub(super) fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    /// Sends a part; waits while as many as may be are on their way, or more is held in memory than may be.
    ///
    /// # Errors
    /// `Unavailable` if this or an earlier part can't be stored.
    pub(super) fn send(&mut self, part: PutPayload) -> Result<()> {
        self.sent_bytes += part.content_length();
        let failed = |e| storage::error(e, "write", &self.url, "");
        let _runtime = self.store.runtime().enter();
        if self.parts.is_none() {
            let begun = self.store.block_on(self.store.root().put_multipart(&self.path)).map_err(failed)?;
            self.parts = Some(Parts { upload: begun, sent: JoinSet::new() });
        }
        let parts = self.parts.as_mut().expect("the upload was begun above");
        let mut claim = self.account.claim();
        claim.set(part.content_length());
        let may_go_on = || !self.account.is_exceeded();
        self.store.block_on(parts.send(part, Some(claim), PARTS_IN_FLIGHT, may_go_on)).map_err(failed)
    }

    /// Ends the file with its last bytes; returns its size.
    ///
    /// # Errors
    /// As for [`Upload::send`].
    pub(super) async fn finish(mut self, last: PutPayload) -> Result<u64> {
        self.sent_bytes += last.content_length();
        let stored = match self.parts.take() {
            None => {
                let put = self.store.root().put_opts(&self.path, last, PutMode::Create.into());
                put.await.map(|_| ())
            }
            Some(parts) => parts.finish(last).await,
        };
        match stored {
            Ok(()) | Err(object_store::Error::AlreadyExists { .. }) => Ok(self.sent_bytes as u64),
            Err(e) => Err(storage::error(e, "write", &self.url, "")),
        }
    }
}

/// A multipart upload, its parts each as large as they come.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    sent: JoinSet<object_store::Result<()>>,
}

impl Parts {
    /// Sends a part and waits until at most `in_flight` are on their way, or none unless the caller `may_go_on`.
    async fn send(
        &mut self,
        part: PutPayload,
        claim: Option<MemoryClaim>,
        in_flight: usize,
        may_go_on: impl Fn() -> bool,
    ) -> object_store::Result<()> {
        let put = self.upload.put_part(part);
        self.sent.spawn(async move {
            let stored = put.await;
            drop(claim);
            stored
        });
        while (self.sent.len() > in_flight || !may_go_on())
            && let Some(stored) = self.sent.join_next().await
        {
            stored??;
        }
        Ok(())
    }

    /// Ends the upload with its last part; given up as a whole if anything of it failed.
    async fn finish(mut self, last: PutPayload) -> object_store::Result<()> {
        let stored = match self.send(last, None, 0, || true).await {
            Ok(()) => self.upload.complete().await.map(|_| ()),
            Err(e) => Err(e),
        };
        if stored.is_err() {
            // What is left of it is no file; the attempt fails with the first error.
            let _ = self.upload.abort().await;
        }
        stored
    }
}
