//! Any record against any table: random messages into random tables. Each record is a row or a dead letter, the stream
//! never stops, and every reader counts the same rows.
//!
//! A round makes a table with Spark (types that must be cast, NOT NULL, VARCHAR and CHAR, structs, table features,
//! partition columns), puts a query before it now and then, fills a topic with values that suit its columns and values
//! that do not, and runs the stream twice. `ALLUVIA_FUZZ_RECORDS` says how many records in all (default 6,000), `ALLUVIA_SEED` where the draws begin (default 1, so
//! that a run of all tests is the same each time).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::rig::{Alluvia, Broker, Message, row_counts, spark_count, spark_sql};
use crate::scene::draw;

const BOUND: Duration = Duration::from_secs(570);
/// Rounds of many records: more of them would make tables rather than records.
const ROUNDS_MAX: u64 = 20;
/// Records of one round at most, unless there would be more rounds than that.
const ROUND: u64 = 100_000;

/// A type of the stream, and types of a table that it is written into.
const TYPES: &[(&str, &[&str])] = &[
    ("BOOLEAN", &["BOOLEAN", "STRING", "VARCHAR(4)"]),
    ("TINYINT", &["TINYINT", "INT", "DECIMAL(3,1)", "STRING", "DOUBLE"]),
    ("INT", &["INT", "BIGINT", "SMALLINT", "TINYINT", "DECIMAL(10,2)", "FLOAT", "VARCHAR(4)"]),
    ("BIGINT", &["BIGINT", "INT", "DOUBLE", "DECIMAL(20,0)", "CHAR(12)"]),
    ("DOUBLE", &["DOUBLE", "FLOAT", "INT", "BIGINT", "DECIMAL(10,2)", "STRING"]),
    ("DECIMAL(10,2)", &["DECIMAL(10,2)", "DECIMAL(38,18)", "DECIMAL(4,1)", "SMALLINT", "DOUBLE", "STRING"]),
    ("STRING", &["STRING", "VARCHAR(5)", "CHAR(5)", "INT", "BIGINT", "DOUBLE", "DECIMAL(10,2)"]),
    ("STRING", &["STRING", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY"]),
    ("BINARY", &["BINARY", "STRING"]),
    ("DATE", &["DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "STRING"]),
    ("TIMESTAMP", &["TIMESTAMP", "DATE", "TIMESTAMP_NTZ", "STRING"]),
    (
        "STRUCT<x: INT, y: STRING>",
        &["STRUCT<y: STRING, x: INT>", "STRUCT<x: TINYINT NOT NULL, y: VARCHAR(3)>"],
    ),
    ("STRUCT<x: STRUCT<z: INT>>", &["STRUCT<x: STRUCT<z: INT NOT NULL, w: DATE>>"]),
    ("ARRAY<INT>", &["ARRAY<INT>", "ARRAY<TINYINT>", "ARRAY<STRING>"]),
    ("ARRAY<STRUCT<x: INT>>", &["ARRAY<STRUCT<w: STRING, x: BIGINT>>", "ARRAY<STRUCT<x: VARCHAR(3)>>"]),
    ("MAP<STRING, INT>", &["MAP<STRING, INT>", "MAP<STRING, TINYINT>", "MAP<VARCHAR(3), STRING>"]),
];

/// Properties of a table, and whether Python `deltalake` reads such a table.
const PROPERTIES: &[(&str, bool)] = &[
    ("", true),
    ("", true),
    ("'delta.appendOnly' = 'true'", true),
    ("'delta.checkpointInterval' = '2'", true),
    ("'delta.columnMapping.mode' = 'name'", false),
    ("'delta.enableDeletionVectors' = 'true'", false),
];

/// Queries that give one row for each record, in another order or behind an operator that could lose sight of the record.
const QUERIES: &[&str] = &[
    "",
    "",
    "    sql: SELECT * FROM input\n",
    "    sql: SELECT * FROM input WHERE offset % 2 = 1 UNION ALL SELECT * FROM input WHERE offset % 2 = 0\n",
    "    sql: SELECT i.* FROM input i LATERAL VIEW explode(array(1)) AS one WHERE one = 1 AND partition = 1 UNION ALL SELECT * FROM input WHERE partition = 0\n",
];

/// Texts that have been trouble: for paths, logs, numbers, dates and lengths.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "b",
    "ab",
    "abc",
    "abcd",
    "abcde",
    "abcdef",
    "abcde  ",
    "5",
    " 5 ",
    "-5",
    "127",
    "128",
    "300",
    "1e3",
    "5.7",
    "NaN",
    "-Infinity",
    "1e400",
    "99999999999",
    "9223372036854775807",
    "9223372036854775808",
    "true",
    "yes",
    "x/y",
    "x%2Fy",
    "a=b:c",
    ".",
    "..",
    "\u{0}",
    "a\u{0}b",
    "\u{1}\u{1f}\u{7f}",
    "\"'\\*?[]{}^#",
    "ä",
    "äöüß",
    "\u{1f3b5}\u{1f3b6}",
    "日本語",
    "\u{fffd}",
    "\n",
    "trailing.",
    "__HIVE_DEFAULT_PARTITION__",
    "2026-02-03",
    "2026-02-30",
    "0000-01-01",
    "-0044-03-15",
    "+12026-01-01",
    "+999999-01-01",
    "0001-01-01",
    "9999-12-31",
    "2026-02-03T04:05:06.123456Z",
    "+294247-01-10T04:00:54.775Z",
    "-290308-01-01T00:00:00Z",
    "04:05",
    "now",
    "null",
    "AQID",
    "//79",
];

/// JSON values that are no texts.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "5",
    "12.345",
    "127",
    "128",
    "-129",
    "32768",
    "2147483647",
    "2147483648",
    "-2147483649",
    "99999999.99",
    "100000000",
    "9223372036854775807",
    "1e10",
    "1e300",
    "1e-320",
    "NaN",
    "Infinity",
    "1767322845",
    "253402300800",
    "[]",
    "{}",
];

struct Draws {
    seed: u64,
    position: u64,
}

impl Draws {
    fn below(&mut self, below: usize) -> usize {
        self.position += 1;
        draw(self.seed, self.position, below as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

struct Round {
    stream: String,
    table: String,
    partition_by: Vec<String>,
    properties: &'static str,
    deltalake_reads: bool,
    columns: Vec<(String, &'static str)>,
    sql: &'static str,
}

impl Round {
    fn new(draws: &mut Draws) -> Round {
        let (properties, deltalake_reads) = *draws.one(PROPERTIES);
        let (mut stream, mut table) = (Vec::new(), Vec::new());
        let (mut partition_by, mut columns) = (Vec::new(), Vec::new());
        for at in 0..3 + draws.below(4) {
            let (from, targets) = draws.one(TYPES);
            let name = format!("c{at}");
            let to = draws.one(targets);
            stream.push(format!("{name} {from}"));
            let not_null = if draws.below(4) == 0 { " NOT NULL" } else { "" };
            table.push(format!("C{at} {to}{not_null}"));
            if partition_by.len() < 2 && !to.contains('<') && draws.below(3) == 0 {
                partition_by.push(name.clone());
            }
            columns.push((name, *from));
        }
        table.push("partition INT, offset BIGINT".to_owned());
        Round {
            stream: stream.join(", "),
            table: table.join(", "),
            partition_by,
            properties,
            deltalake_reads,
            columns,
            sql: draws.one::<&str>(QUERIES),
        }
    }

    fn create(&self, table: &Path) {
        let partitioned = match self.partition_by.as_slice() {
            [] => String::new(),
            columns => format!(" PARTITIONED BY ({})", columns.join(", ")),
        };
        let properties = match self.properties {
            "" => String::new(),
            properties => format!(" TBLPROPERTIES ({properties})"),
        };
        let columns = &self.table;
        spark_sql(&format!(
            "CREATE TABLE delta.`{}` ({columns}) USING delta{partitioned}{properties}",
            table.display()
        ));
    }

    /// A message: mostly an object of the stream's columns, with values that suit and values that do not.
    fn message(&self, draws: &mut Draws) -> Vec<u8> {
        match draws.below(40) {
            0 => return Vec::new(),
            1 => return b"{\"c0\": \xff\xfe".to_vec(),
            2 => return b"[1]".to_vec(),
            _ => {}
        }
        let mut text = String::from("{");
        for (name, data_type) in &self.columns {
            if draws.below(8) == 0 {
                continue;
            }
            let comma = if text.len() > 1 { "," } else { "" };
            let given = if draws.below(8) == 0 { value(draws, 0) } else { suiting(draws, data_type) };
            write!(text, "{comma}\"{name}\":{given}").unwrap();
        }
        text.push('}');
        text.into_bytes()
    }
}

/// A value that the stream's type can be read from, ends of its range among them.
fn suiting(draws: &mut Draws, data_type: &str) -> String {
    let text = |draws: &mut Draws, of: &[&str]| json!(draws.one(of)).to_string();
    match data_type {
        "BOOLEAN" => (*draws.one(&["true", "false"])).to_owned(),
        "TINYINT" => (*draws.one(&["0", "1", "9", "100", "127", "-128"])).to_owned(),
        "INT" => (*draws.one(&["0", "5", "127", "128", "-32768", "40000", "9999", "2147483647"])).to_owned(),
        "BIGINT" => {
            (*draws.one(&["0", "7", "2147483648", "-9223372036854775808", "123456789012"])).to_owned()
        }
        "DOUBLE" => (*draws.one(&[
            "0.0",
            "-0.0",
            "1.5",
            "1e10",
            "1e300",
            "-1e-320",
            "NaN",
            "Infinity",
            "99999999.995",
        ]))
        .to_owned(),
        "DECIMAL(10,2)" => {
            (*draws.one(&["0", "1.25", "-999.95", "999.96", "99999999.99", "32768"])).to_owned()
        }
        "BINARY" => text(draws, &["", "YQ==", "AGE=", "//79", "w6Q="]),
        "DATE" => text(
            draws,
            &[
                "2026-02-03",
                "1969-12-31",
                "0001-01-01",
                "9999-12-31",
                "0000-12-31",
                "+10000-01-01",
                "+999999-01-01",
            ],
        ),
        "TIMESTAMP" => text(
            draws,
            &[
                "2026-02-03T04:05:06.123456Z",
                "1969-12-31T23:59:59.999999Z",
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999999Z",
                "+10000-01-01T00:00:00Z",
                "+294247-01-10T04:00:54.775Z",
            ],
        ),
        "STRUCT<x: INT, y: STRING>" => {
            let (x, y) = (suiting(draws, "INT"), suiting(draws, "STRING"));
            (*draws.one(&["null".to_owned(), format!("{{\"x\":{x},\"y\":{y}}}"), format!("{{\"y\":{y}}}")]))
                .clone()
        }
        "STRUCT<x: STRUCT<z: INT>>" => {
            let z = suiting(draws, "INT");
            let inner = format!("{{\"x\":{{\"z\":{z}}}}}");
            draws.one(&["null".to_owned(), "{\"x\":null}".to_owned(), "{\"x\":{}}".to_owned(), inner]).clone()
        }
        "ARRAY<INT>" => format!("[{},null,{}]", suiting(draws, "INT"), suiting(draws, "TINYINT")),
        "ARRAY<STRUCT<x: INT>>" => format!("[null,{{\"x\":{}}}]", suiting(draws, "INT")),
        "MAP<STRING, INT>" => {
            format!("{{{}:{}}}", text(draws, &["k", "abc", "abcd", ""]), suiting(draws, "INT"))
        }
        _ => text(draws, TEXTS),
    }
}

fn value(draws: &mut Draws, depth: usize) -> String {
    match draws.below(if depth < 2 { 12 } else { 9 }) {
        0..=4 => json!(draws.one(TEXTS)).to_string(),
        5 => json!(draws.one(TEXTS).repeat(1 + draws.below(80))).to_string(),
        6..=8 => (*draws.one(VALUES)).to_owned(),
        9 => format!("[{}]", value(draws, depth + 1)),
        10 => format!("{{\"x\":{},\"y\":{}}}", value(draws, depth + 1), value(draws, depth + 1)),
        _ => format!("{{\"x\":{{\"z\":{}}},\"k\":{}}}", value(draws, depth + 1), value(draws, depth + 1)),
    }
}

#[test]
fn every_record_is_a_row_or_a_dead_letter_and_readers_agree() {
    let Some(broker) = Broker::shared() else { return };
    let records: u64 =
        std::env::var("ALLUVIA_FUZZ_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6_000);
    let seed = std::env::var("ALLUVIA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (mut done, mut rejected, mut codes) = (0, 0, BTreeSet::new());
    let mut number = 0;
    while done < records {
        number += 1;
        let in_round = ROUND.max(records / ROUNDS_MAX).min(records - done).min((records / 3).max(1));
        let mut draws = Draws { seed, position: number << 40 };
        let round = Round::new(&mut draws);
        rejected += one_round(broker, &round, &mut draws, in_round, &mut codes);
        done += in_round;
        eprintln!("{done} records in {number} tables, {rejected} of them dead letters");
    }
    eprintln!("codes: {codes:?}");
}

/// Returns how many dead letters there were.
fn one_round(
    broker: &Broker,
    round: &Round,
    draws: &mut Draws,
    records: u64,
    codes: &mut BTreeSet<String>,
) -> u64 {
    let what = format!(
        "{} INTO {} BY {:?} WITH {} AS {}",
        round.stream, round.table, round.partition_by, round.properties, round.sql
    );
    let folder = tempfile::tempdir().unwrap();
    let (table, dead) = (folder.path().join("table"), folder.path().join("dead"));
    round.create(&table);
    let topic = broker.topic("fuzz", 2);
    let yaml = format!(
        "streams:
  - name: fuzz
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{}', keep: [partition, offset] }}
    sink: {{ format: delta, path: ./table }}
    deadLetter: {{ format: delta, path: ./dead }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
{}",
        broker.bootstrap(),
        round.stream,
        round.sql
    );
    let halves = [records / 2, records - records / 2];
    for half in halves {
        let messages: Vec<Message> =
            (0..half).map(|at| Message::new(round.message(draws)).partition((at % 2) as i32)).collect();
        broker.produce(&topic, messages);
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}:\n{}", ended.stderr);
    }
    let rows = spark_count(&table);
    let letters = if dead.join("_delta_log").exists() { spark_count(&dead) } else { 0 };
    assert_eq!(rows + letters, records, "{what}");
    let places = spark_sql(&format!(
        "SELECT count(DISTINCT partition, offset) AS n FROM (SELECT partition, offset FROM delta.`{0}`{1})",
        table.display(),
        if letters > 0 {
            format!(" UNION ALL SELECT partition, offset FROM delta.`{}`", dead.display())
        } else {
            String::new()
        }
    ));
    assert_eq!(places[0]["n"].as_u64(), Some(records), "{what}");
    let but: &[&str] = if round.deltalake_reads { &[] } else { &["deltalake"] };
    let counted = row_counts(&table, but);
    for (reader, count) in counted.as_object().unwrap() {
        assert_eq!(count.as_u64(), Some(rows), "{reader}: {what}");
    }
    if letters > 0 {
        let found = spark_sql(&format!("SELECT DISTINCT errorCode AS code FROM delta.`{}`", dead.display()));
        codes.extend(found.iter().map(|row| row["code"].as_str().unwrap_or_default().to_owned()));
    }
    letters
}
