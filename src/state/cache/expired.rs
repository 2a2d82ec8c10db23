//! Expiry of keys by compactions of the tree.

use std::sync::{Arc, PoisonError, RwLock};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::long_keys::bound_in_tree;
use crate::state::version::{TableState, Version};

/// The bounds below which compactions leave keys of each table out.
#[derive(Clone, Default)]
pub(super) struct Expired(Arc<RwLock<Vec<Vec<u8>>>>);

impl Expired {
    /// Takes the bounds of the version that the tree holds: no version that is read from now on has lower ones.
    pub(super) fn follow(&self, version: &Version) {
        let bound = |table: &TableState| bound_in_tree(&table.expired_below).to_vec();
        let bounds = version.tables.iter().map(bound).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = bounds;
    }
}

impl Factory for Expired {
    fn name(&self) -> &str {
        "expired"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        Box::new(ExpiredFilter(self.0.read().unwrap_or_else(PoisonError::into_inner).clone()))
    }
}

struct ExpiredFilter(Vec<Vec<u8>>);

impl CompactionFilter for ExpiredFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _context: &Context) -> CompactionFilterResult {
        let is_expired = item.key().split_first_chunk::<2>().is_some_and(|(table, key)| {
            self.0.get(usize::from(u16::from_be_bytes(*table))).is_some_and(|bound| key < bound.as_slice())
        });
        // An older value of the key may come to light again; it is as expired as this one.
        Ok(if is_expired { Verdict::Destroy } else { Verdict::Keep })
    }
}
