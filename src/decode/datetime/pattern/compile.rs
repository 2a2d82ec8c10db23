//! A pattern's text to steps: Spark's checks (`DateTimeFormatterHelper.convertIncompatiblePattern`),
//! then Java's reading of the letters (`DateTimeFormatterBuilder.parsePattern`).

use std::sync::Arc;

use super::Pattern;
use super::names::{Names, ZoneLength};
use crate::model::error::{Error, Result};

/// A field that a number or a name in the text gives; the index into the parsed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Field {
    Era,
    YearOfEra,
    Year,
    Month,
    Day,
    DayOfYear,
    ModifiedJulianDay,
    AmPm,
    HourOfDay,
    ClockHourOfDay,
    HourOfAmPm,
    ClockHourOfAmPm,
    Minute,
    Second,
    Nano,
    Offset,
}

/// How many fields there are.
pub(super) const FIELDS: usize = Field::Offset as usize + 1;

/// When a number may carry a sign (`java.time.format.SignStyle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// A minus is taken, a plus is not.
    Normal,
    /// None is taken.
    Never,
    /// A minus is taken; a plus must stand before a number wider than the least width, only there.
    ExceedsPad,
}

/// A number in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub field: Field,
    pub width_min: usize,
    pub width_max: usize,
    pub sign: Sign,
    /// Digits that the numbers right behind need, so that this one must leave them.
    pub reserved: usize,
    pub kind: NumberKind,
}

/// What the digits of a number say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberKind {
    /// The value.
    Value,
    /// Two digits of a year from 2000 to 2099.
    TwoDigitYear,
    /// The digits behind the point of a second.
    Fraction,
}

/// The form of an offset from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetForm {
    pub colon: bool,
    pub minutes: Digits,
    pub seconds: Digits,
    /// What stands for the offset zero.
    pub zero: &'static str,
}

/// Whether a part of an offset must stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digits {
    None,
    Optional,
    Needed,
}

/// A name in the text; which list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameList {
    MonthShort,
    MonthFull,
    MonthShortAlone,
    MonthFullAlone,
    EraShort,
    EraFull,
    AmPm,
}

/// One step over the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Literal(String),
    Number(Number),
    Name(NameList),
    Offset(OffsetForm),
    /// `GMT+2`, or `GMT+02:00` if full.
    LocalizedOffset {
        full: bool,
    },
    /// A region or an offset; with names such as `PST` of that length too.
    Zone {
        names: Option<ZoneLength>,
    },
    /// `[…]`: all of these steps or none.
    Optional(Vec<Step>),
}

/// Why a pattern cannot be used: a fact about the pattern.
type Refusal = String;

/// See [`Pattern::compile`].
pub(super) fn compile(pattern: &str, locale: &str) -> Result<Pattern> {
    let steps = match converted(pattern).and_then(|pattern| build(&pattern)) {
        Ok(steps) => steps,
        Err(fact) if is_old_format(pattern) => {
            return Err(Error::config(format!("pattern {pattern:?} is not supported: {fact}")).hint(
                "use the letters y M d D H h K k m s S a G L V z O X x Z as in Spark's datetime patterns",
            ));
        }
        Err(fact) => {
            let never = format!("pattern {pattern:?} matches no text: {fact}");
            return Ok(Pattern { steps: None, names: Arc::default(), never: Some(never) });
        }
    };
    let names = if uses_names(&steps) { Names::of_locale(locale) } else { Arc::default() };
    Ok(Pattern { steps: Some(steps), names, never: None })
}

fn uses_names(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Name(_) => true,
        Step::Optional(inner) => uses_names(inner),
        _ => false,
    })
}

/// Spark's own checks; `y` becomes `u` unless an era stands in the pattern.
fn converted(pattern: &str) -> Result<String, Refusal> {
    let has_era = pattern.split('\'').step_by(2).any(|part| part.contains('G'));
    let mut parts = Vec::new();
    for (at, part) in pattern.split('\'').enumerate() {
        if at % 2 == 1 {
            parts.push(part.to_owned());
            continue;
        }
        if let Some(letter) = part.chars().find(|c| "YWwuec".contains(*c)) {
            return Err(format!("letter {letter} is week-based or a day of the week"));
        }
        if let Some(letter) = part.chars().find(|c| "ABnNpEFqQ".contains(*c)) {
            return Err(format!("letter {letter} cannot be used for reading"));
        }
        let too_many = ["GGGGG", "MMMMM", "LLLLL", "yyyyyyy"].into_iter().find(|run| part.contains(run));
        if let Some(run) = too_many {
            return Err(format!("too many letters {}", &run[..1]));
        }
        parts.push(if has_era { part.to_owned() } else { part.replace('y', "u") });
    }
    Ok(parts.join("'"))
}

