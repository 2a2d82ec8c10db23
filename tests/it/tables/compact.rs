//! `alluvia table compact`: small files become large ones, no row changes, and nobody who writes beside it loses anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::Value;

use crate::merge::duplicates::Duplicates;
use crate::rig::{
    Alluvia, Broker, Digest, delta_digest, delta_optimize, digest_of, row_counts, skipped, spark_history,
    spark_sql,
};
use crate::scene::{BOUND, Scene, each, killed_at};
use crate::tables::changed::{actions, commits};
use crate::tables::statistics::Written;

/// A statement in Spark in which @T stands for the table.
pub fn sql(table: &Path, statement: &str) -> Vec<Value> {
    spark_sql(&statement.replace("@T", &format!("delta.`{}`", table.display())))
}

/// What Spark reads from a table: how many rows, and all that is in them.
pub fn rows_of(table: &Path) -> Value {
    let sum =
        "SELECT count(*) AS n, sum(CAST(xxhash64(to_json(struct(*))) AS DECIMAL(38, 0))) AS rows FROM @T";
    sql(table, sum).remove(0)
}

/// `alluvia table COMMAND TABLE …` as JSON.
pub fn table_command(table: &Path, command: &str, flags: &[&str]) -> Value {
    let place = table.display().to_string();
    let arguments = ["table", command, &place, "--output", "json"];
    let ended = Alluvia::start(arguments.iter().chain(flags), Path::new("/"), &[]).wait(BOUND).success();
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{}: {e}", ended.stdout))
}

/// Texts that are hard on paths.
pub const ODD: &str =
    "element_at(array('a b', '100%', 'x:y', 'ü/ñ', 'k=v#?', NULL), CAST(id % 6 AS INT) + 1)";

struct Kind {
    name: &'static str,
    columns: &'static str,
    layout: &'static str,
    rows: String,
    then: &'static [&'static str],
    partitions: u64,
    /// Whether Python's deltalake reads it.
    is_plain: bool,
}

fn kinds() -> Vec<Kind> {
    vec![
        Kind {
            name: "types",
            columns: "k BIGINT, s STRING, n STRUCT<a: INT, b: ARRAY<STRING>>, m MAP<STRING, INT>, d DECIMAL(20, 5), t TIMESTAMP, f DOUBLE, b BINARY",
            layout: "TBLPROPERTIES (delta.appendOnly = true)",
            // Spark writes TIMESTAMP as INT96, whose times need not fit into 64 bits of nanoseconds.
            rows: "id, if(id % 7 = 0, NULL, concat('s', id)), named_struct('a', CAST(id AS INT), 'b', array('x', NULL)), map('k', CAST(id AS INT)), id / 3, CASE id % 3 WHEN 0 THEN timestamp'9999-12-31 23:59:59' WHEN 1 THEN timestamp'0001-01-01' ELSE timestamp_seconds(id) END, if(id % 5 = 0, double('NaN'), id / 4), unhex(hex(id))".into(),
            then: &[],
            partitions: 1,
            is_plain: true,
        },
        Kind {
            name: "odd partitions",
            columns: "k BIGINT, p STRING, day DATE",
            layout: "PARTITIONED BY (p, day)",
            rows: format!("id, {ODD}, DATE'2026-11-29'"),
            then: &[],
            partitions: 6,
            is_plain: true,
        },
        Kind {
            name: "typed partitions",
            columns: "k BIGINT, t TIMESTAMP, d DECIMAL(9, 2), f DOUBLE, b BOOLEAN",
            layout: "PARTITIONED BY (t, d, f, b)",
            rows: "id, TIMESTAMP'2026-01-02 03:04:05.678', CAST(1.5 AS DECIMAL(9, 2)), -0.5D, id % 2 = 0".into(),
            then: &[],
            partitions: 2,
            is_plain: true,
        },
        Kind {
            name: "vectors",
            columns: "k BIGINT, p STRING, ts ARRAY<TIMESTAMP>",
            layout: "PARTITIONED BY (p) TBLPROPERTIES (delta.enableDeletionVectors = true, delta.enableChangeDataFeed = true)",
            rows: format!("id, {ODD}, array(timestamp'9999-12-31', NULL)"),
            then: &["DELETE FROM @T WHERE k % 5 = 1", "DELETE FROM @T WHERE k % 11 = 2"],
            partitions: 6,
            is_plain: false,
        },
        Kind {
            name: "mapped",
            columns: "k BIGINT, p STRING, n STRUCT<a: INT, b: STRING>",
            layout: "PARTITIONED BY (p) TBLPROPERTIES (delta.columnMapping.mode = 'name', delta.enableDeletionVectors = true)",
            rows: format!("id, {ODD}, named_struct('a', CAST(id AS INT), 'b', 'x')"),
            then: &[
                "ALTER TABLE @T RENAME COLUMN k TO `key, renamed`",
                "ALTER TABLE @T RENAME COLUMN p TO `part`",
                "ALTER TABLE @T ADD COLUMN later INT",
                "DELETE FROM @T WHERE `key, renamed` % 4 = 3",
            ],
            partitions: 6,
            is_plain: false,
        },
    ]
}

