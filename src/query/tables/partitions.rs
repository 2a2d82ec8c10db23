//! Columns that a table has in the names of its folders: `country=DE/day=2026-01-02/part-0.parquet`.
//!
//! Names, values and types are those that Spark finds (its `PartitioningUtils`, asked for each text and pair of types in the tests
//! below). Files that lie in folders with other names, or beside the folders, which Spark leaves out without a word, are refused.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::Schema;
use chrono::{NaiveDate, NaiveDateTime};

use super::fit;
use super::texts::Casts;
use crate::decode::schema::{DataType, StructField, StructType};
use crate::model::{Error, Result};
use crate::query::Conf;
use crate::query::conf::is_same_name;
use crate::storage::Stored;

/// The value of a folder that stands for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that folders name.
#[derive(Debug)]
pub(super) struct Partitions {
    columns: Vec<StructField>,
    case_sensitive: bool,
}

/// The values of the columns for each of a table's files.
pub(super) struct Values(RecordBatch);

impl Partitions {
    /// The columns in the paths of a table's files, with the types of `given`, or those that all their values have.
    ///
    /// # Errors
    /// `Config` if the files have not all the same columns.
    pub(super) fn find(files: &[Stored], given: Option<&StructType>, conf: &Conf) -> Result<Partitions> {
        let named = files.first().map(|first| folders(&first.path)).unwrap_or_default();
        let columns = named.into_iter().map(|(name, _)| StructField::new(name, DataType::Void, true));
        let mut partitions = Partitions { columns: columns.collect(), case_sensitive: conf.case_sensitive };
        for (index, column) in partitions.columns.iter().enumerate() {
            if partitions.columns[..index].iter().any(|other| partitions.is_same(&other.name, &column.name)) {
                return Err(Error::config(format!(
                    "two folders in each other name the column {}",
                    column.name
                )));
            }
        }
        let mut types = vec![DataType::Void; partitions.columns.len()];
        for file in files {
            for (found, value) in types.iter_mut().zip(partitions.texts(&file.path)?) {
                *found = wider(found, type_of(value));
            }
        }
        let case_sensitive = conf.case_sensitive;
        for (column, found) in partitions.columns.iter_mut().zip(types) {
            let mut given = given.into_iter().flat_map(|given| &given.fields);
            *column = match given.find(|given| is_same_name(case_sensitive, &given.name, &column.name)) {
                Some(given) => given.clone(),
                None => StructField {
                    data_type: if found == DataType::Void { DataType::String } else { found },
                    ..column.clone()
                },
            };
        }
        Ok(partitions)
    }

    /// What files with these columns hold themselves.
    pub(super) fn data(&self, columns: &StructType) -> StructType {
        let data = columns.fields.iter().filter(|field| !self.have(&field.name));
        StructType { fields: data.cloned().collect() }
    }

    /// The columns of a table whose files have `columns`: those of the folders are behind them, or `in_place` of those that have
    /// their names.
    pub(super) fn table(&self, columns: &StructType, in_place: bool) -> StructType {
        let mut left: Vec<&StructField> = self.columns.iter().collect();
        let mut fields = Vec::with_capacity(columns.fields.len() + left.len());
        for field in &columns.fields {
            match left.iter().position(|column| self.is_same(&column.name, &field.name)) {
                None => fields.push(field.clone()),
                Some(position) if in_place => fields.push(left.remove(position).clone()),
                Some(_) => {}
            }
        }
        fields.extend(left.into_iter().cloned());
        StructType { fields }
    }

