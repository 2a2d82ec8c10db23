//! How much a query may make of a few rows at once.
//!
//! A generator repeats the other columns for each element, and a text may be as long as a number in the record says. So one
//! message can ask for any amount of memory. What a run would make of one record is bounded ([`RecordBytes`]): above that it
//! fails with [`RESULT_TOO_LARGE`], and the record is rejected. What it would make of several is bounded too, by less: then it
//! runs again over half of them ([`SliceSize`] remembers how many fit). Rows of static tables, and those of groups, are of no
//! record, and not bounded (but for texts, [`super::recordless`]).

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowNativeType, DataType, UInt32Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};

use super::error::{ExpressionError, RESULT_TOO_LARGE};
use super::record_bytes::RecordBytes;
use super::slot::RECORD;

/// How many rows a lane gives to a query at once.
#[derive(Debug, Clone)]
pub struct SliceSize {
    rows: usize,
    record_bytes: RecordBytes,
}

impl SliceSize {
    /// As many as there are, before any were too many.
    pub(super) fn new(record_bytes: RecordBytes) -> SliceSize {
        SliceSize { rows: usize::MAX, record_bytes }
    }

    /// How many, `most` at the most.
    pub(super) fn rows(&self, most: usize) -> usize {
        self.rows.min(most)
    }

    /// A run over that many was too much.
    pub(super) fn was_too_large(&mut self, rows: usize) {
        self.rows = (rows / 2).max(1);
    }

    /// A run over `rows` rows gave `made`: after little, more are given.
    pub(super) fn made(&mut self, rows: usize, made: &[RecordBatch]) {
        if rows < self.rows || self.rows == usize::MAX {
            return;
        }
        if bytes_of_all(made) < self.record_bytes.of_several() / 4 {
            self.rows = self.rows.saturating_mul(2);
        }
    }
}

/// What rows take in memory.
pub(super) fn bytes_of_all(rows: &[RecordBatch]) -> usize {
    rows.iter().flat_map(RecordBatch::columns).map(|column| bytes_of(column)).sum()
}

fn bytes_of(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_default()
}

/// What a call of a function makes, where the length of a text is as long as a record says. A function does not know of how
/// many records its rows are, so they may have together what one may have.
#[derive(Debug)]
pub(super) struct TextBytes {
    made: Cell<usize>,
    most: RecordBytes,
}

impl TextBytes {
    /// Nothing yet.
    pub(super) fn new(most: RecordBytes) -> TextBytes {
        TextBytes { made: Cell::new(0), most }
    }

    /// Counts more bytes, before they are made.
    ///
    /// # Errors
    /// `RESULT_TOO_LARGE` if they are too many.
    pub(super) fn add(&self, bytes: usize) -> Result<()> {
        self.made.set(self.made.get().saturating_add(bytes));
        check(self.made.get(), self.most)
    }
}

fn check(bytes: usize, most: RecordBytes) -> Result<()> {
    if bytes <= most.most() {
        return Ok(());
    }
    Err(too_large(most))
}

fn too_large(most: RecordBytes) -> DataFusionError {
    let most = most.most() >> 20;
    ExpressionError::raise(
        RESULT_TOO_LARGE,
        format!("what is made of a record or of a group would take more than {most} MiB"),
    )
}

/// Refuses elements of lists that are repeated with the values of their rows: `times` for each row of `columns`.
///
/// # Errors
/// `RESULT_TOO_LARGE` if the copies are too many.
pub(super) fn check_copies(columns: &[ArrayRef], times: &[usize], most: RecordBytes) -> Result<()> {
    let copies = |column: &ArrayRef| {
        let bytes =
            row_bytes(column).into_iter().zip(times).map(|(bytes, times)| bytes.saturating_mul(*times));
        bytes.fold(0, usize::saturating_add)
    };
    check(columns.iter().map(copies).fold(0, usize::saturating_add), most)
}

/// Puts a check before every operator that makes rows of lists.
///
/// # Errors
/// What DataFusion refuses.
pub(super) fn check_lists(
    plan: Arc<dyn ExecutionPlan>,
    record_bytes: RecordBytes,
) -> Result<Arc<dyn ExecutionPlan>> {
    let checked = plan.transform_up(|node| {
        let Some(unnest) = node.downcast_ref::<UnnestExec>() else { return Ok(Transformed::no(node)) };
        let lists = unnest.list_column_indices().iter().map(|list| list.index_in_input_schema).collect();
        let input = Arc::clone(unnest.input());
        let record = input.schema().column_with_name(RECORD).map(|(place, _)| place);
        let input = Arc::new(ListsCheck { input, lists, record, record_bytes });
        Ok(Transformed::yes(replace_children_if_necessary(node, vec![input])?))
    })?;
    Ok(checked.data)
}

