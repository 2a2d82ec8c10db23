//! Spark Structured Streaming's answers, micro-batch by micro-batch: `make oracle-streaming`.
//!
//! Runs the cases of the folder in `ALLUVIA_ORACLE` (default: the copy in the repository, whose README describes the
//! form) straight through `alluvia::query`; `THEME` selects themes, separated by commas. Prints the cases that fail
//! and closes with a line `N passed, N failed`. The test fails on a failure that `deviations.txt` beside the cases
//! does not name, and on a stateful query that is answered instead of refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alluvia::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use alluvia::decode::schema::StructType;
use alluvia::query::{Conf, Definition, Failure, Query, Relation, Runner, TableRows};
use arrow::array::RecordBatch;
use serde::Deserialize;
use serde_json::Value;

#[path = "oracle_streaming/value.rs"]
mod value;

/// The themes whose cases need no state; the others must be refused.
const STATELESS: [&str; 3] = ["stateless", "static_join", "kafka_rows"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    sources: BTreeMap<String, Source>,
    tables: BTreeMap<String, Table>,
    #[serde(default)]
    tables_at_batch: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    sql: String,
    #[serde(default)]
    conf: BTreeMap<String, String>,
    batches: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    float_tolerance: f64,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    schema: String,
    drop_duplicates: Option<Vec<String>>,
    drop_duplicates_within_watermark: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Table {
    schema: String,
    rows: Vec<Value>,
}

#[derive(Deserialize)]
struct Expected {
    schema: Option<String>,
    batches: Vec<Answer>,
    error: Option<SparkError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    input: Option<usize>,
    no_data: bool,
    rows: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SparkError {
    phase: String,
    class: String,
    batch_id: Option<usize>,
}

/// What became of a case.
enum Verdict {
    Passed,
    /// Refused at start, though Spark answers.
    Refused(String),
    /// Refused at start as in Spark, but for another reason.
    RefusedOtherwise(String),
    Wrong(String),
}

/// Rows in the oracle's JSON form, as a decoder of the stream would give them.
fn rows(schema: &StructType, rows: &[Value]) -> RecordBatch {
    let policy = Policy { on_malformed: OnMalformed::Reject, enforce_not_null: false };
    let mut decoder = JsonDecoder::new(schema, &JsonOptions::default(), policy).unwrap();
    for row in rows {
        let outcome = decoder.push(Some(row.to_string().as_bytes()));
        assert!(matches!(outcome, Outcome::Row), "the oracle's row is not read: {row}");
    }
    decoder.finish().unwrap()
}

fn class_matches(message: &str, class: &str) -> bool {
    message.contains(class.split('.').next().unwrap_or(class))
}

impl Case {
    fn definition(&self) -> Result<Definition, Verdict> {
        let refused = |error: alluvia::model::Error| Verdict::Refused(error.to_string());
        let [(name, source)] = self.sources.iter().collect::<Vec<_>>()[..] else {
            return Err(Verdict::Refused("several streams".to_owned()));
        };
        if source.drop_duplicates.is_some() || source.drop_duplicates_within_watermark.is_some() {
            return Err(Verdict::Refused("dropDuplicates is kept in state".to_owned()));
        }
        let relation = |name: &str, ddl: &str| {
            let schema = StructType::from_ddl(ddl).and_then(|schema| schema.to_arrow()).map_err(refused)?;
            Ok(Relation { name: name.to_owned(), schema: Arc::new(schema) })
        };
        Ok(Definition {
            input: relation(name, &source.schema)?,
            tables: self
                .tables
                .iter()
                .map(|(name, table)| relation(name, &table.schema))
                .collect::<Result<_, _>>()?,
            views: Vec::new(),
            sql: self.sql.clone(),
            conf: Conf::from_map(&self.conf).map_err(refused)?,
        })
    }

    fn run(&self) -> Verdict {
        let planned = self.definition().and_then(|definition| {
            Query::plan(&definition).map_err(|error| Verdict::Refused(error.to_string()))
        });
        let query = match (planned, &self.expected.error) {
            (Ok(query), _) => query,
            (Err(Verdict::Refused(why)), Some(error)) if error.phase != "batch" => {
                let known = error.class.starts_with("_LEGACY") || class_matches(&why, &error.class);
                let kind =
                    ["PARSE_SYNTAX_ERROR", "DATATYPE_MISMATCH"].iter().any(|c| error.class.starts_with(c));
                return if known || kind {
                    Verdict::Passed
                } else {
                    Verdict::RefusedOtherwise(format!("{}: {why}", error.class))
                };
            }
            (Err(verdict), _) => return verdict,
        };
        if let Some(expected) = &self.expected.schema {
            let found = value::simple_schema(query.output());
            if *expected != found {
                return Verdict::Wrong(format!("the columns are {found}, expected {expected}"));
            }
        }
        if let Some(error) = &self.expected.error
            && error.phase != "batch"
        {
            return Verdict::Wrong(format!("planned, though Spark refuses it with {}", error.class));
        }
        self.answers(Runner::new(query))
    }

    fn answers(&self, mut runner: Runner) -> Verdict {
        let source = self.sources.values().next().expect("one source");
        let schema = StructType::from_ddl(&source.schema).unwrap();
        let name = self.sources.keys().next().expect("one source");
        let mut tables: BTreeMap<&String, (usize, Vec<Value>)> =
            self.tables.iter().map(|(name, table)| (name, (0, table.rows.clone()))).collect();
        let mut answers = self.expected.batches.iter().filter(|answer| !answer.no_data);
        for (number, batch) in self.batches.iter().enumerate() {
            for (name, rows) in self.tables_at_batch.get(&number.to_string()).into_iter().flatten() {
                tables.insert(name, (number, rows.clone()));
            }
            let contents: Vec<TableRows> = self
                .tables
                .iter()
                .enumerate()
                .map(|(place, (name, table))| {
                    let schema = StructType::from_ddl(&table.schema).unwrap();
                    let (version, content) = &tables[name];
                    let all = rows(&schema, content);
                    let columns = runner.query().table_columns(place).unwrap_or_default().to_vec();
                    let batch = all.project(&columns).unwrap();
                    TableRows { version: version.to_string(), batches: Arc::new(vec![batch]) }
                })
                .collect();
            let run = runner.begin(0, &contents).unwrap();
            let input = batch.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            let input = rows(&schema, &input).project(runner.query().input_columns()).unwrap();
            let made = run.rows(input);
            let fails = self.expected.error.as_ref().filter(|_| answers.clone().next().is_none());
            match (made, fails) {
                (Err(Failure::Expression(found)), Some(error))
                    if class_matches(found.class, &error.class) =>
                {
                    let at = error.batch_id.is_none_or(|id| id == number);
                    return if at {
                        Verdict::Passed
                    } else {
                        Verdict::Wrong(format!("fails in batch {number}"))
                    };
                }
                (Err(error), _) => return Verdict::Wrong(format!("batch {number}: {error:?}")),
                (Ok(_), Some(error)) if error.batch_id == Some(number) => {
                    return Verdict::Wrong(format!("batch {number} gives rows, expected {}", error.class));
                }
                (Ok(made), _) => {
                    let Some(answer) = answers.next() else { continue };
                    assert_eq!(answer.input, Some(number), "the oracle's batches are in order");
                    if let Some(what) = self.difference(&runner, &made, &answer.rows) {
                        return Verdict::Wrong(format!("batch {number}: {what}"));
                    }
                }
            }
        }
        match &self.expected.error {
            Some(error) => Verdict::Wrong(format!("no batch failed, expected {}", error.class)),
            None => Verdict::Passed,
        }
    }

    fn difference(&self, runner: &Runner, made: &[RecordBatch], expected: &[Value]) -> Option<String> {
        let schema = runner.query().output();
        let one = |batch: &RecordBatch| -> Vec<Value> {
            (0..batch.num_rows()).map(|n| value::row(schema, batch.columns(), n)).collect()
        };
        let mut found: Vec<Value> = made.iter().flat_map(one).collect();
        for wanted in expected {
            match found.iter().position(|row| value::same(row, wanted, self.float_tolerance)) {
                Some(at) => drop(found.swap_remove(at)),
                None => {
                    let near: Vec<String> = found.iter().take(3).map(Value::to_string).collect();
                    return Some(format!("expected {wanted:.600}, found {:.900}", near.join(" | ")));
                }
            }
        }
        found.first().map(|row| format!("unexpected {row}"))
    }
}

/// The names in `deviations.txt`: one a line, reasons in lines that begin with `#`.
fn deviations() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/streaming/deviations.txt");
    let text = std::fs::read_to_string(path).expect("read the deviations");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

fn themes() -> Vec<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/streaming/cases");
    let folder = std::env::var_os("ALLUVIA_ORACLE").map_or(default, PathBuf::from);
    let nested = folder.join("cases");
    let folder = if nested.is_dir() { nested } else { folder };
    let wanted = std::env::var("THEME").ok().filter(|theme| !theme.is_empty());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("list the cases")
        .map(|entry| entry.expect("list").path())
        .collect();
    files.retain(|path| {
        let theme = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|extension| extension == "jsonl")
            && wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|name| name == theme))
    });
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

