//! Running a planned query over the rows of a micro-batch.
//!
//! [`Query::begin`] fixes what all lanes of a batch share: its time and the contents of the static tables.
//! [`BatchRun::rows`] runs the plan over a lane's rows, as often as the lane has some. A plan is run again and again;
//! what DataFusion keeps inside it is renewed here when it must be.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt32Type};

use super::error::{ExpressionError, Failure, RESULT_TOO_LARGE, failure, internal};
use super::fragment::FragmentRun;
use super::plan::Query;
use super::record::numbered;
use super::result_size::SliceSize;
use super::slot::Relation;
use super::stateful::observed::{EventTimes, Observed};
use super::stateful::run::StatefulRun;
use super::types::conform;
use crate::model::{Error, MemoryClaim, Result};

/// The contents of a static table in one version.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// Which version; equal versions have equal rows.
    pub version: String,
    /// The rows, with the columns of [`Query::table_columns`].
    pub batches: Arc<Vec<RecordBatch>>,
    /// What they hold in memory, for as long as a run has them; `None` if nobody counts it.
    pub held: Option<Arc<MemoryClaim>>,
}

/// Runs a query, batch after batch.
#[derive(Debug)]
pub struct Runner {
    query: Query,
}

/// One micro-batch: every lane runs its rows through it.
#[derive(Debug, Clone)]
pub struct BatchRun {
    lanes: FragmentRun,
    relations: Vec<Relation>,
    /// Those of the relations that are static tables.
    tables: Arc<[TableRows]>,
    /// The columns that are read of each stream.
    columns: Vec<Arc<[usize]>>,
    observed: Arc<Observed>,
    schema: SchemaRef,
    /// Whether rows carry the number of their record.
    numbered: bool,
    /// As [`Query::rows_at_once`].
    rows_at_once: usize,
    stateful: Option<StatefulRun>,
}

/// What came out of a batch of rows.
#[derive(Debug, Default)]
pub struct Made {
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// For each of them the row of the batch that it was made from; `None` if the query has several streams.
    pub records: Option<Vec<u32>>,
}

/// What became of some of the rows of a batch.
#[derive(Debug)]
pub enum Sifted {
    /// What they gave.
    Made(Made),
    /// It is one row that failed: its position, and why.
    Failed(usize, ExpressionError),
}

impl Runner {
    /// A runner of a planned query.
    pub fn new(query: Query) -> Runner {
        Runner { query }
    }

    /// The query.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Begins a micro-batch whose plan pins the time `micros`; `tables` in the order of the definition.
    ///
    /// # Errors
    /// `Internal` if a plan cannot be renewed.
    pub fn begin(&mut self, micros: i64, tables: &[TableRows]) -> Result<BatchRun> {
        self.query.clock.set(micros);
        let query = &mut self.query;
        let context = query.session.state().task_ctx();
        let versions: Vec<String> = tables.iter().map(|table| table.version.clone()).collect();
        let mut relations = vec![Relation::default(); query.places.streams];
        for (number, table) in tables.iter().enumerate() {
            let columns = query.table_columns(number).unwrap_or_default();
            relations.push(Relation { columns: columns.into(), batches: Arc::clone(&table.batches) });
        }
        let lanes = query.lanes.begin(&versions, &context).map_err(internal)?;
        let observed: Arc<Observed> = Arc::default();
        let stateful = match &mut query.core {
            None => None,
            Some(core) => {
                let mut fragments = Vec::with_capacity(core.stages.len());
                for stage in &mut core.stages {
                    let begun = stage.fragment.as_mut().map(|fragment| fragment.begin(&versions, &context));
                    fragments.push(begun.transpose().map_err(internal)?);
                }
                Some(StatefulRun {
                    fragments,
                    root: core.root.begin(&versions, &context).map_err(internal)?,
                    lanes: lanes.clone(),
                    relations: relations.clone(),
                    observed: Arc::clone(&observed),
                    schema: Arc::clone(query.schema()),
                })
            }
        };
        let columns = (0..query.places.streams).map(|stream| query.lanes.used(stream)).collect();
        let schema = Arc::clone(query.lane_schema());
        let (numbered, rows_at_once) = (query.record.is_some(), query.rows_at_once);
        let tables = tables.into();
        Ok(BatchRun { lanes, relations, tables, columns, observed, schema, numbered, rows_at_once, stateful })
    }
}

impl BatchRun {
    /// The rows that the lanes' part of the query makes of `batch`, whose columns are [`Query::input_columns`].
    ///
    /// # Errors
    /// [`Failure::Expression`] if an expression fails for one of the rows; none of them comes out then.
    pub fn rows(&self, batch: RecordBatch) -> std::result::Result<Vec<RecordBatch>, Failure> {
        Ok(self.made(batch)?.rows)
    }

    /// As [`BatchRun::rows`], with the row of `batch` that each row was made from.
    ///
    /// # Errors
    /// As for [`BatchRun::rows`].
    pub fn made(&self, batch: RecordBatch) -> std::result::Result<Made, Failure> {
        self.of_range(batch, 0)
    }

