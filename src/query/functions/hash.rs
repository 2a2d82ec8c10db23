//! Hashes: `hash` (Murmur3), `xxhash64`, and the digests of texts and bytes.
//!
//! `hash` and `xxhash64` go through the columns and into nested values; a null leaves the hash as it is
//! (`HashExpression` of Spark 4.0).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use twox_hash::XxHash64;

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, each, entry, takes};
use crate::query::coerce::types::{entry_of, mismatch};

/// Functions of hashes.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        "md5",
        takes!([Bytes] => DataType::Utf8),
        |call| digest(call, |bytes| lower_hex(&Md5::digest(bytes))),
        ["stateless/hashes", "expressions/hash"]
    ),
    entry!(
        "sha1" | "sha",
        takes!([Bytes] => DataType::Utf8),
        |call| digest(call, |bytes| lower_hex(&Sha1::digest(bytes))),
        ["stateless/hashes", "expressions/hash"]
    ),
    entry!("sha2", takes!([Bytes, Int] => DataType::Utf8), sha2, ["stateless/hashes", "expressions/hash"]),
    entry!(
        "crc32",
        takes!([Bytes] => DataType::Int64),
        |call| each::<Int64Array, _>(call, |row| Some(i64::from(crc32fast::hash(call.bytes(0).value(row))))),
        ["stateless/hashes", "expressions/hash"]
    ),
    entry!(
        "hash",
        Types::By(|bind| bind_hash(bind, DataType::Int32)),
        murmur3,
        ["stateless/hashes", "stateless/hash_of_several_columns", "expressions/hash"]
    ),
    entry!(
        "xxhash64",
        Types::By(|bind| bind_hash(bind, DataType::Int64)),
        xxhash64,
        ["stateless/hashes", "stateless/hash_of_several_columns", "expressions/hash"]
    ),
];

fn lower_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(call: &Call, of: fn(&[u8]) -> String) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| Some(of(call.bytes(0).value(row))))
}

fn sha2(call: &Call) -> Result<ArrayRef> {
    each::<StringArray, _>(call, |row| {
        let bytes = call.bytes(0).value(row);
        Some(match call.ints(1).value(row) {
            224 => lower_hex(&Sha224::digest(bytes)),
            0 | 256 => lower_hex(&Sha256::digest(bytes)),
            384 => lower_hex(&Sha384::digest(bytes)),
            512 => lower_hex(&Sha512::digest(bytes)),
            _ => return None,
        })
    })
}

fn bind_hash(bind: &Bind, returns: DataType) -> Result<Bound> {
    if bind.types.is_empty() {
        return Err(mismatch(bind, "at least one argument is needed"));
    }
    if bind.types.iter().any(has_map) {
        return Err(mismatch(bind, "a MAP has no hash: equal maps may have their entries in another order"));
    }
    Ok(Bound::new(bind.types.to_vec(), returns))
}

fn has_map(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => has_map(element.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        kind => entry_of(kind).is_some(),
    }
}

/// A hash that takes up one value after the other.
trait Running: Copy {
    fn int(self, value: i32) -> Self;
    fn long(self, value: i64) -> Self;
    fn bytes(self, bytes: &[u8]) -> Self;
}

#[derive(Clone, Copy)]
struct Murmur(u32);

impl Murmur {
    fn mix(hash: u32, block: u32) -> u32 {
        let block = block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        (hash ^ block).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    }

    fn finish(hash: u32, length: u32) -> Murmur {
        let mut hash = hash ^ length;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        Murmur(hash ^ hash >> 16)
    }
}

impl Running for Murmur {
    fn int(self, value: i32) -> Self {
        Self::finish(Self::mix(self.0, value as u32), 4)
    }

    fn long(self, value: i64) -> Self {
        Self::finish(Self::mix(Self::mix(self.0, value as u32), (value as u64 >> 32) as u32), 8)
    }

    /// Spark mixes each byte behind the last whole word by itself, with its sign.
    fn bytes(self, bytes: &[u8]) -> Self {
        let mut hash = self.0;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            hash = Self::mix(hash, u32::from_le_bytes(*word));
        }
        for byte in rest {
            hash = Self::mix(hash, i32::from(*byte as i8) as u32);
        }
        Self::finish(hash, bytes.len() as u32)
    }
}

