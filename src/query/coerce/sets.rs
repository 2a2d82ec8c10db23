//! Plans of several inputs, or whose rows are compared: JOIN, UNION, DISTINCT.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection, Union};

use super::Coercion;
use super::types::{common, name_of, refused};
use crate::query::functions::compare::needs_key;
use crate::query::stateful::unmarked::marked_as;

impl Coercion {
    pub(super) fn join(&self, mut join: Join, schema: &DFSchema) -> Result<Transformed<LogicalPlan>> {
        for (left, right) in &mut join.on {
            *left = self.expression(std::mem::take(left), schema)?;
            *right = self.expression(std::mem::take(right), schema)?;
        }
        let filter = join.filter.take().map(|on| self.condition(on, true, schema));
        join.filter = filter.transpose()?;
        Ok(Transformed::yes(LogicalPlan::Join(join).recompute_schema()?))
    }

    /// A UNION in the common types of its branches (`WidenSetOperationTypes`).
    pub(super) fn union(&self, union: &Union) -> Result<Transformed<LogicalPlan>> {
        let mut types = vec![DataType::Null; union.schema.fields().len()];
        for input in &union.inputs {
            for (to, field) in types.iter_mut().zip(input.schema().fields()) {
                *to = common(&self.conf, to, field.data_type()).ok_or_else(|| {
                    let (one, other) = (name_of(to), name_of(field.data_type()));
                    let message = format!("UNION has {one} and {other} for the column {}", field.name());
                    refused("INCOMPATIBLE_COLUMN_TYPE", message)
                })?;
            }
        }
        let inputs = union.inputs.iter().map(|input| {
            let input = marked_as(input, union.inputs[0].schema())?;
            self.of_types(&input, &types)
        });
        let inputs = inputs.collect::<Result<_>>()?;
        Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
    }

    /// A plan whose columns have the types `types`, under their names.
    fn of_types(&self, input: &Arc<LogicalPlan>, types: &[DataType]) -> Result<Arc<LogicalPlan>> {
        let schema = input.schema();
        if schema.fields().iter().zip(types).all(|(field, to)| field.data_type() == to) {
            return Ok(Arc::clone(input));
        }
        let columns = schema.iter().zip(types).map(|((relation, field), to)| {
            let column = Expr::Column(Column::from((relation, field)));
            if field.data_type() == to {
                return Ok(column);
            }
            Ok(self.implicit(column, to, schema)?.alias_qualified(relation.cloned(), field.name()))
        });
        let projection = Projection::try_new(columns.collect::<Result<_>>()?, Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    }

    /// A plan whose rows are compared: its columns in the form that makes equal values the same.
    pub(super) fn keys(&self, input: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        if !input.schema().fields().iter().any(|field| needs_key(field.data_type())) {
            return Ok(Arc::clone(input));
        }
        let columns = input.schema().iter().map(|(relation, field)| {
            let column = Expr::Column(Column::from((relation, field)));
            let key = self.key(column, input.schema())?;
            Ok(key.alias_qualified(relation.cloned(), field.name()))
        });
        let projection = Projection::try_new(columns.collect::<Result<_>>()?, Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(projection)))
    }
}
