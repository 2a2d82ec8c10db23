//! Numbers, and the words that stand for numbers, as Jackson's lexer reads them.
//!
//! Two readings of a number differ in where a fault leaves the position: one within the buffer, and
//! one for numbers that begin with a zero or reach the buffer's end. Values are made elsewhere.

use super::{Jackson, Lexed, Place, Token};

const NO_DIGIT: &str = "expected a digit";

impl Jackson<'_> {
    /// A number whose first digit has been taken.
    pub(super) fn unsigned_number(&mut self, first: u8) -> Lexed<Token> {
        let start = self.at - 1;
        if first == b'0' {
            return self.number_over_buffers(false, start);
        }
        self.whole_part(false, start, self.at)
    }

    /// A number whose minus has been taken.
    pub(super) fn signed_number(&mut self) -> Lexed<Token> {
        let start = self.at - 1;
        if self.at >= self.buffer_end {
            return self.number_over_buffers(true, start);
        }
        let (unit, behind) = self.unit();
        if !is_digit(unit) {
            self.at = behind;
            if unit == u16::from(b'.') {
                return self.odd_value(unit);
            }
            return self.bad_number_start(unit, true);
        }
        if unit == u16::from(b'0') {
            return self.number_over_buffers(true, start);
        }
        self.whole_part(true, start, behind)
    }

    /// The digits before a point, of which the one before `from` is the first.
    fn whole_part(&mut self, negative: bool, start: usize, from: usize) -> Lexed<Token> {
        let at = self.digits_within_buffer(from);
        if at >= self.buffer_end {
            return self.number_over_buffers(negative, start);
        }
        let whole_digits = at - from + 1;
        if let b'.' | b'e' | b'E' = self.bytes[at] {
            self.at = at + 1;
            return self.fraction_and_exponent(negative, start, whole_digits);
        }
        self.at = at;
        self.end_number(Place::Input(start, at), whole_digits as isize, true)
    }

    fn digits_within_buffer(&self, from: usize) -> usize {
        let digits = self.bytes[from..self.buffer_end].iter().take_while(|byte| byte.is_ascii_digit());
        from + digits.count()
    }

    /// What follows the point or the `e` right before the position; the position moves only if all
    /// is well.
    fn fraction_and_exponent(&mut self, negative: bool, start: usize, whole: usize) -> Lexed<Token> {
        let (mut at, mut fraction, mut exponent) = (self.at, 0, 0);
        if self.bytes[at - 1] == b'.' {
            let end = self.digits_within_buffer(at);
            if end >= self.buffer_end {
                return self.number_over_buffers(negative, start);
            }
            fraction = end - at;
            if fraction == 0 {
                return self.fault(NO_DIGIT);
            }
            // As if the character behind the digits had been taken.
            at = end + 1;
        }
        if let b'e' | b'E' = self.bytes[at - 1] {
            if at >= self.buffer_end {
                return self.number_over_buffers(negative, start);
            }
            if let b'-' | b'+' = self.bytes[at] {
                at += 1;
                if at >= self.buffer_end {
                    return self.number_over_buffers(negative, start);
                }
            }
            let end = self.digits_within_buffer(at);
            if end >= self.buffer_end && end > at {
                return self.number_over_buffers(negative, start);
            }
            exponent = end - at;
            if exponent == 0 {
                return self.fault(NO_DIGIT);
            }
            at = end + 1;
        }
        self.at = at - 1;
        self.end_number(Place::Input(start, at - 1), (whole + fraction + exponent) as isize, false)
    }

    /// The whole number again, from its start on, over as many buffers as it takes.
    fn number_over_buffers(&mut self, negative: bool, start: usize) -> Lexed<Token> {
        self.at = start + usize::from(negative);
        if self.at_end() {
            return self.fault(NO_DIGIT);
        }
        let mut unit = self.take();
        let zeros_skipped = if unit == u16::from(b'0') {
            let before = self.at;
            unit = self.behind_leading_zeros()?;
            self.at > before
        } else {
            false
        };
        let first_digit = self.at - 1;
        let mut eof = false;
        let whole = self.digits_taken(&mut unit, &mut eof);
        if whole == 0 {
            return self.bad_number_start(unit, negative);
        }
        let (mut fraction, mut exponent) = (-1, -1);
        if unit == u16::from(b'.') && !eof {
            eof = self.at_end();
            fraction = 0;
            if !eof {
                unit = self.take();
                fraction = self.digits_taken(&mut unit, &mut eof);
            }
            if fraction == 0 {
                return self.fault(NO_DIGIT);
            }
        }
        if (unit == u16::from(b'e') || unit == u16::from(b'E')) && !eof {
            unit = self.take_of_number()?;
            if unit == u16::from(b'-') || unit == u16::from(b'+') {
                unit = self.take_of_number()?;
            }
            exponent = self.digits_taken(&mut unit, &mut eof);
            if exponent == 0 {
                return self.fault(NO_DIGIT);
            }
        }
        if !eof {
            self.put_back(unit);
        }
        let place = if negative && zeros_skipped {
            self.scratch.text.clear();
            self.scratch.text.push(b'-');
            self.scratch.text.extend_from_slice(&self.bytes[first_digit..self.at]);
            Place::Scratch
        } else if zeros_skipped {
            Place::Input(first_digit, self.at)
        } else {
            Place::Input(start, self.at)
        };
        let is_whole = fraction < 0 && exponent < 0;
        let digits = if is_whole { whole } else { whole + fraction + exponent };
        self.end_number(place, digits, is_whole)
    }

    /// Counts digits, `unit` being the first candidate; leaves what follows them in `unit`.
    fn digits_taken(&mut self, unit: &mut u16, eof: &mut bool) -> isize {
        let mut count = 0;
        while is_digit(*unit) {
            count += 1;
            if self.at_end() {
                *eof = true;
                break;
            }
            *unit = self.take();
        }
        count
    }

    fn take_of_number(&mut self) -> Lexed<u16> {
        if self.at_end() {
            return self.fault(NO_DIGIT);
        }
        Ok(self.take())
    }

    /// Goes back to before `unit`, which has just been taken.
    fn put_back(&mut self, unit: u16) {
        self.at -= match unit {
            0..0x80 => 1,
            0x80..0x800 => 2,
            0xd800..0xdc00 => 1,
            _ => 3,
        };
    }

    /// Behind a leading zero: skips further zeros if they are allowed. Gives the first digit that
    /// counts, which has been taken.
    fn behind_leading_zeros(&mut self) -> Lexed<u16> {
        const ZERO: u16 = b'0' as u16;
        if self.at_end() || !is_digit(self.unit().0) {
            return Ok(ZERO);
        }
        if !self.lexing.leading_zeros {
            return self.fault("a number begins with a zero");
        }
        let mut unit = self.take();
        while unit == ZERO && !self.at_end() && is_digit(self.unit().0) {
            unit = self.take();
        }
        Ok(unit)
    }

    fn end_number(&mut self, place: Place, digits: isize, whole: bool) -> Lexed<Token> {
        if digits > self.lexing.number_digits_max as isize {
            return self.fault("a number has more digits than maxNumLen");
        }
        self.text = place;
        Ok(if whole { Token::Whole } else { Token::Float })
    }

    /// Where a number is due and `unit`, which has been taken, does not begin one: `-INF` and the
    /// like, or a fault.
    pub(super) fn bad_number_start(&mut self, unit: u16, negative: bool) -> Lexed<Token> {
        if unit == u16::from(b'I') {
            if self.at_end() {
                return self.fault(NO_DIGIT);
            }
            let second = self.take();
            let word: Option<&[u8]> = match u8::try_from(second) {
                Ok(b'N') => Some(b"-INF"),
                Ok(b'n') => Some(b"-Infinity"),
                _ => None,
            };
            if let Some(word) = word {
                self.literal(word, 3)?;
                return self.no_number(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
            }
        }
        self.fault(NO_DIGIT)
    }

    /// NaN or an infinity, whose word has been read.
    pub(super) fn no_number(&mut self, value: f64) -> Lexed<Token> {
        if !self.lexing.non_numeric {
            return self.fault("NaN or Infinity without allowNonNumericNumbers");
        }
        self.not_finite = Some(value);
        Ok(Token::Float)
    }
}

fn is_digit(unit: u16) -> bool {
    (u16::from(b'0')..=u16::from(b'9')).contains(&unit)
}