/// Passes rows on whose lists become rows behind it, a few at once, unless that is too much for a record.
#[derive(Debug)]
pub(super) struct ListsCheck {
    input: Arc<dyn ExecutionPlan>,
    /// The columns of the lists.
    lists: Arc<[usize]>,
    /// The column with the number of the record; `None` if the rows are of none.
    record: Option<usize>,
    record_bytes: RecordBytes,
}

/// What one run makes of the lists of records.
#[derive(Debug)]
struct OfRecords {
    most: RecordBytes,
    bytes: usize,
    record: Option<u32>,
    is_of_several: bool,
}

impl OfRecords {
    fn new(most: RecordBytes) -> OfRecords {
        OfRecords { most, bytes: 0, record: None, is_of_several: false }
    }

    /// Counts rows: the number of the record of each, and the bytes that it becomes.
    fn add(&mut self, records: &[u32], bytes: &[usize]) -> Result<()> {
        for (record, bytes) in records.iter().zip(bytes) {
            self.is_of_several |= *self.record.get_or_insert(*record) != *record;
            self.bytes = self.bytes.saturating_add(*bytes);
        }
        if self.is_of_several && self.bytes > self.most.of_several() {
            return Err(too_large(self.most));
        }
        check(self.bytes, self.most)
    }
}

impl ListsCheck {
    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<ListsCheck> {
        let Some(input) = children.into_iter().next() else {
            return internal_err!("a check without an input");
        };
        let (lists, record, record_bytes) = (Arc::clone(&self.lists), self.record, self.record_bytes);
        Ok(ListsCheck { input, lists, record, record_bytes })
    }
}

impl DisplayAs for ListsCheck {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListsCheck: {} MiB of one record", self.record_bytes.most() >> 20)
    }
}

impl ExecutionPlan for ListsCheck {
    fn name(&self) -> &'static str {
        "ListsCheck"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.over(children)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let (lists, record) = (Arc::clone(&self.lists), self.record);
        let slice = self.record_bytes.of_several();
        let mut made = OfRecords::new(self.record_bytes);
        let checked = rows.map(move |rows| {
            let rows = rows?;
            let bytes = unnested_bytes(&rows, &lists);
            if let Some(record) = record {
                made.add(rows.column(record).as_primitive::<UInt32Type>().values(), &bytes)?;
            }
            Ok(cut(&rows, &bytes, slice))
        });
        let cut = checked.flat_map(|slices: Result<Vec<RecordBatch>>| match slices {
            Ok(slices) => stream::iter(slices.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), cut)))
    }
}

/// The rows in slices that become `slice` bytes at the most, or are one row. `bytes`: what each of them becomes.
fn cut(rows: &RecordBatch, bytes: &[usize], slice: usize) -> Vec<RecordBatch> {
    let (mut slices, mut first, mut sum) = (Vec::new(), 0, 0_usize);
    for (row, bytes) in bytes.iter().enumerate() {
        sum = sum.saturating_add(*bytes);
        if sum > slice && row > first {
            slices.push(rows.slice(first, row - first));
            (first, sum) = (row, *bytes);
        }
    }
    slices.push(rows.slice(first, rows.num_rows() - first));
    slices
}

/// How many bytes each row becomes when its lists are made rows: the elements, and the other columns for each of them.
fn unnested_bytes(rows: &RecordBatch, lists: &[usize]) -> Vec<usize> {
    let count = rows.num_rows();
    let (mut elements, mut copies, mut others) =
        (vec![0_usize; count], vec![0_usize; count], vec![0_usize; count]);
    for (place, column) in rows.columns().iter().enumerate() {
        let sums = if lists.contains(&place) { &mut elements } else { &mut others };
        sums.iter_mut().zip(row_bytes(column)).for_each(|(sum, bytes)| *sum += bytes);
        if lists.contains(&place) {
            copies
                .iter_mut()
                .zip(list_lengths(column))
                .for_each(|(copies, length)| *copies = length.max(*copies));
        }
    }
    let made = |row: usize| copies[row].saturating_mul(others[row]).saturating_add(elements[row]);
    (0..count).map(made).collect()
}

