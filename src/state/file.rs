//! The files that state has in a checkpoint: one envelope for all of them, and the rows inside.
//!
//! ```text
//! "ALVSTATE" | version (1 byte) | kind (1) | length of header (4) | header, JSON | length of rows (8) | rows, zstd | XXH64 (8)
//! ```
//!
//! Numbers are little-endian. The checksum covers everything before it, so that a file that was cut or changed is told from a
//! whole one. Rows are sorted by table and key; each is
//! `bytes shared with the key before | bytes that follow | those bytes | 0 if removed, else length of value + 1 | value`, with numbers as
//! varints (LEB128), and the first key of a table shares nothing.

use std::hash::Hasher;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash64;

use super::RESTORE;
use crate::model::{Error, Result};

const MAGIC: &[u8; 8] = b"ALVSTATE";
const VERSION: u8 = 1;
/// Magic, version, kind, length of the header.
const FIXED_BYTES: usize = 14;
/// Fast, and half the bytes of rows of state.
const ZSTD_LEVEL: i32 = 1;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// What one micro-batch changed.
    Changes = 1,
    /// Some rows of a snapshot.
    Part = 2,
    /// Which parts a snapshot has.
    Snapshot = 3,
}

/// The bytes of a file.
pub(super) fn to_bytes(kind: FileKind, header: &impl Serialize, rows: &[u8]) -> Result<Bytes> {
    let header =
        serde_json::to_vec(header).map_err(|e| Error::internal("write header of state").source(e))?;
    let compressed = if rows.is_empty() {
        Vec::new()
    } else {
        zstd::bulk::compress(rows, ZSTD_LEVEL).map_err(|e| Error::internal("compress state").source(e))?
    };
    let mut bytes = Vec::with_capacity(FIXED_BYTES + header.len() + compressed.len() + 16);
    bytes.extend_from_slice(MAGIC);
    bytes.extend([VERSION, kind as u8]);
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    bytes.extend((rows.len() as u64).to_le_bytes());
    bytes.extend(compressed);
    bytes.extend(checksum(&bytes).to_le_bytes());
    Ok(Bytes::from(bytes))
}

/// Reads the file `name`: its header and its rows.
///
/// # Errors
/// `Corrupt` if the file was cut or changed, `Config` if a later version of Alluvia wrote it.
pub(super) fn from_bytes<H: DeserializeOwned>(
    name: &str,
    kind: FileKind,
    bytes: &[u8],
) -> Result<(H, Vec<u8>)> {
    let (content, sum) = bytes.split_last_chunk::<8>().ok_or_else(|| damaged(name, "it is cut off"))?;
    let rest = content.strip_prefix(MAGIC).ok_or_else(|| damaged(name, "it is not a file of state"))?;
    let (version, rest) = rest.split_first().ok_or_else(|| damaged(name, "it is cut off"))?;
    if checksum(content).to_le_bytes() != *sum {
        return Err(damaged(name, "its checksum is wrong"));
    }
    if *version != VERSION {
        return Err(Error::config(format!(
            "{name} is of version {version}, and this version of Alluvia reads version {VERSION}"
        ))
        .hint("run the version that wrote it"));
    }
    let found = rest.split_first().and_then(|(found, rest)| {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (header, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (length, rows) = rest.split_first_chunk::<8>()?;
        Some((*found, header, usize::try_from(u64::from_le_bytes(*length)).ok()?, rows))
    });
    let Some((found, header, length, rows)) = found else {
        return Err(damaged(name, "its lengths are wrong"));
    };
    if found != kind as u8 {
        return Err(damaged(name, "another kind of file is in its place"));
    }
    let header = serde_json::from_slice(header).map_err(|e| damaged(name, e))?;
    let rows = match length {
        0 => Vec::new(),
        length => zstd::bulk::decompress(rows, length).map_err(|e| damaged(name, e))?,
    };
    if rows.len() != length {
        return Err(damaged(name, "its rows are not as long as it says"));
    }
    Ok((header, rows))
}

/// A file that is not what was written.
pub(super) fn damaged(name: &str, cause: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("{name} is damaged: {cause}")).hint(RESTORE)
}

/// A file that must be there and is not.
pub(super) fn missing(name: &str) -> Error {
    Error::corrupt(format!("{name} is missing")).hint(RESTORE)
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(bytes);
    hasher.finish()
}