fn make(table: &Path, kind: &Kind) {
    sql(table, &format!("CREATE TABLE @T ({}) USING delta {}", kind.columns, kind.layout));
    // Twice four files of each partition.
    for _ in 0..2 {
        sql(table, &format!("INSERT INTO @T SELECT /*+ REPARTITION(4) */ {} FROM range(1200)", kind.rows));
    }
    kind.then.iter().for_each(|statement| drop(sql(table, statement)));
}

#[test]
fn compacted_tables_of_every_kind_hold_the_same_rows_for_every_reader() {
    if skipped("Spark") {
        return;
    }
    for kind in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t able");
        make(&table, &kind);
        let (before, stats) = (rows_of(&table), table_command(&table, "stats", &[]));
        let digest = kind.is_plain.then(|| delta_digest(&table, &[]));
        let files = stats["total"]["files"].as_u64().unwrap();
        assert_eq!(files, kind.partitions * 8, "{}", kind.name);

        let planned = table_command(&table, "compact", &["--dry-run"]);
        let there = commits(&table).len();
        assert_eq!(
            (&planned["filesRemoved"], &planned["filesAdded"]),
            (&files.into(), &kind.partitions.into())
        );
        let done = table_command(&table, "compact", &[]);
        assert_eq!(done["versions"], serde_json::json!([there]), "{}: a dry run commits nothing", kind.name);
        assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&files.into(), &kind.partitions.into()));
        assert_eq!(done["deletionVectorsRemoved"].as_u64().unwrap() > 0, !kind.then.is_empty(), "{done}");

        assert_eq!(rows_of(&table), before, "{}", kind.name);
        let now = table_command(&table, "stats", &[]);
        assert_eq!(now["total"]["files"], kind.partitions);
        assert_eq!(
            (&now["total"]["rows"], &now["total"]["deletedRows"]),
            (&stats["total"]["rows"], &0.into())
        );
        let counts = row_counts(&table, if kind.is_plain { &[] } else { &["deltalake"] });
        let counts = counts.as_object().unwrap();
        assert!(
            !counts.is_empty() && counts.values().all(|rows| *rows == before["n"]),
            "{}: {counts:?}",
            kind.name
        );
        if let Some(digest) = digest {
            assert!(delta_digest(&table, &[]).same_rows(&digest), "{}", kind.name);
        }
        check_commit(&table, kind.name);
        let history = spark_history(&table);
        let metrics = &history[0]["operationMetrics"];
        assert_eq!(history[0]["operation"], "OPTIMIZE");
        assert_eq!(metrics["numRemovedFiles"], files.to_string(), "{metrics}");
        assert_eq!(metrics["numAddedFiles"], kind.partitions.to_string(), "{metrics}");
        // Others find nothing more to do, and neither do we.
        let optimized = sql(&table, "OPTIMIZE @T");
        assert_eq!(optimized[0]["metrics"]["numFilesAdded"].as_u64().unwrap_or(0), 0, "{optimized:?}");
        if kind.is_plain {
            assert_eq!(delta_optimize(&table)["numFilesAdded"], 0, "{}", kind.name);
        }
        let again = table_command(&table, "compact", &[]);
        assert_eq!((&again["filesRemoved"], again["versions"].as_array().unwrap().len()), (&0.into(), 0));
    }
}

