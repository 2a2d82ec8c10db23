//! Partitions with values that are hard on paths: the files that Spark puts into their folders are found, on a disk and in
//! Azure, and Spark finds those of Alluvia, also once they were compacted and vacuumed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use alluvia::decode::schema::StructType;
use alluvia::model::{MemoryAccount, TableFormat};
use alluvia::query::Conf;
use alluvia::query::tables::{StaticTable, TableSource};
use alluvia::storage::Store;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use tokio::runtime::Runtime;
use url::Url;

use crate::rig::{Azurite, Scheme, skipped, spark_sql};
use crate::tables::compact::{sql, table_command};
use crate::tables::statistics::Written;

const VALUES: [Option<&str>; 24] = [
    Some("Zürich"),
    Some("日本 😀"),
    Some("a b"),
    Some(" a "),
    Some("a%20b"),
    Some("100%"),
    Some("%2F"),
    Some("ü/ñ"),
    Some("x:y"),
    Some("10:30:00"),
    Some("k=v#?"),
    Some("[x]{y}"),
    Some("~^`|"),
    Some("q\"q'q"),
    Some("b\\s"),
    Some("*<>"),
    Some("&+,;@!$()"),
    Some("tab\tline\n"),
    Some("\u{1}\u{7f}"),
    Some("."),
    Some(".."),
    Some("a."),
    Some("__HIVE"),
    None,
];

type Rows = BTreeMap<i64, Option<String>>;

fn expected() -> Rows {
    (0..).zip(VALUES.map(|value| value.map(str::to_owned))).collect()
}

/// The same rows as a relation of Spark's.
fn values() -> String {
    let text = |value: &str| value.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    let row = |(k, value): (usize, Option<&str>)| match value {
        Some(value) => format!("({k}L, CAST(X'{}' AS STRING))", text(value)),
        None => format!("({k}L, NULL)"),
    };
    let rows: Vec<String> = VALUES.into_iter().enumerate().map(row).collect();
    format!("VALUES {} AS t(k, p)", rows.join(", "))
}

fn rows_of(source: TableSource) -> Rows {
    let mut table = StaticTable::open(source, 1 << 26).unwrap();
    let version = table.newest_version().unwrap();
    let at = ["k", "p"].map(|name| table.schema().index_of(name).unwrap());
    let read = table.rows(&version, &at, &MemoryAccount::new(usize::MAX)).unwrap();
    let mut rows = Rows::new();
    for batch in read.batches.iter() {
        let column = |name: &str| Arc::clone(batch.column_by_name(name).unwrap());
        let (keys, values) = (column("k"), column("p"));
        let pairs = keys.as_primitive::<Int64Type>().values().iter().zip(values.as_string::<i32>());
        for (k, value) in pairs {
            assert_eq!(rows.insert(*k, value.map(str::to_owned)), None, "{k} is there twice");
        }
    }
    rows
}

