//! A table whose log is written by hand, as other writers leave it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use url::Url;

use super::{Append, DeltaTable, Reads};
use crate::model::Result;
use crate::storage::{Store, test_runtime};

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A table with the columns `c` and `d` in a folder that goes with it.
pub(super) struct TestLog {
    folder: TempDir,
    properties: Value,
}

impl TestLog {
    /// Version 0.
    pub(super) fn new(protocol: &Value, properties: Value) -> TestLog {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("_delta_log")).unwrap();
        let log = TestLog { folder, properties };
        log.commit(&[json!({"protocol": protocol}), log.metadata(&json!({}))]);
        log
    }

    /// A table of the protocol (1, 2).
    pub(super) fn plain(properties: Value) -> TestLog {
        TestLog::new(&json!({"minReaderVersion": 1, "minWriterVersion": 2}), properties)
    }

    /// The `metaData` with further properties.
    pub(super) fn metadata(&self, further: &Value) -> Value {
        let mut properties = self.properties.clone();
        for (name, value) in further.as_object().unwrap() {
            properties[name] = value.clone();
        }
        let column = |id: i32, name: &str, data_type: &str| {
            let mapped =
                json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": format!("p{id}")});
            let is_mapped = properties.get("delta.columnMapping.mode").is_some();
            let metadata = if is_mapped { mapped } else { json!({}) };
            json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
        };
        let schema = json!({"type": "struct", "fields": [column(1, "c", "long"), column(2, "d", "string")]});
        json!({"metaData": {
            "id": "an-id", "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
            "partitionColumns": [], "configuration": properties, "createdTime": 1,
        }})
    }

    /// Another writer's commit; returns its version.
    pub(super) fn commit(&self, actions: &[Value]) -> u64 {
        let version = self.versions().last().map_or(0, |newest| newest + 1);
        let info = json!({"commitInfo": {
            "timestamp": 1, "inCommitTimestamp": version + 1, "operation": "WRITE", "txnId": "x",
        }});
        let lines: Vec<String> = [&info].into_iter().chain(actions).map(Value::to_string).collect();
        fs::write(self.path(version), lines.join("\n")).unwrap();
        version
    }

    /// Commits of one file each up to a version.
    pub(super) fn commit_until(&self, version: u64) {
        while self.versions().last() < Some(&version) {
            let path = format!("{}.parquet", self.versions().len());
            self.commit(&[json!({"add": {
                "path": path, "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true,
            }})]);
        }
    }

    /// Writes a checkpoint of the newest version, and deletes what expired.
    pub(super) fn maintain(&self) {
        self.open().unwrap().maintenance().unwrap().run().unwrap();
    }

    pub(super) fn open(&self) -> Result<DeltaTable> {
        DeltaTable::open(&self.store()).map(Option::unwrap)
    }

    pub(super) fn store(&self) -> Store {
        let url = Url::from_directory_path(self.folder.path()).unwrap();
        Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap()
    }

    /// The versions whose commits are there, the oldest first.
    pub(super) fn versions(&self) -> Vec<u64> {
        let names = self.names().into_iter();
        names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect()
    }

    /// The actions of a commit.
    pub(super) fn actions(&self, version: u64) -> Vec<Value> {
        let text = fs::read_to_string(self.path(version)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Makes the files of all versions up to one as old as this.
    pub(super) fn age(&self, version: u64, age: Duration) {
        for name in self.names() {
            if name.get(..20).and_then(|digits| digits.parse().ok()).is_some_and(|of: u64| of <= version) {
                let file = File::options().write(true).open(self.log().join(name)).unwrap();
                file.set_modified(SystemTime::now() - age).unwrap();
            }
        }
    }

    /// Writes a file of this age into the table's folder.
    pub(super) fn write(&self, name: &str, age: Duration) {
        let file = File::create(self.folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    /// The names of the log's files, in order.
    fn names(&self) -> Vec<String> {
        let files = fs::read_dir(self.log()).unwrap();
        let mut names: Vec<String> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, version: u64) -> PathBuf {
        self.log().join(format!("{version:020}.json"))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("_delta_log")
    }
}

/// A micro-batch without rows.
pub(super) fn empty_batch(batch_id: i64) -> Append {
    Append {
        query_id: "a-query".into(),
        batch_id,
        attempt: format!("attempt-{batch_id}"),
        binding: None,
        files: Vec::new(),
        replaces: None,
        files_may_be_gone: false,
        reads: Reads::Nothing,
        changes: None,
        replaces_table: false,
        checkpoint: Map::new(),
    }
}
