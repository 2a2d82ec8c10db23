//! How the log of a table is kept: the compression of its checkpoints.

use std::fs::{self, File};

use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::rig::Broker;
use crate::scene::Scene;

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
