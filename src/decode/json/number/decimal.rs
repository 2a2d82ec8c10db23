//! DECIMAL values out of texts, as `java.math.BigDecimal` and Spark's `Decimal` make them.
//!
//! A text is read digit by digit up to the column's scale and rounded half up there, so neither its
//! length nor its exponent costs anything. `Decimal(BigDecimal, precision, scale)` of Spark refuses
//! what then has more digits than the precision.

use super::locales::LOCALES;
use crate::decode::json::options::JsonOptions;
use crate::decode::locale::known_part;

/// Ten to the power of `n`, up to 38.
const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut n = 1;
    while n < 39 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// Ten to the power of `n`, which is at most 38.
pub(in crate::decode) fn power_of_ten(n: u8) -> i128 {
    POWERS[usize::from(n)]
}

/// From so many digits to round away, Java's `BigInteger` has no power of ten to divide by.
const DROPPED_DIGITS_MAX: i64 = 536_870_920;

/// Reads a text in the grammar of `new BigDecimal(String)`: sign, digits of any script, point and
/// exponent. `None` if it is of another form or does not fit.
pub(in crate::decode) fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (number, power) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    rounded(negative, whole, fraction, power, precision, scale)
}

/// The exponent of a `BigDecimal`: at most ten digits behind its zeros, within 32 bits.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for digit in digits.chars() {
        number = number * 10 + i64::from(digit_value(digit)?);
        if number > i64::from(i32::MAX) {
            return None;
        }
    }
    Some(if text.starts_with('-') { -number } else { number })
}

/// `whole.fraction` times ten to the power of `power`, rounded half up to `scale` digits.
fn rounded(
    negative: bool,
    whole: &str,
    fraction: &str,
    power: i64,
    precision: u8,
    scale: u8,
) -> Option<i128> {
    let whole_digits = if whole.is_ascii() { whole.len() } else { whole.chars().count() };
    // What the next digit is worth: ten to the power of `weight`.
    let mut weight = whole_digits as i64 - 1 + power;
    let last = -i64::from(scale);
    let limit = POWERS[usize::from(precision)];
    if fraction.len() as i64 - power - i64::from(scale) >= DROPPED_DIGITS_MAX {
        return None;
    }
    let (mut number, mut kept, mut round_up, mut any) = (0i128, None, false, false);
    for character in whole.chars().chain(fraction.chars()) {
        let digit = i128::from(digit_value(character)?);
        any = true;
        if weight >= last {
            number = number.checked_mul(10)? + digit;
            if number >= limit {
                return None;
            }
            kept = Some(weight);
        } else if weight == last - 1 {
            round_up = digit >= 5;
        }
        weight -= 1;
    }
    if !any {
        return None;
    }
    if number != 0 {
        let missing = kept? - last;
        number = number.checked_mul(*POWERS.get(usize::try_from(missing).ok()?)?)?;
    }
    number += i128::from(round_up);
    (number < limit).then_some(if negative { -number } else { number })
}

/// The value of a decimal digit of any script (`Character.digit`).
fn digit_value(character: char) -> Option<u32> {
    if character.is_ascii() {
        return character.to_digit(10);
    }
    let code = u32::from(character);
    let at = ZEROS.partition_point(|zero| *zero <= code);
    let zero = *ZEROS.get(at.checked_sub(1)?)?;
    (code - zero < 10).then(|| code - zero)
}

/// The zeros of the scripts in the Basic Multilingual Plane (general category Nd, Unicode 13). Java
/// reads a `BigDecimal` char by char, so digits beyond that plane are none to it.
const ZEROS: [u32; 36] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
];

/// What a locale writes in numbers (`DecimalFormatSymbols` of Java 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode::json) struct Symbols {
    point: char,
    group: char,
    minus: char,
}

