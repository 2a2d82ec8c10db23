//! `to_number`, `try_to_number` and `to_char`: decimals out of texts of a format such as `$9,999.99`, and texts of such a
//! format out of decimals (`ToNumberParser` of Spark 4.0).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, entry};
use crate::query::arithmetic::decimal::{decimal, of_integral, plain_text};
use crate::query::coerce::types::{Want, castable, mismatch, name_of, refused};
use crate::query::error::ExpressionError;

/// The functions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!("to_number", Types::By(bind), |call| run(call, true), ["expressions/number_format"]),
    entry!("try_to_number", Types::By(bind), |call| run(call, false), ["expressions/number_format"]),
    entry!(
        "to_char" | "to_varchar",
        Types::By(bind_text),
        write,
        ["expressions/forms", "expressions/string"]
    ),
];

/// Where the sign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    /// `S` (plus or minus) or `MI` (minus) in front or behind.
    Front {
        plus: bool,
    },
    Behind {
        plus: bool,
    },
    /// `PR`: a negative number is in angle brackets.
    Brackets,
}

/// A format, taken apart.
#[derive(Debug)]
struct Format {
    sign: Sign,
    dollar: bool,
    /// The groups before the point, from the left: how many digits, and whether just as many.
    groups: Vec<(usize, bool)>,
    point: bool,
    /// Digits behind the point.
    scale: usize,
}

impl Format {
    fn parse(text: &str) -> Result<Format> {
        let wrong = |class, what: &str| Err(refused(class, format!("the format {text}: {what}")));
        if text.is_empty() {
            return wrong("INVALID_FORMAT.EMPTY", "it is empty");
        }
        let upper = text.to_ascii_uppercase();
        if !upper.contains(['0', '9']) {
            return wrong("INVALID_FORMAT.WRONG_NUM_DIGIT", "it has no digit");
        }
        if upper.matches(['.', 'D']).count() > 1 {
            return wrong("INVALID_FORMAT.WRONG_NUM_TOKEN", "it has more than one point");
        }
        let mut rest = upper.as_str();
        let mut sign = Sign::None;
        for (word, plus) in [("MI", false), ("S", true)] {
            if let Some(behind) = rest.strip_prefix(word) {
                (sign, rest) = (Sign::Front { plus }, behind);
                break;
            }
        }
        let dollar = rest.strip_prefix('$');
        rest = dollar.unwrap_or(rest);
        for (word, found) in
            [("PR", Sign::Brackets), ("MI", Sign::Behind { plus: false }), ("S", Sign::Behind { plus: true })]
        {
            if sign == Sign::None
                && let Some(before) = rest.strip_suffix(word)
            {
                (sign, rest) = (found, before);
                break;
            }
        }
        if rest.contains('$') {
            return wrong("INVALID_FORMAT.CUR_MUST_BEFORE_DIGIT", "the currency comes before the digits");
        }
        let (before, behind) = match rest.split_once(['.', 'D']) {
            Some((before, behind)) => (before, Some(behind)),
            None => (rest, None),
        };
        let groups: Vec<&str> = before.split([',', 'G']).collect();
        if groups.len() > 1 && groups.iter().any(|group| group.is_empty()) {
            return wrong("INVALID_FORMAT.CONT_THOUSANDS_SEPS", "a separator stands between digits");
        }
        let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0' | b'9'));
        if !groups.iter().all(|group| digits(group)) || !behind.is_none_or(digits) {
            return wrong("INVALID_FORMAT.UNEXPECTED_TOKEN", "its parts are in an order that has no meaning");
        }
        let group = |group: &&str| (group.len(), group.starts_with('0'));
        let groups = groups.iter().filter(|group| !group.is_empty()).map(group).collect();
        Ok(Format {
            sign,
            dollar: dollar.is_some(),
            groups,
            point: behind.is_some(),
            scale: behind.map_or(0, str::len),
        })
    }

