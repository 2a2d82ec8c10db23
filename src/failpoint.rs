//! Named places between durable steps where a test makes the process die or hang.
//!
//! In every debug build, and in a release only with the feature `failpoints`; elsewhere a failpoint is nothing at all. The environment
//! variable `ALLUVIA_FAILPOINTS` lists `NAME=ACTION@HIT`, comma-separated: at the HIT-th time (from 1)
//! that the process comes by NAME, it sends itself SIGKILL (`kill`) or SIGSTOP (`stop`). Names are
//! `step.moment`; [`NAMES`] holds them all, so that a test can visit each.

/// Every failpoint, in the order in which a new stream first comes by them; then those that only a later start
/// comes by (a table that lacks columns, a commit log to repair). Those of `disk` are passed by every file that is
/// written to a local disk.
pub const NAMES: [&str; 28] = [
    "lease.taken",
    "logs.listed",
    "table.looked",
    "table.created",
    "letters.created",
    "metadata.written",
    "serves.written",
    "stream.opened",
    "initial.written",
    "plan.before",
    "plan.after",
    "files.some",
    "files.after",
    "letters.before",
    "letters.after",
    "sink.before",
    "sink.after",
    "log.after",
    "retention.before",
    "retention.some",
    "maintenance.before",
    "maintenance.after",
    "columns.added",
    "letters.withdrawn",
    "repair.after",
    "disk.written",
    "disk.placed",
    "disk.after",
];

/// The failpoints that only a merge comes by, in the order in which it does.
pub const MERGE_NAMES: [&str; 4] = ["merge.run", "merge.indexed", "merge.files", "merge.committed"];

/// The failpoints that only a merge comes by that keeps snapshots of its index.
pub const INDEX_SNAPSHOT_NAMES: [&str; 2] = ["merge.uploaded", "merge.snapshot"];

/// The failpoints of a table's maintenance: the files of a compaction are written, and no commit names them; the commit is made;
/// a vacuum has deleted some of what it deletes.
pub const MAINTENANCE_NAMES: [&str; 3] = ["compact.files", "compact.committed", "vacuum.some"];

/// The failpoints that only a query with state comes by: the changes of a batch; the local copy, every hundred batches or some
/// megabytes; a snapshot; files that it made superfluous.
pub const STATE_NAMES: [&str; 9] = [
    "state.before",
    "state.after",
    "state.committed",
    "cache.before",
    "cache.after",
    "snapshot.some",
    "snapshot.before",
    "snapshot.after",
    "snapshot.deleted",
];

/// The failpoints that only a merge that changes rows comes by, beside those of every merge.
pub const UPDATE_NAMES: [&str; 3] = ["merge.matched", "merge.copied", "merge.vectors"];

/// A failpoint: `failpoint!("sink.before")`.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(any(debug_assertions, feature = "failpoints"))]
        {
            const { assert!($crate::failpoint::is_known($name), "add the failpoint to NAMES") };
            $crate::failpoint::hit($name);
        }
    };
}

/// Whether `name` is listed; evaluated when the program is compiled.
pub const fn is_known(name: &str) -> bool {
    is_in(&NAMES, name)
        || is_in(&MERGE_NAMES, name)
        || is_in(&UPDATE_NAMES, name)
        || is_in(&INDEX_SNAPSHOT_NAMES, name)
        || is_in(&STATE_NAMES, name)
        || is_in(&MAINTENANCE_NAMES, name)
}

const fn is_in(names: &[&str], name: &str) -> bool {
    let mut index = 0;
    while index < names.len() {
        if same(names[index].as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Comes by a failpoint.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn hit(name: &str) {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};

    struct Armed {
        signal: i32,
        at: u64,
        hits: u64,
    }
    static ARMED: LazyLock<Mutex<HashMap<String, Armed>>> = LazyLock::new(|| {
        let text = std::env::var("ALLUVIA_FAILPOINTS").unwrap_or_default();
        let armed = text.split(',').filter_map(|entry| {
            let (name, action) = entry.trim().split_once('=')?;
            let (action, at) = action.split_once('@').unwrap_or((action, "1"));
            let signal = match action {
                "kill" => libc::SIGKILL,
                "stop" => libc::SIGSTOP,
                other => panic!("failpoint {name} has an unknown action {other}"),
            };
            let at = at.parse().unwrap_or_else(|_| panic!("failpoint {name} has no number of hits"));
            Some((name.to_owned(), Armed { signal, at, hits: 0 }))
        });
        Mutex::new(armed.collect())
    });
    let signal = {
        let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(point) = armed.get_mut(name) else { return };
        point.hits += 1;
        (point.hits == point.at).then_some(point.signal)
    };
    if let Some(signal) = signal {
        eprintln!("{{\"event\":\"failpoint\",\"name\":\"{name}\"}}");
        // To this very thread, so that it does not take one more step before the process stops.
        // SAFETY: raise(3) with a valid signal number has no memory effects.
        unsafe { libc::raise(signal) };
    }
}

/// A text, in `ALLUVIA_FAIL_WRITER_ON`: the writer of a table's files fails on a row that holds it.
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub fn fail_writer_on() -> Option<&'static str> {
    static TEXT: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("ALLUVIA_FAIL_WRITER_ON").ok());
    TEXT.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_step_and_a_moment() {
        for name in NAMES.into_iter().chain(MERGE_NAMES).chain(STATE_NAMES) {
            assert!(is_known(name));
            assert_eq!(name.split('.').count(), 2, "{name}");
        }
        assert!(!is_known("plan"));
    }
}
