//! The one door of the configuration to the world: environment, files and the current directory.
//!
//! Everything else in `config` is a function of text and of what this trait answers.

use std::io;
use std::path::{Path, PathBuf};

/// Answers what a configuration refers to.
pub trait Lookup {
    /// The environment variable `name`, if it is set to valid Unicode.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of the file at `path`.
    ///
    /// # Errors
    /// Those of reading a file.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// What relative paths of tables and checkpoints start from.
    ///
    /// # Errors
    /// Those of asking for the current directory.
    fn current_dir(&self) -> io::Result<PathBuf>;
}

/// The environment and the files of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessLookup;

impl Lookup for ProcessLookup {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }
}
