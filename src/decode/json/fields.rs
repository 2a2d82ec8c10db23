//! The names of a struct's fields: from a key of a message to the field it fills.
//!
//! Messages of one producer mostly have the same keys in the same order, so the table remembers
//! which key stood at which place last time and compares with that first. Only a key that stands
//! elsewhere is looked up by its hash.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What a key stands for: the index of a field, or nothing the schema wants.
pub(super) const UNWANTED: u32 = u32::MAX;
/// Longer keys are not remembered, so that a message cannot make the table grow.
const REMEMBERED_KEY_BYTES_MAX: usize = 128;
/// Keys at later places in an object are not remembered.
const REMEMBERED_PLACES_MAX: usize = 1024;
/// How far ahead a key is sought among the remembered ones before its hash is taken.
const AHEAD: usize = 3;

/// The names of a struct's fields.
#[derive(Debug)]
pub(super) struct FieldTable {
    by_name: HashMap<Box<[u8]>, u32, BuildHasherDefault<Fnv>>,
    places: Vec<Place>,
}

/// The hash of Fowler, Noll and Vo: quick for short keys. The keys of the map are the schema's, so no
/// message can make them collide.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A key as it stood in the last message, with its closing quote.
#[derive(Debug, Default)]
struct Place {
    quoted: Vec<u8>,
    /// Its first sixteen bytes as a word, and which bits of the word are its own.
    head: u128,
    mask: u128,
    field: u32,
}

impl Place {
    fn remember(&mut self, quoted: &[u8], field: u32) {
        self.quoted.clear();
        self.quoted.extend_from_slice(quoted);
        let mut head = [0; 16];
        let length = quoted.len().min(16);
        head[..length].copy_from_slice(&quoted[..length]);
        self.head = u128::from_le_bytes(head);
        self.mask = u128::MAX >> (128 - 8 * length);
        self.field = field;
    }

    /// Whether `rest` begins with the key.
    #[inline(always)]
    fn begins(&self, rest: &[u8]) -> bool {
        match rest.first_chunk::<16>() {
            Some(chunk) if u128::from_le_bytes(*chunk) & self.mask != self.head => false,
            Some(_) if self.quoted.len() <= 16 => true,
            _ => rest.starts_with(&self.quoted),
        }
    }
}

impl FieldTable {
    /// A table of `names` with their indices; of two equal names the later one is found, as in
    /// Spark's `StructType.getFieldIndex`.
    pub(super) fn new<'a>(names: impl Iterator<Item = (u32, &'a str)>) -> FieldTable {
        let by_name = names.map(|(index, name)| (name.as_bytes().into(), index)).collect();
        FieldTable { by_name, places: Vec::new() }
    }

    /// The index of the field named `name`, or [`UNWANTED`].
    pub(super) fn find(&self, name: &[u8]) -> u32 {
        self.by_name.get(name).copied().unwrap_or(UNWANTED)
    }

    /// If `rest` (what follows the opening quote) begins with the key that stood at `place` last
    /// time: its field, and the length of the key with its closing quote.
    #[inline(always)]
    pub(super) fn expected(&self, place: usize, rest: &[u8]) -> Option<(u32, usize)> {
        let expected = self.places.get(place)?;
        let length = expected.quoted.len();
        (length != 0 && expected.begins(rest)).then_some((expected.field, length))
    }

    /// Finds the field of `key`, which is followed by its closing quote in `quoted`, and remembers
    /// it for `place`. Gives the field and the place of the next key.
    #[cold]
    #[inline(never)]
    pub(super) fn find_and_remember(&mut self, place: usize, quoted: &[u8]) -> (u32, usize) {
        let field = self.find(&quoted[..quoted.len() - 1]);
        for ahead in place + 1..place + 1 + AHEAD {
            if self.places.get(ahead).is_some_and(|p| p.quoted == quoted) {
                return (field, ahead + 1);
            }
        }
        if place < REMEMBERED_PLACES_MAX && quoted.len() <= REMEMBERED_KEY_BYTES_MAX {
            if place >= self.places.len() {
                self.places.resize_with(place + 1, Place::default);
            }
            self.places[place].remember(quoted, field);
        }
        (field, place + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_expected_where_it_stood_last_time() {
        let mut table = FieldTable::new([(0, "a"), (1, "bc")].into_iter());
        assert_eq!(table.expected(0, b"bc\":1"), None);
        assert_eq!(table.find_and_remember(0, b"bc\""), (1, 1));
        assert_eq!(table.find_and_remember(1, b"other\""), (UNWANTED, 2));
        assert_eq!(table.expected(0, b"bc\":1"), Some((1, 3)));
        assert_eq!(table.expected(1, b"other\": 2"), Some((UNWANTED, 6)));
        assert_eq!(table.expected(0, b"bcd\":1"), None);
        assert_eq!(table.expected(0, b"bc"), None);
        assert_eq!(table.expected(0, b"bc\": and sixteen bytes more"), Some((1, 3)));
        assert_eq!(table.expected(0, b"bd\": and sixteen bytes more"), None);
    }

    #[test]
    fn long_keys_are_compared_to_their_ends() {
        let name = "a_name_of_more_than_sixteen_bytes";
        let mut table = FieldTable::new([(7, name)].into_iter());
        table.find_and_remember(0, format!("{name}\"").as_bytes());
        assert_eq!(table.expected(0, format!("{name}\": 1").as_bytes()), Some((7, name.len() + 1)));
        assert_eq!(table.expected(0, format!("{name}s\": 1").as_bytes()), None);
    }

    #[test]
    fn a_missing_key_does_not_unlearn_those_behind_it() {
        let mut table = FieldTable::new([(0, "a"), (1, "b"), (2, "c")].into_iter());
        for (place, key) in [b"a\"", b"b\"", b"c\""].iter().enumerate() {
            table.find_and_remember(place, &key[..]);
        }
        assert_eq!(table.find_and_remember(0, b"b\""), (1, 2));
        assert_eq!(table.expected(0, b"a\""), Some((0, 2)));
    }

    #[test]
    fn of_two_equal_names_the_later_is_found() {
        let table = FieldTable::new([(0, "a"), (1, "a")].into_iter());
        assert_eq!(table.find(b"a"), 1);
        assert_eq!(table.find(b"A"), UNWANTED);
    }
}