fn list_lengths(column: &dyn Array) -> Vec<usize> {
    match column.data_type() {
        DataType::List(_) => lengths(column.as_list::<i32>().offsets()).collect(),
        DataType::Map(..) => lengths(column.as_map().offsets()).collect(),
        _ => vec![1; column.len()],
    }
}

fn lengths<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> impl Iterator<Item = usize> + '_ {
    offsets.windows(2).map(|ends| (ends[1] - ends[0]).as_usize())
}

/// The bytes of each row's value.
fn row_bytes(column: &dyn Array) -> Vec<usize> {
    match column.data_type() {
        DataType::Utf8 => lengths(column.as_string::<i32>().offsets()).collect(),
        DataType::Binary => lengths(column.as_binary::<i32>().offsets()).collect(),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            sums(list.offsets(), list.values())
        }
        DataType::Map(..) => {
            let map = column.as_map();
            sums(map.offsets(), map.entries())
        }
        DataType::Struct(_) => {
            let mut bytes = vec![0; column.len()];
            for field in column.as_struct().columns() {
                bytes.iter_mut().zip(row_bytes(field)).for_each(|(all, field)| *all += field);
            }
            bytes
        }
        fixed => vec![fixed.primitive_width().unwrap_or(1); column.len()],
    }
}

fn sums(offsets: &OffsetBuffer<i32>, values: &dyn Array) -> Vec<usize> {
    let first = offsets[0].as_usize();
    let bytes = row_bytes(&values.slice(first, offsets[offsets.len() - 1].as_usize() - first));
    let of = |at: i32| at.as_usize() - first;
    offsets.windows(2).map(|ends| bytes[of(ends[0])..of(ends[1])].iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn failed(result: Result<()>) -> bool {
        result.is_err_and(|error| super::super::error::failure(&error).is_some())
    }

    #[test]
    fn one_record_may_become_more_than_a_slice_of_several() {
        for (bytes, records, most) in [
            (RecordBytes::default(), [7, 7], 512 << 20),
            (RecordBytes::default(), [7, 8], 32 << 20),
            (RecordBytes::within(64 << 20), [7, 7], 16 << 20),
            (RecordBytes::within(64 << 20), [7, 8], 4 << 20),
        ] {
            assert!(!failed(OfRecords::new(bytes).add(&records, &[most - 1, 1])), "{records:?}");
            assert!(failed(OfRecords::new(bytes).add(&records, &[most, 1])), "{records:?}");
            let mut in_batches = OfRecords::new(bytes);
            assert!(!failed(in_batches.add(&records[..1], &[most])));
            assert!(failed(in_batches.add(&records[1..], &[1])), "{records:?}");
        }
    }

    #[test]
    fn the_bytes_of_rows_made_of_lists_are_those_of_the_elements_and_of_every_copy() {
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(2), Some(3)]),
            None,
            Some(vec![Some(4)]),
        ]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("list", Arc::new(lists)),
            ("text", Arc::new(StringArray::from(vec!["ten bytes.", "x", "four"]))),
            ("number", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(unnested_bytes(&rows, &[0]), [3 * 4 + 3 * 14, 0, 4 + 8]);
        assert_eq!(unnested_bytes(&rows.slice(1, 2), &[0]), [0, 4 + 8]);
        let lengths =
            |bytes: &[usize]| cut(&rows, bytes, 32).iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
        assert_eq!(lengths(&[1, 1, 1]), [3]);
        assert_eq!(lengths(&[32, 1, 1]), [1, 2]);
        assert_eq!(lengths(&[33, 33, 32]), [1, 1, 1]);
    }

    #[test]
    fn a_slice_that_was_too_large_is_halved_and_grows_again_after_small_results() {
        let mut size = SliceSize::new(RecordBytes::default());
        assert_eq!(size.rows(100), 100);
        size.was_too_large(100);
        assert_eq!(size.rows(100), 50);
        size.made(20, &[]);
        assert_eq!(size.rows(100), 50, "it was not a whole slice");
        size.made(50, &[]);
        assert_eq!(size.rows(usize::MAX), 100);
        (0..10).for_each(|_| size.was_too_large(1));
        assert_eq!(size.rows(7), 1);
    }
}
