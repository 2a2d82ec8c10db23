//! Makes a stateful operator of what was cut out of a plan: the plan of its rows, and how its keys and states are stored.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::aggregate::{Aggregate, Argument, GroupBy, GroupColumn, Grouping};
use super::dedupe::{DropDuplicates, Expiry};
use super::event_time::{delay_of, is_event_time, is_session, is_window, shape_of};
use super::limit::Limit;
use super::logical::{column, unique};
use super::others::others;
use super::session::Sessions;
use super::{Operator, failed};
use crate::model::{Error, OutputMode, Result};
use crate::query::fields::GetField;
use crate::query::session::refused;
use crate::query::types;
use crate::state::codec::{Codec, Equality};
use crate::state::{StateColumn, TableId, in_words};

/// What an expression over `input` gives.
pub(super) fn field_of(expr: &Expr, input: &LogicalPlan) -> DfResult<Arc<Field>> {
    Ok(expr.to_field(input.schema())?.1)
}

/// An operator, and the plan of its rows.
pub(super) struct Built {
    pub(super) rows: LogicalPlan,
    pub(super) operator: Arc<dyn Operator>,
    /// The columns of its result.
    pub(super) columns: Vec<usize>,
    /// The columns of its rows.
    pub(super) schema: SchemaRef,
}

/// A plan of some of the columns of another; at least one.
fn chosen(input: LogicalPlan, mut columns: Vec<usize>) -> Result<(LogicalPlan, Vec<usize>, SchemaRef)> {
    if columns.is_empty() {
        columns.push(0);
    }
    let fields: Vec<_> =
        input.schema().iter().map(|(of, field)| Column::new(of.cloned(), field.name())).collect();
    let exprs = columns.iter().map(|n| Expr::Column(fields[*n].clone()));
    let rows = LogicalPlanBuilder::from(input)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| refused(&error))?;
    let schema = Arc::new(types::conformed(rows.schema().as_arrow())?);
    Ok((rows, columns, schema))
}

/// LIMIT over `input`.
///
/// # Errors
/// `Config` if a column has a type that Spark has not.
pub(super) fn limit(input: LogicalPlan, rows: u64, used: &[usize], table: TableId) -> Result<Built> {
    let (plan, columns, schema) = chosen(input, used.to_vec())?;
    Ok(Built { rows: plan, operator: Arc::new(Limit { rows, table }), columns, schema })
}

/// `dropDuplicates` of `input` by `keys`; `used` are the columns that are read above it.
///
/// # Errors
/// `Config` for what Spark refuses.
pub(super) fn dedupe(
    input: LogicalPlan,
    keys: Vec<usize>,
    within: bool,
    used: &[usize],
    table: TableId,
) -> Result<Built> {
    let fields = input.schema().fields().clone();
    let event_time = fields.iter().position(|field| is_event_time(field));
    let mut columns: Vec<usize> = used.iter().chain(&keys).copied().chain(event_time).collect();
    columns.sort_unstable();
    columns.dedup();
    let others_of_keys: Vec<Vec<String>> = keys
        .iter()
        .map(|key| column(&input, *key).map(|key| others(&key, &input)).unwrap_or_default())
        .collect();
    let (rows, columns, schema) = chosen(input, columns)?;
    let at = |column: usize| columns.iter().position(|other| *other == column).unwrap_or_default();
    let expiry = match (within, event_time) {
        (true, Some(column)) => {
            let delay = delay_of(&fields[column]).ok_or_else(|| {
                Error::config(
                    "dropDuplicatesWithinWatermark is behind a UNION of watermarks with different delays",
                )
                .hint("declare one watermark behind the UNION")
            })?;
            Expiry::Within { delay: delay.saturating_mul(1000), index: TableId(table.0 + 1) }
        }
        (true, None) => {
            return Err(Error::config(
                "dropDuplicatesWithinWatermark is not supported on a stream without a watermark",
            )
            .hint("declare watermark: {eventTime: …, delayThreshold: …} beside it"));
        }
        (false, Some(column)) if keys.contains(&column) => Expiry::EventTime,
        (false, _) => Expiry::Never,
    };
    let key_types: Vec<DataType> =
        keys.iter().map(|key| schema.field(at(*key)).data_type().clone()).collect();
    if let Some(map) = keys.iter().find(|key| holds_map(fields[**key].data_type())) {
        return Err(Error::config(format!(
            "UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE: {} is a map, which cannot be a key of dropDuplicates",
            fields[*map].name()
        )));
    }
    let columns_of_keys = keys.iter().map(|key| named(&fields[*key])).zip(others_of_keys);
    let columns_of_keys = columns_of_keys.map(|(column, others)| StateColumn { others, ..column }).collect();
    let operator = DropDuplicates {
        keys: keys.iter().map(|key| at(*key)).collect(),
        codec: Arc::new(Codec::with_equality(&key_types, Equality::Nan)?),
        event_time: event_time.map(at),
        expiry,
        table,
        columns: columns_of_keys,
    };
    Ok(Built { rows, operator: Arc::new(operator), columns, schema })
}

