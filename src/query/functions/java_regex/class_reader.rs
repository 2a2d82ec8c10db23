//! Classes in brackets: `[a-z&&[^x]]`.

use super::classes::predefined;
use super::translate::{Fault, Translator, is_space, push};

impl Translator {
    /// A class whose opening bracket is read.
    pub(super) fn class(&mut self) -> Result<String, Fault> {
        let mut class = String::from("[");
        if self.peek() == Some('^') {
            self.at += 1;
            class.push('^');
        }
        // Whether the class, or the operand of `&&`, has something in it.
        let (mut something, mut first) = (false, true);
        loop {
            let Some(c) = self.next() else { return self.fault("a class is not closed") };
            if self.flags.comments && is_space(c) {
                continue;
            }
            match c {
                '#' if self.flags.comments => return self.fault("a comment in a class is not supported"),
                ']' if something => break,
                ']' if !first => return self.fault("an operand of && is missing"),
                '&' if self.peek() == Some('&') => {
                    self.at += 1;
                    if !something {
                        return self.fault("an operand of && is missing");
                    }
                    class.push_str("&&");
                    (something, first) = (false, false);
                    continue;
                }
                '[' => class.push_str(&self.class()?),
                '\\' => self.escape_in_class(&mut class)?,
                c => self.range(&mut class, c)?,
            }
            (something, first) = (true, false);
        }
        class.push(']');
        Ok(class)
    }

    fn escape_in_class(&mut self, class: &mut String) -> Result<(), Fault> {
        let Some(c) = self.next() else { return self.fault("a class is not closed") };
        match (predefined(c), c) {
            (Some(inner), _) => class.push_str(inner),
            (None, 'p' | 'P') => class.push_str(&self.property(c == 'P')?),
            (None, 'Q') => {
                let quoted = self.quoted();
                quoted.into_iter().for_each(|c| self.push_range(class, c, c));
            }
            (None, c) => {
                let c = self.character(c)?;
                self.range(class, c)?;
            }
        }
        Ok(())
    }

    /// The range that begins with `low`, or this character alone.
    fn range(&mut self, class: &mut String, low: char) -> Result<(), Fault> {
        let to = match self.chars[self.at..] {
            ['-', to, ..] if !matches!(to, '[' | ']') => to,
            _ => {
                self.push_range(class, low, low);
                return Ok(());
            }
        };
        self.at += 2;
        let high = match to {
            '\\' => match self.next() {
                Some(c) => self.character(c)?,
                None => return self.fault("a class is not closed"),
            },
            to => to,
        };
        if high < low {
            return self.fault("a range runs backwards");
        }
        self.push_range(class, low, high);
        Ok(())
    }

    /// Writes a range into a class, with the other case of its ASCII letters where that is asked for.
    pub(super) fn push_range(&self, class: &mut String, low: char, high: char) {
        let mut add = |low: char, high: char| {
            push(class, low);
            if low < high {
                class.push('-');
                push(class, high);
            }
        };
        add(low, high);
        if !self.flags.folds_ascii() {
            return;
        }
        let from = |first: char| low.max(first);
        let to = |last: char| high.min(last);
        if from('a') <= to('z') {
            add(from('a').to_ascii_uppercase(), to('z').to_ascii_uppercase());
        }
        if from('A') <= to('Z') {
            add(from('A').to_ascii_lowercase(), to('Z').to_ascii_lowercase());
        }
    }
}
