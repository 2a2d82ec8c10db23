//! Bytes that are no UTF-8, read as Java reads them.
//!
//! Spark hands Jackson a `java.io.InputStreamReader` over the message's bytes, so bad bytes are no
//! error: each bad sequence becomes U+FFFD. How long a bad sequence is decides how many of them, and
//! Java (`sun.nio.cs.UTF_8`) counts otherwise than Rust and the WHATWG.

/// Writes `bytes` to `out` with each bad sequence replaced by U+FFFD, as Java's decoder does.
pub(super) fn replace_bad(bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let good = match std::str::from_utf8(rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let (valid, bad) = rest.split_at(good);
        out.push_str(std::str::from_utf8(valid).unwrap_or_default());
        if bad.is_empty() {
            return;
        }
        out.push('\u{FFFD}');
        rest = &bad[bad_length(bad)..];
    }
}

fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// How many bytes Java takes for one bad sequence; `bad` begins with one and is not empty.
fn bad_length(bad: &[u8]) -> usize {
    let second_of_three = |b: u8| continues(b) && !(bad[0] == 0xe0 && b & 0xe0 == 0x80);
    let second_of_four =
        |b: u8| continues(b) && !(bad[0] == 0xf0 && b < 0x90) && !(bad[0] == 0xf4 && b & 0xf0 != 0x80);
    match (bad[0], bad.len()) {
        (0xc2..=0xdf, 1) => 1,
        (0xe0..=0xef, length) => match &bad[1..] {
            [] => 1,
            [second, ..] if !second_of_three(*second) => 1,
            [_] => 2,
            [_, third, ..] if !continues(*third) => 2,
            _ => 3.min(length),
        },
        (0xf0..=0xf4, length) => match &bad[1..] {
            [] => 1,
            [second, ..] if !second_of_four(*second) => 1,
            [_] => 2,
            [_, third, ..] if !continues(*third) => 2,
            _ => 3.min(length),
        },
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> String {
        let mut out = String::new();
        replace_bad(bytes, &mut out);
        out
    }

    #[test]
    fn bad_sequences_are_counted_as_java_does() {
        for (bytes, expected) in [
            (&b"x\x80y"[..], "x\u{FFFD}y"),
            (b"\xED\xA0\xBD", "\u{FFFD}"),
            (b"\xE0\x80\xAF", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xE2\x82", "\u{FFFD}"),
            (b"\xE2\x82x", "\u{FFFD}x"),
            (b"\xF0\x9F\x98", "\u{FFFD}"),
            (b"\xF0\x9F\x98x", "\u{FFFD}x"),
            (b"\xF5\x80\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xC3\xA9\xFF", "\u{e9}\u{FFFD}"),
        ] {
            assert_eq!(read(bytes), expected, "{bytes:x?}");
        }
    }
}
