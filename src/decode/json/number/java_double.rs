//! Doubles and floats as text, as Java 17 writes them (`Double.toString`, `Float.toString`).
//!
//! Spark writes a number that stands in a STRING column anew through Jackson, which asks Java. Until
//! Java 19 that was not the shortest text: `2e23` became `1.9999999999999998E23`. So the digits are
//! made here by the old way: Steele and White's free-format printing with Java's estimates and
//! stopping rules (`jdk.internal.math.FloatingDecimal`), over whole numbers of any size.

use std::cmp::Ordering;

/// Writes `value` as `Double.toString` of Java 17 does: `1.0`, `1.0E10`, `NaN`, `-Infinity`.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    write_number(value, || digits_of(value), out);
}

/// Writes `value` as `Float.toString` of Java 17 does.
pub(crate) fn write_float(value: f32, out: &mut Vec<u8>) {
    write_number(f64::from(value), || digits_of_float(value), out);
}

fn write_number(value: f64, digits: impl Fn() -> Digits, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_infinite() {
        out.extend_from_slice(b"Infinity");
    } else if value == 0.0 {
        out.extend_from_slice(b"0.0");
    } else {
        digits().write(out);
    }
}

/// The digits of a number: 0.d₁d₂d₃… times ten to the power of `point`.
struct Digits {
    digits: [u8; 24],
    count: usize,
    point: i32,
}

impl Digits {
    fn push(&mut self, digit: u32) {
        self.digits[self.count] = digit as u8;
        self.count += 1;
    }

    /// Takes the next digit; a first one of zero is none, unless the number rounds up right there.
    fn take(&mut self, digit: u32, first: &mut bool, point: &mut i32, low: &mut bool, high: &mut bool) {
        if *first && digit == 0 && !*high {
            *point -= 1;
        } else {
            self.push(digit);
        }
        // With an exponent there is always a digit behind the point.
        if *first && !(-3..8).contains(point) {
            (*low, *high) = (false, false);
        }
        *first = false;
    }

    /// Rounds the last digit by what is left: twice that, compared with one unit of the digit.
    fn round(&mut self, low: bool, high: bool, rest: Ordering) {
        let odd = !self.digits[self.count - 1].is_multiple_of(2);
        if high && (!low || rest == Ordering::Greater || (rest == Ordering::Equal && odd)) {
            self.round_up();
        }
    }

    /// Adds one to the last digit.
    fn round_up(&mut self) {
        for n in (0..self.count).rev() {
            if self.digits[n] < 9 {
                self.digits[n] += 1;
                return;
            }
            self.digits[n] = 0;
        }
        self.digits[0] = 1;
        self.point += 1;
    }

    fn write(&self, out: &mut Vec<u8>) {
        let shown = |n: usize| if n < self.count { b'0' + self.digits[n] } else { b'0' };
        let tail = |out: &mut Vec<u8>, from: usize| {
            out.push(b'.');
            (from..self.count.max(from + 1)).for_each(|n| out.push(shown(n)));
        };
        match self.point {
            1..8 => {
                let whole = self.point as usize;
                (0..whole).for_each(|n| out.push(shown(n)));
                tail(out, whole);
            }
            -2..=0 => {
                out.extend_from_slice(b"0.");
                (self.point..0).for_each(|_| out.push(b'0'));
                (0..self.count).for_each(|n| out.push(shown(n)));
            }
            point => {
                out.push(shown(0));
                tail(out, 1);
                out.push(b'E');
                out.extend_from_slice((point - 1).to_string().as_bytes());
            }
        }
    }
}

/// Bits of a double's fraction.
const FRACTION_BITS: u32 = 52;

/// The digits of a number that is not zero, without its sign.
fn digits_of(value: f64) -> Digits {
    let bits = value.abs().to_bits();
    let stored = bits & ((1 << FRACTION_BITS) - 1);
    let (fraction, exponent, significant) = match (bits >> FRACTION_BITS) as i32 {
        0 => {
            let shift = stored.leading_zeros() - (63 - FRACTION_BITS);
            (stored << shift, 1 - shift as i32 - 1023, 64 - stored.leading_zeros())
        }
        biased => (stored | 1 << FRACTION_BITS, biased - 1023, FRACTION_BITS + 1),
    };
    digits_of_parts(fraction, exponent, significant)
}

/// The same for a FLOAT, whose fraction is 29 bits shorter.
fn digits_of_float(value: f32) -> Digits {
    const FLOAT_BITS: u32 = 23;
    let bits = value.abs().to_bits();
    let stored = bits & ((1 << FLOAT_BITS) - 1);
    let (fraction, exponent, significant) = match (bits >> FLOAT_BITS) as i32 {
        0 => {
            let shift = stored.leading_zeros() - (31 - FLOAT_BITS);
            (stored << shift, 1 - shift as i32 - 127, 32 - stored.leading_zeros())
        }
        biased => (stored | 1 << FLOAT_BITS, biased - 127, FLOAT_BITS + 1),
    };
    digits_of_parts(u64::from(fraction) << (FRACTION_BITS - FLOAT_BITS), exponent, significant)
}

