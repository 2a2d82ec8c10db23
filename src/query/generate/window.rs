//! `window(ts, duration[, slide[, start]])`: the windows that a time lies in, as Spark's `TimeWindowing` makes them.
//!
//! Windows are counted from 1970-01-01 00:00 UTC plus `start`, whatever the session's zone is. A NULL time lies in
//! no window, and its row does not come out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, TimestampMicrosecondArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};

use super::session::{in_words, last_moments};
use crate::query::error::ExpressionError;
use crate::query::rewrite::literal::interval_of;
use crate::query::stateful::event_time::{TUMBLING, is_window, window_metadata};

/// The rows of `window()`: lists of `{window: {start, end}}`, the newest window first.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WindowRows {
    signature: Signature,
}

impl Default for WindowRows {
    fn default() -> Self {
        WindowRows { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

/// Lengths in microseconds.
struct Shape {
    duration: i64,
    slide: i64,
    start: i64,
}

impl Shape {
    fn of<'a>(texts: impl Iterator<Item = Option<&'a ScalarValue>>) -> Result<Shape> {
        let mut lengths = Vec::new();
        for text in texts {
            let text = match text {
                Some(ScalarValue::Utf8(Some(text))) => text,
                // Of microseconds, as in Spark.
                Some(ScalarValue::Int32(Some(micros))) => {
                    lengths.push(i64::from(*micros));
                    continue;
                }
                Some(ScalarValue::Int64(Some(micros))) => {
                    lengths.push(*micros);
                    continue;
                }
                _ => {
                    return plan_err!(
                        "window() takes its lengths as literal texts, such as '10 minutes', or as microseconds"
                    );
                }
            };
            match interval_of(text) {
                Some((0, days, micros)) => {
                    let length =
                        i64::from(days).checked_mul(86_400_000_000).and_then(|days| days.checked_add(micros));
                    match length {
                        Some(length) => lengths.push(length),
                        None => return plan_err!("window() takes lengths of up to 290,000 years: {text}"),
                    }
                }
                Some(_) => return plan_err!("window() takes no months: {text} has no fixed length"),
                None => return plan_err!("CANNOT_PARSE_INTERVAL: {text} is not a valid interval"),
            }
        }
        let Some(duration) = lengths.first().copied() else {
            return plan_err!("window() needs the windows' length");
        };
        let slide = lengths.get(1).copied().unwrap_or(duration);
        let start = lengths.get(2).copied().unwrap_or_default();
        if duration <= 0 || slide <= 0 {
            return plan_err!(
                "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE: a window's length and slide must be positive"
            );
        }
        if slide > duration {
            return plan_err!(
                "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION: a window's slide is longer than it"
            );
        }
        if start.unsigned_abs() >= slide.unsigned_abs() {
            return plan_err!(
                "DATATYPE_MISMATCH.PARAMETER_CONSTRAINT_VIOLATION: a window's start must be below its slide"
            );
        }
        Ok(Shape { duration, slide, start })
    }

    /// The shape in words, which state keeps: `10 minutes, every 5 minutes`.
    fn words(&self) -> String {
        let mut words = in_words(self.duration);
        if self.slide != self.duration {
            words += &format!(", every {}", in_words(self.slide));
        }
        // Windows that begin a slide later are the same.
        match self.start.rem_euclid(self.slide) {
            0 => words,
            start => format!("{words}, from {}", in_words(start)),
        }
    }

    /// The most windows that a time lies in.
    fn count(&self) -> i64 {
        (self.duration - 1) / self.slide + 1
    }

    /// The starts of the windows around a time, the newest first.
    ///
    /// # Errors
    /// `ARITHMETIC_OVERFLOW` for a time so near to the first or the last TIMESTAMP that a window may begin or end beyond it.
    fn starts(&self, time: i64) -> Result<impl Iterator<Item = i64> + '_> {
        let first = time.checked_sub(self.duration).and_then(|first| first.checked_sub(self.slide));
        let last = time.checked_add(self.duration).and_then(|_| time.checked_sub(self.start));
        if first.is_none() || last.is_none() {
            return Err(ExpressionError::raise(
                "ARITHMETIC_OVERFLOW",
                "the window of the time ends or begins beyond what a TIMESTAMP holds",
            ));
        }
        let newest = time - (time - self.start).rem_euclid(self.slide);
        Ok((0..self.count())
            .map(move |back| newest - back * self.slide)
            .filter(move |start| time < start + self.duration))
    }
}

/// The most rows that the windows of a plan make of one row.
pub(in crate::query) fn copies(plan: &LogicalPlan) -> usize {
    let inputs = plan.inputs().into_iter().map(copies).max().unwrap_or(1);
    plan.expressions().iter().fold(inputs, |copies, expr| copies.saturating_mul(made_by(expr)))
}

fn made_by(expr: &Expr) -> usize {
    let mut most = 1;
    let walked = expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node
            && call.func.inner().downcast_ref::<WindowRows>().is_some()
        {
            let shape = Shape::of(call.args.iter().skip(1).map(|arg| match arg {
                Expr::Literal(length, _) => Some(length),
                _ => None,
            }))?;
            most = usize::try_from(shape.count()).unwrap_or(usize::MAX);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // The call was refused when it was planned if its lengths are no literals.
    walked.map_or(1, |_| most)
}

fn row_type(field: &Field, shape: &Shape) -> Result<DataType> {
    let time = match field.data_type() {
        // A window's own time is its last moment.
        DataType::Struct(bounds) if is_window(field) && bounds.len() == 2 => bounds[1].data_type(),
        other => other,
    };
    let DataType::Timestamp(TimeUnit::Microsecond, _) = time else {
        return plan_err!("DATATYPE_MISMATCH: window() takes a TIMESTAMP, not {time}");
    };
    let bounds =
        Fields::from(vec![Field::new("start", time.clone(), true), Field::new("end", time.clone(), true)]);
    let window = Field::new("window", DataType::Struct(bounds), true);
    let window = window.with_metadata(window_metadata(field, TUMBLING, shape.words()));
    Ok(DataType::Struct(Fields::from(vec![window])))
}

impl ScalarUDFImpl for WindowRows {
    fn name(&self) -> &str {
        "window_rows"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("window() takes its lengths as literals")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let shape = Shape::of(args.scalar_arguments.iter().skip(1).copied())?;
        let row = row_type(&args.arg_fields[0], &shape)?;
        let list = DataType::List(Arc::new(Field::new("element", row, true)));
        Ok(Arc::new(Field::new("window_rows", list, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = args.args[1..].iter().map(|arg| match arg {
            ColumnarValue::Scalar(scalar) => Some(scalar),
            ColumnarValue::Array(_) => None,
        });
        let shape = Shape::of(texts)?;
        let mut array = args.args[0].to_array(args.number_rows)?;
        if matches!(array.data_type(), DataType::Struct(_)) {
            array = last_moments(&array);
        }
        let times = array.as_primitive::<TimestampMicrosecondType>();
        let (mut starts, mut ends, mut lengths) = (Vec::new(), Vec::new(), Vec::with_capacity(times.len()));
        for row in 0..times.len() {
            let before = starts.len();
            if times.is_valid(row) {
                starts.extend(shape.starts(times.value(row))?);
                ends.extend(starts[before..].iter().map(|start| start + shape.duration));
            }
            lengths.push(starts.len() - before);
        }
        let DataType::List(element) = args.return_field.data_type() else {
            return plan_err!("the rows of window() are a list");
        };
        let DataType::Struct(fields) = element.data_type() else {
            return plan_err!("a window's row is a struct");
        };
        let DataType::Struct(bounds) = fields[0].data_type().clone() else {
            return plan_err!("a window is a struct");
        };
        let column = |values: Vec<i64>| -> ArrayRef {
            let array = TimestampMicrosecondArray::from(values);
            Arc::new(array.with_data_type(times.data_type().clone()))
        };
        let windows = StructArray::try_new(bounds, vec![column(starts), column(ends)], None)?;
        let rows = StructArray::try_new(fields.clone(), vec![Arc::new(windows)], None)?;
        let list = ListArray::try_new(
            Arc::clone(element),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(rows),
            None,
        )?;
        Ok(ColumnarValue::Array(Arc::new(list)))
    }
}