    /// As [`BatchRun::made`], for rows of a batch from its row `first` on.
    fn of_range(&self, batch: RecordBatch, first: usize) -> std::result::Result<Made, Failure> {
        if !self.numbered {
            return Ok(Made { rows: self.streams(vec![batch])?, records: None });
        }
        let batch = numbered(&batch, first).map_err(|error| Failure::Other(internal(error)))?;
        let mut made = Made { rows: Vec::new(), records: Some(Vec::new()) };
        for rows in self.run(vec![batch])? {
            let number = rows.column(self.schema.fields().len()).as_primitive::<UInt32Type>();
            made.records.get_or_insert_default().extend_from_slice(number.values());
            made.rows.push(conform(&self.schema, &rows)?);
        }
        Ok(made)
    }

    /// The rows that a query without state makes of a batch of each stream, whose columns are
    /// [`Query::stream_columns`].
    ///
    /// # Errors
    /// As for [`BatchRun::rows`].
    pub fn streams(&self, mut batches: Vec<RecordBatch>) -> std::result::Result<Vec<RecordBatch>, Failure> {
        // Only the rows of a query of one stream are numbered.
        if self.numbered
            && let Some(batch) = batches.pop()
        {
            return self.rows(batch);
        }
        self.run(batches)?.iter().map(|rows| conform(&self.schema, rows)).collect()
    }

    /// What the plan gives, as it gives it.
    fn run(&self, batches: Vec<RecordBatch>) -> std::result::Result<Vec<RecordBatch>, Failure> {
        let mut relations = self.relations.clone();
        for (place, batch) in batches.into_iter().enumerate() {
            let columns = Arc::clone(&self.columns[place]);
            relations[place] = Relation { columns, batches: Arc::new(vec![batch]) };
        }
        // A run that fails is tried again in parts: what it saw before it failed must not count.
        let observed: Arc<Observed> = Arc::default();
        let made = self.lanes.execute(relations, Some(Arc::clone(&observed)));
        let made = made.map_err(|error| match failure(&error) {
            Some(failure) => Failure::Expression(failure.clone()),
            None => Failure::Other(internal(error)),
        })?;
        self.observed.add(&observed);
        Ok(made)
    }

    /// What each watermark saw so far, in all lanes.
    pub fn event_times(&self, query: &Query) -> Vec<EventTimes> {
        self.observed.all(query.watermarks.len())
    }

    /// What is run over the rows of all lanes, of a query that keeps state.
    pub fn stateful(&self) -> Option<&StatefulRun> {
        self.stateful.as_ref()
    }

    /// How many metrics the plan holds: they grow with its executions.
    #[cfg(test)]
    pub(super) fn plan_metrics(&self) -> usize {
        self.lanes.plan_metrics()
    }

    /// Runs the plan over a few rows at once, as many as `size` says, and over single rows where it must be: rows for which an
    /// expression fails are left out and named. `each` is given what became of the rows, in their order.
    ///
    /// # Errors
    /// Anything but a failing expression; what `each` returns.
    pub fn sift(
        &self,
        batch: &RecordBatch,
        size: &mut SliceSize,
        each: &mut dyn FnMut(Sifted) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        loop {
            let rows = batch.slice(first, size.rows(self.rows_at_once).min(batch.num_rows() - first));
            match self.of_range(rows.clone(), first) {
                Ok(made) => {
                    size.made(rows.num_rows(), &made.rows);
                    each(Sifted::Made(made))?;
                }
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Expression(error)) => {
                    // An expression over static tables alone fails without rows, too: that is no row's fault.
                    if !self.tables.is_empty()
                        && let Err(Failure::Expression(error)) = self.rows(batch.slice(0, 0))
                    {
                        return Err(Error::data(error.to_string()));
                    }
                    self.halve(error, &rows, first, size, each)?;
                }
            }
            first += rows.num_rows();
            // A batch without rows is run, too: an expression without columns may fail.
            if first >= batch.num_rows() {
                return Ok(());
            }
        }
    }

    /// Halves rows for which the plan failed until those that fail are alone.
    fn halve(
        &self,
        error: ExpressionError,
        rows: &RecordBatch,
        first: usize,
        size: &mut SliceSize,
        each: &mut dyn FnMut(Sifted) -> Result<()>,
    ) -> Result<()> {
        let count = rows.num_rows();
        match count {
            // Not a row's fault: an expression over a static table alone.
            0 => return Err(Error::data(error.to_string())),
            1 => return each(Sifted::Failed(first, error)),
            _ if error.class == RESULT_TOO_LARGE => size.was_too_large(count),
            _ => {}
        }
        for (from, length) in [(0, count / 2), (count / 2, count - count / 2)] {
            let half = rows.slice(from, length);
            match self.of_range(half.clone(), first + from) {
                Ok(made) => each(Sifted::Made(made))?,
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Expression(error)) => self.halve(error, &half, first + from, size, each)?,
            }
        }
        Ok(())
    }
}
