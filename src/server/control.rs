//! The control listener: stop and restart a stream. On the loopback address, or behind a token.
//!
//! A web page that a browser on the same machine shows must not be able to stop a stream: a request that names an
//! origin, as browsers do, is refused.

use std::fmt;
use std::path::Path as FilePath;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use axum::{Json, Router};

use super::observe::status_paths;
use super::{no_stream, refusal};
use crate::model::{Error, Result};
use crate::observe::Reporter;
use crate::runtime::Streams;

/// A secret that control requests must bear. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token of a text; `None` if it is empty.
    pub fn of(text: &str) -> Option<Token> {
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_owned()))
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// `Config` if the file can't be read or is empty.
    pub fn read(path: &FilePath) -> Result<Token> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::config(format!("cannot read the control token from {}", path.display())).source(e)
        })?;
        Token::of(&text).ok_or_else(|| Error::config(format!("{} holds no control token", path.display())))
    }

    /// The value of the header that bears it.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header's value is the token's; how long that takes does not depend on where they differ. The case of the
    /// scheme does not matter (RFC 9110).
    fn is_borne_by(&self, value: &[u8]) -> bool {
        const SCHEME: &[u8] = b"Bearer ";
        let Some((scheme, borne)) = value.split_at_checked(SCHEME.len()) else { return false };
        let borne = borne.trim_ascii_start();
        let differs = self.0.bytes().zip(borne).fold(0, |differs, (a, b)| differs | (a ^ b));
        scheme.eq_ignore_ascii_case(SCHEME) && self.0.len() == borne.len() && differs == 0
    }
}

/// Every path of the control listener alone.
pub(super) fn own_paths() -> [(&'static str, MethodRouter<Control>); 2] {
    [("/api/v1/streams/{name}/stop", post(stop)), ("/api/v1/streams/{name}/restart", post(restart))]
}

/// What the handlers work on.
#[derive(Clone)]
pub(super) struct Control {
    reporter: Reporter,
    streams: Streams,
}

/// The control listener.
pub(super) fn routes(reporter: Reporter, streams: Streams, token: Option<Token>) -> Router {
    let status =
        status_paths().into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    let control =
        own_paths().into_iter().fold(Router::new(), |router, (path, answer)| router.route(path, answer));
    let control = control.with_state(Control { reporter: reporter.clone(), streams });
    status.with_state(reporter).merge(control).layer(middleware::from_fn_with_state(token, admit))
}

async fn admit(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return refusal(
            StatusCode::FORBIDDEN,
            "requests of web pages are refused here",
            "use `alluvia stop`",
        );
    }
    let borne = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match token {
        Some(token) if !borne.is_some_and(|value| token.is_borne_by(value)) => {
            let hint = "send the header Authorization: Bearer TOKEN; `alluvia stop` takes it from ALLUVIA_CONTROL_TOKEN";
            refusal(StatusCode::UNAUTHORIZED, "the request does not bear the control token", hint)
        }
        _ => next.run(request).await,
    }
}

async fn stop(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let asked = control.streams.get(&name).map(|query| query.stop());
    accepted(&control, &name, asked.is_some())
}

async fn restart(State(control): State<Control>, Path(name): Path<String>) -> Response {
    match control.streams.restart(&name) {
        Ok(found) => accepted(&control, &name, found),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), ""),
    }
}

/// The request was passed on; the answer is the stream as it is now.
fn accepted(control: &Control, name: &str, found: bool) -> Response {
    match control.reporter.info(name).filter(|_| found) {
        Some(stream) => (StatusCode::ACCEPTED, Json(stream)).into_response(),
        None => no_stream(name, &control.reporter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_never_shown() {
        let token = Token::of(" s3cret\n").unwrap();
        for borne in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"] {
            assert!(token.is_borne_by(borne.as_bytes()), "{borne}");
        }
        for other in [
            "Bearer s3cre",
            "Bearer s3cret1",
            "Bearer S3CRET",
            "Basic  s3cret",
            "Bearer ",
            "bearers3cret",
            "s3cret",
            "",
        ] {
            assert!(!token.is_borne_by(other.as_bytes()), "{other}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
        assert!(Token::of(" \n").is_none());
    }
}
