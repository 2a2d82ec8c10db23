//! A blocked Bloom filter over the fingerprints of one run: says for sure that a key is absent, for about one absent
//! key in a hundred that it may be there.
//!
//! A block is one cache line. Fingerprints are uniform already, so the block and the bits are taken from them as they
//! are; the block grows with the fingerprint, so looking up keys in their order walks the filter from front to back.

use super::fingerprint::Fingerprint;

/// Bits of the filter for each key.
const BITS_PER_KEY: u64 = 10;
/// Words of a block.
const WORDS: usize = 8;
/// Bytes of a block in a file.
pub(super) const BLOCK_BYTES: usize = WORDS * 8;

/// The filter of one run; without blocks it lets everything through.
#[derive(Default)]
pub(super) struct Filter {
    blocks: Vec<[u64; WORDS]>,
}

impl Filter {
    /// An empty filter for at most `keys` keys; for none, one that lets everything through.
    pub(super) fn for_keys(keys: u64) -> Filter {
        let blocks = (keys * BITS_PER_KEY).div_ceil(BLOCK_BYTES as u64 * 8);
        Filter { blocks: vec![[0; WORDS]; blocks as usize] }
    }

    pub(super) fn insert(&mut self, key: Fingerprint) {
        if self.blocks.is_empty() {
            return;
        }
        let block = self.block_of(key);
        for (word, bit) in self.blocks[block].iter_mut().zip(bits(key)) {
            *word |= bit;
        }
    }

    /// Returns whether the run may hold the key.
    pub(super) fn may_hold(&self, key: Fingerprint) -> bool {
        if self.blocks.is_empty() {
            return true;
        }
        let block = &self.blocks[self.block_of(key)];
        block.iter().zip(bits(key)).all(|(word, bit)| word & bit != 0)
    }

    fn block_of(&self, key: Fingerprint) -> usize {
        ((u128::from(key.high) * self.blocks.len() as u128) >> 64) as usize
    }

    pub(super) fn block_count(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter that [`Filter::to_bytes`] gave; what does not fill a block is left out.
    pub(super) fn from_bytes(bytes: &[u8]) -> Filter {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a word is 8 bytes"));
        let block = |bytes: &[u8]| std::array::from_fn(|i| word(&bytes[i * 8..i * 8 + 8]));
        Filter { blocks: bytes.chunks_exact(BLOCK_BYTES).map(block).collect() }
    }
}

/// One bit of each word, chosen by six bits of the fingerprint's lower half.
fn bits(key: Fingerprint) -> [u64; WORDS] {
    std::array::from_fn(|i| 1 << ((key.low >> (i * 6)) & 63))
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::HashSecret;
    use super::*;

    #[test]
    fn no_key_that_was_inserted_is_denied_and_few_others_pass() {
        let hasher = HashSecret::from_bytes([3; 16]).hasher();
        let key = |i: u32| hasher.fingerprint(&i.to_le_bytes());
        let mut filter = Filter::for_keys(100_000);
        (0..100_000).for_each(|i| filter.insert(key(i)));
        let filter = Filter::from_bytes(&filter.to_bytes());
        assert!((0..100_000).all(|i| filter.may_hold(key(i))));
        let passed = (100_000..200_000).filter(|i| filter.may_hold(key(*i))).count();
        assert!(passed < 2_000, "{passed} of 100,000 absent keys passed");
    }

    #[test]
    fn an_empty_filter_lets_everything_through() {
        let key = HashSecret::from_bytes([3; 16]).hasher().fingerprint(b"k");
        assert!(Filter::for_keys(0).may_hold(key));
        assert!(!Filter::for_keys(1).may_hold(key));
    }
}