/// `storageOptions` for the containers of an Azurite.
fn options(azurite: &Azurite) -> BTreeMap<String, String> {
    [
        ("azure_storage_account_name", azurite.account()),
        ("azure_storage_account_key", azurite.key()),
        ("azure_storage_endpoint", azurite.endpoint()),
        ("allow_http", "true"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

#[test]
fn files_in_folders_that_spark_named_are_read_from_a_disk_and_from_azure() {
    if skipped("Spark") {
        return;
    }
    let Some(azurite) = Azurite::shared(Scheme::Http) else { return };
    let container = azurite.container("names");
    let options = options(azurite);
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let formats =
        [("parquet", TableFormat::Parquet), ("csv", TableFormat::Csv), ("delta", TableFormat::Delta)];
    for (name, format) in formats {
        let place = folder.path().join(format!("t ü%20 {name}"));
        let properties = if format == TableFormat::Delta {
            "TBLPROPERTIES (delta.enableDeletionVectors = true)"
        } else {
            ""
        };
        let create = format!(
            "CREATE TABLE names_{name} USING {name} PARTITIONED BY (p) LOCATION '{}' {properties} AS SELECT * FROM {}",
            place.display(),
            values()
        );
        spark_sql(&create);
        let mut expected = expected();
        if format == TableFormat::Delta {
            spark_sql(&format!(
                "INSERT INTO names_{name} SELECT /*+ COALESCE(1) */ id, 'ü' FROM range(1000, 1002)"
            ));
            spark_sql(&format!("DELETE FROM names_{name} WHERE k = 1000"));
            expected.insert(1001, Some("ü".to_owned()));
        }
        spark_sql(&format!("DROP TABLE names_{name}"));
        let on_disk = Url::from_directory_path(&place).unwrap();
        let on_disk = Store::open(&on_disk, &BTreeMap::new(), runtime.handle()).unwrap();
        let in_azure = Url::parse(&format!("az://{container}/t%20%C3%BC%2520/{name}/")).unwrap();
        let in_azure = Store::open(&in_azure, &options, runtime.handle()).unwrap();
        let paths = on_disk.all_paths().unwrap();
        for path in &paths {
            in_azure.put(path, on_disk.get(path).unwrap().unwrap()).unwrap();
        }
        assert_eq!(in_azure.all_paths().unwrap(), paths, "{name}");
        for store in [on_disk, in_azure] {
            let source = TableSource {
                name: name.to_owned(),
                format,
                schema: (format == TableFormat::Csv)
                    .then(|| StructType::from_ddl("k BIGINT, p STRING").unwrap()),
                store,
                header: false,
                separator: b',',
                conf: Conf::default(),
            };
            assert_eq!(rows_of(source.clone()), expected, "{source:?}");
        }
    }
}

#[test]
fn names_with_line_separators_are_listed_in_azure_as_they_are() {
    let Some(azurite) = Azurite::shared(Scheme::Http) else { return };
    let runtime = Runtime::new().unwrap();
    let url = Url::parse(&format!("az://{}/t/", azurite.container("no-paths"))).unwrap();
    let store = Store::open(&url, &options(azurite), runtime.handle()).unwrap();
    let names =
        ["a/b", "a/next\u{85}line", "a/paragraph\u{2028}", "a/z", "line\u{2028}separator/c", "p\u{85}", "ü"];
    for name in names {
        store.put(name, name.into()).unwrap();
    }
    assert_eq!(store.all_paths().unwrap(), names);
    assert_eq!(store.listing().unwrap().len(), names.len());
    assert_eq!(store.names("").unwrap(), ["p\u{85}", "ü"]);
    assert_eq!(store.names("a").unwrap().len(), 4);
    for name in names {
        assert_eq!(store.get(name).unwrap().as_deref(), Some(name.as_bytes()), "{name:?}");
    }
}

#[test]
fn spark_finds_the_files_of_partitions_that_alluvia_named_compacted_and_vacuumed() {
    if skipped("Spark") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("t ü%20");
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..VALUES.len() as i64));
    let values: ArrayRef = Arc::new(StringArray::from(VALUES.to_vec()));
    let rows = RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("p", values, true)]).unwrap();
    let mut written = Written::new(&table, &rows, &["p".to_owned()]);
    for _ in 0..2 {
        written.append(std::slice::from_ref(&rows));
    }
    let check = |what: &str| {
        let found = sql(&table, "SELECT k, p, count(*) AS n FROM @T GROUP BY k, p");
        assert!(found.iter().all(|row| row["n"] == 2), "{what}: {found:?}");
        let value = |row: &serde_json::Value| row["p"].as_str().map(str::to_owned);
        let found: Rows = found.iter().map(|row| (row["k"].as_i64().unwrap(), value(row))).collect();
        assert_eq!(found, expected(), "{what}");
    };
    check("as written");
    let done = table_command(&table, "compact", &[]);
    let (files, partitions) = (VALUES.len() * 2, VALUES.len());
    assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&files.into(), &partitions.into()), "{done}");
    let done = table_command(&table, "vacuum", &["--retain", "0 hours", "--no-retention-check"]);
    assert_eq!(done["deleted"]["dataFile"]["files"], files, "{done}");
    assert_eq!(parquet_files(&table), partitions);
    check("compacted and vacuumed");
}

/// Parquet files in the folders of a table's partitions.
fn parquet_files(table: &Path) -> usize {
    let entries = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let folders = entries(table).into_iter().filter(|folder| !folder.ends_with("_delta_log"));
    folders.map(|folder| entries(&folder).len()).sum()
}
