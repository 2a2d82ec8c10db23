//! The generated aggregates with Spark's answers (`tests/oracle/aggregates`, made by `tests/rig/aggregates.py`).
//!
//! Each call runs twice: over all rows at once, and over parts of the rows whose states are stored as Arrow columns and
//! merged. Both must give Spark's answer, its type and its column's name. Fails on a failure that `deviations.txt` does not
//! name, and on a name there that passes. `queries.json` has whole queries, with GROUP BY in all its forms. `AGGREGATES=sum,count` selects files, `AGGREGATES_SHOW=1` prints every failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::MemTable;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::sql::sqlparser::ast::Statement;
use futures::executor::block_on;
use serde_json::Value;

use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Policy};
use crate::decode::schema::StructType;
use crate::query::coerce::types::simple_name;
use crate::query::dialect;
use crate::query::error::failure;
use crate::query::functions::proof::{prove, shown};
use crate::query::rewrite::Rewriter;
use crate::query::session::{Session, refused};
use crate::query::{Conf, functions};

/// How many calls one query has, if Spark answers them all.
const TOGETHER: usize = 24;
/// Rows in a part.
const PART: usize = 11;
/// How far a DOUBLE may be off, relatively, that is added up in parts.
const TOLERANCE: f64 = 1e-9;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/aggregates")
}

/// A call and Spark's answers.
struct Case {
    sql: String,
    /// A type, or `?` for an error of the analysis.
    kind: String,
    /// The name of its column, or the class of the error.
    name: String,
    answers: BTreeMap<String, Value>,
}

/// What is asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AtOnce,
    InParts,
}

/// A type, a name, and the value of each group.
type Column = (String, String, BTreeMap<String, Option<String>>);

/// Why a query has no answer.
#[derive(Debug)]
enum Failed {
    Refused(String),
    Raised(String),
}

fn input() -> RecordBatch {
    let text = std::fs::read_to_string(folder().join("input.json")).unwrap();
    let input: Value = serde_json::from_str(&text).unwrap();
    let policy = Policy { on_malformed: OnMalformed::Reject, enforce_not_null: false };
    let schema = StructType::from_ddl(input["ddl"].as_str().unwrap()).unwrap();
    let mut decoder = JsonDecoder::new(&schema, &JsonOptions::default(), policy).unwrap();
    for row in input["rows"].as_array().unwrap() {
        decoder.push(Some(row.as_str().unwrap().as_bytes()));
    }
    decoder.finish().unwrap()
}

fn cases(path: &Path) -> (Conf, Vec<Case>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let settings = serde_json::from_value(head["conf"].clone()).unwrap();
    let case = |line: &str| {
        let (sql, kind, name, answers) = serde_json::from_str(line).unwrap();
        Case { sql, kind, name, answers }
    };
    (Conf::from_map(&settings).unwrap(), lines.map(case).collect())
}

/// The rows of a query over the table `input`.
fn run(sql: &str, conf: &Conf, input: &RecordBatch, way: Way) -> Result<RecordBatch, Failed> {
    let mut session = Session::new(conf);
    let table = MemTable::try_new(input.schema(), vec![vec![input.clone()]]).unwrap();
    session.add_table("input", Arc::new(table));
    let planned = || {
        let query = Rewriter::new(&session).query(dialect::parse(sql)?)?;
        let plan = session.plan(Statement::Query(Box::new(query))).map_err(|error| refused(&error))?;
        let state = session.state();
        let analyzed = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
        let optimized = state.optimizer().optimize(analyzed.map_err(|e| refused(&e))?, state, |_, _| {});
        let optimized = optimized.map_err(|error| refused(&error))?;
        block_on(state.query_planner().create_physical_plan(&optimized, state)).map_err(|e| refused(&e))
    };
    let plan = planned().map_err(|error: crate::model::Error| Failed::Refused(error.to_string()))?;
    let run = || {
        let plan = if way == Way::InParts { in_parts(plan, &session)? } else { plan };
        let batches = block_on(collect(Arc::clone(&plan), session.state().task_ctx()))?;
        Ok(concat_batches(&plan.schema(), &batches)?)
    };
    run().map_err(|error: datafusion::error::DataFusionError| match failure(&error) {
        Some(failure) => Failed::Raised(failure.class.to_owned()),
        None => Failed::Raised(format!("{error}")),
    })
}

/// The plan with the rows of its aggregates in place of these, made part by part through stored states.
fn in_parts(
    plan: Arc<dyn ExecutionPlan>,
    session: &Session,
) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    let replaced = plan.transform_up(|node| {
        let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
        // Several sets of keys are one set with a number of the set: DataFusion's part, not an aggregate's.
        if *aggregate.mode() != AggregateMode::Single || !aggregate.group_expr().is_single() {
            return Ok(Transformed::no(node));
        }
        let input = block_on(collect(Arc::clone(aggregate.input()), session.state().task_ctx()))?;
        let input = concat_batches(&aggregate.input().schema(), &input)?;
        let rows = merged(aggregate, &input)?;
        let schema = rows.schema();
        Ok(Transformed::yes(MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?))
    })?;
    Ok(replaced.data)
}

