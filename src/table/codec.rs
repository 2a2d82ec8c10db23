//! How data files are compressed, and how a file's name says it.
//!
//! A table may name a codec (`delta.parquet.compression.codec`). Readers ask only the file itself, so that a table's files may
//! differ: those that are there stay as they are when the property is set.

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::errors::Result;

use crate::model::table_property::Codec;

/// What Spark compresses with where nothing is said of it.
const ZSTD_LEVEL: i32 = 3;
const GZIP_LEVEL: u32 = 6;

/// The codec as Parquet's writer takes it.
///
/// # Errors
/// What Parquet says of a level.
pub(super) fn compression(codec: Codec) -> Result<Compression> {
    Ok(match codec {
        Codec::Snappy => Compression::SNAPPY,
        Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?),
        Codec::Gzip => Compression::GZIP(GzipLevel::try_new(GZIP_LEVEL)?),
        Codec::Lz4 => Compression::LZ4,
        Codec::Lz4Raw => Compression::LZ4_RAW,
        Codec::Uncompressed => Compression::UNCOMPRESSED,
    })
}

/// How the name of a file ends, as with Spark.
pub(super) fn ending(codec: Codec) -> &'static str {
    match codec {
        Codec::Snappy => ".snappy.parquet",
        Codec::Zstd => ".zstd.parquet",
        Codec::Gzip => ".gz.parquet",
        Codec::Lz4 => ".lz4hadoop.parquet",
        Codec::Lz4Raw => ".lz4raw.parquet",
        Codec::Uncompressed => ".parquet",
    }
}

/// A file's name without the ending of any codec; `None` if it has none.
pub(super) fn without_ending(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".parquet")?;
    let codecs = [".snappy", ".zstd", ".gz", ".lz4hadoop", ".lz4raw"];
    Some(codecs.iter().find_map(|codec| name.strip_suffix(codec)).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::model::{Kind, MemoryAccount};
    use crate::storage::Store;
    use crate::table::compact::CompactionRules;
    use crate::table::int96::examples::{files_of, rows_of};
    use crate::table::test_log::empty_batch;
    use crate::table::{Append, DeltaTable, FileWriter, WriterSettings};

    const ALL: [(&str, Codec); 8] = [
        ("SNAPPY", Codec::Snappy),
        ("zstd", Codec::Zstd),
        ("Gzip", Codec::Gzip),
        ("lz4", Codec::Lz4),
        ("lz4_raw", Codec::Lz4Raw),
        ("lz4raw", Codec::Lz4Raw),
        ("uncompressed", Codec::Uncompressed),
        ("none", Codec::Uncompressed),
    ];

    fn append(table: &mut DeltaTable, rows: &RecordBatch, batch_id: i64) {
        let settings = WriterSettings {
            store: table.store().clone(),
            engine: Arc::clone(table.engine()),
            state: table.write_state().unwrap(),
            schema: rows.schema(),
            partition_columns: Vec::new(),
            attempt: uuid::Uuid::new_v4().to_string(),
            account: MemoryAccount::new(64 << 20),
            target_file_bytes: 1 << 20,
            origin: None,
        };
        let mut writer = FileWriter::new(settings, 0).unwrap();
        writer.write(rows).unwrap();
        let files = writer.finish().unwrap();
        table.append(&Append { files, ..empty_batch(batch_id) }).unwrap();
    }

    /// Each file must be compressed like this and be named for it.
    fn check(table: &DeltaTable, codec: Codec, count: usize) {
        let files = files_of(table);
        assert_eq!(files.len(), count);
        for file in files {
            let middle = without_ending(&file.path).unwrap();
            assert_eq!(&file.path[middle.len()..], ending(codec), "{}", file.path);
            let bytes = table.store().get(&file.path).unwrap().unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            for chunk in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
                let (is, wanted) = (chunk.compression(), compression(codec).unwrap());
                assert_eq!(std::mem::discriminant(&is), std::mem::discriminant(&wanted), "{is:?}");
            }
        }
        let rows: usize = rows_of(table).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 2_000);
    }

    #[test]
    fn files_are_compressed_as_the_table_says_also_those_that_are_joined() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000).map(|n| n / 7)));
        let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
        let none = [("", Codec::Snappy)];
        for (name, codec) in ALL.into_iter().chain(none) {
            let folder = tempfile::tempdir().unwrap();
            let url = url::Url::from_directory_path(folder.path()).unwrap();
            let store = Store::open(&url, &BTreeMap::new(), crate::storage::test_runtime()).unwrap();
            let key = "delta.parquet.compression.codec";
            let properties: BTreeMap<String, String> =
                (!name.is_empty()).then(|| (key.to_owned(), name.to_owned())).into_iter().collect();
            let mut table = DeltaTable::create(&store, &rows.schema(), &[], &properties).unwrap();
            assert_eq!(
                table.metadata().configuration().get(key).map(String::as_str),
                properties.get(key).map(|_| name)
            );
            append(&mut table, &rows, 0);
            append(&mut table, &rows, 1);
            check(&table, codec, 2);
            let account = MemoryAccount::new(64 << 20);
            let compactor = table.compactor(CompactionRules::by_hand(), &account, 1).unwrap();
            let plan = compactor.plan().unwrap();
            let rewritten = compactor.rewrite(plan, &|_| {}, &AtomicBool::new(false)).unwrap();
            table.commit_compaction(rewritten, false).unwrap();
            check(&table, codec, 1);
        }
    }

    #[test]
    fn a_codec_that_the_protocol_does_not_have_is_refused_by_name() {
        let log = crate::table::test_log::TestLog::plain(
            serde_json::json!({"delta.parquet.compression.codec": "brotli"}),
        );
        let error = log.open().err().unwrap();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("delta.parquet.compression.codec is `brotli`"), "{error}");
    }
}