#[derive(Clone, Copy)]
struct Xx(u64);

impl Running for Xx {
    fn int(self, value: i32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn long(self, value: i64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        Xx(XxHash64::oneshot(self.0, bytes))
    }
}

fn murmur3(call: &Call) -> Result<ArrayRef> {
    let rows = (0..call.rows).map(|row| Ok(Some(over(call, row, Murmur(42))?.0 as i32)));
    Ok(Arc::new(rows.collect::<Result<Int32Array>>()?))
}

fn xxhash64(call: &Call) -> Result<ArrayRef> {
    let rows = (0..call.rows).map(|row| Ok(Some(over(call, row, Xx(42))?.0 as i64)));
    Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
}

/// `xxhash64` of each value.
///
/// # Errors
/// A type that has no hash.
pub(crate) fn hashes(array: &ArrayRef) -> Result<Vec<i64>> {
    (0..array.len()).map(|row| Ok(value(array.as_ref(), row, Xx(42))?.0 as i64)).collect()
}

fn over<H: Running>(call: &Call, row: usize, seed: H) -> Result<H> {
    call.args.iter().try_fold(seed, |hash, array| value(array.as_ref(), row, hash))
}

/// The hash with the value of `row` taken up.
fn value<H: Running>(array: &dyn Array, row: usize, hash: H) -> Result<H> {
    if array.is_null(row) {
        return Ok(hash);
    }
    Ok(match array.data_type() {
        DataType::Null => hash,
        DataType::Boolean => hash.int(i32::from(array.as_boolean().value(row))),
        DataType::Int8 => hash.int(i32::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => hash.int(i32::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => hash.int(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => hash.long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => hash.int(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => hash.long(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Duration(arrow::datatypes::TimeUnit::Microsecond) => {
            hash.long(array.as_primitive::<DurationMicrosecondType>().value(row))
        }
        DataType::Float32 => {
            let float = array.as_primitive::<Float32Type>().value(row);
            hash.int(if float.is_nan() { 0x7fc0_0000 } else { (float + 0.0).to_bits() as i32 })
        }
        DataType::Float64 => {
            let double = array.as_primitive::<Float64Type>().value(row);
            hash.long(if double.is_nan() { 0x7ff8_0000_0000_0000 } else { (double + 0.0).to_bits() as i64 })
        }
        DataType::Decimal128(precision, _) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            if *precision <= 18 { hash.long(unscaled as i64) } else { hash.bytes(&shortest(unscaled)) }
        }
        DataType::Utf8 => hash.bytes(array.as_string::<i32>().value(row).as_bytes()),
        DataType::Binary => hash.bytes(array.as_binary::<i32>().value(row)),
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            (0..values.len()).try_fold(hash, |hash, at| value(values.as_ref(), at, hash))?
        }
        DataType::Struct(_) => {
            let record = array.as_struct();
            record.columns().iter().try_fold(hash, |hash, column| value(column.as_ref(), row, hash))?
        }
        DataType::Map(..) => {
            let entries: ArrayRef = Arc::new(array.as_map().value(row));
            let columns = entries.as_struct().columns();
            (0..entries.len()).try_fold(hash, |hash, at| {
                columns.iter().try_fold(hash, |hash, column| value(column.as_ref(), at, hash))
            })?
        }
        other => return exec_err!("{other} has no hash"),
    })
}

/// The bytes of a number as `BigInteger.toByteArray` gives them: big end first, no more than needed.
fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let mut from = 0;
    while from < 15 && bytes[from] == sign && (bytes[from + 1] ^ sign) & 0x80 == 0 {
        from += 1;
    }
    bytes[from..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_in_java() {
        assert_eq!(shortest(0), [0]);
        assert_eq!(shortest(127), [127]);
        assert_eq!(shortest(128), [0, 128]);
        assert_eq!(shortest(-128), [128]);
        assert_eq!(shortest(-129), [0xff, 0x7f]);
    }
}
