//! Values of a Delta table's properties, as the stream file and the table's own metadata may have them.

/// How the data files of a table are compressed: the codecs of `delta.parquet.compression.codec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Codec {
    /// `snappy`: what every reader has.
    #[default]
    Snappy,
    /// `zstd`.
    Zstd,
    /// `gzip`.
    Gzip,
    /// `lz4`: blocks in Hadoop's frames.
    Lz4,
    /// `lz4_raw`: plain blocks.
    Lz4Raw,
    /// `uncompressed` or `none`.
    Uncompressed,
}

impl Codec {
    /// The names in Delta's protocol.
    pub const NAMES: &str = "snappy, zstd, gzip, lz4_raw, lz4, uncompressed";

    /// The codec of a name in any case. `lz4raw` is what Spark 3.5 calls `lz4_raw`.
    pub fn of(name: &str) -> Option<Codec> {
        Some(match name.to_ascii_lowercase().as_str() {
            "snappy" => Codec::Snappy,
            "zstd" => Codec::Zstd,
            "gzip" => Codec::Gzip,
            "lz4" => Codec::Lz4,
            "lz4_raw" | "lz4raw" => Codec::Lz4Raw,
            "uncompressed" | "none" => Codec::Uncompressed,
            _ => return None,
        })
    }
}

/// A number of bytes as Spark reads it (`JavaUtils.byteStringAsBytes`): a whole number and perhaps a unit behind it, in
/// powers of two and in any case; a long at most.
pub fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim_matches(|c: char| c <= ' ').to_lowercase();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        "p" | "pb" => 50,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_spark_reads_them() {
        for (text, expected) in [
            ("104857600", 100 << 20),
            ("100mb", 100 << 20),
            (" 100MB ", 100 << 20),
            ("1g", 1 << 30),
            ("10kb", 10_240),
            ("1K", 1024),
            ("100b", 100),
            ("1t", 1 << 40),
            ("8191p", 8191 << 50),
            ("9223372036854775807", i64::MAX as u64),
            ("0", 0),
        ] {
            assert_eq!(size_bytes(text), Some(expected), "{text}");
        }
        // Each is refused by Spark 4.0's JavaUtils too.
        for text in [
            "",
            "abc",
            "1 g",
            "100mib",
            "1.5g",
            "-1",
            "+5",
            "8192p",
            "16777216p",
            "9223372036854775808",
            "５m",
        ] {
            assert_eq!(size_bytes(text), None, "{text}");
        }
    }
}
