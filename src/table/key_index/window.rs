//! `merge.within`: which files of a table an index covers if rows of one key are never far apart in event time.
//!
//! A file all of whose rows are older than the window holds no key of a row inside it: the index does not read it, and lets
//! go of it if it covers it. How new a file's rows are is said by its statistics in the log, or by its partition; a file of
//! which neither says it is covered. The window ends at the newest event time that the index has seen, and never moves
//! back. Event times that are ahead of this machine's clock count as now: one wrong clock must not empty the index.

use std::collections::HashMap;
use std::time::Duration;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use delta_kernel::schema::DataType as KernelType;

use super::fingerprint::Fingerprint;
use super::key_columns::ComparedColumn;
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};
use crate::table::{DeltaTable, FileEntry};

/// The setting that names the column.
const SETTING: &str = "sink.merge.eventTime";
/// Statistics may be cut off after the milliseconds; a file's newest row may be so much newer.
const CUT_OFF_US: i64 = 999;
/// The window moves on in steps of this part of its length, so that the covered files are not looked through at each commit.
const STEPS: i64 = 64;

/// Reads the event times of rows, on any thread.
#[derive(Debug, Clone)]
pub struct EventTimes {
    column: ComparedColumn,
}

/// The window of event times whose keys an index holds, and the files of which it is known how new they are.
#[derive(Debug)]
pub(super) struct KeyWindow {
    times: EventTimes,
    place: Place,
    length_us: i64,
    /// The newest event time of each covered file.
    newest_of: HashMap<Fingerprint, i64>,
}

/// Where the log says how new a file's rows are.
#[derive(Debug)]
enum Place {
    /// In the statistics of the column with these physical names, from the top-level column down.
    Statistics(Vec<String>),
    /// In the partition column with this physical name.
    Partition(String),
}

impl EventTimes {
    /// Finds the column `name` in `owner`, which is `the stream` or `table …`.
    ///
    /// # Errors
    /// `Config` if it is not there, or is not of dates or timestamps.
    pub fn resolve(schema: &Schema, name: &str, owner: &str) -> Result<EventTimes> {
        let column = ComparedColumn::resolve(schema, SETTING, name, owner)?;
        if !matches!(column.data_type(), DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)) {
            let of = name_of(column.data_type());
            return Err(Error::config(format!(
                "{SETTING}: {name} is {of}, which is not an event time's type"
            ))
            .hint("name a column of TIMESTAMP, TIMESTAMP_NTZ or DATE"));
        }
        Ok(EventTimes { column })
    }

    /// The event times of rows of the table, in microseconds since the Unix epoch; a date is its first moment.
    ///
    /// # Errors
    /// `Internal` if the rows lack the column.
    pub fn of_rows(&self, rows: &RecordBatch) -> Result<TimestampMicrosecondArray> {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let column = self.column.of_rows(rows)?;
        let times = cast(&column, &micros).map_err(|e| Error::internal("read event times").source(e))?;
        Ok(times.as_primitive::<TimestampMicrosecondType>().clone())
    }
}

impl KeyWindow {
    /// The window that ends at the newest row by the column `name` of `table` and goes back by `length`.
    ///
    /// # Errors
    /// `Config` if the column is not there, or is not of dates or timestamps.
    pub(super) fn resolve(table: &DeltaTable, name: &str, length: Duration) -> Result<KeyWindow> {
        let owner = format!("table {}", table.store().url());
        let times = EventTimes::resolve(table.arrow_schema()?.as_ref(), name, &owner)?;
        Ok(KeyWindow {
            place: Place::of(table, times.column.path())?,
            times,
            length_us: i64::try_from(length.as_micros()).unwrap_or(i64::MAX),
            newest_of: HashMap::new(),
        })
    }

    /// The column and the length, as an index is marked with them.
    pub(super) fn mark(&self) -> (String, i64) {
        (self.times.column.path().join("."), self.length_us)
    }

    /// The names of the column from the top-level column down.
    pub(super) fn path(&self) -> &[String] {
        self.times.column.path()
    }

    pub(super) fn times(&self) -> &EventTimes {
        &self.times
    }

