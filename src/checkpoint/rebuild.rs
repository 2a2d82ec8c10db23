//! A lost checkpoint's files, rebuilt from what the stream's newest commits say. Pure.
//!
//! The files are those that the stream would have had after its newest commit. Their order is part of
//! the contract: a rebuild that is cut off anywhere leaves a checkpoint that a run refuses (it has no
//! `alluvia/stream.json`, or the table is ahead of it), and that another rebuild completes, because the
//! same commits make the same bytes.

use bytes::Bytes;

use super::document::{BatchCommitted, Plan, commit_text, initial_offset_bytes};
use super::{CheckpointBinding, Identity, paths};
use crate::model::{Error, OffsetSeq, Result};
use crate::storage::Store;

/// What a commit of Alluvia says of its micro-batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedBatch {
    /// The plan of the micro-batch, as it was.
    pub plan: Plan,
    /// Where it starts.
    pub start: OffsetSeq,
    /// The watermark of the batch after it.
    pub next_watermark_ms: i64,
    /// Whether its dead letters were to be committed after it.
    pub dead_letters_pending: bool,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// From the checkpoint's folder.
    pub path: String,
    /// What is in it.
    pub content: Bytes,
}

/// The files of the checkpoint of query `identity`, in the order in which they must be written.
///
/// `rows` is the newest commit of the stream's table, `letters` that of its dead letters: if it is of the
/// batch behind `rows`, that batch was planned and is run again over the same offsets. A batch whose dead
/// letters may be still to come gets no entry in the commit log: the next start looks for them.
///
/// # Errors
/// `Corrupt` if the two contradict each other or there is neither.
pub fn files(
    identity: &Identity,
    serves: &CheckpointBinding,
    rows: Option<&CommittedBatch>,
    letters: Option<&CommittedBatch>,
) -> Result<Vec<File>> {
    let newest = rows.map_or(-1, |rows| rows.plan.batch_id);
    let planned = letters.filter(|letters| letters.plan.batch_id > newest);
    let first = rows.or(planned).ok_or_else(|| Error::corrupt("no commit says how far the stream came"))?;
    let mut files = vec![file(paths::METADATA, identity.to_bytes())];
    for (source, start) in first.start.0.iter().enumerate() {
        let bytes = start.as_ref().map(initial_offset_bytes);
        files.extend(bytes.map(|bytes| file(&paths::initial(source), bytes)));
    }
    if let Some(rows) = rows {
        if newest > 0 {
            files.push(plan(&before(rows)));
        }
        files.push(plan(&rows.plan));
        if !rows.dead_letters_pending || planned.is_some() {
            let commit = BatchCommitted { next_watermark_ms: rows.next_watermark_ms, attempt: None };
            files.push(file(&paths::commit(newest), commit_text(&commit)));
        }
    }
    if let Some(planned) = planned {
        check_next(newest, rows.map(|rows| &rows.plan.end), planned)?;
        files.push(plan(&planned.plan));
    }
    files.push(file(paths::STREAM, serves.to_bytes()));
    Ok(files)
}

/// The plan before a batch, as far as its end goes: nothing else of it is ever asked for.
fn before(batch: &CommittedBatch) -> Plan {
    Plan {
        batch_id: batch.plan.batch_id - 1,
        end: batch.start.clone(),
        notes: Vec::new(),
        lost: Vec::new(),
        sink_version: None,
        remainder: None,
        writer: format!("rebuilt from {}", batch.plan.writer),
        ..batch.plan.clone()
    }
}

/// The dead letters may be one batch ahead of the rows, and go on where the rows end.
fn check_next(newest: i64, known: Option<&OffsetSeq>, planned: &CommittedBatch) -> Result<()> {
    let batch = planned.plan.batch_id;
    let touches = |known: &OffsetSeq| planned.start.agrees_with(known);
    if batch == newest + 1 && known.is_none_or(touches) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the dead letters hold micro-batch {batch}, which does not follow micro-batch {newest} of the table"
    ))
    .hint("one of the two tables was replaced or restored from a backup"))
}

