//! Jackson's streaming parser, token by token and fault by fault.
//!
//! Spark's `from_json` goes on after an error wherever Jackson 2.18 happens to stand, so which fields
//! survive a bad message depends on Jackson's inner state: which token is current, which character
//! comes next, even where its buffer of 4000 characters ends. This is that state machine
//! (`ReaderBasedJsonParser` over an `InputStreamReader`) over UTF-8. `exact` drives it, for messages
//! that the fast path gives up on. It must not know schemas.
//!
//! Positions are bytes, but Jackson counts UTF-16 units: a position right behind the first byte of a
//! character of four bytes means that its high surrogate has been read and its low one has not.

mod base64;
mod identifier;
mod number;
mod text;

pub(super) use base64::decode_base64;
pub(super) use text::{lone_surrogate, push_as_utf8, push_unit};

use super::options::Lexing;

/// A token of Jackson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    StartObject,
    EndObject,
    StartArray,
    EndArray,
    Name,
    Text,
    Whole,
    Float,
    True,
    False,
    Null,
}

/// Why a token could not be read or used: what, and the byte where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) at: usize,
    /// The type that was wanted, if the text was JSON but of no use for it.
    pub(super) wanted: Option<&'static str>,
}

pub(super) type Lexed<T> = Result<T, Fault>;

/// Where a text stands: as it is in the input, or unescaped in the scratch buffer.
#[derive(Debug, Clone, Copy)]
enum Place {
    Input(usize, usize),
    Scratch,
}

/// Where a name stands: in the input, or unescaped among the kept names.
#[derive(Debug, Clone, Copy)]
enum Name {
    None,
    Input(usize, usize),
    Kept(usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Array,
    Object,
}

#[derive(Debug)]
struct Context {
    kind: Kind,
    /// Whether a value has begun in it, so that a comma must come before the next.
    begun: bool,
    name: Name,
    /// Where its kept names begin.
    names_from: usize,
}

/// Buffers that outlive a message.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    contexts: Vec<Context>,
    names: Vec<u8>,
    text: Vec<u8>,
}

/// Characters in Jackson's buffer.
const BUFFER_UNITS: usize = 4000;
/// Longest name, in UTF-16 units.
const NAME_UNITS_MAX: usize = 50_000;

/// The state of the parser within one message.
pub(super) struct Jackson<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the buffer ends; at most the end of the message.
    buffer_end: usize,
    lexing: Lexing,
    scratch: &'a mut Scratch,
    current: Option<Token>,
    /// The token of the value whose name is current: Jackson reads both at once.
    behind_name: Option<Token>,
    /// Whether the current text has been begun only: its end is read when asked for.
    incomplete: bool,
    /// Where the current text or number stands.
    text: Place,
    /// The value of NaN and the infinities, which have no text of a number.
    not_finite: Option<f64>,
}

