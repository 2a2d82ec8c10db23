//! The Delta tables that a stream writes to.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::merge::MergeConfig;

/// A Delta table that rows are appended to; it is made if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaSink {
    /// `path`, or `table` under the file's `warehouse`.
    pub url: Url,
    /// `partitionBy`, in order; empty for a table without partitions.
    pub partition_by: Vec<String>,
    /// `mergeSchema`: new columns are added to an existing table.
    pub merge_schema: bool,
    /// `merge`: rows are merged by their keys; absent, they are appended.
    pub merge: Option<Box<MergeConfig>>,
    /// `autoCompact`: whether small files are joined between micro-batches; absent, the table's properties decide.
    pub auto_compact: Option<bool>,
    /// `autoVacuum`: how often files that the table does not need any more are deleted; absent, never.
    pub auto_vacuum: Option<Duration>,
    /// `tableProperties` (`delta.…`) of a table that is made now.
    pub table_properties: BTreeMap<String, String>,
}

/// A Delta table whose columns Alluvia decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaTarget {
    /// Where it is.
    pub url: Url,
    /// `tableProperties` of a table that is made now.
    pub table_properties: BTreeMap<String, String>,
}
