//! `dropDuplicates` and `dropDuplicatesWithinWatermark` in a logical plan; they are cut out of it before it is run.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::event_time::is_event_time;

/// The node: rows of `input` whose keys were not there before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::query) struct Dedupe {
    pub(super) input: LogicalPlan,
    /// The positions of the keys among the input's columns.
    pub(super) keys: Vec<usize>,
    /// Whether a key is kept until the watermark passes its first row's time and delay.
    pub(super) within_watermark: bool,
}

impl Dedupe {
    pub(in crate::query) fn plan(
        input: LogicalPlan,
        keys: Vec<usize>,
        within_watermark: bool,
    ) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Dedupe { input, keys, within_watermark }) })
    }

    /// Whether keys are forgotten: the event time is one of them, or the first row's time is kept.
    pub(in crate::query) fn forgets(&self) -> bool {
        let schema = self.input.schema();
        self.within_watermark || self.keys.iter().any(|key| is_event_time(schema.field(*key)))
    }
}

impl PartialOrd for Dedupe {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Dedupe {
    fn name(&self) -> &str {
        "Dedupe"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.keys.iter().map(|key| self.input.schema().field(*key).name().as_str()).collect();
        let name = if self.within_watermark { "dropDuplicatesWithinWatermark" } else { "dropDuplicates" };
        write!(f, "{name} {}", names.join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.into_iter().next() {
            Some(input) => Ok(Dedupe { input, ..self.clone() }),
            None => internal_err!("a dedupe without an input"),
        }
    }
}
