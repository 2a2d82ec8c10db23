//! Folders of our own in the system's temporary folder, where everyone may write: nobody can have made such a folder before, and
//! nobody else can look into it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::model::{Error, Result};

/// Makes a new folder whose name begins with `prefix`.
///
/// # Errors
/// `Unavailable` if the temporary folder can't be written.
pub(super) fn create(prefix: &str) -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("{prefix}{}", Uuid::new_v4()));
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|e| Error::unavailable(format!("cannot make the folder {}", folder.display())).source(e))?;
    Ok(folder)
}

/// A folder that is removed, with what is in it, at the end of the command.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Makes it.
    ///
    /// # Errors
    /// As for [`create`].
    pub(super) fn new(prefix: &str) -> Result<Temporary> {
        create(prefix).map(Temporary)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the temporary folder is left");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_temporary_folder_is_private_and_goes_with_its_owner() {
        let folder = Temporary::new("alluvia-test-").unwrap();
        let path = folder.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::create_dir(path.join("offsets")).unwrap();
        std::fs::write(path.join("offsets/0"), "v1").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
