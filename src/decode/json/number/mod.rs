//! Numbers as JSON writes them, into the numbers of Spark's types.
//!
//! Leaf of the JSON decoder: texts in, numbers out. The lexers have checked the grammar before.

mod decimal;
mod java_double;
mod locales;

pub(super) use decimal::{Symbols, localized_decimal};
pub(in crate::decode) use decimal::{decimal, power_of_ten};
pub(crate) use java_double::{write_double, write_float};

use super::scan::eight_digits;

/// The powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Below this every whole number is a double.
const EXACT_WHOLE: u64 = 1 << 53;

/// A number of the strict JSON grammar: where it ends and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lexed {
    /// The position behind the number.
    pub(super) end: usize,
    /// Whether it has neither fraction nor exponent.
    pub(super) whole: bool,
    /// Whether it begins with a minus.
    pub(super) negative: bool,
    /// Its digits as a number without point; right only if `digits` is at most 19.
    pub(super) mantissa: u64,
    /// How many digits stand before the exponent, zeros included.
    pub(super) digits: usize,
    /// The power of ten that belongs to the mantissa; right only if the text's is below 10000.
    pub(super) exponent: i32,
}

/// Reads the number that begins at `from`; `None` if none of the strict grammar does.
#[inline(always)]
pub(super) fn lex(bytes: &[u8], from: usize) -> Option<Lexed> {
    let negative = *bytes.get(from)? == b'-';
    let first = from + usize::from(negative);
    let mut mantissa = 0u64;
    let mut at = digits(bytes, first, &mut mantissa);
    if at == first || (bytes[first] == b'0' && at > first + 1) {
        return None;
    }
    let mut count = at - first;
    let (mut whole, mut exponent) = (true, 0i32);
    if bytes.get(at) == Some(&b'.') {
        let fraction = at + 1;
        at = digits(bytes, fraction, &mut mantissa);
        if at == fraction {
            return None;
        }
        count += at - fraction;
        exponent = -((at - fraction).min(20_000) as i32);
        whole = false;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = at + 1;
        let minus = bytes.get(signed) == Some(&b'-');
        let first = signed + usize::from(matches!(bytes.get(signed), Some(b'-' | b'+')));
        let mut power = 0u64;
        at = digits(bytes, first, &mut power);
        if at == first {
            return None;
        }
        let power = if at - first > 18 { 10_000 } else { power.min(10_000) as i32 };
        exponent += if minus { -power } else { power };
        whole = false;
    }
    Some(Lexed { end: at, whole, negative, mantissa, digits: count, exponent })
}

/// Adds the digits from `from` on to `number` (which may wrap); gives the position behind them.
#[inline(always)]
fn digits(bytes: &[u8], from: usize, number: &mut u64) -> usize {
    let mut at = from;
    while let Some(eight) = eight_digits(bytes, at) {
        *number = number.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

impl Lexed {
    /// The number as a BIGINT; `None` if it is no whole number or out of range.
    #[inline(always)]
    pub(super) fn long(&self) -> Option<i64> {
        if !self.whole || self.digits > 19 {
            return None;
        }
        if self.negative {
            (self.mantissa <= i64::MIN.unsigned_abs()).then(|| (self.mantissa as i64).wrapping_neg())
        } else {
            i64::try_from(self.mantissa).ok()
        }
    }

    /// The number as a double; `text` is its text.
    #[inline(always)]
    pub(super) fn double(&self, text: &[u8]) -> f64 {
        let power = self.exponent.unsigned_abs() as usize;
        if self.digits <= 19 && self.mantissa < EXACT_WHOLE && power < EXACT_POWERS.len() {
            let whole = self.mantissa as f64;
            let value =
                if self.exponent < 0 { whole / EXACT_POWERS[power] } else { whole * EXACT_POWERS[power] };
            // A whole -0 is a long first, which has no negative zero.
            return if self.negative && !(self.whole && self.mantissa == 0) { -value } else { value };
        }
        parse(text)
    }

    /// The number as a FLOAT; `text` is its text. Jackson reads whole numbers of more than 18 digits
    /// as doubles first and rounds twice.
    pub(super) fn float(&self, text: &[u8]) -> f32 {
        match self.long() {
            Some(long) if self.digits <= 18 => long as f32,
            _ if self.whole => parse::<f64>(text) as f32,
            _ => parse(text),
        }
    }
}

/// The nearest double or float to a number in JSON's grammar.
fn parse<T: std::str::FromStr + Default>(text: &[u8]) -> T {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Lexed {
        let lexed = lex(text.as_bytes(), 0).unwrap();
        assert_eq!(lexed.end, text.len(), "{text}");
        lexed
    }

    #[test]
    fn the_grammar_is_strict() {
        for bad in ["", "-", "+1", ".5", "1.", "1.e5", "1e", "1e+", "01", "-01", "00", "x", "-x"] {
            assert_eq!(lex(bad.as_bytes(), 0), None, "{bad}");
        }
        for (text, whole) in [("0", true), ("-0", true), ("10", true), ("0.5", false), ("1E+5", false)] {
            assert_eq!(number(text).whole, whole, "{text}");
        }
        assert_eq!(lex(b"12x", 0).unwrap().end, 2);
    }

    #[test]
    fn a_bigint_ends_where_it_must() {
        assert_eq!(number("9223372036854775807").long(), Some(i64::MAX));
        assert_eq!(number("9223372036854775808").long(), None);
        assert_eq!(number("-9223372036854775808").long(), Some(i64::MIN));
        assert_eq!(number("-9223372036854775809").long(), None);
        assert_eq!(number("18446744073709551616").long(), None);
        assert_eq!(number("1.0").long(), None);
    }

    proptest! {
        #[test]
        fn doubles_are_rounded_right(text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?") {
            let ours = number(&text).double(text.as_bytes());
            let expected = if text == "-0" { 0.0 } else { text.parse::<f64>().unwrap() };
            prop_assert_eq!(ours.to_bits(), expected.to_bits());
        }

        #[test]
        fn doubles_are_read_back(value: f64) {
            prop_assume!(value.is_finite());
            let text = format!("{value:e}");
            prop_assert_eq!(number(&text).double(text.as_bytes()).to_bits(), value.to_bits());
        }
    }
}
