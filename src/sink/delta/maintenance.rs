//! Keeping the table's log short between two micro-batches, off the commit path.

use super::DeltaAppend;
use super::beside::Beside;
use crate::model::Result;

impl DeltaAppend {
    /// Starts the maintenance of the table's log where it is due, and afterwards forgets what it covered.
    /// Never a reason to stop.
    pub(super) fn maintain_log(&mut self) {
        let Some(table) = &mut self.table else { return };
        if let Some(ended) = Beside::take_ended(&mut self.maintenance) {
            warn_on_failure(ended);
            warn_on_error(table.refresh_log_segment());
        }
        let due = table.maintenance_due(self.maintenance_checked_to);
        self.maintenance_checked_to = table.version();
        if !due || self.maintenance.is_some() {
            return;
        }
        // Another writer of the table may have seen to it.
        warn_on_error(table.look_for_checkpoint());
        if !table.maintenance_due(0) {
            return;
        }
        if let Some(maintenance) = table.maintenance() {
            self.maintenance = Some(Beside::start(self.store.runtime(), move |_| maintenance.run()));
        }
    }

    /// Waits for the maintenance of the table's log: a run that ends by itself may be the only one that is due for it.
    pub(super) fn finish_log_maintenance(&mut self, goes_on: &mut dyn FnMut() -> bool) {
        Beside::wait(&self.maintenance, goes_on);
        if let Some(ended) = Beside::take_ended(&mut self.maintenance) {
            warn_on_failure(ended);
        }
    }
}

fn warn_on_failure(ended: Result<()>) {
    if let Err(error) = ended {
        tracing::warn!(%error, "the maintenance of a table's log failed; a later one makes up for it");
    }
}

fn warn_on_error(read: Result<()>) {
    if let Err(error) = read {
        tracing::warn!(%error, "the table's log could not be read again");
    }
}
