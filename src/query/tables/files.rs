//! Tables of plain files: Parquet, CSV and JSON.
//!
//! Their version is a hash of their files' names, sizes and times. It says whether they changed; a version that is
//! gone cannot be read again. A column may be in the names of folders instead of in the files ([`super::partitions`]).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use uuid::Uuid;

use super::partitions::Partitions;
use super::texts::{Casts, read_csv};
use super::{TableFormat, TableSource, fit};
use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use crate::decode::schema::StructType;
use crate::model::{Error, Result};
use crate::query::{Conf, types};
use crate::storage::{Store, Stored};
use crate::table::int96;

/// The files of a table.
pub(super) struct FileTable {
    store: Store,
    format: TableFormat,
    /// The columns in the files themselves.
    data: StructType,
    partitions: Partitions,
    header: bool,
    separator: u8,
    conf: Conf,
}

impl FileTable {
    /// The table and its columns.
    pub(super) fn open(source: &TableSource) -> Result<(FileTable, SchemaRef)> {
        let TableSource { name, format, store, header, separator, conf, .. } = source.clone();
        let given = source.schema.as_ref().map(StructType::to_nullable);
        let files = files(&store)?;
        let partitions = Partitions::find(&files, given.as_ref(), &conf)?;
        let is_found = given.is_none();
        let columns = match (given, format) {
            (Some(given), _) => given,
            (None, TableFormat::Parquet) => parquet_columns(&store, &files)?,
            (None, _) => {
                return Err(Error::config(format!("table {name} needs its columns"))
                    .hint(format!("add tables.{name}.schema, such as \"device STRING, site STRING\"")));
            }
        };
        let data = partitions.data(&columns);
        if data.fields.is_empty() && format != TableFormat::Parquet {
            return Err(Error::config(format!("table {name} has no column but those of its folders"))
                .hint(format!("add the columns of its files to tables.{name}.schema")));
        }
        let arrow = Arc::new(partitions.table(&columns, is_found).to_arrow()?);
        Ok((FileTable { store, format, data, partitions, header, separator, conf }, arrow))
    }

    pub(super) fn newest_version(&self) -> Result<String> {
        Ok(version_of(&files(&self.store)?))
    }

    pub(super) fn read(
        &self,
        version: &str,
        wanted: &Schema,
        take: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let files = files(&self.store)?;
        if version_of(&files) != version {
            return Err(Error::data(format!("the files at {} changed since the micro-batch was planned", self.store.url()))
                .hint("put the files back as they were, or make the table a Delta table, whose versions stay readable"));
        }
        let values = self.partitions.values(&files, &self.conf)?;
        let data = self.data_of(wanted);
        let casts = match self.format {
            TableFormat::Csv => Some(Casts::new(&self.data.fields, &self.conf)?),
            _ => None,
        };
        for (number, file) in files.iter().enumerate() {
            let Some(bytes) = self.store.get(&file.path)? else {
                return Err(Error::unavailable(format!("{} went while it was read", file.path)));
            };
            let mut take = |rows: RecordBatch| match &values {
                None => take(rows),
                Some(values) => take(values.add_to(&rows, number, wanted)?),
            };
            match &casts {
                Some(casts) => {
                    let form = (self.header, self.separator);
                    let mut take = |rows: RecordBatch| take(fit(&rows, &data)?);
                    read_csv(&bytes, form, casts, &mut take)?;
                }
                None if self.format == TableFormat::Json => take(fit(&self.json(&bytes)?, &data)?)?,
                None => parquet(bytes, &data, &mut take)?,
            }
        }
        Ok(())
    }

    /// Those of the columns that the files themselves have.
    fn data_of(&self, wanted: &Schema) -> Schema {
        let is_data = |field: &&FieldRef| !self.partitions.have(field.name());
        Schema::new(wanted.fields().iter().filter(is_data).cloned().collect::<Vec<_>>())
    }

    /// One object a line; a line that is malformed is a row of NULLs, as in Spark's PERMISSIVE.
    fn json(&self, bytes: &[u8]) -> Result<RecordBatch> {
        let policy = Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false };
        let options = JsonOptions { time_zone: self.conf.zone_id.clone(), ..JsonOptions::default() };
        let mut decoder = JsonDecoder::new(&self.data, &options, policy)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if matches!(decoder.push(Some(line)), Outcome::Full) {
                return Err(Error::config("a JSON file is larger than a static table may be"));
            }
        }
        decoder.finish()
    }
}

