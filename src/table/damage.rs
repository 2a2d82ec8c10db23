//! Which file of a log that the Delta kernel could not read is missing or damaged.
//!
//! The kernel says neither which file it could not read nor what is missing, and tells a hole in the log
//! in the words of a defect. So a log that it can't read is looked through here, file by file, once it has
//! failed: storage that fails stays `Unavailable`, a damaged log is `Corrupt` and named, and what is left
//! is a defect.

use std::collections::{BTreeMap, BTreeSet};

use object_store::ObjectStoreExt;

use super::error::{RESTORE, kernel_error};
use super::history;
use crate::model::{Error, Kind, Result};
use crate::storage::{self, Store};

/// [`kernel_error`] for an error met while the log was read: the damaged file is looked for and named.
pub(crate) fn log_error(error: delta_kernel::Error, doing: &str, store: &Store) -> Error {
    let error = kernel_error(error, doing, store);
    if !matches!(error.kind(), Kind::Corrupt | Kind::Internal) {
        return error;
    }
    match damage(store) {
        Ok(()) => error,
        Err(found) if found.kind() == Kind::Corrupt => {
            found.context(format!("cannot {doing} of table {}", store.url()))
        }
        // Damage that the kernel saw stays what it is; what looked like a defect comes from storage.
        Err(_) if error.kind() == Kind::Corrupt => error,
        Err(unread) => unread,
    }
}

/// Looks for the first file of the log that is missing or can't be decoded, from the newest checkpoint on.
///
/// # Errors
/// `Corrupt`, naming the file; what storage returns if it does not answer.
fn damage(store: &Store) -> Result<()> {
    let names = store.names("_delta_log")?;
    let checkpoint = newest_checkpoint(&names);
    if let Some((_, files)) = &checkpoint {
        for name in files.iter().filter(|name| name.ends_with(".parquet")) {
            check_parquet(store, name)?;
        }
    }
    let first = checkpoint.map_or(0, |(version, _)| version + 1);
    let commits: BTreeSet<u64> =
        names.iter().filter_map(|name| commit_version(name)).filter(|version| *version >= first).collect();
    if let Some(missing) = missing(first, &commits) {
        return Err(missing_below(missing, commits.last().copied().unwrap_or_default()));
    }
    for version in commits {
        if history::read_actions(store, version)?.is_none_or(|actions| actions.is_empty()) {
            return Err(Error::corrupt(format!("{} is empty", history::commit_name(version))).hint(RESTORE));
        }
    }
    Ok(())
}

/// A commit is gone that `later` ones need.
pub(super) fn missing_below(missing: u64, later: u64) -> Error {
    // A log that was cleaned has no commit 0, and lacks the checkpoint that held what it did.
    const BEGINNING: &str = "restore the file from a backup of the table with all that is missing after it, or a checkpoint instead; if there is none, start the stream on a new sink.path (or deadLetter.path) and a new checkpointLocation; nothing was changed";
    let name = history::commit_name(missing);
    let hint = if missing == 0 { BEGINNING } else { RESTORE };
    Error::corrupt(format!("{name} is missing, though version {later} is there")).hint(hint)
}

/// The first version from `first` on that is missing below a later one.
fn missing(first: u64, commits: &BTreeSet<u64>) -> Option<u64> {
    let newest = *commits.last()?;
    (first..newest).find(|version| !commits.contains(version))
}

fn commit_version(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

/// The newest checkpoint all of whose parts are there, with the names of its files.
fn newest_checkpoint(names: &[String]) -> Option<(u64, Vec<&str>)> {
    whole_checkpoints(names.iter().map(String::as_str)).pop()
}

/// The checkpoints all of whose parts are there, the oldest first, with the names of their files.
pub(super) fn whole_checkpoints<'n>(names: impl Iterator<Item = &'n str>) -> Vec<(u64, Vec<&'n str>)> {
    let mut checkpoints: BTreeMap<(u64, &str), Vec<&str>> = BTreeMap::new();
    for name in names {
        let Some((digits, rest)) = name.split_once(".checkpoint.") else { continue };
        let (Ok(version), 20) = (digits.parse::<u64>(), digits.len()) else { continue };
        // `N.checkpoint.PART.PARTS.parquet`: the parts belong together.
        let pieces: Vec<&str> = rest.split('.').collect();
        let set = if let [_, parts, "parquet"] = pieces[..] { parts } else { rest };
        checkpoints.entry((version, set)).or_default().push(name);
    }
    let whole = |set: &str, files: &[&str]| set.parse::<usize>().map_or(true, |parts| parts == files.len());
    checkpoints
        .into_iter()
        .filter(|((_, set), files)| whole(set, files))
        .map(|((version, _), files)| (version, files))
        .collect()
}

