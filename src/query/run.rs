//! Running a planned query over the rows of a micro-batch.
//!
//! [`Query::begin`] fixes what all lanes of a batch share: its time and the contents of the static tables.
//! [`BatchRun::rows`] runs the plan over a lane's rows, as often as the lane has some. A plan is run again and again;
//! what DataFusion keeps inside it is renewed here when it must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::StreamExt;
use futures::executor::block_on;

use super::error::{ExpressionError, failure};
use super::plan::Query;
use super::slot::{Inputs, Relation};
use crate::model::{Error, Result};

/// Executions after which a plan with hashed tables is renewed: each leaves a few kB of metrics in it.
const EXECUTIONS_MAX: usize = 1000;

/// The contents of a static table in one version.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// Which version; equal versions have equal rows.
    pub version: String,
    /// The rows, with the columns of [`Query::table_columns`].
    pub batches: Arc<Vec<RecordBatch>>,
}

/// Runs a query, batch after batch.
#[derive(Debug)]
pub struct Runner {
    query: Query,
    kept: Option<Kept>,
}

/// A plan that has hashed its tables.
#[derive(Debug, Clone)]
struct Kept {
    versions: Vec<String>,
    plan: Arc<dyn ExecutionPlan>,
    executions: Arc<AtomicUsize>,
}

/// One micro-batch: every lane runs its rows through it.
#[derive(Debug, Clone)]
pub struct BatchRun {
    plan: Arc<dyn ExecutionPlan>,
    /// Whether the plan keeps hashed tables and must not be reset before each execution.
    keeps: bool,
    executions: Arc<AtomicUsize>,
    relations: Vec<Relation>,
    context: Arc<TaskContext>,
    schema: SchemaRef,
}

/// Why rows did not come out.
#[derive(Debug)]
pub enum Failure {
    /// An expression has no value for a row.
    Expression(ExpressionError),
    /// Anything else.
    Other(Error),
}

/// What became of rows one by one.
#[derive(Debug, Default)]
pub struct Sifted {
    /// What the good rows gave, in order.
    pub rows: Vec<RecordBatch>,
    /// The rows that failed, by their position, and why.
    pub failed: Vec<(usize, ExpressionError)>,
}

impl Runner {
    /// A runner of a planned query.
    pub fn new(query: Query) -> Runner {
        Runner { query, kept: None }
    }

    /// The query.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Begins a micro-batch whose plan pins the time `micros`; `tables` in the order of the definition.
    ///
    /// # Errors
    /// `Internal` if the plan cannot be renewed.
    pub fn begin(&mut self, micros: i64, tables: &[TableRows]) -> Result<BatchRun> {
        self.query.clock.set(micros);
        let query = &self.query;
        let mut relations = vec![Relation { columns: Arc::clone(&query.used[0]), batches: Arc::default() }];
        for (place, table) in tables.iter().enumerate() {
            let columns = query.used.get(place + 1).cloned().unwrap_or_default();
            relations.push(Relation { columns, batches: Arc::clone(&table.batches) });
        }
        let kept = self.plan_for(tables)?;
        let query = &self.query;
        Ok(BatchRun {
            plan: kept.plan,
            keeps: query.keeps_tables,
            executions: kept.executions,
            relations,
            context: query.session.state().task_ctx(),
            schema: Arc::clone(query.schema()),
        })
    }

    /// The plan with its tables hashed, as long as they and the number of its executions allow.
    fn plan_for(&mut self, tables: &[TableRows]) -> Result<Kept> {
        let versions: Vec<String> = tables.iter().map(|table| table.version.clone()).collect();
        if let Some(kept) = &self.kept
            && kept.versions == versions
            && kept.executions.load(Ordering::Relaxed) < EXECUTIONS_MAX
        {
            return Ok(kept.clone());
        }
        let plan = reset_plan_states(Arc::clone(&self.query.physical)).map_err(internal)?;
        let kept = Kept { versions, plan, executions: Arc::default() };
        self.kept = Some(kept.clone());
        Ok(kept)
    }
}

