//! Sidecar files of checkpoints in the log (`_delta_log/_sidecars`): deleted once no checkpoint names them.
//!
//! Other writers make them, for tables with `v2Checkpoint`. Which are in use is only said by the checkpoints that are
//! left, so these are read; while one of them can't be read nothing is deleted.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::model::{Error, Result};
use crate::storage::Store;

const FOLDER: &str = "_delta_log/_sidecars";

/// Deletes the sidecars that are older than `cutoff` and that none of `checkpoints`, names in the log, names.
///
/// # Errors
/// `Unavailable` if storage does not answer, `Corrupt` if a checkpoint can't be read; nothing was deleted then.
pub(super) fn delete_unused<'a>(
    store: &Store,
    checkpoints: impl Iterator<Item = &'a str>,
    cutoff: DateTime<Utc>,
) -> Result<()> {
    let there = store.objects(FOLDER)?;
    if there.is_empty() {
        return Ok(());
    }
    let mut used = BTreeSet::new();
    for name in checkpoints {
        let path = format!("_delta_log/{name}");
        let Some(bytes) = store.get(&path)? else { continue };
        let unreadable = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::corrupt(format!("{}{path} cannot be read", store.url())).source(e)
        };
        used.extend(
            if name.ends_with(".json") { of_json(&bytes) } else { of_parquet(bytes) }.map_err(unreadable)?,
        );
    }
    for file in there {
        let name = file.location.filename().unwrap_or_default();
        if file.last_modified < cutoff && !used.contains(name) {
            store.delete(&format!("{FOLDER}/{name}"))?;
        }
    }
    Ok(())
}

type Names = std::result::Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>>;

/// The file names of the sidecars that a checkpoint of JSON lines names.
fn of_json(bytes: &[u8]) -> Names {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut names = Vec::new();
    for line in lines {
        let action: Value = serde_json::from_slice(line)?;
        names.extend(action["sidecar"]["path"].as_str().map(file_name));
    }
    Ok(names)
}

/// The same of a Parquet file.
fn of_parquet(bytes: Bytes) -> Names {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let Some(root) = reader.schema().index_of("sidecar").ok() else { return Ok(Vec::new()) };
    let only = ProjectionMask::roots(reader.parquet_schema(), [root]);
    let mut names = Vec::new();
    for rows in reader.with_projection(only).build()? {
        let rows = rows?;
        let paths = rows.column(0).as_struct_opt().and_then(|sidecar| sidecar.column_by_name("path"));
        let paths = paths.and_then(|paths| paths.as_string_opt::<i32>()).ok_or("a sidecar has no path")?;
        names.extend(paths.iter().flatten().filter(|path| !path.is_empty()).map(file_name));
    }
    Ok(names)
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn sidecars_of_deleted_checkpoints_go_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("_delta_log");
        fs::create_dir_all(log.join("_sidecars")).unwrap();
        for name in ["a.parquet", "b.parquet", "c.parquet"] {
            fs::write(log.join("_sidecars").join(name), b"x").unwrap();
        }
        let paths: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a.parquet")]));
        let field = Arc::new(Field::new("path", DataType::Utf8, true));
        let sidecar: ArrayRef = Arc::new(StructArray::from(vec![(field, paths)]));
        let rows = RecordBatch::try_from_iter_with_nullable([("sidecar", sidecar, true)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let (parquet, json) = ("5.checkpoint.parquet", "7.checkpoint.x.json");
        fs::write(log.join(parquet), bytes).unwrap();
        fs::write(log.join(json), "{\"sidecar\":{\"path\":\"_sidecars/b.parquet\"}}\n").unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), crate::storage::test_runtime()).unwrap();
        let left = || {
            let mut names: Vec<_> = fs::read_dir(log.join("_sidecars"))
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let future = Utc::now() + chrono::Duration::days(1);
        let past = Utc::now() - chrono::Duration::days(1);
        delete_unused(&store, [parquet, json].into_iter(), past).unwrap();
        assert_eq!(left().len(), 3, "all are young");
        fs::write(log.join("9.checkpoint.parquet"), b"PAR1").unwrap();
        let damaged = delete_unused(&store, ["9.checkpoint.parquet"].into_iter(), future);
        assert!(damaged.is_err() && left().len() == 3, "what it names is not known");
        delete_unused(&store, [parquet, json].into_iter(), future).unwrap();
        assert_eq!(left(), ["a.parquet", "b.parquet"]);
    }
}
