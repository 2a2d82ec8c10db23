//! BINARY values out of base64 texts, as Jackson reads them (`Base64Variants.MIME_NO_LINEFEEDS`).
//!
//! A text that has not been read to its end is decoded straight from the input, and where a fault
//! stops that decides what the parser reads next.

use super::{Jackson, Lexed};

const BAD: &str = "a string is not valid base64";
const PADDING: u8 = 64;
const NONE: u8 = 255;

/// What a character stands for: six bits, [`PADDING`], or [`NONE`].
fn bits(unit: u16) -> u8 {
    match u8::try_from(unit) {
        Ok(c @ b'A'..=b'Z') => c - b'A',
        Ok(c @ b'a'..=b'z') => c - b'a' + 26,
        Ok(c @ b'0'..=b'9') => c - b'0' + 52,
        Ok(b'+') => 62,
        Ok(b'/') => 63,
        Ok(b'=') => PADDING,
        _ => NONE,
    }
}

impl Jackson<'_> {
    /// Decodes the current text and adds the bytes to `out`.
    pub(in crate::decode::json) fn base64(&mut self, out: &mut Vec<u8>) -> Lexed<()> {
        if self.text_is_incomplete() {
            self.base64_from_input(out)?;
            self.text_is_read();
            return Ok(());
        }
        match decode_base64(self.read_text(), out) {
            Some(()) => Ok(()),
            None => self.fault(BAD),
        }
    }

    fn base64_from_input(&mut self, out: &mut Vec<u8>) -> Lexed<()> {
        loop {
            let mut unit = self.base64_unit()?;
            while unit <= u16::from(b' ') {
                unit = self.base64_unit()?;
            }
            let mut first = bits(unit);
            if first >= PADDING {
                if unit == u16::from(b'"') {
                    return Ok(());
                }
                match self.base64_escape(unit, 0)? {
                    Some(found) => first = found,
                    None => continue,
                }
            }
            let second = self.base64_digit(1)?;
            let mut word = u32::from(first) << 6 | u32::from(second);
            let unit = self.base64_unit()?;
            let third = self.base64_or_end(unit, 2)?;
            if third == PADDING {
                let unit = self.base64_unit()?;
                if bits(unit) != PADDING && self.base64_escape(unit, 3)? != Some(PADDING) {
                    return self.fault(BAD);
                }
                out.push((word >> 4) as u8);
                continue;
            }
            word = word << 6 | u32::from(third);
            let unit = self.base64_unit()?;
            let fourth = self.base64_or_end(unit, 3)?;
            if fourth == PADDING {
                out.extend_from_slice(&[(word >> 10) as u8, (word >> 2) as u8]);
                continue;
            }
            word = word << 6 | u32::from(fourth);
            out.extend_from_slice(&[(word >> 16) as u8, (word >> 8) as u8, word as u8]);
        }
    }

    fn base64_unit(&mut self) -> Lexed<u16> {
        if self.at_end() {
            return self.fault("the message ends within a string");
        }
        Ok(self.take())
    }

    fn base64_digit(&mut self, index: usize) -> Lexed<u8> {
        let unit = self.base64_unit()?;
        let found = bits(unit);
        if found < PADDING {
            return Ok(found);
        }
        match self.base64_escape(unit, index)? {
            Some(found) => Ok(found),
            None => self.fault(BAD),
        }
    }

    /// A third or fourth character, which may be padding. At a closing quote padding is missing, and
    /// the quote is not taken.
    fn base64_or_end(&mut self, unit: u16, index: usize) -> Lexed<u8> {
        let found = bits(unit);
        if found != NONE {
            return Ok(found);
        }
        if unit == u16::from(b'"') {
            self.at -= 1;
            return self.fault(BAD);
        }
        match self.base64_escape(unit, index)? {
            Some(found) => Ok(found),
            None => self.fault(BAD),
        }
    }

    /// What an escape in a base64 text stands for; `None` is a blank between groups of four.
    fn base64_escape(&mut self, unit: u16, index: usize) -> Lexed<Option<u8>> {
        if unit != u16::from(b'\\') {
            return self.fault(BAD);
        }
        let unescaped = self.escape()?;
        if unescaped <= u16::from(b' ') && index == 0 {
            return Ok(None);
        }
        match bits(unescaped) {
            NONE => self.fault(BAD),
            PADDING if index < 2 => self.fault(BAD),
            found => Ok(Some(found)),
        }
    }
}

/// Decodes a whole text, and adds the bytes to `out`; `None` if it is no base64.
pub(in crate::decode::json) fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut units = text.iter().map(|byte| u16::from(*byte));
    loop {
        let first = loop {
            match units.next() {
                None => return Some(()),
                Some(unit) if unit <= u16::from(b' ') => {}
                Some(unit) => break bits(unit),
            }
        };
        let [second, third, fourth] = [bits(units.next()?), bits(units.next()?), bits(units.next()?)];
        if first >= PADDING || second >= PADDING || third == NONE || fourth == NONE {
            return None;
        }
        let word = u32::from(first) << 6 | u32::from(second);
        match (third, fourth) {
            (PADDING, PADDING) => out.push((word >> 4) as u8),
            (PADDING, _) => return None,
            (third, PADDING) => {
                let word = word << 6 | u32::from(third);
                out.extend_from_slice(&[(word >> 10) as u8, (word >> 2) as u8]);
            }
            (third, fourth) => {
                let word = word << 12 | u32::from(third) << 6 | u32::from(fourth);
                out.extend_from_slice(&[(word >> 16) as u8, (word >> 8) as u8, word as u8]);
            }
        }
    }
}