/// Whether Spark 2's formatter (`FastDateFormat` of Commons Lang) takes the pattern; then Spark 4
/// stops instead of reading no value.
fn is_old_format(pattern: &str) -> bool {
    if pattern.matches('\'').count() % 2 == 1 {
        return false;
    }
    let letters = "DEFGHKMLSWadhkmsuwyYXZz";
    let mut run = (' ', 0);
    for c in pattern.split('\'').step_by(2).flat_map(str::chars) {
        if c.is_ascii_alphabetic() && !letters.contains(c) {
            return false;
        }
        run = if c == run.0 { (c, run.1 + 1) } else { (c, 1) };
        if run == ('X', 4) {
            return false;
        }
    }
    true
}

/// A list of steps under construction: the pattern itself or an optional section.
#[derive(Default)]
struct Section {
    steps: Vec<Step>,
    /// The number that numbers right behind it take digits from.
    adjacent: Option<usize>,
}

impl Section {
    fn push(&mut self, step: Step) {
        self.steps.push(step);
        self.adjacent = None;
    }

    fn push_number(&mut self, number: Number) {
        let place = self.steps.len();
        self.steps.push(Step::Number(number));
        let fixed = number.width_min == number.width_max && number.sign == Sign::Never;
        match self.adjacent.and_then(|base| self.steps.get_mut(base)) {
            Some(Step::Number(base)) if fixed => base.reserved += number.width_max,
            Some(Step::Number(base)) => {
                base.reserved = 0;
                self.adjacent = Some(place);
            }
            _ => self.adjacent = Some(place),
        }
    }
}