/// Refuses a file that does not begin and end as Parquet does.
fn check_parquet(store: &Store, name: &str) -> Result<()> {
    const MAGIC: &[u8] = b"PAR1";
    let relative = format!("_delta_log/{name}");
    let failed = |e| storage::error(e, "read", store.url(), &relative);
    let path = store.path(&relative);
    let size = store.block_on(store.root().head(&path)).map_err(failed)?.size;
    if size >= 12 {
        let ends = store.block_on(store.root().get_ranges(&path, &[0..4, size - 4..size])).map_err(failed)?;
        if ends.iter().all(|end| end == MAGIC) {
            return Ok(());
        }
    }
    Err(Error::corrupt(format!("{relative} is empty, cut off or damaged: it is not a Parquet file"))
        .hint("if an older checkpoint or all older commits are there, delete the file and _last_checkpoint, and the log is read without it; else restore it from a backup; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn commit(version: u64) -> String {
        format!("{version:020}.json")
    }

    fn log(files: &[(String, &[u8])]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("_delta_log")).unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join("_delta_log").join(name), bytes).unwrap();
        }
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), storage::test_runtime()).unwrap();
        (folder, store)
    }

    fn found(files: &[(String, &[u8])]) -> String {
        let (_folder, store) = log(files);
        match damage(&store) {
            Ok(()) => String::new(),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Corrupt, "{error}");
                error.to_string()
            }
        }
    }

    #[test]
    fn the_damaged_file_of_a_log_is_named() {
        let good: &[u8] = b"{\"commitInfo\":{}}\n";
        let parquet: &[u8] = b"PAR1....PAR1";
        let checkpoint = |version: u64| format!("{version:020}.checkpoint.parquet");
        assert_eq!(found(&[(commit(0), good), (commit(1), good)]), "");
        let gap = found(&[(commit(0), good), (commit(2), good)]);
        assert!(gap.starts_with(&format!("_delta_log/{} is missing", commit(1))), "{gap}");
        let headless = found(&[(commit(1), good), (commit(2), good)]);
        assert!(headless.starts_with(&format!("_delta_log/{} is missing", commit(0))), "{headless}");
        let cut = found(&[(commit(0), good), (commit(1), b"{\"add\":{\"pa")]);
        assert!(cut.contains(&commit(1)) && cut.contains("restore the file"), "{cut}");
        let empty = found(&[(commit(0), b""), (commit(1), good)]);
        assert!(empty.starts_with(&format!("_delta_log/{} is empty", commit(0))), "{empty}");
        // What a checkpoint covers may be gone.
        assert_eq!(found(&[(checkpoint(4), parquet), (commit(5), good), (commit(6), good)]), "");
        let behind = found(&[(checkpoint(4), parquet), (commit(4), good), (commit(6), good)]);
        assert!(behind.contains(&commit(5)), "{behind}");
        let damaged = found(&[(checkpoint(4), b"PAR1"), (commit(5), good)]);
        assert!(damaged.contains(&checkpoint(4)), "{damaged}");
    }

    #[test]
    fn a_checkpoint_in_parts_counts_once_all_of_them_are_there() {
        let part = |n: u32| format!("{:020}.checkpoint.{n:010}.{:010}.parquet", 8, 2);
        let names = [format!("{:020}.checkpoint.parquet", 4), part(1)];
        assert_eq!(newest_checkpoint(&names).unwrap().0, 4);
        assert_eq!(newest_checkpoint(&[names[0].clone(), part(1), part(2)]).unwrap().0, 8);
        assert!(newest_checkpoint(&[commit(3)]).is_none());
    }
}
