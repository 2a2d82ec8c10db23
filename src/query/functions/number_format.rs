//! `to_number` and `try_to_number`: decimals out of texts of a format such as `$9,999.99` (`ToNumberParser` of Spark 4.0).

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};

use super::Entry;
use super::scalar::{Bind, Bound, Call, Types, count, entry};
use crate::query::coerce::types::{Want, castable, mismatch, refused};
use crate::query::error::ExpressionError;

/// The functions.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!("to_number", Types::By(bind), |call| run(call, true), ["expressions/number_format"]),
    entry!("try_to_number", Types::By(bind), |call| run(call, false), ["expressions/number_format"]),
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
