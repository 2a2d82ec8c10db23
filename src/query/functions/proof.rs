//! The generated expressions with Spark's answers (`tests/oracle/expressions`, made by `tests/rig/expressions.py`), and
//! those of `forms.jsonl`, which were written by hand: the forms of SQL that the rewriter replaces.
//!
//! Runs all of them through the query layer and closes with `N passed, N failed`. Fails on a failure that
//! `deviations.txt` beside them does not name, and on a name there that passes. `EXPRESSIONS=string,cast` selects
//! files, `EXPRESSIONS_SHOW=1` prints every failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use serde_json::Value;

use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Policy};
use crate::decode::schema::StructType;
use crate::query::cast::to_text::write_value;
use crate::query::cast::{Mode, Way};
use crate::query::coerce::types::simple_name;
use crate::query::{Conf, Definition, Failure, Query, Relation, Runner};

/// How many expressions one query has, if Spark answers them all.
const TOGETHER: usize = 40;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/expressions")
}

/// An expression and Spark's answer.
struct Case {
    sql: String,
    /// A type, `!` for an error at run time, or `?` for one of the analysis.
    kind: String,
    answer: Option<String>,
}

/// What an expression gives here.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Value(String, Option<String>),
    Raised(String),
    Refused(String),
}

fn input() -> RecordBatch {
    let text = std::fs::read_to_string(folder().join("input.json")).unwrap();
    let input: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let policy = Policy { on_malformed: OnMalformed::Reject, enforce_not_null: false };
    let schema = StructType::from_ddl(&input["ddl"]).unwrap();
    let mut decoder = JsonDecoder::new(&schema, &JsonOptions::default(), policy).unwrap();
    decoder.push(Some(input["row"].as_bytes()));
    decoder.finish().unwrap()
}

fn cases(path: &Path) -> (Conf, Vec<Case>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let settings = serde_json::from_value(head["conf"].clone()).unwrap();
    let case = |line: &str| {
        let (sql, kind, answer) = serde_json::from_str(line).unwrap();
        Case { sql, kind, answer }
    };
    (Conf::from_map(&settings).unwrap(), lines.map(case).collect())
}

pub(crate) fn shown(array: &dyn Array, conf: &Conf) -> Answer {
    let kind = simple_name(array.data_type());
    if array.logical_nulls().is_some_and(|nulls| nulls.is_null(0)) {
        return Answer::Value(kind, None);
    }
    let mut text = String::new();
    if let Some(bytes) = arrow::array::AsArray::as_binary_opt::<i32>(array) {
        text = super::bitwise::hex_of(bytes.value(0));
    } else {
        let mode = if conf.ansi { Mode::Ansi } else { Mode::Lenient };
        write_value(array, 0, Way { mode, conf }, &mut text).unwrap();
    }
    Answer::Value(kind, Some(text))
}

/// Answers the expressions by one query.
fn answer(expressions: &[&str], conf: &Conf, input: &RecordBatch) -> Result<Vec<Answer>, Answer> {
    let columns: Vec<String> =
        expressions.iter().enumerate().map(|(at, sql)| format!("{sql} AS c{at}")).collect();
    let definition = Definition::of_stream(
        Relation { name: "input".to_owned(), schema: input.schema() },
        format!("SELECT {} FROM input", columns.join(", ")),
        conf.clone(),
    );
    let query = Query::plan(&definition).map_err(|error| Answer::Refused(error.to_string()))?;
    let mut runner = Runner::new(query);
    let run = runner.begin(0, &[]).unwrap();
    let rows = input.project(&runner.query().input_columns()).unwrap();
    let made = run.rows(rows).map_err(|failure| match failure {
        Failure::Expression(error) => Answer::Raised(error.class.to_owned()),
        other => Answer::Raised(format!("{other:?}")),
    })?;
    // window() drops a row whose time is null: the maker of the answers found no row there either.
    let none = || Answer::Raised("IndexError".to_owned());
    let batch = made.iter().find(|batch| batch.num_rows() > 0).ok_or_else(none)?;
    Ok(batch.columns().iter().map(|column| shown(column, conf)).collect())
}

fn one(sql: &str, conf: &Conf, input: &RecordBatch) -> Answer {
    match answer(&[sql], conf, input) {
        Ok(mut answers) => answers.remove(0),
        Err(answer) => answer,
    }
}

/// Whether the answer is Spark's: the value and its type, or an error of the same class at the same time.
fn agrees(case: &Case, found: &Answer) -> bool {
    let main = |class: &str| class.split('.').next().unwrap_or(class).to_owned();
    match (case.kind.as_str(), found) {
        ("?", Answer::Refused(_)) => true,
        // Literals are folded before the first row.
        ("!", Answer::Raised(class)) => Some(main(class)) == case.answer.as_deref().map(main),
        ("!", Answer::Refused(message)) => {
            case.answer.as_deref().is_some_and(|class| message.contains(&main(class)))
        }
        (kind, Answer::Value(found, value)) => kind == found && case.answer == *value,
        _ => false,
    }
}

fn run_file(path: &Path, input: &RecordBatch) -> Vec<(String, String)> {
    let (conf, cases) = cases(path);
    let mut failed = Vec::new();
    let mut check = |case: &Case, found: &Answer| {
        if !agrees(case, found) {
            failed.push((case.sql.clone(), format!("{} {:?}, here {found:?}", case.kind, case.answer)));
        }
    };
    let (answered, refused): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| !matches!(case.kind.as_str(), "?" | "!"));
    for together in answered.chunks(TOGETHER) {
        let expressions: Vec<&str> = together.iter().map(|case| case.sql.as_str()).collect();
        match answer(&expressions, &conf, input) {
            Ok(answers) => together.iter().zip(&answers).for_each(|(case, found)| check(case, found)),
            Err(_) => together.iter().for_each(|case| check(case, &one(&case.sql, &conf, input))),
        }
    }
    refused.iter().for_each(|case| check(case, &one(&case.sql, &conf, input)));
    failed
}

