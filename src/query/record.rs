//! Of which record a row was made that a query's lanes give.
//!
//! What follows may reject a row, or ask where it was read; after filters, joins, UNION ALL and generators rows
//! no longer stand where their records stood. So the stream's rows are numbered, and the number passes through the
//! plan as one more column, which no SQL can name and which is taken off at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, internal_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, Union};

use super::check::reads_stream;
use super::definition::Relation;
use super::slot::{RECORD, Slot};
use crate::model::Error;

/// Refuses a column that has the name of the number.
///
/// # Errors
/// `Config`.
pub(super) fn check_columns(relation: &Relation) -> crate::model::Result<()> {
    if relation.schema.field_with_name(RECORD).is_err() {
        return Ok(());
    }
    let message = format!("{} has a column named {RECORD}, which a query uses for itself", relation.name);
    Err(Error::config(message).hint("leave the column out, or give it another name"))
}

/// The columns of a stream, and the number of the record.
fn with_record(schema: &SchemaRef) -> SchemaRef {
    let record = Arc::new(Field::new(RECORD, DataType::UInt32, false));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain([record]).collect::<Fields>()))
}

/// Rows of a stream with their numbers, from `first` on.
///
/// # Errors
/// `Internal` if they cannot be put together.
pub(super) fn numbered(rows: &RecordBatch, first: usize) -> Result<RecordBatch> {
    let numbers = first as u32..(first + rows.num_rows()) as u32;
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(numbers));
    let columns = rows.columns().iter().cloned().chain([numbers]).collect();
    Ok(RecordBatch::try_new(with_record(rows.schema_ref()), columns)?)
}

/// The same plan with the number of the record as its last column.
///
/// # Errors
/// `Internal` for a plan whose rows are not those of single records.
pub(super) fn carried(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = carry(plan)?;
    let last = plan.schema().fields().last().is_some_and(|field| field.name() == RECORD);
    if last { Ok(plan) } else { record_last(plan) }
}

fn carry(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !reads_stream(&plan) {
        return Ok(plan);
    }
    if let LogicalPlan::TableScan(scan) = &plan
        && let Some(slot) = Slot::of_scan(&plan)
    {
        let slot = slot.with_schema(with_record(&slot.schema()));
        let source = provider_as_source(Arc::new(slot));
        return LogicalPlanBuilder::scan(scan.table_name.clone(), source, None)?.build();
    }
    let plan = plan.map_children(|child| Ok(Transformed::yes(carry(child)?)))?.data;
    match plan {
        LogicalPlan::Projection(projection) => {
            let mut columns = projection.expr;
            columns.push(record_of(projection.input.schema())?);
            Ok(LogicalPlan::Projection(Projection::try_new(columns, projection.input)?))
        }
        LogicalPlan::Union(union) => {
            let mut fields: Vec<_> =
                union.schema.iter().map(|(of, field)| (of.cloned(), Arc::clone(field))).collect();
            fields.push((None, Arc::new(Field::new(RECORD, DataType::UInt32, false))));
            let schema = DFSchema::new_with_metadata(fields, union.schema.metadata().clone())?;
            // The columns of the branches belong together by their places.
            let branches = union.inputs.into_iter().map(|branch| record_last(Arc::unwrap_or_clone(branch)));
            let inputs = branches.map(|branch| Ok(Arc::new(branch?))).collect::<Result<_>>()?;
            Ok(LogicalPlan::Union(Union { inputs, schema: Arc::new(schema) }))
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Extension(_) => plan.recompute_schema(),
        other => internal_err!("the rows of a query without state come from {}", other.display()),
    }
}

fn record_of(schema: &DFSchema) -> Result<Expr> {
    match schema.iter().find(|(_, field)| field.name() == RECORD) {
        Some((of, field)) => Ok(Expr::Column(Column::new(of.cloned(), field.name()))),
        None => internal_err!("an operator lost the number of the record"),
    }
}

fn record_last(plan: LogicalPlan) -> Result<LogicalPlan> {
    let others = plan.schema().iter().filter(|(_, field)| field.name() != RECORD);
    let mut columns: Vec<Expr> =
        others.map(|(of, field)| Expr::Column(Column::new(of.cloned(), field.name()))).collect();
    columns.push(record_of(plan.schema())?);
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}