/// The newest commit changes no row, and says nothing that a stream would take for its own.
fn check_commit(table: &Path, what: &str) {
    let newest = actions(commits(table).last().unwrap());
    let files = newest.iter().filter_map(|action| action.get("add").or_else(|| action.get("remove")));
    let files: Vec<&Value> = files.collect();
    assert!(files.len() > 1 && files.iter().all(|file| file["dataChange"] == false), "{what}: {newest:?}");
    assert!(!newest.iter().any(|action| action.get("txn").is_some()), "{what}");
    let info = newest.iter().find_map(|action| action.get("commitInfo")).unwrap();
    assert!(info.get("alluvia").is_none() && info["isBlindAppend"] == false, "{what}: {info}");
    for add in newest.iter().filter_map(|action| action.get("add")) {
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        assert!(
            stats["numRecords"].as_u64().unwrap() > 0 && stats["minValues"].is_object(),
            "{what}: {stats}"
        );
    }
}

#[test]
fn a_condition_chooses_the_partitions_that_spark_finds_by_it() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    sql(
        &table,
        "CREATE TABLE @T (k BIGINT, day DATE, p STRING, n INT, t TIMESTAMP) USING delta PARTITIONED BY (day, p, n, t)",
    );
    let columns = format!(
        "id, DATE'2026-01-01' + CAST(id % 3 AS INT), {ODD}, CAST(id % 2 AS INT), TIMESTAMP'2026-01-02 03:04:05.678'"
    );
    for _ in 0..2 {
        sql(&table, &format!("INSERT INTO @T SELECT /*+ COALESCE(1) */ {columns} FROM range(300)"));
    }
    let conditions = [
        "day >= '2026-01-02' AND p = 'x:y'",
        "DAY = DATE'2026-01-03' OR p IN ('100%', 'ü/ñ')",
        "n BETWEEN '0' AND 0",
        "p IS NULL",
        "p <=> NULL AND NOT n = 0",
        "n = 0.0 AND p LIKE 'a%'",
        "year(day) = 2026 AND t < '2026-01-02 03:04:05.679'",
        "day > current_date()",
    ];
    for condition in conditions {
        let found = format!("SELECT count(DISTINCT _metadata.file_path) AS n FROM @T WHERE {condition}");
        let planned = table_command(&table, "compact", &["--where", condition, "--dry-run"]);
        assert_eq!(planned["filesRemoved"], sql(&table, &found)[0]["n"], "{condition}: {planned}");
    }
    let rows = rows_of(&table);
    let done = table_command(&table, "compact", &["--where", conditions[0], "--partition", "n=0"]);
    assert_eq!(done["filesRemoved"].as_u64().unwrap() / 2, done["filesAdded"].as_u64().unwrap(), "{done}");
    assert_ne!(done["filesAdded"], 0);
    assert_eq!(rows_of(&table), rows);
    let said = spark_history(&table)[0]["operationParameters"]["predicate"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Vec<String>>(&said).unwrap(), [conditions[0]]);
    let place = table.display().to_string();
    let arguments = ["table", "compact", &place, "--where", "k = 1"];
    let refused = Alluvia::start(arguments, folder.path(), &[]).wait(BOUND);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("partition columns of the table (day, p, n, t)"), "{}", refused.stderr);
}

#[test]
fn a_commit_whose_answer_is_lost_or_says_taken_is_found_and_keeps_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
    let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
    // The last is what a client is told that sends its request twice.
    for answer in ["do-and-fail", "do-and-exists"] {
        let table = folder.path().join(answer);
        let mut written = Written::new(&table, &rows, &[]);
        (0..3).for_each(|_| written.append(std::slice::from_ref(&rows)));
        let place = table.display().to_string();
        let faults = format!("create _delta_log 1 {answer}");
        let arguments = ["table", "compact", &place, "--output", "json"];
        let ended = Alluvia::start(arguments, folder.path(), &[("ALLUVIA_STORE_FAULTS", &faults)]);
        let ended = ended.wait(BOUND).success();
        let done: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&3.into(), &1.into()), "{answer}: {done}");
        let stats = table_command(&table, "stats", &[]);
        assert_eq!(
            (&stats["total"]["files"], &stats["total"]["rows"]),
            (&1.into(), &3_000.into()),
            "{answer}: {stats}"
        );
        // What the table names is there, and nothing else is deleted by a vacuum than the files that were joined.
        let left = table_command(&table, "vacuum", &["--retain", "0 hours", "--no-retention-check"]);
        assert_eq!(left["deleted"]["dataFile"]["files"], 3, "{answer}: {left}");
        let files = fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(files.filter(|file| file.is_file()).count(), 1, "{answer}");
    }
}

