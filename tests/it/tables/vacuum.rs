//! `alluvia table vacuum`: what the log does not need goes, and nothing else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::{Value, json};

use crate::rig::{Alluvia, Broker, delta_vacuum, skipped};
use crate::scene::{BOUND, Scene, killed_at};
use crate::tables::compact::{ODD, rows_of, sql, table_command};
use crate::tables::statistics::Written;

const AT_ONCE: [&str; 3] = ["--retain", "0 hours", "--no-retention-check"];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every file under a folder, from it, but for those of the log.
fn files_in(table: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![table.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(table).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.retain(|name| !name.starts_with("_delta_log"));
    found
}

fn write(table: &Path, name: &str, age: Duration) -> PathBuf {
    let path = table.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    path
}

fn named(report: &Value) -> BTreeSet<String> {
    let files = report["files"].as_array().unwrap().iter();
    files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

/// A table with odd partitions, of which files were removed by a compaction and by deletes.
fn make(table: &Path, properties: &str) {
    sql(
        table,
        &format!(
            "CREATE TABLE @T (k BIGINT, p STRING) USING delta PARTITIONED BY (p) TBLPROPERTIES ({properties})"
        ),
    );
    sql(table, &format!("INSERT INTO @T SELECT /*+ REPARTITION(3) */ id, {ODD} FROM range(1200)"));
    sql(table, "DELETE FROM @T WHERE k % 7 = 1");
    sql(table, "DELETE FROM @T WHERE k % 13 = 5");
    table_command(table, "compact", &["--partition", "p=100%"]);
    sql(table, "UPDATE @T SET k = k + 10000 WHERE k % 5 = 2 AND p = 'a b'");
}

#[test]
fn vacuum_deletes_what_spark_and_delta_rs_would_and_every_row_stays() {
    vacuum_as_spark("delta.enableDeletionVectors = false");
}

/// Compares what a vacuum deletes of a table with these properties with what Spark would, and delta-rs where it reads it.
fn vacuum_as_spark(properties: &str) {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t able%");
    make(&table, properties);
    let rows = rows_of(&table);
    write(&table, "p=x%3Ay/stray.parquet", Duration::ZERO);
    write(&table, "notes.txt", Duration::ZERO);
    for stays in ["_tmp/x.parquet", ".hidden", "p=a b/_x.parquet", "p=a b/.x.parquet.crc"] {
        write(&table, stays, Duration::ZERO);
    }
    let all = files_in(&table);
    let young = table_command(&table, "vacuum", &[]);
    assert_eq!((&young["deleted"], &young["files"]), (&json!({}), &json!([])), "all is younger than a week");
    assert_eq!(files_in(&table), all);
    let would = table_command(&table, "vacuum", &[&AT_ONCE[..], &["--dry-run"]].concat());
    assert_eq!(files_in(&table), all, "a dry run deletes nothing");
    // What no commit keeps for the retention: two strays, and change data, which leaves by its age alone.
    let change_data = would["deleted"]["changeData"]["files"].as_u64().unwrap_or(0);
    assert_eq!(young["tooYoung"]["files"], 2 + change_data, "{young}");
    assert!(named(&would).len() > 2, "{would}");

    sql(&table, "SET spark.databricks.delta.retentionDurationCheck.enabled = false");
    let spark = sql(&table, "VACUUM @T RETAIN 0 HOURS DRY RUN");
    let root = format!("{}/", table.display());
    let spark: BTreeSet<String> = spark
        .iter()
        .filter_map(|row| row["path"].as_str())
        .map(|path| {
            let path = path.strip_prefix("file:").unwrap_or(path);
            path.strip_prefix(&root).unwrap_or_else(|| panic!("{path} is not in {root}")).to_owned()
        })
        .filter(|path| table.join(path).is_file())
        .collect();
    assert_eq!(named(&would), spark, "{properties}");
    if !properties.contains("true") {
        // What the log never named is no affair of delta-rs.
        let strays = ["p=x%3Ay/stray.parquet", "notes.txt"].map(str::to_owned);
        let theirs: BTreeSet<String> = delta_vacuum(&table).into_iter().chain(strays).collect();
        assert_eq!(named(&would), theirs, "{properties}");
    }
    let kinds = would["deleted"].as_object().unwrap();
    assert_eq!(
        kinds.contains_key("deletionVector"),
        properties.contains("DeletionVectors = true"),
        "{would}"
    );
    assert_eq!(kinds.contains_key("changeData"), properties.contains("ChangeDataFeed"), "{would}");

    let done = table_command(&table, "vacuum", &AT_ONCE);
    assert_eq!(named(&done), named(&would));
    let left: BTreeSet<String> = all.difference(&named(&would)).cloned().collect();
    assert_eq!(files_in(&table), left);
    assert_eq!(rows_of(&table), rows, "{properties}");
    assert!(left.contains("_tmp/x.parquet") && left.contains("p=a b/_x.parquet"));
}

#[test]
fn what_left_the_table_stays_for_the_retention_and_shorter_ones_must_be_asked_for() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    sql(&table, "CREATE TABLE @T (k BIGINT) USING delta");
    sql(&table, "INSERT INTO @T SELECT /*+ REPARTITION(3) */ id FROM range(900)");
    for file in files_in(&table) {
        // Written a month ago, and removed now.
        File::open(table.join(file)).unwrap().set_modified(SystemTime::now() - DAY * 30).unwrap();
    }
    table_command(&table, "compact", &[]);
    let (old, young) = ("old.parquet", "young.parquet");
    write(&table, old, DAY * 8);
    write(&table, young, DAY * 6);
    // Folders that are no part of the table, whatever their names.
    write(&table, "inner/_delta_log/00000000000000000000.json", DAY * 30);
    write(&table, "inner/part.parquet", DAY * 30);
    write(&table, "nest/silver/_delta_log/00000000000000000000.json", DAY * 30);
    write(&table, "nest/silver/A.parquet", DAY * 30);
    for file in ["offsets/0", "commits/0", "state/x"] {
        write(&table, &format!("checkpoint/{file}"), DAY * 30);
    }
    let done = table_command(&table, "vacuum", &[]);
    assert_eq!(named(&done), BTreeSet::from([old.to_owned()]), "{done}");
    assert_eq!(done["foldersLeft"], json!(["checkpoint", "inner", "nest/silver"]));
    assert_eq!(done["tooYoung"]["files"], 1);
    assert_eq!(rows_of(&table)["n"], 900);
    sql(&table, "SELECT count(*) FROM @T VERSION AS OF 1");

    let place = table.display().to_string();
    let refused =
        Alluvia::start(["table", "vacuum", &place, "--retain", "1 hour"], folder.path(), &[]).wait(BOUND);
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("--no-retention-check"), "{}", refused.stderr);
    sql(&table, "ALTER TABLE @T SET TBLPROPERTIES (delta.deletedFileRetentionDuration = 'interval 5 days')");
    assert_eq!(
        named(&table_command(&table, "vacuum", &["--retain", "120 hours"])),
        BTreeSet::from([young.to_owned()])
    );
    let text =
        Alluvia::start(["table", "vacuum", &place, "--dry-run"], folder.path(), &[]).wait(BOUND).success();
    assert!(text.stdout.contains("to delete  0 data files"), "{}", text.stdout);
}

