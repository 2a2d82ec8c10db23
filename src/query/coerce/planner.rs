//! Operators and special syntax as calls of our functions, while DataFusion makes a plan out of SQL.
//!
//! Only names are chosen here; the types follow in [`super::Coercion`], once the whole plan is there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, TableReference};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{Expr, GetFieldAccess, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::types::refused;
use crate::query::conf::Conf;
use crate::query::functions::{self, Function};

/// Plans operators as Spark's functions.
pub(crate) struct Operators {
    functions: HashMap<&'static str, Arc<ScalarUDF>>,
}

impl std::fmt::Debug for Operators {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operators").finish_non_exhaustive()
    }
}

impl Operators {
    /// The planner for the settings of one query.
    pub(crate) fn new(conf: &Conf) -> Operators {
        let mut known = HashMap::new();
        for entry in functions::all() {
            if let Function::Scalar(function) = (entry.make)(conf) {
                known.insert(entry.name, function);
            }
        }
        Operators { functions: known }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Result<Expr> {
        let function = self
            .functions
            .get(name)
            .ok_or_else(|| refused("UNRESOLVED_ROUTINE", format!("the function {name} is not known")))?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), args)))
    }

    fn planned<T>(&self, name: &str, args: Vec<Expr>) -> Result<PlannerResult<T>> {
        Ok(PlannerResult::Planned(self.call(name, args)?))
    }
}

fn name_of(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => "div",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::Spaceship => "<=>",
        BinaryOperator::StringConcat => "concat",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::BitwiseXor => "^",
        BinaryOperator::PGBitwiseShiftLeft => "shiftleft",
        BinaryOperator::PGBitwiseShiftRight => "shiftright",
        _ => return None,
    })
}

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        match name_of(&expr.op) {
            Some(name) => self.planned(name, vec![expr.left, expr.right]),
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        match expr.field_access {
            GetFieldAccess::NamedStructField { name } => {
                self.planned("[]", vec![expr.expr, Expr::Literal(name, None)])
            }
            GetFieldAccess::ListIndex { key } => self.planned("[]", vec![expr.expr, *key]),
            GetFieldAccess::ListRange { .. } => Ok(PlannerResult::Original(expr)),
        }
    }

    /// `count(*)` counts the literal 1.
    fn plan_aggregate(&self, mut call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        #[expect(deprecated, reason = "DataFusion has no other form of a star in a call")]
        if let [Expr::Wildcard { qualifier: None, .. }] = call.args.as_slice()
            && call.func.name() == "count"
            && !call.distinct
        {
            call.args = vec![Expr::Literal(ScalarValue::from(1_i64), None)];
        }
        Ok(PlannerResult::Original(call))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("array", exprs)
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let mut args = args;
        // DataFusion hands over the text first.
        args.swap(0, 1);
        self.planned("locate", args)
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("date_part", args)
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("substring", args)
    }

    fn plan_struct_literal(
        &self,
        args: Vec<Expr>,
        is_named_struct: bool,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned(if is_named_struct { "named_struct" } else { "struct" }, args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("overlay", args)
    }

    fn plan_make_map(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.planned("map", args)
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut expr = Expr::Column(Column::from((qualifier, &Arc::new(field.clone()))));
        for name in nested_names {
            expr = self.call("[]", vec![expr, Expr::Literal(ScalarValue::from(name.as_str()), None)])?;
        }
        Ok(PlannerResult::Planned(expr))
    }
}
