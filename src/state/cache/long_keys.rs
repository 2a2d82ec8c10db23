//! Keys as the tree has them, which takes at most 65,535 bytes; here a key is one behind its table's number.
//!
//! A key that is shorter than that lies in the tree as it is. Of any other one the tree has the head, its first
//! [`HEAD_BYTES`], and a hash of all of it: 65,535 bytes together, a length that no other key has there, so that nothing
//! which a key may hold makes two keys one. The rest of the key stands before the value, and is checked by the hash.
//!
//! Keys with the same head may have another order in the tree than they have themselves. They lie side by side in both, so
//! that each such group is sorted on its way in and out, and is in memory then.

use std::borrow::Cow;

use fjall::{UserKey, UserValue};
use sha2::{Digest as _, Sha256};

use super::Row;
use crate::model::Result;

const KEY_BYTES_MAX: usize = u16::MAX as usize;
const HASH_BYTES: usize = 32;
const TABLE_BYTES: usize = 2;
/// How much of the beginning of a key the tree has as it is, whatever the key's length.
pub(super) const HEAD_BYTES: usize = KEY_BYTES_MAX - HASH_BYTES;

/// Takes a key as the tree has it and its value; `None` if it is removed.
pub(super) type Write<'w> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<()> + 'w;

/// Whether the tree has only a part of a key.
pub(super) fn is_long(key: &[u8]) -> bool {
    key.len() >= KEY_BYTES_MAX
}

/// The key as the tree has it.
pub(super) fn stored_key(key: &[u8]) -> Cow<'_, [u8]> {
    if !is_long(key) {
        return Cow::Borrowed(key);
    }
    let hash = Sha256::digest(key);
    Cow::Owned([&key[..HEAD_BYTES], &hash[..]].concat())
}

/// The value of a key as the tree has it.
fn stored_value<'v>(key: &[u8], value: &'v [u8]) -> Cow<'v, [u8]> {
    if !is_long(key) {
        return Cow::Borrowed(value);
    }
    let rest = &key[HEAD_BYTES..];
    Cow::Owned([&(rest.len() as u64).to_le_bytes()[..], rest, value].concat())
}

/// A row of the tree with its whole key and its own value; `None` if the tree does not hold what was written.
pub(super) fn whole(row: Row) -> Option<Row> {
    let (stored, value) = &row;
    if !is_long(stored) {
        return Some(row);
    }
    let (length, rest) = value.split_first_chunk::<8>()?;
    let (rest, value) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let key = [&stored[..HEAD_BYTES], rest].concat();
    let is_whole = *stored_key(&key) == **stored;
    is_whole.then(|| (UserKey::from(key), UserValue::from(value)))
}

/// The part of a bound of expiry, without its table's number, up to which the tree's order is that of the keys. All keys below
/// it are below the bound.
pub(super) fn bound_in_tree(bound: &[u8]) -> &[u8] {
    &bound[..bound.len().min(HEAD_BYTES - TABLE_BYTES)]
}

/// The last place in the tree that a key which is below `end` may have, where the tree does not have `end` as it is.
pub(super) fn last_of_head(end: &[u8]) -> Vec<u8> {
    [&end[..HEAD_BYTES], &[u8::MAX; HASH_BYTES]].concat()
}

/// Brings rows that come by ascending key into the order of the tree.
#[derive(Default)]
pub(super) struct TreeOrder {
    /// Rows of one head, as the tree has them.
    group: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl TreeOrder {
    /// Takes the next row, and writes those that lie before it.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>, write: &mut Write<'_>) -> Result<()> {
        let head = key.get(..HEAD_BYTES);
        if self.group.first().is_some_and(|(first, _)| first.get(..HEAD_BYTES) != head) {
            self.finish(write)?;
        }
        if head.is_none() {
            return write(key, value);
        }
        let value = value.map(|value| stored_value(key, value).into_owned());
        self.group.push((stored_key(key).into_owned(), value));
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self, write: &mut Write<'_>) -> Result<()> {
        self.group.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.group.drain(..).try_for_each(|(key, value)| write(&key, value.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(length: usize, end: u8) -> Vec<u8> {
        let mut key = vec![b'x'; length];
        key[length - 1] = end;
        key
    }

    #[test]
    fn keys_of_every_length_have_places_of_their_own_in_the_tree_and_come_back() {
        let lengths =
            [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, 65_533, 65_534, 65_535, 65_536, 200_000];
        let mut keys: Vec<Vec<u8>> =
            lengths.iter().flat_map(|length| [key(*length, b'a'), key(*length, b'z')]).collect();
        // Keys that end as the tree's form of others does.
        for long in [65_535, 70_000].map(|length| stored_key(&key(length, b'a')).into_owned()) {
            keys.extend([long[..65_534].to_vec(), long.clone(), [&long[..], b"x"].concat()]);
        }
        keys.sort();
        keys.dedup();
        let (mut order, mut tree) = (TreeOrder::default(), Vec::new());
        let mut write = |key: &[u8], value: Option<&[u8]>| {
            tree.push((UserKey::from(key), UserValue::from(value.unwrap())));
            Ok(())
        };
        for (number, key) in keys.iter().enumerate() {
            order.push(key, Some(&number.to_le_bytes()), &mut write).unwrap();
        }
        order.finish(&mut write).unwrap();
        assert!(tree.is_sorted_by(|(a, _), (b, _)| a < b), "not by ascending key, or one twice");
        assert!(tree.iter().all(|(key, _)| key.len() <= KEY_BYTES_MAX));
        let mut found: Vec<(Vec<u8>, Vec<u8>)> =
            tree.into_iter().map(|row| whole(row).unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        found.sort();
        let written =
            keys.iter().enumerate().map(|(number, key)| (key.clone(), number.to_le_bytes().to_vec()));
        assert!(found.into_iter().eq(written));
    }

    #[test]
    fn a_long_key_that_is_not_what_was_written_is_told() {
        let key = key(70_000, b'a');
        let (stored, value) = (stored_key(&key).into_owned(), stored_value(&key, b"value").into_owned());
        let row = |key: &[u8], value: &[u8]| whole((UserKey::from(key), UserValue::from(value)));
        assert!(row(&stored, &value).is_some_and(|(found, value)| *found == *key && *value == *b"value"));
        let mut flipped = value.clone();
        flipped[100] ^= 1;
        for damaged in [&value[..7], &value[..3000], &flipped, b"a value of a key as it is"] {
            assert!(row(&stored, damaged).is_none());
        }
        assert!(row(&[&stored[..65_534], b"?"].concat(), &value).is_none());
    }
}