#[test]
fn rows_keep_their_order_and_only_named_partitions_are_touched() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    sql(&table, "CREATE TABLE @T (k BIGINT, p STRING) USING delta PARTITIONED BY (p)");
    for part in 0..4 {
        let rows =
            format!("SELECT /*+ COALESCE(1) */ id, {ODD} FROM range({}, {})", part * 600, part * 600 + 600);
        sql(&table, &format!("INSERT INTO @T {rows}"));
    }
    let done = table_command(&table, "compact", &["--partition", "P=x:y", "--target-file-size", "1m"]);
    assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&4.into(), &1.into()), "{done}");
    let done = table_command(&table, "compact", &["--partition", "p=__HIVE_DEFAULT_PARTITION__"]);
    assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&4.into(), &1.into()), "{done}");
    let files = sql(
        &table,
        "SELECT coalesce(p, 'NULL') AS p, count(DISTINCT _metadata.file_path) AS n FROM @T GROUP BY p",
    );
    let files: BTreeMap<&str, u64> =
        files.iter().map(|row| (row["p"].as_str().unwrap(), row["n"].as_u64().unwrap())).collect();
    assert_eq!(files["x:y"], 1);
    assert_eq!((files["NULL"], files["a b"], files["100%"]), (1, 4, 4), "{files:?}");
    // One file is read from its first row to its last.
    let keys = sql(&table, "SELECT k FROM @T WHERE p = 'x:y'");
    let keys: Vec<u64> = keys.iter().map(|row| row["k"].as_u64().unwrap()).collect();
    assert!(keys.len() == 400 && keys.is_sorted(), "{keys:?}");
    let place = table.display().to_string();
    let compact = |partition: &str| {
        Alluvia::start(["table", "compact", &place, "--partition", partition], folder.path(), &[]).wait(BOUND)
    };
    let none = compact("p=nope").success();
    assert!(
        none.stdout
            .contains("nothing to do: there is no file in the table, or in the partitions that are named"),
        "{}",
        none.stdout
    );
    let wrong = compact("k=1");
    assert_eq!(wrong.code(), 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("k is not a partition column"), "{}", wrong.stderr);
}

#[test]
fn what_others_change_while_a_table_is_compacted_is_left_and_what_they_append_stays() {
    if skipped("Spark") {
        return;
    }
    for vectors in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        let place = table.display().to_string();
        sql(
            &table,
            &format!(
                "CREATE TABLE @T (k BIGINT, p BIGINT) USING delta PARTITIONED BY (p) TBLPROPERTIES (delta.enableDeletionVectors = {vectors})"
            ),
        );
        sql(&table, "INSERT INTO @T SELECT /*+ REPARTITION(3) */ id, id % 4 FROM range(1200)");
        let arm = [("ALLUVIA_FAILPOINTS", "compact.files=stop")];
        let stopped = Alluvia::start(["table", "compact", &place, "--output", "json"], folder.path(), &arm);
        stopped.wait_for("compact.files", BOUND);
        sql(&table, "INSERT INTO @T SELECT id, id % 4 FROM range(5000, 5040)");
        sql(&table, "DELETE FROM @T WHERE p = 1 AND k % 8 = 1");
        sql(&table, "DELETE FROM @T WHERE p = 2");
        let expected = rows_of(&table);
        stopped.resume();
        let done: Value = serde_json::from_str(&stopped.wait(BOUND).success().stdout).unwrap();
        assert_eq!(rows_of(&table), expected, "{vectors}: {done}");
        assert_eq!(
            (&done["filesRemoved"], &done["filesAdded"], &done["filesLeft"]),
            (&6.into(), &2.into(), &6.into())
        );
        // What was written for nothing is gone, and the rest is done by the next.
        let all =
            table_command(&table, "vacuum", &["--retain", "0 hours", "--no-retention-check", "--dry-run"]);
        let files = all["files"].as_array().unwrap();
        assert!(!files.iter().any(|file| file["kind"] == "orphan"), "{all}");
        table_command(&table, "compact", &[]);
        assert_eq!(rows_of(&table), expected);

        // A table whose columns are changed meanwhile is left as it is.
        sql(&table, "INSERT INTO @T SELECT /*+ REPARTITION(3) */ id, id % 4 FROM range(1200)");
        let stopped = Alluvia::start(["table", "compact", &place, "--output", "json"], folder.path(), &arm);
        stopped.wait_for("compact.files", BOUND);
        sql(&table, "ALTER TABLE @T ADD COLUMN more INT");
        let version = commits(&table).len();
        stopped.resume();
        let done: Value = serde_json::from_str(&stopped.wait(BOUND).success().stdout).unwrap();
        assert_eq!((&done["filesRemoved"], commits(&table).len()), (&0.into(), version), "{done}");
    }
}

