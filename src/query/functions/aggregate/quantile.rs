//! `approx_percentile`: quantiles within an error that the accuracy bounds, of a summary whose size does not grow with
//! its rows.
//!
//! The summary is that of Greenwald and Khanna as Spark keeps it (`QuantileSummaries`, `ApproximatePercentile` of
//! Spark 4.0): samples in ascending order, each with how many values it stands for and how uncertain its rank is.

/// One value of a summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    /// The least number of values between the sample before and this one.
    pub(super) g: i64,
    /// How far its rank may be above the least.
    pub(super) delta: i64,
}

/// Values that wait until they are sorted into the samples.
const HEAD_MAX: usize = 50_000;
/// Samples beyond which a summary is made smaller.
const SAMPLES_MAX: usize = 10_000;

/// The values of one group.
#[derive(Debug, Clone, Default)]
pub(super) struct Summary {
    samples: Vec<Sample>,
    count: i64,
    head: Vec<f64>,
    compressed: bool,
}

impl Summary {
    /// The summary that [`Summary::parts`] took apart.
    pub(super) fn of(count: i64, samples: Vec<Sample>) -> Summary {
        Summary { samples, count, head: Vec::new(), compressed: true }
    }

    /// The number of values and the samples, once all values are in them.
    pub(super) fn parts(&mut self, error: f64) -> (i64, &[Sample]) {
        self.compress(error);
        (self.count, &self.samples)
    }

    pub(super) fn insert(&mut self, value: f64, error: f64) {
        self.head.push(if value.is_nan() { f64::NAN } else { value });
        self.compressed = false;
        if self.head.len() >= HEAD_MAX {
            self.flush(error);
            if self.samples.len() >= SAMPLES_MAX {
                self.compress(error);
            }
        }
    }

    /// Sorts the waiting values into the samples.
    fn flush(&mut self, error: f64) {
        if self.head.is_empty() {
            return;
        }
        let mut head = std::mem::take(&mut self.head);
        head.sort_by(f64::total_cmp);
        let mut merged = Vec::with_capacity(self.samples.len() + head.len());
        let mut old = self.samples.iter().copied().peekable();
        let last = head.len() - 1;
        for (at, value) in head.into_iter().enumerate() {
            while let Some(sample) = old.next_if(|sample| !below(value, sample.value)) {
                merged.push(sample);
            }
            self.count += 1;
            let at_end = old.peek().is_none() && at == last;
            let exact = merged.is_empty() || at_end;
            let delta = if exact { 0 } else { (2.0 * error * self.count as f64).floor() as i64 };
            merged.push(Sample { value, g: 1, delta });
        }
        merged.extend(old);
        self.samples = merged;
    }

    fn compress(&mut self, error: f64) {
        if self.compressed {
            return;
        }
        self.flush(error);
        self.samples = compressed(&self.samples, 2.0 * error * self.count as f64);
        self.compressed = true;
    }

    /// Takes up another summary, made with the same error.
    pub(super) fn merge(&mut self, mut other: Summary, error: f64) {
        self.compress(error);
        other.compress(error);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let (of_self, of_other) = (
            (2.0 * error * other.count as f64).floor() as i64,
            (2.0 * error * self.count as f64).floor() as i64,
        );
        let (mut left, mut right) = (0, 0);
        let mut merged = Vec::with_capacity(self.samples.len() + other.samples.len());
        while let (Some(a), Some(b)) = (self.samples.get(left), other.samples.get(right)) {
            let (sample, more) = if below(a.value, b.value) {
                left += 1;
                (a, if right > 0 { of_self } else { 0 })
            } else {
                right += 1;
                (b, if left > 0 { of_other } else { 0 })
            };
            merged.push(Sample { delta: sample.delta + more, ..*sample });
        }
        merged.extend(&self.samples[left..]);
        merged.extend(&other.samples[right..]);
        self.count += other.count;
        self.samples = compressed(&merged, 2.0 * error * self.count as f64);
    }

    /// The quantiles of ascending `fractions`; `None` without values.
    pub(super) fn query(&mut self, fractions: &[f64], error: f64) -> Option<Vec<f64>> {
        self.compress(error);
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        let widest = self.samples.iter().map(|sample| sample.delta + sample.g).max()?;
        let target = widest as f64 / 2.0;
        let (mut at, mut rank_min) = (0, first.g);
        let mut found = Vec::with_capacity(fractions.len());
        for fraction in fractions {
            if *fraction <= error || self.samples.len() == 1 {
                found.push(first.value);
            } else if *fraction >= 1.0 - error {
                found.push(last.value);
            } else {
                let value;
                (at, rank_min, value) = self.search(at, rank_min, target, *fraction);
                found.push(value);
            }
        }
        Some(found)
    }

    /// The sample at a rank: its place, the least rank there, its value.
    fn search(&self, from: usize, rank_min: i64, target: f64, fraction: f64) -> (usize, i64, f64) {
        let rank = (fraction * self.count as f64).ceil();
        let (mut at, mut rank_min) = (from, rank_min);
        while at < self.samples.len() - 1 {
            let sample = &self.samples[at];
            let rank_max = rank_min + sample.delta;
            if rank_max as f64 - target <= rank && rank <= rank_min as f64 + target {
                return (at, rank_min, sample.value);
            }
            at += 1;
            rank_min += self.samples[at].g;
        }
        (at, 0, self.samples[at].value)
    }

    pub(super) fn size(&self) -> usize {
        self.samples.capacity() * size_of::<Sample>() + self.head.capacity() * size_of::<f64>()
    }
}

/// Whether one value is below another in Java's order: -0.0 is below 0.0, NaN above all.
fn below(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_lt()
}

/// The samples, joined from the last to the first where the error allows; the first stays.
fn compressed(samples: &[Sample], threshold: f64) -> Vec<Sample> {
    let [first, middle @ .., last] = samples else { return samples.to_vec() };
    let mut kept = Vec::new();
    let mut head = *last;
    for sample in middle.iter().rev() {
        if ((sample.g + head.g + head.delta) as f64) < threshold {
            head.g += sample.g;
        } else {
            kept.push(head);
            head = *sample;
        }
    }
    kept.push(head);
    if first.value <= head.value {
        kept.push(*first);
    }
    kept.reverse();
    kept
}
