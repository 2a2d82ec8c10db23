//! Rows as text, as Spark's `Dataset.show(numRows, truncate)` prints them; control characters that Spark prints as they are
//! are escaped.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::config::ConsoleSink as Options;
use crate::model::escape::escaped;
use crate::model::{Error, Result};

/// Characters of a cell that `truncate: true` shows.
const CELL_CHARACTERS: usize = 20;
/// The least width of a column.
const WIDTH_MIN: usize = 3;

/// All rows as Spark's `Dataset.show` prints them, cells cut to 20 characters.
///
/// # Errors
/// `Internal` if a value has no text.
pub fn show_rows(columns: &SchemaRef, batches: &[RecordBatch]) -> Result<String> {
    show(columns, batches, &Options { rows: usize::MAX, truncate: true })
}

/// Rows as Spark's `Dataset.show` prints them.
pub(super) fn show(columns: &SchemaRef, batches: &[RecordBatch], options: &Options) -> Result<String> {
    let shown = |text: &str| {
        let text = escaped(text);
        match options.truncate {
            true if text.chars().count() > CELL_CHARACTERS => {
                text.chars().take(CELL_CHARACTERS - 3).chain("...".chars()).collect()
            }
            _ => text.into_owned(),
        }
    };
    let mut lines: Vec<Vec<String>> =
        vec![columns.fields().iter().map(|field| shown(field.name())).collect()];
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    for rows in batches {
        for row in 0..rows.num_rows().min(options.rows.saturating_sub(lines.len() - 1)) {
            let cells = rows.columns().iter().map(|column| Ok(shown(&cell(column.as_ref(), row)?)));
            lines.push(cells.collect::<Result<_>>()?);
        }
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.fields().len()).map(|column| width(column).max(WIDTH_MIN)).collect();
    let edge: String =
        widths.iter().fold("+".to_owned(), |edge, width| edge + &"-".repeat(*width) + "+") + "\n";
    let mut out = edge.clone();
    for (number, line) in lines.iter().enumerate() {
        out.push('|');
        for (text, width) in line.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = match options.truncate {
                true => write!(out, "{text:>width$}|"),
                false => write!(out, "{text:<width$}|"),
            };
        }
        out.push('\n');
        if number == 0 {
            out.push_str(&edge);
        }
    }
    out.push_str(&edge);
    if total > options.rows {
        let rows = if options.rows == 1 { "row" } else { "rows" };
        let _ = writeln!(out, "only showing top {} {rows}", options.rows);
    }
    Ok(out)
}

/// A value as Spark casts it to a string.
fn cell(column: &dyn Array, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("NULL".to_owned());
    }
    let inner = |values: &dyn Array| {
        (0..values.len())
            .map(|at| cell(values, at).map(|text| if values.is_null(at) { "NULL".to_owned() } else { text }))
            .collect::<Result<Vec<_>>>()
    };
    Ok(match column.data_type() {
        DataType::Binary => {
            let bytes = column.as_binary::<i32>().value(row).iter().map(|byte| format!("{byte:02X}"));
            format!("[{}]", bytes.collect::<Vec<_>>().join(" "))
        }
        DataType::Timestamp(_, _) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
            let text = time.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        DataType::List(_) => format!("[{}]", inner(column.as_list::<i32>().value(row).as_ref())?.join(", ")),
        DataType::Map(_, _) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (inner(entries.column(0).as_ref())?, inner(entries.column(1).as_ref())?);
            let entries: Vec<String> =
                keys.iter().zip(&values).map(|(key, value)| format!("{key} -> {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        DataType::Struct(_) => {
            let fields = column.as_struct().columns();
            let texts = fields.iter().map(|field| cell(field.as_ref(), row)).collect::<Result<Vec<_>>>()?;
            format!("{{{}}}", texts.join(", "))
        }
        DataType::Float32 | DataType::Float64 => {
            let text = plain(column, row)?;
            match text.as_str() {
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                _ => text,
            }
        }
        _ => plain(column, row)?,
    })
}

fn plain(column: &dyn Array, row: usize) -> Result<String> {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(column, &options).and_then(|format| format.value(row).try_to_string());
    text.map_err(|e| Error::internal("print a value").source(e))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int32Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;

    fn rows() -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("bytes", DataType::Binary, true),
            Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(Int32Array::from(vec![Some(1), None])),
                Arc::new(StringArray::from(vec!["short", "longer than twenty characters"])),
                Arc::new(BinaryArray::from(vec![&b"a\xff"[..], b""])),
                Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, 0]).with_timezone("UTC")),
            ],
        )
        .unwrap()
    }

    #[test]
    fn a_batch_is_shown_as_spark_shows_it() {
        let shown = |rows_max, truncate| {
            let options = Options { rows: rows_max, truncate };
            show(&rows().schema(), &[rows()], &options).unwrap()
        };
        let truncated = [
            "+----+--------------------+-------+--------------------+",
            "|   a|                text|  bytes|                time|",
            "+----+--------------------+-------+--------------------+",
            "|   1|               short|[61 FF]|1970-01-01 00:00:...|",
            "|NULL|longer than twent...|     []| 1970-01-01 00:00:00|",
            "+----+--------------------+-------+--------------------+",
        ];
        assert_eq!(shown(20, true).lines().collect::<Vec<_>>(), truncated);
        let whole = [
            "+---+-----+-------+---------------------+",
            "|a  |text |bytes  |time                 |",
            "+---+-----+-------+---------------------+",
            "|1  |short|[61 FF]|1970-01-01 00:00:01.5|",
            "+---+-----+-------+---------------------+",
            "only showing top 1 row",
        ];
        assert_eq!(shown(1, false).lines().collect::<Vec<_>>(), whole);
    }

    #[test]
    fn no_control_character_of_a_row_reaches_the_terminal() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a\nb\tc", "\u{1b}[2J", "\u{1b}]0;t\u{7}"]));
        let rows = RecordBatch::try_from_iter([("n\u{1b}[1m", texts)]).unwrap();
        let options = Options { rows: 20, truncate: false };
        let lines = [
            "+------------+",
            r"|n\u{1b}[1m  |",
            "+------------+",
            r"|a\nb\tc     |",
            r"|\u{1b}[2J   |",
            r"|\u{1b}]0;t\a|",
            "+------------+",
        ];
        assert_eq!(show(&rows.schema(), &[rows], &options).unwrap().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn an_empty_batch_shows_its_columns() {
        let options = Options { rows: 20, truncate: true };
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        assert_eq!(show(&schema, &[], &options).unwrap(), "+---+\n|  a|\n+---+\n+---+\n");
    }
}
