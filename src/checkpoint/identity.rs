//! Whose checkpoint it is: the query's id, and the stream and table it serves.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RESTORE;
use super::paths::{METADATA, STREAM};
use crate::model::{Error, Result};
use crate::storage::{Put, Store};

/// The query's identity: Spark's `metadata` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Stable over restarts; `txn.appId` in the table.
    pub id: String,
}

/// What a checkpoint serves: `alluvia/stream.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointBinding {
    /// Version of this document.
    pub format: u32,
    /// The stream's name.
    pub stream: String,
    /// Where its table is.
    pub table: String,
    /// The table's `metaData.id`; a replaced table has another.
    pub table_id: String,
}

impl Identity {
    /// What `metadata` holds.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a string is always JSON"))
    }

    /// Reads the identity; `None` if the checkpoint is new.
    ///
    /// # Errors
    /// `Corrupt` if the file is not Spark's, `Unavailable` if storage does not answer.
    pub fn read(store: &Store) -> Result<Option<Identity>> {
        let Some(bytes) = store.get(METADATA)? else { return Ok(None) };
        let identity: Identity = serde_json::from_slice(&bytes).map_err(|e| {
            Error::corrupt(format!("checkpoint file {}{METADATA} is damaged", store.url()))
                .source(e)
                .hint(RESTORE)
        })?;
        Ok(Some(identity))
    }

    /// The error of a checkpoint that was used and has no identity.
    pub fn missing(store: &Store) -> Error {
        Error::corrupt(format!("checkpoint file {}{METADATA} is missing", store.url())).hint(RESTORE)
    }

    /// Makes a new identity, or takes that of a process that was faster.
    ///
    /// # Errors
    /// As for [`Identity::read`].
    pub fn create(store: &Store) -> Result<Identity> {
        Self::establish(store, Identity { id: Uuid::new_v4().to_string() })
    }

    /// Writes `identity` unless there is one; returns the one that is there.
    ///
    /// # Errors
    /// As for [`Identity::read`].
    pub fn establish(store: &Store, identity: Identity) -> Result<Identity> {
        match store.put_if_absent(METADATA, identity.to_bytes())? {
            Put::Created => Ok(identity),
            Put::Exists => {
                Self::read(store)?.ok_or_else(|| Error::conflict(format!("{METADATA} came and went")))
            }
        }
    }
}

impl CheckpointBinding {
    /// What `alluvia/stream.json` holds.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("strings and numbers are always JSON"))
    }

    /// Reads what the checkpoint serves; `None` if no run of Alluvia has said so yet.
    ///
    /// # Errors
    /// `Corrupt` if the file is damaged, `Unavailable` if storage does not answer.
    pub fn read(store: &Store) -> Result<Option<CheckpointBinding>> {
        let Some(bytes) = store.get(STREAM)? else { return Ok(None) };
        let serves: CheckpointBinding = serde_json::from_slice(&bytes).map_err(|e| {
            Error::corrupt(format!("checkpoint file {}{STREAM} is damaged", store.url()))
                .source(e)
                .hint(RESTORE)
        })?;
        if serves.format != 1 {
            return Err(Error::config(format!("{STREAM} has format {}", serves.format))
                .hint("it was written by a newer Alluvia; use that one"));
        }
        Ok(Some(serves))
    }

    /// The error of a checkpoint that Alluvia has used and that says no more for what.
    pub fn missing(store: &Store) -> Error {
        Error::corrupt(format!("checkpoint file {}{STREAM} is missing", store.url())).hint(RESTORE)
    }

    /// Refuses a checkpoint of another stream.
    ///
    /// # Errors
    /// `Config`, naming both streams.
    pub fn check_stream(&self, stream: &str, store: &Store) -> Result<()> {
        if self.stream == stream {
            return Ok(());
        }
        Err(Error::config(format!(
            "checkpoint {} belongs to stream {}, not to stream {stream}",
            store.url(),
            self.stream
        ))
        .hint("one checkpoint serves one stream: give this one a checkpointLocation of its own"))
    }

    /// Refuses a table that is not the one this checkpoint has been writing to.
    ///
    /// # Errors
    /// `Corrupt`, naming the table and both ids.
    pub fn check_table(&self, table: &str, table_id: &str, store: &Store) -> Result<()> {
        if self.table_id == table_id {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "table {table} (id {table_id}) is not the one that checkpoint {} has written to ({}, id {}): it was replaced, or sink.path changed",
            store.url(),
            self.table,
            self.table_id
        ))
        .hint("to write to a new table start the stream on a new checkpointLocation"))
    }

    /// The error of a checkpoint whose stream writes to `location`, where nothing is.
    pub fn target_gone(&self, location: &str, store: &Store) -> Error {
        if self.table != location {
            return Error::corrupt(format!(
                "there is no table at {location}, and checkpoint {} has written to {}",
                store.url(),
                self.table
            ))
            .hint("sink.path was changed: a table that was moved must be there before the start; to write to a new one start the stream on a new checkpointLocation");
        }
        Error::corrupt(format!("table {location} is gone, but checkpoint {} has written to it", store.url()))
            .hint("restore the table, or start the stream on a new checkpointLocation")
    }

    /// Writes the document unless it is there.
    ///
    /// # Errors
    /// `Unavailable` if storage does not answer; `Config` or `Corrupt` if another stream or table
    /// took the checkpoint meanwhile.
    pub fn write(&self, store: &Store) -> Result<()> {
        match store.put_if_absent(STREAM, self.to_bytes())? {
            Put::Created => Ok(()),
            Put::Exists => match Self::read(store)? {
                Some(there) => {
                    there.check_stream(&self.stream, store)?;
                    there.check_table(&self.table, &self.table_id, store)
                }
                None => Err(Error::conflict(format!("{STREAM} came and went"))),
            },
        }
    }
}
