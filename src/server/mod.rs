//! The process over HTTP: what anyone may see (*observe*), and what only an operator may do (*control*).
//!
//! Two listeners, so that Kubernetes, Prometheus and a browser reach the first while the second stays on the loopback
//! address or behind a token. Everything shown comes from `observe`, everything done goes to `runtime::Streams`; nothing
//! is decided here, and nothing here may stop a stream on its own.

mod connections;
mod control;
mod host;
mod observe;
mod page;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;

pub use control::Token;
pub use tls::TlsFiles;

use self::tls::TlsListener;
use crate::model::{Error, Result};
use crate::observe::Reporter;
use crate::runtime::Streams;

/// The OpenAPI document of both listeners.
pub const OPENAPI: &str = include_str!("openapi.json");

/// Where the observe listener is, unless it is said otherwise.
pub const OBSERVE_ADDRESS: &str = "127.0.0.1:9464";
/// Where the control listener is, unless it is said otherwise.
pub const CONTROL_ADDRESS: &str = "127.0.0.1:9465";

/// Where a listener is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There, and nowhere else: the process does not start without it.
    At {
        /// Where to bind.
        address: SocketAddr,
        /// The name that was looked up for it; `None` if an address was written.
        host: Option<Arc<str>>,
    },
    /// There if it is free; another process of the machine may have it.
    IfFree(SocketAddr),
}

impl Listen {
    /// What `--listen` and its like say: `off`, `HOST:PORT`, `:PORT` for every address of the machine, or nothing for
    /// `default`. A name is looked up.
    ///
    /// # Errors
    /// `Config`, naming `flag`, if that can't be read, or no address has the name.
    pub fn parse(flag: &str, given: Option<&str>, default: &str) -> Result<Listen> {
        let Some(given) = given else {
            let address = default.parse().map_err(|e| Error::internal("a default address").source(e))?;
            return Ok(Listen::IfFree(address));
        };
        if given.eq_ignore_ascii_case("off") {
            return Ok(Listen::Off);
        }
        let written = if given.starts_with(':') { format!("[::]{given}") } else { given.to_owned() };
        let refused = |problem: &str| {
            Error::config(format!("{flag} {given:?} {problem}"))
                .hint("write an address and a port such as 127.0.0.1:9464, only a port such as :9464, or off")
        };
        let (name, port) = written.rsplit_once(':').unwrap_or((&written, ""));
        let host = written.parse::<SocketAddr>().is_err().then(|| Arc::from(name));
        let localhost = name.eq_ignore_ascii_case("localhost").then(|| format!("127.0.0.1:{port}"));
        match localhost.as_ref().unwrap_or(&written).to_socket_addrs() {
            Ok(mut addresses) => match addresses.next() {
                Some(address) => Ok(Listen::At { address, host }),
                None => Err(refused("has no address")),
            },
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Err(refused("is not an address").source(e)),
            Err(e) => Err(refused("has no address").source(e)),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Listen::Off => None,
            Listen::At { address, .. } | Listen::IfFree(address) => Some(*address),
        }
    }

    /// The name that it was given by.
    fn host(&self) -> Option<Arc<str>> {
        match self {
            Listen::At { host, .. } => host.clone(),
            Listen::Off | Listen::IfFree(_) => None,
        }
    }

    /// Whether it is where only this machine reaches it.
    fn is_loopback(&self) -> bool {
        self.address().is_some_and(|address| is_loopback(address.ip()))
    }
}

/// What is served, and where.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Metrics, health, status and page.
    pub observe: Listen,
    /// Stop and restart.
    pub control: Listen,
    /// What a control request must bear.
    pub token: Option<Token>,
    /// The identity of the control listener; `None` for plain HTTP.
    pub control_tls: Option<TlsFiles>,
}

/// Starts both listeners on the current tokio runtime.
///
/// # Errors
/// `Config` if the control listener is reachable from elsewhere and has no token; `Unavailable` if an address that was
/// asked for can't be had.
pub async fn start(settings: &ServerSettings, reporter: &Reporter, streams: &Streams) -> Result<()> {
    if let Some(address) = settings.control.address()
        && !settings.control.is_loopback()
        && settings.token.is_none()
    {
        return Err(Error::config(format!(
            "the control listener at {address} can be reached from other machines, and there is no token"
        ))
        .hint("set ALLUVIA_CONTROL_TOKEN, or give --control-listen a loopback address"));
    }
    let observe = observe::routes(reporter.clone());
    let observe = if settings.observe.is_loopback() {
        for_this_machine(observe, settings.observe.host())
    } else {
        observe
    };
    let control = control::routes(reporter.clone(), streams.clone(), settings.token.clone());
    // No web page has the token.
    let open = settings.control.is_loopback() && settings.token.is_none();
    let control = if open { for_this_machine(control, settings.control.host()) } else { control };
    serve("observe", "--listen", &settings.observe, observe, None).await?;
    serve("control", "--control-listen", &settings.control, control, settings.control_tls.clone()).await
}

