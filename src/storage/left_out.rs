//! What listings leave out because no object can have such a name: each is said of once.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{LazyLock, Mutex, PoisonError};

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
