//! `approx_count_distinct`: HyperLogLog++ over Spark's `xxhash64`, so that the estimates are Spark's.
//!
//! A group's state is one byte for each register (`HyperLogLogPlusPlusHelper` of Spark 4.0, which packs them). The
//! corrections of the bias are those that the authors of HyperLogLog++ published; `hll_bias.txt` has them.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::EmitTo;

use super::groups::Groups;
use super::rows::Rows;
use super::{OfNone, Shape, aggregate};
use crate::query::coerce::types::{Want, castable, refused};
use crate::query::functions::entry::Entry;
use crate::query::functions::hash::hashes;
use crate::query::functions::scalar::{Bind, Bound, Types, count};

/// The estimate of how many distinct values there are.
pub(crate) const ENTRIES: &[Entry] = &[aggregate!(
    "approx_count_distinct",
    {
        types: Types::By(bind),
        state: |_, _| vec![("registers", DataType::Binary)],
        make: |shape| Ok(Box::new(Estimates { registers: Vec::new(), precision: precision(literal(shape))? })),
        of_none: OfNone::Zero,
        unbounded: false,
    },
    ["aggregates/approx_count_distinct_small", "generated/distinct"]
)];

/// Spark's default of the relative standard deviation.
const DEVIATION: f64 = 0.05;
/// How many estimates near a raw one its bias is taken from.
const NEIGHBOURS: usize = 6;
/// The precisions that `hll_bias.txt` has, from 4 on.
const PRECISION_BASE: u32 = 4;
/// Below this precision the bias is corrected.
const PRECISION_END: u32 = 19;

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 1, 2)?;
    let mut args = vec![bind.types[0].clone()];
    if bind.types.len() == 2 {
        if bind.strict && bind.literals[1].is_none() {
            return Err(refused(
                "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT",
                "the deviation of approx_count_distinct is a literal",
            ));
        }
        if bind.strict {
            precision(bind.literals[1].as_ref())?;
        }
        args.push(castable(bind, &bind.types[1], Want::Double)?);
    }
    Ok(Bound::new(args, DataType::Int64))
}

fn literal(shape: &Shape) -> Option<&ScalarValue> {
    shape.literals.get(1)?.as_ref()
}

