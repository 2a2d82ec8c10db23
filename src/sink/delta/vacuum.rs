//! Deleting what a table does not need any more beside the micro-batches (`autoVacuum`), off the commit path.
//!
//! Time is cut into intervals from the Unix epoch on, as for a trigger. The first batch that is committed in another
//! interval than the batch before it starts a vacuum, with the rules of `alluvia table vacuum`: so nothing has to be
//! remembered, and a stream that runs for a minute each hour vacuums as often as one that never stops. One that is broken
//! off is made up for by the next. Never a reason to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;

use super::DeltaAppend;
use super::beside::Beside;
use crate::model::Result;
use crate::storage::Store;
use crate::table::DeltaTable;
use crate::table::vacuum::{ORPHAN_AGE, VacuumReport, VacuumRules};

/// The vacuum of a stream's table.
#[derive(Default)]
pub(super) struct AutoVacuum {
    running: Option<Beside<VacuumReport>>,
    /// When the stream last committed, in milliseconds since the Unix epoch; `None`: not yet.
    committed_ms: Option<i64>,
    /// The commit before that began another interval.
    is_due: bool,
    /// What the last one did, for whoever takes it.
    done: Option<VacuumReport>,
}

/// Vacuums the table in `store`, as far as it is not told to stop.
fn run(store: &Store, stop: &AtomicBool) -> Result<VacuumReport> {
    let rules = VacuumRules {
        retain: None,
        // Files that a compaction or the next batch has written are not committed yet.
        retain_at_least: ORPHAN_AGE,
        any_retention: false,
        orphan_age: ORPHAN_AGE,
        dry_run: false,
    };
    match DeltaTable::open(store)? {
        Some(mut table) => table.vacuum(&rules, &mut |_| !stop.load(Ordering::Relaxed)),
        None => Ok(VacuumReport::default()),
    }
}

impl AutoVacuum {
    /// The stream has committed before this process began.
    pub(super) fn note_earlier_commit(&mut self, at_ms: i64) {
        self.committed_ms = Some(at_ms);
    }

    /// The stream has committed.
    pub(super) fn note_commit(&mut self, every: Option<Duration>) {
        let Some(every) = every else { return };
        let now = Utc::now().timestamp_millis();
        self.is_due |= self.committed_ms.is_some_and(|before| is_another_interval(before, now, every));
        self.committed_ms = Some(now);
    }

    pub(super) fn take(&mut self) -> Option<VacuumReport> {
        self.done.take()
    }
}

fn is_another_interval(before_ms: i64, now_ms: i64, every: Duration) -> bool {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    before_ms.div_euclid(every) < now_ms.div_euclid(every)
}

impl DeltaAppend {
    /// Notes what a vacuum did that has ended, and begins one where it is due.
    pub(super) fn vacuum(&mut self) {
        self.take_vacuumed_files();
        if std::mem::take(&mut self.vacuum.is_due) && self.vacuum.running.is_none() {
            let store = self.store.clone();
            self.vacuum.running = Some(Beside::start(self.store.runtime(), move |stop| run(&store, stop)));
        }
    }

    /// Waits for a vacuum that is under way.
    pub(super) fn finish_vacuum(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        if Beside::wait(&self.vacuum.running, goes_on) {
            self.take_vacuumed_files();
        }
    }

    fn take_vacuumed_files(&mut self) {
        match Beside::take_ended(&mut self.vacuum.running) {
            None => {}
            Some(Ok(report)) => self.vacuum.done = Some(report),
            Some(Err(error)) => {
                tracing::warn!(%error, "a vacuum of the table has failed; a later one makes up for it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vacuum_is_due_at_the_first_commit_of_another_interval() {
        let every = Duration::from_secs(60);
        let mut vacuum = AutoVacuum::default();
        vacuum.note_commit(Some(every));
        assert!(!vacuum.is_due, "the first commit of a stream has none before it");
        assert!(!is_another_interval(60_000, 119_999, every));
        assert!(is_another_interval(119_999, 120_000, every));
        assert!(is_another_interval(60_000, 3_600_000, every));
        assert!(!is_another_interval(120_000, 60_000, every), "a clock that went back");
        vacuum.note_earlier_commit(0);
        vacuum.note_commit(None);
        assert!(!vacuum.is_due, "it was not asked for");
        vacuum.note_commit(Some(every));
        assert!(vacuum.is_due);
    }
}
