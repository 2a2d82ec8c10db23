//! A compiled pattern over a value's text: what Java's `DateTimePrinterParser`s do, strictly and
//! without regard to case. Gives fields; whether they make sense together is `resolve`'s question.

use super::compile::{Digits, FIELDS, Field, NameList, Number, NumberKind, OffsetForm, Sign, Step};
use super::names::{self, Names, ZoneLength, prefix_length};
use crate::decode::datetime::region;
use crate::decode::datetime::zone::Zone;

/// The fields that a text gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    values: [i64; FIELDS],
    present: u32,
    /// The region or offset that a zone id gave.
    pub zone: Option<Zone>,
}

impl Fields {
    /// The value of a field, if the text gave one.
    pub(super) fn get(&self, field: Field) -> Option<i64> {
        (self.present & 1 << field as u32 != 0).then(|| self.values[field as usize])
    }

    /// The value, taken out.
    pub(super) fn take(&mut self, field: Field) -> Option<i64> {
        let value = self.get(field);
        self.present &= !(1 << field as u32);
        value
    }

    /// Sets a field; fails if it has another value already.
    #[must_use]
    pub(super) fn put(&mut self, field: Field, value: i64) -> Option<()> {
        let agrees = self.get(field).is_none_or(|old| old == value);
        self.values[field as usize] = value;
        self.present |= 1 << field as u32;
        agrees.then_some(())
    }
}

/// The fields of `text`, if all of it matches.
pub(super) fn parse(steps: &[Step], names: &Names, text: &[u8]) -> Option<Fields> {
    let mut reader =
        Reader { text: std::str::from_utf8(text).ok()?, at: 0, names, fields: Fields::default() };
    reader.steps(steps)?;
    (reader.at == reader.text.len()).then_some(reader.fields)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    names: &'a Names,
    fields: Fields,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn steps(&mut self, steps: &[Step]) -> Option<()> {
        for step in steps {
            match step {
                Step::Literal(literal) => self.at += prefix_length(self.rest(), literal)?,
                Step::Number(number) => self.number(number)?,
                Step::Name(list) => self.name(*list)?,
                Step::Offset(form) => self.offset(form)?,
                Step::LocalizedOffset { full } => self.localized_offset(*full)?,
                Step::Zone { names } => self.zone(*names)?,
                Step::Optional(inner) => {
                    let before = (self.at, self.fields.clone());
                    if self.steps(inner).is_none() {
                        (self.at, self.fields) = before;
                    }
                }
            }
        }
        Some(())
    }

    fn number(&mut self, number: &Number) -> Option<()> {
        let rest = self.rest().as_bytes();
        let (negative, positive) = match rest.first()? {
            b'+' if number.sign == Sign::ExceedsPad => (false, true),
            b'-' if number.sign != Sign::Never => (true, false),
            b'+' | b'-' => return None,
            _ => (false, false),
        };
        let signs = usize::from(negative || positive);
        let digits = &rest[signs..];
        let reach = digits.len().min(number.width_max + number.reserved);
        let mut length = digits[..reach].iter().take_while(|b| b.is_ascii_digit()).count();
        if length < number.width_min {
            return None;
        }
        if number.reserved > 0 {
            length = length.min(number.width_min.max(length.saturating_sub(number.reserved)));
        }
        let (value, length) = value_of(&digits[..length]);
        if negative && value == 0 {
            return None;
        }
        if !negative && number.sign == Sign::ExceedsPad && positive != (length > number.width_min) {
            return None;
        }
        let value = match number.kind {
            NumberKind::Value if negative => -value,
            NumberKind::Value => value,
            NumberKind::TwoDigitYear => 2000 + value,
            NumberKind::Fraction => value * 10_i64.pow(9 - u32::try_from(length).ok()?),
        };
        self.at += signs + length;
        self.fields.put(number.field, value)
    }

    fn name(&mut self, list: NameList) -> Option<()> {
        let (field, names) = match list {
            NameList::MonthShort => (Field::Month, &self.names.months_short[..]),
            NameList::MonthFull => (Field::Month, &self.names.months_full[..]),
            NameList::MonthShortAlone => (Field::Month, &self.names.months_short_alone[..]),
            NameList::MonthFullAlone => (Field::Month, &self.names.months_full_alone[..]),
            NameList::EraShort => (Field::Era, &self.names.eras_short[..]),
            NameList::EraFull => (Field::Era, &self.names.eras_full[..]),
            NameList::AmPm => (Field::AmPm, &self.names.am_pm[..]),
        };
        let rest = self.rest();
        // Java tries longer names first.
        let matching =
            names.iter().enumerate().filter_map(|(at, name)| Some((prefix_length(rest, name)?, at)));
        let (length, at) = matching.max_by_key(|(length, _)| *length)?;
        self.at += length;
        let first = if field == Field::Month { 1 } else { 0 };
        self.fields.put(field, i64::try_from(at).ok()? + first)
    }

    fn offset(&mut self, form: &OffsetForm) -> Option<()> {
        let (seconds, length) = offset_at(self.rest(), form)?;
        self.at += length;
        self.fields.put(Field::Offset, seconds)
    }

    /// `GMT`, `GMT+2`, `GMT+02:00`.
    fn localized_offset(&mut self, full: bool) -> Option<()> {
        self.at += prefix_length(self.rest(), "GMT")?;
        let rest = self.rest().as_bytes();
        let sign = match rest.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return self.fields.put(Field::Offset, 0),
        };
        let two = |at: usize| Some(digit(rest, at)? * 10 + digit(rest, at + 1)?);
        let colon_two = |at: usize| if rest.get(at) == Some(&b':') { two(at + 1) } else { None };
        let (hours, mut at) = match two(1) {
            Some(hours) => (hours, 3),
            None if full => return None,
            None => (digit(rest, 1)?, 2),
        };
        let minutes = colon_two(at);
        if full && minutes.is_none() {
            return None;
        }
        at += if minutes.is_some() { 3 } else { 0 };
        let seconds = if minutes.is_some() { colon_two(at) } else { None };
        at += if seconds.is_some() { 3 } else { 0 };
        self.at += at;
        let total = hours * 3600 + minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0);
        self.fields.put(Field::Offset, sign * total)
    }

    /// A zone id as `ZoneIdPrinterParser` takes it, or a zone's name.
    fn zone(&mut self, length: Option<ZoneLength>) -> Option<()> {
        let rest = self.rest();
        if rest.starts_with(['+', '-']) {
            let (seconds, length) = offset_at(rest, &ISO_OFFSET)?;
            return self.set_zone(fixed(seconds)?, length);
        }
        let prefixed = ["UTC", "UT", "GMT0", "GMT"].into_iter().find_map(|id| prefix_length(rest, id));
        if let Some(prefix) = prefixed {
            let behind = &rest[prefix..];
            // A bare 0 or Z belongs to what follows, not to the offset.
            let offset = (prefix != 4 && behind.starts_with(['+', '-']))
                .then(|| offset_at(behind, &ISO_OFFSET))
                .flatten();
            return match offset {
                Some((seconds, length)) => self.set_zone(fixed(seconds)?, prefix + length),
                None => self.set_zone(Zone::UTC, prefix),
            };
        }
        let id = region::longest_id_at(rest);
        let name = length.and_then(|length| names::longest_zone_name_at(rest, length));
        let longest = [id, name].into_iter().flatten().max_by_key(|(_, length)| *length);
        match longest {
            Some((id, length)) => self.set_zone(Zone::of_id(id)?, length),
            None if rest.starts_with(['Z', 'z']) => self.set_zone(Zone::UTC, 1),
            None => None,
        }
    }

    fn set_zone(&mut self, zone: Zone, length: usize) -> Option<()> {
        self.fields.zone = Some(zone);
        self.at += length;
        Some(())
    }
}

