//! What a set of rows holds together, whatever their order: the Rust twin of `tests/rig/read_delta.py digest`.

use std::collections::HashSet;

use serde::Deserialize;

/// Count, distinct count and an order-free sum over rows of texts; equal digests mean equal rows, with the odds of 64 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Digest {
    pub rows: u64,
    #[serde(default)]
    pub distinct: u64,
    #[serde(default)]
    pub sum: u64,
    #[serde(default)]
    pub partitions: Vec<PartitionRows>,
}

/// The rows of one Kafka partition in a table that keeps `topic`, `partition` and `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionRows {
    pub topic: String,
    pub partition: i32,
    pub rows: u64,
    pub distinct_offsets: u64,
    pub min_offset: i64,
    pub max_offset: i64,
}

/// The digest of expected rows (`partitions` stays empty; compare the other fields with [`Digest::same_rows`]).
///
/// A row is its columns' texts in the order that the reader is asked for: integers and strings as they are, null as `\N`.
pub fn digest_of<R, T>(rows: impl IntoIterator<Item = R>) -> Digest
where
    R: IntoIterator<Item = T>,
    T: AsRef<str>,
{
    let (mut digest, mut seen, mut line) = (Digest::default(), HashSet::new(), String::new());
    for row in rows {
        line.clear();
        for (number, text) in row.into_iter().enumerate() {
            if number > 0 {
                line.push('\u{1f}');
            }
            line.push_str(text.as_ref());
        }
        // The second half reads backwards: a CRC that only starts elsewhere says nothing new.
        let forwards = crc32(line.bytes());
        let backwards = crc32(line.bytes().rev());
        let hash = u64::from(forwards) << 32 | u64::from(backwards);
        digest.sum = digest.sum.wrapping_add(hash);
        digest.rows += 1;
        seen.insert(hash);
    }
    digest.distinct = seen.len() as u64;
    digest
}

impl Digest {
    /// Whether both hold the same rows.
    pub fn same_rows(&self, other: &Digest) -> bool {
        (self.rows, self.distinct, self.sum) == (other.rows, other.distinct, other.sum)
    }
}

/// zlib's CRC-32.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut index) = ([0u32; 256], 0);
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.fold(!0, |crc, byte| TABLE[((crc ^ u32::from(byte)) & 0xFF) as usize] ^ (crc >> 8))
}

#[test]
fn crc32_is_that_of_zlib() {
    assert_eq!(crc32(b"123456789".iter().copied()), 0xCBF4_3926);
}
