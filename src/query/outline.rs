//! A fragment's plan in the words of a query, from what comes out down to what is read. Steps that only carry rows are left out.

use std::sync::Arc;

use datafusion::common::{JoinType, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::concat::ConcatExec;
use super::result_size::ListsCheck;
use super::slot::RECORD;
use crate::model::spark_type::name_of;

/// The steps, one a line, each indented below the one that takes its rows.
pub(super) fn outline(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut text = String::new();
    write(plan, 0, &mut text);
    text
}

fn write(plan: &Arc<dyn ExecutionPlan>, depth: usize, text: &mut String) {
    let only_carries =
        plan.downcast_ref::<CooperativeExec>().is_some() || plan.downcast_ref::<ListsCheck>().is_some();
    let depth = if only_carries {
        depth
    } else {
        text.push_str(&format!("{}{}\n", "  ".repeat(depth), step(plan)));
        depth + 1
    };
    let mut children = plan.children();
    if join_type(plan).is_some_and(keeps_right) {
        children.reverse();
    }
    children.into_iter().for_each(|child| write(child, depth, text));
}

fn join_type(plan: &Arc<dyn ExecutionPlan>) -> Option<JoinType> {
    let hashed = plan.downcast_ref::<HashJoinExec>().map(|join| *join.join_type());
    hashed.or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type()))
}

/// Whether the rows that a join keeps are those of its right side. It is told as the query has it, the other way round: a
/// static table is at the left because it is read first.
fn keeps_right(join_type: JoinType) -> bool {
    use JoinType::*;
    matches!(join_type, Right | RightSemi | RightAnti | RightMark)
}

fn join_words(join_type: JoinType) -> &'static str {
    match if keeps_right(join_type) { join_type.swap() } else { join_type } {
        JoinType::Inner => "Inner join",
        JoinType::Full => "Full join",
        JoinType::LeftSemi => "Left semi join",
        JoinType::LeftAnti => "Left anti join",
        JoinType::LeftMark => "Left join that marks",
        _ => "Left join",
    }
}

fn step(plan: &Arc<dyn ExecutionPlan>) -> String {
    if let Some(select) = plan.downcast_ref::<ProjectionExec>() {
        let columns = select.expr().iter().filter(|column| column.alias != RECORD);
        let columns = columns.map(|column| match expression(&column.expr) {
            value if value == column.alias => value,
            value => format!("{value} AS {}", column.alias),
        });
        format!("Select {}", columns.collect::<Vec<_>>().join(", "))
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        format!("Where {}", expression(filter.predicate()))
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let on = join.on().iter().map(|(left, right)| match (expression(left), expression(right)) {
            (left, right) if keeps_right(*join.join_type()) => format!("{right} = {left}"),
            (left, right) => format!("{left} = {right}"),
        });
        let mut on: Vec<String> = on.collect();
        on.extend(join.filter().map(|filter| expression(filter.expression())));
        format!("{} on {}", join_words(*join.join_type()), on.join(" AND "))
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let on =
            join.filter().map_or("every pair of rows".to_owned(), |filter| expression(filter.expression()));
        format!("{} on {on}, by comparing every pair of rows", join_words(*join.join_type()))
    } else if plan.downcast_ref::<UnnestExec>().is_some() {
        "A row for each element".to_owned()
    } else if plan.downcast_ref::<ConcatExec>().is_some() {
        "Union all".to_owned()
    } else {
        displayable(plan.as_ref()).one_line().to_string().trim_end().to_owned()
    }
}

/// An expression as a query has it, of columns by their names.
fn expression(expr: &Arc<dyn PhysicalExpr>) -> String {
    if let Some(column) = expr.downcast_ref::<Column>() {
        column.name().to_owned()
    } else if let Some(literal) = expr.downcast_ref::<Literal>() {
        match literal.value() {
            ScalarValue::Utf8(Some(text)) => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
            _ => fmt_sql(expr.as_ref()).to_string(),
        }
    } else if let Some(both) = expr.downcast_ref::<BinaryExpr>() {
        let connects = |op: &Operator| matches!(op, Operator::And | Operator::Or);
        let side = |side: &Arc<dyn PhysicalExpr>| match side.downcast_ref::<BinaryExpr>() {
            _ if !connects(both.op()) => operand(side),
            Some(inner) if connects(inner.op()) && inner.op() != both.op() => operand(side),
            _ => expression(side),
        };
        format!("{} {} {}", side(both.left()), both.op(), side(both.right()))
    } else if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        called(call)
    } else {
        fmt_sql(expr.as_ref()).to_string()
    }
}