fn plan(plan: &Plan) -> File {
    file(&paths::plan(plan.batch_id), plan.to_text())
}

fn file(path: &str, content: impl Into<Bytes>) -> File {
    File { path: path.to_owned(), content: content.into() }
}

/// Refuses a checkpoint in which anything lies but some of `files`, byte for byte; the lease's folder
/// does not count. Returns the paths of those that are there.
///
/// # Errors
/// `Config`, naming what is there; `Unavailable` if storage does not answer.
pub fn check_empty(store: &Store, files: &[File]) -> Result<Vec<String>> {
    let mut there = Vec::new();
    let is_lease = |path: &str| path.strip_prefix(paths::LEASE).is_some_and(|rest| rest.starts_with('/'));
    for path in store.all_paths()?.into_iter().filter(|path| !is_lease(path)) {
        let ours = files.iter().find(|file| file.path == path);
        match ours {
            Some(file) if store.get(&path)?.as_ref() == Some(&file.content) => there.push(path),
            _ => return Err(in_the_way(store, &path)),
        }
    }
    Ok(there)
}

fn in_the_way(store: &Store, path: &str) -> Error {
    let folder = store
        .url()
        .to_file_path()
        .map_or_else(|()| store.url().to_string(), |path| path.display().to_string());
    let folder = folder.trim_end_matches('/');
    Error::config(format!("checkpoint {} is not empty: it holds {path}; nothing is ever overwritten", store.url())).hint(
        format!("look at it with `alluvia checkpoint show`; if it is damaged or older than its table, stop the stream, move it aside ({folder} to {folder}.old), and rebuild again"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::CheckpointLog;
    use crate::model::{Kind, Notes, Offsets, TopicPartition};
    use crate::storage::test_runtime;

    fn offsets(values: &[(i32, i64)]) -> Offsets {
        Offsets(values.iter().map(|&(p, o)| (TopicPartition::new("t", p), o)).collect())
    }

    fn seq(values: &[(i32, i64)]) -> OffsetSeq {
        OffsetSeq::of(offsets(values).to_offset())
    }

    /// `new` names the partitions that do not start where the batch before ended.
    fn remembered(batch_id: i64, start: &[(i32, i64)], end: &[(i32, i64)], new: &[i32]) -> CommittedBatch {
        let new: Vec<(i32, i64)> = start.iter().copied().filter(|(p, _)| new.contains(p)).collect();
        let notes = Notes::from([
            ("isolationLevel".into(), "read_committed".into()),
            ("startOffsets".into(), offsets(&new).to_json()),
            ("topicIds".into(), r#"{"t":"q83vEjRWeJA"}"#.into()),
        ]);
        let plan = Plan {
            batch_id,
            end: seq(end),
            notes: vec![notes],
            timestamp_ms: 17,
            definition_hash: "d".into(),
            writer: format!("writer-{batch_id}"),
            ..Plan::default()
        };
        CommittedBatch { plan, start: seq(start), next_watermark_ms: 0, dead_letters_pending: false }
    }

    fn made(rows: Option<&CommittedBatch>, letters: Option<&CommittedBatch>) -> Result<Vec<File>> {
        let serves = CheckpointBinding {
            format: 1,
            stream: "s".into(),
            table: "file:///t/".into(),
            table_id: "id".into(),
        };
        files(&Identity { id: "q".into() }, &serves, rows, letters)
    }

    fn written(folder: &tempfile::TempDir, files: &[File]) -> CheckpointLog {
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        for file in files {
            store.put_if_absent(&file.path, file.content.clone()).unwrap();
        }
        CheckpointLog::new(store, 100)
    }

    #[test]
    fn the_next_run_finds_the_batch_committed_with_its_ranges() {
        let folder = tempfile::tempdir().unwrap();
        let rows = remembered(5, &[(0, 10), (1, 0)], &[(0, 20), (1, 3)], &[]);
        let log = written(&folder, &made(Some(&rows), None).unwrap());
        let entries = log.entries().unwrap();
        assert_eq!((entries.plans, entries.commits), ([4, 5].into(), [5].into()));
        let planned = log.planned(5).unwrap();
        assert_eq!((planned.start(), planned.plan()), (&rows.start, &rows.plan), "with its topics' ids");
        assert_eq!(Identity::read(log.store()).unwrap().unwrap().id, "q");
        assert_eq!(CheckpointBinding::read(log.store()).unwrap().unwrap().stream, "s");
    }

    #[test]
    fn dead_letters_one_batch_ahead_are_a_plan_to_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let rows = remembered(0, &[(0, 0)], &[(0, 20)], &[]);
        let letters = remembered(1, &[(0, 20), (1, 4)], &[(0, 30), (1, 9)], &[1]);
        let log = written(&folder, &made(Some(&rows), Some(&letters)).unwrap());
        let planned = log.planned(1).unwrap();
        assert_eq!(
            (planned.start(), planned.plan()),
            (&rows.plan.end, &letters.plan),
            "with the new partition's start"
        );
        assert_eq!(log.entries().unwrap().commits, [0].into());
        let first = tempfile::tempdir().unwrap();
        let alone = remembered(0, &[(0, 3)], &[(0, 8)], &[]);
        let log = written(&first, &made(None, Some(&alone)).unwrap());
        assert_eq!(log.planned(0).unwrap().start(), &alone.start);
    }

    #[test]
    fn a_batch_whose_dead_letters_may_be_missing_is_not_called_committed() {
        let rows = CommittedBatch { dead_letters_pending: true, ..remembered(3, &[(0, 0)], &[(0, 20)], &[]) };
        let paths = |files: Vec<File>| files.into_iter().map(|file| file.path).collect::<Vec<_>>();
        let made = paths(made(Some(&rows), None).unwrap());
        assert_eq!(made, ["metadata", "sources/0/0", "offsets/2", "offsets/3", "alluvia/stream.json"]);
    }

    #[test]
    fn dead_letters_that_do_not_follow_are_refused_and_older_ones_say_nothing() {
        let rows = remembered(3, &[(0, 0)], &[(0, 20)], &[]);
        for letters in
            [remembered(5, &[(0, 20)], &[(0, 30)], &[]), remembered(4, &[(0, 19)], &[(0, 30)], &[])]
        {
            assert_eq!(made(Some(&rows), Some(&letters)).unwrap_err().kind(), Kind::Corrupt);
        }
        let older = remembered(2, &[(0, 7)], &[(0, 9)], &[]);
        assert_eq!(made(Some(&rows), Some(&older)).unwrap(), made(Some(&rows), None).unwrap());
    }

    #[test]
    fn a_rebuild_cut_off_anywhere_can_be_completed_and_nothing_else_is_touched() {
        let files = made(Some(&remembered(5, &[(0, 10)], &[(0, 20)], &[])), None).unwrap();
        for cut in 0..=files.len() {
            let folder = tempfile::tempdir().unwrap();
            let log = written(&folder, &files[..cut]);
            log.store().put("alluvia/lease/0000000000", Bytes::from_static(b"x")).unwrap();
            assert_eq!(check_empty(log.store(), &files).unwrap().len(), cut);
        }
        let folder = tempfile::tempdir().unwrap();
        let log = written(&folder, &[file("offsets/5", "other")]);
        let error = check_empty(log.store(), &files).unwrap_err();
        assert!(error.to_string().contains("holds offsets/5"), "{error}");
        log.store().delete("offsets/5").unwrap();
        log.store().put("state/0/0/1.delta", Bytes::from_static(b"x")).unwrap();
        assert!(check_empty(log.store(), &files).unwrap_err().to_string().contains("state/0/0/1.delta"));
    }
}
