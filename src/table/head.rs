//! The commit that the next one is made on, as it was when it was last seen.
//!
//! A commit to the Delta log is one PUT of the next version's file, and nothing in it asks whether the log
//! before it is still there: a table that was removed, restored or replaced under a running stream would
//! take commits that no reader can reach. So before each commit the newest one that is known is read back.
//! That is one GET, of a file that was written a moment ago.

use siphasher::sip::SipHasher13;

use super::read_log::{For, read_log};
use super::{DeltaTable, features, history};
use crate::model::{Error, Result};

/// A commit's version and what its file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHead {
    version: u64,
    hash: u64,
}

impl LogHead {
    /// The head of which the file holds `bytes`.
    pub(super) fn of(version: u64, bytes: &[u8]) -> LogHead {
        LogHead { version, hash: SipHasher13::new().hash(bytes) }
    }

    /// A hash of the file, the same in every release: key indexes are marked with it.
    fn hash(self) -> u64 {
        self.hash
    }
}

impl DeltaTable {
    /// Makes sure that the commit of the current version is the one that was seen last.
    ///
    /// # Errors
    /// `Corrupt` if the table was removed, restored or replaced; `Unavailable` if storage does not answer.
    pub(super) fn check_head(&mut self) -> Result<()> {
        let now = self.read_head(self.version())?;
        if now.is_some() && now == self.head {
            return Ok(());
        }
        let changed = |fact: String| Err(changed(self, &fact));
        let Some(fresh) = read_log(&self.store, &self.engine, For::Writing)? else {
            return changed("was removed".into());
        };
        let version = fresh.version();
        if fresh.table_configuration().metadata().id() != self.id() {
            return changed("was replaced by another".into());
        }
        if version < self.version() {
            return changed(format!("went back from version {} to {version}", self.version()));
        }
        if now.is_some() && self.head.is_some() {
            return changed(format!(
                "was restored and went on: version {} is another commit now",
                self.version()
            ));
        }
        // Log cleanup by others took the file; the table is the same.
        self.adopt(features::for_writing(fresh, &self.store)?)
    }

    /// The hash of the commit that made the current version; `None` if the log no longer holds it.
    pub(super) fn commit_hash(&self) -> Option<u64> {
        self.head.map(LogHead::hash)
    }

    /// The hash of the commit that made `version`; `None` if the log does not hold it.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer.
    pub(super) fn commit_hash_at(&self, version: u64) -> Result<Option<u64>> {
        Ok(self.read_head(version)?.map(LogHead::hash))
    }

    pub(super) fn read_head(&self, version: u64) -> Result<Option<LogHead>> {
        let bytes = self.store.get(&history::commit_name(version))?;
        Ok(bytes.map(|bytes| LogHead::of(version, &bytes)))
    }
}

/// The error of a table that is no more what it was.
pub(super) fn changed(table: &DeltaTable, fact: &str) -> Error {
    Error::corrupt(format!("table {} {fact} while the stream ran", table.store.url()))
        .hint("restore it as it was, or start the stream on a new checkpointLocation; the micro-batch was not committed")
}