impl BatchRun {
    /// The rows that the query makes of `batch`, whose columns are [`Query::input_columns`].
    ///
    /// # Errors
    /// [`Failure::Expression`] if an expression fails for one of the rows; none of them comes out then.
    pub fn rows(&self, batch: RecordBatch) -> std::result::Result<Vec<RecordBatch>, Failure> {
        let run = || -> std::result::Result<Vec<RecordBatch>, DataFusionError> {
            let plan = if self.keeps {
                self.executions.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&self.plan)
            } else {
                reset_plan_states(Arc::clone(&self.plan))?
            };
            let mut relations = self.relations.clone();
            relations[0].batches = Arc::new(vec![batch]);
            let config = self.context.session_config().clone().with_extension(Arc::new(Inputs { relations }));
            let context = TaskContext::new(
                None,
                String::new(),
                config,
                Default::default(),
                Default::default(),
                Default::default(),
                Default::default(),
                self.context.runtime_env(),
            );
            let mut rows = plan.execute(0, Arc::new(context))?;
            block_on(async {
                let mut all = Vec::new();
                while let Some(batch) = rows.next().await {
                    all.push(batch?);
                }
                Ok(all)
            })
        };
        let made = run().map_err(|error| match failure(&error) {
            Some(failure) => Failure::Expression(failure.clone()),
            None => Failure::Other(internal(error)),
        })?;
        made.into_iter().filter(|rows| rows.num_rows() > 0).map(|rows| self.conform(&rows)).collect()
    }

    /// How many metrics the plan holds: they grow with its executions.
    #[cfg(test)]
    pub(super) fn plan_metrics(&self) -> usize {
        fn count(plan: &Arc<dyn ExecutionPlan>) -> usize {
            let own = plan.metrics().map_or(0, |metrics| metrics.iter().count());
            own + plan.children().into_iter().map(count).sum::<usize>()
        }
        count(&self.plan)
    }

    /// The same row by row where it must be: rows for which an expression fails are left out and named. The good
    /// rows' results keep their order.
    ///
    /// # Errors
    /// Anything but a failing expression.
    pub fn sift(&self, batch: &RecordBatch) -> Result<Sifted> {
        let mut sifted = Sifted::default();
        self.sift_range(batch, 0, &mut sifted)?;
        Ok(sifted)
    }

    /// Halves the rows until those that fail are alone.
    fn sift_range(&self, batch: &RecordBatch, first: usize, sifted: &mut Sifted) -> Result<()> {
        match self.rows(batch.clone()) {
            Ok(rows) => sifted.rows.extend(rows),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Expression(error)) if batch.num_rows() == 1 => sifted.failed.push((first, error)),
            Err(Failure::Expression(error)) if batch.num_rows() == 0 => {
                // Not a row's fault: an expression over a static table alone.
                return Err(Error::data(error.to_string()));
            }
            Err(Failure::Expression(_)) => {
                let half = batch.num_rows() / 2;
                self.sift_range(&batch.slice(0, half), first, sifted)?;
                self.sift_range(&batch.slice(half, batch.num_rows() - half), first + half, sifted)?;
            }
        }
        Ok(())
    }

    /// Rows in the Arrow form that the query promises.
    fn conform(&self, rows: &RecordBatch) -> std::result::Result<RecordBatch, Failure> {
        let conform = |(array, field): (&ArrayRef, &FieldRef)| {
            if array.data_type() == field.data_type() {
                return Ok(Arc::clone(array));
            }
            compute::cast(array, field.data_type())
        };
        let columns = rows.columns().iter().zip(self.schema.fields()).map(conform);
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| internal(e.into()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        columns
            .and_then(|columns| {
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
                    .map_err(|error| internal(error.into()))
            })
            .map_err(Failure::Other)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Expression(error) => Error::data(error.to_string()),
            Failure::Other(error) => error,
        }
    }
}

fn internal(error: DataFusionError) -> Error {
    Error::internal("run sql").source(error)
}