/// How many bits of a hash choose its register, for a relative standard deviation.
///
/// # Errors
/// It is out of range.
fn precision(deviation: Option<&ScalarValue>) -> Result<u32> {
    let deviation = match deviation.map(|literal| literal.cast_to(&DataType::Float64)).transpose()? {
        Some(ScalarValue::Float64(Some(deviation))) => deviation,
        _ => DEVIATION,
    };
    let precision = (2.0 * (1.106 / deviation).ln() / 2.0_f64.ln()).ceil();
    if (4.0..=24.0).contains(&precision) {
        return Ok(precision as u32);
    }
    let message = "the deviation of approx_count_distinct is above 0.0003 and below 0.39";
    Err(refused("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message))
}

struct Estimates {
    /// The registers of all groups, group after group.
    registers: Vec<u8>,
    precision: u32,
}

impl Estimates {
    /// Registers of a group.
    fn width(&self) -> usize {
        1 << self.precision
    }

    fn take(&mut self, emit: EmitTo) -> Vec<u8> {
        match emit {
            EmitTo::All => std::mem::take(&mut self.registers),
            EmitTo::First(groups) => {
                let rest = self.registers.split_off(groups * self.width());
                std::mem::replace(&mut self.registers, rest)
            }
        }
    }
}

impl Groups for Estimates {
    fn grow(&mut self, groups: usize) {
        self.registers.resize(groups * self.width(), 0);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let hashed = hashes(&args[0])?;
        let (precision, width) = (self.precision, self.width());
        let registers = &mut self.registers;
        Rows::new(groups, &args[..1], filter).each(|group, row| {
            let hash = hashed[row] as u64;
            let register = group * width + (hash >> (64 - precision)) as usize;
            // The padding ends a run of zeros.
            let rest = (hash << precision) | (1 << (precision - 1));
            let run = rest.leading_zeros() as u8 + 1;
            registers[register] = registers[register].max(run);
        });
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let (more, width) = (states[0].as_binary::<i32>(), self.width());
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| more.is_valid(*row)) {
            let kept = &mut self.registers[group * width..(group + 1) * width];
            kept.iter_mut().zip(more.value(row)).for_each(|(kept, more)| *kept = (*kept).max(*more));
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (width, registers) = (self.width(), self.take(emit));
        let states = registers.chunks_exact(width).map(Some);
        Ok(vec![Arc::new(states.collect::<BinaryArray>())])
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (width, precision, registers) = (self.width(), self.precision, self.take(emit));
        let counts = registers.chunks_exact(width).map(|registers| estimate(registers, precision));
        Ok(Arc::new(counts.collect::<Int64Array>()))
    }

    fn size(&self) -> usize {
        self.registers.capacity()
    }
}

/// The estimate of a group.
fn estimate(registers: &[u8], precision: u32) -> i64 {
    let m = registers.len() as f64;
    let alpha = match precision {
        4 => 0.673,
        5 => 0.697,
        6 => 0.709,
        _ => 0.7213 / (1.0 + 1.079 / m),
    };
    // Spark shifts an INT: a run of 32 or more counts as one 32 shorter.
    let inverse: f64 = registers.iter().map(|run| 1.0 / f64::from(1_i32.wrapping_shl(u32::from(*run)))).sum();
    let raw = alpha * m * m / inverse;
    let corrected = || {
        let biased = precision < PRECISION_END && raw < 5.0 * m;
        if biased { raw - bias(raw, precision) } else { raw }
    };
    let zeros = registers.iter().filter(|run| **run == 0).count();
    let value = if zeros > 0 {
        let linear = m * (m / zeros as f64).ln();
        let is_small = match Table::of(precision) {
            Some(table) => linear <= table.threshold,
            None => corrected() <= 2.5 * m,
        };
        if is_small { linear } else { corrected() }
    } else {
        corrected()
    };
    // Java's rounding: half up.
    (value + 0.5).floor() as i64
}

/// What is known of one precision.
struct Table {
    /// Up to which estimate the zeros are counted instead.
    threshold: f64,
    /// Raw estimates, ascending.
    raw: Vec<f64>,
    /// The bias of each.
    bias: Vec<f64>,
}

/// By precision from 4 on: a line of the threshold, one of raw estimates, one of their biases.
static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
    let numbers = |line: &str| line.split(' ').filter_map(|number| number.parse().ok()).collect::<Vec<f64>>();
    let lines: Vec<Vec<f64>> = include_str!("hll_bias.txt").lines().map(numbers).collect();
    let table = |lines: &[Vec<f64>]| Table {
        threshold: lines[0].first().copied().unwrap_or_default(),
        raw: lines[1].clone(),
        bias: lines[2].clone(),
    };
    lines.chunks_exact(3).map(table).collect()
});

impl Table {
    fn of(precision: u32) -> Option<&'static Table> {
        TABLES.get(precision.checked_sub(PRECISION_BASE)? as usize)
    }

    /// Where an estimate stands among the raw ones. They are not in order everywhere: this is Java's binary search.
    fn place(&self, raw: f64) -> usize {
        let (mut low, mut high) = (0, self.raw.len());
        while low < high {
            let middle = (low + high - 1) / 2;
            match self.raw[middle].total_cmp(&raw) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return middle,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        low
    }
}

/// The mean bias of the estimates nearest to `raw`.
fn bias(raw: f64, precision: u32) -> f64 {
    let Some(table) = Table::of(precision) else { return 0.0 };
    let nearest = table.place(raw);
    let distance = |at: usize| (raw - table.raw[at]).powi(2);
    let mut low = (nearest + 1).saturating_sub(NEIGHBOURS);
    let mut high = (low + NEIGHBOURS).min(table.raw.len());
    while high < table.raw.len() && distance(high) < distance(low) {
        (low, high) = (low + 1, high + 1);
    }
    table.bias[low..high].iter().sum::<f64>() / (high - low) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_bias_for_each_estimate() {
        assert_eq!(TABLES.len(), (PRECISION_END - PRECISION_BASE) as usize);
        for table in TABLES.iter() {
            assert!(table.threshold > 0.0 && table.raw.len() > NEIGHBOURS);
            assert_eq!(table.raw.len(), table.bias.len());
        }
    }
}
