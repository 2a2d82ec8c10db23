//! The tables that a stream's dead letters have gone to over time.
//!
//! A micro-batch may have committed dead letters and then be run again with `deadLetter` changed or
//! removed; that run does not know the table of the one before. So every table that ever took letters is
//! noted in the checkpoint before it takes any, and once the sink's commit has decided which run counts,
//! letters of the others are withdrawn from tables that are no longer the stream's. The note says which table
//! it was, so that one that was removed or replaced is not mistaken for a new one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::attempt::commit_of;
use super::open::Access;
use crate::checkpoint::Planned;
use crate::checkpoint::paths::DEAD_LETTERS;
use crate::config::{DeltaTarget, StreamConfig};
use crate::model::error::Context;
use crate::model::{Error, Result};
use crate::sink::{CommitOutcome, DeltaAppend, Sink, dead_letter};
use crate::storage::Store;
use crate::table::DeltaTable;

/// A table that takes, or took, the stream's dead letters.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    url: Url,
    /// Its `metaData.id`.
    table_id: String,
}

/// The stream's table of dead letters as it is now; `None` if it has none.
///
/// # Errors
/// As for [`DeltaAppend::open`].
pub fn open(config: &StreamConfig, access: &Access) -> Result<Option<DeltaAppend>> {
    let Some(target) = &config.dead_letter else { return Ok(None) };
    let store = access.store(config, &target.url)?;
    let table = DeltaAppend::open_dead_letters(target, store);
    table.map(Some).context(|| "open deadLetter".into())
}

fn name_of(url: &Url) -> String {
    format!("{DEAD_LETTERS}/{}", Uuid::new_v5(&Uuid::NAMESPACE_URL, url.as_str().as_bytes()))
}

fn read(checkpoint: &Store, file: &str) -> Result<Option<Note>> {
    let Some(bytes) = checkpoint.get(file)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Error::corrupt(format!("checkpoint file {}{file} is damaged", checkpoint.url()))
            .source(e)
            .hint("restore it from a backup")
    })
}

/// Refuses a dead-letter table that is not the one that the stream's dead letters at `url` went to. Returns whether
/// they have gone there before.
///
/// # Errors
/// `Corrupt` if that table was removed or replaced, or if the note is damaged.
pub fn check(checkpoint: &Store, url: &Url, found: Option<&DeltaTable>) -> Result<bool> {
    let Some(note) = read(checkpoint, &name_of(url))? else { return Ok(false) };
    let fact = match found {
        Some(table) if table.id() == note.table_id => return Ok(true),
        Some(table) => format!("is another (id {}) than", table.id()),
        None => "is gone; it is".to_owned(),
    };
    Err(Error::corrupt(format!(
        "dead-letter table {url} {fact} the one that checkpoint {} has written to (id {})",
        checkpoint.url(),
        note.table_id
    ))
    .hint("restore the table; or give up what was in it: set another deadLetter.path"))
}

/// Notes that the stream's dead letters go to `table` at `url`.
///
/// # Errors
/// `Unavailable` if storage does not answer.
pub fn remember(checkpoint: &Store, url: &Url, table: &DeltaTable) -> Result<()> {
    let name = name_of(url);
    if checkpoint.get(&name)?.is_some() {
        return checkpoint.sync(&name);
    }
    let note = Note { url: url.clone(), table_id: table.id().to_owned() };
    let bytes = serde_json::to_vec(&note).expect("strings are always JSON");
    checkpoint.put_if_absent(&name, Bytes::from(bytes)).map(|_| ())
}

/// Takes dead letters of a committed batch out of every table but the stream's present one, and keeps them out,
/// unless they are of the run that counts: the one with definition `counts`.
///
/// # Errors
/// As for a commit to those tables; `Corrupt` if what the checkpoint notes is damaged.
pub fn withdraw(
    config: &StreamConfig,
    checkpoint: &Store,
    query_id: &str,
    planned: &Planned,
    counts: &str,
    access: &Access,
) -> Result<()> {
    for name in checkpoint.names(DEAD_LETTERS)? {
        let file = format!("{DEAD_LETTERS}/{name}");
        let Some(Note { url, table_id }) = read(checkpoint, &file)? else { continue };
        if config.dead_letter.as_ref().is_some_and(|target| target.url == url) {
            continue;
        }
        let what = || format!("withdraw dead letters from {url}, a former deadLetter.path");
        let store = access.store(config, &url)?;
        let target = DeltaTarget { url: url.clone(), table_properties: Default::default() };
        let mut table = DeltaAppend::open_dead_letters(&target, store).context(what)?;
        if table.table().is_none_or(|table| table.id() != table_id) {
            // The table that the dead letters went to is gone, and they with it.
            continue;
        }
        table.prepare(&dead_letter::schema()).context(what)?;
        let attempt = Uuid::new_v4().to_string();
        let commit = commit_of(config, checkpoint, query_id, planned, &attempt, counts);
        let outcome = table.supersede(&commit, Vec::new()).context(what)?;
        table.withdraw_lost(&commit).context(what)?;
        if let CommitOutcome::Committed { .. } = outcome {
            let table = table.store().url();
            tracing::warn!(stream = config.name, batch = commit.batch_id, %table, "dead letters of an earlier run of the batch were withdrawn");
        }
    }
    Ok(())
}
