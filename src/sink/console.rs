//! Spark's `console` sink: the first rows of each micro-batch as a table on standard output.
//!
//! A batch that is run again after a crash is printed again: at least once.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::memory::{KeepRows, part_rows};
use super::show::show;
use super::{
    AttemptWriter, BatchCommit, BatchRun, CommitOutcome, Delivery, Description, Part, Sink, SinkCommit,
    SinkState, Target,
};
use crate::config::ConsoleSink as Options;
use crate::decode::admission::Admission;
use crate::model::{Error, MemoryAccount, Result};

/// Prints micro-batches.
pub struct ConsoleSink {
    options: Options,
    columns: Option<SchemaRef>,
}

impl ConsoleSink {
    /// A console with these options.
    pub fn new(options: &Options) -> ConsoleSink {
        ConsoleSink { options: options.clone(), columns: None }
    }
}

impl Sink for ConsoleSink {
    fn describe(&self) -> Description {
        let Options { rows, truncate } = self.options;
        Description {
            name: format!("ConsoleSink[numRows={rows}, truncate={truncate}]"),
            delivery: Delivery::AtLeastOnce,
        }
    }

    fn target(&self) -> Target {
        Target { location: "console".to_owned(), id: Some("console".to_owned()), version: None }
    }

    fn check(&self, _: &SchemaRef) -> Result<Option<Admission>> {
        Ok(None)
    }

    /// The commit log alone decides: what was printed is not known.
    fn state(&mut self, _: &str, _: Option<u64>) -> Result<SinkState> {
        Ok(SinkState { forgets_transactions: true, ..SinkState::default() })
    }

    fn newest_commits(&self) -> Result<BTreeMap<String, SinkCommit>> {
        Ok(BTreeMap::new())
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, columns: &SchemaRef) -> Result<Option<Admission>> {
        self.columns = Some(Arc::clone(columns));
        Ok(None)
    }

    fn begin(&self, _: &BatchRun, _: &Arc<MemoryAccount>) -> Result<Arc<dyn AttemptWriter>> {
        // One more than is shown says that there are more.
        Ok(Arc::new(KeepRows { rows_max: Some(self.options.rows.saturating_add(1)) }))
    }

    fn commit(&mut self, batch: &BatchCommit, parts: Vec<Part>) -> Result<CommitOutcome> {
        let columns = self.columns.clone().ok_or_else(|| Error::internal("the console was not prepared"))?;
        let rows = parts.into_iter().map(part_rows).collect::<Result<Vec<_>>>()?;
        let line = "-".repeat(43);
        let table = show(&columns, &rows, &self.options)?;
        let mut out = io::stdout().lock();
        write!(out, "{line}\nBatch: {}\n{line}\n{table}\n", batch.batch_id)
            .and_then(|()| out.flush())
            .map_err(cannot_write)?;
        Ok(CommitOutcome::Committed { version: None })
    }

    fn maintain(&mut self, _: &Arc<MemoryAccount>) {}
}

/// Nobody reads a pipe again that was closed (`alluvia ingest … | head`), so the stream ends.
fn cannot_write(e: io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::BrokenPipe => {
            Error::config("standard output is closed: nobody reads what the sink `console` prints")
                .hint("leave the program that reads it running, or let the stream write to a table")
        }
        _ => Error::unavailable("cannot write to standard output"),
    }
    .source(e)
}
