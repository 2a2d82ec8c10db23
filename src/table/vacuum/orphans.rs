//! Files of runs of a stream's micro-batches that never became part of the table.
//!
//! A run that was killed, lost its race or was abandoned leaves files behind, whole ones, that no commit names. Their footer
//! says whose batch they are of ([`crate::table::FileOrigin`]). Once the table holds that batch, or a later one, no commit
//! will ever name them: a batch is in a table once, and the transaction is checked on the version that a commit is made on.

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::file::metadata::ParquetMetaDataReader;

use super::IN_FLIGHT;
use crate::model::{Error, Result};
use crate::storage::{self, Store};
use crate::table::DeltaTable;
use crate::table::codec::without_ending;
use crate::table::writer_settings::FileOrigin;

/// What ends a Parquet file: the length of its metadata, and `PAR1`.
const TAIL_BYTES: u64 = 8;

/// Whether a file is named as those of a stream's batch are: `part-LANE-ATTEMPT-cNUMBER.snappy.parquet`, or with another
/// codec in the place of `snappy`.
pub(super) fn is_named_as_ours(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(middle) = name.strip_prefix("part-").and_then(without_ending) else { return false };
    let Some((lane, rest)) = middle.split_once('-') else { return false };
    let Some((attempt, number)) = rest.rsplit_once("-c") else { return false };
    digits(lane) && digits(number) && uuid::Uuid::try_parse(attempt).is_ok()
}

impl DeltaTable {
    /// Which of `files`, of which the log names none, are orphans, and the others.
    pub(super) fn orphans_among(
        &mut self,
        files: Vec<ObjectMeta>,
    ) -> Result<(Vec<ObjectMeta>, Vec<ObjectMeta>)> {
        let store = &self.store;
        let look = |file: ObjectMeta| async move {
            let origin = origin_of(store, &file).await?;
            Ok::<_, Error>((origin, file))
        };
        let looked: Vec<(Option<FileOrigin>, ObjectMeta)> =
            store.block_on(stream::iter(files.into_iter().map(look)).buffered(IN_FLIGHT).try_collect())?;
        let (mut orphans, mut others) = (Vec::new(), Vec::new());
        for (origin, file) in looked {
            let is_over = match origin {
                None => false,
                Some(origin) => {
                    let committed = self.transaction(&origin.query_id)?;
                    committed.is_some_and(|batch| is_over(&origin, batch))
                }
            };
            if is_over { orphans.push(file) } else { others.push(file) }
        }
        Ok((orphans, others))
    }
}

/// Whether no commit can name the file any more, once its stream's newest batch in the table is `committed`.
fn is_over(origin: &FileOrigin, committed: i64) -> bool {
    origin.batch_id < committed || (origin.batch_id == committed && !origin.may_be_superseded)
}

/// What a file says of its origin; `None` if it says nothing, is no Parquet file or is gone.
async fn origin_of(store: &Store, file: &ObjectMeta) -> Result<Option<FileOrigin>> {
    let read = async |range| match store.root().get_range(&file.location, range).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(storage::error(e, "read", store.url(), "")),
    };
    let Some(end) = file.size.checked_sub(TAIL_BYTES) else { return Ok(None) };
    let Some(tail) = read(end..file.size).await? else { return Ok(None) };
    let Some((length, b"PAR1")) = tail.split_first_chunk::<4>() else { return Ok(None) };
    let Some(start) = end.checked_sub(u64::from(u32::from_le_bytes(*length))) else { return Ok(None) };
    let Some(metadata) = read(start..end).await? else { return Ok(None) };
    let Ok(metadata) = ParquetMetaDataReader::decode_metadata(&metadata) else { return Ok(None) };
    let pairs = metadata.file_metadata().key_value_metadata();
    let value = |key: &str| pairs?.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    Ok(value(FileOrigin::QUERY_ID).zip(value(FileOrigin::BATCH_ID)).and_then(|(query_id, batch_id)| {
        let batch_id = batch_id.parse().ok()?;
        let may_be_superseded = value(FileOrigin::MAY_BE_SUPERSEDED).as_deref() != Some("false");
        Some(FileOrigin { query_id, batch_id, may_be_superseded })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_streams_are_known_by_their_names() {
        let id = "8b6f0d5e-9a35-4b39-a1f7-33f6f52c4f10";
        for codec in [".snappy", ".zstd", ".gz", ".lz4hadoop", ".lz4raw", ""] {
            assert!(is_named_as_ours(&format!("part-00001-{id}-c000{codec}.parquet")), "{codec}");
        }
        assert!(is_named_as_ours(&format!("part-01003-{id}-c1000.snappy.parquet")));
        for other in [
            format!("part-00001-{id}-c000.snappy"),
            format!("part-00001-{id}-c000.other.parquet"),
            format!("part-00001-{id}.snappy.parquet"),
            format!("part-x-{id}-c000.snappy.parquet"),
            "part-00001-me-c000.snappy.parquet".to_owned(),
            format!("deletion_vector_{id}.bin"),
        ] {
            assert!(!is_named_as_ours(&other), "{other}");
        }
    }

    #[test]
    fn a_file_is_over_once_its_batch_or_for_dead_letters_the_next_one_is_committed() {
        let origin = |may_be_superseded| FileOrigin { query_id: "q".into(), batch_id: 7, may_be_superseded };
        assert_eq!([6, 7, 8].map(|batch| is_over(&origin(false), batch)), [false, true, true]);
        assert_eq!([6, 7, 8].map(|batch| is_over(&origin(true), batch)), [false, false, true]);
    }
}