#[test]
fn nothing_outside_of_the_table_is_deleted_and_odd_names_stop_no_vacuum() {
    let folder = tempfile::tempdir().unwrap();
    let (real, table, victim) =
        (folder.path().join("real"), folder.path().join("table"), folder.path().join("victim"));
    fs::create_dir(&real).unwrap();
    // The table itself is found by a link.
    symlink(&real, &table).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
    Written::new(&table, &rows, &[]).append(std::slice::from_ref(&rows));
    let own = files_in(&real);
    assert_eq!(own.len(), 1);
    for file in &own {
        File::options()
            .write(true)
            .open(real.join(file))
            .unwrap()
            .set_modified(SystemTime::now() - DAY * 30)
            .unwrap();
    }
    write(&victim, "old.parquet", DAY * 30);
    write(&victim, "inner/old.parquet", DAY * 30);
    write(&real, "d/old.parquet", DAY * 30);
    write(&real, "d/line\nfeed.parquet", DAY * 30);
    write(&real, "tab\t/old.parquet", DAY * 30);
    symlink(&victim, real.join("link")).unwrap();
    symlink("../../victim", real.join("d/link")).unwrap();
    symlink("..", real.join("d/round")).unwrap();
    symlink(victim.join("old.parquet"), real.join("d/linked.parquet")).unwrap();
    let would = table_command(&table, "vacuum", &["--dry-run"]);
    let done = table_command(&table, "vacuum", &[]);
    let goes = ["d/linked.parquet", "d/old.parquet"].map(str::to_owned);
    assert_eq!(named(&done), BTreeSet::from(goes), "{done}");
    assert_eq!(named(&would), named(&done));
    assert_eq!(done["foldersLeft"], json!(["d/link", "d/round", "link"]), "{done}");
    assert_eq!(files_in(&victim).len(), 2);
    assert!(real.join("d/line\nfeed.parquet").exists() && real.join("link").exists());
    assert!(own.iter().all(|file| real.join(file).exists()));
}