impl Symbols {
    /// The symbols of the options' locale; `None` for en-US, where Spark only drops commas.
    pub(in crate::decode::json) fn of(options: &JsonOptions) -> Option<Symbols> {
        let tag = known_part(&options.locale);
        if tag == "en-us" {
            return None;
        }
        let mut candidate = tag.as_str();
        loop {
            if let Ok(at) = LOCALES.binary_search_by(|row| row.0.cmp(candidate)) {
                let (_, point, group, minus) = LOCALES[at];
                return Some(Symbols { point, group, minus });
            }
            match candidate.rfind('-') {
                Some(end) => candidate = &candidate[..end],
                None => return Some(Symbols { point: '.', group: ',', minus: '-' }),
            }
        }
    }
}

/// Reads a text as `DecimalFormat.parse` does with the symbols of a locale and the empty pattern:
/// a minus, digits with group separators anywhere, a point, an exponent after `E`; the whole text
/// must be of that form.
pub(in crate::decode::json) fn localized_decimal(
    text: &str,
    symbols: Symbols,
    precision: u8,
    scale: u8,
) -> Option<i128> {
    let negative = text.starts_with(symbols.minus);
    let rest = if negative { &text[symbols.minus.len_utf8()..] } else { text };
    let (number, power) = match rest.find('E') {
        Some(at) => {
            let shown = &rest[at + 1..];
            if shown.starts_with('+') {
                return None;
            }
            (&rest[..at], exponent(shown)?)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = number.split_once(symbols.point).unwrap_or((number, ""));
    let whole: String = whole.chars().filter(|c| *c != symbols.group).collect();
    rounded(negative, &whole, fraction, power, precision, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_rounded_half_up_at_the_scale() {
        for (text, precision, scale, expected) in [
            ("1.005", 10, 2, Some(101)),
            ("1.0049999", 10, 2, Some(100)),
            ("-1.005", 10, 2, Some(-101)),
            ("99999999.995", 10, 2, None),
            ("99999999.994", 10, 2, Some(9_999_999_999)),
            ("0.5", 5, 0, Some(1)),
            ("5e-3", 10, 2, Some(1)),
            ("4e-3", 10, 2, Some(0)),
            ("1e7", 10, 2, Some(1_000_000_000)),
            ("1e8", 10, 2, None),
            ("0e2147483647", 10, 2, Some(0)),
            ("1e2147483648", 10, 2, None),
            ("1e-2147483647", 10, 2, None),
            ("1e-400", 10, 2, Some(0)),
            ("5.", 10, 2, Some(500)),
            (".5", 10, 2, Some(50)),
            (".", 10, 2, None),
            ("", 10, 2, None),
            ("+", 10, 2, None),
            ("1e", 10, 2, None),
            ("1.5.2", 10, 2, None),
            ("\u{661}\u{662}", 10, 2, Some(1200)),
            ("\u{ff11}\u{ff12}", 10, 2, Some(1200)),
            ("99999999999999999999999999999999999999", 38, 0, Some(POWERS[37] * 10 - 1)),
            ("99999999999999999999999999999999999999.5", 38, 0, None),
            ("0.99999999999999999999999999999999999999", 38, 38, Some(POWERS[37] * 10 - 1)),
        ] {
            assert_eq!(decimal(text, precision, scale), expected, "{text}");
        }
    }

    #[test]
    fn a_locale_rules_point_and_groups() {
        let of = |tag: &str| Symbols::of(&JsonOptions { locale: tag.to_owned(), ..JsonOptions::default() });
        assert_eq!(of("en-US"), None);
        let german = of("de-DE").unwrap();
        assert_eq!(localized_decimal("-1.234.567,891", german, 20, 4), Some(-12_345_678_910));
        assert_eq!(localized_decimal("1.5", german, 20, 4), Some(150_000));
        assert_eq!(localized_decimal("1,5x", german, 20, 4), None);
        let french = of("fr-FR").unwrap();
        assert_eq!(localized_decimal("1\u{202f}000,5", french, 20, 4), Some(10_005_000));
        assert_eq!(localized_decimal("1 000,5", french, 20, 4), None);
    }
}
