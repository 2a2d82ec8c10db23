//! Java's syntax of patterns, written in that of the `regex` crate.
//!
//! What the crate does not have (look-around, back-references, possessive quantifiers) is a [`Fault`], and so is what
//! Java does not read. `$` means the end, or the place before a line terminator there, which the crate cannot say: see
//! [`Target`].

use std::fmt;

use regex::Regex;

use super::classes::{ANY, NO_LINE_TERMINATOR, NONE, predefined, property};

/// Why a pattern cannot be read. It has nothing of the pattern, which may be a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    what: &'static str,
    /// The number of the character, from 1, where it is known.
    at: Option<usize>,
}

impl Fault {
    pub(super) fn of(error: &regex::Error) -> Fault {
        let what = match error {
            regex::Error::CompiledTooBig(_) => "it is too large",
            _ => "its syntax is not valid",
        };
        Fault { what, at: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}, at character {at}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// Which texts a translation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Those that do not end in a line terminator; and all, if the pattern has no [`Seen::ends`] or
    /// [`Seen::line_starts`].
    Usual,
    /// The empty one: Java's `^` under `(?m)` does not match there.
    Empty,
    /// Those that end in `terminator`, each character of which is replaced by one of `stand_ins`. The place before the
    /// first of them is then the end of a line by the crate's own rules; classes match a stand-in if they
    /// match the character it stands for.
    Ended { terminator: &'static str, stand_ins: [char; 2] },
}

/// What a pattern looks at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The end of the text, by `$` or `\Z`.
    pub(super) ends: bool,
    /// Starts of lines, by `^` under `(?m)`.
    pub(super) line_starts: bool,
    /// Starts or ends of lines.
    pub(super) lines: bool,
}

/// The pattern for the crate, and what it looks at.
///
/// # Errors
/// If Java does not read it, or the crate has no counterpart.
pub(super) fn translated(pattern: &str, target: Target) -> Result<(String, Seen), Fault> {
    let mut translator = Translator {
        chars: pattern.chars().collect(),
        at: 0,
        out: String::with_capacity(pattern.len() * 2),
        flags: Flags::default(),
        emptiness: Emptiness::NEW,
        groups: Vec::new(),
        seen: Seen::default(),
        target,
    };
    translator.pattern()?;
    Ok((translator.out, translator.seen))
}

/// Java's flags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `i`
    ignore_case: bool,
    /// `u`: with `i`, of all letters, not of ASCII only.
    unicode_case: bool,
    /// `m`
    lines: bool,
    /// `s`
    dot_all: bool,
    /// `x`
    pub(super) comments: bool,
}

impl Flags {
    /// Whether the other case of an ASCII letter is written out.
    pub(super) fn folds_ascii(self) -> bool {
        self.ignore_case && !self.unicode_case
    }

    /// Whether the crate's flag `i` is on.
    fn folds_all(self) -> bool {
        self.ignore_case && self.unicode_case
    }
}

/// What a quantifier would be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A character or a class, or a place.
    One,
    Group,
    /// `\R`, which Java does not take apart while it repeats it.
    LineBreak,
}

/// Whether the alternatives of a group can match nothing.
#[derive(Debug, Clone, Copy)]
struct Emptiness {
    /// One before the current one can.
    earlier: bool,
    /// All of the current one but its last part can.
    before: bool,
    /// Its last part can.
    last: bool,
}

impl Emptiness {
    const NEW: Emptiness = Emptiness { earlier: false, before: true, last: true };

    fn part(&mut self, empty: bool) {
        self.before &= self.last;
        self.last = empty;
    }

    fn of_group(self) -> bool {
        self.earlier || (self.before && self.last)
    }
}

pub(super) struct Translator {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    out: String,
    pub(super) flags: Flags,
    /// Of the innermost open group.
    emptiness: Emptiness,
    /// What is outside of each open group.
    groups: Vec<(Flags, Emptiness)>,
    seen: Seen,
    target: Target,
}