const ISO_OFFSET: OffsetForm =
    OffsetForm { colon: true, minutes: Digits::Needed, seconds: Digits::Optional, zero: "Z" };

fn fixed(seconds: i64) -> Option<Zone> {
    let seconds = i32::try_from(seconds).ok()?;
    (seconds.abs() <= super::super::zone::OFFSET_SECONDS_MAX).then_some(Zone::Fixed(seconds))
}

/// The number of some digits, and how many of them it used: one less if all are too many.
fn value_of(digits: &[u8]) -> (i64, usize) {
    let value = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |all, b| all.checked_mul(10)?.checked_add(i64::from(b - b'0')))
    };
    match value(digits) {
        Some(all) => (all, digits.len()),
        None => {
            let fewer = &digits[..18.min(digits.len())];
            (value(fewer).unwrap_or(i64::MAX), fewer.len())
        }
    }
}

fn digit(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'))
}

/// The seconds of an offset that `rest` begins with, and its length.
fn offset_at(rest: &str, form: &OffsetForm) -> Option<(i64, usize)> {
    if rest.is_empty() {
        return None;
    }
    if let Some(length) = prefix_length(rest, form.zero) {
        return Some((0, length));
    }
    let bytes = rest.as_bytes();
    let sign = match bytes.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let sixty = |at: usize| {
        let value = digit(bytes, at)? * 10 + digit(bytes, at + 1)?;
        (value <= 59).then_some(value)
    };
    let part = |at: usize, digits: Digits| -> Option<Option<i64>> {
        let value = match digits {
            Digits::None => None,
            _ if form.colon && bytes.get(at) != Some(&b':') => None,
            _ => sixty(at + usize::from(form.colon)),
        };
        if value.is_none() && digits == Digits::Needed { None } else { Some(value) }
    };
    let width = 2 + usize::from(form.colon);
    let hours = sixty(1).filter(|hours| *hours <= 23)?;
    let minutes = part(3, form.minutes)?;
    let seconds = if minutes.is_some() { part(3 + width, form.seconds)? } else { None };
    let length = 3 + width * (usize::from(minutes.is_some()) + usize::from(seconds.is_some()));
    let total = hours * 3600 + minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0);
    Some((sign * total, length))
}
