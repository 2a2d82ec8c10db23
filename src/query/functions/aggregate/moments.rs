//! Moments of one column and of pairs: variance, skewness, kurtosis, covariance, correlation, regression.
//!
//! The formulas are Spark's, term by term, so that the last bits are, too (`CentralMomentAgg`, `Covariance`,
//! `PearsonCorrelation` and `linearRegression` of Spark 4.0). A state is merged even into a group without rows.

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use std::sync::Arc;

use super::groups::Groups;
use super::rows::{Rows, column};
use super::{OfNone, aggregate};
use crate::query::error::ExpressionError;
use crate::query::functions::entry::Entry;
use crate::query::functions::scalar::takes;

/// An entry over `$arguments` DOUBLEs whose state is that of `$fold`.
macro_rules! fold {
    ([$($want:ident),*], $name:literal $(| $alias:literal)*, $fold:ident, $finish:expr, $($case:literal),*) => {
        aggregate!(
            $name $(| $alias)*,
            {
                types: takes!([$($want),*] => DataType::Float64),
                state: |_, _| $fold.names.iter().map(|name| (*name, DataType::Float64)).collect(),
                make: |_| Ok(Box::new(Folded { states: Vec::new(), fold: &$fold, finish: $finish, fails: None })),
                of_none: OfNone::Null,
                unbounded: false,
            },
            [$($case),*]
        )
    };
}

/// Moments and what is made of them.
pub(crate) const ENTRIES: &[Entry] = &[
    fold!(
        [Double],
        "stddev" | "std" | "stddev_samp",
        SQUARES,
        |s| sample(s, |s| (s[2] / (s[0] - 1.0)).sqrt()),
        "aggregates/stddev_and_variance",
        "generated/moments"
    ),
    fold!(
        [Double],
        "stddev_pop",
        SQUARES,
        |s| Some((s[2] / s[0]).sqrt()),
        "aggregates/stddev_and_variance",
        "generated/moments"
    ),
    fold!(
        [Double],
        "variance" | "var_samp",
        SQUARES,
        |s| sample(s, |s| s[2] / (s[0] - 1.0)),
        "aggregates/stddev_and_variance",
        "generated/moments"
    ),
    fold!(
        [Double],
        "var_pop",
        SQUARES,
        |s| Some(s[2] / s[0]),
        "aggregates/stddev_and_variance",
        "generated/moments"
    ),
    fold!(
        [Double],
        "skewness",
        CUBES,
        |s| (s[2] != 0.0).then(|| s[0].sqrt() * s[3] / (s[2] * s[2] * s[2]).sqrt()),
        "aggregates/skewness_and_kurtosis",
        "generated/moments"
    ),
    fold!(
        [Double],
        "kurtosis",
        FOURTHS,
        |s| (s[2] != 0.0).then(|| s[0] * s[4] / (s[2] * s[2]) - 3.0),
        "aggregates/skewness_and_kurtosis",
        "generated/moments"
    ),
    fold!(
        [Double, Double],
        "covar_pop",
        COVARIANCE,
        |s| Some(s[3] / s[0]),
        "aggregates/corr_and_covar",
        "generated/moments"
    ),
    fold!(
        [Double, Double],
        "covar_samp",
        COVARIANCE,
        |s| sample(s, |s| s[3] / (s[0] - 1.0)),
        "aggregates/corr_and_covar",
        "generated/moments"
    ),
    aggregate!(
        "corr",
        {
            types: takes!([Double, Double] => DataType::Float64),
            state: |_, _| CORRELATION.names.iter().map(|name| (*name, DataType::Float64)).collect(),
            make: |shape| {
                Ok(Box::new(Folded {
                    states: Vec::new(),
                    fold: &CORRELATION,
                    finish: |s| (s[0] != 1.0 && spread(s) != 0.0).then(|| s[3] / spread(s)),
                    fails: shape.conf.ansi.then_some(|s| s[0] > 1.0 && spread(s) == 0.0),
                }))
            },
            of_none: OfNone::Null,
            unbounded: false,
        },
        ["aggregates/corr_and_covar", "generated/moments"]
    ),
    fold!([Double, Double], "regr_avgx", AVERAGE_OF_SECOND, |s| Some(s[1] / s[0]), "generated/moments"),
    fold!([Double, Double], "regr_avgy", AVERAGE, |s| Some(s[1] / s[0]), "generated/moments"),
    fold!([Double, Double], "regr_sxy", COVARIANCE, |s| Some(s[3]), "generated/moments"),
    fold!([Double, Double], "regr_sxx", SQUARES_OF_SECOND, |s| Some(s[2]), "generated/moments"),
    fold!([Double, Double], "regr_syy", SQUARES, |s| Some(s[2]), "generated/moments"),
    fold!(
        [Double, Double],
        "regr_r2",
        CORRELATION,
        |s| match (s[4] == 0.0, s[5] == 0.0) {
            // The first argument is y.
            (_, true) => None,
            (true, _) => Some(1.0),
            _ => {
                let corr = s[3] / (s[4] * s[5]).sqrt();
                Some(corr * corr)
            }
        },
        "generated/moments"
    ),
    fold!(
        [Double, Double],
        "regr_slope",
        REGRESSION,
        |s| slope(s),
        "aggregates/corr_and_covar",
        "generated/moments"
    ),
    fold!([Double, Double], "regr_intercept", REGRESSION, intercept, "generated/moments"),
];

