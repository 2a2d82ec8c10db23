//! Real Spark's answers, case by case: `make oracle-json`.
//!
//! Reads every `*.jsonl` of the folder in `ALLUVIA_ORACLE` (default: the copy in the repository, whose
//! README describes the form), prints the names of the cases that fail and closes with a line
//! `N passed, N failed`. The test itself fails on a failure that is not in `deviations.txt` beside the
//! folder, on a malformed message taken for a good one or the reverse, and on too many failures among
//! the positions after an error. `buffer_edges` may fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use alluvia::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use alluvia::decode::schema::DataType;
use arrow::array::Array;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;

pub mod value;

/// The most failures in a hundred that `malformed_positions` may have.
const POSITIONS_FAILED_PERCENT_MAX: usize = 5;

#[derive(Deserialize)]
struct Case<'a> {
    name: String,
    schema: String,
    options: BTreeMap<String, String>,
    input_base64: Option<String>,
    #[serde(borrow)]
    expected: Expected<'a>,
}

#[derive(Deserialize)]
struct Expected<'a> {
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    error: Option<String>,
}

#[derive(Default)]
struct Report {
    passed: usize,
    failed: BTreeMap<String, Vec<String>>,
    wrong_kind: Vec<String>,
}

impl Case<'_> {
    /// What is different from Spark's answer, if anything; and whether we took the message for
    /// malformed, if we took it at all.
    fn run(&self) -> (Option<String>, Option<bool>) {
        let refused = |why: String| match &self.expected.error {
            Some(class) if !class.starts_with("MALFORMED_RECORD") => None,
            _ => Some(format!("refused: {why}")),
        };
        let data_type = match DataType::of_from_json(&self.schema) {
            Ok(data_type) => data_type,
            Err(error) => return (refused(error.to_string()), None),
        };
        let policy = Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false };
        let made = JsonOptions::from_map(&self.options)
            .and_then(|(options, _)| JsonDecoder::for_root(&data_type, &options, policy));
        let mut decoder = match made {
            Ok(decoder) => decoder,
            Err(_) if value::is_beyond_delta(&data_type) => return (None, None),
            Err(error) => return (refused(error.to_string()), None),
        };
        let input = self.input_base64.as_ref().map(|text| {
            base64::engine::general_purpose::STANDARD.decode(text).expect("the oracle writes base64")
        });
        let outcome = decoder.push(input.as_deref());
        let malformed = !matches!(outcome, Outcome::Row);
        let verdict = match (outcome, &self.expected) {
            (Outcome::Rejected(_), Expected { error: Some(class), .. })
                if class.starts_with("MALFORMED_RECORD") =>
            {
                None
            }
            (_, Expected { error: Some(class), .. }) => Some(format!("expected the error {class}")),
            (Outcome::Rejected(why), _) => Some(format!("rejected: {why}")),
            (_, Expected { row, .. }) => {
                let rows = decoder.finish_array().expect("rows make an array");
                let row = row.map_or("null", RawValue::get);
                value::difference(row, &data_type, rows.as_ref(), rows.len() - 1)
            }
        };
        (verdict, Some(malformed))
    }

    /// Whether Spark takes the message for malformed, where the case shows it.
    fn is_malformed(&self) -> Option<bool> {
        if let Some(class) = &self.expected.error {
            return class.starts_with("MALFORMED_RECORD").then_some(true);
        }
        let set =
            self.options.iter().find(|(name, _)| name.eq_ignore_ascii_case("columnNameOfCorruptRecord"));
        let column = set.map_or("_corrupt_record", |(_, column)| column);
        let row: BTreeMap<String, &RawValue> = serde_json::from_str(self.expected.row?.get()).ok()?;
        Some(row.get(column)?.get() != "null")
    }
}

impl Report {
    fn count(&mut self, file: &str, name: String, differences: &[String]) {
        if differences.is_empty() {
            self.passed += 1;
            return;
        }
        println!("{file}: {name}");
        differences.iter().for_each(|difference| println!("    {difference}"));
        self.failed.entry(file.to_owned()).or_default().push(name);
    }

    /// How many cases ran.
    fn total(&self) -> usize {
        self.passed + self.failures()
    }

    fn failures(&self) -> usize {
        self.failed.values().map(Vec::len).sum()
    }

    fn run(&mut self, path: &Path) {
        let file = path.file_stem().expect("files have names").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("read cases");
        for line in text.lines() {
            if file.starts_with("ddl_") {
                let (name, differences) = value::ddl_differences(line);
                self.count(&file, name, &differences);
                continue;
            }
            let case: Case<'_> = serde_json::from_str(line).expect("cases have the form of the README");
            let (difference, malformed) = case.run();
            if let (Some(ours), Some(sparks)) = (malformed, case.is_malformed())
                && ours != sparks
            {
                self.wrong_kind.push(case.name.clone());
            }
            self.count(&file, case.name, difference.as_slice());
        }
    }
}

/// The names in `deviations.txt`: one a line, reasons in lines that begin with `#`.
fn deviations() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/json/deviations.txt");
    let text = std::fs::read_to_string(path).expect("read the deviations");
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn every_case_of_the_oracle_is_answered_as_spark_answers() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/json/cases");
    let folder = std::env::var_os("ALLUVIA_ORACLE").map_or(default, PathBuf::from);
    let nested = folder.join("cases");
    let folder = if nested.is_dir() { nested } else { folder };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("list the cases")
        .map(|entry| entry.expect("list").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());

    let mut report = Report::default();
    let mut positions = 0;
    for path in &files {
        let before = report.total();
        report.run(path);
        if path.file_stem().is_some_and(|stem| stem == "malformed_positions") {
            positions = report.total() - before;
        }
    }
    for (file, names) in &report.failed {
        println!("{file}: {} failed", names.len());
    }
    println!("{} passed, {} failed", report.passed, report.failures());

    let deliberate = deviations();
    let total = report.total();
    assert_eq!(report.wrong_kind, Vec::<String>::new(), "malformed or not is decided wrong");
    assert!(deliberate.len() * 100 <= total, "more than one case in a hundred deviates");
    let of_positions = report.failed.get("malformed_positions").map_or(0, Vec::len);
    assert!(
        of_positions * 100 <= positions * POSITIONS_FAILED_PERCENT_MAX,
        "{of_positions} positions are wrong"
    );
    let unexplained: Vec<&String> = report
        .failed
        .iter()
        .filter(|(file, _)| !["buffer_edges", "malformed_positions"].contains(&file.as_str()))
        .flat_map(|(_, names)| names)
        .filter(|name| !deliberate.contains(*name))
        .collect();
    assert!(
        unexplained.is_empty(),
        "{} cases fail that are no deliberate deviations: {unexplained:#?}",
        unexplained.len()
    );
}
