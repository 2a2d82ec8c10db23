//! Stateless steps between decoder and sink: a batch of rows in, batches of rows out, single rows rejected.
//!
//! A [`StageFactory`] is built once per stream, its [`Stage`] once per lane. What a stage rejects it names by the
//! record that the row was made from, so that the lane can put that record, whole, where rejected records go.
//! A stage keeps nothing from one batch to the next.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{Array as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use super::json::Rejection;
use crate::model::{Error, Result};

/// Makes the stage of each lane.
pub trait StageFactory: fmt::Debug + Send + Sync {
    /// The columns that the stage hands on.
    fn schema(&self) -> SchemaRef;

    /// A text that differs where results may: part of the hash of the stream's definition.
    fn definition(&self) -> String;

    /// A stage for one lane.
    ///
    /// # Errors
    /// `Config` if the stage cannot be built.
    fn stage(&self) -> Result<Box<dyn Stage>>;
}

/// A step of one lane.
pub trait Stage: Send {
    /// Fixes the clock of the micro-batch, in microseconds since the Unix epoch.
    fn set_now(&mut self, _micros: i64) {}

    /// Gives `next` the rows that go on, in one batch or in several one after the other; all rows of a record are in one of
    /// them. Records whose rows do not go on are added to `rejected`; the stage takes all rows of such a record out.
    ///
    /// # Errors
    /// What `next` returns; whatever is wrong with more than single records.
    fn apply(
        &mut self,
        rows: StageRows,
        rejected: &mut Vec<RejectedRecord>,
        next: &mut NextStage<'_>,
    ) -> Result<()>;
}

/// What takes the rows of a stage.
pub type NextStage<'a> = dyn FnMut(StageRows, &mut Vec<RejectedRecord>) -> Result<()> + 'a;

/// Passes rows through one stage after the other, and what comes out of the last one to `out`.
///
/// # Errors
/// What a stage or `out` returns.
pub fn pass(
    stages: &mut [Box<dyn Stage>],
    rows: StageRows,
    rejected: &mut Vec<RejectedRecord>,
    out: &mut NextStage<'_>,
) -> Result<()> {
    match stages.split_first_mut() {
        None => out(rows, rejected),
        Some((first, behind)) => {
            first.apply(rows, rejected, &mut |rows, rejected| pass(behind, rows, rejected, out))
        }
    }
}

/// A record that a stage rejects: its number among the records of the batch, and why.
pub type RejectedRecord = (usize, Rejection);

/// Rows, and the records that they were made from.
#[derive(Debug, Clone)]
pub struct StageRows {
    batch: RecordBatch,
    /// For each row the number of its record in the decoded batch; `None`: row N is made from record N.
    records: Option<Vec<u32>>,
}

impl StageRows {
    /// A decoded batch: a row for each record.
    pub fn decoded(batch: RecordBatch) -> StageRows {
        StageRows { batch, records: None }
    }

    /// Rows that were not made of single records, such as groups: no stage behind can reject one.
    pub fn derived(batch: RecordBatch) -> StageRows {
        StageRows { batch, records: None }
    }

    /// The rows.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The rows alone.
    pub fn into_batch(self) -> RecordBatch {
        self.batch
    }

    /// The number of the record that `row` was made from.
    pub fn record_of(&self, row: usize) -> usize {
        self.records.as_ref().map_or(row, |records| records[row] as usize)
    }

    /// The same rows with other columns.
    ///
    /// # Errors
    /// `Internal` if there are more or fewer rows.
    pub fn with_columns(self, batch: RecordBatch) -> Result<StageRows> {
        if batch.num_rows() == self.batch.num_rows() {
            return Ok(StageRows { batch, ..self });
        }
        Err(Error::internal("a stage changed the number of rows without saying of which records they are"))
    }

    /// Other rows, each made from the row of these at the place that `rows` names.
    ///
    /// # Errors
    /// `Internal` if there is not one place for each row.
    pub fn with_rows(&self, batch: RecordBatch, rows: &[u32]) -> Result<StageRows> {
        if batch.num_rows() != rows.len() {
            return Err(Error::internal("a stage did not say of which records its rows are"));
        }
        let record = |row: &u32| self.record_of(*row as usize) as u32;
        Ok(StageRows { batch, records: Some(rows.iter().map(record).collect()) })
    }

    /// The rows that are not made from one of these records.
    ///
    /// # Errors
    /// As for [`StageRows::retain`].
    pub fn without(&self, records: &BTreeSet<usize>) -> Result<StageRows> {
        let stays = |row| !records.contains(&self.record_of(row));
        self.retain(&BooleanArray::from_iter((0..self.batch.num_rows()).map(|row| Some(stays(row)))))
    }

    /// The rows at which `keep` is true.
    ///
    /// # Errors
    /// `Internal` if there is not one value for each row.
    pub fn retain(&self, keep: &BooleanArray) -> Result<StageRows> {
        let batch = filter_record_batch(&self.batch, keep)
            .map_err(|e| Error::internal("leave rows out of a batch").source(e))?;
        let kept = |row: &usize| keep.is_valid(*row) && keep.value(*row);
        let records = (0..self.batch.num_rows()).filter(kept).map(|row| self.record_of(row) as u32).collect();
        Ok(StageRows { batch, records: Some(records) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(values: &[i32]) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from(values.to_vec()))]).unwrap()
    }

    #[test]
    fn rows_know_their_records_through_filters_and_copies() {
        let decoded = StageRows::decoded(rows(&[10, 11, 12, 13]));
        assert_eq!(decoded.record_of(3), 3);
        let kept =
            decoded.retain(&BooleanArray::from(vec![Some(false), Some(true), None, Some(true)])).unwrap();
        assert_eq!((kept.batch().num_rows(), kept.record_of(0), kept.record_of(1)), (2, 1, 3));
        let copied = kept.with_rows(rows(&[1, 2, 3]), &[1, 1, 0]).unwrap();
        assert_eq!([0, 1, 2].map(|row| copied.record_of(row)), [3, 3, 1]);
        let without = copied.without(&BTreeSet::from([3])).unwrap();
        assert_eq!((without.batch().num_rows(), without.record_of(0)), (1, 1));
        assert!(copied.with_columns(rows(&[1])).is_err());
    }
}
