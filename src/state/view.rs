//! One version of the state, read from where its rows are: the newest changes in memory, then those that are being
//! written to the local copy, then the local copy.

use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::cache::{Cache, CacheRange, key_of};
use super::version::{Change, Changes, Layer, Version};
use super::{TableId, Visit};
use crate::model::Result;

/// A version of the state.
#[derive(Clone)]
pub(super) struct View {
    pub(super) version: Arc<Version>,
    /// Committed changes that the local copy may lack, newest first.
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) cache: Arc<Cache>,
}

impl View {
    /// The values of `keys`, ascending indices into which are given, each handed to `found` with its index.
    ///
    /// # Errors
    /// `Unavailable` if the local copy cannot be read.
    pub(super) fn get_many(
        &self,
        table: TableId,
        keys: &[&[u8]],
        wanted: impl Iterator<Item = usize>,
        found: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<()> {
        let bound = self.version.expired_below(table);
        let layers: Vec<&Changes> = self.layers.iter().filter_map(|layer| layer.table(table)).collect();
        let mut left = Vec::new();
        for index in wanted {
            let key = keys[index];
            if key < bound {
                continue;
            }
            match layers.iter().find_map(|changes| changes.get(key)) {
                Some(Change { value: Some(value), .. }) => found(index, value),
                Some(_) => {}
                None => left.push((index, key)),
            }
        }
        self.cache.get_many(table, &left, found)
    }

    /// Visits the keys from `from` on and below `to` with their values, as if `own` had been committed too.
    ///
    /// # Errors
    /// `Unavailable` if the local copy cannot be read; what `visit` returns.
    pub(super) fn scan(
        &self,
        table: TableId,
        (from, to): (&[u8], Option<&[u8]>),
        own: Option<&Changes>,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let from = from.max(self.version.expired_below(table));
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let layers = self.layers.iter().filter_map(|layer| layer.table(table));
        let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
        let changes: Vec<_> =
            own.into_iter().chain(layers).map(|changes| changes.range::<[u8], _>(range).peekable()).collect();
        merge(changes, self.cache.range(table, from, to), visit)
    }
}

type ChangesRange<'c> = btree_map::Range<'c, Vec<u8>, Change>;

/// Visits the rows of the copy and of changes, of which the earlier count.
fn merge(
    mut changes: Vec<Peekable<ChangesRange<'_>>>,
    mut copy: CacheRange<'_>,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let mut row = copy.next().transpose()?;
    loop {
        // The least key, of the newest changes that have it.
        let mut least: Option<(&[u8], Option<&[u8]>)> = None;
        for source in &mut changes {
            if let Some((key, change)) = source.peek()
                && least.is_none_or(|(least, _)| key.as_slice() < least)
            {
                least = Some((key, change.value.as_deref()));
            }
        }
        let stored = row.as_ref().map(key_of);
        match (least, stored) {
            (None, None) => return Ok(()),
            (Some((key, value)), stored) if stored.is_none_or(|stored| key <= stored) => {
                if let Some(value) = value {
                    visit(key, value)?;
                }
                if stored == Some(key) {
                    row = copy.next().transpose()?;
                }
                for source in &mut changes {
                    source.next_if(|(other, _)| other.as_slice() == key);
                }
            }
            _ => {
                if let Some(row) = &row {
                    visit(key_of(row), &row.1)?;
                }
                row = copy.next().transpose()?;
            }
        }
    }
}
