//! A data file that was written and that a commit can name.

/// A file that a commit can name.
#[derive(Debug, Clone)]
pub struct AddedFile {
    /// Its path as the log has it.
    pub(super) path: String,
    /// The partition values, by physical column name.
    pub(super) partition_values: Vec<(String, Option<String>)>,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub(super) modified_ms: i64,
    /// Rows in the file.
    pub rows: u64,
    /// Its number among the files of its writer, in the order in which they were begun.
    pub(super) number: usize,
    /// Its statistics, as the log has them.
    pub(super) statistics: Box<str>,
}

impl AddedFile {
    /// What it holds in memory until it is committed, about.
    pub(super) fn memory_bytes(&self) -> usize {
        let values = self.partition_values.iter().map(|(name, value)| {
            size_of::<(String, Option<String>)>() + name.len() + value.as_ref().map_or(0, String::len)
        });
        size_of::<AddedFile>() + self.path.len() + self.statistics.len() + values.sum::<usize>()
    }
}
