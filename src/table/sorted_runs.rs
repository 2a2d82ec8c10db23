//! Rows of many partitions, sorted by partition, on disk until their files are written.
//!
//! A batch with thousands of partition values has a few rows of each in every piece of it. A file for each of them at
//! once takes more memory than there is, and files of what fits make thousands of tiny ones. So rows are sorted by
//! partition in pieces that fit, each piece is a *run* in a temporary file (Arrow's IPC format, LZ4), and in the end
//! the runs are merged: one partition's rows after the other's. Where there are many runs, they are merged into longer
//! ones first. A run's file has no name any more once it is open: whatever happens to the process, nothing stays.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::row::{OwnedRow, Rows};
use uuid::Uuid;

use super::partition::Partitioner;
use crate::model::{Error, Result};

/// Runs that are merged at a time.
const RUNS_MAX: usize = 32;
/// Bytes that a run's file is read and written by.
const BUFFER_BYTES: usize = 16 * 1024;
/// Rows of one piece of a run at least.
const PIECE_ROWS_MIN: usize = 16;

/// The runs of one writer, by how often their rows were merged.
pub(super) struct SortedRuns {
    schema: SchemaRef,
    levels: Vec<Vec<File>>,
    /// Rows that are read of each run at a time; set by the first run.
    piece_rows: usize,
    piece_bytes: usize,
}

impl SortedRuns {
    /// Runs of rows of `schema`; while they are merged they hold about `memory_bytes`.
    pub(super) fn new(schema: SchemaRef, memory_bytes: usize) -> SortedRuns {
        SortedRuns { schema, levels: Vec::new(), piece_rows: 0, piece_bytes: memory_bytes / RUNS_MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// Adds a run of the rows that `order` picks from `batches`: sorted by partition.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not take it.
    pub(super) fn add(
        &mut self,
        batches: &[&RecordBatch],
        order: &[(usize, usize)],
        keys: &Partitioner,
    ) -> Result<()> {
        if order.is_empty() {
            return Ok(());
        }
        if self.piece_rows == 0 {
            let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
            let bytes: usize = batches.iter().map(|batch| batch.get_array_memory_size()).sum();
            self.piece_rows = (self.piece_bytes / (bytes / rows.max(1)).max(1)).max(PIECE_ROWS_MIN);
        }
        let mut run = RunWriter::create(&self.schema)?;
        for piece in order.chunks(self.piece_rows) {
            run.write(&interleave_record_batch(batches, piece).map_err(internal)?)?;
        }
        let run = run.finish()?;
        self.push(0, run, keys)
    }

    fn push(&mut self, level: usize, run: File, keys: &Partitioner) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < RUNS_MAX {
            return Ok(());
        }
        let merged = std::mem::take(&mut self.levels[level]);
        let mut longer = RunWriter::create(&self.schema)?;
        merge(merged, keys, self.piece_rows, false, &mut |rows| longer.write(rows))?;
        self.push(level + 1, longer.finish()?, keys)
    }

    /// Hands all rows out, a partition's after the other's; a batch holds rows of one partition only.
    ///
    /// # Errors
    /// What `each` returns; `Unavailable` if a run can't be read.
    pub(super) fn drain(
        &mut self,
        keys: &Partitioner,
        each: &mut dyn FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        // The longest runs hold the earliest rows.
        let runs = std::mem::take(&mut self.levels).into_iter().rev().flatten().collect();
        merge(runs, keys, self.piece_rows.max(1024), true, each)
    }
}

/// Merges sorted runs; a partition's rows keep the order of the runs. With `apart`, no batch holds two partitions.
fn merge(
    runs: Vec<File>,
    keys: &Partitioner,
    batch_rows: usize,
    apart: bool,
    each: &mut dyn FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut cursors = Vec::with_capacity(runs.len());
    for run in runs {
        cursors.extend(Cursor::open(run, keys)?);
    }
    let mut picked = Picked::default();
    while let Some(first) = cursors.iter().map(|cursor| cursor.keys.row(cursor.row)).min() {
        let key = first.owned();
        let mut next = 0;
        while next < cursors.len() {
            let mut more = true;
            while more && cursors[next].is_at(&key) {
                picked.pick(&mut cursors[next]);
                if picked.rows.len() >= batch_rows {
                    picked.hand_over(&mut cursors, each)?;
                }
                more = cursors[next].advance(keys)?;
            }
            if more {
                next += 1;
            } else {
                cursors.remove(next);
            }
        }
        if apart {
            picked.hand_over(&mut cursors, each)?;
        }
    }
    picked.hand_over(&mut cursors, each)
}

/// Rows that are handed over together.
#[derive(Default)]
struct Picked {
    batches: Vec<RecordBatch>,
    rows: Vec<(usize, usize)>,
}

impl Picked {
    fn pick(&mut self, cursor: &mut Cursor) {
        let batch = *cursor.picked_as.get_or_insert_with(|| {
            self.batches.push(cursor.batch.clone());
            self.batches.len() - 1
        });
        self.rows.push((batch, cursor.row));
    }

    fn hand_over(
        &mut self,
        cursors: &mut [Cursor],
        each: &mut dyn FnMut(&RecordBatch) -> Result<()>,
    ) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        each(&interleave_record_batch(&batches, &self.rows).map_err(internal)?)?;
        self.batches.clear();
        self.rows.clear();
        cursors.iter_mut().for_each(|cursor| cursor.picked_as = None);
        Ok(())
    }
}