/// The digits of `fraction` (with its leading bit at [`FRACTION_BITS`]) times two to the power of `exponent`.
fn digits_of_parts(fraction: u64, exponent: i32, significant: u32) -> Digits {
    let tail_zeros = fraction.trailing_zeros();
    let used = (FRACTION_BITS + 1 - tail_zeros) as i32;
    // Bits behind the binary point.
    let tiny = (used - exponent - 1).max(0);
    if tiny == 0 && (-21..=62).contains(&exponent) {
        return whole_number(fraction, exponent, significant as i32);
    }
    free_format(fraction, exponent, used, tiny, significant as i32, tail_zeros)
}

/// A whole number below two to the power of 63.
fn whole_number(fraction: u64, exponent: i32, significant: i32) -> Digits {
    let mut number = if exponent >= 52 { fraction << (exponent - 52) } else { fraction >> (52 - exponent) };
    let mut dropped = 0;
    if exponent > significant {
        // Digits that say nothing, as the unit in the last place is above them.
        let power = exponent - significant - 1;
        dropped = if power > 1 { (f64::from(power) * std::f64::consts::LOG10_2) as u32 } else { 0 };
        let unit = 10u64.pow(dropped);
        let rest = number % unit;
        number = number / unit + u64::from(dropped != 0 && rest >= unit / 2);
    }
    let text = number.to_string();
    let mut digits = Digits { digits: [0; 24], count: 0, point: text.len() as i32 + dropped as i32 };
    text.trim_end_matches('0').bytes().for_each(|digit| digits.push(u32::from(digit - b'0')));
    digits
}

/// `floor(log10(value))`, or one more; the estimate decides where Java begins, so the constants are
/// Java's to the last digit.
#[allow(clippy::approx_constant, clippy::excessive_precision)]
fn estimate(fraction: u64, exponent: i32) -> i32 {
    let mantissa = f64::from_bits(1023 << 52 | fraction & ((1 << 52) - 1));
    let logarithm =
        (mantissa - 1.5) * 0.289_529_654 + 0.176_091_259 + f64::from(exponent) * 0.301_029_995_663_981;
    logarithm.floor() as i32
}

/// value = B / S times ten to the power of `point`; M is half the unit in the last place, scaled as B.
fn free_format(fraction: u64, exponent: i32, used: i32, tiny: i32, significant: i32, zeros: u32) -> Digits {
    let mut point = estimate(fraction, exponent);
    let (b5, s5) = ((-point).max(0), point.max(0));
    let mut b2 = b5 + tiny + exponent;
    let mut s2 = s5 + tiny;
    let mut m2 = b2 - significant;
    b2 -= used - 1;
    let common = b2.min(s2);
    b2 -= common;
    s2 -= common;
    m2 -= common;
    if used == 1 {
        // Below a power of two the next number is only half as far away.
        m2 -= 1;
    }
    if m2 < 0 {
        b2 -= m2;
        s2 -= m2;
        m2 = 0;
    }
    let numerator_bits = used + b2 + bits_of(b5);
    let denominator_bits = s2 + 1 + bits_of(s5 + 1);
    if numerator_bits < 64 && denominator_bits < 64 {
        let narrow = numerator_bits < 32 && denominator_bits < 32;
        let five = |n: i32| 5i64.pow(n as u32);
        let b = (((fraction >> zeros) as i64) * five(b5)) << b2;
        return in_words(b, five(s5) << s2, five(b5) << m2, point, narrow);
    }
    let mut b = Big::new(fraction >> zeros);
    b.scale(b5, b2);
    let mut s = Big::new(1);
    s.scale(s5, s2);
    let mut m = Big::new(1);
    m.scale(b5, m2);
    let mut tens = s.clone();
    tens.times(10);

    let mut digits = Digits { digits: [0; 24], count: 0, point: 0 };
    let mut first = true;
    let (mut low, mut high) = (false, false);
    while !low && !high {
        let digit = b.divide_and_ten(&s);
        m.times(10);
        low = b < m;
        let mut sum = b.clone();
        sum.add(&m);
        high = sum >= tens;
        digits.take(digit, &mut first, &mut point, &mut low, &mut high);
    }
    digits.point = point + 1;
    b.times(2);
    digits.round(low, high, b.cmp(&tens));
    digits
}

