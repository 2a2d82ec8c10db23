//! `sequence`: integers, dates or timestamps from a start to a stop, both included (`Sequence` of Spark 4.0).

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use datafusion::common::Result;

use super::Entry;
use super::array::{Gather, limited};
use super::interval::{Span, add_span, span_of};
use super::scalar::{Bind, Bound, Call, Types, count, entry};
use crate::decode::datetime::Zone;
use crate::query::cast::time::MICROS_PER_DAY;
use crate::query::coerce::types::{common, is_integral, is_interval, is_timestamp, list_of, mismatch};
use crate::query::error::ExpressionError;

/// The function.
pub(crate) const ENTRIES: &[Entry] = &[entry!(
    "sequence",
    Types::By(bind),
    |call| {
        let temporal = is_temporal(call.args[0].data_type());
        if temporal { moments(call) } else { integers(call) }
    },
    ["stateless/build_nested_values", "expressions/collection"]
)];

fn is_temporal(kind: &DataType) -> bool {
    is_timestamp(kind) || *kind == DataType::Date32
}

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 3)?;
    if is_temporal(&bind.types[0]) && is_temporal(&bind.types[1]) {
        let both = common(bind.conf, &bind.types[0], &bind.types[1])
            .ok_or_else(|| mismatch(bind, "start and stop differ in type"))?;
        let mut args = vec![both.clone(), both.clone()];
        match bind.types.get(2) {
            Some(step) if is_interval(step) => args.push(step.clone()),
            Some(_) => return Err(mismatch(bind, "the step between dates or timestamps is an INTERVAL")),
            None => {}
        }
        return Ok(Bound::new(args, list_of(both)));
    }
    if !bind.types.iter().all(|kind| is_integral(kind) || *kind == DataType::Null) {
        return Err(mismatch(bind, "integers, dates or timestamps are needed"));
    }
    let mut to = bind.types[0].clone();
    for kind in &bind.types[1..] {
        to = common(bind.conf, &to, kind).ok_or_else(|| mismatch(bind, "integers are needed"))?;
    }
    Ok(Bound::new(vec![to.clone(); bind.types.len()], list_of(to)))
}

fn wrong_step() -> datafusion::common::DataFusionError {
    ExpressionError::raise("IllegalArgumentException", "the step leads away from the stop")
}

fn integers(call: &Call) -> Result<ArrayRef> {
    let longs = call.args.iter().map(|array| Ok(arrow::compute::cast(array, &DataType::Int64)?));
    let call = &Call { args: longs.collect::<Result<Vec<_>>>()?, ..*call };
    let mut values = Vec::new();
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let (start, stop) = (call.longs(0).value(row), call.longs(1).value(row));
            let step = if call.has(2) {
                call.longs(2).value(row)
            } else if start <= stop {
                1
            } else {
                -1
            };
            let wrong =
                (step == 0 && start != stop) || (step > 0 && start > stop) || (step < 0 && start < stop);
            if wrong {
                return Err(wrong_step());
            }
            let count =
                if step == 0 { 1 } else { (i128::from(stop) - i128::from(start)) / i128::from(step) + 1 };
            limited(i64::try_from(count).unwrap_or(i64::MAX))?;
            for at in 0..i64::try_from(count).unwrap_or(0) {
                lists.place(Some(values.len()));
                values.push(start + at * step);
            }
        }
        lists.close(valid);
    }
    lists.finish(&Int64Array::from(values), call.returns)
}

/// Dates or timestamps; each is so many steps after the start, so that the end of a month stays one.
fn moments(call: &Call) -> Result<ArrayRef> {
    let kind = call.args[0].data_type();
    let (zone, scale) = match kind {
        DataType::Date32 => (Zone::UTC, MICROS_PER_DAY),
        DataType::Timestamp(_, None) => (Zone::UTC, 1),
        _ => (call.conf.zone.clone(), 1),
    };
    let micros = |at: usize, row: usize| match kind {
        DataType::Date32 => i64::from(call.args[at].as_primitive::<Date32Type>().value(row)) * MICROS_PER_DAY,
        _ => call.args[at].as_primitive::<TimestampMicrosecondType>().value(row),
    };
    let mut values: Vec<i64> = Vec::new();
    let mut lists = Gather::new(call.rows);
    for row in 0..call.rows {
        let valid = call.all_valid(row);
        if valid {
            let (start, stop) = (micros(0, row), micros(1, row));
            let step = if call.has(2) {
                span_of(call.args[2].as_ref(), row)
            } else {
                Span { months: 0, days: if start <= stop { 1 } else { -1 }, micros: 0 }
            };
            // A month is 31 days at most: what Spark estimates the length by.
            let length = i64::from(step.months) * 31 * MICROS_PER_DAY
                + i64::from(step.days) * MICROS_PER_DAY
                + step.micros;
            let ahead = stop > start;
            if (length == 0 && start != stop) || (length > 0 && start > stop) || (length < 0 && ahead) {
                return Err(wrong_step());
            }
            if length != 0 {
                limited((stop - start) / length + 1)?;
            }
            let (mut at, mut number) = (start, 0_i32);
            while if length < 0 { at >= stop } else { at <= stop } {
                lists.place(Some(values.len()));
                values.push(at.div_euclid(scale));
                number += 1;
                let next = step.times(number).and_then(|span| add_span(start, span, &zone));
                match next {
                    Some(next) if length != 0 => at = next,
                    _ => break,
                }
            }
        }
        lists.close(valid);
    }
    match kind {
        DataType::Date32 => {
            let days = values.into_iter().map(|day| day as i32);
            lists.finish(&Date32Array::from_iter_values(days), call.returns)
        }
        kind => {
            let moments = TimestampMicrosecondArray::from(values).with_data_type(kind.clone());
            lists.finish(&moments, call.returns)
        }
    }
}
