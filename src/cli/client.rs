//! Requests to a running `alluvia run`: the status API of its observe listener, and its control listener.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;
use url::Url;

use super::io_runtime;
use crate::model::{Error, Kind, Result};
use crate::server::Token;

/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that answers at an address.
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Runtime,
    base: Url,
    /// The flag that names the address, for messages.
    flag: &'static str,
    token: Option<Token>,
}

impl Client {
    /// A client of the process at `url`; nobody is asked yet.
    ///
    /// # Errors
    /// `Config`, naming `flag`, if that is not an address.
    pub(super) fn new(flag: &'static str, url: &str, token: Option<Token>) -> Result<Client> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = Url::parse(&with_scheme)
            .ok()
            .filter(|base| base.has_host() && !base.cannot_be_a_base())
            .ok_or_else(|| {
            // A URL with a login that can't be read is not cut: where the login ends is not known.
            let given = if url.contains('@') { String::new() } else { format!(" {url:?}") };
            Error::config(format!("{flag}{given} is not an address"))
                .hint("write it like http://127.0.0.1:9464")
        })?;
        // The process is on this machine, or where the address says: no proxy is between.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|e| Error::internal("cannot create an HTTP client").source(e))?;
        Ok(Client { http, runtime: io_runtime()?, base, flag, token })
    }

    /// What the process answers to `GET /api/v1/streams/PATH…`.
    ///
    /// # Errors
    /// `Unavailable` if no process answers; `Config` if it refuses, in its own words.
    pub(super) fn get(&self, path: &[&str]) -> Result<Value> {
        self.ask(Method::GET, path)
    }

    /// What the process answers to `POST /api/v1/streams/PATH…`.
    ///
    /// # Errors
    /// As for [`Client::get`].
    pub(super) fn post(&self, path: &[&str]) -> Result<Value> {
        self.ask(Method::POST, path)
    }

    fn ask(&self, method: Method, path: &[&str]) -> Result<Value> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::internal("an address without a path"))?
            .pop_if_empty()
            .extend(["api", "v1", "streams"])
            .extend(path);
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.header(reqwest::header::AUTHORIZATION, token.bearer());
        }
        let answer = self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
        });
        let (status, body) = answer.map_err(|e| match is_refused(&e) {
            true => self.no_answer("nothing listens there"),
            false => self.no_answer("").source(e.without_url()),
        })?;
        let body: Value = serde_json::from_slice(&body).map_err(|e| {
            Error::config(format!("the server at {} is not an Alluvia process", self.shown()))
                .source(e)
                .hint(format!("check {}", self.flag))
        })?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    fn no_answer(&self, why: &str) -> Error {
        let colon = if why.is_empty() { "" } else { ": " };
        Error::unavailable(format!("no process answers at {}{colon}{why}", self.shown()))
            .hint(format!("is `alluvia run` running? {} must be the address that it listens on", self.flag))
    }

    /// The address for messages: without user, password and query.
    fn shown(&self) -> Url {
        let mut shown = self.base.clone();
        // These fail only for URLs that have no host.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        shown
    }
}

/// Whether nothing listens at the address.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn refused(status: StatusCode, body: &Value) -> Error {
    let kind = if status.is_server_error() { Kind::Unavailable } else { Kind::Config };
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let error = Error::new(kind, text("error"));
    if text("hint").is_empty() { error } else { error.hint(text("hint")) }
}

/// The token of control requests: of a file, or of `ALLUVIA_CONTROL_TOKEN`.
///
/// # Errors
/// `Config` if the file can't be read.
pub(super) fn control_token(file: Option<&Path>) -> Result<Option<Token>> {
    match file {
        Some(file) => Token::read(file).map(Some),
        None => Ok(std::env::var("ALLUVIA_CONTROL_TOKEN").ok().as_deref().and_then(Token::of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_listens_that_is_all_that_is_said() {
        let client = Client::new("--url", "127.0.0.1:1", None).unwrap();
        let error = client.get(&[]).unwrap_err().to_string();
        let said = "no process answers at http://127.0.0.1:1/: nothing listens there (is `alluvia run`";
        assert!(error.starts_with(said), "{error}");
    }

    #[test]
    fn no_message_shows_the_login_of_an_address() {
        let client = Client::new("--url", "http://bob:hunter2@127.0.0.1:9464/x?sig=hunter2", None).unwrap();
        assert!(
            client.no_answer("").to_string().starts_with("no process answers at http://127.0.0.1:9464/x (")
        );
        for url in ["http://bob:hunter2@", "http://bob:hunter2@a b", "http://bob:hunter2/x@host:port"] {
            let error = Client::new("--url", url, None).err().map(|error| error.to_string());
            let error = error.unwrap_or_else(|| panic!("{url} is an address"));
            assert!(error.starts_with("--url is not an address"), "{error}");
        }
        let error = Client::new("--url", "http://", None).err().unwrap().to_string();
        assert!(error.starts_with("--url \"http://\" is not an address"), "{error}");
    }
}