#[test]
fn generated_expressions_give_sparks_answers() {
    let input = input();
    let run = |path: &Path| {
        let failed = run_file(path, &input).into_iter();
        failed.map(|(sql, why)| (sql, format!("Spark: {why}"))).collect()
    };
    prove("expressions", &folder(), run, |path| cases(path).1.len());
}

#[test]
fn columns_without_an_alias_have_sparks_names() {
    let schema = input().schema();
    let named = |path: &Path| -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let differs = |(sql, name): (String, String)| {
        let relation = Relation { name: "input".to_owned(), schema: Arc::clone(&schema) };
        let definition = Definition::of_stream(relation, format!("SELECT {sql} FROM input"), Conf::default());
        let found = match Query::plan(&definition) {
            Ok(query) => query.schema().field(0).name().clone(),
            Err(error) => format!("refused: {error}"),
        };
        (found != name).then(|| (sql, format!("Spark: {name}, here {found}")))
    };
    let run = |path: &Path| named(path).into_iter().filter_map(differs).collect();
    prove("names", &folder().join("../names"), run, |path| named(path).len());
}

/// Runs the files of cases in `folder`, or those that the variable named `what` in capitals names. Prints the count of each file
/// and closes with `N passed, N failed`; with the variable `…_SHOW` each failure. Fails on one that `deviations.txt` does not name, and on a
/// deviation that gives Spark's answer.
pub(super) fn prove(
    what: &str,
    folder: &Path,
    run_file: impl Fn(&Path) -> Vec<(String, String)>,
    count: impl Fn(&Path) -> usize,
) {
    let variable = what.to_uppercase();
    let wanted = std::env::var(&variable).ok();
    let show = std::env::var(format!("{variable}_SHOW")).is_ok();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    if let Some(wanted) = &wanted {
        files.retain(|path| wanted.split(',').any(|wanted| wanted == name(path)));
    }
    let known = std::fs::read_to_string(folder.join("deviations.txt")).unwrap_or_default();
    let known: BTreeSet<&str> =
        known.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let (mut total, mut failed) = (0, BTreeMap::new());
    for path in &files {
        let family = name(path);
        let found = run_file(path);
        let count = count(path);
        println!("{family}: {} passed, {} failed", count - found.len(), found.len());
        if show {
            found.iter().for_each(|(sql, why)| println!("{family}: {sql}    {why}"));
        }
        total += count;
        failed.extend(found.into_iter().map(|(sql, why)| (format!("{family}: {sql}"), why)));
    }
    let unknown: Vec<_> = failed.iter().filter(|(name, _)| !known.contains(name.as_str())).collect();
    let passing: Vec<_> =
        known.iter().filter(|name| wanted.is_none() && !failed.contains_key(**name)).collect();
    unknown.iter().for_each(|(name, why)| println!("{name}    {why}"));
    println!("{} passed, {} failed", total - failed.len(), failed.len());
    assert!(total > 0, "{} has no cases", folder.display());
    assert!(unknown.is_empty(), "{} {what} differ from Spark's answers", unknown.len());
    assert!(passing.is_empty(), "deviations.txt names {what} that give Spark's answer: {passing:?}");
}

#[test]
fn every_function_names_a_case_that_calls_it() {
    let mut texts = BTreeMap::new();
    for entry in super::all() {
        let called = |text: &str| {
            let text = text.to_lowercase();
            let named = |name: &&str| {
                // Called, or written between its operands (`%`, `DIV`).
                text.contains(&format!("{name}(")) || text.contains(&format!(" {name} "))
            };
            [entry.name].iter().chain(entry.aliases).any(named)
        };
        assert!(!entry.proved_by.is_empty(), "{} is not proved", entry.name);
        for case in entry.proved_by {
            let (theme, name) = case.split_once('/').unwrap();
            let path = match theme {
                "expressions" => folder().join(format!("{name}.jsonl")),
                "generated" => folder().join(format!("../aggregates/{name}.jsonl")),
                theme => folder().join(format!("../streaming/cases/{theme}.jsonl")),
            };
            let text = texts
                .entry(path.clone())
                .or_insert_with(|| std::fs::read_to_string(&path).unwrap_or_default());
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| {
                    matches!(theme, "expressions" | "generated") || line.contains(&format!("\"{case}\""))
                })
                .collect();
            assert!(!lines.is_empty(), "{}: there is no case {case}", entry.name);
            let own_form = [
                "cast",
                "try_cast",
                "case_when",
                "get_item",
                "bitwise_not",
                "negative",
                "like",
                "rlike",
                "get_field",
            ];
            if matches!(theme, "expressions" | "generated") && !own_form.contains(&entry.name) {
                assert!(lines.iter().any(|line| called(line)), "{}: no case of {case} calls it", entry.name);
            }
        }
    }
}

#[test]
fn names_are_unique() {
    let mut seen = BTreeSet::new();
    for entry in super::all() {
        for name in [entry.name].iter().chain(entry.aliases) {
            assert!(seen.insert(*name), "{name} is in the list twice");
        }
    }
}
