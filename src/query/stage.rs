//! A query as a lane's stage: rows of the decoder in, rows of the query out, failing records named.
//!
//! All lanes of a stream share one planned query. [`SqlStage::begin`] fixes a micro-batch's time and tables before
//! its lanes run; a lane then runs every batch of rows that its decoder fills. A row for which an expression fails is
//! found by halving the rows, and its record rejected.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::run::{BatchRun, Failure, Runner, TableRows};
use crate::decode::json::{Rejection, RejectionCode};
use crate::decode::stage::{RejectedRecord, Stage, StageFactory, StageRows};
use crate::model::{Error, Result};

/// A planned query between decoder and sink.
#[derive(Debug, Clone)]
pub struct SqlStage {
    shared: Arc<Shared>,
    schema: SchemaRef,
    definition: String,
    /// Where the decoder's rows have the columns that the query reads.
    columns: Arc<[usize]>,
}

struct Shared {
    runner: Mutex<Runner>,
    batch: RwLock<Option<BatchRun>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl SqlStage {
    /// A stage of `runner`'s query. `columns` are the positions, in the rows that it gets, of the columns that the
    /// query reads; `definition` says all that its results depend on.
    pub fn new(runner: Runner, columns: Vec<usize>, definition: String) -> SqlStage {
        let schema = Arc::clone(runner.query().schema());
        let shared = Shared { runner: Mutex::new(runner), batch: RwLock::new(None) };
        SqlStage { shared: Arc::new(shared), schema, definition, columns: columns.into() }
    }

    /// Begins a micro-batch that was planned at `micros`; `tables` in the order of the query's definition.
    ///
    /// # Errors
    /// `Internal` if the plan cannot be renewed.
    pub fn begin(&self, micros: i64, tables: &[TableRows]) -> Result<()> {
        let mut runner = self.shared.runner.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = runner.begin(micros, tables)?;
        *self.shared.batch.write().unwrap_or_else(PoisonError::into_inner) = Some(batch);
        Ok(())
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
    fn apply(&mut self, rows: StageRows, rejected: &mut Vec<RejectedRecord>) -> Result<StageRows> {
        let batch = self.shared.batch.read().unwrap_or_else(PoisonError::into_inner).clone();
        let batch =
            batch.ok_or_else(|| Error::internal("sql was given rows before its micro-batch began"))?;
        let input = rows.batch().project(&self.columns);
        let input = input.map_err(|error| Error::internal("choose the columns of sql").source(error))?;
        let made = match batch.rows(input.clone()) {
            Ok(made) => made,
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Expression(_)) => {
                let sifted = batch.sift(&input)?;
                rejected.extend(sifted.failed.into_iter().map(|(row, error)| {
                    let code = RejectionCode::ExpressionFailed;
                    (rows.record_of(row), Rejection { code, field: None, message: error.to_string() })
                }));
                sifted.rows
            }
        };
        let made = match made.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.schema, several)
                .map_err(|error| Error::internal("put the rows of sql together").source(error))?,
        };
        Ok(StageRows::derived(made))
    }
}
