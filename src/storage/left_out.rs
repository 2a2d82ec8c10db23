//! What listings leave out because no object can have such a name.
//!
//! A vacuum, a log and a checkpoint do without such files, and each of them is warned of once. Where every file becomes rows
//! none may be missing: [`noting`] tells of it. `ObjectStore` has no way to say who lists, so the task says it.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

tokio::task_local! {
    static NOTED: LeftOut;
}

/// Whom a listing tells of what it leaves out.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut {
    /// The first name, escaped; `None` where only a warning is wanted.
    first: Option<Arc<OnceLock<String>>>,
}

impl LeftOut {
    /// Whoever lists in this task.
    pub(super) fn of_task() -> LeftOut {
        NOTED.try_with(LeftOut::clone).unwrap_or_default()
    }

    /// Tells of an entry that is left out.
    pub(super) fn tell(&self, name: &dyn Debug, what: &str) {
        match &self.first {
            Some(first) => {
                first.get_or_init(|| format!("{name:?}"));
            }
            None => say_once(name, what),
        }
    }
}

/// What a listing comes to, and the first name that it left out, escaped.
pub(super) async fn noting<T>(listing: impl Future<Output = T>) -> (T, Option<String>) {
    let first = Arc::new(OnceLock::new());
    let noted = LeftOut { first: Some(Arc::clone(&first)) };
    let listed = NOTED.scope(noted, listing).await;
    (listed, first.get().cloned())
}

/// What this process has said something of.
static SAID: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
/// Of so many at most; of others nothing is said.
const SAID_MAX: usize = 256;

/// Warns of an entry of a listing, with its name escaped, unless this process has done so.
pub(super) fn say_once(name: &dyn Debug, what: &str) {
    let name = format!("{name:?}");
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < SAID_MAX && said.insert(name.clone()) {
        tracing::warn!(name, "{what}");
    }
}