/// Where the merge is in a run.
struct Cursor {
    run: StreamReader<BufReader<File>>,
    batch: RecordBatch,
    keys: Rows,
    row: usize,
    /// The number of `batch` among those picked from.
    picked_as: Option<usize>,
}

impl Cursor {
    /// At the first row; `None` for a run without rows.
    fn open(run: File, keys: &Partitioner) -> Result<Option<Cursor>> {
        let read = BufReader::with_capacity(BUFFER_BYTES, run);
        let mut run = StreamReader::try_new(read, None).map_err(unreadable)?;
        let Some(batch) = run.next().transpose().map_err(unreadable)? else { return Ok(None) };
        let keys = keys.keys(&batch)?;
        Ok(Some(Cursor { run, batch, keys, row: 0, picked_as: None }))
    }

    fn is_at(&self, key: &OwnedRow) -> bool {
        self.keys.row(self.row) == key.row()
    }

    /// To the next row; returns whether there is one.
    fn advance(&mut self, keys: &Partitioner) -> Result<bool> {
        self.row += 1;
        if self.row < self.batch.num_rows() {
            return Ok(true);
        }
        let Some(batch) = self.run.next().transpose().map_err(unreadable)? else { return Ok(false) };
        self.keys = keys.keys(&batch)?;
        self.batch = batch;
        self.row = 0;
        self.picked_as = None;
        Ok(true)
    }
}

struct RunWriter {
    writer: StreamWriter<BufWriter<File>>,
}

impl RunWriter {
    fn create(schema: &SchemaRef) -> Result<RunWriter> {
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::LZ4_FRAME))
            .map_err(internal)?;
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, unnamed_file()?);
        let writer = StreamWriter::try_new_with_options(buffered, schema, options).map_err(unwritable)?;
        Ok(RunWriter { writer })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(unwritable)
    }

    /// The run, to be read from its start.
    fn finish(mut self) -> Result<File> {
        self.writer.finish().map_err(unwritable)?;
        let buffered = self.writer.into_inner().map_err(unwritable)?;
        let mut file = buffered.into_inner().map_err(|e| unwritable(e.into_error()))?;
        file.rewind().map_err(unwritable)?;
        Ok(file)
    }
}

/// A temporary file that goes with the last handle to it.
fn unnamed_file() -> Result<File> {
    let path = std::env::temp_dir().join(format!("alluvia-{}", Uuid::new_v4()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(unwritable)?;
    std::fs::remove_file(&path).map_err(unwritable)?;
    Ok(file)
}

fn unwritable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let folder = std::env::temp_dir();
    Error::unavailable(format!("cannot keep rows of a partitioned table in a temporary file in {}", folder.display()))
        .source(error.into())
        .hint("the environment variable TMPDIR names a folder with room for a micro-batch, or make micro-batches smaller (maxOffsetsPerTrigger)")
}

fn unreadable(error: arrow::error::ArrowError) -> Error {
    Error::unavailable("cannot read a temporary file of rows back").source(error)
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::internal("sort rows by partition").source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn rows(numbers: &[i64]) -> RecordBatch {
        let text = |n: &i64| format!("p{}", n % 7);
        let partition: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.iter().map(text)));
        let n: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([("p", partition), ("n", n)]).unwrap()
    }

    #[test]
    fn many_runs_are_merged_into_partitions_that_keep_their_rows_order() {
        let first = rows(&[0]);
        let keys = Partitioner::new(&first.schema(), &["p".to_owned()]).unwrap();
        let mut runs = SortedRuns::new(first.schema(), 32 * 32 * 40);
        assert!(runs.is_empty());
        // Beyond two levels of merges.
        let (count, per_run) = (RUNS_MAX as i64 * (RUNS_MAX as i64 + 2), 20);
        for run in 0..count {
            let batch = rows(&(run * per_run..(run + 1) * per_run).collect::<Vec<i64>>());
            let sorted = keys.keys(&batch).unwrap();
            let mut order: Vec<usize> = (0..batch.num_rows()).collect();
            order.sort_by(|a, b| sorted.row(*a).cmp(&sorted.row(*b)));
            let order: Vec<(usize, usize)> = order.into_iter().map(|row| (0, row)).collect();
            runs.add(&[&batch], &order, &keys).unwrap();
        }
        assert!(runs.levels.iter().map(Vec::len).sum::<usize>() < 2 * RUNS_MAX);
        let mut seen: Vec<(String, Vec<i64>)> = Vec::new();
        runs.drain(&keys, &mut |rows| {
            let partitions = rows.column(0).as_string::<i32>();
            let one = partitions.value(0).to_owned();
            assert!(partitions.iter().all(|partition| partition == Some(one.as_str())));
            let numbers = rows.column(1).as_primitive::<Int64Type>().values().to_vec();
            match seen.last_mut() {
                Some((partition, all)) if *partition == one => all.extend(numbers),
                _ => seen.push((one, numbers)),
            }
            Ok(())
        })
        .unwrap();
        assert!(runs.is_empty());
        assert_eq!(seen.len(), 7);
        for (at, (partition, numbers)) in seen.iter().enumerate() {
            assert_eq!(partition, &format!("p{at}"));
            let expected: Vec<i64> = (0..count * per_run).filter(|n| n % 7 == at as i64).collect();
            assert_eq!(numbers, &expected);
        }
    }
}
