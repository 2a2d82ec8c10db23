//! How the log of a table is kept: the compression of its checkpoints, and the file that names the newest.

use std::fs::{self, File};

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::rig::{Alluvia, Broker, skipped};
use crate::scene::{BOUND, Scene};
#[cfg(any(debug_assertions, feature = "failpoints"))]
use crate::tables::compact::{rows_of, sql, table_command};

#[test]
fn checkpoints_of_the_log_are_compressed_as_those_of_spark_are() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "log-compressed", 2, 20_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    scene.finish(folder.path(), "a table with checkpoints");
    let files =
        fs::read_dir(folder.path().join("table/_delta_log")).unwrap().map(|file| file.unwrap().path());
    let mut checkpoints = 0;
    for path in files.filter(|path| path.to_string_lossy().ends_with(".checkpoint.parquet")) {
        let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                assert_eq!(
                    column.compression(),
                    Compression::SNAPPY,
                    "{} {}",
                    path.display(),
                    column.column_path()
                );
            }
        }
        checkpoints += 1;
    }
    assert!(checkpoints > 0, "a checkpoint every 2 commits");
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
#[test]
fn a_table_is_read_and_written_as_by_spark_whatever_last_checkpoint_names() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (number, (keeps_checkpoint, hint)) in [
        (true, r#"{"version": 2, "size": 1, "parts": 1000000000}"#),
        (true, r#"{"version": 3, "size": 1}"#),
        (false, r#"{"version": 2, "size": 1}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let table = folder.path().join(number.to_string());
        sql(&table, "CREATE TABLE @T (k BIGINT) USING delta TBLPROPERTIES (delta.checkpointInterval = 2)");
        for _ in 0..3 {
            sql(&table, "INSERT INTO @T SELECT id FROM range(10)");
        }
        let log = table.join("_delta_log");
        let checkpoint = log.join(format!("{:020}.checkpoint.parquet", 2));
        assert!(checkpoint.exists());
        if !keeps_checkpoint {
            fs::remove_file(checkpoint).unwrap();
        }
        fs::write(log.join("_last_checkpoint"), hint).unwrap();
        // Hadoop would refuse a file that is not what its checksum says.
        let _ = fs::remove_file(log.join("._last_checkpoint.crc"));
        assert_eq!(table_command(&table, "stats", &[])["version"], 3, "{hint}");
        let done = table_command(&table, "compact", &[]);
        assert_eq!(done["versions"], serde_json::json!([4]), "{hint}: {done}");
        assert_eq!(rows_of(&table)["n"], 30, "{hint}");
    }
    // Beyond the end of the log: what was there may be lost, and what it named must not be deleted.
    let table = folder.path().join("0");
    fs::write(table.join("_delta_log/_last_checkpoint"), r#"{"version": 999999999999, "size": 1}"#).unwrap();
    assert_eq!(table_command(&table, "stats", &[])["version"], 4);
    for command in ["compact", "vacuum"] {
        let ended = Alluvia::start(["table", command, "."], &table, &[]).wait(BOUND);
        assert_eq!(ended.code(), 7, "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("ends at version 4"), "{command}: {}", ended.stderr);
    }
}
