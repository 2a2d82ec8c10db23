//! Tables with each feature, in use and not, as other writers leave them; and the page that lists them.

use std::collections::BTreeMap;
use std::fs;

use arrow::datatypes::{DataType, Field};

use super::super::DeltaTable;
use super::super::reader::TableReader;
use super::super::test_log::{DAY, TestLog, empty_batch};
use super::*;
use crate::model::generated::{NOTE, assert_current};
use crate::model::{Kind, MissingField};

struct Case {
    protocol: Value,
    properties: Value,
    /// Metadata of column `c`.
    column: Value,
}

impl Case {
    fn legacy(reader: i32, writer: i32) -> Case {
        Case {
            protocol: json!({"minReaderVersion": reader, "minWriterVersion": writer}),
            properties: json!({}),
            column: json!({}),
        }
    }

    /// A table that supports `name` and what it depends on, and does not use it.
    fn with(name: &str) -> Case {
        let also: &[&str] = match name {
            "clustering" | "rowTracking" => &["domainMetadata"],
            "catalogManaged" | "catalogOwned-preview" => &["inCommitTimestamp"],
            _ => &[],
        };
        let reads = [
            "columnMapping",
            "deletionVectors",
            "timestampNtz",
            "typeWidening",
            "typeWidening-preview",
            "v2Checkpoint",
            "vacuumProtocolCheck",
            "variantType",
            "variantType-preview",
            "catalogManaged",
            "catalogOwned-preview",
        ];
        let writers: Vec<&str> = also.iter().copied().chain([name]).collect();
        let readers: Vec<&str> = reads.into_iter().filter(|read| *read == name).collect();
        let properties = if also.contains(&"inCommitTimestamp") {
            json!({"delta.enableInCommitTimestamps": "true"})
        } else {
            json!({})
        };
        let mut protocol = json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": writers});
        if !readers.is_empty() {
            protocol["minReaderVersion"] = 3.into();
            protocol["readerFeatures"] = readers.into();
        }
        Case { protocol, properties, column: json!({}) }
    }

    fn property(mut self, key: &str, value: &str) -> Case {
        self.properties[key] = value.into();
        self
    }

    fn column(mut self, key: &str, value: Value) -> Case {
        self.column[key] = value;
        self
    }

    /// Opens a table like this, that has one commit.
    fn open(&self) -> Result<DeltaTable> {
        let folder = tempfile::tempdir().unwrap();
        let schema = json!({"type": "struct", "fields": [
            {"name": "c", "type": "long", "nullable": true, "metadata": self.column},
            {"name": "d", "type": "string", "nullable": true, "metadata": {}},
        ]});
        let actions = [
            json!({"commitInfo": {"timestamp": 1, "inCommitTimestamp": 1, "operation": "CREATE TABLE", "txnId": "x"}}),
            json!({"protocol": self.protocol}),
            json!({"metaData": {
                "id": "an-id", "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
                "partitionColumns": [], "configuration": self.properties, "createdTime": 1,
            }}),
        ];
        let log = folder.path().join("_delta_log");
        fs::create_dir(&log).unwrap();
        let text: Vec<String> = actions.iter().map(ToString::to_string).collect();
        fs::write(log.join(format!("{:020}.json", 0)), text.join("\n")).unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), crate::storage::test_runtime()).unwrap();
        DeltaTable::open(&store).map(|table| table.unwrap())
    }

    fn refused(&self) -> String {
        let error = self.open().err().unwrap_or_else(|| panic!("{} was opened", self.protocol));
        assert_eq!(error.kind(), Kind::Config, "{error}");
        error.to_string()
    }
}

#[test]
fn tables_of_legacy_writer_versions_are_written_if_nothing_of_theirs_is_used() {
    for (reader, writer) in [(1, 1), (1, 2), (1, 3), (1, 4), (2, 5), (2, 6)] {
        let table = Case::legacy(reader, writer).open();
        assert!(table.is_ok(), "({reader}, {writer}): {}", table.err().unwrap());
    }
    let constraint = Case::legacy(1, 3).property("delta.constraints.positive", "c > 0").refused();
    assert!(
        constraint.contains("checkConstraints") && constraint.contains("positive CHECK (c > 0)"),
        "{constraint}"
    );
    let generated = Case::legacy(1, 4).column("delta.generationExpression", json!("d + 1")).refused();
    assert!(generated.contains("generatedColumns") && generated.contains("the table has c)"), "{generated}");
    let identity = Case::legacy(1, 6).column("delta.identity.start", json!(1)).refused();
    assert!(identity.contains("identityColumns") && identity.contains("the table has c)"), "{identity}");
    let invariant =
        Case::legacy(1, 2).column("delta.invariants", json!("{\"expression\":{\"expression\":\"c > 0\"}}"));
    assert!(invariant.refused().contains("invariants"), "{}", invariant.refused());
    assert!(Case::legacy(1, 4).property("delta.enableChangeDataFeed", "true").open().is_ok());
}

