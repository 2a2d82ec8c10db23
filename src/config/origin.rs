//! Where a value of the configuration was given: what every problem names.

use std::fmt;
use std::sync::Arc;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A place in a file; line and column count from 1.
    File { file: Arc<str>, line: usize, column: usize },
    /// An environment variable.
    Environment(&'static str),
    /// A flag of the command line, such as `--topic`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::Environment(name) | Origin::Flag(name) => f.write_str(name),
        }
    }
}