/// The routes, for requests that name this machine; `host` is a name of it.
fn for_this_machine(routes: Router, host: Option<Arc<str>>) -> Router {
    routes.layer(middleware::from_fn_with_state(host, host::admit))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Binds `address`. Every address of the machine is every IPv4 address where there is no IPv6.
async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    match bound {
        Err(error)
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| error)
        }
        bound => bound,
    }
}

async fn serve(
    what: &'static str,
    flag: &str,
    listen: &Listen,
    routes: Router,
    tls: Option<TlsFiles>,
) -> Result<()> {
    let Some(address) = listen.address() else { return Ok(()) };
    let listener = match (bind(address).await, listen) {
        (Ok(listener), _) => listener,
        (Err(error), Listen::IfFree(_)) => {
            tracing::warn!(%address, %error, "no {what} listener: the default address can't be had; {flag} names another, or off");
            return Ok(());
        }
        (Err(error), _) => {
            return Err(Error::unavailable(format!("cannot listen at {address}"))
                .source(error)
                .hint(format!("name another address with {flag}")));
        }
    };
    let address = listener.local_addr().unwrap_or(address);
    match tls {
        None => drop(tokio::spawn(connections::serve(listener, routes))),
        Some(files) => {
            drop(tokio::spawn(connections::serve(TlsListener::over(listener, files)?, routes)));
        }
    }
    tracing::info!(%address, "the {what} listener is ready");
    Ok(())
}

/// The answer to a request that can't be served, as JSON.
fn refusal(status: StatusCode, error: impl Into<String>, hint: &str) -> Response {
    (status, Json(json!({"error": error.into(), "hint": hint}))).into_response()
}

fn no_stream(name: &str, reporter: &Reporter) -> Response {
    let names: Vec<String> = reporter.list().into_iter().map(|stream| stream.name).collect();
    let hint = format!("the streams are {}", names.join(", "));
    refusal(StatusCode::NOT_FOUND, format!("there is no stream {name}"), &hint)
}

/// The answer about one stream: what `ask` says of it, as JSON.
fn about<T: serde::Serialize>(
    reporter: &Reporter,
    Path(name): &Path<String>,
    ask: impl FnOnce(&Reporter, &str) -> Option<T>,
) -> Response {
    match ask(reporter, name) {
        Some(answer) => Json(answer).into_response(),
        None => no_stream(name, reporter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_the_forms_that_people_write() {
        let at = |given: &str| Listen::parse("--listen", Some(given), OBSERVE_ADDRESS).unwrap();
        assert_eq!(at("off"), Listen::Off);
        let bare = |address: &str| Listen::At { address: address.parse().unwrap(), host: None };
        assert_eq!(at(":9000"), bare("[::]:9000"));
        assert_eq!(at("127.0.0.1:5"), bare("127.0.0.1:5"));
        assert_eq!(at("[::1]:5"), bare("[::1]:5"));
        let named = at("LocalHost:0");
        assert_eq!(named.address(), Some(([127, 0, 0, 1], 0).into()));
        assert_eq!(named.host().as_deref(), Some("LocalHost"));
        let default = Listen::parse("--listen", None, OBSERVE_ADDRESS).unwrap();
        assert_eq!(default, Listen::IfFree(OBSERVE_ADDRESS.parse().unwrap()));
        let error = Listen::parse("--listen", Some("9464"), OBSERVE_ADDRESS).unwrap_err().to_string();
        assert!(error.starts_with("--listen \"9464\" is not an address"), "{error}");
        let error =
            Listen::parse("--listen", Some("no.such.host.invalid:9464"), OBSERVE_ADDRESS).unwrap_err();
        assert!(
            error.to_string().starts_with("--listen \"no.such.host.invalid:9464\" has no address"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_port_alone_is_reached_by_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[test]
    fn only_the_loopback_address_needs_no_token() {
        for (address, loopback) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), loopback, "{address}");
        }
    }
}