    /// The values of each of the files; `None` if there are no such columns.
    ///
    /// # Errors
    /// `Config` if a file has other columns; `Data` if a value has not the type of its column.
    pub(super) fn values(&self, files: &[Stored], conf: &Conf) -> Result<Option<Values>> {
        let mut texts: Vec<Vec<Option<String>>> = vec![Vec::new(); self.columns.len()];
        for file in files {
            for (column, text) in texts.iter_mut().zip(self.texts(&file.path)?) {
                column.push((text != NULL).then(|| unescaped(text)));
            }
        }
        if self.columns.is_empty() {
            return Ok(None);
        }
        let texts: Vec<ArrayRef> =
            texts.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
        let batches = Casts::new(&self.columns, conf)?.values(texts.clone())?;
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let values = concat_batches(&schema, &batches)
            .map_err(|error| Error::internal("join the values of folders").source(error))?;
        for ((column, texts), values) in self.columns.iter().zip(&texts).zip(values.columns()) {
            let unfit = (0..files.len()).find(|file| texts.is_valid(*file) && values.is_null(*file));
            if let Some(file) = unfit {
                return Err(Error::data(format!(
                    "the folder of {} has no value of the type {} for the column {}",
                    files[file].path,
                    column.data_type.to_ddl(),
                    column.name
                ))
                .hint("start the stream again, which determines the type again, or name it in schema"));
            }
        }
        let columns = StructType { fields: self.columns.clone() }.to_arrow()?;
        Ok(Some(Values(fit(&values, &columns)?)))
    }

    /// Whether folders name this column.
    pub(super) fn have(&self, name: &str) -> bool {
        self.columns.iter().any(|column| self.is_same(&column.name, name))
    }

    fn is_same(&self, a: &str, b: &str) -> bool {
        is_same_name(self.case_sensitive, a, b)
    }

    /// The texts of the columns in a file's path.
    fn texts<'p>(&self, path: &'p str) -> Result<Vec<&'p str>> {
        let folders = folders(path);
        let names = folders.iter().map(|(name, _)| name);
        let are_same = folders.len() == self.columns.len()
            && names.zip(&self.columns).all(|(name, column)| self.is_same(name, &column.name));
        if !are_same {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Error::config(format!(
                "{path} does not lie in folders that name the columns [{}], as another file of the table does",
                names.join(", ")
            ))
            .hint("put all files of the table into folders of the same names and depth"));
        }
        if folders.iter().any(|(name, value)| name.is_empty() || value.is_empty()) {
            return Err(Error::config(format!(
                "{path} lies in a folder without a name or value of its column"
            )));
        }
        Ok(folders.into_iter().map(|(_, value)| value).collect())
    }
}

impl Values {
    /// The columns of `wanted`: those of a file's rows, and its values of the others.
    pub(super) fn add_to(&self, rows: &RecordBatch, file: usize, wanted: &Schema) -> Result<RecordBatch> {
        let failed = |error| Error::internal("add the values of folders").source(error);
        let places = UInt32Array::from(vec![file as u32; rows.num_rows()]);
        let column = |name: &String| match rows.column_by_name(name) {
            Some(column) => Ok(Arc::clone(column)),
            None => {
                let position = self.0.schema_ref().index_of(name).map_err(failed)?;
                take(self.0.column(position), &places, None).map_err(failed)
            }
        };
        let columns = wanted.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
        let fields: Vec<_> =
            wanted.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(failed)
    }
}

/// The names and values of the innermost folders of a path that lie in each other.
fn folders(path: &str) -> Vec<(String, &str)> {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let named = folders.rsplit('/').map(|folder| folder.split_once('='));
    let innermost = named.skip_while(Option::is_none).map_while(|folder| folder);
    let mut found: Vec<(String, &str)> = innermost.map(|(name, value)| (unescaped(name), value)).collect();
    found.reverse();
    found
}

/// A text without `%3A` and the like, each of which is one character.
fn unescaped(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, behind)) = rest.split_once('%') {
        plain.push_str(before);
        let code = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(code.map_or('%', char::from));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    plain + rest
}

/// The type of a folder's value; VOID for NULL.
fn type_of(text: &str) -> DataType {
    if text == NULL {
        DataType::Void
    } else if text.parse::<i32>().is_ok() {
        DataType::Integer
    } else if text.parse::<i64>().is_ok() {
        DataType::Long
    } else if let Some(precision) = whole_digits(text) {
        DataType::Decimal { precision, scale: 0 }
    } else if is_floating(text) {
        DataType::Double
    } else if is_timestamp(&unescaped(text)) {
        DataType::Timestamp
    } else if has_form(text, "0000-00-00") && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() {
        DataType::Date
    } else {
        DataType::String
    }
}