fn parquet(bytes: Bytes, wanted: &Schema, take: &mut dyn FnMut(RecordBatch) -> Result<()>) -> Result<()> {
    let failed = |error| Error::data("a Parquet file cannot be read").source(error);
    let builder = reader(bytes).map_err(failed)?;
    let names = wanted.fields().iter().map(|field| field.name().as_str());
    let mask = ProjectionMask::columns(builder.parquet_schema(), names);
    for rows in builder.with_projection(mask).build().map_err(failed)? {
        let rows = rows.map_err(|error| Error::data("a Parquet file cannot be read").source(error))?;
        take(fit(&rows, wanted)?)?;
    }
    Ok(())
}

/// A reader of a file's rows, with the timestamps that Spark writes. Columns have the types that Parquet itself says, as for Spark,
/// and not those that Arrow's libraries note beside them.
fn reader(bytes: Bytes) -> std::result::Result<ParquetRecordBatchReaderBuilder<Bytes>, ParquetError> {
    let metadata =
        ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new().with_skip_arrow_metadata(true))?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, int96::in_microseconds(metadata)?))
}

/// The columns of the first file.
fn parquet_columns(store: &Store, files: &[Stored]) -> Result<StructType> {
    let Some(first) = files.first() else { return Ok(StructType { fields: Vec::new() }) };
    let bytes = store.get(&first.path)?.unwrap_or_default();
    let builder = reader(bytes)
        .map_err(|error| Error::data(format!("{} is not a Parquet file", first.path)).source(error))?;
    let column = |field: &FieldRef| {
        let columns = types::of_schema(&Schema::new(vec![as_spark_reads(field)])).map_err(|error| {
            Error::config(format!("column {} of {} cannot be read", field.name(), first.path))
                .source(error)
                .hint("name the columns that the query reads in the table's schema, without this one")
        })?;
        Ok(columns.fields)
    };
    let fields = builder.schema().fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(StructType { fields: fields.into_iter().flatten().collect() })
}

