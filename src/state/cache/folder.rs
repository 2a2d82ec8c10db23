//! Folders of local copies: one for each process that has one open.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::HINT;
use crate::model::{Error, Result, user};

/// Processes that may have a copy in one folder at once: one runs, others may be frozen.
const COPIES_MAX: u32 = 16;

/// The first copy in a folder that no process uses, and its lock.
pub(super) fn lock_folder(folder: &Path) -> Result<(PathBuf, File)> {
    for copy in 0..COPIES_MAX {
        let folder = folder.join(copy.to_string());
        // The state is made of records, which other users may have no right to read.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| disk("make the folder", &folder, e))?;
        check_owner(&folder, &std::env::temp_dir(), user::id())?;
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

/// Refuses a folder below `temp`, where everyone may write, that is in a folder of another user: that user can read and exchange
/// what is there.
fn check_owner(folder: &Path, temp: &Path, user: u32) -> Result<()> {
    let Some(Component::Normal(top)) =
        folder.strip_prefix(temp).ok().and_then(|below| below.components().next())
    else {
        return Ok(());
    };
    let top = temp.join(top);
    let owner = fs::symlink_metadata(&top).map_err(|e| disk("look at", &top, e))?.uid();
    if owner == user || owner == 0 {
        return Ok(());
    }
    Err(Error::config(format!("{} belongs to another user", top.display()))
        .hint("name a folder on a local disk with stateFolder, or set XDG_CACHE_HOME"))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_copy_is_private_and_never_in_the_folder_of_another_user() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("alluvia-7/alluvia/state/s");
        let (copy, _lock) = lock_folder(&folder).unwrap();
        for made in [temp.path().join("alluvia-7"), copy] {
            assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        check_owner(&folder, temp.path(), user::id()).unwrap();
        // Only root may give a folder away; others say who they are not.
        let top = temp.path().join("alluvia-7");
        let (owner, user) = if user::id() == 0 { (12345, 0) } else { (user::id(), user::id() + 1) };
        std::os::unix::fs::chown(&top, Some(owner), None).unwrap();
        let error = check_owner(&folder, temp.path(), user).unwrap_err().to_string();
        assert!(error.contains("alluvia-7 belongs to another user (name a folder"), "{error}");
        // Elsewhere the one who named the folder knows whose it is.
        check_owner(&folder, Path::new("/var/tmp"), user).unwrap();
    }
}
