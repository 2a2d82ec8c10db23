//! Finding the bytes that matter in a JSON text, many bytes at a time.
//!
//! Leaf of the JSON decoder: takes positions, gives positions. Knows nothing of schemas, and judges
//! nothing: what stands at a position is the caller's business. On x86-64 it uses SSE2, which every
//! such processor has. Beside `column/bytes` the only file of
//! the decoder with `unsafe` code.

/// Where the next quote, backslash or control character (below 0x20) stands at or behind `from`;
/// `bytes.len()` if there is none.
#[inline(always)]
pub(super) fn string_stop(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes[at..].first_chunk::<16>() {
        let stops = stops_in(chunk);
        if stops != 0 {
            return at + stops.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < bytes.len() && !STOPS[bytes[at] as usize] {
        at += 1;
    }
    at
}

/// As [`string_stop`], and copies what stands before the stop to `out`.
#[inline]
pub(super) fn copy_to_stop(bytes: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes[at..].first_chunk::<32>() {
        // Whole chunks are copied in one go; what is too much is cut off again.
        out.extend_from_slice(chunk);
        let (low, high) = (chunk.first_chunk().map(stops_in), chunk.last_chunk().map(stops_in));
        let stops = low.unwrap_or_default() | high.unwrap_or_default() << 16;
        if stops != 0 {
            let good = stops.trailing_zeros() as usize;
            out.truncate(out.len() - (32 - good));
            return at + good;
        }
        at += 32;
    }
    let stop = string_stop(bytes, at);
    out.extend_from_slice(&bytes[at..stop]);
    stop
}

/// Which of sixteen bytes stop a string, the first byte in the lowest bit.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
fn stops_in(chunk: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: every x86-64 processor has SSE2, and the only pointer is that of `chunk`, which is
    // sixteen bytes long; the load asks for no alignment.
    unsafe {
        let bytes = _mm_loadu_si128(chunk.as_ptr().cast());
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control)) as u32
    }
}

/// Which of sixteen bytes stop a string, the first byte in the lowest bit.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn stops_in(chunk: &[u8; 16]) -> u32 {
    let mut stops = 0;
    for (n, byte) in chunk.iter().enumerate() {
        stops |= u32::from(STOPS[*byte as usize]) << n;
    }
    stops
}

/// Whether a byte stops a string.
static STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut n = 0;
    while n < 0x20 {
        stops[n] = true;
        n += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

/// Where the first byte that is no blank, tab, line feed or carriage return stands.
#[inline(always)]
pub(super) fn skip_blanks(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        if *byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            break;
        }
        at += 1;
    }
    at
}

/// How many of the first eight bytes at `from` are digits, and the number they make if all eight are.
#[inline(always)]
pub(super) fn eight_digits(bytes: &[u8], from: usize) -> Option<u64> {
    let chunk = bytes.get(from..)?.first_chunk::<8>()?;
    let word = u64::from_le_bytes(*chunk);
    let high_nibbles = word & 0xf0f0_f0f0_f0f0_f0f0;
    let carried = word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    if high_nibbles != 0x3030_3030_3030_3030 || carried != 0x3030_3030_3030_3030 {
        return None;
    }
    let digits = word & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (digits.wrapping_mul(10).wrapping_add(digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_found_wherever_it_stands() {
        for stop in (0u8..0x20).chain([b'"', b'\\']) {
            for at in 0..50 {
                let mut text = vec![b'x'; 50];
                text[at] = stop;
                for from in 0..=at {
                    assert_eq!(string_stop(&text, from), at, "{stop} {at} {from}");
                    let mut copy = vec![b'y'];
                    assert_eq!(copy_to_stop(&text, from, &mut copy), at);
                    assert_eq!(copy[1..], text[from..at]);
                }
                assert_eq!(string_stop(&text, at + 1), 50);
            }
        }
    }

    #[test]
    fn bytes_beyond_ascii_do_not_stop_a_string() {
        let text: Vec<u8> = (0x20..=0xff).filter(|b| ![b'"', b'\\'].contains(b)).collect();
        assert_eq!(string_stop(&text, 0), text.len());
    }

    #[test]
    fn eight_digits_are_a_number_and_seven_are_not() {
        assert_eq!(eight_digits(b"12345678", 0), Some(12_345_678));
        assert_eq!(eight_digits(b"x99999999", 1), Some(99_999_999));
        for text in [&b"1234567"[..], b"1234567:", b"1234/678", b"1234567\xb0", b":2345678"] {
            assert_eq!(eight_digits(text, 0), None, "{text:?}");
        }
    }
}
