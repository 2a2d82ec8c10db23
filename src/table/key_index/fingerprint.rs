//! The 128-bit keyed fingerprint by which the index knows a key.
//!
//! Two different keys of one index have the same fingerprint with a probability of 2^-128, whatever the keys are and
//! whoever chose them: the hash is SipHash-2-4 under a secret that each index draws at random. So a fingerprint that
//! is found is taken for the key itself; `docs/decisions/0008-merge-by-fingerprints.md` gives the argument.

use siphasher::sip128::{Hasher128, SipHasher24};

/// Bytes of a fingerprint in a file.
pub(super) const FINGERPRINT_BYTES: usize = 16;

/// A key's fingerprint. Its order is that of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    pub(super) high: u64,
    pub(super) low: u64,
}

impl Fingerprint {
    /// A fingerprint of no key, in the order of its numbers.
    #[cfg(test)]
    pub(crate) fn for_tests(number: u64) -> Fingerprint {
        Fingerprint { high: number, low: 0 }
    }

    pub(super) fn to_bytes(self) -> [u8; FINGERPRINT_BYTES] {
        ((u128::from(self.high) << 64) | u128::from(self.low)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Fingerprint {
        let whole = u128::from_be_bytes(bytes);
        Fingerprint { high: (whole >> 64) as u64, low: whole as u64 }
    }
}

/// The secret under which an index hashes its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HashSecret([u8; 16]);

impl HashSecret {
    /// A new one.
    pub(super) fn random() -> HashSecret {
        HashSecret(rand::random())
    }

    /// The one that an index was made with.
    pub(super) fn from_bytes(bytes: [u8; 16]) -> HashSecret {
        HashSecret(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The hasher that all keys of an index share.
    pub(super) fn hasher(&self) -> KeyHasher {
        KeyHasher(SipHasher24::new_with_key(&self.0))
    }
}

/// Hashes keys under one secret.
#[derive(Clone)]
pub(super) struct KeyHasher(SipHasher24);

impl KeyHasher {
    pub(super) fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let hash = self.0.hash(key);
        Fingerprint { high: hash.h1, low: hash.h2 }
    }

    /// The fingerprint of a file's identity: its path and its deletion vector.
    pub(super) fn of_file(&self, path: &str, deletion_vector: Option<&str>) -> Fingerprint {
        use std::hash::Hasher;
        let mut hasher = self.0;
        hasher.write(&(path.len() as u64).to_le_bytes());
        hasher.write(path.as_bytes());
        hasher.write(deletion_vector.unwrap_or_default().as_bytes());
        let hash = hasher.finish128();
        Fingerprint { high: hash.h1, low: hash.h2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_siphash_2_4_of_128_bits() {
        // The first vectors of the reference implementation (vectors_sip128), key 00 01 .. 0f.
        let secret = HashSecret::from_bytes(std::array::from_fn(|i| i as u8));
        let empty = secret.hasher().fingerprint(&[]);
        assert_eq!(empty.high.to_le_bytes(), [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6]);
        assert_eq!(empty.low.to_le_bytes(), [0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]);
        let one = secret.hasher().fingerprint(&[0]);
        assert_eq!(one.high.to_le_bytes(), [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44]);
        assert_eq!(Fingerprint::from_bytes(one.to_bytes()), one);
    }

    #[test]
    fn the_order_of_fingerprints_is_that_of_their_bytes() {
        let hasher = HashSecret::from_bytes([7; 16]).hasher();
        let mut by_value: Vec<Fingerprint> =
            (0..500_u32).map(|i| hasher.fingerprint(&i.to_le_bytes())).collect();
        let mut by_bytes = by_value.clone();
        by_value.sort_unstable();
        by_bytes.sort_unstable_by_key(|f| f.to_bytes());
        assert_eq!(by_value, by_bytes);
    }
}
