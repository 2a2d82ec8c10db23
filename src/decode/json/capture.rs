//! JSON written anew: what a STRING column gets for a value that is no string.
//!
//! Jackson's `copyCurrentStructure` into its `UTF8JsonGenerator`: no blanks, numbers with a point as
//! Java doubles, characters beyond the Basic Multilingual Plane and lone surrogates as escapes.

use super::jackson::{Jackson, Lexed, Token};
use super::number::{self, write_double};

/// Writes the current value of `parser`, which goes to the value's end.
pub(super) fn current_structure(parser: &mut Jackson<'_>, out: &mut Vec<u8>) -> Lexed<()> {
    let mut depth = 0usize;
    let mut token = parser.current();
    let mut comma = false;
    while let Some(now) = token {
        if matches!(now, Token::EndObject | Token::EndArray) {
            out.push(if now == Token::EndObject { b'}' } else { b']' });
            depth = depth.saturating_sub(1);
            comma = true;
        } else {
            if comma {
                out.push(b',');
            }
            comma = write_token(parser, now, out)?;
            depth += usize::from(matches!(now, Token::StartObject | Token::StartArray));
        }
        if depth == 0 && now != Token::Name {
            return Ok(());
        }
        token = parser.next_token()?;
    }
    Ok(())
}

/// Writes one token; gives whether a comma must come before the next.
fn write_token(parser: &mut Jackson<'_>, token: Token, out: &mut Vec<u8>) -> Lexed<bool> {
    match token {
        Token::StartObject => out.push(b'{'),
        Token::StartArray => out.push(b'['),
        Token::Name => {
            write_string(parser.current_name().unwrap_or_default(), out);
            out.push(b':');
        }
        Token::Text => write_string(parser.finish_text()?, out),
        Token::Whole => write_whole(parser.number_text(), out),
        Token::Float => write_float(parser.not_finite(), parser.number_text(), out),
        Token::True => out.extend_from_slice(b"true"),
        Token::False => out.extend_from_slice(b"false"),
        Token::Null => out.extend_from_slice(b"null"),
        Token::EndObject => out.push(b'}'),
        Token::EndArray => out.push(b']'),
    }
    Ok(!matches!(token, Token::StartObject | Token::StartArray | Token::Name))
}

/// Writes a whole number: its digits, but zero has no sign.
pub(super) fn write_whole(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(if text == b"-0" { b"0" } else { text });
}

/// Writes a number with a point or exponent as Java writes a double; what is not finite in quotes.
pub(super) fn write_float(not_finite: Option<f64>, text: &[u8], out: &mut Vec<u8>) {
    let value = not_finite.or_else(|| number::lex(text, 0).map(|number| number.double(text)));
    let value = value.unwrap_or(f64::NAN);
    if value.is_finite() {
        write_double(value, out);
    } else {
        out.push(b'"');
        write_double(value, out);
        out.push(b'"');
    }
}

/// Writes a string in quotes. `text` is UTF-8, but lone surrogates are three bytes each.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    while let Some(length) = text[from..].iter().position(|byte| escaped(*byte)) {
        let at = from + length;
        out.extend_from_slice(&text[from..at]);
        from = at + write_escaped(&text[at..], out);
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}

/// Whether a character that begins with `byte` may have to be escaped.
fn escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\' || byte == 0xed || byte >= 0xf0
}

/// Writes the character that `rest` begins with, as an escape if need be; gives its length.
fn write_escaped(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let bits = |n: usize| rest.get(n).map_or(0, |byte| u32::from(byte & 0x3f));
    match rest[0] {
        0xed => {
            let unit = 0xd000 | bits(1) << 6 | bits(2);
            if (0xd800..0xe000).contains(&unit) {
                write_unit(unit, out);
            } else {
                out.extend_from_slice(&rest[..3]);
            }
            3
        }
        first @ 0xf0.. => {
            let code = (u32::from(first & 7) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3)) - 0x1_0000;
            write_unit(0xd800 | code >> 10, out);
            write_unit(0xdc00 | code & 0x3ff, out);
            4
        }
        other => {
            let short = match other {
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                b'"' | b'\\' => other,
                _ => {
                    write_unit(u32::from(other), out);
                    return 1;
                }
            };
            out.extend_from_slice(&[b'\\', short]);
            1
        }
    }
}

fn write_unit(unit: u32, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| DIGITS[(unit >> shift & 15) as usize]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_jackson_does() {
        assert_eq!(string("a/\u{e9}\u{d7ff}\u{7f}".as_bytes()), "\"a/\u{e9}\u{d7ff}\u{7f}\"");
        assert_eq!(string(b"\"\\\x08\x0c\n\r\t\x00\x1f"), r#""\"\\\b\f\n\r\t\u0000\u001F""#);
        assert_eq!(string("\u{1f600}".as_bytes()), r#""\uD83D\uDE00""#);
        assert_eq!(string(b"x\xed\xa0\xbdy"), r#""x\uD83Dy""#);
    }
}