/// As [`free_format`], in words of 64 or (`narrow`) 32 bits, where M may overflow as it does in Java.
fn in_words(mut b: i64, s: i64, mut m: i64, mut point: i32, narrow: bool) -> Digits {
    let word = |number: i64| if narrow { i64::from(number as i32) } else { number };
    let tens = word(s.wrapping_mul(10));
    let mut digits = Digits { digits: [0; 24], count: 0, point: 0 };
    let mut first = true;
    let (mut low, mut high) = (false, false);
    while !low && !high {
        let digit = b / s;
        b = word((b % s).wrapping_mul(10));
        m = word(m.wrapping_mul(10));
        (low, high) = (true, true);
        if m > 0 || first {
            low = b < m;
            high = word(b.wrapping_add(m)) > tens;
        }
        digits.take(digit as u32, &mut first, &mut point, &mut low, &mut high);
    }
    digits.point = point + 1;
    digits.round(low, high, word(word(b.wrapping_mul(2)).wrapping_sub(tens)).cmp(&0));
    digits
}

/// How many bits five to the power of `n` has, as Java guesses.
fn bits_of(n: i32) -> i32 {
    const EXACT: [i32; 27] = [
        0, 3, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33, 35, 38, 40, 42, 45, 47, 49, 52, 54, 56, 59,
        61,
    ];
    EXACT.get(n as usize).copied().unwrap_or(n * 3)
}

/// A whole number of up to 2560 bits: lowest word first, no zeros at the top.
#[derive(Clone, PartialEq, Eq)]
struct Big {
    words: [u32; 80],
    count: usize,
}

impl Big {
    fn new(number: u64) -> Big {
        let mut words = [0; 80];
        words[0] = number as u32;
        words[1] = (number >> 32) as u32;
        Big { words, count: if words[1] != 0 { 2 } else { usize::from(words[0] != 0) } }
    }

    /// Times five to the power of `fives` and two to the power of `twos`.
    fn scale(&mut self, mut fives: i32, twos: i32) {
        while fives >= 13 {
            self.times(1_220_703_125);
            fives -= 13;
        }
        self.times(5u32.pow(fives as u32));
        let (whole, rest) = (twos as usize / 32, twos as u32 % 32);
        self.times(1 << rest);
        if whole != 0 && self.count != 0 {
            self.words.copy_within(..self.count, whole);
            self.words[..whole].fill(0);
            self.count += whole;
        }
    }

    fn times(&mut self, factor: u32) {
        let mut carry = 0u64;
        for word in &mut self.words[..self.count] {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.words[self.count] = carry as u32;
            self.count += 1;
        }
    }

    fn add(&mut self, other: &Big) {
        let mut carry = 0u64;
        let count = self.count.max(other.count);
        for n in 0..count {
            carry += u64::from(self.words[n]) + u64::from(other.words[n]);
            self.words[n] = carry as u32;
            carry >>= 32;
        }
        self.count = count;
        if carry != 0 {
            self.words[count] = carry as u32;
            self.count += 1;
        }
    }

    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0i64;
        for n in 0..self.count {
            borrow += i64::from(self.words[n]) - i64::from(other.words[n]);
            self.words[n] = borrow as u32;
            borrow >>= 32;
        }
        while self.count != 0 && self.words[self.count - 1] == 0 {
            self.count -= 1;
        }
    }

    /// The quotient by `divisor`, which is below ten; what remains is multiplied by ten.
    fn divide_and_ten(&mut self, divisor: &Big) -> u32 {
        let mut quotient = 0;
        while *self >= *divisor {
            self.subtract(divisor);
            quotient += 1;
        }
        self.times(10);
        quotient
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Big) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Big) -> Ordering {
        let top_down = |big: &Big| big.count;
        top_down(self)
            .cmp(&top_down(other))
            .then_with(|| self.words[..self.count].iter().rev().cmp(other.words[..other.count].iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_read_as_in_java_17() {
        for (value, expected) in [
            (1.5_f32, "1.5"),
            (f32::MAX, "3.4028235E38"),
            (f32::MIN_POSITIVE, "1.17549435E-38"),
            (f32::from_bits(1), "1.4E-45"),
            (2_147_483_648.0, "2.14748365E9"),
            (123_456.79, "123456.79"),
            (-1.0e10, "-1.0E10"),
            (0.001, "0.001"),
            (9.999999e-4, "9.999999E-4"),
        ] {
            let mut out = Vec::new();
            write_float(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn doubles_read_as_in_java_17() {
        for (value, expected) in [
            (1.0, "1.0"),
            (100.0, "100.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (2e23, "1.9999999999999998E23"),
            (8.41e21, "8.409999999999999E21"),
            (2.225_073_858_507_201_4e-308, "2.2250738585072014E-308"),
            (5e-324, "4.9E-324"),
            (1e23, "9.999999999999999E22"),
            (f64::from_bits(4_989_805_469_266_250_234), "3.7899999999999995E25"),
            (9_007_199_254_740_993.0, "9.007199254740992E15"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e22, "1.0E22"),
            (2e-3, "0.002"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text(value), expected);
        }
    }
}