/// A column of a Parquet file with the type that Spark gives it: times in microseconds, numbers with a sign. Times in
/// nanoseconds, which Spark refuses, are in microseconds too.
fn as_spark_reads(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(as_spark_reads).collect()),
        DataType::List(element) => DataType::List(as_spark_reads(element)),
        DataType::Map(entry, sorted) => DataType::Map(as_spark_reads(entry), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// The files of a folder, or the one file that the URL names; names that begin with `_` or `.` are not data, but for folders
/// such as `_year=2026`.
fn files(store: &Store) -> Result<Vec<Stored>> {
    let mut files = store.listing()?;
    let is_hidden = |name: &str| name.starts_with('.') || name.starts_with('_') && !name.contains('=');
    files.retain(|file| !file.path.split('/').any(is_hidden));
    if files.is_empty() {
        return Err(
            Error::config(format!("there are no files at {}", store.url())).hint("check the table's path")
        );
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn version_of(files: &[Stored]) -> String {
    let line =
        |file: &Stored| format!("{}\n{}\n{}\n{}", file.path, file.size_bytes, file.modified_ms, file.tag);
    let text: Vec<String> = files.iter().map(line).collect();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.join("\n").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Int32Array, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use parquet::arrow::ArrowWriter;
    use url::Url;

    use super::*;
    use crate::decode::datetime::Zone;
    use crate::storage::test_runtime;
    use crate::table::int96::examples::{check, file_with};

    fn source(format: TableFormat, files: &[(&str, Bytes)], schema: Option<&str>) -> TableSource {
        let url = Url::parse("memory:///t/").unwrap();
        let store = Store::new(Arc::new(InMemory::new()), url, Path::from("t"), test_runtime());
        for (path, bytes) in files {
            store.put(path, bytes.clone()).unwrap();
        }
        TableSource {
            name: "history".into(),
            format,
            store,
            schema: schema.map(|ddl| StructType::from_ddl(ddl).unwrap()),
            header: false,
            separator: b',',
            conf: Conf::default(),
        }
    }

    fn batches(table: &FileTable, wanted: &Schema) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        let mut take = |batch| {
            rows.push(batch);
            Ok(())
        };
        table.read(&table.newest_version()?, wanted, &mut take)?;
        Ok(rows)
    }

    /// The rows of a table as text, with all its columns.
    fn rows(source: &TableSource) -> Result<Vec<String>> {
        let (table, schema) = FileTable::open(source)?;
        let mut lines = Vec::new();
        for batch in batches(&table, &schema)? {
            let options = FormatOptions::default().with_null("NULL");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let values: Vec<String> =
                    columns.iter().map(|column| column.value(row).to_string()).collect();
                lines.push(values.join("|"));
            }
        }
        Ok(lines)
    }

    fn parquet_file<const N: usize>(columns: [(&str, ArrayRef); N]) -> Bytes {
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn timestamps_that_spark_wrote_as_int96_are_read_as_they_are() {
        let file = file_with("id", "t");
        let source = source(TableFormat::Parquet, &[("part-0.parquet", file)], None);
        let (found, schema) = FileTable::open(&source).unwrap();
        let instants = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(schema.field(1).data_type(), &instants);
        let given = StructType { fields: found.data.fields[..2].to_vec() };
        let (given, _) = FileTable::open(&TableSource { schema: Some(given), ..source }).unwrap();
        for table in [found, given] {
            check(&batches(&table, &schema).unwrap(), 2);
        }
    }

    #[test]
    fn parquet_columns_have_the_types_that_spark_gives_them() {
        let file = parquet_file([
            (
                "ms",
                Arc::new(
                    TimestampMillisecondArray::from(vec![-62_135_596_800_000, 1]).with_timezone("+02:00"),
                ),
            ),
            ("ns", Arc::new(TimestampNanosecondArray::from(vec![1_767_323_045_678_901_000, -1_000]))),
            ("u64", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ]);
        let source = source(TableFormat::Parquet, &[("part-0.parquet", file)], None);
        let (_, schema) = FileTable::open(&source).unwrap();
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
        assert_eq!(types, [&micros(Some("UTC")), &micros(None), &DataType::Decimal128(20, 0)]);
        assert_eq!(
            rows(&source).unwrap(),
            [
                "0001-01-01T00:00:00Z|2026-01-02T03:04:05.678901|18446744073709551615",
                "1970-01-01T00:00:00.001Z|1969-12-31T23:59:59.999999|0"
            ]
        );
    }

    #[test]
    fn a_parquet_column_that_spark_cannot_read_is_refused_by_name() {
        let times = arrow::array::Time64MicrosecondArray::from(vec![1]);
        let file = parquet_file([("t", Arc::new(times)), ("n", Arc::new(Int32Array::from(vec![7])))]);
        let mut source = source(TableFormat::Parquet, &[("part-0.parquet", file)], None);
        let error = rows(&source).unwrap_err();
        assert_eq!(error.kind(), crate::model::Kind::Config, "{error}");
        assert!(error.to_string().contains("column t of part-0.parquet cannot be read"), "{error}");
        source.schema = Some(StructType::from_ddl("n INT").unwrap());
        assert_eq!(rows(&source).unwrap(), ["7"]);
    }

    #[test]
    fn short_csv_rows_end_in_nulls_and_long_ones_are_cut() {
        let text = "id,a,b\n1,x\n2,x,y,z\n \n\n3,\"p,q\",\n,,\nfour,p,q,,,,,,,,\n";
        let file = Bytes::from_static(text.as_bytes());
        let mut source = source(TableFormat::Csv, &[("f.csv", file)], Some("id INT, a STRING, b STRING"));
        let expected = ["1|x|NULL", "2|x|y", "3|p,q|NULL", "NULL|NULL|NULL", "NULL|p|q"];
        source.header = true;
        assert_eq!(rows(&source).unwrap(), expected);
        source.header = false;
        assert_eq!(rows(&source).unwrap()[0], "NULL|a|b");
        assert_eq!(rows(&source).unwrap()[1..], expected);
    }

    #[test]
    fn a_csv_file_of_many_rows_is_read_whole_and_in_order() {
        let text: String = (0..20_000).map(|n| format!("{n},v{n}\n")).collect();
        let source = source(TableFormat::Csv, &[("f.csv", text.into())], Some("n INT, v STRING"));
        let expected: Vec<String> = (0..20_000).map(|n| format!("{n}|v{n}")).collect();
        assert_eq!(rows(&source).unwrap(), expected);
    }

    #[test]
    fn times_without_a_zone_are_of_the_sessions_zone() {
        let json = "{\"ts\":\"2024-01-01 10:00:00\"}\n{\"ts\":\"2024-01-01T10:00:00Z\"}\n";
        let csv = "2024-01-01 10:00:00\n2024-01-01T10:00:00Z\n";
        for (format, text) in [(TableFormat::Json, json), (TableFormat::Csv, csv)] {
            let file = Bytes::from_static(text.as_bytes());
            let mut source = source(format, &[("f", file)], Some("ts TIMESTAMP"));
            assert_eq!(rows(&source).unwrap(), ["2024-01-01T10:00:00Z"; 2], "{format:?}");
            source.conf.zone = Zone::parse("Europe/Berlin").unwrap();
            source.conf.zone_id = "Europe/Berlin".into();
            let expected = ["2024-01-01T09:00:00Z", "2024-01-01T10:00:00Z"];
            assert_eq!(rows(&source).unwrap(), expected, "{format:?}");
        }
    }

    #[test]
    fn folders_that_name_columns_give_them() {
        let file = |n: i32| parquet_file([("n", Arc::new(Int32Array::from(vec![n, n + 1])))]);
        let files = [
            ("_SUCCESS", Bytes::new()),
            ("c=DE/_day=2026-01-02/p.parquet", file(1)),
            ("c=a b/_day=2026-01-03/p.parquet", file(5)),
            ("c=__HIVE_DEFAULT_PARTITION__/_day=2026-01-03/p.parquet", file(7)),
        ];
        let mut source = source(TableFormat::Parquet, &files, None);
        let mut found = rows(&source).unwrap();
        found.sort();
        assert_eq!(
            found,
            [
                "1|DE|2026-01-02",
                "2|DE|2026-01-02",
                "5|a b|2026-01-03",
                "6|a b|2026-01-03",
                "7|NULL|2026-01-03",
                "8|NULL|2026-01-03"
            ]
        );
        let (table, schema) = FileTable::open(&source).unwrap();
        let days = schema.project(&[2]).unwrap();
        let count: usize = batches(&table, &days).unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(count, 6);
        source.schema = Some(StructType::from_ddl("_day STRING, n INT").unwrap());
        let (_, schema) = FileTable::open(&source).unwrap();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["n", "c", "_day"]);
        assert_eq!(schema.field(2).data_type(), &DataType::Utf8);
        assert!(rows(&source).unwrap().contains(&"1|DE|2026-01-02".to_owned()));
    }

    #[test]
    fn times_in_folders_are_of_the_sessions_zone_whether_their_names_are_escaped_or_not() {
        let text = Bytes::from_static(b"{\"n\":1}\n");
        let files = [("at=2024-01-01 10:00:00/f.json", text.clone())];
        let mut source = source(TableFormat::Json, &files, Some("n INT"));
        source.conf.zone = Zone::parse("Europe/Berlin").unwrap();
        source.conf.zone_id = "Europe/Berlin".into();
        assert_eq!(rows(&source).unwrap(), ["1|2024-01-01T09:00:00Z"]);
        source.store.put("at=2024-01-01 11%3A00%3A00/f.json", text).unwrap();
        assert_eq!(rows(&source).unwrap(), ["1|2024-01-01T09:00:00Z", "1|2024-01-01T10:00:00Z"]);
    }

    #[test]
    fn a_folder_that_comes_later_and_does_not_fit_stops_the_table_by_name() {
        let text = || Bytes::from_static(b"{\"n\":1}\n");
        let source = source(TableFormat::Json, &[("k=1/f.json", text())], Some("n INT"));
        let (table, schema) = FileTable::open(&source).unwrap();
        assert_eq!(rows(&source).unwrap(), ["1|1"]);
        source.store.put("k=x/f.json", text()).unwrap();
        let error = batches(&table, &schema).unwrap_err().to_string();
        assert!(error.contains("the folder of k=x/f.json has no value of the type INT"), "{error}");
        assert_eq!(rows(&source).unwrap(), ["1|1", "1|x"]);
        source.store.put("f.json", text()).unwrap();
        let error = rows(&source).unwrap_err().to_string();
        assert!(error.contains("does not lie in folders that name the columns []"), "{error}");
    }
}
