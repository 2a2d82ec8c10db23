//! Admission: whether a table can take a row, decided before anything is written.
//!
//! Between decoding and the table's writer. Made once of the stream's columns and the table's, then run over every
//! batch of rows: each row comes out as a row of the table, or it is rejected with its own error code. Everything that
//! the table demands of a record is decided here: NOT NULL (inside structs, arrays and maps too), partition values
//! that can be written, the lengths of VARCHAR and CHAR, and casts that fit. Columns of which nothing is demanded are
//! passed on as they are. Pure: it reads no clock, knows no topic and no offset, and writes nothing.

mod cast;
mod column;
mod column_names;
mod fit;
mod length;
mod partition;
mod stage;
mod text;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};

use cast::Clock;
use column::{Faults, Plan};
pub use column_names::check_column_names;
pub use fit::with_fields;
use partition::PartitionRules;

use super::datetime::Zone;
use super::json::Rejection;
use crate::model::{Error, MissingField, Result};

/// Each pass takes out all rows at fault that it can see; later passes see what the faults of others hid.
const PASSES_MAX: usize = 4;

/// A table, as far as it decides which rows it takes.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Its columns, with their metadata.
    pub schema: &'a SchemaRef,
    /// The columns it is partitioned by.
    pub partition_columns: &'a [String],
    /// Bytes that the names of a file's partition folders may take together; `None` if they are not in its path.
    pub path_bytes_max: Option<usize>,
    /// Its place, for messages.
    pub name: &'a str,
}

/// What a stream's columns need of a table.
#[derive(Debug)]
pub enum Fit {
    /// They can be written as they are.
    Fits(Admission),
    /// These fields must be added first (`mergeSchema`).
    Lacks(Vec<MissingField>),
}

/// The fields that a table lacks for a stream to be written to it; empty if none.
///
/// # Errors
/// As for [`Admission::of`].
pub fn missing(stream: &Schema, table: &Schema, table_name: &str) -> Result<Vec<MissingField>> {
    Ok(fit::matched(stream, table, table_name)?.missing)
}

/// How rows of a stream become rows of a table, and which do not.
#[derive(Debug, Clone)]
pub struct Admission {
    target: SchemaRef,
    columns: Vec<(Option<usize>, Plan)>,
    partition: PartitionRules,
    zone: Zone,
    may_reject: bool,
    demands: String,
    casts: Vec<ColumnCast>,
}

/// A column of the table that is cast from another type of the stream's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnCast {
    /// The table's column; inside a struct, an array or a map dotted.
    pub path: String,
    /// The type in the stream, in Spark's SQL form.
    pub from: String,
    /// The type in the table.
    pub to: String,
    /// Whether the cast refuses some values, whose rows are rejected then.
    pub may_fail: bool,
}

impl std::fmt::Display for ColumnCast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "column {} is {} in the stream and cast to {}", self.path, self.from, self.to)?;
        if self.may_fail {
            f.write_str("; a record whose value does not fit is rejected")?;
        }
        Ok(())
    }
}

/// What became of a batch of rows.
#[derive(Debug)]
pub struct Admitted {
    /// The rows that the table takes, in its columns.
    pub rows: RecordBatch,
    /// Which rows of the batch they are, ascending; `None` if all.
    pub kept: Option<UInt32Array>,
    /// The other rows, ascending, each with the first reason by the order of the table's columns.
    pub rejected: Vec<(usize, Rejection)>,
}

impl Admission {
    /// Compares `stream` with a table. `zone` is the session's, in which dates become instants and texts without a
    /// zone are read.
    ///
    /// # Errors
    /// `Config`, naming each field at fault, if the stream's type can't be cast into the table's or the table demands
    /// a field that the stream does not have.
    pub fn of(stream: &Schema, target: &Target<'_>, zone: Zone) -> Result<Fit> {
        let matched = fit::matched(stream, target.schema, target.name)?;
        if !matched.missing.is_empty() {
            return Ok(Fit::Lacks(matched.missing));
        }
        let partition = PartitionRules::new(target.schema, target.partition_columns, target.path_bytes_max);
        let given = |source: &Option<usize>| source.map(|at| stream.field(at).data_type());
        let may_reject = partition.may_reject()
            || matched
                .columns
                .iter()
                .any(|(from, plan)| given(from).is_some_and(|from| plan.may_reject(from)));
        let (mut demands, mut casts) = (Vec::new(), Vec::new());
        for (from, plan) in &matched.columns {
            plan.describe(given(from), &mut demands);
            plan.casts(given(from), &mut casts);
        }
        partition.describe(&mut demands);
        Ok(Fit::Fits(Admission {
            target: Arc::clone(target.schema),
            columns: matched.columns,
            partition,
            zone,
            may_reject,
            demands: demands.join("\n"),
            casts,
        }))
    }

