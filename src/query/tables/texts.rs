//! Values that are stored as texts: those of CSV files and of the names of folders.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::decode::schema::StructField;
use crate::model::{Error, Result};
use crate::query::{BatchRun, Conf, Definition, Failure, Query, Relation, Runner};

/// How many values a row of a CSV file may have, as for Spark (its `maxColumns`).
const CSV_WIDTH_MAX: usize = 20_480;

/// Casts rows of texts to the types of columns, each as `try_cast` does in the query's time zone: what is no value is NULL.
pub(super) struct Casts {
    texts: SchemaRef,
    run: BatchRun,
}

impl Casts {
    /// Casts to these columns, of which there is at least one.
    pub(super) fn new(columns: &[StructField], conf: &Conf) -> Result<Casts> {
        let texts: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true)).collect();
        let texts: SchemaRef = Arc::new(Schema::new(texts));
        let cast = |column: &StructField| {
            let name = column.name.replace('`', "``");
            format!("try_cast(`{name}` AS {}) AS `{name}`", column.data_type.to_ddl())
        };
        let casts: Vec<String> = columns.iter().map(cast).collect();
        let query = Query::plan(&Definition::of_stream(
            Relation { name: "input".into(), schema: Arc::clone(&texts) },
            format!("SELECT {} FROM input", casts.join(", ")),
            Conf { ansi: true, ..conf.clone() },
        ))?;
        Ok(Casts { texts, run: Runner::new(query).begin(0, &[])? })
    }

    /// The values of rows, whose texts are given column by column.
    pub(super) fn values(&self, texts: Vec<ArrayRef>) -> Result<Vec<RecordBatch>> {
        let rows = RecordBatch::try_new(Arc::clone(&self.texts), texts)
            .map_err(|error| Error::internal("make rows of texts").source(error))?;
        self.run.rows(rows).map_err(|failure: Failure| Error::from(failure))
    }
}

/// Reads the rows of a CSV file, whose columns are by position: a row that is too short ends in NULLs, and one that is too long
/// is cut.
pub(super) fn read_csv(
    bytes: &[u8],
    (header, separator): (bool, u8),
    casts: &Casts,
    take: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let failed = |error| Error::data("a CSV file cannot be read").source(error);
    let bytes = without_blank_lines(bytes);
    let columns = casts.texts.fields().len();
    let reader = |width: usize| {
        let fields = (0..width).map(|position| Field::new(position.to_string(), DataType::Utf8, true));
        ReaderBuilder::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
            .with_header(header)
            .with_delimiter(separator)
            .with_truncated_rows(true)
            .with_projection((0..columns).collect())
            .build(&*bytes)
            .map_err(failed)
    };
    // Arrow's reader takes rows that are shorter than it expects, and none that is longer.
    let mut width = columns;
    while width < CSV_WIDTH_MAX && reader(width)?.any(|rows| rows.is_err()) {
        width = (width * 2).min(CSV_WIDTH_MAX);
    }
    for rows in reader(width)? {
        casts.values(rows.map_err(failed)?.columns().to_vec())?.into_iter().try_for_each(&mut *take)?;
    }
    Ok(())
}

/// A CSV file without the lines that hold blanks alone, which are no rows.
fn without_blank_lines(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_row = |line: &&[u8]| !line.trim_ascii().is_empty();
    let lines = || bytes.split_inclusive(|byte| *byte == b'\n');
    if lines().all(|line| is_row(&line)) {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(lines().filter(is_row).flatten().copied().collect())
}
