//! The connections of a listener: each is served beside the others, there are so many at most, and none stays open without a
//! request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

/// How long a connection may take until the head of its next request is there: longer than Prometheus usually pauses.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);
/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;

/// Serves `routes` on every connection of `listener`, for ever.
pub(super) async fn serve(listener: impl Listener<Addr = SocketAddr>, routes: Router) {
    serve_within(listener, routes, CONNECTIONS_MAX, REQUEST_TIMEOUT).await;
}

async fn serve_within(
    mut listener: impl Listener<Addr = SocketAddr>,
    routes: Router,
    connections_max: usize,
    request_timeout: Duration,
) {
    let free = Arc::new(Semaphore::new(connections_max));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let (connection, from) = listener.accept().await;
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(request_timeout)
                .serve_connection(TokioIo::new(connection), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%from, %error, "a connection has ended");
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn connect(to: SocketAddr) -> TcpStream {
        TcpStream::connect(to).await.unwrap()
    }

    async fn ask(connection: &mut TcpStream) {
        connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        let count = connection.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }

    async fn ends(mut connection: TcpStream) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), connection.read_to_end(&mut rest)).await;
        // Closed, with or without a word (408).
        let _ = read.expect("the connection stays open");
    }

    #[tokio::test]
    async fn connections_without_a_request_end_and_make_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(|| async { "hello" }));
        tokio::spawn(serve_within(listener, routes, 2, Duration::from_millis(500)));
        let mut used = connect(at).await;
        ask(&mut used).await;
        ask(&mut used).await;
        let (silent, mut third) = (connect(at).await, connect(at).await);
        ask(&mut third).await;
        ends(silent).await;
        ends(used).await;
        ends(third).await;
    }
}
