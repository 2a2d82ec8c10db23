//! Trying whether a folder can be written to, without leaving anything behind.

use std::path::PathBuf;

use uuid::Uuid;

use super::Store;
use crate::model::Result;

impl Store {
    /// Writes an object whose path starts with `prefix`, as [`Store::probe_put_if_absent`] does, and removes it
    /// again with the folders that a local disk made for it.
    ///
    /// # Errors
    /// As for [`Store::probe_put_if_absent`].
    pub fn probe_write(&self, prefix: &str) -> Result<()> {
        let name = format!("{prefix}-{}", Uuid::new_v4());
        let made = self.missing_folders(&name);
        let outcome = self.probe_put_if_absent(&name);
        for folder in made {
            // One in which something else was made meanwhile stays.
            let _ = std::fs::remove_dir(folder);
        }
        outcome
    }

    /// The folders above an object that are not there, the innermost first; none if not on a local disk.
    fn missing_folders(&self, name: &str) -> Vec<PathBuf> {
        let Ok(root) = self.url().to_file_path() else { return Vec::new() };
        let place = root.join(name);
        place.ancestors().skip(1).take_while(|folder| !folder.exists()).map(PathBuf::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::test_runtime;

    #[test]
    fn a_probe_leaves_no_folder_behind() {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path().join("a/b")).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        store.probe_write("c/.probe").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
