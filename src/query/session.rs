//! What DataFusion plans a query with: our settings, rules, tables and functions, and nothing of its defaults.
//!
//! [`Session`] answers the planner's questions about names. Functions come from the allow-list only.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions_aggregate::grouping::grouping_udaf;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;

use super::clock::{Now, Part};
use super::coerce::Coercion;
use super::coerce::filters::OneByOne;
use super::coerce::planner::Operators;
use super::conf::Conf;
use super::error::failure;
use super::fields::GetField;
use super::functions::lambda::{self, SORT_BY};
use super::functions::{self, Function};
use super::generate::{self, Generators};
use super::rewrite::literal::Literals;
use super::stateful::event_time::Planner;
use crate::model::Error;

/// Rows in one batch of a plan: at least those of a lane's batch, so that none is cut.
const BATCH_ROWS: usize = 64 * 1024;

/// One query's names and settings.
pub(crate) struct Session {
    conf: Conf,
    state: SessionState,
    tables: HashMap<String, Arc<dyn TableSource>>,
    /// By name and alias: the name to call it by, and the function.
    functions: HashMap<&'static str, (&'static str, Function)>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
}

impl Session {
    /// A session without tables, whose `current_timestamp()` is what the clock of `conf` says.
    pub(crate) fn new(conf: &Conf) -> Session {
        let mut functions = HashMap::new();
        for entry in functions::all() {
            let function = (entry.make)(conf);
            for name in entry.aliases.iter().chain([&entry.name]) {
                functions.insert(*name, (entry.name, function.clone()));
            }
        }
        // Of `grouping` the analyzer makes an expression over the sets of keys.
        functions.insert("grouping", ("grouping", Function::Aggregate(grouping_udaf())));
        functions.insert(SORT_BY, (SORT_BY, lambda::sort_by(conf)));
        for (name, function) in own_functions(conf) {
            functions.insert(name, (name, Function::Scalar(function)));
        }
        Session {
            conf: conf.clone(),
            state: SessionStateBuilder::new()
                .with_config(settings(conf))
                .with_analyzer_rules(rules(conf))
                .with_optimizer_rules(optimizer_rules())
                .with_physical_optimizer_rule(Arc::new(OneByOne))
                .with_query_planner(Arc::new(Planner { clock: conf.clock.clone() }))
                .build(),
            tables: HashMap::new(),
            functions,
            planners: vec![Arc::new(Literals { zone: conf.zone.clone() }), Arc::new(Operators::new(conf))],
            relations: vec![Arc::new(Generators)],
        }
    }

    /// The settings.
    pub(crate) fn conf(&self) -> &Conf {
        &self.conf
    }

    /// Whether a function may be called.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Whether a function is an aggregate.
    pub(crate) fn is_aggregate(&self, name: &str) -> bool {
        matches!(self.functions.get(name), Some((_, Function::Aggregate(_))))
    }

    /// Whether a function takes a lambda.
    pub(crate) fn is_higher_order(&self, name: &str) -> bool {
        matches!(self.functions.get(name), Some((_, Function::HigherOrder(_))))
    }

    /// The name that a function is planned by, for one of its names.
    pub(crate) fn canonical<'a>(&'a self, name: &'a str) -> &'a str {
        self.functions.get(name).map_or(name, |(name, _)| *name)
    }

    /// The names of all functions.
    pub(crate) fn function_names(&self) -> impl Iterator<Item = &'static str> {
        self.functions.keys().copied()
    }

    /// Whether there is a table or view of this name, in lower case.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    /// The names of all tables and views.
    pub(crate) fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Adds a table under its name in lower case.
    pub(crate) fn add_table(&mut self, name: &str, table: Arc<dyn TableProvider>) {
        self.tables.insert(name.to_lowercase(), provider_as_source(table));
    }

    /// The plan of a statement whose names are resolved already.
    ///
    /// # Errors
    /// What DataFusion refuses.
    pub(crate) fn plan(&self, statement: Statement) -> Result<LogicalPlan> {
        let options = ParserOptions::new()
            .with_parse_float_as_decimal(true)
            .with_enable_ident_normalization(false)
            .with_map_string_types_to_utf8view(false);
        SqlToRel::new_with_options(self, options).sql_statement_to_plan(statement)
    }

    /// DataFusion's own state: settings, rules, physical planner.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }
}