impl Translator {
    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    pub(super) fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { what, at: Some(self.at) })
    }

    fn pattern(&mut self) -> Result<(), Fault> {
        let mut before = Before::Nothing;
        while let Some(c) = self.next() {
            if self.flags.comments && self.skips(c) {
                continue;
            }
            match c {
                '*' | '+' | '?' | '{' => self.quantifier(c, before)?,
                '|' => {
                    self.out.push('|');
                    self.emptiness = Emptiness { earlier: self.emptiness.of_group(), ..Emptiness::NEW };
                }
                '(' => self.open()?,
                ')' => self.close()?,
                '\\' => self.escape()?,
                '^' => self.start(),
                '$' => self.end(self.flags.lines),
                '[' => {
                    let class = self.class()?;
                    self.one_of(&class)?;
                }
                '.' => self.one_of(if self.flags.dot_all { ANY } else { NO_LINE_TERMINATOR })?,
                c => self.literal(c)?,
            }
            if !matches!(c, '*' | '+' | '?' | '{' | '|' | '(' | ')' | '\\') {
                self.emptiness.part(matches!(c, '^' | '$'));
            }
            before = match c {
                '*' | '+' | '?' | '{' | '|' | '(' => Before::Nothing,
                ')' => Before::Group,
                '\\' if self.chars[..self.at].ends_with(&['\\', 'R']) => Before::LineBreak,
                _ => Before::One,
            };
        }
        if self.groups.is_empty() { Ok(()) } else { self.fault("a group is not closed") }
    }

    /// The end of a group.
    fn close(&mut self) -> Result<(), Fault> {
        let Some((flags, outside)) = self.groups.pop() else {
            return self.fault("it closes a group that is not open");
        };
        let empty = self.emptiness.of_group();
        (self.flags, self.emptiness) = (flags, outside);
        self.emptiness.part(empty);
        self.out.push(')');
        Ok(())
    }

    /// Whether `c` is passed over under `(?x)`; a comment is read to its end.
    fn skips(&mut self, c: char) -> bool {
        if c == '#' {
            while self.next().is_some_and(|c| !matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
            {
            }
        }
        c == '#' || is_space(c)
    }

    /// `^`
    fn start(&mut self) {
        if !self.flags.lines {
            self.out.push_str(r"\A");
            return;
        }
        self.seen.line_starts = true;
        self.seen.lines = true;
        self.out.push_str(if self.target == Target::Empty { NONE } else { "(?mR:^)" });
    }

    /// `$`, of lines or of the text.
    fn end(&mut self, of_lines: bool) {
        let ended = matches!(self.target, Target::Ended { .. });
        if of_lines {
            self.seen.lines = true;
            self.out.push_str(if ended { "(?:(?m:$)|(?mR:$))" } else { "(?mR:$)" });
        } else {
            self.seen.ends = true;
            self.out.push_str(if ended { "(?m:$)" } else { r"\z" });
        }
    }

    /// A class of characters, in brackets.
    fn one_of(&mut self, class: &str) -> Result<(), Fault> {
        let Target::Ended { terminator, stand_ins } = self.target else {
            self.out.push_str(class);
            return Ok(());
        };
        let members = Regex::new(&format!(r"\A{class}\z")).map_err(|error| Fault::of(&error))?;
        self.out.push_str("[[");
        self.out.push_str(class);
        self.out.push_str("--[");
        stand_ins.into_iter().for_each(|stand_in| push(&mut self.out, stand_in));
        self.out.push_str("]]");
        for (c, stand_in) in terminator.chars().zip(stand_ins) {
            if members.is_match(c.encode_utf8(&mut [0; 4])) {
                push(&mut self.out, stand_in);
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn literal(&mut self, c: char) -> Result<(), Fault> {
        let may_end = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if may_end || (self.flags.folds_ascii() && c.is_ascii_alphabetic()) {
            let mut class = String::from("[");
            self.push_range(&mut class, c, c);
            class.push(']');
            return self.one_of(&class);
        }
        push(&mut self.out, c);
        Ok(())
    }

    /// What follows a backslash outside of a class.
    fn escape(&mut self) -> Result<(), Fault> {
        let Some(c) = self.next() else { return self.fault("it ends with a backslash") };
        if let Some(class) = predefined(c) {
            self.emptiness.part(false);
            return self.one_of(class);
        }
        self.emptiness.part(matches!(c, 'A' | 'z' | 'Z' | 'b' | 'B'));
        match c {
            'p' | 'P' => {
                let class = self.property(c == 'P')?;
                self.one_of(&class)?;
            }
            'R' => {
                self.out.push_str("(?:");
                self.literal('\r')?;
                self.literal('\n')?;
                self.out.push('|');
                self.one_of(predefined('v').unwrap_or(NONE))?;
                self.out.push(')');
            }
            'A' | 'z' => self.out.extend(['\\', c]),
            'Z' => self.end(false),
            'b' | 'B' if self.peek() == Some('{') => {
                return self.fault("boundaries of grapheme clusters are not supported");
            }
            'b' | 'B' => self.out.extend(['\\', c]),
            'Q' => {
                let quoted = self.quoted();
                if quoted.is_empty() {
                    return self.fault(r"there is nothing between \Q and \E");
                }
                quoted.into_iter().try_for_each(|c| self.literal(c))?;
            }
            'k' | '1'..='9' => return self.fault("back-references are not supported"),
            'G' => return self.fault(r"\G is not supported"),
            'X' => return self.fault(r"\X is not supported"),
            'N' => return self.fault(r"\N is not supported"),
            c => {
                let c = self.character(c)?;
                self.literal(c)?;
            }
        }
        Ok(())
    }

    /// The characters up to `\E`.
    pub(super) fn quoted(&mut self) -> Vec<char> {
        let rest = &self.chars[self.at..];
        let end = rest.windows(2).position(|pair| pair == ['\\', 'E']);
        let quoted = rest[..end.unwrap_or(rest.len())].to_vec();
        self.at += quoted.len() + if end.is_some() { 2 } else { 0 };
        quoted
    }

    /// `\p{name}` and `\pL`, as a class.
    pub(super) fn property(&mut self, negated: bool) -> Result<String, Fault> {
        let name = match self.next() {
            Some('{') => {
                let rest = &self.chars[self.at..];
                let Some(end) = rest.iter().position(|c| *c == '}') else {
                    return self.fault("the name of a property is not complete");
                };
                let name: String = rest[..end].iter().collect();
                self.at += end + 1;
                name
            }
            Some(letter) => letter.to_string(),
            None => return self.fault("the name of a property is not complete"),
        };
        let Some(inner) = property(&name, self.flags.ignore_case) else {
            return self.fault("there is no such property of characters here");
        };
        let class = if negated { format!("[^{inner}]") } else { format!("[{inner}]") };
        match Regex::new(&class) {
            Ok(_) => Ok(class),
            Err(_) => self.fault("there is no such property of characters here"),
        }
    }

    /// A quantifier that begins with `c`.
    fn quantifier(&mut self, c: char, before: Before) -> Result<(), Fault> {
        if before == Before::Nothing {
            return self.fault("a quantifier has nothing before it");
        }
        self.out.push(c);
        let (least, most) = match c {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => self.count()?,
        };
        // Java and the crate differ in what such a group has matched last.
        if before == Before::Group && self.emptiness.last && most.is_none_or(|most| most > 1) {
            return self.fault("a repeated group that can match nothing is not supported");
        }
        self.emptiness.last |= least == 0;
        match self.peek() {
            Some('?') => {
                self.at += 1;
                self.out.push('?');
            }
            Some('+') => {
                self.at += 1;
                return self.fault("possessive quantifiers are not supported");
            }
            _ => {}
        }
        // Where an end follows, it does not matter that the crate would take \r from \n.
        let at_end = matches!(self.peek(), None | Some('$')) && self.groups.is_empty() && c != '{';
        if before == Before::LineBreak && !at_end {
            return self.fault(r"\R is repeated only at the end of a pattern, by * or +");
        }
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}`, whose opening brace is read.
    fn count(&mut self) -> Result<(u32, Option<u32>), Fault> {
        let from = self.at;
        let least = self.number()?;
        let mut most = Some(least);
        if self.peek() == Some(',') {
            self.at += 1;
            most = if self.peek() == Some('}') { None } else { Some(self.number()?) };
        }
        if most.is_some_and(|most| most < least) {
            return self.fault("a quantifier runs backwards");
        }
        if self.next() != Some('}') {
            return self.fault("a quantifier is not complete");
        }
        self.out.extend(&self.chars[from..self.at]);
        Ok((least, most))
    }

    fn number(&mut self) -> Result<u32, Fault> {
        let mut value = self.digit(10);
        if value.is_none() {
            return self.fault("a quantifier is not complete");
        }
        while let Some(digit) = self.digit(10) {
            value = value.and_then(|value| value.checked_mul(10)?.checked_add(digit));
        }
        value.map_or_else(|| self.fault("a quantifier is too large"), Ok)
    }

    /// Goes into a group, outside of which the flags are `outside`.
    fn enter(&mut self, outside: Flags) {
        self.groups.push((outside, self.emptiness));
        self.emptiness = Emptiness::NEW;
    }

    /// A group whose opening bracket is read.
    fn open(&mut self) -> Result<(), Fault> {
        let outside = self.flags;
        if self.peek() != Some('?') {
            self.enter(outside);
            self.out.push('(');
            return Ok(());
        }
        self.at += 1;
        match (self.next(), self.peek()) {
            (Some(':'), _) => {
                self.enter(outside);
                self.out.push_str("(?:");
                Ok(())
            }
            (Some('=' | '!'), _) => self.fault("look-ahead is not supported"),
            (Some('<'), Some('=' | '!')) => self.fault("look-behind is not supported"),
            (Some('>'), _) => self.fault("atomic groups are not supported"),
            (Some('<'), Some(letter)) if letter.is_ascii_alphabetic() => {
                self.enter(outside);
                self.out.push_str("(?<");
                while let Some(c) = self.next().filter(char::is_ascii_alphanumeric) {
                    self.out.push(c);
                }
                if self.chars[self.at - 1] != '>' {
                    return self.fault("the name of a group is letters and digits");
                }
                self.out.push('>');
                Ok(())
            }
            (Some(_), _) => {
                self.at -= 1;
                self.flagged(outside)
            }
            (None, _) => self.fault("a group is not closed"),
        }
    }

    /// The flags of a group, or of the rest of the one around it.
    fn flagged(&mut self, outside: Flags) -> Result<(), Fault> {
        let mut on = true;
        loop {
            match self.next() {
                Some('i') => self.flags.ignore_case = on,
                Some('u') => self.flags.unicode_case = on,
                Some('m') => self.flags.lines = on,
                Some('s') => self.flags.dot_all = on,
                Some('x') => self.flags.comments = on,
                Some('-') if on => on = false,
                Some('d') => return self.fault("the flag d is not supported"),
                Some('U') => return self.fault("the flag U is not supported"),
                Some(end @ (')' | ':')) => {
                    let flag = match (outside.folds_all(), self.flags.folds_all()) {
                        (false, true) => "i",
                        (true, false) => "-i",
                        _ => "",
                    };
                    if end == ':' {
                        self.enter(outside);
                    }
                    if end == ':' || !flag.is_empty() {
                        self.out.push_str("(?");
                        self.out.push_str(flag);
                        self.out.push(end);
                    }
                    return Ok(());
                }
                _ => return self.fault("there is no group of this kind"),
            }
        }
    }
}

/// White space under `(?x)`.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// Writes a character that stands for itself, in a class and outside.
pub(super) fn push(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else {
        out.push_str(&format!(r"\x{{{:X}}}", u32::from(c)));
    }
}
