//! Giving memory back to the system when a stream comes to rest.
//!
//! While a stream is busy the allocators keep what was freed, for it is needed again at once. What gives Rust's back is the
//! program's, which chose the allocator; a library user need not say anything.

use std::sync::OnceLock;

use crate::source::give_back_memory;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Says what gives free memory back to the system. The first one stays.
pub fn at_rest(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Gives free memory back to the system: that of the sources, and Rust's if it was said what does.
pub fn give_back() {
    give_back_memory();
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