/// The digits of a number without a fraction, such as `5.` or `1e3`, if a DECIMAL has room for them.
fn whole_digits(text: &str) -> Option<u8> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let more = i64::from(exponent) - fraction.len() as i64;
    let precision = digits.trim_start_matches('0').len().max(1) as i64 + more;
    (more >= 0 && precision <= 38).then_some(precision as u8)
}

fn is_floating(text: &str) -> bool {
    let text = text.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
    matches!(unsigned, "NaN" | "Infinity")
        || number.starts_with(|c: char| c == '.' || c.is_ascii_digit()) && number.parse::<f64>().is_ok()
}

/// Whether a text is a time as Spark's pattern `yyyy-MM-dd HH:mm:ss[.S]` has it.
fn is_timestamp(text: &str) -> bool {
    (has_form(text, "0000-00-00 00:00:00") || has_form(text, "0000-00-00 00:00:00.0"))
        && !text[17..].starts_with("60")
        && NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_ok()
}

/// Whether a text has digits and other characters where `form` has them.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            _ => found == wanted,
        })
}

/// The type that has the values of both.
fn wider(a: &DataType, b: DataType) -> DataType {
    use DataType::{Date, Decimal, Double, Integer, Long, Timestamp, Void};
    match (a, b) {
        (a, b) if *a == b => b,
        (Void, other) => other,
        (other, Void) => other.clone(),
        (Integer, Long) | (Long, Integer) => Long,
        (Integer, Double) | (Double, Integer) => Double,
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        (Decimal { precision: a, .. }, Decimal { precision: b, .. }) => {
            Decimal { precision: b.max(*a), scale: 0 }
        }
        (Integer, Decimal { precision, .. }) => Decimal { precision: precision.max(10), scale: 0 },
        (Decimal { precision, .. }, Integer) => Decimal { precision: (*precision).max(10), scale: 0 },
        (Long, Decimal { precision, .. }) => Decimal { precision: precision.max(20), scale: 0 },
        (Decimal { precision, .. }, Long) => Decimal { precision: (*precision).max(20), scale: 0 },
        _ => DataType::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<Stored> {
        let file = |path: &&str| Stored {
            path: (*path).to_owned(),
            size_bytes: 1,
            modified_ms: 0,
            tag: String::new(),
        };
        paths.iter().map(file).collect()
    }

    fn found(paths: &[&str], given: Option<&str>) -> Result<String> {
        let given = given.map(|ddl| StructType::from_ddl(ddl).unwrap());
        let conf = Conf::default();
        let partitions = Partitions::find(&files(paths), given.as_ref(), &conf)?;
        let column = |column: &StructField| format!("{} {}", column.name, column.data_type.to_ddl());
        Ok(partitions.columns.iter().map(column).collect::<Vec<_>>().join(", "))
    }

    /// Texts and their types, each asked of Spark 4.0.
    const TYPES: [(&str, &str); 42] = [
        ("007", "INT"),
        ("+5", "INT"),
        ("-5", "INT"),
        ("-0", "INT"),
        ("2024", "INT"),
        ("2147483648", "BIGINT"),
        ("99999999999999999999", "DECIMAL(20,0)"),
        ("123456789012345678901234567890123456789", "DOUBLE"),
        ("1e3", "DECIMAL(4,0)"),
        ("1E30", "DECIMAL(31,0)"),
        ("5.", "DECIMAL(1,0)"),
        ("1.5", "DOUBLE"),
        (".5", "DOUBLE"),
        ("10d", "DOUBLE"),
        ("1f", "DOUBLE"),
        ("5 ", "DOUBLE"),
        (" 5", "DOUBLE"),
        ("NaN", "DOUBLE"),
        ("Infinity", "DOUBLE"),
        ("inf", "STRING"),
        ("1_000", "STRING"),
        ("true", "STRING"),
        ("2024-01-01", "DATE"),
        ("2024-1-1", "STRING"),
        ("2024-01", "STRING"),
        ("2024-02-30", "STRING"),
        ("2024-01-01 ", "STRING"),
        ("2024-01-01-10", "STRING"),
        ("10000-01-01", "STRING"),
        ("2024-01-01 10%3A00%3A00", "TIMESTAMP"),
        ("2024-01-01 10:00:00", "TIMESTAMP"),
        ("2024-01-01 10%3A00%3A00.5", "TIMESTAMP"),
        ("2024-01-01 10%3A00%3A00.123456", "STRING"),
        ("2024-01-01 10%3A00", "STRING"),
        ("2024-01-01T10%3A00%3A00", "STRING"),
        ("10%3A00", "STRING"),
        ("a%20b", "STRING"),
        ("%C3%A9", "STRING"),
        ("é", "STRING"),
        ("a%2Fb%3Dc", "STRING"),
        ("%", "STRING"),
        (NULL, "STRING"),
    ];

    #[test]
    fn folders_have_the_types_that_spark_finds() {
        for (text, expected) in TYPES {
            let path = format!("k={text}/f");
            assert_eq!(found(&[&path], None).unwrap(), format!("k {expected}"), "{text}");
        }
        for (a, b, expected) in [
            ("1", "2147483648", "BIGINT"),
            ("1", "1.5", "DOUBLE"),
            ("2147483648", "1.5", "STRING"),
            ("1", "a", "STRING"),
            ("2024-01-01", "2024-01-01 10%3A00%3A00", "TIMESTAMP"),
            ("1", "2024-01-01", "STRING"),
            ("1", NULL, "INT"),
            ("1", "99999999999999999999", "DECIMAL(20,0)"),
            ("2147483648", "9999999999999999999999", "DECIMAL(22,0)"),
            ("1.5", "99999999999999999999", "STRING"),
        ] {
            let (a, b) = (format!("k={a}/f"), format!("k={b}/f"));
            for paths in [[&*a, &*b], [&*b, &*a]] {
                assert_eq!(found(&paths, None).unwrap(), format!("k {expected}"), "{paths:?}");
            }
        }
    }

    #[test]
    fn names_are_found_as_spark_finds_them_and_what_does_not_fit_is_refused_by_name() {
        for (paths, given, expected) in [
            (vec!["f", "x/f"], None, ""),
            (vec!["k=1/l=x/f", "k=2/l=y/f"], None, "k INT, l STRING"),
            (vec!["x/k=1/f"], None, "k INT"),
            (vec!["k=1/x/f"], None, "k INT"),
            (vec!["K=1/f", "k=2/f"], None, "K INT"),
            (vec!["k=01/f"], Some("id BIGINT, k STRING"), "k STRING"),
            (vec!["K=a/l=2/f"], Some("k STRING, id BIGINT"), "k STRING, l INT"),
        ] {
            assert_eq!(found(&paths, given).unwrap(), expected, "{paths:?}");
        }
        for (paths, reason) in [
            (vec!["k=1/f", "l=1/f"], "l=1/f does not lie in folders that name the columns [k]"),
            (vec!["k=1/f", "k=1/l=x/f"], "k=1/l=x/f does not lie"),
            (vec!["f", "k=2/f"], "k=2/f does not lie in folders that name the columns []"),
            (vec!["k=1/f", "z"], "z does not lie in folders that name the columns [k]"),
            (vec!["k=1/K=2/f"], "two folders in each other name the column K"),
            (vec!["=1/f"], "=1/f lies in a folder without a name or value"),
            (vec!["k=/f"], "k=/f lies in a folder without a name or value"),
        ] {
            let error = found(&paths, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{paths:?}: {error}");
        }
    }

    #[test]
    fn columns_of_folders_replace_those_of_files() {
        let conf = Conf::default();
        let partitions = Partitions::find(&files(&["ID=7/k=1/f"]), None, &conf).unwrap();
        let columns = StructType::from_ddl("id BIGINT, a STRING").unwrap();
        let names = |schema: &StructType| {
            schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&partitions.data(&columns)), "a");
        assert_eq!(names(&partitions.table(&columns, true)), "ID a k");
        assert_eq!(names(&partitions.table(&columns, false)), "a ID k");
    }
}
