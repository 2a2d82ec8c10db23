//! The index of a table whose log other writers change: every commit here is written by hand. Here are the tables that
//! the tests below share.

mod follow;
mod window;
mod stored;
mod own_commits;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use super::*;
use crate::storage::{Store, test_runtime};
use crate::table::AddedFile;
use crate::table::key_index::{OwnDeletions, OwnFiles};

/// A table with columns `id BIGINT`, `s STRUCT<x STRING>` and `day STRING`, and an index beside it.
struct Lake {
    folder: TempDir,
    version: i64,
}

impl Lake {
    fn new(partitioned: bool) -> Lake {
        let mut lake = Lake { folder: tempfile::tempdir().unwrap(), version: -1 };
        fs::create_dir_all(lake.path("table/_delta_log")).unwrap();
        lake.commit(&[
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            metadata("6c2c1a2e-0000-4000-8000-000000000001", partitioned),
        ]);
        lake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn commit(&mut self, actions: &[Value]) {
        self.version += 1;
        let info = json!({"commitInfo": {"operation": "TEST", "nonce": rand::random::<u32>()}});
        let lines: Vec<String> = std::iter::once(&info).chain(actions).map(Value::to_string).collect();
        let name = format!("table/_delta_log/{:020}.json", self.version);
        fs::write(self.path(&name), lines.join("\n")).unwrap();
    }

    /// Writes a file with these ids and returns its `add`.
    fn file(&self, name: &str, ids: &[Option<i64>], day: Option<&str>) -> Value {
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter(ids.iter().map(|id| id.map(|id| format!("k{id}")))));
        let structs = StructArray::new(struct_fields(), vec![texts], None);
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("id", Arc::new(Int64Array::from(ids.to_vec()))), ("s", Arc::new(structs))];
        if day.is_none() {
            columns.push(("day", Arc::new(StringArray::from(vec!["d"; ids.len()]))));
        }
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        fs::write(self.path("table").join(name), &bytes).unwrap();
        let partition = day.map_or(json!({}), |day| json!({"day": day}));
        json!({"add": {
            "path": name, "partitionValues": partition, "size": bytes.len(), "modificationTime": 0,
            "dataChange": true, "stats": json!({"numRecords": ids.len()}).to_string(),
        }})
    }

    fn add(&mut self, name: &str, ids: &[i64]) -> Value {
        let ids: Vec<Option<i64>> = ids.iter().copied().map(Some).collect();
        let add = self.file(name, &ids, None);
        self.commit(std::slice::from_ref(&add));
        add
    }

    fn table(&self) -> DeltaTable {
        let url = Url::from_directory_path(self.path("table")).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        DeltaTable::open(&store).unwrap().unwrap()
    }

    fn keys(&self, table: &mut DeltaTable, columns: &[&str]) -> TableKeys {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        TableKeys::open(table, by(&columns), &self.path("index"), 2, None).unwrap()
    }

    /// The ids that an index opened now finds in the table as it is now, out of 0..100.
    fn ids(&self) -> Vec<i64> {
        let mut table = self.table();
        ids(&mut self.keys(&mut table, &["id"]), &mut table)
    }
}

fn struct_fields() -> arrow::datatypes::Fields {
    vec![Field::new("x", DataType::Utf8, true)].into()
}

fn metadata(id: &str, partitioned: bool) -> Value {
    let schema = json!({"type": "struct", "fields": [
        {"name": "id", "type": "long", "nullable": true, "metadata": {}},
        {"name": "s", "nullable": true, "metadata": {}, "type": {"type": "struct", "fields": [
            {"name": "x", "type": "string", "nullable": true, "metadata": {}},
        ]}},
        {"name": "day", "type": "string", "nullable": true, "metadata": {}},
    ]});
    let columns: &[&str] = if partitioned { &["day"] } else { &[] };
    json!({"metaData": {
        "id": id, "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
        "partitionColumns": columns, "configuration": {}, "createdTime": 0,
    }})
}

fn rows(ids: impl IntoIterator<Item = Option<i64>>, day: &str) -> RecordBatch {
    let ids: Vec<Option<i64>> = ids.into_iter().collect();
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter(ids.iter().map(|id| id.map(|id| format!("k{id}")))));
    let columns: Vec<(Field, ArrayRef)> = vec![
        (Field::new("id", DataType::Int64, true), Arc::new(Int64Array::from(ids.clone()))),
        (
            Field::new("s", DataType::Struct(struct_fields()), true),
            Arc::new(StructArray::new(struct_fields(), vec![texts], None)),
        ),
        (Field::new("day", DataType::Utf8, true), Arc::new(StringArray::from(vec![day; ids.len()]))),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn by(names: &[String]) -> IndexedBy<'_> {
    IndexedBy { names, within: None }
}

/// The ids among 0..100 that are in the table, once for each file.
fn ids(keys: &mut TableKeys, table: &mut DeltaTable) -> Vec<i64> {
    found(keys, table, "d")
}

fn found(keys: &mut TableKeys, table: &mut DeltaTable, day: &str) -> Vec<i64> {
    let row_keys = keys.row_hasher().keys(&rows((0..100).map(Some), day)).unwrap();
    let mut order: Vec<(Fingerprint, i64)> = row_keys.fingerprints.into_iter().zip(0..).collect();
    order.sort_unstable();
    let sorted: Vec<Fingerprint> = order.iter().map(|(key, _)| *key).collect();
    let mut ids: Vec<i64> =
        keys.find(table, &sorted).unwrap().into_iter().map(|(position, _)| order[position].1).collect();
    ids.sort_unstable();
    ids
}

fn removal(add: &Value) -> Value {
    json!({"remove": {"path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": true}})
}

/// A file as our writer describes it.
fn own_file(path: &str, number: usize, rows: u64) -> AddedFile {
    AddedFile {
        path: path.into(),
        partition_values: Vec::new(),
        size_bytes: 1,
        modified_ms: 0,
        rows,
        number,
        statistics: "{}".into(),
    }
}

fn own_keys(keys: &TableKeys, ids: &[Option<i64>]) -> Vec<Option<Fingerprint>> {
    let row_keys = keys.row_hasher().keys(&rows(ids.to_vec(), "d")).unwrap();
    (0..ids.len()).map(|row| row_keys.matchable(row)).collect()
}