fn merged(aggregate: &AggregateExec, input: &RecordBatch) -> datafusion::common::Result<RecordBatch> {
    let keys: Vec<_> = aggregate.group_expr().expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
    let types = keys.iter().map(|key| key.data_type(&input.schema())).collect::<Result<Vec<_>, _>>()?;
    let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
    let mut groups: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut first_rows = Vec::new();
    let mut states: Vec<Vec<(Vec<ArrayRef>, Vec<usize>)>> = vec![Vec::new(); aggregate.aggr_expr().len()];
    if keys.is_empty() {
        groups.insert(Vec::new(), 0);
    }
    for from in (0..input.num_rows()).step_by(PART) {
        let part = input.slice(from, PART.min(input.num_rows() - from));
        let columns = keys.iter().map(|key| key.evaluate(&part)?.into_array(part.num_rows()));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mut own: Vec<usize> = Vec::new();
        let mut of_row = Vec::new();
        if keys.is_empty() {
            (own, of_row) = (vec![0], vec![0; part.num_rows()]);
        } else {
            for (row, key) in converter.convert_columns(&columns)?.iter().enumerate() {
                let next = groups.len();
                let group = *groups.entry(key.as_ref().to_vec()).or_insert_with(|| {
                    first_rows.push((from + row) as u32);
                    next
                });
                let place = own.iter().position(|known| *known == group).unwrap_or_else(|| {
                    own.push(group);
                    own.len() - 1
                });
                of_row.push(place);
            }
        }
        for (at, function) in aggregate.aggr_expr().iter().enumerate() {
            let args = function.expressions();
            let args = args.iter().map(|arg| arg.evaluate(&part)?.into_array(part.num_rows()));
            let args = args.collect::<Result<Vec<_>, _>>()?;
            let filter = match &aggregate.filter_expr()[at] {
                Some(filter) => Some(filter.evaluate(&part)?.into_array(part.num_rows())?),
                None => None,
            };
            let filter: Option<&BooleanArray> = filter.as_ref().map(|filter| filter.as_boolean());
            let mut accumulator = function.create_groups_accumulator()?;
            accumulator.update_batch(&args, &of_row, filter, own.len())?;
            states[at]
                .push((stored(accumulator.state(EmitTo::All)?, &function.state_fields()?), own.clone()));
        }
    }
    let mut columns = Vec::new();
    if !keys.is_empty() {
        let first = take_record_batch(input, &UInt32Array::from(first_rows))?;
        for key in &keys {
            columns.push(key.evaluate(&first)?.into_array(first.num_rows())?);
        }
    }
    for (function, states) in aggregate.aggr_expr().iter().zip(states) {
        // Twice: what was merged is stored again, and merged into others that are fresh.
        let half = states.len() / 2;
        let mut accumulator = function.create_groups_accumulator()?;
        accumulator.merge_batch(&empty(&function.state_fields()?), &[], groups.len())?;
        for (state, own) in &states[..half] {
            accumulator.merge_batch(state, own, groups.len())?;
        }
        let early = stored(accumulator.state(EmitTo::All)?, &function.state_fields()?);
        let everyone: Vec<usize> = (0..groups.len()).collect();
        let mut accumulator = function.create_groups_accumulator()?;
        accumulator.merge_batch(&early, &everyone, groups.len())?;
        for (state, own) in &states[half..] {
            accumulator.merge_batch(state, own, groups.len())?;
        }
        columns.push(accumulator.evaluate(EmitTo::All)?);
    }
    let schema = aggregate.schema();
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Checks that states have the types that their fields promise.
fn stored(states: Vec<ArrayRef>, fields: &[arrow::datatypes::FieldRef]) -> Vec<ArrayRef> {
    let types: Vec<&DataType> = states.iter().map(|state| state.data_type()).collect();
    let promised: Vec<&DataType> = fields.iter().map(|field| field.data_type()).collect();
    assert_eq!(types, promised);
    states
}

fn empty(fields: &[arrow::datatypes::FieldRef]) -> Vec<ArrayRef> {
    fields.iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect()
}

/// The columns of calls, over the rows of one group (or of all).
fn answer(
    calls: &[&str],
    conf: &Conf,
    input: &RecordBatch,
    grouped: bool,
    way: Way,
) -> Result<Vec<Column>, Failed> {
    let calls = calls.join(", ");
    let sql = match grouped {
        true => format!("SELECT g, {calls} FROM input GROUP BY g"),
        false => format!("SELECT 'none' AS g, {calls} FROM input"),
    };
    let rows = run(&sql, conf, input, way)?;
    let groups = cast(rows.column(0), &DataType::Utf8).unwrap();
    let groups = groups.as_string::<i32>();
    let column = |at: usize| {
        let array = rows.column(at);
        let values = (0..rows.num_rows()).map(|row| {
            let functions::proof::Answer::Value(_, text) = shown(&array.slice(row, 1), conf) else {
                panic!("a value has no text")
            };
            (groups.value(row).to_owned(), text)
        });
        (simple_name(array.data_type()), rows.schema().field(at).name().clone(), values.collect())
    };
    Ok((1..rows.num_columns()).map(column).collect())
}

fn of_group(input: &RecordBatch, group: &str) -> RecordBatch {
    let groups = input.column(0).as_string::<i32>();
    let chosen: BooleanArray = groups.iter().map(|known| Some(known == Some(group))).collect();
    filter_record_batch(input, &chosen).unwrap()
}

fn main_class(class: &str) -> &str {
    class.split('.').next().unwrap_or(class)
}

/// Whether two values are the same, or numbers that are nearly.
fn nearly(kind: &str, expected: Option<&str>, found: Option<&str>, way: Way) -> bool {
    if expected == found {
        return true;
    }
    // Without generated code Spark shows a DECIMAL with the digits that it has, not with those of its type.
    let trimmed = |text: Option<&str>| {
        let short = |number: &str| match number.contains('.') {
            true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => number.to_owned(),
        };
        Some(text?.trim_matches(['[', ']']).split(", ").map(short).collect::<Vec<_>>())
    };
    if kind.contains("decimal") && trimmed(expected) == trimmed(found) {
        return true;
    }
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    match (number(expected), number(found)) {
        (Some(a), Some(b)) if way == Way::InParts => {
            (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-6)
        }
        _ => false,
    }
}

/// What is wrong with the answer to a case, one way.
fn difference(case: &Case, found: Result<Vec<Column>, Failed>, way: Way, none: bool) -> Option<String> {
    match found {
        Err(Failed::Refused(_)) if case.kind == "?" => None,
        Ok(_) if case.kind == "?" => Some(format!("Spark refuses it with {}", case.name)),
        Err(Failed::Refused(message)) => Some(format!("refused: {message}")),
        Err(Failed::Raised(class)) => Some(format!("raises {class}")),
        Ok(columns) => {
            let (kind, name, values) = &columns[0];
            if *kind != case.kind {
                return Some(format!("{} in Spark, {kind} here", case.kind));
            }
            if *name != case.name {
                return Some(format!("named {} in Spark, {name} here", case.name));
            }
            let wanted = case.answers.iter().filter(|(group, _)| (*group == "none") == none);
            for (group, expected) in wanted {
                if expected.is_object() {
                    return Some(format!("{group}: Spark raises {expected}, here {:?}", values.get(group)));
                }
                let found = values.get(group).cloned().flatten();
                if !nearly(kind, expected.as_str(), found.as_deref(), way) {
                    return Some(format!("{group}: {expected} in Spark, {found:?} here"));
                }
            }
            None
        }
    }
}

/// The case group by group, where one raises; in parts only the groups that do.
fn by_group(case: &Case, conf: &Conf, input: &RecordBatch, way: Way) -> Option<String> {
    for (group, expected) in case.answers.iter().filter(|(group, _)| *group != "none") {
        if way == Way::InParts && !expected.is_object() {
            continue;
        }
        let rows = of_group(input, group);
        let found = answer(&[&case.sql], conf, &rows, true, way);
        match (expected.get("!").and_then(Value::as_str), found) {
            (Some(class), Err(Failed::Raised(raised))) if main_class(class) == raised => {}
            (Some(class), found) => return Some(format!("{group}: Spark raises {class}, here {found:?}")),
            (None, found) => {
                let answers = BTreeMap::from([(group.clone(), expected.clone())]);
                let (kind, name) = (case.kind.clone(), case.name.clone());
                let one = Case { sql: case.sql.clone(), kind, name, answers };
                if let Some(difference) = difference(&one, found, way, false) {
                    return Some(format!("{group}: {difference}"));
                }
            }
        }
    }
    None
}

/// Whether the accuracy is so low that a merged summary may answer with another of the group's values.
fn is_coarse(sql: &str) -> bool {
    sql.starts_with("approx_percentile")
        && [", 1)", ", 2)", ", 5)"].iter().any(|accuracy| sql.ends_with(accuracy))
}

fn check(case: &Case, conf: &Conf, input: &RecordBatch) -> Option<String> {
    let raises = case.answers.iter().any(|(group, answer)| group != "none" && answer.is_object());
    for way in [Way::AtOnce, Way::InParts] {
        if way == Way::InParts && is_coarse(&case.sql) {
            continue;
        }
        let wrong = if raises {
            by_group(case, conf, input, way)
        } else {
            difference(case, answer(&[&case.sql], conf, input, true, way), way, false)
        };
        if let Some(wrong) = wrong {
            return Some(format!("{way:?}: {wrong}"));
        }
        if case.kind == "?" {
            continue;
        }
        let none = answer(&[&case.sql], conf, &input.slice(0, 0), false, way);
        let raised = case.answers.get("none").and_then(|answer| answer.get("!")).and_then(Value::as_str);
        let wrong = match (raised, none) {
            (Some(class), Err(Failed::Raised(found))) if main_class(class) == found => None,
            (_, none) => difference(case, none, way, true),
        };
        if let Some(wrong) = wrong {
            return Some(format!("{way:?} of no rows: {wrong}"));
        }
    }
    None
}

fn run_file(path: &Path, input: &RecordBatch) -> Vec<(String, String)> {
    let (conf, cases) = cases(path);
    let plain = |case: &&Case| case.kind != "?" && !case.answers.values().any(Value::is_object);
    let (plain, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(plain);
    let mut alone = others;
    for together in plain.chunks(TOGETHER) {
        let calls: Vec<&str> = together.iter().map(|case| case.sql.as_str()).collect();
        let all = [(Way::AtOnce, true), (Way::AtOnce, false), (Way::InParts, true), (Way::InParts, false)];
        let agree = |(way, grouped): &(Way, bool)| {
            let rows = if *grouped { input.clone() } else { input.slice(0, 0) };
            let Ok(columns) = answer(&calls, &conf, &rows, *grouped, *way) else { return false };
            let pairs = together.iter().zip(columns);
            pairs
                .into_iter()
                .all(|(case, column)| difference(case, Ok(vec![column]), *way, !grouped).is_none())
        };
        if !all.iter().all(agree) {
            alone.extend(together);
        }
    }
    let failed = |case: &&Case| Some((case.sql.clone(), check(case, &conf, input)?));
    alone.iter().filter_map(failed).collect()
}

#[test]
fn generated_aggregates_give_sparks_answers() {
    let input = input();
    prove("aggregates", &folder(), |path| run_file(path, &input), |path| cases(path).1.len());
}

/// The columns of a result, and its rows as texts.
type Whole = (String, Vec<Vec<Option<String>>>);

/// A query's columns as DDL, and its rows: in their order if they have one, else by their texts.
fn whole(sql: &str, input: &RecordBatch, way: Way) -> Result<Whole, Failed> {
    let conf = Conf::default();
    let made = run(sql, &conf, input, way)?;
    let schema = made.schema();
    let fields = schema.fields().iter();
    let columns: Vec<String> =
        fields.map(|field| format!("`{}` {}", field.name(), simple_name(field.data_type()))).collect();
    let cell = |array: &ArrayRef, row: usize| match shown(&array.slice(row, 1), &conf) {
        functions::proof::Answer::Value(_, text) => text,
        other => panic!("{other:?}"),
    };
    let row = |row: usize| made.columns().iter().map(|array| cell(array, row)).collect();
    let mut rows: Vec<Vec<Option<String>>> = (0..made.num_rows()).map(row).collect();
    if !sql.contains("ORDER BY") {
        rows.sort();
    }
    Ok((columns.join(", "), rows))
}

#[test]
fn queries_with_groups_give_sparks_rows_and_columns() {
    let input = input();
    let text = std::fs::read_to_string(folder().join("queries.json")).unwrap();
    let cases: Vec<Vec<Value>> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() > 50, "{} queries", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let [sql, columns, answer] = case.as_slice() else { panic!("{case:?}") };
        let (sql, columns) = (sql.as_str().unwrap(), columns.as_str().unwrap());
        for way in [Way::AtOnce, Way::InParts] {
            match whole(sql, &input, way) {
                Err(Failed::Refused(_)) if columns == "?" => {}
                Err(other) => wrong.push(format!("{sql}, {way:?}: {other:?}")),
                Ok(_) if columns == "?" => wrong.push(format!("{sql}: {answer} in Spark")),
                Ok((found, rows)) => {
                    let mut expected: Vec<Vec<Option<String>>> =
                        serde_json::from_value(answer.clone()).unwrap();
                    if !sql.contains("ORDER BY") {
                        expected.sort();
                    }
                    if found != columns || rows != expected {
                        wrong.push(format!(
                            "{sql}, {way:?}: {columns} {expected:?} in Spark, {found} {rows:?} here"
                        ));
                    }
                }
            }
        }
    }
    wrong.iter().for_each(|wrong| println!("{}", wrong.chars().take(700).collect::<String>()));
    assert!(wrong.is_empty(), "{} queries differ from Spark's answers", wrong.len());
}
