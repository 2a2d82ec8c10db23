//! The time of a micro-batch: what `current_timestamp()` says to all of its rows, and to a replay of them.
//!
//! The plan of a batch pins the time; whoever starts a run of the batch sets the clock. No clock of the machine is
//! read here.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::decode::datetime::Zone;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The time of the batch that a query runs, in microseconds since the epoch.
#[derive(Debug, Clone)]
pub(crate) struct BatchClock(Arc<AtomicI64>);

/// What a clock shows before the first batch.
const NOT_SET: i64 = i64::MIN;

impl Default for BatchClock {
    fn default() -> BatchClock {
        BatchClock(Arc::new(AtomicI64::new(NOT_SET)))
    }
}

/// Clocks are equal if they are one.
impl PartialEq for BatchClock {
    fn eq(&self, other: &BatchClock) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl BatchClock {
    /// Sets the time; all lanes of a batch run after that.
    pub(crate) fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    /// The time of the batch, in microseconds since the epoch; 0 before the first one.
    pub(super) fn micros(&self) -> i64 {
        self.started().unwrap_or_default()
    }

    /// The time of the batch, or `None` before the first one: while a query is planned.
    pub(super) fn started(&self) -> Option<i64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|micros| *micros != NOT_SET)
    }
}

/// Which part of the time a function gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// `current_timestamp`, `now`.
    Timestamp,
    /// `localtimestamp`.
    Local,
    /// `current_date`.
    Date,
}

/// `current_timestamp()` and its kin. Volatile, as DataFusion would put the value of the first batch into the plan.
#[derive(Debug)]
pub(crate) struct Now {
    name: &'static str,
    part: Part,
    clock: BatchClock,
    zone: Zone,
    signature: Signature,
}

impl Now {
    pub(crate) fn new(name: &'static str, part: Part, clock: &BatchClock, zone: &Zone) -> Now {
        let signature = Signature::nullary(Volatility::Volatile);
        Now { name, part, clock: clock.clone(), zone: zone.clone(), signature }
    }
}

impl PartialEq for Now {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.clock == other.clock
    }
}

impl Eq for Now {}

impl Hash for Now {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.part {
            Part::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Part::Local => DataType::Timestamp(TimeUnit::Microsecond, None),
            Part::Date => DataType::Date32,
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let micros = self.clock.micros();
        let seconds = self.zone.utc_to_local(micros.div_euclid(MICROS_PER_SECOND));
        let value = match self.part {
            Part::Timestamp => ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())),
            Part::Local => {
                let local = seconds * MICROS_PER_SECOND + micros.rem_euclid(MICROS_PER_SECOND);
                ScalarValue::TimestampMicrosecond(Some(local), None)
            }
            Part::Date => ScalarValue::Date32(i32::try_from(seconds.div_euclid(SECONDS_PER_DAY)).ok()),
        };
        Ok(ColumnarValue::Scalar(value))
    }
}
