//! Characters by their number, texts by their sound, and check digits.

/// The character of the low byte; empty for negative numbers.
pub(super) fn chr(number: i64) -> String {
    match number {
        ..0 => String::new(),
        _ => char::from((number & 0xff) as u8).to_string(),
    }
}

/// `UTF8String.soundex`.
pub(super) fn soundex(text: &str) -> String {
    let code = |c: u8| match c.to_ascii_uppercase() {
        b'B' | b'F' | b'P' | b'V' => b'1',
        b'C' | b'G' | b'J' | b'K' | b'Q' | b'S' | b'X' | b'Z' => b'2',
        b'D' | b'T' => b'3',
        b'L' => b'4',
        b'M' | b'N' => b'5',
        b'R' => b'6',
        b'H' | b'W' => b'7',
        b'A' | b'E' | b'I' | b'O' | b'U' | b'Y' => b'0',
        _ => 0,
    };
    let bytes = text.as_bytes();
    let Some(first) = bytes.first().filter(|byte| byte.is_ascii_alphabetic()) else {
        return text.to_owned();
    };
    let mut out = String::from(char::from(first.to_ascii_uppercase()));
    let mut last = code(*first);
    for byte in &bytes[1..] {
        let digit = code(*byte);
        match digit {
            0 => last = b'0',
            // H and W leave the code before them.
            b'7' => {}
            digit => {
                if digit != b'0' && digit != last {
                    out.push(char::from(digit));
                    if out.len() == 4 {
                        break;
                    }
                }
                last = digit;
            }
        }
    }
    while out.len() < 4 {
        out.push('0');
    }
    out
}

pub(super) fn luhn(text: &str) -> bool {
    let mut sum = 0;
    for (at, c) in text.chars().rev().enumerate() {
        let Some(digit) = c.to_digit(10) else { return false };
        let doubled = if at % 2 == 1 { digit * 2 } else { digit };
        sum += if doubled > 9 { doubled - 9 } else { doubled };
    }
    !text.is_empty() && sum % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_sound_alike_have_one_code() {
        assert_eq!(soundex("Robert"), "R163");
        assert_eq!(soundex("Rupert"), "R163");
        assert_eq!(soundex("Ashcraft"), "A261");
        assert_eq!(soundex("42"), "42");
    }
}