#[test]
fn a_compaction_that_is_killed_leaves_the_table_as_it_was_or_is_done() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let place = table.display().to_string();
    sql(&table, "CREATE TABLE @T (k BIGINT) USING delta");
    sql(&table, "INSERT INTO @T SELECT /*+ REPARTITION(5) */ id FROM range(1000)");
    let rows = rows_of(&table);
    for (at, files) in [("compact.files", 5), ("compact.committed", 1)] {
        let arm = format!("{at}=kill");
        let ended =
            Alluvia::start(["table", "compact", &place], folder.path(), &[("ALLUVIA_FAILPOINTS", &arm)]);
        assert!(ended.wait(BOUND).status.code().is_none(), "not killed at {at}");
        assert_eq!(rows_of(&table), rows, "{at}");
        assert_eq!(table_command(&table, "stats", &[])["total"]["files"], files, "{at}");
    }
    assert_eq!(table_command(&table, "compact", &[])["filesRemoved"], 0);
}

#[test]
fn a_table_whose_rows_have_ids_is_refused_by_name() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    sql(&table, "CREATE TABLE @T (k BIGINT) USING delta TBLPROPERTIES (delta.enableRowTracking = true)");
    let place = table.display().to_string();
    let ended = Alluvia::start(["table", "compact", &place], folder.path(), &[]).wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("rowTracking"), "{}", ended.stderr);
}

/// The stream with deletion vectors in its table: an upsert then leaves a file of each batch.
fn with_vectors(yaml: &str) -> String {
    let more = "delta.checkpointInterval: '2', delta.enableDeletionVectors: 'true'";
    yaml.replacen("delta.checkpointInterval: '2'", more, 1)
}

/// What Spark reads of these columns.
fn spark_digest(table: &Path, columns: &[&str]) -> Digest {
    let rows = sql(table, &format!("SELECT {} FROM @T", columns.join(", ")));
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    digest_of(rows.iter().map(|row| columns.iter().map(|column| text(&row[*column])).collect::<Vec<_>>()))
}

