//! Version 0 of a table: made by put-if-absent, so that of two creators one wins and the other opens
//! what the winner made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use delta_kernel::engine::arrow_conversion::TryFromArrow;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use serde_json::json;

use super::commit::CommitWriter;
use super::read_log::is_log_file;
use super::{DeltaTable, ENGINE_INFO, engine, kernel_error};
use crate::model::{Error, Kind, Result};
use crate::storage::Store;

/// Properties that need no table feature, and with which the kernel makes no table: they are put into the metadata that it
/// makes.
const BESIDE_THE_KERNEL: [&str; 8] = [
    "delta.autoOptimize.autoCompact",
    "delta.autoOptimize.optimizeWrite",
    "delta.isolationLevel",
    "delta.parquet.compression.codec",
    "delta.randomPrefixLength",
    "delta.randomizeFilePrefixes",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
];

impl DeltaTable {
    /// Creates the table, or opens it if another writer made it meanwhile.
    ///
    /// A table that needs no table feature gets protocol (1, 2), as Spark makes it, so that every
    /// reader can read it.
    ///
    /// # Errors
    /// `Config` if a property, a partition column or a type is not possible in a Delta table.
    pub fn create(
        store: &Store,
        schema: &Schema,
        partition_by: &[String],
        properties: &BTreeMap<String, String>,
    ) -> Result<DeltaTable> {
        // The kernel resolves a local folder before it writes the first file into it.
        store.make_local_folder("").map_err(|e| {
            Error::config(format!("cannot make the folder of table {}", store.url()))
                .source(e)
                .hint("the user of this process needs the right to write there")
        })?;
        let engine = engine(store);
        let columns = StructType::try_from_arrow(schema)
            .map_err(|e| Error::config(format!("table {} cannot have this schema", store.url())).source(e))?;
        let given = properties.iter().map(|(name, value)| (name.clone(), value.clone()));
        let (beside, kernels): (Vec<_>, Vec<_>) =
            given.partition(|(name, _)| BESIDE_THE_KERNEL.contains(&name.as_str()));
        let mut builder =
            create_table(store.url().as_str(), Arc::new(columns), ENGINE_INFO).with_table_properties(kernels);
        if !partition_by.is_empty() {
            let columns: Vec<&str> = partition_by.iter().map(String::as_str).collect();
            builder = builder.with_data_layout(DataLayout::partitioned(columns));
        }
        let parameters = json!({
            "isManaged": "false",
            "description": null,
            "partitionBy": json!(partition_by).to_string(),
            "properties": json!(properties).to_string(),
        });
        let writer =
            CommitWriter { parameters, lowest_protocol: true, properties: beside, ..CommitWriter::default() };
        let refused = |e| match kernel_error(e, "prepare version 0", store) {
            error if error.kind() == Kind::Internal => {
                Error::config(format!("cannot create table {}", store.url())).source(error)
            }
            error => error,
        };
        let mut failure = None;
        match builder.build(engine.as_ref(), Box::new(writer)) {
            // Whatever became of the commit, storage tells: ours, or that of one who was faster.
            Ok(transaction) => match transaction.commit(engine.as_ref()) {
                Ok(_) => {}
                Err(e) => failure = Some(kernel_error(e, "write version 0", store)),
            },
            Err(e) if names_an_existing_table(&e) => {}
            Err(e) => return Err(refused(e)),
        }
        DeltaTable::open(store)?.ok_or_else(|| match failure {
            Some(error) => error,
            None => log_of_no_table(store),
        })
    }
}

/// Refuses a folder in which [`DeltaTable::create`] makes no table: its log holds files, and no table.
///
/// # Errors
/// `Config` if it is so; `Unavailable` if storage does not answer.
pub fn check_new_place(store: &Store) -> Result<()> {
    let (root, path) = (Arc::clone(store.root()), store.path("_delta_log"));
    let log = Store::new(root, store.url().clone(), path, store.runtime());
    // A table that another writer has made meanwhile is opened.
    if log.is_empty()? || log.names("")?.iter().any(|name| is_log_file(name)) {
        return Ok(());
    }
    Err(log_of_no_table(store))
}

fn log_of_no_table(store: &Store) -> Error {
    Error::config(format!(
        "table {} cannot be created: its _delta_log holds files, but no version of a table",
        store.url()
    ))
    .hint("choose another path, or empty the folder; if a table was there, restore its log from a backup instead")
}

fn names_an_existing_table(error: &delta_kernel::Error) -> bool {
    error.to_string().contains("already exists")
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use url::Url;

    use super::*;
    use crate::storage::test_runtime;

    #[test]
    fn a_table_is_made_with_every_property_that_only_says_how_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let values = ["true", "true", "Serializable", "zstd", "3", "true", "100mb", "false"];
        let mut properties: BTreeMap<String, String> = BESIDE_THE_KERNEL
            .into_iter()
            .zip(values)
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        properties.insert("delta.checkpointInterval".into(), "7".into());
        properties.insert("owner".into(), "me".into());
        let schema = Schema::new(vec![Field::new("c", DataType::Int64, true)]);
        let table = DeltaTable::create(&store, &schema, &[], &properties).unwrap();
        assert_eq!(table.target_file_bytes(), 100 << 20);
        assert!(table.asks_for_compaction());
        assert_eq!(table.protocol().min_writer_version(), 2);
        let stats = crate::table::reader::TableReader::open(&store).unwrap().unwrap().stats().unwrap();
        assert_eq!(stats.properties.into_iter().collect::<BTreeMap<String, String>>(), properties);
    }

    #[test]
    fn a_folder_whose_log_holds_other_files_is_refused_before_a_table_is_made() {
        let schema = Schema::new(vec![Field::new("c", DataType::Int64, true)]);
        for (file, makes) in [
            ("_delta_log/notes.txt", false),
            ("_delta_log/inner/notes.txt", false),
            ("_delta_logs/notes.txt", true),
            ("notes.txt", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let url = Url::from_directory_path(folder.path()).unwrap();
            let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
            check_new_place(&store).unwrap();
            store.put(file, "x".into()).unwrap();
            let checked = check_new_place(&store).map_err(|error| error.to_string());
            let made = DeltaTable::create(&store, &schema, &[], &BTreeMap::new()).map(drop);
            assert_eq!(checked, made.map_err(|error| error.to_string()), "{file}");
            assert_eq!(checked.is_ok(), makes, "{file}: {checked:?}");
            if makes {
                check_new_place(&store).unwrap();
            }
        }
    }
}