    /// The same for rows of `stream`, which has more columns than those that this was made for, at the positions `carried`:
    /// they come behind the table's, as they are.
    #[must_use]
    pub fn carrying(mut self, stream: &Schema, carried: &[usize]) -> Admission {
        let others: Vec<usize> = (0..stream.fields().len()).filter(|at| !carried.contains(at)).collect();
        for (source, _) in &mut self.columns {
            *source = source.map(|at| others[at]);
        }
        let mut fields = self.target.fields().to_vec();
        for at in carried {
            let field = &stream.fields()[*at];
            self.columns.push((Some(*at), Plan::same(field)));
            fields.push(Arc::clone(field));
        }
        self.target = Arc::new(Schema::new_with_metadata(fields, self.target.metadata().clone()));
        self
    }

    /// The columns that rows come out in: the table's, and behind them those that are carried.
    pub fn target(&self) -> &SchemaRef {
        &self.target
    }

    /// Whether a row may be rejected; if not, nobody needs to remember what rows were made of.
    pub fn may_reject(&self) -> bool {
        self.may_reject
    }

    /// What is demanded, as text: a part of what decides results.
    pub fn demands(&self) -> &str {
        &self.demands
    }

    /// The columns whose type in the stream is another than in the table.
    pub fn casts(&self) -> &[ColumnCast] {
        &self.casts
    }

    /// The rows of a batch as rows of the table, and those that are none. `now` is the micro-batch's clock in
    /// microseconds.
    ///
    /// # Errors
    /// `Internal` if the batch has other columns than those that the admission was made for.
    pub fn admit(&self, batch: &RecordBatch, now: i64) -> Result<Admitted> {
        let clock = Clock { zone: self.zone.clone(), now };
        let mut batch = batch.clone();
        let mut kept: Option<Vec<u32>> = None;
        let mut rejected = Vec::new();
        for _ in 0..PASSES_MAX {
            let mut faults = Faults::new();
            if let Some(rows) = self.pass(&batch, &clock, &mut faults)? {
                rejected.sort_by_key(|(row, _)| *row);
                return Ok(Admitted { rows, kept: kept.map(UInt32Array::from), rejected });
            }
            // The sort is stable: the first fault of a row is that of its first column.
            faults.sort_by_key(|(row, _)| *row);
            faults.dedup_by_key(|(row, _)| *row);
            let numbers = kept.unwrap_or_else(|| (0..batch.num_rows() as u32).collect());
            let mut keep = vec![true; batch.num_rows()];
            for (row, rejection) in faults {
                keep[row] = false;
                rejected.push((numbers[row] as usize, rejection));
            }
            kept =
                Some(numbers.into_iter().zip(&keep).filter_map(|(row, keep)| keep.then_some(row)).collect());
            batch = filter_record_batch(&batch, &BooleanArray::from(keep))
                .map_err(|e| Error::internal("take rejected rows out of a batch").source(e))?;
        }
        Err(Error::internal("rows were taken out of a batch and it still has rows that the table can't take"))
    }

    /// The batch in the table's columns; `None` if rows are at fault.
    fn pass(&self, batch: &RecordBatch, clock: &Clock, faults: &mut Faults) -> Result<Option<RecordBatch>> {
        let mut columns: Vec<Option<ArrayRef>> = Vec::with_capacity(self.columns.len());
        for (source, plan) in &self.columns {
            columns.push(match source {
                Some(at) => plan.run(batch.column(*at), None, clock, faults)?,
                None => Some(arrow::array::new_null_array(plan.field.data_type(), batch.num_rows())),
            });
        }
        self.partition.check(&columns, faults);
        if !faults.is_empty() {
            return Ok(None);
        }
        let columns = columns.into_iter().flatten().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &options)
            .map(Some)
            .map_err(|e| Error::internal("make rows of the table's columns").source(e))
    }
}

#[cfg(test)]
mod tests;