#[test]
fn every_feature_is_written_or_refused_as_its_page_says() {
    for feature in FEATURES {
        let case = Case::with(feature.name);
        match feature.support {
            Support::Refused => assert!(case.refused().contains("catalog"), "{}", case.refused()),
            Support::Written | Support::Unused => {
                let opened = case.open();
                assert!(opened.is_ok(), "{}: {}", feature.name, opened.err().unwrap());
            }
        }
    }
    let in_use = [
        Case::with("checkConstraints").property("delta.constraints.named", "c > 0"),
        Case::with("generatedColumns").column("delta.generationExpression", json!("d")),
        Case::with("identityColumns").column("delta.identity.start", json!(1)),
        Case::with("invariants")
            .column("delta.invariants", json!("{\"expression\":{\"expression\":\"c > 0\"}}")),
        Case::with("icebergCompatV2").property("delta.enableIcebergCompatV2", "true"),
    ];
    for case in in_use {
        assert!(case.refused().contains("docs/reference/tables.md") || !case.refused().is_empty());
    }
    let unknown = Case::with("quantumColumns").refused();
    assert!(unknown.contains("quantumColumns (not known to this version)"), "{unknown}");
}

#[test]
fn checkpoint_protection_does_not_block_an_append() {
    let table = Case::with("checkpointProtection").open().unwrap();
    assert!(table.snapshot.table_configuration().protocol().writer_features().unwrap().is_empty());
    assert!(!allow_cleanup(table.protocol()));
    assert!(allow_cleanup(Case::with("domainMetadata").open().unwrap().protocol()));
}

#[test]
fn what_delta_reads_as_true_is_true() {
    let iceberg = Case::with("icebergCompatV2").property("delta.enableIcebergCompatV2", "True");
    assert!(iceberg.refused().contains("delta.enableIcebergCompatV2"), "{}", iceberg.refused());

    let deletes = Case::with("deletionVectors").property("delta.enableDeletionVectors", "TRUE").open();
    assert!(deletes.unwrap().has_deletion_vectors());

    let only = Case::legacy(1, 2).property("delta.appendOnly", "True").open().unwrap();
    assert_eq!(only.snapshot.table_properties().append_only, Some(true));

    let stamped =
        json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["inCommitTimestamp"]});
    let log = TestLog::new(&stamped, json!({"delta.enableInCommitTimestamps": "True"}));
    let mut table = log.open().unwrap();
    for batch_id in 0..2 {
        table.append(&empty_batch(batch_id)).unwrap();
        let actions = log.actions(table.version());
        assert!(actions[0]["commitInfo"]["inCommitTimestamp"].is_i64(), "{}", actions[0]);
    }

    let mapped = json!({"minReaderVersion": 2, "minWriterVersion": 5});
    let mode = json!({"delta.columnMapping.mode": "Name", "delta.columnMapping.maxColumnId": "2"});
    assert!(TestLog::new(&mapped, mode).open().unwrap().has_column_mapping());
}

#[test]
fn a_property_that_delta_cannot_read_either_is_refused_by_name() {
    for (name, value) in [
        ("delta.logRetentionDuration", "a while"),
        ("delta.logRetentionDuration", "interval 1 month"),
        ("delta.deletedFileRetentionDuration", "-1 day"),
        ("delta.setTransactionRetentionDuration", ""),
        ("delta.enableExpiredLogCleanup", "no"),
        ("delta.enableInCommitTimestamps", "1"),
        ("delta.columnMapping.mode", "names"),
        ("delta.targetFileSize", "100 mb"),
        ("delta.targetFileSize", "0"),
    ] {
        let refused = Case::legacy(1, 2).property(name, value).refused();
        assert!(refused.contains(name) && refused.contains(&format!("`{value}`")), "{refused}");
    }
    let log = TestLog::plain(json!({"delta.logRetentionDuration": "a while"}));
    assert!(TableReader::open(&log.store()).is_ok(), "it can still be read");
}

