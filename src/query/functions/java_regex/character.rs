//! Escapes that stand for one character: `\n`, `\x41`, `\u0041`, `\0101`, `\cA`.

use super::translate::{Fault, Translator};

impl Translator {
    /// The one character that a backslash and `c` stand for, in a class and outside.
    pub(super) fn character(&mut self, c: char) -> Result<char, Fault> {
        let code = match c {
            't' => 0x9,
            'n' => 0xA,
            'r' => 0xD,
            'f' => 0xC,
            'a' => 0x7,
            'e' => 0x1B,
            'c' => match self.next() {
                Some(c) => u32::from(c) ^ 64,
                None => return self.fault("a control character is not complete"),
            },
            '0' => self.octal()?,
            'x' if self.peek() == Some('{') => {
                self.at += 1;
                let digits: Vec<char> =
                    self.chars[self.at..].iter().copied().take_while(char::is_ascii_hexdigit).collect();
                self.at += digits.len();
                if self.next() != Some('}') {
                    return self.fault("a character's number is not complete");
                }
                u32::from_str_radix(&digits.into_iter().collect::<String>(), 16).unwrap_or(u32::MAX)
            }
            'x' => self.hexadecimal(2)?,
            'u' => self.utf16()?,
            c if c.is_ascii_alphanumeric() => return self.fault("there is no such escape"),
            c => u32::from(c),
        };
        char::from_u32(code).map_or_else(|| self.fault("there is no character of this number"), Ok)
    }

    pub(super) fn digit(&mut self, radix: u32) -> Option<u32> {
        let value = self.peek()?.to_digit(radix)?;
        self.at += 1;
        Some(value)
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..digits {
            let Some(digit) = self.digit(16) else {
                return self.fault("a character's number is not complete");
            };
            value = value * 16 + digit;
        }
        Ok(value)
    }

    /// `\uD83D\uDE00` is one character.
    fn utf16(&mut self) -> Result<u32, Fault> {
        let first = self.hexadecimal(4)?;
        if (0xD800..0xDC00).contains(&first) && self.chars[self.at..].starts_with(&['\\', 'u']) {
            self.at += 2;
            let second = self.hexadecimal(4)?;
            if (0xDC00..0xE000).contains(&second) {
                return Ok(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            }
        }
        Ok(first)
    }

    /// One to three octal digits, three only up to 377.
    fn octal(&mut self) -> Result<u32, Fault> {
        let Some(mut value) = self.digit(8) else {
            return self.fault("a character's number is not complete");
        };
        let most = if value <= 3 { 2 } else { 1 };
        for _ in 0..most {
            match self.digit(8) {
                Some(digit) => value = value * 8 + digit,
                None => break,
            }
        }
        Ok(value)
    }
}
