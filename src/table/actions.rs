//! Files as the kernel takes them into a commit.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray,
};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::engine::parse_json;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{DeltaResult, EngineData};

use super::added_file::AddedFile;

/// The kernel's rows of the files' `add` actions. Their statistics are read back from their text, as a reader does;
/// `schema` says which there are. What the kernel writes of them is replaced by that text ([`statistics`]).
pub(super) fn added(files: &[AddedFile], schema: SchemaRef) -> DeltaResult<Box<dyn EngineData>> {
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(files.iter().map(|file| &file.path)));
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut values = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for file in files {
        for (name, value) in &file.partition_values {
            values.keys().append_value(name);
            values.values().append_option(value.as_deref());
        }
        values.append(true)?;
    }
    let integers = |number: fn(&AddedFile) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(files.iter().map(number)))
    };
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(files.iter().map(|file| &file.statistics)));
    let texts = RecordBatch::try_from_iter([("stats", texts)])?;
    let statistics = parse_json(Box::new(ArrowEngineData::new(texts)), schema)?.try_into_record_batch()?;
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("path", paths, false),
        ("partitionValues", Arc::new(values.finish()) as ArrayRef, false),
        ("size", integers(|file| i64::try_from(file.size_bytes).unwrap_or(i64::MAX)), false),
        ("modificationTime", integers(|file| file.modified_ms), false),
        ("stats", Arc::new(StructArray::from(statistics)) as ArrayRef, true),
    ])?;
    Ok(Box::new(ArrowEngineData::new(rows)))
}

/// The statistics of files by their paths, as the log names them.
pub(super) fn statistics(files: &[AddedFile]) -> HashMap<String, Box<str>> {
    files.iter().map(|file| (file.path.clone(), file.statistics.clone())).collect()
}
