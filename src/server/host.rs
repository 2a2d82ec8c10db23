//! The names under which a listener on the loopback address may be asked.
//!
//! A web page whose own name is made to mean 127.0.0.1 (DNS rebinding) is of the same origin as such a listener to a browser on
//! this machine, which lets it read the answers. The browser still sends the page's name as `Host`, and no such name is one
//! of this machine's.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::refusal;

/// Refuses requests that name another host than this machine. An address names no web page, whichever it is. `given` is the
/// host that the listener was given by name: whoever started the process says that it is this machine.
pub(super) async fn admit(State(given): State<Option<Arc<str>>>, request: Request, next: Next) -> Response {
    let is_ours = |host: &str| {
        is_address(host)
            || is_local(host)
            || given.as_deref().is_some_and(|given| bare_name(host) == bare_name(given))
    };
    let foreign = |value: &HeaderValue| !value.to_str().is_ok_and(is_ours);
    if request.headers().get_all(header::HOST).iter().any(foreign) {
        return refusal(
            StatusCode::FORBIDDEN,
            "this listener is on the loopback address, and the request names another host",
            "ask for localhost, host.docker.internal, an IP address or the host name in --listen (--control-listen); a proxy on this machine must send one of them as Host",
        );
    }
    next.run(request).await
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn is_address(host: &str) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
}

/// A host's name as names are compared: without the port, in lower case, without the dot of the root at its end.
fn bare_name(host: &str) -> String {
    let mut name = without_port(host).to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// Whether the name means this machine wherever it is looked up. `host.docker.internal` is what Docker Desktop calls the
/// machine in its containers, whose requests arrive on the loopback address; nobody can register a name below `.internal`.
fn is_local(host: &str) -> bool {
    let name = bare_name(host);
    name == "localhost" || name.ends_with(".localhost") || name == "host.docker.internal"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;
    use axum::{Router, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_page_whose_name_was_made_to_mean_this_machine_reads_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let given = Some(Arc::from("myhost"));
        let routes = Router::new()
            .route("/", get(|| async { "status" }))
            .layer(middleware::from_fn_with_state(given, admit));
        tokio::spawn(super::super::connections::serve(listener, routes));
        for (host, status) in [
            ("Host: localhost:1\r\n", "200"),
            ("Host: MyHost.:9464\r\n", "200"),
            ("", "200"),
            ("Host: evil.example\r\n", "403"),
            ("Host: myhost.evil.example\r\n", "403"),
            ("Host: myhost\r\nHost: evil.example\r\n", "403"),
            ("Host:\r\n", "403"),
        ] {
            let mut connection = TcpStream::connect(at).await.unwrap();
            let request = format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = timeout(Duration::from_secs(30), connection.read_to_string(&mut answer)).await;
            read.expect("the answer does not end").unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
            assert_eq!(answer.contains("status"), status == "200", "{host}: {answer}");
        }
    }

    #[test]
    fn only_addresses_and_local_names_are_this_machine() {
        for host in [
            "localhost",
            "LocalHost:9464",
            "localhost.:9464",
            "streams.localhost:80",
            "127.0.0.1",
            "127.1.2.3:9464",
            "[::1]",
            "[::1]:9464",
            "10.0.0.7:9464",
            "host.docker.internal:9464",
        ] {
            assert!(is_address(host) || is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "evil.host.docker.internal",
            "host.docker.internal.evil.example",
            "127.0.0.1@evil.example",
            "[::1",
        ] {
            assert!(!is_address(host) && !is_local(host), "{host}");
        }
    }
}
