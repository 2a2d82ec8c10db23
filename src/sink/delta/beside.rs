//! Work beside the micro-batches: a thread that ends by itself, or is told to when nobody wants its result any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::model::{Error, Result};

/// How much of such work this process has under way.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Returns how much work beside micro-batches is under way in this process, whether anybody still waits for it or not.
pub fn under_way() -> usize {
    UNDER_WAY.load(Ordering::Acquire)
}

/// One piece of work that is counted, from its start to its end, however it ends.
struct Counted;

impl Counted {
    fn start() -> Counted {
        UNDER_WAY.fetch_add(1, Ordering::AcqRel);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Work that is under way; told to stop when this is dropped.
pub(super) struct Beside<T> {
    job: JoinHandle<Result<T>>,
    stop: Arc<AtomicBool>,
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> Beside<T> {
    /// Starts `work`, which is given the flag that tells it to stop.
    pub(super) fn start(
        runtime: &Handle,
        work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static,
    ) -> Beside<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, counted) = (Arc::clone(&stop), Counted::start());
        let work = move || {
            let _counted = counted;
            work(&seen)
        };
        Beside { job: runtime.spawn_blocking(work), stop }
    }

    /// Waits until the work in `running`, if there is any, has ended, as long as it `goes_on`; returns whether it has.
    pub(super) fn wait(running: &Option<Beside<T>>, goes_on: &mut dyn FnMut() -> bool) -> bool {
        while running.as_ref().is_some_and(|running| !running.job.is_finished()) {
            if !goes_on() {
                return false;
            }
        }
        true
    }

    /// Takes what work in `running` that has ended came to; `None` if there is none.
    ///
    /// # Errors
    /// What the work returned; `Internal` if it panicked.
    pub(super) fn take_ended(running: &mut Option<Beside<T>>) -> Option<Result<T>> {
        let mut ended = running.take_if(|running| running.job.is_finished())?;
        let panicked = |e| Err(Error::internal("work beside the micro-batches has ended early").source(e));
        let result = (&mut ended.job).now_or_never().expect("work that is finished has its result");
        Some(result.unwrap_or_else(panicked))
    }
}
