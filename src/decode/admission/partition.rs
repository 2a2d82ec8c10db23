//! What a partition column demands of its values: that they can be written into the log and into a path.
//!
//! A partition value is a text in the Delta log and, without column mapping, the name of a folder (`name=value`, with
//! Hive's escapes). So it must be UTF-8, its folder's name must be short enough for a file system, and a date must
//! have a year of four digits, or readers disagree about it. An empty text is null there, as the Delta protocol says.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, SchemaRef, TimestampMicrosecondType};

use super::column::Faults;
use crate::decode::json::{Rejection, RejectionCode};

/// Bytes of one name on Linux, macOS, Windows and in ADLS.
const NAME_BYTES_MAX: usize = 255;
/// Bytes that a value takes at most that is no text: a DECIMAL(38) or a timestamp with its escapes.
const OTHER_BYTES_MAX: usize = 48;
/// 0001-01-01 and 9999-12-31 in days since 1970-01-01.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
/// The same days from their first to their last microsecond.
const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// The rules of a table's partition columns.
#[derive(Debug, Clone)]
pub(super) struct PartitionRules {
    columns: Vec<Column>,
    /// Bytes that the folders of one file may take together; `None` if values are in no path.
    path_bytes_max: Option<usize>,
}

#[derive(Debug, Clone)]
struct Column {
    /// Its position in the table's schema.
    at: usize,
    name: String,
    not_null: bool,
    data_type: DataType,
}

impl PartitionRules {
    /// The rules of the partition columns `names`, which are columns of `schema`.
    pub(super) fn new(schema: &SchemaRef, names: &[String], path_bytes_max: Option<usize>) -> PartitionRules {
        let columns = names.iter().filter_map(|name| {
            let at = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name))?;
            let field = schema.field(at);
            Some(Column {
                at,
                name: field.name().clone(),
                not_null: !field.is_nullable(),
                data_type: field.data_type().clone(),
            })
        });
        PartitionRules { columns: columns.collect(), path_bytes_max }
    }

    /// Whether a row may be refused.
    pub(super) fn may_reject(&self) -> bool {
        let can = |column: &Column| match &column.data_type {
            DataType::Utf8 => column.not_null || self.path_bytes_max.is_some(),
            DataType::Binary | DataType::Date32 | DataType::Timestamp(_, _) => true,
            _ => false,
        };
        self.columns.iter().any(can)
    }

    /// What is demanded, as text: a part of what decides results.
    pub(super) fn describe(&self, out: &mut Vec<String>) {
        out.extend(self.columns.iter().map(|column| format!("{} PARTITION", column.name)));
    }

    /// Reports the rows whose partition values can't be written; `columns` are those of the table.
    pub(super) fn check(&self, columns: &[Option<ArrayRef>], faults: &mut Faults) {
        let mut path_bytes: Option<Vec<usize>> = None;
        for rule in &self.columns {
            let Some(column) = &columns[rule.at] else { continue };
            match column.data_type() {
                DataType::Utf8 => {
                    let texts = column.as_string::<i32>();
                    self.check_texts(rule, column, |row| Some(texts.value(row)), &mut path_bytes, faults);
                }
                DataType::Binary => {
                    let bytes = column.as_binary::<i32>();
                    let text = |row| std::str::from_utf8(bytes.value(row)).ok();
                    self.check_texts(rule, column, text, &mut path_bytes, faults);
                }
                DataType::Date32 => {
                    let days = column.as_primitive::<Date32Type>();
                    rule.check_range(column, |row| DAYS.contains(&days.value(row)), faults);
                }
                DataType::Timestamp(_, _) => {
                    let micros = column.as_primitive::<TimestampMicrosecondType>();
                    rule.check_range(column, |row| MICROS.contains(&micros.value(row)), faults);
                }
                _ => {}
            }
        }
        let (Some(path_bytes), Some(limit)) = (path_bytes, self.path_bytes_max) else { return };
        let is_text = |column: &&Column| matches!(column.data_type, DataType::Utf8 | DataType::Binary);
        let others = self.columns.iter().filter(|column| !is_text(column));
        let others = others.map(|column| escaped_bytes(&column.name) + 2 + OTHER_BYTES_MAX).sum::<usize>();
        for (row, bytes) in path_bytes.into_iter().enumerate().filter(|(_, bytes)| bytes + others > limit) {
            let message = format!(
                "the partition values make a path of {bytes} bytes, and {limit} is the most that the table's place leaves"
            );
            faults.push((row, self.columns[0].rejection(RejectionCode::InvalidPartitionValue, message)));
        }
    }

    fn check_texts<'a>(
        &self,
        rule: &Column,
        column: &ArrayRef,
        text: impl Fn(usize) -> Option<&'a str>,
        path_bytes: &mut Option<Vec<usize>>,
        faults: &mut Faults,
    ) {
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            let Some(text) = text(row) else {
                let message = "the bytes are not UTF-8, which a partition value must be".to_owned();
                faults.push((row, rule.rejection(RejectionCode::InvalidPartitionValue, message)));
                continue;
            };
            if text.is_empty() && rule.not_null {
                let message =
                    "an empty text is null in a partition column, and the table's column is NOT NULL"
                        .to_owned();
                faults.push((row, rule.rejection(RejectionCode::NotNullViolation, message)));
            }
            if self.path_bytes_max.is_none() {
                continue;
            }
            let bytes = escaped_bytes(&rule.name) + 1 + escaped_bytes(text);
            if bytes > NAME_BYTES_MAX {
                let message = format!(
                    "the partition value makes a folder's name of {bytes} bytes, and a name has {NAME_BYTES_MAX} at most"
                );
                faults.push((row, rule.rejection(RejectionCode::InvalidPartitionValue, message)));
            }
            path_bytes.get_or_insert_with(|| vec![0; column.len()])[row] += bytes + 1;
        }
    }
}

impl Column {
    fn check_range(&self, column: &ArrayRef, within: impl Fn(usize) -> bool, faults: &mut Faults) {
        for row in (0..column.len()).filter(|row| column.is_valid(*row)) {
            if !within(row) {
                let message = "a partition value must be between the years 1 and 9999".to_owned();
                faults.push((row, self.rejection(RejectionCode::InvalidPartitionValue, message)));
            }
        }
    }

    fn rejection(&self, code: RejectionCode, message: String) -> Rejection {
        Rejection { code, field: Some(self.name.clone()), message }
    }
}

/// Bytes of a text in a folder's name, each escaped byte as `%XX` (Hive's `escapePathName`).
fn escaped_bytes(text: &str) -> usize {
    let escaped = |b: u8| b < 0x20 || b == 0x7f || b"\"#%'*/:=?\\{[]^".contains(&b);
    text.len() + 2 * text.bytes().filter(|b| escaped(*b)).count()
}
