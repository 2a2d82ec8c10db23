//! Folders of local copies: one for each process that has one open.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::HINT;
use crate::model::{Error, Result};

/// Processes that may have a copy in one folder at once: one runs, others may be frozen.
const COPIES_MAX: u32 = 16;

/// The first copy in a folder that no process uses, and its lock.
pub(super) fn lock_folder(folder: &Path) -> Result<(PathBuf, File)> {
    for copy in 0..COPIES_MAX {
        let folder = folder.join(copy.to_string());
        fs::create_dir_all(&folder).map_err(|e| disk("make the folder", &folder, e))?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"));
        let file = file.map_err(|e| disk("open the lock of", &folder, e))?;
        match file.try_lock() {
            Ok(()) => {
                remove_left_copies(folder.parent().unwrap_or(&folder), copy + 1);
                return Ok((folder, file));
            }
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(e)) => return Err(disk("lock", &folder, e)),
        }
    }
    Err(Error::config(format!("{COPIES_MAX} processes use the folder {} for the state", folder.display()))
        .hint("give each stream a folder of its own on a local disk"))
}

/// Removes copies of processes that are gone, from number `from` on: the room is all that matters, so failures do not.
fn remove_left_copies(folder: &Path, from: u32) {
    for copy in from..COPIES_MAX {
        let folder = folder.join(copy.to_string());
        if let Ok(file) = File::open(folder.join("lock"))
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(disk("remove", folder, e)),
        _ => Ok(()),
    }
}

pub(super) fn disk(verb: &str, folder: &Path, source: std::io::Error) -> Error {
    Error::unavailable(format!("cannot {verb} {}", folder.display())).source(source).hint(HINT)
}
