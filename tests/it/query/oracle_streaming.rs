//! Spark Structured Streaming's answers, micro-batch by micro-batch: `make oracle-streaming`.
//!
//! Runs the cases of the folder in `ALLUVIA_ORACLE` (default: the copy in the repository, whose README describes the
//! form) straight through `alluvia::query`; `THEME` selects themes, separated by commas. Prints the cases that fail
//! and closes with a line `N passed, N failed`. The test fails on a failure that `deviations.txt` beside the cases
//! does not name. A join of two streams is not supported: its cases must be refused at the start, and are counted apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alluvia::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use alluvia::decode::schema::StructType;
use alluvia::model::{Marks, OutputMode, Watermark};
use alluvia::query::{Conf, Definition, Input, Query, Relation};
use arrow::array::RecordBatch;
use serde::Deserialize;
use serde_json::Value;

mod answers;
mod value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    sources: BTreeMap<String, Source>,
    tables: BTreeMap<String, Table>,
    #[serde(default)]
    tables_at_batch: BTreeMap<String, BTreeMap<String, Vec<Value>>>,
    sql: String,
    output_mode: String,
    #[serde(default)]
    conf: BTreeMap<String, String>,
    batches: Vec<BTreeMap<String, Value>>,
    restart_after_batch: Option<usize>,
    fail_sink_at_batch: Option<usize>,
    #[serde(default)]
    ordered: bool,
    #[serde(default)]
    float_tolerance: f64,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    schema: String,
    watermark: Option<SourceWatermark>,
    drop_duplicates: Option<Vec<String>>,
    drop_duplicates_within_watermark: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceWatermark {
    event_time: String,
    delay_threshold: String,
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
    batch_id: usize,
    input: Option<usize>,
    no_data: bool,
    rows: Vec<Value>,
    watermark: Option<String>,
    num_rows_dropped_by_watermark: u64,
    state_rows_total: u64,
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

/// Whether a refusal is for Spark's reason, as far as Spark has a public name for it.
fn is_sparks_reason(why: &str, class: &str) -> bool {
    let unnamed = class.starts_with("_LEGACY") || class == "INTERNAL_ERROR" || !class.contains('_');
    let kind = ["PARSE_SYNTAX_ERROR", "DATATYPE_MISMATCH"].iter().any(|c| class.starts_with(c));
    unnamed || kind || class_matches(why, class)
}

/// Errors that Spark raises in its first batch although no row is at fault.
const RAISED_LATE: [&str; 4] = [
    "UNSUPPORTED_STREAMING_OPERATOR_WITHOUT_WATERMARK",
    "_LEGACY_ERROR_TEMP_3068",
    "_LEGACY_ERROR_TEMP_3077",
    "_LEGACY_ERROR_TEMP_1181",
];

impl Case {
    fn definition(&self) -> Result<Definition, Verdict> {
        let refused = |error: alluvia::model::Error| Verdict::Refused(error.to_string());
        let relation = |name: &str, ddl: &str| {
            let schema = StructType::from_ddl(ddl).and_then(|schema| schema.to_arrow()).map_err(refused)?;
            Ok(Relation { name: name.to_owned(), schema: Arc::new(schema) })
        };
        let output_mode = match self.output_mode.to_lowercase().as_str() {
            "append" => OutputMode::Append,
            "update" => OutputMode::Update,
            "complete" => OutputMode::Complete,
            _ => {
                return Err(Verdict::Refused(
                    "STREAMING_OUTPUT_MODE.INVALID, as the stream file says".to_owned(),
                ));
            }
        };
        let input = |(name, source): (&String, &Source)| {
            let watermark = source.watermark.as_ref().map(|watermark| Watermark {
                event_time: watermark.event_time.clone(),
                delay_threshold: watermark.delay_threshold.clone(),
                max_future_skew: None,
                idle_timeout: None,
            });
            let marks = Marks {
                watermark,
                drop_duplicates: source.drop_duplicates.clone(),
                drop_duplicates_within_watermark: source.drop_duplicates_within_watermark.clone(),
            };
            Ok(Input { relation: relation(name, &source.schema)?, marks })
        };
        Ok(Definition {
            inputs: self.sources.iter().map(input).collect::<Result<_, _>>()?,
            tables: self
                .tables
                .iter()
                .map(|(name, table)| relation(name, &table.schema))
                .collect::<Result<_, _>>()?,
            views: Vec::new(),
            sql: self.sql.clone(),
            conf: Conf::from_map(&self.conf).map_err(refused)?,
            output_mode,
        })
    }

    fn plan(&self) -> Result<Query, Verdict> {
        let definition = self.definition()?;
        Query::plan(&definition).map_err(|error| Verdict::Refused(error.to_string()))
    }

    fn run(&self) -> Verdict {
        let query = match (self.plan(), &self.expected.error) {
            (Ok(query), _) => query,
            (Err(Verdict::Refused(why)), Some(error))
                if error.phase != "batch" || RAISED_LATE.contains(&error.class.as_str()) =>
            {
                return if is_sparks_reason(&why, &error.class) || error.phase == "batch" {
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
        self.answers(query)
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
fn every_case_of_the_oracle_is_answered_as_spark_answers() {
    let (mut passed, mut joins, mut failed) = (0, 0, Vec::new());
    for path in themes() {
        let theme = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (mut of_theme, mut refused) = (0, 0);
        for line in std::fs::read_to_string(&path).expect("read cases").lines() {
            let case: Case = serde_json::from_str(line).expect("cases have the form of the README");
            match case.run() {
                Verdict::Passed => of_theme += 1,
                Verdict::Refused(why) if why.contains("joins the stream with a stream") => refused += 1,
                Verdict::Refused(why) | Verdict::RefusedOtherwise(why) => {
                    println!("{}\n    refused: {why}", case.name);
                    failed.push(case.name);
                }
                Verdict::Wrong(why) => {
                    println!("{}\n    {why}", case.name);
                    failed.push(case.name);
                }
            }
        }
        println!("{theme}: {of_theme} passed, {refused} refused because they join two streams");
        passed += of_theme;
        joins += refused;
    }
    println!("{joins} cases join two streams and are refused");
    println!("{passed} passed, {} failed", failed.len());
    let deliberate = deviations();
    let unexplained: Vec<&String> = failed.iter().filter(|name| !deliberate.contains(*name)).collect();
    assert!(
        unexplained.is_empty(),
        "{} cases fail that are no deliberate deviations: {unexplained:#?}",
        unexplained.len()
    );
}