/// Writes rows, of which the keys of each table ascend.
#[derive(Default)]
pub(super) struct RowWriter {
    bytes: Vec<u8>,
    previous: Vec<u8>,
}

impl RowWriter {
    /// Begins the rows of another table, or of another file.
    pub(super) fn begin_table(&mut self) {
        self.previous.clear();
    }

    /// Adds a key with its value, or without one if it was removed.
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = key.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
        push_varint(shared, &mut self.bytes);
        push_varint(key.len() - shared, &mut self.bytes);
        self.bytes.extend_from_slice(&key[shared..]);
        push_varint(value.map_or(0, |value| value.len() + 1), &mut self.bytes);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.previous.truncate(shared);
        self.previous.extend_from_slice(&key[shared..]);
    }

    /// The rows so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins another file.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.previous.clear();
    }
}

/// Reads what a [`RowWriter`] wrote.
pub(super) struct RowReader<'a> {
    name: &'a str,
    bytes: &'a [u8],
    key: Vec<u8>,
}

impl<'a> RowReader<'a> {
    /// Reads the rows of the file `name`.
    pub(super) fn new(name: &'a str, bytes: &'a [u8]) -> RowReader<'a> {
        RowReader { name, bytes, key: Vec::new() }
    }

    /// Begins the rows of the next table.
    pub(super) fn begin_table(&mut self) {
        self.key.clear();
    }

    /// The next key and its value.
    ///
    /// # Errors
    /// `Corrupt` if there is none.
    pub(super) fn next(&mut self) -> Result<(&[u8], Option<&'a [u8]>)> {
        let value = self.read().ok_or_else(|| damaged(self.name, "a row is cut off"))?;
        Ok((&self.key, value))
    }

    #[allow(clippy::option_option)]
    fn read(&mut self) -> Option<Option<&'a [u8]>> {
        let shared = self.varint()?;
        let length = self.varint()?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        let suffix = self.take(length)?;
        self.key.extend_from_slice(suffix);
        match self.varint()? {
            0 => Some(None),
            length => self.take(length - 1).map(Some),
        }
    }

    /// Ends reading.
    ///
    /// # Errors
    /// `Corrupt` if there are more rows.
    pub(super) fn finish(self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(damaged(self.name, "it has more rows than it says")) }
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn push_varint(mut value: usize, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn sample() -> Bytes {
        let mut rows = RowWriter::default();
        rows.push(b"apple", Some(b"1"));
        rows.push(b"apples", None);
        rows.push(b"b", Some(b""));
        rows.begin_table();
        rows.push(b"b", Some(&[7; 300]));
        to_bytes(FileKind::Changes, &"header", rows.bytes()).unwrap()
    }

    #[test]
    fn rows_come_back() {
        let (header, rows): (String, _) = from_bytes("f", FileKind::Changes, &sample()).unwrap();
        assert_eq!(header, "header");
        let mut reader = RowReader::new("f", &rows);
        let expected: [(&[u8], Option<&[u8]>); 3] =
            [(b"apple", Some(b"1")), (b"apples", None), (b"b", Some(b""))];
        for row in expected {
            assert_eq!(reader.next().unwrap(), row);
        }
        reader.begin_table();
        assert_eq!(reader.next().unwrap(), (&b"b"[..], Some(&[7; 300][..])));
        assert!(reader.next().is_err());
        reader.finish().unwrap();
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_told() {
        let whole = sample();
        let read = |bytes: &[u8]| from_bytes::<String>("state/changes/3.a", FileKind::Changes, bytes);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]).unwrap_err().kind(), Kind::Corrupt, "cut at {end}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = read(&flipped).unwrap_err();
            assert!(
                error.kind() == Kind::Corrupt && error.to_string().contains("state/changes/3.a"),
                "{error}"
            );
        }
        let other = from_bytes::<String>("f", FileKind::Part, &whole).unwrap_err();
        assert!(other.to_string().contains("another kind"), "{other}");
    }

    #[test]
    fn a_later_version_is_refused_by_name() {
        let mut bytes = sample()[..].to_vec();
        bytes[8] = 2;
        let end = bytes.len() - 8;
        let sum = checksum(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&sum);
        let error = from_bytes::<String>("f", FileKind::Changes, &bytes).unwrap_err();
        assert!(error.kind() == Kind::Config && error.to_string().contains("version 2"), "{error}");
    }
}