fn holds_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        DataType::List(element) => holds_map(element.data_type()),
        _ => false,
    }
}

fn named(field: &Field) -> StateColumn {
    let window = shape_of(field).map(str::to_owned);
    StateColumn { window, ..StateColumn::new(field.name(), field.data_type()) }
}

/// The rows of a GROUP BY while they are put together: expressions, and their names.
#[derive(Default)]
struct GroupRows {
    exprs: Vec<Expr>,
    names: Vec<String>,
}

impl GroupRows {
    fn push(&mut self, name: &str, expr: Expr) -> usize {
        self.names.push(unique(in_words(name), &self.names));
        self.exprs.push(expr);
        self.exprs.len() - 1
    }

    /// An argument or a filter, which may be there already.
    fn place_of(&mut self, expr: &Expr) -> usize {
        let known = self.exprs.iter().position(|other| other == expr);
        known.unwrap_or_else(|| self.push(&expr.schema_name().to_string(), expr.clone()))
    }
}

/// GROUP BY of `input`.
///
/// # Errors
/// `Config` for what Spark refuses.
pub(super) fn aggregate(
    input: LogicalPlan,
    groups: Vec<Expr>,
    aggregates: Vec<Expr>,
    output: SchemaRef,
    table: TableId,
    mode: OutputMode,
) -> Result<Built> {
    let mut rows = GroupRows::default();
    let mut columns = Vec::with_capacity(groups.len());
    let (mut event_time, mut session) = (None, None);
    let mut windows = Vec::new();
    let mut others_of_keys = Vec::new();
    let mut distinct: Vec<Expr> = Vec::with_capacity(groups.len());
    for group in groups {
        // As in the plan's columns, a key that is named twice is one.
        if distinct.contains(&group) {
            continue;
        }
        distinct.push(group.clone());
        let field = field_of(&group, &input).map_err(|error| refused(&error))?;
        let group = group.unalias();
        let marked = is_event_time(&field);
        if is_window(&field) {
            let bound = |name: &str| {
                let get = Arc::new(ScalarUDF::from(GetField::new(true)));
                Expr::ScalarFunction(ScalarFunction::new_udf(get, vec![group.clone(), lit(name)]))
            };
            let mut push = |name: &str| rows.push(&format!("{}.{name}", field.name()), bound(name));
            let (start, end) = (push("start"), push("end"));
            columns.push(GroupColumn::Window(start));
            windows.push((start, shape_of(&field).map(str::to_owned)));
            if is_session(&field) {
                session = Some(start);
            }
            if marked {
                event_time = event_time.or(Some(end));
            }
        } else {
            let others = others(&group, &input);
            let key = rows.push(field.name(), group);
            others_of_keys.push((key, others));
            columns.push(GroupColumn::Key(key));
            if marked {
                event_time = event_time.or(Some(key));
            }
        }
    }
    let keys = rows.exprs.len();
    let mut drafts = Vec::with_capacity(aggregates.len());
    for expr in aggregates {
        drafts.push(draft(expr, &input, &mut rows)?);
    }
    if rows.exprs.is_empty() {
        // count(*) of everything: rows need a column to be counted by.
        rows.place_of(&lit(true));
    }
    let plan = LogicalPlanBuilder::from(input)
        .project(rows.exprs.into_iter().zip(rows.names).map(|(expr, name)| expr.alias(name)))
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| refused(&error))?;
    let schema: SchemaRef = Arc::new(types::conformed(plan.schema().as_arrow())?);
    let mut grouping = grouping(drafts, columns, keys, event_time, &schema, output)?;
    for (start, shape) in windows {
        grouping.key_columns[start].window = shape;
    }
    for (key, others) in others_of_keys {
        grouping.key_columns[key].others = others;
    }
    let columns = (0..grouping.output.fields().len()).collect();
    let grouping = Arc::new(grouping);
    let operator: Arc<dyn Operator> = match session {
        None => Arc::new(GroupBy { grouping, mode, table }),
        Some(start) => {
            let others = (0..keys).filter(|key| *key != start && *key != start + 1);
            let types: Vec<DataType> = others.map(|key| grouping.keys[key].clone()).collect();
            let codec = Arc::new(Codec::with_equality(&types, Equality::Grouping)?);
            let has_event_time = event_time.is_some();
            let by_key = event_time.filter(|key| *key != start + 1);
            let index = TableId(table.0 + 1);
            Arc::new(Sessions { grouping, start, codec, mode, table, index, has_event_time, by_key })
        }
    };
    Ok(Built { rows: plan, operator, columns, schema })
}

