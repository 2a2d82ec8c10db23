//! A query as a lane's stage: rows of the decoder in, rows of the query out, failing records named.
//!
//! All lanes of a stream share one planned query. [`SqlStage::begin`] fixes a micro-batch's time and tables before
//! its lanes run; a lane then runs every batch of rows that its decoder fills. A row for which an expression fails is
//! found by halving the rows, and its record rejected. What the query has made of some rows counts against the stream's
//! memory while what follows takes it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::plan::Query;
use super::result_size::{SliceSize, bytes_of_all};
use super::run::{BatchRun, Made, Runner, Sifted, TableRows};
use super::stateful::observed::EventTimes;
use super::stateful::run::{Answer, Feed, LaneGrouping, Watermarks};
use super::stateful::tracker::WatermarkTracker;
use crate::decode::json::{Rejection, RejectionCode};
use crate::decode::stage::{NextStage, RejectedRecord, Stage, StageFactory, StageRows};
use crate::model::{Error, Hidden, MemoryAccount, Result};
use crate::state::{StateBatch, TableDefinition};

/// A planned query between decoder and sink.
#[derive(Debug, Clone)]
pub struct SqlStage {
    shared: Arc<Shared>,
    schema: SchemaRef,
    definition: String,
    /// Where the decoder's rows have the columns that the query reads.
    columns: Arc<[usize]>,
    size: SliceSize,
    hidden: Hidden,
}

struct Shared {
    runner: Mutex<Runner>,
    batch: RwLock<Option<Begun>>,
}

/// A micro-batch that lanes run.
#[derive(Clone)]
struct Begun {
    run: BatchRun,
    /// What the rows that it makes count against.
    account: Arc<MemoryAccount>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl SqlStage {
    /// A stage of `runner`'s query. `columns` are the positions, in the rows that it gets, of the columns that the
    /// query reads; `definition` says all that its results depend on; no message shows what is `hidden`.
    pub fn new(runner: Runner, columns: Vec<usize>, definition: String, hidden: Hidden) -> SqlStage {
        let schema = Arc::clone(runner.query().lane_schema());
        let size = SliceSize::new(runner.query().record_bytes());
        let shared = Shared { runner: Mutex::new(runner), batch: RwLock::new(None) };
        SqlStage { shared: Arc::new(shared), schema, definition, columns: columns.into(), size, hidden }
    }

    /// Begins a micro-batch that was planned at `micros`; `tables` in the order of the query's definition. What its lanes make
    /// counts against `account`.
    ///
    /// # Errors
    /// `Internal` if the plan cannot be renewed.
    pub fn begin(&self, micros: i64, tables: &[TableRows], account: &Arc<MemoryAccount>) -> Result<()> {
        let mut runner = self.shared.runner.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runner.begin(micros, tables)?;
        let begun = Begun { run, account: Arc::clone(account) };
        *self.shared.batch.write().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        Ok(())
    }
}

/// What belongs to a query with a watermark or with state.
impl SqlStage {
    fn with_query<T>(&self, ask: impl FnOnce(&Query) -> T) -> T {
        ask(self.shared.runner.lock().unwrap_or_else(PoisonError::into_inner).query())
    }

    /// The columns that the query gives. Those of the stage are what its lanes give ([`StageFactory::schema`]).
    pub fn result_schema(&self) -> SchemaRef {
        self.with_query(|query| Arc::clone(query.schema()))
    }

    /// As [`Query::is_stateful`].
    pub fn is_stateful(&self) -> bool {
        self.with_query(Query::is_stateful)
    }

    /// As [`Query::has_watermark`].
    pub fn has_watermark(&self) -> bool {
        self.with_query(Query::has_watermark)
    }

    /// As [`Query::wants_empty_batch`].
    pub fn wants_empty_batch(&self) -> bool {
        self.with_query(Query::wants_empty_batch)
    }

