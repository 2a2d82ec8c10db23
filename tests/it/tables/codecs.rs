//! Files in codecs that a table may ask for: a compaction, Spark, pyarrow, `deltalake` and DuckDB read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::rig::{delta_digest, readers_agree, skipped};
use crate::tables::compact::table_command;
use crate::tables::statistics::Written;

#[test]
fn files_in_the_codec_of_their_table_are_compacted_and_read_by_every_reader() {
    if skipped("Spark") {
        return;
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200).map(|n| n / 3)));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..200).map(|n| format!("text {}", n % 99))));
    let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)]).unwrap();
    // Hadoop's frames of LZ4 are not read by DuckDB.
    for (codec, ending, but) in [
        ("zstd", ".zstd.parquet", &[][..]),
        ("lz4_raw", ".lz4raw.parquet", &[]),
        ("lz4", ".lz4hadoop.parquet", &["DuckDB"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        let properties: BTreeMap<String, String> = [
            ("delta.parquet.compression.codec", codec),
            ("delta.targetFileSize", "100mb"),
            ("delta.autoOptimize.autoCompact", "false"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut written = Written::with_properties(&table, &rows, &[], &properties);
        written.append(std::slice::from_ref(&rows));
        written.append(std::slice::from_ref(&rows));
        let files = || {
            let names = std::fs::read_dir(&table).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().is_some_and(|name| name.ends_with(ending))).count()
        };
        assert_eq!(files(), 2, "{codec}");
        // The compaction reads them, and writes one that the readers read.
        let done = table_command(&table, "compact", &[]);
        assert_eq!((&done["filesRemoved"], &done["filesAdded"]), (&2.into(), &1.into()), "{codec}: {done}");
        assert_eq!(files(), 3, "{codec}");
        readers_agree(&table, but);
        assert_eq!(delta_digest(&table, &["n", "t"]).rows, 400, "{codec}");
    }
}