/// An aggregate whose arguments are columns of rows that are not planned yet.
struct Draft {
    name: String,
    call: AggregateFunction,
    args: Vec<DraftArgument>,
    filter: Option<usize>,
    /// The columns that its first argument is not.
    others: Vec<String>,
}

enum DraftArgument {
    Column(usize),
    Constant(ScalarValue),
}

fn draft(expr: Expr, input: &LogicalPlan, rows: &mut GroupRows) -> Result<Draft> {
    let name = expr.schema_name().to_string();
    let Expr::AggregateFunction(call) = expr.unalias() else {
        return Err(Error::internal("GROUP BY has an aggregate that is not a function"));
    };
    if call.params.distinct {
        return Err(Error::config("sql has a DISTINCT aggregate, which is not supported over a stream")
            .hint("consider approx_count_distinct, or dropDuplicates on a view below it"));
    }
    if !call.params.order_by.is_empty() {
        return Err(Error::config(
            "sql has an aggregate with ORDER BY, which is not supported over a stream",
        ));
    }
    let mut args = Vec::with_capacity(call.params.args.len());
    for arg in &call.params.args {
        args.push(match constant(arg) {
            Some(value) => DraftArgument::Constant(value),
            None => DraftArgument::Column(rows.place_of(arg)),
        });
    }
    let filter = call.params.filter.as_ref().map(|filter| rows.place_of(filter));
    let others = call.params.args.first().map(|arg| others(arg, input)).unwrap_or_default();
    Ok(Draft { name, call, args, filter, others })
}

/// The value of an expression that reads no column.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Some(value.clone());
    }
    if expr.any_column_refs() || expr.is_volatile() {
        return None;
    }
    let empty = DFSchema::empty();
    let physical = create_physical_expr(expr, &empty, &Default::default(), &Default::default()).ok()?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).ok()?;
    let array = physical.evaluate(&one).ok()?.into_array(1).ok()?;
    ScalarValue::try_from_array(&array, 0).ok()
}

fn grouping(
    drafts: Vec<Draft>,
    groups: Vec<GroupColumn>,
    keys: usize,
    event_time: Option<usize>,
    input: &SchemaRef,
    output: SchemaRef,
) -> Result<Grouping> {
    let mut aggregates = Vec::with_capacity(drafts.len());
    let (mut state_types, mut state_columns) = (Vec::new(), Vec::new());
    for draft in drafts {
        let expr = |argument: &DraftArgument| -> Arc<dyn PhysicalExpr> {
            match argument {
                DraftArgument::Column(n) => Arc::new(PhysicalColumn::new(input.field(*n).name(), *n)),
                DraftArgument::Constant(value) => Arc::new(Literal::new(value.clone())),
            }
        };
        let args = draft.args.iter().map(expr).collect();
        let ignore_nulls = draft.call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let function = AggregateExprBuilder::new(Arc::clone(&draft.call.func), args)
            .schema(Arc::clone(input))
            .alias(draft.name.clone())
            .with_ignore_nulls(ignore_nulls)
            .build()
            .map_err(failed)?;
        let states = function.state_fields().map_err(failed)?;
        for field in &states {
            state_types.push(field.data_type().clone());
            let name = format!("{} of {}", field.name(), draft.name);
            let others = draft.others.clone();
            state_columns.push(StateColumn { others, ..StateColumn::new(name, field.data_type()) });
        }
        let argument = |argument: DraftArgument| match argument {
            DraftArgument::Column(n) => Argument::Column(n),
            DraftArgument::Constant(value) => Argument::Constant(value),
        };
        aggregates.push(Aggregate {
            function: Arc::new(function),
            args: draft.args.into_iter().map(argument).collect(),
            filter: draft.filter,
            states: states.len(),
        });
    }
    let key_types: Vec<DataType> =
        input.fields().iter().take(keys).map(|field| field.data_type().clone()).collect();
    let mut key_columns = Vec::new();
    for (group, field) in groups.iter().zip(output.fields()) {
        match group {
            GroupColumn::Key(_) => key_columns.push(named(field)),
            GroupColumn::Window(start) => {
                for (bound, key) in [("start", *start), ("end", *start + 1)] {
                    let name = format!("{}.{bound}", field.name());
                    key_columns.push(StateColumn::new(name, &key_types[key]));
                }
            }
        }
    }
    Ok(Grouping {
        input: Arc::clone(input),
        key_codec: Codec::with_equality(&key_types, Equality::Grouping)?,
        state_codec: Codec::new(&state_types)?,
        keys: key_types,
        event_time,
        groups,
        aggregates,
        output,
        key_columns,
        state_columns,
    })
}
