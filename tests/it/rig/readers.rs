//! Tables read back by programs no one here wrote: Python `deltalake`, and Spark 4.0 with Delta.
//!
//! The scripts lie in `tests/rig`; one Spark is kept serving for the whole test binary, as it takes ten seconds to start.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::child;
use super::digest::Digest;
use super::spark::Spark;

/// How long a script may take.
const BOUND: Duration = Duration::from_secs(600);

/// What a table holds, read by Python `deltalake`: the row count, and over `columns` (dots for struct fields) the digest of
/// the rows; with `topic`, `partition`, `offset` among them also the rows of each partition.
pub fn delta_digest(table: &Path, columns: &[&str]) -> Digest {
    let text = read_delta("digest", table, columns);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("read_delta.py digest said {text}: {e}"))
}

/// The rows of a table as JSON objects, sorted by their first plain columns; every column when none is named.
pub fn delta_rows(table: &Path, columns: &[&str]) -> Vec<Value> {
    let text = read_delta("rows", table, columns);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Has Python `deltalake` write a checkpoint of the table's log.
pub fn delta_checkpoint(table: &Path) {
    line("import sys, deltalake; deltalake.DeltaTable(sys.argv[1]).create_checkpoint()", table);
}

/// What Python `deltalake` finds to compact in a table, and does.
pub fn delta_optimize(table: &Path) -> Value {
    let script = "import sys, json, deltalake; print(json.dumps(deltalake.DeltaTable(sys.argv[1]).optimize.compact()))";
    serde_json::from_str(&line(script, table)).expect("JSON")
}

/// The files that Python `deltalake` would delete from a table at once, from its folder.
pub fn delta_vacuum(table: &Path) -> Vec<String> {
    let script = "import sys, json, deltalake; print(json.dumps(deltalake.DeltaTable(sys.argv[1]).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=True)))";
    serde_json::from_str(&line(script, table)).expect("paths")
}

/// What a line of Python says of a table.
fn line(script: &str, table: &Path) -> String {
    let mut command = readers();
    command.args(["python", "-c", script]).arg(table);
    said(command, &format!("Python of {}", table.display()))
}

/// What a command of the readers prints; panics with its words if it fails.
fn said(mut command: Command, what: &str) -> String {
    command.stdin(Stdio::null());
    let ended = child::output(command, BOUND).expect("tests/rig/readers starts; it needs python3");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{what}: {errors}");
    String::from_utf8(ended.stdout).expect("scripts print UTF-8")
}

/// `version`, `id`, `files` (with their statistics), `schema`, `configuration`, `partitionColumns`, `history`.
pub fn delta_log(table: &Path) -> Value {
    let text = read_delta("log", table, &[]);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Has Python `deltalake` append to a table, merge into it, delete from it and compact it, as `tests/rig/write_delta.py` says.
pub fn delta_writes(table: &Path, round: u64) {
    let mut command = python("write_delta.py");
    command.arg(table).arg(round.to_string());
    said(command, &format!("write_delta.py {}", table.display()));
}

/// A statement in Spark, again and again while another writer is faster.
pub fn spark_insists(statement: &str) {
    for _ in 0..100 {
        match spark_answer(statement) {
            Ok(_) => return,
            Err(said) => assert!(said.contains("DELTA_CONCURRENT"), "Spark refused `{statement}`: {said}"),
        }
    }
    panic!("other writers were always faster than `{statement}`");
}

/// The rows of a query in Spark, as JSON objects (Spark leaves out nulls); panics with Spark's words when it fails.
pub fn spark_sql(query: &str) -> Vec<Value> {
    spark_answer(query).unwrap_or_else(|said| panic!("Spark refused `{query}`: {said}"))
}

fn spark_answer(query: &str) -> Result<Vec<Value>, String> {
    static SPARK: Spark = Spark::serving("spark_read.py");
    let answer = SPARK.ask(&Value::from(query));
    match answer.pointer("/rows").and_then(Value::as_array) {
        Some(rows) => Ok(rows.clone()),
        None => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Has Spark merge batches, files of JSON lines, into a new table as its users do in foreachBatch: `dropDuplicates` by the keys,
/// then MERGE … WHEN NOT MATCHED THEN INSERT *.
pub fn spark_merge(table: &Path, schema: &str, keys: &[&str], batches: &[std::path::PathBuf]) {
    let mut command = python("spark_merge.py");
    command.arg(table).arg(schema).arg(keys.join(",")).args(batches);
    said(command, &format!("spark_merge.py {}", table.display()));
}

/// The number of rows that each reader reads from a table, by its name: Python `deltalake` and DuckDB; `but` are left out.
pub fn row_counts(table: &Path, but: &[&str]) -> Value {
    let mut command = python("read_counts.py");
    command.arg(table).args(but.iter().map(|reader| format!("--but={reader}")));
    serde_json::from_str(&said(command, &format!("read_counts.py {}", table.display()))).expect("JSON")
}

/// The number of rows that Spark reads from a table.
pub fn spark_count(table: &Path) -> u64 {
    let rows = spark_sql(&format!("SELECT count(*) AS rows FROM delta.`{}`", table.display()));
    rows[0]["rows"].as_u64().expect("a count")
}

/// `DESCRIBE HISTORY` of a table in Spark, newest first.
pub fn spark_history(table: &Path) -> Vec<Value> {
    spark_sql(&format!("DESCRIBE HISTORY delta.`{}`", table.display()))
}

/// Compares every column of a table with the values it holds and the ends of its type, in pyarrow through `deltalake`,
/// in `deltalake`'s SQL and in DuckDB: each finds the rows that it finds in a full scan. `but` are left out.
pub fn readers_agree(table: &Path, but: &[&str]) {
    let mut command = python("read_filters.py");
    command.arg(table).args(but.iter().map(|reader| format!("--but={reader}")));
    let lines = said(command, &format!("read_filters.py {}", table.display()));
    let mut lines: Vec<&str> = lines.lines().collect();
    let checked = lines.pop().unwrap_or_default();
    assert!(lines.is_empty(), "{}: {checked}, and of these:\n{}", table.display(), lines.join("\n"));
    assert!(!checked.contains(": 0}"), "{checked}");
}

/// The same in Spark, for columns of the names and literals given.
pub fn spark_filters_agree(table: &Path, columns: &[(&str, &[&str])]) {
    for (column, literals) in columns {
        let of_literal = |literal: &&str| ["=", "<", ">="].map(|sign| format!("{column} {sign} {literal}"));
        let conditions: Vec<String> = literals.iter().flat_map(of_literal).collect();
        let source = format!("delta.`{}`", table.display());
        let counts: Vec<String> = conditions
            .iter()
            .enumerate()
            .map(|(at, condition)| {
                format!("SELECT {at} AS at, count(*) AS n FROM {source} WHERE {condition}")
            })
            .collect();
        let mut filtered: Vec<(u64, u64)> = spark_sql(&counts.join(" UNION ALL "))
            .iter()
            .map(|row| (row["at"].as_u64().expect("a number"), row["n"].as_u64().expect("a count")))
            .collect();
        filtered.sort_unstable();
        let all: Vec<String> = (conditions.iter().enumerate())
            .map(|(at, condition)| format!("count_if({condition}) AS c{at}"))
            .collect();
        let scanned = &spark_sql(&format!("SELECT {} FROM {source}", all.join(", ")))[0];
        for (at, condition) in conditions.iter().enumerate() {
            let expected = scanned[format!("c{at}")].as_u64();
            assert_eq!(Some(filtered[at].1), expected, "Spark, {}: {condition}", table.display());
        }
    }
}

/// A script of `tests/rig` in the Python that has the readers.
pub(super) fn python(script: &str) -> Command {
    let mut command = readers();
    command.arg("python").arg(super::home().join(script));
    command
}

/// The command that knows the readers. They are in the cache then: to fetch them may take longer than a script may.
fn readers() -> Command {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| super::prepare("readers"));
    Command::new(super::home().join("readers"))
}

fn read_delta(what: &str, table: &Path, columns: &[&str]) -> String {
    read_delta_with(what, table, columns, &[])
}

/// With further environment variables, which say how a table that is not on a disk is reached.
pub(super) fn read_delta_with(
    what: &str,
    table: &Path,
    columns: &[&str],
    environment: &[(&str, String)],
) -> String {
    let mut command = python("read_delta.py");
    command.arg(what).arg(table).args(columns).envs(environment.iter().cloned());
    said(command, &format!("read_delta.py {what} {}", table.display()))
}
