//! Queries that keep state between micro-batches: watermarks, aggregation, deduplication, sessions, LIMIT.
//!
//! ```text
//! lane k:  rows ─► fragment ─► partial groups ─┐   by chunks of offsets, merged in their order
//!                                              ├─► operator ─► fragment ─► operator … ─► fragment ─► rows
//! lane j:  rows ─► fragment ─► partial groups ─┘      │
//!                                                state of the batch (`crate::state`)
//! ```
//!
//! [`below`] first moves filters to where Spark has them. [`cut`] takes the logical plan apart at its stateful operators before it
//! is optimised: what lies between two of
//! them is a fragment, planned once. An operator gets the rows of a whole micro-batch and the two watermarks that
//! count: rows at or before that of the batch before are late; what this batch's has passed is emitted and removed.

pub(super) mod aggregate;
pub(super) mod below;
pub(super) mod cut;
pub(super) mod dedupe;
pub(super) mod dedupe_node;
pub(super) mod event_time;
pub(super) mod grouping_sets;
mod keys;
mod limit;
mod logical;
mod nulls;
pub(super) mod observed;
mod operator_plan;
mod others;
pub(super) mod run;
mod session;
#[cfg(test)]
mod tests;
pub(super) mod tracker;
pub(super) mod unmarked;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;

use self::aggregate::Grouping;
use crate::model::{Error, OutputMode, Result};
use crate::state::{StateBatch, TableDefinition};

/// What an operator needs to know of the micro-batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchTimes {
    /// The watermark of the batch before, in microseconds: what is not after it is late.
    pub(super) late: i64,
    /// The watermark of this batch, in microseconds: what is not after it is emitted and removed.
    pub(super) watermark: i64,
}

/// What an operator did in a micro-batch: a member of Spark's `stateOperators`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorProgress {
    /// Spark's name of the operator.
    pub operator_name: &'static str,
    /// Keys in its state after the batch.
    pub num_rows_total: u64,
    /// Keys that the batch wrote.
    pub num_rows_updated: u64,
    /// Keys that the batch removed.
    pub num_rows_removed: u64,
    /// Late rows, or late groups of an aggregation, that were left out.
    pub num_rows_dropped_by_watermark: u64,
    /// Rows left out because their key was there before; of deduplication.
    pub num_dropped_duplicate_rows: Option<u64>,
}

/// A stateful operator.
pub(super) trait Operator: Send + Sync + std::fmt::Debug {
    /// Runs over a micro-batch: over its rows, in their order, or, if it has a [`Grouping`], over its partial groups.
    ///
    /// # Errors
    /// What the state or an expression returns.
    fn run(
        &self,
        state: &mut dyn StateBatch,
        rows: Vec<RecordBatch>,
        times: BatchTimes,
    ) -> Result<(Vec<RecordBatch>, OperatorProgress)>;

    /// How lanes group its rows, if they may.
    fn grouping(&self) -> Option<&Arc<Grouping>> {
        None
    }

    /// Whether a batch without rows is due once the watermark has moved past the one the last batch used.
    fn wants_empty_batch(&self, mode: OutputMode) -> bool;

    /// The operator and its state in words, for `alluvia explain`.
    fn explain(&self) -> String;

    /// What its stored state depends on; a query whose operators say the same can go on with it.
    fn state_definition(&self) -> Vec<TableDefinition>;
}

/// An error of an operator: an expression's for a row keeps Spark's class.
pub(super) fn failed(error: DataFusionError) -> Error {
    match super::error::failure(&error) {
        Some(failure) => Error::data(failure.to_string()),
        None => Error::internal("run a stateful operator of sql").source(error),
    }
}
