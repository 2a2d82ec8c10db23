//! What the log of a table says and how it is kept: the compression of its checkpoints, defaults of columns.

use std::fs::{self, File};

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::rig::{Alluvia, Broker, Message, spark_sql};
use crate::scene::{BOUND, Scene};

#[test]
fn checkpoints_of_the_log_are_compressed_as_those_of_spark_are() {
    let Some(broker) = Broker::shared() else { return };
    let scene = Scene::new(broker, "log-compressed", 2, 20_000, 5_000);
    let folder = tempfile::tempdir().unwrap();
    let ended = Alluvia::run(&scene.yaml(), folder.path()).wait(BOUND);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
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

#[test]
fn a_column_with_a_default_is_filled_by_the_stream_or_the_start_is_refused_by_its_name() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("log-defaults", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, [Message::new("{\"id\":1,\"state\":\"open\"}")]);
    let table = folder.path().join("table");
    spark_sql(&format!(
        "CREATE TABLE delta.`{}` (id INT, state STRING DEFAULT 'new') USING delta TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')",
        table.display()
    ));
    let run = |schema: &str| {
        let yaml = format!(
            "streams:
  - name: defaults
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}' }}
    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
",
            broker.bootstrap()
        );
        Alluvia::run(&yaml, folder.path()).wait(BOUND)
    };
    let refused = run("id INT");
    assert_eq!(refused.code(), 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("column state of table"), "{}", refused.stderr);
    assert!(refused.stderr.contains("add the column to source.value.schema"), "{}", refused.stderr);
    let written = run("id INT, state STRING");
    assert_eq!(written.code(), 0, "{}", written.stderr);
    let rows = spark_sql(&format!("SELECT id, state FROM delta.`{}`", table.display()));
    assert_eq!(rows, [serde_json::json!({ "id": 1, "state": "open" })]);
}