/// Compacts again and again until the program has ended; how often that made a commit.
fn compact_until_it_ends(mut stream: Alluvia, table: &Path) -> (usize, crate::rig::Ended) {
    let (start, mut made) = (Instant::now(), 0);
    while !stream.ended() {
        assert!(start.elapsed() < BOUND * 4, "not within {:?}:\n{}", BOUND * 4, stream.stderr());
        if table.join("_delta_log").is_dir() && !commits(table).is_empty() {
            made += table_command(table, "compact", &[])["versions"].as_array().unwrap().len();
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    (made, stream.wait(BOUND))
}

#[test]
fn a_merging_stream_follows_what_is_compacted_under_it_and_keeps_each_key_once() {
    let Some(broker) = Broker::shared() else { return };
    let merged = Duplicates::new(broker, "compact-merge");
    merged.produce(6_000);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let yaml = merged.yaml("").replace("maxOffsetsPerTrigger: 900", "maxOffsetsPerTrigger: 150");
    let (made, ended) = compact_until_it_ends(Alluvia::run(&yaml, folder.path()), &table);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(made > 1, "only {made} compactions came between the batches");
    merged.check_by("merge", |columns| delta_digest(&table, columns));
    assert!(!ended.stderr.contains("is built again"), "the index followed: {}", ended.stderr);

    let scene = Scene::new(broker, "compact-upsert", 3, 10_000, 150);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let yaml = with_vectors(&Scene::newest_yaml(&scene.yaml()));
    let (made, ended) = compact_until_it_ends(Alluvia::run(&yaml, folder.path()), &table);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(made > 0, "no compaction came between the batches");
    scene.check_newest_by("upsert", |columns| spark_digest(&table, columns));
}

/// A scene of a hundred small batches, and its stream, which joins small files.
fn of_small_batches(broker: &Broker, hint: &str) -> (Scene, String) {
    let scene = Scene::new(broker, hint, 3, 10_000, 100);
    let yaml = scene.yaml().replacen("path: ./table,", "path: ./table, autoCompact: true,", 1);
    (scene, yaml)
}

fn data_files(table: &Path) -> u64 {
    table_command(table, "stats", &[])["total"]["files"].as_u64().unwrap()
}

#[test]
fn a_stream_joins_small_files_beside_its_batches_and_never_loses_a_version_to_itself() {
    let Some(broker) = Broker::shared() else { return };
    let (scene, yaml) = of_small_batches(broker, "auto-compact");
    let (property, upsert) = (scene.yaml(), with_vectors(&Scene::newest_yaml(&yaml)));
    for (name, yaml) in [("append", &yaml), ("by the table's property", &property), ("upsert", &upsert)] {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        if yaml == &property {
            killed_at(yaml, folder.path(), "files.after");
            sql(&table, "ALTER TABLE @T SET TBLPROPERTIES (delta.autoOptimize.autoCompact = true)");
        }
        let ended = Alluvia::run(yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 0, "{name}: {}", ended.stderr);
        if name == "upsert" {
            scene.check_newest_by(name, |columns| spark_digest(&table, columns));
        } else {
            scene.check(folder.path(), name);
            let files = data_files(&table);
            assert!(files <= 60, "{name}: {files} files are left");
            assert!(ended.stderr.contains("numCompactedFiles"), "{name}: {}", ended.stderr);
        }
        assert!(ended.stderr.contains("small files of the table were joined"), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("another writer took"), "{name}: {}", ended.stderr);
        let compactions: Vec<PathBuf> = commits(&table)
            .into_iter()
            .filter(|commit| fs::read_to_string(commit).unwrap().contains("\"operation\":\"OPTIMIZE\""))
            .collect();
        let parameters = &actions(compactions.last().unwrap())[0]["commitInfo"]["operationParameters"];
        assert_eq!(parameters["auto"], "true", "{name}: {parameters}");
    }
    // Without being asked it joins nothing.
    let folder = tempfile::tempdir().unwrap();
    let ended = Alluvia::run(&scene.yaml(), folder.path()).wait(BOUND).success();
    assert!(!ended.stderr.contains("joined") && data_files(&folder.path().join("table")) > 60);
}

#[test]
fn a_stream_that_is_killed_while_it_joins_small_files_loses_nothing_and_doubles_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let (scene, yaml) = of_small_batches(broker, "auto-compact-crash");
    let upsert = with_vectors(&Scene::newest_yaml(&yaml));
    let cases = [
        ("compact.files", &yaml, false),
        ("compact.committed", &yaml, false),
        ("compact.files", &upsert, true),
        ("compact.committed", &upsert, true),
    ];
    each(&cases, |(at, yaml, merges)| {
        let folder = tempfile::tempdir().unwrap();
        // Twice in a row: the second time with what the first left behind.
        killed_at(yaml, folder.path(), at);
        let again = Alluvia::run_with(yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", &format!("{at}=kill"))]);
        again.wait(BOUND);
        Alluvia::run(yaml, folder.path()).wait(BOUND).success();
        let what = format!("killed at {at}, merges: {merges}");
        let check = || {
            if *merges {
                let table = folder.path().join("table");
                scene.check_newest_by(&what, |columns| spark_digest(&table, columns));
            } else {
                scene.check(folder.path(), &what);
            }
        };
        check();
        let left = table_command(
            &folder.path().join("table"),
            "vacuum",
            &["--retain", "0 hours", "--no-retention-check"],
        );
        assert_ne!(left["deleted"], serde_json::json!({}), "{what}");
        check();
    });
}