#[test]
fn every_stateless_case_of_the_oracle_is_answered_as_spark_answers() {
    let (mut passed, mut failed, mut answered) = (0, Vec::new(), Vec::new());
    for path in themes() {
        let theme = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (mut of_theme, mut refused) = (0, 0);
        for line in std::fs::read_to_string(&path).expect("read cases").lines() {
            let case: Case = serde_json::from_str(line).expect("cases have the form of the README");
            match (case.run(), STATELESS.contains(&theme.as_str())) {
                (Verdict::Passed, _) => of_theme += 1,
                (Verdict::Refused(_) | Verdict::RefusedOtherwise(_), false) => refused += 1,
                (Verdict::Refused(why) | Verdict::RefusedOtherwise(why), true) => {
                    println!("{}\n    refused: {why}", case.name);
                    failed.push(case.name);
                }
                (Verdict::Wrong(why), stateless) => {
                    println!("{}\n    {why}", case.name);
                    if !stateless {
                        answered.push(case.name.clone());
                    }
                    failed.push(case.name);
                }
            }
        }
        println!("{theme}: {of_theme} passed, {refused} refused because they need state");
        passed += of_theme;
    }
    println!("{passed} passed, {} failed", failed.len());
    let deliberate = deviations();
    let unexplained: Vec<&String> = failed.iter().filter(|name| !deliberate.contains(*name)).collect();
    assert!(
        answered.iter().all(|name| deliberate.contains(name)),
        "answered though they need state: {answered:#?}"
    );
    assert!(
        unexplained.is_empty(),
        "{} cases fail that are no deliberate deviations: {unexplained:#?}",
        unexplained.len()
    );
}