fn build(pattern: &str) -> Result<Vec<Step>, Refusal> {
    let mut sections = vec![Section::default()];
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(c).len();
        let open = sections.len();
        let last = sections.last_mut().expect("the outermost section is never closed");
        let length = match c {
            'a'..='z' | 'A'..='Z' => {
                push_letters(last, c, run)?;
                run
            }
            '\'' => {
                let (text, length) = quoted(rest)?;
                last.push(Step::Literal(text));
                length
            }
            '[' => {
                last.adjacent = None;
                sections.push(Section::default());
                1
            }
            ']' if open == 1 => return Err("it has a ] without a [ before it".into()),
            ']' => {
                close(&mut sections);
                1
            }
            '{' | '}' | '#' => return Err(format!("{c} is reserved")),
            _ => {
                last.push(Step::Literal(c.to_string()));
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    while sections.len() > 1 {
        close(&mut sections);
    }
    Ok(sections.pop().map(|outermost| outermost.steps).unwrap_or_default())
}

fn close(sections: &mut Vec<Section>) {
    if let (Some(inner), Some(outer)) = (sections.pop(), sections.last_mut())
        && !inner.steps.is_empty()
    {
        outer.push(Step::Optional(inner.steps));
    }
}

/// The text of a quoted literal at the start of `rest`, and the bytes it takes with its quotes.
fn quoted(rest: &str) -> Result<(String, usize), Refusal> {
    let mut at = 1;
    loop {
        let Some(found) = rest[at..].find('\'') else {
            return Err("it ends inside a quoted text".into());
        };
        at += found + 1;
        if rest[at..].starts_with('\'') {
            at += 1;
            continue;
        }
        let inside = &rest[1..at - 1];
        let text = if inside.is_empty() { "'".to_owned() } else { inside.replace("''", "'") };
        return Ok((text, at));
    }
}

fn push_letters(section: &mut Section, letter: char, count: usize) -> Result<(), Refusal> {
    let wrong = || Err(format!("letter {letter} cannot stand {count} times in a row"));
    let step = match (letter, count) {
        ('G', 1..=3) => Step::Name(NameList::EraShort),
        ('G', 4) => Step::Name(NameList::EraFull),
        ('M', 3) => Step::Name(NameList::MonthShort),
        ('M', 4) => Step::Name(NameList::MonthFull),
        ('L', 3) => Step::Name(NameList::MonthShortAlone),
        ('L', 4) => Step::Name(NameList::MonthFullAlone),
        ('a', 1) => Step::Name(NameList::AmPm),
        ('V', 2) => Step::Zone { names: None },
        ('z', 1..=3) | ('v', 1) => Step::Zone { names: Some(ZoneLength::Short) },
        ('z' | 'v', 4) => Step::Zone { names: Some(ZoneLength::Full) },
        ('O', 1) => Step::LocalizedOffset { full: false },
        ('O' | 'Z', 4) => Step::LocalizedOffset { full: true },
        ('Z', 1..=3) => Step::Offset(offset_form(2, "+0000")),
        ('Z', 5) => Step::Offset(offset_form(5, "Z")),
        ('X', 1..=5) => Step::Offset(offset_form(count, "Z")),
        ('x', 1) => Step::Offset(offset_form(1, "+00")),
        ('x', 2 | 4) => Step::Offset(offset_form(count, "+0000")),
        ('x', 3 | 5) => Step::Offset(offset_form(count, "+00:00")),
        ('G' | 'a' | 'V' | 'z' | 'v' | 'O' | 'Z' | 'X' | 'x', _) => return wrong(),
        _ => match number(letter, count)? {
            Some(number @ Number { kind: NumberKind::Fraction, .. }) if number.width_max > 1 => {
                Step::Number(number)
            }
            Some(number) => {
                section.push_number(number);
                return Ok(());
            }
            None => return wrong(),
        },
    };
    section.push(step);
    Ok(())
}

/// The number that a run of letters stands for; `None` if it cannot be that long.
fn number(letter: char, count: usize) -> Result<Option<Number>, Refusal> {
    let free = |field| Number {
        field,
        width_min: 1,
        width_max: 19,
        sign: Sign::Normal,
        reserved: 0,
        kind: NumberKind::Value,
    };
    let fixed =
        |field, width| Number { width_min: width, width_max: width, sign: Sign::Never, ..free(field) };
    let field = match letter {
        'u' => Field::Year,
        'y' => Field::YearOfEra,
        'M' | 'L' => Field::Month,
        'd' => Field::Day,
        'D' => Field::DayOfYear,
        'g' => Field::ModifiedJulianDay,
        'H' => Field::HourOfDay,
        'k' => Field::ClockHourOfDay,
        'K' => Field::HourOfAmPm,
        'h' => Field::ClockHourOfAmPm,
        'm' => Field::Minute,
        's' => Field::Second,
        'S' => Field::Nano,
        _ => return Err(format!("letter {letter} is unknown")),
    };
    Ok(match (letter, count) {
        ('u' | 'y', 2) => Some(Number { kind: NumberKind::TwoDigitYear, ..fixed(field, 2) }),
        ('u' | 'y', 1 | 3) => Some(Number { width_min: count, ..free(field) }),
        ('u' | 'y', 4..=19) => Some(Number { width_min: count, sign: Sign::ExceedsPad, ..free(field) }),
        ('g', 1..=19) => Some(Number { width_min: count, ..free(field) }),
        ('S', 1..=9) => {
            Some(Number { width_max: count, sign: Sign::Never, kind: NumberKind::Fraction, ..free(field) })
        }
        ('D', 2 | 3) => Some(Number { width_min: count, width_max: 3, ..fixed(field, 3) }),
        ('u' | 'y' | 'g' | 'S', _) => None,
        (_, 1) => Some(free(field)),
        (_, 2) => Some(fixed(field, 2)),
        _ => None,
    })
}

/// The form of Java's `OffsetIdPrinterParser` patterns: 1 `+HHmm`, 2 `+HHMM`, 3 `+HH:MM`,
/// 4 `+HHMMss`, 5 `+HH:MM:ss`.
fn offset_form(count: usize, zero: &'static str) -> OffsetForm {
    OffsetForm {
        colon: matches!(count, 3 | 5),
        minutes: if count == 1 { Digits::Optional } else { Digits::Needed },
        seconds: if count >= 4 { Digits::Optional } else { Digits::None },
        zero,
    }
}