    /// As [`Query::watermark_tracker`].
    pub fn watermark_tracker(&self, watermark_ms: i64) -> WatermarkTracker {
        self.with_query(|query| query.watermark_tracker(watermark_ms))
    }

    /// As [`Query::lane_grouping`].
    pub fn lane_grouping(&self) -> Option<LaneGrouping> {
        self.with_query(Query::lane_grouping)
    }

    /// As [`Query::explain_state`].
    pub fn state_lines(&self) -> Vec<String> {
        self.with_query(Query::explain_state).iter().map(|line| self.hidden.text(line)).collect()
    }

    /// As [`Query::state_definition`].
    pub fn state_definition(&self) -> Vec<TableDefinition> {
        let mut tables = self.with_query(Query::state_definition);
        for column in tables.iter_mut().flat_map(|table| table.keys.iter_mut().chain(&mut table.values)) {
            column.name = self.hidden.text(&column.name);
        }
        tables
    }

    /// What the watermarks saw in the batch, in all lanes.
    pub fn event_times(&self) -> Vec<EventTimes> {
        let batch = self.shared.batch.read().unwrap_or_else(PoisonError::into_inner);
        self.with_query(|query| batch.as_ref().map(|batch| batch.run.event_times(query)).unwrap_or_default())
    }

    /// Runs what follows the lanes.
    ///
    /// # Errors
    /// `Data` if an expression has no value; what the state returns.
    pub fn run_state(
        &self,
        state: &mut dyn StateBatch,
        feed: Feed,
        watermarks: Watermarks,
    ) -> Result<Answer> {
        let batch = self.shared.batch.read().unwrap_or_else(PoisonError::into_inner);
        let Some(run) = batch.as_ref().and_then(|batch| batch.run.stateful()) else {
            return Err(Error::internal("a query without state was run as one that has some"));
        };
        let answer = self.with_query(|query| run.run(query, state, feed, watermarks));
        answer.map_err(|failure| self.hidden.error(failure.into()))
    }
}

impl StageFactory for SqlStage {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn definition(&self) -> String {
        self.definition.clone()
    }

    fn stage(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(self.clone()))
    }
}

impl Stage for SqlStage {
    fn apply(
        &mut self,
        rows: StageRows,
        rejected: &mut Vec<RejectedRecord>,
        next: &mut NextStage<'_>,
    ) -> Result<()> {
        let batch = self.shared.batch.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Begun { run, account } =
            batch.ok_or_else(|| Error::internal("sql was given rows before its micro-batch began"))?;
        let mut claim = account.claim();
        let input = rows.batch().project(&self.columns);
        let input = input.map_err(|error| Error::internal("choose the columns of sql").source(error))?;
        let hidden = &self.hidden;
        let given = run.sift(&input, &mut self.size, &mut |sifted| {
            let Made { rows: made, records } = match sifted {
                Sifted::Made(made) => made,
                Sifted::Failed(row, error) => {
                    let code = RejectionCode::ExpressionFailed;
                    let why = Rejection { code, field: None, message: hidden.text(&error.to_string()) };
                    rejected.push((rows.record_of(row), why));
                    return Ok(());
                }
            };
            claim.set(bytes_of_all(&made));
            let made = together(&self.schema, made)?;
            let made = match records {
                Some(records) => rows.with_rows(made, &records)?,
                None => StageRows::derived(made),
            };
            next(made, rejected)?;
            claim.set(0);
            Ok(())
        });
        given.map_err(|error| hidden.error(error))
    }
}

/// The rows as one batch; those that it was put together from are given up.
fn together(schema: &SchemaRef, mut rows: Vec<RecordBatch>) -> Result<RecordBatch> {
    match rows.pop() {
        Some(only) if rows.is_empty() => Ok(only),
        last => {
            rows.extend(last);
            concat_batches(schema, &rows)
                .map_err(|error| Error::internal("put the rows of sql together").source(error))
        }
    }
}