#[test]
fn a_vacuum_that_is_killed_has_deleted_a_part_and_the_next_deletes_the_rest() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    make(&table, "delta.enableDeletionVectors = true");
    let (rows, all) = (rows_of(&table), files_in(&table));
    let place = table.display().to_string();
    let arguments = ["table", "vacuum", &place].into_iter().chain(AT_ONCE);
    let killed = Alluvia::start(arguments, folder.path(), &[("ALLUVIA_FAILPOINTS", "vacuum.some=kill@2")]);
    assert!(killed.wait(BOUND).status.code().is_none());
    assert_eq!(rows_of(&table), rows);
    let left = files_in(&table).len();
    assert!(left < all.len());
    let rest = table_command(&table, "vacuum", &AT_ONCE);
    assert_eq!(files_in(&table).len(), left - named(&rest).len());
    assert_eq!(rows_of(&table), rows);
}

#[test]
fn files_of_runs_that_never_became_part_of_the_table_go_once_their_batch_is_committed() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "orphans", 3, 20_000, 6_000);
    let folder = tempfile::tempdir().unwrap();
    let (table, letters) = (folder.path().join("table"), folder.path().join("letters"));
    // The second batch is run three times; of the third run the files are whole, of another only some.
    killed_at(&scene.yaml(), folder.path(), "sink.after");
    killed_at(&scene.yaml(), folder.path(), "files.after");
    let none = table_command(&table, "vacuum", &["--orphan-age", "0 hours"]);
    assert_eq!(none["deleted"], json!({}), "the batch is not committed yet: {none}");
    assert_ne!(none["tooYoung"]["files"], 0);
    killed_at(&scene.yaml(), folder.path(), "disk.written=kill@4,x");
    scene.finish(folder.path(), "before the vacuum");
    let young = table_command(&table, "vacuum", &[]);
    assert_eq!(young["deleted"], json!({}), "a day old at least");
    let mut gone = 0;
    for place in [&table, &letters] {
        let would = table_command(place, "vacuum", &["--orphan-age", "0 hours", "--dry-run"]);
        let done = table_command(place, "vacuum", &["--orphan-age", "0 hours"]);
        assert_eq!(named(&would), named(&done));
        let deleted = done["deleted"].as_object().unwrap();
        assert!(deleted.keys().all(|kind| kind == "orphan"), "{done}");
        gone += named(&done).len();
        let at_once = table_command(place, "vacuum", &[&AT_ONCE[..], &["--dry-run"]].concat());
        assert_eq!(named(&at_once), BTreeSet::new(), "nothing else is left that no commit names");
    }
    assert!(gone >= 2, "{gone}");
    scene.check(folder.path(), "after the vacuum");
}

#[test]
fn a_stream_deletes_what_its_table_does_not_need_any_more_and_nothing_else() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "auto-vacuum", 3, 20_000, 6_000);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let yaml = scene.yaml().replacen("path: ./table,", "path: ./table, autoVacuum: 1 second,", 1);
    // Files of a run that never became part of the table.
    killed_at(&yaml, folder.path(), "files.after");
    scene.finish(folder.path(), "before the vacuum");
    let orphans = named(&table_command(&table, "vacuum", &["--orphan-age", "0 hours", "--dry-run"]));
    assert!(!orphans.is_empty());
    let few = [("old.parquet", 9), ("older.parquet", 30), ("young.parquet", 5)];
    few.iter().for_each(|(name, _)| fs::write(table.join(name), "nobody's").unwrap());
    for file in parquet_files(&table) {
        let days = few.iter().find(|(name, _)| file.ends_with(name)).map_or(2, |(_, days)| *days);
        let past = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::options().write(true).open(&file).unwrap().set_modified(past).unwrap();
    }
    // The table is read and written within a second of its last commit or later: another interval only then.
    std::thread::sleep(Duration::from_millis(1_100));
    scene.produce(broker, 10_000);
    killed_at(&yaml, folder.path(), "vacuum.some");
    std::thread::sleep(Duration::from_millis(1_100));
    scene.produce(broker, 10_000);
    let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND).success();
    scene.check(folder.path(), "after the vacuum");
    assert!(ended.stderr.contains("files that the table no longer needs were deleted"), "{}", ended.stderr);
    let left: Vec<&str> =
        few.iter().map(|(name, _)| *name).filter(|name| table.join(name).exists()).collect();
    assert_eq!(left, ["young.parquet"]);
    assert!(orphans.iter().all(|orphan| !table.join(orphan).exists()), "orphans go when they are a day old");
}

fn parquet_files(table: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(table).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "parquet")).collect()
}
