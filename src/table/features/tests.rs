//! Tables with each feature, in use and not, as other writers leave them; and the page that lists them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::super::DeltaTable;
use super::*;
use crate::model::Kind;

const PAGE: &str = "docs/reference/tables.md";

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
fn checkpoint_protection_does_not_block_an_append_and_keeps_the_log() {
    let table = Case::with("checkpointProtection").open().unwrap();
    assert!(table.snapshot.table_configuration().protocol().writer_features().unwrap().is_empty());
    let protocol: Protocol = serde_json::from_value(Case::with("checkpointProtection").protocol).unwrap();
    assert!(!allow_cleanup(&protocol));
    let other: Protocol = serde_json::from_value(Case::with("domainMetadata").protocol).unwrap();
    assert!(allow_cleanup(&other));
}

#[test]
fn the_page_of_tables_is_that_of_the_features() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = page();
    if std::env::var_os("ALLUVIA_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{PAGE} is not current; run ALLUVIA_BLESS=1 cargo test --lib");
}

fn page() -> String {
    let mut page = String::from(
        "# Tables\n\n<!-- Generated from the code; `ALLUVIA_BLESS=1 cargo test --lib` writes it. -->\n\n\
         Which Delta tables Alluvia appends to, by the features of their protocol. A table of a legacy writer version (1 to 6)\n\
         has all the features that its version implies; what matters is whether it uses them. A table that cannot be written is\n\
         refused at the start with exit code 2, and the feature is named. A table that Alluvia makes has the protocol (1, 2),\n\
         unless a type or a property needs more.\n\n\
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
        "\nAny other feature is refused by name. Tables with any of these features can be read (dead letters, keys of a merge).\n\n\
         ## Checkpoints of the log\n\n\
         A checkpoint is written `delta.checkpointInterval` commits after the last one; where the table does not say, after 100.\n\
         That is ten times Delta's default of 10: a stream commits every few seconds, a checkpoint lists every file of the table,\n\
         and reading up to a hundred small commits costs a reader less than a stream pays for ten times as many checkpoints.\n\
         Tables that others read often may say `tableProperties: {delta.checkpointInterval: \"10\"}`. Checkpoints are compressed\n\
         with Snappy, as Spark's; `delta.checkpoint.writeStatsAsJson` and `delta.checkpoint.writeStatsAsStruct` are respected.\n\n\
         ## Cleanup of the log\n\n\
         Commits, checkpoints, their sidecar files and checksums (`.crc`) that are older than `delta.logRetentionDuration` (30\n\
         days) are deleted once two newer checkpoints are there, unless `delta.enableExpiredLogCleanup` is `false` or the table\n\
         has `checkpointProtection`. The newest commit of every stream stays.\n\n\
         ## Statistics\n\n\
         Files have Delta's statistics for the columns that `delta.dataSkippingStatsColumns` or\n\
         `delta.dataSkippingNumIndexedCols` (32) name, written as Spark writes them, but for two cases. Zero is `-0.0` below and\n\
         `0.0` above, as some readers order the two. A file that holds a date or time outside the years 1 to 9999 has no bounds\n\
         at all, for Python `deltalake` can't read such a date and takes an absent bound for a condition that no row meets. A\n\
         column chunk with a NaN has no Parquet statistics, as with Spark.\n",
    );
    page
}