/// A value of at least two rows.
fn sample<const N: usize>(state: &[f64; N], value: fn(&[f64; N]) -> f64) -> Option<f64> {
    (state[0] != 1.0).then(|| value(state))
}

/// What a covariance is divided by to be a correlation.
fn spread(state: &[f64; 6]) -> f64 {
    (state[4] * state[5]).sqrt()
}

fn slope(state: &[f64; 5]) -> Option<f64> {
    (state[0] >= 2.0 && state[4] != 0.0).then(|| state[3] / state[4])
}

/// Where the line meets the axis. Spark has merged the state into an empty one before, which may move the averages' last
/// bits.
fn intercept(state: &[f64; 5]) -> Option<f64> {
    let mut merged = [0.0; 5];
    merge_regression(&mut merged, state);
    slope(&merged).map(|slope| merged[2] - slope * merged[1])
}

/// Numbers that are folded row by row: `N` of them a group, the first of which is the number of rows.
struct Fold<const N: usize> {
    names: [&'static str; N],
    /// A row's value, or its two.
    update: fn(&mut [f64; N], f64, f64),
    merge: fn(&mut [f64; N], &[f64; N]),
}

static AVERAGE: Fold<2> = Fold { names: ["n", "sum"], update: |s, x, _| total(s, x), merge: merge_total };
static AVERAGE_OF_SECOND: Fold<2> =
    Fold { names: ["n", "sum"], update: |s, _, x| total(s, x), merge: merge_total };
static SQUARES: Fold<3> =
    Fold { names: ["n", "avg", "m2"], update: |s, x, _| central(s, x), merge: merge_central };
static SQUARES_OF_SECOND: Fold<3> =
    Fold { names: ["n", "avg", "m2"], update: |s, _, x| central(s, x), merge: merge_central };
static CUBES: Fold<4> =
    Fold { names: ["n", "avg", "m2", "m3"], update: |s, x, _| central(s, x), merge: merge_central };
static FOURTHS: Fold<5> =
    Fold { names: ["n", "avg", "m2", "m3", "m4"], update: |s, x, _| central(s, x), merge: merge_central };
static COVARIANCE: Fold<4> =
    Fold { names: ["n", "x_avg", "y_avg", "ck"], update: covariance, merge: merge_covariance };
static CORRELATION: Fold<6> = Fold {
    names: ["n", "x_avg", "y_avg", "ck", "xm2", "ym2"],
    update: correlation,
    merge: merge_correlation,
};
/// The first argument is y: the covariance of x and y, and the squares of x.
static REGRESSION: Fold<5> =
    Fold { names: ["n", "x_avg", "y_avg", "ck", "xm2"], update: regression, merge: merge_regression };

fn total(s: &mut [f64; 2], x: f64) {
    s[0] += 1.0;
    s[1] += x;
}

fn merge_total(s: &mut [f64; 2], o: &[f64; 2]) {
    s[0] += o[0];
    s[1] += o[1];
}

/// One more value in the central moments: n, average, and the second to at most fourth moment.
fn central<const N: usize>(s: &mut [f64; N], x: f64) {
    let n = s[0] + 1.0;
    let delta = x - s[1];
    let delta_n = delta / n;
    let m2 = s[2] + delta * (delta - delta_n);
    if N > 3 {
        let (delta2, delta_n2) = (delta * delta, delta_n * delta_n);
        let m3 = s[3] - 3.0 * delta_n * m2 + delta * (delta2 - delta_n2);
        if N > 4 {
            s[4] = s[4] - 4.0 * delta_n * m3 - 6.0 * delta_n2 * m2
                + delta * (delta * delta2 - delta_n * delta_n2);
        }
        s[3] = m3;
    }
    s[1] += delta_n;
    (s[0], s[2]) = (n, m2);
}

fn merge_central<const N: usize>(s: &mut [f64; N], o: &[f64; N]) {
    let (n1, n2) = (s[0], o[0]);
    let n = n1 + n2;
    let delta = o[1] - s[1];
    let delta_n = if n == 0.0 { 0.0 } else { delta / n };
    let (left2, right2) = (s[2], o[2]);
    if N > 4 {
        s[4] = s[4]
            + o[4]
            + delta_n * delta_n * delta_n * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * delta_n * delta_n * (n1 * n1 * right2 + n2 * n2 * left2)
            + 4.0 * delta_n * (n1 * o[3] - n2 * s[3]);
    }
    if N > 3 {
        s[3] = s[3]
            + o[3]
            + delta_n * delta_n * delta * n1 * n2 * (n1 - n2)
            + 3.0 * delta_n * (n1 * right2 - n2 * left2);
    }
    s[2] = left2 + right2 + delta * delta_n * n1 * n2;
    s[1] += delta_n * n2;
    s[0] = n;
}

fn covariance(s: &mut [f64; 4], x: f64, y: f64) {
    let n = s[0] + 1.0;
    let (dx, dy) = (x - s[1], y - s[2]);
    s[1] += dx / n;
    s[2] += dy / n;
    s[3] += dx * (y - s[2]);
    s[0] = n;
}

/// Merges n and the averages; what a product of deviations grows by: of x and y, of x, of y.
fn merge_averages(s: &mut [f64], o: &[f64]) -> (f64, f64, f64) {
    let (n1, n2) = (s[0], o[0]);
    let n = n1 + n2;
    let over_n = |delta: f64| if n == 0.0 { 0.0 } else { delta / n };
    let (dx, dy) = (o[1] - s[1], o[2] - s[2]);
    let (dx_n, dy_n) = (over_n(dx), over_n(dy));
    s[0] = n;
    s[1] += dx_n * n2;
    s[2] += dy_n * n2;
    (dx * dy_n * n1 * n2, dx * dx_n * n1 * n2, dy * dy_n * n1 * n2)
}

fn merge_covariance(s: &mut [f64; 4], o: &[f64; 4]) {
    let (xy, _, _) = merge_averages(s, o);
    s[3] = s[3] + o[3] + xy;
}

fn correlation(s: &mut [f64; 6], x: f64, y: f64) {
    let n = s[0] + 1.0;
    let (dx, dy) = (x - s[1], y - s[2]);
    s[1] += dx / n;
    s[2] += dy / n;
    s[3] += dx * (y - s[2]);
    s[4] += dx * (x - s[1]);
    s[5] += dy * (y - s[2]);
    s[0] = n;
}

fn merge_correlation(s: &mut [f64; 6], o: &[f64; 6]) {
    let (xy, xx, yy) = merge_averages(s, o);
    s[3] = s[3] + o[3] + xy;
    s[4] = s[4] + o[4] + xx;
    s[5] = s[5] + o[5] + yy;
}

fn regression(s: &mut [f64; 5], y: f64, x: f64) {
    let n = s[0] + 1.0;
    let (dx, dy) = (x - s[1], y - s[2]);
    let dx_n = dx / n;
    s[1] += dx_n;
    s[2] += dy / n;
    s[3] += dx * (y - s[2]);
    s[4] += dx * (dx - dx_n);
    s[0] = n;
}

fn merge_regression(s: &mut [f64; 5], o: &[f64; 5]) {
    let (xy, xx, _) = merge_averages(s, o);
    s[3] = s[3] + o[3] + xy;
    s[4] = s[4] + o[4] + xx;
}

struct Folded<const N: usize> {
    states: Vec<[f64; N]>,
    fold: &'static Fold<N>,
    finish: fn(&[f64; N]) -> Option<f64>,
    /// Whether a group divides by zero, where that is an error.
    fails: Option<fn(&[f64; N]) -> bool>,
}

impl<const N: usize> Groups for Folded<N> {
    fn grow(&mut self, groups: usize) {
        self.states.resize(groups, [0.0; N]);
    }

    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()> {
        let first = args[0].as_primitive::<Float64Type>().values();
        let second = args[args.len() - 1].as_primitive::<Float64Type>().values();
        let (states, update) = (&mut self.states, self.fold.update);
        Rows::new(groups, args, filter)
            .each(|group, row| update(&mut states[group], first[row], second[row]));
        Ok(())
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()> {
        let columns: Vec<&Float64Array> = states.iter().map(|state| state.as_primitive()).collect();
        for (row, group) in groups.iter().enumerate() {
            let other = std::array::from_fn(|at| columns[at].value(row));
            (self.fold.merge)(&mut self.states[*group], &other);
        }
        Ok(())
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = emit.take_needed(&mut self.states);
        let of = |at: usize| states.iter().map(|state| state[at]).collect();
        Ok((0..N).map(|at| column::<Float64Type>(of(at), None, &DataType::Float64)).collect())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let states = emit.take_needed(&mut self.states);
        if self.fails.is_some_and(|fails| states.iter().any(fails)) {
            return Err(ExpressionError::raise(
                "DIVIDE_BY_ZERO",
                "a correlation of values that are all the same",
            ));
        }
        let result = |state: &[f64; N]| if state[0] == 0.0 { None } else { (self.finish)(state) };
        Ok(Arc::new(states.iter().map(result).collect::<Float64Array>()))
    }

    fn size(&self) -> usize {
        self.states.capacity() * size_of::<[f64; N]>()
    }
}
