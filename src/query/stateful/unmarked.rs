//! A value as it is, without what is marked on it: where Spark takes an expression for another than the column.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, Projection, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::event_time::is_event_time;

/// `expr`, which carries no event time and is no window any more.
pub(in crate::query) fn unmarked(expr: Expr) -> Expr {
    ScalarUDF::from(Unmarked::default()).call(vec![expr])
}

/// A branch of a UNION: as in Spark, a column carries the event time only if that of the first branch does.
pub(in crate::query) fn marked_as(branch: &Arc<LogicalPlan>, first: &DFSchema) -> Result<Arc<LogicalPlan>> {
    let fields = branch.schema().fields().iter().zip(first.fields());
    let more: Vec<bool> = fields.map(|(own, first)| is_event_time(own) && !is_event_time(first)).collect();
    if !more.contains(&true) {
        return Ok(Arc::clone(branch));
    }
    let columns = branch.schema().iter().zip(more).map(|((relation, field), more)| {
        let column = Expr::Column(Column::from((relation, field)));
        match more {
            true => unmarked(column).alias_qualified(relation.cloned(), field.name()),
            false => column,
        }
    });
    let projection = Projection::try_new(columns.collect(), Arc::clone(branch))?;
    Ok(Arc::new(LogicalPlan::Projection(projection)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Unmarked {
    signature: Signature,
}

impl Default for Unmarked {
    fn default() -> Self {
        Unmarked { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Unmarked {
    fn name(&self) -> &str {
        "unmarked"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [data_type] => Ok(data_type.clone()),
            _ => plan_err!("unmarked() takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) => Ok(value),
            None => plan_err!("unmarked() takes one value"),
        }
    }
}