    fn precision(&self) -> usize {
        self.groups.iter().map(|(length, _)| length).sum::<usize>() + self.scale
    }

    /// The number of a text, in units of the scale; `None` if the text is not of the format.
    fn number(&self, text: &str) -> Option<Result<i128>> {
        // Spark skips blanks wherever they stand.
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut rest = text.as_str();
        let mut negative = false;
        let signed = |c: char, plus: bool| c == '-' || plus && c == '+';
        match self.sign {
            Sign::None => {}
            Sign::Front { plus } => {
                if rest.starts_with(|c| signed(c, plus)) {
                    negative = rest.starts_with('-');
                    rest = &rest[1..];
                }
            }
            Sign::Behind { plus } => {
                if rest.ends_with(|c| signed(c, plus)) {
                    negative = rest.ends_with('-');
                    rest = &rest[..rest.len() - 1];
                }
            }
            Sign::Brackets => {
                if let Some(inside) = rest.strip_prefix('<') {
                    rest = inside.strip_suffix('>')?;
                    negative = true;
                }
            }
        }
        if self.dollar {
            rest = rest.strip_prefix('$')?;
        }
        let (before, behind) = match rest.split_once('.') {
            Some((before, behind)) if self.point => (before, behind),
            Some(_) => return None,
            None => (rest, ""),
        };
        let given: Vec<&str> = before.split(',').collect();
        let missing = self.groups.len() as isize - given.len() as isize;
        if missing < 0 && !(self.groups.is_empty() && before.is_empty()) {
            return None;
        }
        let missing = missing.max(0) as usize;
        let fits = |(length, exact): &(usize, bool), found: usize| {
            if *exact { found == *length } else { found <= *length }
        };
        let aligned = self.groups[missing..].iter().zip(&given);
        if !self.groups[..missing].iter().all(|group| fits(group, 0))
            || !aligned.into_iter().all(|(group, given)| fits(group, given.len()))
            || behind.len() > self.scale
        {
            return None;
        }
        let digits: String = given.concat() + behind;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let Ok(number) = digits.parse::<i128>() else {
            return Some(Err(ExpressionError::raise("NumberFormatException", "the text has no digits")));
        };
        let number = number * 10_i128.pow((self.scale - behind.len()) as u32);
        Some(Ok(if negative { -number } else { number }))
    }

    /// The text of a number: `before` are its digits before the point without leading zeros, `behind` those behind it
    /// without trailing zeros. What does not fit becomes `#`.
    fn text(&self, negative: bool, before: &str, behind: &str) -> String {
        let room = self.groups.iter().map(|(length, _)| length).sum::<usize>();
        let fits = before.len() <= room && behind.len() <= self.scale;
        let mut digits = std::iter::repeat_n(' ', room.saturating_sub(before.len())).chain(before.chars());
        let mut out = Vec::with_capacity(room + self.scale + 4);
        match self.sign {
            Sign::Front { .. } if negative => out.push('-'),
            Sign::Front { plus } => out.push(if plus { '+' } else { ' ' }),
            Sign::Brackets if negative => out.push('<'),
            _ => {}
        }
        if self.dollar {
            out.push('$');
        }
        for (at, (length, exact)) in self.groups.iter().enumerate() {
            match out.last() {
                Some(last) if at > 0 && last.is_ascii_digit() => out.push(','),
                _ if at > 0 => blank(&mut out),
                _ => {}
            }
            for _ in 0..*length {
                match digits.next() {
                    _ if !fits => out.push('#'),
                    Some(digit) if digit != ' ' => out.push(digit),
                    _ if *exact => out.push('0'),
                    _ => blank(&mut out),
                }
            }
        }
        if self.point {
            if let Some(last) = out.last_mut().filter(|last| **last == ' ') {
                *last = '0';
            }
            out.push('.');
        }
        let mut digits = behind.chars();
        out.extend((0..self.scale).map(|_| if fits { digits.next().unwrap_or('0') } else { '#' }));
        // A point with nothing behind it is left out.
        if let Some(last) = out.last_mut().filter(|last| **last == '.') {
            *last = ' ';
        }
        let end = out.len() - out.iter().rev().take_while(|c| **c == ' ').count();
        match self.sign {
            Sign::Behind { .. } if negative => out.insert(end, '-'),
            Sign::Behind { plus: true } => out.insert(end, '+'),
            Sign::Behind { plus: false } => out.push(' '),
            Sign::Brackets if negative => out.insert(end, '>'),
            Sign::Brackets => out.extend([' ', ' ']),
            _ => {}
        }
        out.into_iter().collect()
    }
}

