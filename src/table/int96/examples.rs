//! Files with INT96 columns as Spark writes them, and a table of them: for unit tests.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type as Long, TimestampMicrosecondType};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type, Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use url::Url;

use crate::storage::{Store, test_runtime};
use crate::table::{DeltaTable, FileEntry};

/// `9999-12-31 23:59:59`, `0001-01-01`, `2026-01-02 03:04:05.678901`, `1969-12-31 23:59:59.999999`, in microseconds.
pub(crate) const TIMES: [i64; 4] =
    [253_402_300_799_000_000, -62_135_596_800_000_000, 1_767_323_045_678_901, -1];

fn int96(micros: i64) -> Int96 {
    const DAY: i64 = 86_400_000_000;
    let (day, nanos) = (micros.div_euclid(DAY) + 2_440_588, micros.rem_euclid(DAY) * 1_000);
    let mut value = Int96::new();
    value.set_data(nanos as u32, (nanos >> 32) as u32, u32::try_from(day).unwrap());
    value
}

/// Writes [`TIMES`] as the next column: `level` is the definition level of its values.
fn write_times(group: &mut SerializedRowGroupWriter<'_, Vec<u8>>, level: i16, is_repeated: bool) {
    let mut column = group.next_column().unwrap().unwrap();
    let (values, levels) = (TIMES.map(int96), [level; TIMES.len()]);
    let repeated = is_repeated.then_some([0; TIMES.len()]);
    column
        .typed::<Int96Type>()
        .write_batch(&values, Some(&levels), repeated.as_ref().map(<[i16; 4]>::as_slice))
        .unwrap();
    column.close().unwrap();
}

/// A file as Spark writes it, without a schema of Arrow's: two row groups in each of which `id` is 0 to 3 and every
/// timestamp is that one of [`TIMES`]. Its columns are `id`, `t`, `s.t`, `l` and `m`, with other names of the first two,
/// perhaps with ` = ID` behind them, and one more that is no INT96.
pub(crate) fn file_with(id: &str, t: &str) -> Bytes {
    file_of(id, t, "MICROS")
}

/// The same, where the last column has timestamps of this unit.
pub(super) fn file_of(id: &str, t: &str, unit: &str) -> Bytes {
    let schema = format!(
        "message spark_schema {{
            optional int64 {id};
            optional int96 {t};
            optional group s {{ optional int96 t; }}
            optional group l (LIST) {{ repeated group list {{ optional int96 element; }} }}
            optional group m (MAP) {{
                repeated group key_value {{ required binary key (UTF8); optional int96 value; }}
            }}
            optional int64 local (TIMESTAMP({unit},false));
        }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut file =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default())).unwrap();
    for _ in 0..2 {
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[0, 1, 2, 3], Some(&[1; 4]), None).unwrap();
        column.close().unwrap();
        write_times(&mut group, 1, false);
        write_times(&mut group, 2, false);
        write_times(&mut group, 3, true);
        let mut column = group.next_column().unwrap().unwrap();
        let keys = [(); 4].map(|()| ByteArray::from("k"));
        column.typed::<ByteArrayType>().write_batch(&keys, Some(&[2; 4]), Some(&[0; 4])).unwrap();
        column.close().unwrap();
        write_times(&mut group, 3, true);
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&[5, 6, 7, 8], Some(&[1; 4]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    file.into_inner().unwrap().into()
}

/// The timestamps of each of the columns, the first of which is `id` and the others the four that hold timestamps.
fn times_of(rows: &RecordBatch) -> Vec<Vec<i64>> {
    let columns = &rows.columns()[1..5];
    let leaves: [&ArrayRef; 4] = [
        &columns[0],
        columns[1].as_struct().column(0),
        columns[2].as_list::<i32>().values(),
        columns[3].as_map().values(),
    ];
    leaves
        .map(|leaf| {
            assert_eq!((leaf.len(), leaf.null_count()), (rows.num_rows(), 0));
            leaf.as_primitive::<TimestampMicrosecondType>().values().to_vec()
        })
        .to_vec()
}

/// A table of two files of Spark's, each with the rows of [`file_with`]; `mapped` is whether its columns are found by
/// their ids.
pub(crate) fn table(mapped: bool) -> Store {
    let url = Url::parse("memory:///t/").unwrap();
    let store = Store::new(Arc::new(InMemory::new()), url, Path::from("t"), test_runtime());
    let field = |id: u32, name: &str, physical: &str, data_type: Value| {
        let mapping = json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical});
        let metadata = if mapped { mapping } else { json!({}) };
        json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
    };
    let list = json!({"type": "array", "elementType": "timestamp", "containsNull": true});
    let map =
        json!({"type": "map", "keyType": "string", "valueType": "timestamp", "valueContainsNull": true});
    let inner = json!({"type": "struct", "fields": [field(3, "t", "t", json!("timestamp"))]});
    let fields = json!([
        field(1, "id", "col-1", json!("long")),
        field(2, "t", "col-2", json!("timestamp")),
        field(4, "s", "s", inner),
        field(5, "l", "l", list),
        field(6, "m", "m", map),
    ]);
    let (protocol, configuration, file) = if mapped {
        let configuration = json!({"delta.columnMapping.mode": "id", "delta.columnMapping.maxColumnId": "6"});
        (json!({"minReaderVersion": 2, "minWriterVersion": 5}), configuration, file_with("a = 1", "b = 2"))
    } else {
        (json!({"minReaderVersion": 1, "minWriterVersion": 2}), json!({}), file_with("id", "t"))
    };
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let mut log = vec![
        json!({"commitInfo": {"timestamp": 1, "operation": "WRITE"}}),
        json!({"protocol": protocol}),
        json!({"metaData": {
            "id": "int96", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
            "partitionColumns": [], "configuration": configuration, "createdTime": 1,
        }}),
    ];
    for number in 0..2 {
        let path = format!("part-{number}.parquet");
        store.put(&path, file.clone()).unwrap();
        log.push(json!({"add": {
            "path": path, "partitionValues": {}, "size": file.len(), "modificationTime": number,
            "dataChange": true, "stats": "{\"numRecords\":8}",
        }}));
    }
    let log: Vec<String> = log.iter().map(Value::to_string).collect();
    store.put("_delta_log/00000000000000000000.json", log.join("\n").into()).unwrap();
    store
}

/// All rows of a table.
pub(crate) fn rows_of(table: &DeltaTable) -> Vec<RecordBatch> {
    let mut rows = Vec::new();
    table
        .read(&[], |batch| {
            rows.push(batch.clone());
            Ok(())
        })
        .unwrap();
    rows
}

/// The files of a table.
pub(crate) fn files_of(table: &DeltaTable) -> Vec<FileEntry> {
    let mut files = Vec::new();
    table
        .live_files(|file| {
            files.push(file);
            Ok(())
        })
        .unwrap();
    files
}

/// Checks that rows are those of so many row groups of [`file_with`].
pub(crate) fn check(rows: &[RecordBatch], row_groups: usize) {
    let ids: Vec<i64> =
        rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Long>().values().to_vec()).collect();
    assert_eq!(ids, [0, 1, 2, 3].repeat(row_groups));
    let mut times = vec![Vec::new(); 4];
    for rows in rows {
        times.iter_mut().zip(times_of(rows)).for_each(|(all, more)| all.extend(more));
    }
    times.iter().for_each(|times| assert_eq!(times, &TIMES.repeat(row_groups)));
}
