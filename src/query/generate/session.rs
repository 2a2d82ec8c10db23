//! `session_window(ts, gap)`: the span that a row opens, from its time on and `gap` long; and `window_time(window)`.
//!
//! A row whose time is NULL, or whose gap is not positive or no interval at all, opens none and does not come out. A gap
//! that the query itself gives and that is no interval is refused: no row would ever come out. Its days and months are those
//! of the calendar in the session's zone. Which spans are one session is
//! decided where they are grouped.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::decode::datetime::Zone;
use crate::query::cast::time::MICROS_PER_DAY;
use crate::query::error::ExpressionError;
use crate::query::functions::interval::{Span, add_span};
use crate::query::rewrite::literal::interval_of;
use crate::query::stateful::event_time::{SESSION, is_window, metadata_of_time, window_metadata};

/// The rows of `session_window()`: lists of at most one `{session_window: {start, end}}`. Behind the time and the gap stands what
/// [`shape`] says of the gap.
#[derive(Debug, PartialEq)]
pub(super) struct SessionRows {
    /// By whose calendar a TIMESTAMP's days and months are counted.
    zone: Zone,
    signature: Signature,
}

impl SessionRows {
    pub(super) fn new(zone: &Zone) -> SessionRows {
        SessionRows { zone: zone.clone(), signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl Eq for SessionRows {}

impl Hash for SessionRows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

/// An error of Spark for a row: its session would end beyond what a TIMESTAMP holds.
fn overflow() -> DataFusionError {
    ExpressionError::raise("ArithmeticException", "long overflow: the session of the row ends too late")
}

/// A time of so many microseconds in the largest unit that says it exactly.
pub(super) fn in_words(micros: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (MICROS_PER_DAY, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1000, "millisecond"),
        (1, "microsecond"),
    ];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| micros % unit == 0).unwrap_or(UNITS[5]);
    counted(micros / unit, name)
}

/// `1 day`, `2 days`.
fn counted(count: i64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A gap in words, which state keeps: `a gap of 5 minutes`. Days and months count by the calendar, so 24 hours are no day.
pub(super) fn shape(gap: Option<&ScalarValue>) -> String {
    let of_each_row = || "a gap of each row".to_owned();
    let Some(ScalarValue::Utf8(Some(text))) = gap else { return of_each_row() };
    let Some((months, days, micros)) = interval_of(text) else { return of_each_row() };
    let some = |count: i64, unit: &str| (count != 0).then(|| counted(count, unit));
    let clock = match micros {
        0 => None,
        _ if micros % MICROS_PER_DAY == 0 => some(micros / 3_600_000_000, "hour"),
        _ => Some(in_words(micros)),
    };
    let parts = [some(months.into(), "month"), some(days.into(), "day"), clock];
    format!("a gap of {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

/// The gap of each row; `None` where it or the row's time is NULL, and where a text is no interval, which Spark reads as NULL.
fn gaps(column: &ArrayRef, times: &TimestampMicrosecondArray) -> Result<Vec<Option<Span>>> {
    let is_given = |row: &usize| times.is_valid(*row) && column.is_valid(*row);
    let rows = 0..column.len();
    Ok(match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            let gap = |row| Some(row).filter(is_given).and_then(|row| interval_of(texts.value(row)));
            rows.map(|row| gap(row).map(|(months, days, micros)| Span { months, days, micros })).collect()
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let lengths = column.as_primitive::<IntervalMonthDayNanoType>();
            let span = |row: usize| {
                let length = lengths.value(row);
                Span { months: length.months, days: length.days, micros: length.nanoseconds / 1000 }
            };
            rows.map(|row| Some(row).filter(is_given).map(span)).collect()
        }
        other => {
            return plan_err!("DATATYPE_MISMATCH: the gap of session_window() is a text, not {other}");
        }
    })
}

impl ScalarUDFImpl for SessionRows {
    fn name(&self) -> &str {
        "session_window_rows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("session_window() takes a time and a gap")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let (3, Some(Some(ScalarValue::Utf8(Some(shape))))) =
            (args.arg_fields.len(), args.scalar_arguments.get(2))
        else {
            return plan_err!("session_window() takes a time and a gap");
        };
        let time = &args.arg_fields[0];
        if !matches!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return plan_err!(
                "DATATYPE_MISMATCH: session_window() takes a TIMESTAMP, not {}",
                time.data_type()
            );
        }
        if let Some(Some(ScalarValue::Utf8(Some(gap)))) = args.scalar_arguments.get(1)
            && interval_of(gap).is_none()
        {
            return plan_err!("CANNOT_PARSE_INTERVAL: {gap} is not a valid interval");
        }
        let bound = |name: &str| Field::new(name, time.data_type().clone(), true);
        let span = DataType::Struct(Fields::from(vec![bound("start"), bound("end")]));
        let span = Field::new("session_window", span, true);
        let span = span.with_metadata(window_metadata(time, SESSION, shape.clone()));
        let row = DataType::Struct(Fields::from(vec![span]));
        let list = DataType::List(Arc::new(Field::new("element", row, true)));
        Ok(Arc::new(Field::new("session_window_rows", list, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = args.args[0].to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let gaps = gaps(&args.args[1].to_array(args.number_rows)?, times)?;
        let (mut starts, mut ends, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(gaps.len()));
        let zone = match times.data_type() {
            DataType::Timestamp(_, Some(_)) => &self.zone,
            _ => &Zone::UTC,
        };
        for (row, gap) in gaps.into_iter().enumerate() {
            let before = starts.len();
            if let Some(gap) = gap {
                let end = add_span(times.value(row), gap, zone).ok_or_else(overflow)?;
                if end > times.value(row) {
                    starts.push(times.value(row));
                    ends.push(end);
                }
            }
            lengths.push(starts.len() - before);
        }
        let DataType::List(element) = args.return_field.data_type() else {
            return plan_err!("the rows of session_window() are a list");
        };
        let DataType::Struct(fields) = element.data_type() else {
            return plan_err!("a session's row is a struct");
        };
        let DataType::Struct(bounds) = fields[0].data_type() else {
            return plan_err!("a session is a struct");
        };
        let column = |values: Vec<i64>| -> ArrayRef {
            let array = TimestampMicrosecondArray::from(values);
            Arc::new(array.with_data_type(times.data_type().clone()))
        };
        let spans = StructArray::try_new(bounds.clone(), vec![column(starts), column(ends)], None)?;
        let rows = StructArray::try_new(fields.clone(), vec![Arc::new(spans)], None)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        let list = ListArray::try_new(Arc::clone(element), offsets, Arc::new(rows), None)?;
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}

/// `window_time(window)`: the last moment that lies in a window, with the window's event time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowTime {
    signature: Signature,
}

impl Default for WindowTime {
    fn default() -> Self {
        WindowTime { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        "window_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("window_time() takes a window")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let window = &args.arg_fields[0];
        let DataType::Struct(fields) = window.data_type() else {
            return plan_err!("DATATYPE_MISMATCH: window_time() takes a window, not {}", window.data_type());
        };
        if !is_window(window) || fields.len() != 2 {
            return plan_err!("window_time() takes a column that window() or session_window() made");
        }
        let time = Field::new("window_time", fields[1].data_type().clone(), true);
        Ok(Arc::new(time.with_metadata(metadata_of_time(window))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let windows = args.args[0].to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(last_moments(&windows)))
    }
}

/// Of each window its end less a microsecond.
pub(super) fn last_moments(windows: &ArrayRef) -> ArrayRef {
    let windows: &StructArray = windows.as_struct();
    let ends = windows.column(1).as_primitive::<TimestampMicrosecondType>();
    let moment = |row: usize| (windows.is_valid(row) && ends.is_valid(row)).then(|| ends.value(row) - 1);
    let made: TimestampMicrosecondArray = (0..windows.len()).map(moment).collect();
    Arc::new(made.with_data_type(ends.data_type().clone()))
}
