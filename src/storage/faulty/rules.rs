//! The rules of faults: their text, which calls they hit, and what is to become of a call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use object_store::Result;
use object_store::path::Path;

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Put,
    Multipart,
    Part,
    Complete,
    Get,
    List,
    Delete,
}

const OPERATIONS: [(&str, Operation); 8] = [
    ("create", Operation::Create),
    ("put", Operation::Put),
    ("multipart", Operation::Multipart),
    ("part", Operation::Part),
    ("complete", Operation::Complete),
    ("get", Operation::Get),
    ("list", Operation::List),
    ("delete", Operation::Delete),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Reject,
    Refuse,
    DiskFull,
    Delay(Duration),
    DoAndFail,
    DoAndExists,
    Cut,
    Precondition,
    Replace,
    Trace,
    Count,
}

#[derive(Debug, Clone, Copy)]
enum Hits {
    Between(u64, u64),
    /// In a million.
    AtRandom(u64),
}

#[derive(Debug)]
struct Rule {
    operation: Operation,
    fragment: String,
    hits: Hits,
    action: Action,
    met: AtomicU64,
}

/// What is to become of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Met {
    pub(super) action: Option<Action>,
    traced: bool,
}

impl Met {
    /// The call is over.
    pub(super) fn over<T>(self, operation: Operation, path: &Path, outcome: &Result<T>) {
        if self.traced {
            tell("store-done", operation, path.as_ref(), &format!("\"ok\":{}", outcome.is_ok()));
        }
    }
}

/// A set of rules, and the calls counted since it was made.
#[derive(Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    seed: u64,
    calls: [AtomicU64; OPERATIONS.len()],
    /// Written, by operation.
    bytes: [AtomicU64; OPERATIONS.len()],
}

impl Faults {
    /// Reads rules; `seed` decides those at random.
    ///
    /// # Errors
    /// The rule that is none, in words.
    pub fn parse(text: &str, seed: u64) -> Result<Faults, String> {
        let entries = text.split(';').map(str::trim).filter(|entry| !entry.is_empty());
        let rules = entries.map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Faults { rules, seed, calls: Default::default(), bytes: Default::default() })
    }

    /// The rules of the environment, shared by all stores of the process; `None` without any.
    ///
    /// # Panics
    /// If a rule is none: a test that asks for a fault must not run without it.
    pub fn of_environment() -> Option<Arc<Faults>> {
        static FAULTS: LazyLock<Option<Arc<Faults>>> = LazyLock::new(|| {
            let text = std::env::var("ALLUVIA_STORE_FAULTS").ok()?;
            let seed =
                std::env::var("ALLUVIA_STORE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
            Some(Arc::new(Faults::parse(&text, seed).unwrap_or_else(|e| panic!("ALLUVIA_STORE_FAULTS: {e}"))))
        });
        FAULTS.clone()
    }

    /// Counts a call and says what is to become of it.
    pub(super) fn meet(&self, operation: Operation, path: &str, bytes: usize) -> Met {
        self.calls[operation as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes[operation as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        let mut met = Met { action: None, traced: false };
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.operation != operation || !rule.covers(path) {
                continue;
            }
            let hit = rule.met.fetch_add(1, Ordering::Relaxed) + 1;
            if !rule.hits.hold(hit, self.seed, number as u64) {
                continue;
            }
            match rule.action {
                Action::Trace => met.traced = true,
                Action::Count => self.tell_counts(operation, path),
                _ if met.action.is_some() => {}
                action => {
                    tell("store-fault", operation, path, &format!("\"action\":\"{action:?}\""));
                    met.action = Some(action);
                }
            }
        }
        met
    }

    fn tell_counts(&self, operation: Operation, path: &str) {
        let told = |name: &str, count: &AtomicU64| format!("\"{name}\":{}", count.load(Ordering::Relaxed));
        let calls = OPERATIONS.iter().zip(&self.calls).map(|((name, _), count)| told(name, count));
        let bytes =
            OPERATIONS.iter().zip(&self.bytes).map(|((name, _), count)| told(&format!("{name}Bytes"), count));
        tell("store-counts", operation, path, &calls.chain(bytes).collect::<Vec<_>>().join(","));
    }
}

/// Paths of tests hold nothing that JSON would have to escape.
fn tell(event: &str, operation: Operation, path: &str, more: &str) {
    eprintln!("{{\"event\":\"{event}\",\"operation\":\"{operation:?}\",\"path\":\"{path}\",{more}}}");
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [operation, fragment, hits, action] = words[..] else {
            return Err(format!("`{text}` is not OPERATION FRAGMENT HITS ACTION"));
        };
        let known = OPERATIONS.iter().find(|(name, _)| *name == operation);
        let (_, operation) = *known.ok_or_else(|| format!("`{operation}` is not an operation"))?;
        let action = Action::parse(action)?;
        if !action.fits(operation) {
            return Err(format!("`{text}`: that action has no sense with that operation"));
        }
        let fragment = if fragment == "*" { "" } else { fragment };
        Ok(Rule {
            operation,
            fragment: fragment.into(),
            hits: Hits::parse(hits)?,
            action,
            met: AtomicU64::new(0),
        })
    }

    fn covers(&self, path: &str) -> bool {
        path.contains(&self.fragment)
    }
}

impl Hits {
    fn parse(text: &str) -> Result<Hits, String> {
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number of hits"));
        if text == "*" {
            return Ok(Hits::Between(1, u64::MAX));
        }
        if let Some(percent) = text.strip_suffix('%') {
            return Ok(Hits::AtRandom(number(percent)? * 10_000));
        }
        match text.split_once('-') {
            None => number(text).map(|at| Hits::Between(at, at)),
            Some((from, "")) => Ok(Hits::Between(number(from)?, u64::MAX)),
            Some((from, to)) => Ok(Hits::Between(number(from)?, number(to)?)),
        }
    }

    fn hold(self, hit: u64, seed: u64, rule: u64) -> bool {
        match self {
            Hits::Between(from, to) => (from..=to).contains(&hit),
            Hits::AtRandom(rate) => mixed(seed ^ rule.rotate_left(32) ^ hit) % 1_000_000 < rate,
        }
    }
}

/// SplitMix64's mixing step.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Action {
    fn parse(text: &str) -> Result<Action, String> {
        if let Some(ms) = text.strip_prefix("delay=") {
            let ms = ms.parse().map_err(|_| format!("`{ms}` is not a number of milliseconds"))?;
            return Ok(Action::Delay(Duration::from_millis(ms)));
        }
        Ok(match text {
            "reject" => Action::Reject,
            "refuse" => Action::Refuse,
            "disk-full" => Action::DiskFull,
            "do-and-fail" => Action::DoAndFail,
            "do-and-exists" => Action::DoAndExists,
            "cut" => Action::Cut,
            "412" => Action::Precondition,
            "replace" => Action::Replace,
            "trace" => Action::Trace,
            "count" => Action::Count,
            other => return Err(format!("`{other}` is not an action")),
        })
    }

    fn fits(self, operation: Operation) -> bool {
        match self {
            Action::Reject | Action::Refuse | Action::Delay(_) | Action::Trace | Action::Count => true,
            Action::DiskFull => !matches!(operation, Operation::Get | Operation::List | Operation::Delete),
            Action::DoAndFail | Action::Cut => {
                matches!(operation, Operation::Create | Operation::Put | Operation::Complete)
            }
            Action::DoAndExists | Action::Precondition | Action::Replace => operation == Operation::Create,
        }
    }
}
