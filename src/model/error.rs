//! Errors, named by what the caller does next.
//!
//! A message states the fact with its particulars, a hint names the key to change. Messages never
//! hold row values or secrets. The one table that maps a kind to what a stream does about it and to
//! the process's exit code is [`Kind::exit_code`] and [`Kind::retries`]; nothing else decides.

use std::fmt;

/// What an error means for the one who meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The configuration is wrong: stop and say which key.
    Config,
    /// A service did not answer or refused for a while: try again with backoff, capped.
    Unavailable,
    /// Someone else wrote first: reload and decide again, bounded.
    Conflict,
    /// Another owner runs this stream: stop, never retry.
    Fenced,
    /// Input data breaks a promise (malformed under FAILFAST, lost offsets): the policy decides.
    Data,
    /// A durable file is damaged or contradicts another one: stop and touch nothing.
    Corrupt,
    /// A defect of Alluvia.
    Internal,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] = [
        Kind::Config,
        Kind::Unavailable,
        Kind::Conflict,
        Kind::Fenced,
        Kind::Data,
        Kind::Corrupt,
        Kind::Internal,
    ];

    /// The exit code of a process that ends with an error of this kind (`docs/reference/exit-codes.md`).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Config => 2,
            Kind::Unavailable => 3,
            Kind::Conflict => 4,
            Kind::Fenced => 5,
            Kind::Data => 6,
            Kind::Corrupt => 7,
            Kind::Internal => 70,
        }
    }

    /// Whether a stream may run its batch again after such an error, with backoff and a cap.
    pub fn retries(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Conflict)
    }

    /// The word used in logs and in JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Unavailable => "unavailable",
            Kind::Conflict => "conflict",
            Kind::Fenced => "fenced",
            Kind::Data => "data",
            Kind::Corrupt => "corrupt",
            Kind::Internal => "internal",
        }
    }
}

/// An error of Alluvia: a kind, a fact, what was being done, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    context: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in Alluvia that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that states `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, context: Vec::new(), source: None }
    }

    /// The configuration is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// A service did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Someone else wrote first.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// Another owner runs this stream.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(Kind::Fenced, message)
    }

    /// Input data breaks a promise.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// A durable file is damaged or contradicts another one.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// A defect of Alluvia.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds what mends it; the key to change comes first.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what was being done, as verb + object: `read offset log`.
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.context.push(doing.into());
        self
    }

    /// Keeps the error underneath; its text is printed after the message.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error again, for a second report of it; what was underneath is part of the message.
    pub fn again(&self) -> Error {
        let mut message = self.message.clone();
        if let Some(source) = &self.source {
            message = format!("{message}: {source}");
        }
        Error {
            kind: self.kind,
            message,
            hint: self.hint.clone(),
            context: self.context.clone(),
            source: None,
        }
    }

    /// The error with other texts; what is underneath stays as it is.
    pub(super) fn map_texts(mut self, text: impl Fn(&str) -> String) -> Error {
        for part in self.context.iter_mut().chain(&mut self.hint).chain([&mut self.message]) {
            *part = text(part);
        }
        self
    }

    /// What the caller does next.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The fact alone, without context, cause and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What mends it, if anything does.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.context.iter().rev() {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.message)?;
        let mut said = String::new();
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = cause {
            let text = error.to_string();
            // Many an error says its own cause already.
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Adds context to a result, as [`Error::context`] does to an error.
pub trait Context<T> {
    /// Says what was being done, as verb + object, if this failed.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_context_then_fact_then_cause_then_hint() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::corrupt("offsets/3 is empty")
            .source(cause)
            .hint("restore it from a backup")
            .context("read offset log")
            .context("resume stream a");
        assert_eq!(
            error.to_string(),
            "resume stream a: read offset log: offsets/3 is empty: disk on fire (restore it from a backup)"
        );
    }

    #[test]
    fn a_cause_that_the_error_above_it_has_said_is_not_said_again() {
        #[derive(Debug)]
        struct Wrapper(std::io::Error);
        impl fmt::Display for Wrapper {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the disk failed: {}", self.0)
            }
        }
        impl std::error::Error for Wrapper {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let error =
            Error::unavailable("cannot read x").source(Wrapper(std::io::Error::other("Permission denied")));
        assert_eq!(error.to_string(), "cannot read x: the disk failed: Permission denied");
    }

    #[test]
    fn every_kind_has_its_own_exit_code() {
        let mut codes: Vec<u8> = Kind::ALL.iter().map(|k| k.exit_code()).collect();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(!codes.contains(&0) && !codes.contains(&1));
    }
}