fn called(call: &ScalarFunctionExpr) -> String {
    match (call.name(), call.args()) {
        ("get_field", [of, field]) => match field.downcast_ref::<Literal>().map(Literal::value) {
            // What a function makes of a row is a struct of its columns.
            Some(ScalarValue::Utf8(Some(name))) if is_made(of) => name.clone(),
            Some(ScalarValue::Utf8(Some(name))) => format!("{}.{name}", operand(of)),
            _ => format!("{}[{}]", operand(of), expression(field)),
        },
        (name, [left, right]) if !name.contains(|c: char| c == '_' || c.is_alphanumeric()) => {
            format!("{} {name} {}", operand(left), operand(right))
        }
        ("window_rows", args) => format!("window({})", listed(args)),
        // The value as it is.
        ("unmarked", [value]) => expression(value),
        ("cast", [value]) => format!("CAST({} AS {})", expression(value), name_of(call.return_type())),
        ("session_window_rows", [args @ .., _]) => format!("session_window({})", listed(args)),
        (name, args) => format!("{name}({})", listed(args)),
    }
}

fn is_made(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>().is_some_and(|column| column.name().starts_with("rows of "))
}

fn listed(args: &[Arc<dyn PhysicalExpr>]) -> String {
    args.iter().map(expression).collect::<Vec<_>>().join(", ")
}

/// The same in parentheses, where it is of several parts.
fn operand(expr: &Arc<dyn PhysicalExpr>) -> String {
    let text = expression(expr);
    let operator =
        |call: &ScalarFunctionExpr| !call.name().contains(|c: char| c == '_' || c.is_alphanumeric());
    let several = expr.downcast_ref::<BinaryExpr>().is_some()
        || expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(operator);
    if several { format!("({text})") } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use crate::model::OutputMode;
    use crate::query::{Conf, Definition, Query, Relation};

    fn outline(sql: &str) -> String {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = DataType::new_list(DataType::Utf8, true);
        let named = [("id", DataType::Utf8), ("ts", time), ("v", DataType::Float64), ("tags", list)];
        let fields: Vec<Field> = named.map(|(name, of)| Field::new(name, of, true)).into();
        let relation = Relation { name: "input".into(), schema: Arc::new(Schema::new(fields)) };
        let table = ["id", "site"].map(|name| Field::new(name, DataType::Utf8, true));
        let table = Relation { name: "d".into(), schema: Arc::new(Schema::new(table.to_vec())) };
        let definition = Definition::of_stream(relation, sql, Conf::default());
        let definition = Definition { tables: vec![table], ..definition };
        let output_mode = if sql.contains("GROUP BY") { OutputMode::Update } else { OutputMode::Append };
        Query::plan(&Definition { output_mode, ..definition }).unwrap().outline()
    }

    #[test]
    fn a_plan_is_told_in_the_words_of_a_query() {
        let plain = outline(r"SELECT id, v + 1 AS more FROM input WHERE v > 1.5 AND id LIKE 'it\'s%'");
        assert_eq!(
            plain,
            "Select id, v + 1 AS more\n  Where v > 1.5 AND like(id, 'it\\'s%')\n    Stream input [id, v]\n"
        );
        let made = outline("SELECT id, tag FROM input LATERAL VIEW explode(tags) t AS tag");
        for part in ["Select id, col AS tag\n", "  A row for each element\n", "explode(tags) AS rows of t"] {
            assert!(made.contains(part), "{part} is not in\n{made}");
        }
        let cast = outline("SELECT CAST(ts AS DATE) AS d FROM input");
        assert!(cast.starts_with("Select CAST(ts AS DATE) AS d\n"), "{cast}");
        let two = outline("SELECT id FROM input UNION ALL SELECT CAST(v AS STRING) FROM input");
        assert!(two.starts_with("Union all\n"), "{two}");
        for (join, told) in
            [("LEFT", "Left join"), ("LEFT ANTI", "Left anti join"), ("LEFT SEMI", "Left semi join")]
        {
            let joined = outline(&format!("SELECT input.id FROM input {join} JOIN d ON input.id = d.id"));
            let shape = format!("{told} on id = id\n");
            assert!(joined.contains(&shape), "{shape} is not in\n{joined}");
            let (stream, table) = (joined.find("Stream input"), joined.find("d ["));
            assert!(stream.unwrap() < table.unwrap(), "{joined}");
        }
        let grouped = outline(
            "SELECT id, count(*) AS n, max(v) AS most, min(v) AS least FROM (SELECT id, ts, v FROM input UNION ALL
             SELECT id, now(), v FROM input) WHERE v > 1 GROUP BY id, window(CAST(ts AS TIMESTAMP), '1 minute') HAVING n > 2",
        );
        let start = "Select id, count(*) AS n, max(v) AS most, min(v) AS least\n  Where count(*) > 2\n    Stream operator 1 [id, count(*), max(v), min(v)]\noperator 1: Aggregate count(*), max(v), min(v) by id, window.start, window.end: ";
        assert!(grouped.starts_with(start), "{grouped}");
        assert!(grouped.contains("\n  Select id, window.start, window.end, v\n"), "{grouped}");
        for text in [plain, made, two, grouped] {
            let inner = ["Exec", "@", "ListsCheck", "(record)", "c0", "g0", "unmarked", "input.", "Int64("];
            assert!(inner.iter().all(|word| !text.contains(word)), "{text}");
        }
    }
}