/// A blank, before a sign that stands at the end.
fn blank(out: &mut Vec<char>) {
    let signs = out.iter().rev().take_while(|c| matches!(c, '+' | '-' | '<')).count();
    out.insert(out.len() - signs, ' ');
}

fn bind(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    let text = castable(bind, &bind.types[0], Want::Text)?;
    let Some(format) = bind.text(1) else {
        return Err(match bind.strict {
            true => refused("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the format is a literal"),
            false => mismatch(bind, "the format is a literal"),
        });
    };
    let format = Format::parse(format)?;
    let (precision, scale) = (format.precision(), format.scale);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => {
            Ok(Bound::new([text, DataType::Utf8], DataType::Decimal128(precision, scale)))
        }
        _ => Err(refused(
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            format!("a DECIMAL of {precision} digits: there are 38 at most"),
        )),
    }
}

fn mismatched() -> DataFusionError {
    ExpressionError::raise("INVALID_FORMAT.MISMATCH_INPUT", "the text is not of the format")
}

fn run(call: &Call, fails: bool) -> Result<ArrayRef> {
    // The format is a literal.
    let format = (0..call.rows).find_map(|row| call.text(1, row)).map(Format::parse).transpose()?;
    let value = |row: usize| {
        let (Some(format), Some(text)) = (&format, call.text(0, row)) else { return Ok(None) };
        match format.number(text) {
            Some(number) => number.map(Some),
            None if fails => Err(mismatched()),
            None => Ok(None),
        }
    };
    let numbers = (0..call.rows).map(value).collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(numbers.with_data_type(call.returns.clone())))
}

/// `to_char(number, format)`; moments and bytes became other calls (`query::coerce`).
fn bind_text(bind: &Bind) -> Result<Bound> {
    count(bind, 2, 2)?;
    if !bind.strict {
        return Ok(Bound::new(bind.types.to_vec(), DataType::Utf8));
    }
    let number = match &bind.types[0] {
        kind @ DataType::Decimal128(..) => kind.clone(),
        DataType::Float32 => decimal((14, 7)),
        DataType::Float64 => decimal((30, 15)),
        DataType::Utf8 | DataType::Null => decimal((38, 18)),
        kind => of_integral(kind).map(decimal).ok_or_else(|| {
            let message = format!("to_char takes a DECIMAL, not {}", name_of(kind));
            refused("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
        })?,
    };
    if bind.literals[1].is_none() {
        return Err(refused("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the format is a literal"));
    }
    bind.text(1).map(Format::parse).transpose()?;
    Ok(Bound::new([number, DataType::Utf8], DataType::Utf8))
}

fn write(call: &Call) -> Result<ArrayRef> {
    let format = (0..call.rows).find_map(|row| call.text(1, row)).map(Format::parse).transpose()?;
    let numbers = call.args[0].as_primitive::<Decimal128Type>();
    let scale = numbers.scale();
    let value = |row: usize| {
        let format = format.as_ref().filter(|_| numbers.is_valid(row))?;
        let number = numbers.value(row);
        let mut text = String::new();
        plain_text(number, scale, &mut text);
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
        Some(format.text(number < 0, before.trim_start_matches('0'), behind.trim_end_matches('0')))
    };
    Ok(Arc::new((0..call.rows).map(value).collect::<StringArray>()))
}
