//! The formats of static tables.

/// How a static table's rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// A Delta table; its version is a number, and stays readable until it is vacuumed.
    Delta,
    /// Parquet files.
    Parquet,
    /// CSV files.
    Csv,
    /// JSON files, one object a line.
    Json,
}