#[test]
fn the_size_that_files_should_have_is_read_as_spark_reads_sizes() {
    let size = |value: &str| json!({"delta.targetFileSize": value});
    for (value, bytes) in
        [("104857600", 100 << 20), ("100mb", 100 << 20), ("1G", 1 << 30), (" 64k ", 64 << 10)]
    {
        let log = TestLog::plain(size(value));
        // The property is the table's own also in a checkpoint.
        for version in [1, 3] {
            log.commit_until(version);
            log.maintain();
            assert_eq!(log.open().unwrap().target_file_bytes(), bytes, "{value}");
            let stats = TableReader::open(&log.store()).unwrap().unwrap().stats().unwrap();
            assert_eq!(stats.target_file_bytes, bytes, "{value}");
            assert_eq!(stats.properties["delta.targetFileSize"], value);
        }
    }
    assert_eq!(TestLog::plain(json!({})).open().unwrap().target_file_bytes(), 128 << 20);
    let reader = TableReader::open(&TestLog::plain(size("1.5g")).store()).unwrap().unwrap();
    let refused = reader.stats().unwrap_err();
    assert!(refused.to_string().contains("delta.targetFileSize is `1.5g`"), "{refused}");
}

#[test]
fn a_commit_that_changes_the_schema_leaves_the_properties_as_they_were() {
    let given = json!({"delta.logRetentionDuration": "365 days", "delta.enableExpiredLogCleanup": "False"});
    let log = TestLog::plain(given.clone());
    let mut table = log.open().unwrap();
    let field = Field::new("e", DataType::Int64, true);
    table.add_columns(&[MissingField { path: Vec::new(), field }]).unwrap();
    let actions = log.actions(1);
    let metadata = actions.iter().find_map(|action| action.get("metaData")).unwrap();
    assert_eq!(metadata["configuration"], given);
    assert!(metadata["schemaString"].as_str().unwrap().contains("\"e\""));
    assert!(actions.iter().all(|action| action.get("protocol").is_none()));
    let read = table.snapshot.table_properties();
    assert_eq!(read.log_retention_duration, Some(365 * DAY));
    assert_eq!(read.enable_expired_log_cleanup, Some(false));
}

#[test]
fn what_is_changed_under_a_stream_is_judged_at_its_next_commit() {
    let constraint = json!({"delta.constraints.small": "c < 0"});
    // Whether the stream looks at the log between the other writer's commit and its own.
    for looks in [false, true] {
        for (reader, writer) in [(1, 3), (1, 4), (2, 5)] {
            let protocol = json!({"minReaderVersion": reader, "minWriterVersion": writer});
            let log = TestLog::new(&protocol, json!({}));
            let mut table = log.open().unwrap();
            table.append(&empty_batch(0)).unwrap();
            // Metadata alone: the protocol supports constraints already.
            log.commit(&[log.metadata(&constraint)]);
            if looks {
                table.look_for_checkpoint().unwrap();
                table.refresh_log_segment().unwrap();
            }
            let error = table.append(&empty_batch(1)).unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "({reader}, {writer}): {error}");
            assert_eq!(log.versions(), [0, 1, 2], "nothing was committed");
            let refused = log.open().err().unwrap();
            assert_eq!(refused.kind(), Kind::Config, "{refused}");
            assert!(refused.to_string().contains("small CHECK (c < 0)"), "{refused}");
        }
    }

    let log = TestLog::plain(json!({}));
    let mut table = log.open().unwrap();
    table.append(&empty_batch(0)).unwrap();
    log.commit(&[log.metadata(&json!({"delta.deletedFileRetentionDuration": "30 days"}))]);
    table.append(&empty_batch(1)).unwrap();
    assert_eq!(table.snapshot.table_properties().deleted_file_retention_duration, Some(30 * DAY));
    log.commit(&[log.metadata(&json!({"delta.deletedFileRetentionDuration": "long"}))]);
    let error = table.append(&empty_batch(2)).unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error}");
    assert!(error.to_string().contains("delta.deletedFileRetentionDuration is `long`"), "{error}");
}

#[test]
fn the_page_of_tables_is_that_of_the_features() {
    assert_current("tables.md", &page());
}