/// The analyzer's rules: Spark's casts before DataFusion's own, which then finds nothing to do.
fn rules(conf: &Conf) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(Coercion::new(conf)),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(TypeCoercion::new()),
    ]
}

/// The optimizer's rules but for the one that makes two aggregates of one with DISTINCT: it sums a sum, whose type would
/// be another.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| rule.name() != "single_distinct_aggregation_to_group_by");
    rules
}

/// Functions that belong to the planner itself.
fn own_functions(conf: &Conf) -> Vec<(&'static str, Arc<ScalarUDF>)> {
    let now = |name, part| (name, Arc::new(ScalarUDF::from(Now::new(name, part, &conf.clock, &conf.zone))));
    let mut functions = vec![
        ("get_field", Arc::new(ScalarUDF::from(GetField::new(conf.case_sensitive)))),
        now("current_timestamp", Part::Timestamp),
        now("now", Part::Timestamp),
        now("localtimestamp", Part::Local),
        now("current_date", Part::Date),
        now("curdate", Part::Date),
    ];
    for (name, function) in generate::functions(conf) {
        functions.push((name, function));
    }
    functions
}

/// What DataFusion refuses, in the words of a stream file's user.
pub(crate) fn refused(error: &DataFusionError) -> Error {
    if let Some(error) = failure(error) {
        return Error::config(error.to_string());
    }
    let message = error.strip_backtrace();
    let message = ["Error during planning: ", "This feature is not implemented: ", "Schema error: "]
        .iter()
        .fold(message, |message, prefix| message.replace(prefix, ""));
    let class = [
        ("UNION queries have different number of columns", "NUM_COLUMNS_MISMATCH"),
        ("Incompatible inputs for Union", "INCOMPATIBLE_COLUMN_TYPE"),
    ];
    if let Some((_, class)) = class.iter().find(|(text, _)| message.contains(text)) {
        return Error::config(format!("{class}: {message}"));
    }
    if message.contains("must be in GROUP BY or an aggregate function") {
        return Error::config(format!("MISSING_AGGREGATION: {message}"))
            .hint("add the column to GROUP BY, or write any_value(column)");
    }
    if message.contains("Correlated scalar subquery must be aggregated") {
        return Error::config("a subquery that is a value and depends on the row must be an aggregate")
            .hint("write (SELECT max(column) FROM …), or join the table");
    }
    if message.contains("HAVING clause references") {
        return Error::config(format!("MISSING_GROUP_BY: {message}"));
    }
    Error::config(message)
}

/// DataFusion's settings: one partition, no types of its own choice, and no filters that are made while a plan
/// runs, for they would outlive the batch they were made from.
fn settings(conf: &Conf) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_repartition_joins(false)
        .with_repartition_aggregations(false)
        .with_repartition_windows(false)
        .with_repartition_sorts(false)
        .with_repartition_file_scans(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".into());
    options.execution.enable_ansi_mode = conf.ansi;
    options.optimizer.enable_round_robin_repartition = false;
    // The setter of the first does not reach the other three: each is named.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    config
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("tables", &self.tables.keys()).finish_non_exhaustive()
    }
}

impl ContextProvider for Session {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("TABLE_OR_VIEW_NOT_FOUND: {name}"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        match self.functions.get(name) {
            Some((_, Function::Scalar(function))) => Some(Arc::clone(function)),
            _ => None,
        }
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        match self.functions.get(name) {
            Some((_, Function::HigherOrder(function))) => Some(Arc::clone(function)),
            _ => None,
        }
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        match self.functions.get(name) {
            Some((_, Function::Aggregate(function))) => Some(Arc::clone(function)),
            _ => None,
        }
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.keys().map(|name| (*name).to_owned()).collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