    /// The index covers these files.
    pub(super) fn restore(&mut self, files: impl Iterator<Item = (Fingerprint, FileEntry)>) {
        self.newest_of.clear();
        files.for_each(|(identity, entry)| self.cover(identity, self.newest_in(&entry)));
    }

    /// The newest event time of a file's rows; `None` if the log does not say it.
    pub(super) fn newest_in(&self, entry: &FileEntry) -> Option<i64> {
        match &self.place {
            Place::Partition(name) => micros(entry.partition_values().get(name)?.as_deref()?),
            Place::Statistics(path) => {
                let newest = micros(entry.largest_value(path)?.as_str()?)?;
                Some(newest.saturating_add(CUT_OFF_US))
            }
        }
    }

    /// The index covers a file.
    pub(super) fn cover(&mut self, identity: Fingerprint, newest: Option<i64>) {
        if let Some(newest) = newest {
            self.newest_of.insert(identity, newest);
        }
    }

    /// A file has left the table.
    pub(super) fn remove(&mut self, identity: Fingerprint) {
        self.newest_of.remove(&identity);
    }

    /// Only these files are in the table.
    pub(super) fn retain(&mut self, live: impl Fn(Fingerprint) -> bool) {
        self.newest_of.retain(|identity, _| live(*identity));
    }

    /// Where a window that begins at `covered_from` begins after rows with a newest event time; `None` if it does not move.
    pub(super) fn moved(&self, covered_from: i64, newest: i64) -> Option<i64> {
        let newest = newest.min(Utc::now().timestamp_micros());
        let from = newest.saturating_sub(self.length_us);
        (from.saturating_sub(self.length_us / STEPS) >= covered_from).then_some(from)
    }

    /// The covered files that a window from `from` on has left behind.
    pub(super) fn take_before(&mut self, from: i64) -> Vec<Fingerprint> {
        self.newest_of.extract_if(|_, newest| *newest < from).map(|(identity, _)| identity).collect()
    }
}

impl Place {
    fn of(table: &DeltaTable, path: &[String]) -> Result<Place> {
        let mut names = physical_path(table, path)?;
        match path {
            [column] if table.partition_columns().contains(column) => Ok(Place::Partition(names.remove(0))),
            _ => Ok(Place::Statistics(names)),
        }
    }
}

/// The names that a column has in the table's files, from the top-level column down.
///
/// # Errors
/// `Internal` if the table has no such column.
pub(super) fn physical_path(table: &DeltaTable, path: &[String]) -> Result<Vec<String>> {
    let lacking = || Error::internal(format!("the table has no column {}", path.join(".")));
    let mode = table.snapshot.table_configuration().column_mapping_mode();
    let schema = table.snapshot.schema();
    let (first, rest) = path.split_first().ok_or_else(lacking)?;
    let mut field = schema.field(first).ok_or_else(lacking)?;
    let mut names = vec![field.physical_name(mode).to_owned()];
    for name in rest {
        let KernelType::Struct(fields) = &field.data_type else { return Err(lacking()) };
        field = fields.field(name).ok_or_else(lacking)?;
        names.push(field.physical_name(mode).to_owned());
    }
    Ok(names)
}

/// A date or a time as the log has it, in microseconds since the Unix epoch; without a zone it is one of UTC.
fn micros(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros());
    }
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let parsed = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    Some(parsed.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_that_writers_give_them() {
        let day = 20_454 * 86_400_000_000_i64;
        let noon = day + 43_200_000_000;
        for (text, expected) in [
            ("2026-01-01", Some(day)),
            ("2026-01-01T12:00:00.000Z", Some(noon)),
            ("2026-01-01T12:00:00.000001Z", Some(noon + 1)),
            ("2026-01-01T13:00:00+01:00", Some(noon)),
            ("2026-01-01T12:00:00.5", Some(noon + 500_000)),
            ("2026-01-01 12:00:00", Some(noon)),
            ("2026-01-01 12:00:00.25", Some(noon + 250_000)),
            ("+294247-01-10T04:00:54.775Z", None),
            ("NaN", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }
}