impl<'a> Jackson<'a> {
    /// A parser before the first token of `text`.
    pub(super) fn new(text: &'a str, lexing: Lexing, scratch: &'a mut Scratch) -> Jackson<'a> {
        scratch.names.clear();
        scratch.contexts.clear();
        scratch.contexts.push(Context { kind: Kind::Root, begun: false, name: Name::None, names_from: 0 });
        Jackson {
            bytes: text.as_bytes(),
            at: 0,
            buffer_end: 0,
            lexing,
            scratch,
            current: None,
            behind_name: None,
            incomplete: false,
            text: Place::Input(0, 0),
            not_finite: None,
        }
    }

    pub(super) fn current(&self) -> Option<Token> {
        self.current
    }

    /// The name that belongs to the current token (`JsonParser.currentName`): UTF-8, but lone
    /// surrogates as three bytes each; `None` where there is none.
    pub(super) fn current_name(&self) -> Option<&[u8]> {
        let depth = self.scratch.contexts.len();
        let outer = matches!(self.current, Some(Token::StartObject | Token::StartArray)) && depth > 1;
        match self.scratch.contexts[depth - 1 - usize::from(outer)].name {
            Name::None => None,
            Name::Input(from, until) => Some(&self.bytes[from..until]),
            Name::Kept(from, until) => Some(&self.scratch.names[from..until]),
        }
    }

    /// The value of a bare NaN or infinity, if the current token is one.
    pub(super) fn not_finite(&self) -> Option<f64> {
        self.not_finite
    }

    /// The text of the current number.
    pub(super) fn number_text(&self) -> &[u8] {
        self.place()
    }

    fn place(&self) -> &[u8] {
        match self.text {
            Place::Input(from, until) => &self.bytes[from..until],
            Place::Scratch => &self.scratch.text,
        }
    }

    fn fault<T>(&self, what: &'static str) -> Lexed<T> {
        Err(Fault { what, at: self.at, wanted: None })
    }

    /// A fault of a value that is of no use for a column of type `wanted`.
    pub(super) fn unusable(&self, what: &'static str, wanted: &'static str) -> Fault {
        Fault { what, at: self.at, wanted: Some(wanted) }
    }

    /// Goes to the next token; `None` at the end of the message.
    pub(super) fn next_token(&mut self) -> Lexed<Option<Token>> {
        if self.current == Some(Token::Name) {
            return self.value_behind_name();
        }
        if self.incomplete {
            self.incomplete = false;
            self.string_body(b'"')?;
        }
        let Some(mut first) = self.skip_blanks()? else {
            if self.context().kind != Kind::Root {
                return self.fault("the message ends within an object or array");
            }
            self.current = None;
            return Ok(None);
        };
        if first == u16::from(b']') || first == u16::from(b'}') {
            return self.close(first == u16::from(b']')).map(Some);
        }
        let context = self.context();
        let comma_due = std::mem::replace(&mut context.begun, true);
        let kind = context.kind;
        if comma_due && kind != Kind::Root {
            if first != u16::from(b',') {
                return self.fault("expected a comma or the end of the object or array");
            }
            first = self.skip_blanks_in_value()?;
        }
        if kind != Kind::Object {
            let token = self.value(first)?;
            self.enter(token)?;
            self.current = Some(token);
            return Ok(self.current);
        }
        let name = if first == u16::from(b'"') { self.name_body(b'"')? } else { self.odd_name(first)? };
        self.context().name = name;
        self.current = Some(Token::Name);
        first = self.skip_colon()?;
        self.behind_name = Some(self.value(first)?);
        Ok(self.current)
    }

    fn value_behind_name(&mut self) -> Lexed<Option<Token>> {
        let token = self.behind_name.take();
        if let Some(token) = token {
            self.enter(token)?;
        }
        self.current = token;
        Ok(token)
    }

    /// Skips to the end of the current object or array; does nothing at any other token.
    pub(super) fn skip_children(&mut self) -> Lexed<()> {
        if !matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            return Ok(());
        }
        let mut open = 1usize;
        while open > 0 {
            match self.next_token()? {
                None if self.context().kind == Kind::Root => return Ok(()),
                None => return self.fault("the message ends within an object or array"),
                Some(Token::StartObject | Token::StartArray) => open += 1,
                Some(Token::EndObject | Token::EndArray) => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn context(&mut self) -> &mut Context {
        self.scratch.contexts.last_mut().expect("the root context is never left")
    }

    /// Opens the context of an object or array that begins.
    fn enter(&mut self, token: Token) -> Lexed<()> {
        let kind = match token {
            Token::StartObject => Kind::Object,
            Token::StartArray => Kind::Array,
            _ => return Ok(()),
        };
        let names_from = self.scratch.names.len();
        self.scratch.contexts.push(Context { kind, begun: false, name: Name::None, names_from });
        if self.scratch.contexts.len() - 1 > self.lexing.depth_max {
            return self.fault("nested deeper than maxNestingDepth");
        }
        Ok(())
    }

    fn close(&mut self, array: bool) -> Lexed<Token> {
        let kind = if array { Kind::Array } else { Kind::Object };
        if self.context().kind != kind {
            return self.fault("a closing bracket of the other kind, or one too many");
        }
        let names_from = self.context().names_from;
        self.scratch.names.truncate(names_from);
        self.scratch.contexts.pop();
        let token = if array { Token::EndArray } else { Token::EndObject };
        self.current = Some(token);
        Ok(token)
    }

    /// Reads the value that begins with `first`, which has been taken; a text only begins.
    fn value(&mut self, first: u16) -> Lexed<Token> {
        self.not_finite = None;
        match u8::try_from(first).unwrap_or(b'?') {
            b'"' => {
                self.incomplete = true;
                Ok(Token::Text)
            }
            b'[' => Ok(Token::StartArray),
            b'{' => Ok(Token::StartObject),
            b't' => self.literal(b"true", 1).map(|()| Token::True),
            b'f' => self.literal(b"false", 1).map(|()| Token::False),
            b'n' => self.literal(b"null", 1).map(|()| Token::Null),
            b'-' => self.signed_number(),
            first @ b'0'..=b'9' => self.unsigned_number(first),
            b'}' => self.fault("expected a value"),
            _ => self.odd_value(first),
        }
    }

    /// Whether no character is left; moves the buffer on if it is used up.
    #[inline]
    fn at_end(&mut self) -> bool {
        while self.at >= self.buffer_end {
            if !self.load_more() {
                return true;
            }
        }
        false
    }

    /// Fills the buffer with what comes behind it: at most 4000 units, no pair of surrogates torn.
    fn load_more(&mut self) -> bool {
        let rest = &self.bytes[self.buffer_end..];
        if rest.is_empty() {
            return false;
        }
        if rest.len() <= BUFFER_UNITS {
            self.buffer_end = self.bytes.len();
            return true;
        }
        let (mut units, mut length) = (0, 0);
        while let Some(byte) = rest.get(length) {
            let (wide, size) = match byte {
                0..0x80 => (1, 1),
                0x80..0xe0 => (1, 2),
                0xe0..0xf0 => (1, 3),
                _ => (2, 4),
            };
            if units + wide > BUFFER_UNITS {
                break;
            }
            units += wide;
            length += size;
        }
        self.buffer_end += length;
        true
    }

    /// The UTF-16 unit at the position, which is not the end, and the position behind it.
    #[inline]
    fn unit(&self) -> (u16, usize) {
        let byte = self.bytes[self.at];
        if byte < 0x80 {
            return (u16::from(byte), self.at + 1);
        }
        self.wide_unit(byte)
    }

    fn wide_unit(&self, byte: u8) -> (u16, usize) {
        let bits = |n: usize| u32::from(self.bytes[n] & 0x3f);
        let at = self.at;
        match byte {
            0xc0..0xe0 => ((u32::from(byte & 0x1f) << 6 | bits(at + 1)) as u16, at + 2),
            0xe0..0xf0 => ((u32::from(byte & 0x0f) << 12 | bits(at + 1) << 6 | bits(at + 2)) as u16, at + 3),
            0xf0.. => {
                let code = u32::from(byte & 7) << 18 | bits(at + 1) << 12 | bits(at + 2) << 6 | bits(at + 3);
                ((0xd800 + ((code - 0x1_0000) >> 10)) as u16, at + 1)
            }
            // Behind the first byte of four: the low surrogate.
            _ => ((0xdc00 | (bits(at + 1) & 0xf) << 6 | bits(at + 2)) as u16, at + 3),
        }
    }

    /// Takes the UTF-16 unit at the position, which is not the end.
    #[inline]
    fn take(&mut self) -> u16 {
        let (unit, behind) = self.unit();
        self.at = behind;
        unit
    }
}