fn page() -> String {
    let mut page = format!(
        "# Tables\n\n{NOTE}\
         Which Delta tables Alluvia appends to, by the features of their protocol. A table of a legacy writer version (1 to 6)\n\
         has all the features that its version implies; what matters is whether it uses them. A table that cannot be written is\n\
         refused at the start with exit code 2, and the feature is named. If another writer begins to use such a feature while\n\
         a stream runs (a CHECK constraint), the stream finds out at its next commit, which is not made. A table that Alluvia\n\
         makes has the protocol (1, 2), unless a type or a property needs more.\n\n\
         | feature | writer version | appended to | why |\n|---|---|---|---|\n",
    );
    for feature in FEATURES {
        let version = feature.implied_from.map_or("7".to_owned(), |from| format!("{from} to 6, 7"));
        let written = match feature.support {
            Support::Written => "yes",
            Support::Unused => "if the table does not use it",
            Support::Refused => "no",
        };
        page.push_str(&format!("| `{}` | {version} | {written} | {} |\n", feature.name, feature.why));
    }
    page.push_str(
        "\nAny other feature is refused by name. Tables with any of these features can be read (dead letters, keys of a merge). A\n\
         shallow clone can be read if the files of its source are in the same container or on the same disk.\n\n\
         ## Properties\n\n\
         Properties mean what Delta takes them to mean: `True` is `true`, `Name` is the mode `name` of column mapping, `30 days` or\n\
         `1 week 2 days` is an interval without the word `interval` too, and `delta.targetFileSize` is a size as Spark reads sizes\n\
         (`100mb`, `1g`, `104857600`). A table with a retention, a switch, a column mapping mode, a size or a codec that Delta can't\n\
         read either (`interval 1 month`, `yes`, `1.5g`, `brotli`) is refused with exit code 2, and the property is named.\n\n\
         `delta.parquet.compression.codec` of Delta's protocol says how new files are compressed, those of merges and compactions\n\
         too: `snappy`, `zstd`, `gzip`, `lz4_raw`, `lz4` or `uncompressed` (`none`), in any case. Where a table does not say, it is\n\
         Snappy, as with Delta-Spark 4.0, and not ZSTD, as the protocol recommends: every reader has Snappy. Delta-Spark 4.0 reads\n\
         all of these files, but does not know the property: it writes Snappy, and its SQL can't set the property. `tableProperties`\n\
         can.\n\n\
         ## Checkpoints of the log\n\n\
         A checkpoint is written `delta.checkpointInterval` commits after the last one; where the table does not say, after 100.\n\
         That is ten times Delta's default of 10: a stream commits every few seconds, a checkpoint lists every file of the table,\n\
         and reading up to a hundred small commits costs a reader less than a stream pays for ten times as many checkpoints.\n\
         Tables that others read often may say `tableProperties: {delta.checkpointInterval: \"10\"}`. Checkpoints are compressed\n\
         with Snappy, as Spark's; `delta.checkpoint.writeStatsAsJson` and `delta.checkpoint.writeStatsAsStruct` are respected.\n\
         If `_last_checkpoint` names a checkpoint that is not there, the log is listed and read without it, as Delta-Spark does, and a\n\
         warning says so. Where the log ends before that checkpoint, its end may be lost: such a table is read, and not written.\n\n\
         ## Cleanup of the log\n\n\
         Commits, checkpoints, their sidecar files and checksums (`.crc`) that are older than `delta.logRetentionDuration` (30\n\
         days) are deleted once two newer checkpoints are there, unless `delta.enableExpiredLogCleanup` is `false` or the table\n\
         has `checkpointProtection`. Every version within that time can still be read: the newest checkpoint before the first\n\
         of them stays, with all that is newer. The newest commit of every stream stays, and so does a sidecar that is younger\n\
         than a day: another writer may be about to name it.\n\n\
         ## Statistics\n\n\
         Files have Delta's statistics for the columns that `delta.dataSkippingStatsColumns` or\n\
         `delta.dataSkippingNumIndexedCols` (32) name, written as Spark writes them, but for two cases. Zero is `-0.0` below and\n\
         `0.0` above, as some readers order the two. A file that holds a date or time outside the years 1 to 9999 has no bounds\n\
         at all, for Python `deltalake` can't read such a date and takes an absent bound for a condition that no row meets. A\n\
         column chunk with a NaN has no Parquet statistics, as with Spark.\n",
    );
    page
}
