//! The connections of a listener: each is served beside the others, there are so many at most, and a client that says nothing,
//! or takes no answer, holds nobody up.
//!
//! A probe of `/livez` must be answered whatever other clients do: a new connection never waits for a place, for the one that
//! has been quiet longest is closed to make room.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout};

/// What a listener's connections may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections at once.
    connections_max: usize,
    /// How long a new connection may take until the head of its first request is there.
    first_head: Duration,
    /// How long a connection may take until the head of its next request is there.
    next_head: Duration,
    /// How long a client may take nothing of an answer.
    stalled_write: Duration,
}

const LIMITS: Limits = Limits {
    connections_max: 256,
    first_head: Duration::from_secs(5),
    // Longer than Prometheus usually pauses.
    next_head: Duration::from_secs(75),
    stalled_write: Duration::from_secs(20),
};

/// Serves `routes` on every connection of `listener`, for ever.
pub(super) async fn serve(listener: impl Listener<Addr = SocketAddr>, routes: Router) {
    serve_within(listener, routes, LIMITS).await;
}

async fn serve_within(mut listener: impl Listener<Addr = SocketAddr>, routes: Router, limits: Limits) {
    let mut open: Vec<Connection> = Vec::new();
    loop {
        let (stream, from) = listener.accept().await;
        if open.len() >= limits.connections_max {
            make_room(&mut open, limits.connections_max).await;
        }
        let last_active = Arc::new(Mutex::new(Instant::now()));
        let stream = Watched {
            stream,
            last_active: Arc::clone(&last_active),
            stalled_write: limits.stalled_write,
            write_deadline: None,
        };
        let routes = routes.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serve_one(stream, routes, limits).await {
                tracing::debug!(%from, %error, "a connection has ended");
            }
        });
        open.push(Connection { task, last_active });
    }
}

/// A connection that was accepted.
struct Connection {
    task: JoinHandle<()>,
    /// When it last sent or took a byte.
    last_active: Arc<Mutex<Instant>>,
}

/// Forgets the connections that have ended, and closes those that have been quiet longest until there is room for one more.
async fn make_room(open: &mut Vec<Connection>, connections_max: usize) {
    open.retain(|connection| !connection.task.is_finished());
    while open.len() >= connections_max {
        let active = |connection: &Connection| time_of(&connection.last_active);
        let Some(quietest) = (0..open.len()).min_by_key(|&at| active(&open[at])) else { return };
        let quietest = open.swap_remove(quietest);
        quietest.task.abort();
        // So that there are never more sockets than places. The error says that the task was aborted.
        let _ = quietest.task.await;
    }
}

fn time_of(last_active: &Mutex<Instant>) -> Instant {
    *last_active.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the requests of one connection.
async fn serve_one<S>(stream: S, routes: Router, limits: Limits) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Notify::new();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(|request: Request<Incoming>| {
        asked.notify_one();
        routes.call(request)
    });
    let mut serving = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.next_head)
            .serve_connection(TokioIo::new(stream), service)
    );
    // hyper has one timeout for all heads, so that of the first one is ours.
    tokio::select! {
        // A head that is there counts, even if it is looked at late.
        biased;
        served = &mut serving => return served,
        asked = timeout(limits.first_head, asked.notified()) => if asked.is_err() {
            return Ok(());
        },
    }
    serving.await
}

/// A stream that notes when bytes last went either way, and whose writes fail when the other side takes nothing for too long.
struct Watched<S> {
    stream: S,
    last_active: Arc<Mutex<Instant>>,
    stalled_write: Duration,
    /// Runs while a write waits.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn note_activity(&self) {
        *self.last_active.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What a write answers, or that it has waited too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.write_deadline = None;
            self.note_activity();
            return answer;
        }
        let stalled_write = self.stalled_write;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(stalled_write)));
        deadline
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client has not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_read(cx, into);
        if answer.is_ready() {
            self.note_activity();
        }
        answer
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, answer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, answer)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, answer)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    /// Longer than any of these tests may take.
    const NEVER: Duration = Duration::from_secs(600);
    const LENIENT: Limits =
        Limits { connections_max: 2, first_head: NEVER, next_head: NEVER, stalled_write: NEVER };

    async fn listen(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let large = "x".repeat(32 << 20);
        let routes = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/large", get(move || async move { large.clone() }));
        tokio::spawn(serve_within(listener, routes, limits));
        at
    }

    async fn connect(to: SocketAddr) -> TcpStream {
        TcpStream::connect(to).await.unwrap()
    }

    async fn ask(connection: &mut TcpStream) {
        connection.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 4096];
        let read = timeout(Duration::from_secs(30), connection.read(&mut answer)).await;
        let count = read.expect("no answer").unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }

    async fn ends(mut connection: TcpStream) {
        let mut rest = Vec::new();
        let read = timeout(Duration::from_secs(30), connection.read_to_end(&mut rest)).await;
        // Closed, with or without a word (408).
        let _ = read.expect("the connection stays open");
    }

    #[tokio::test]
    async fn connections_without_a_request_end() {
        let soon = Duration::from_millis(300);
        let at = listen(Limits { connections_max: 8, first_head: soon, next_head: NEVER, ..LENIENT }).await;
        let mut used = connect(at).await;
        ask(&mut used).await;
        let (silent, mut slow) = (connect(at).await, connect(at).await);
        slow.write_all(b"GET / HTTP/1.1\r\nhos").await.unwrap();
        ends(silent).await;
        ends(slow).await;
        // One that was used may pause for longer.
        ask(&mut used).await;

        let at = listen(Limits { next_head: soon, ..LENIENT }).await;
        let mut used = connect(at).await;
        ask(&mut used).await;
        ends(used).await;
    }

    #[tokio::test]
    async fn a_new_connection_takes_the_place_of_the_one_that_has_been_quiet_longest() {
        let at = listen(LENIENT).await;
        let mut used = connect(at).await;
        ask(&mut used).await;
        let silent = connect(at).await;
        // They are accepted in their order, so the silent one is when this one is answered.
        let mut third = connect(at).await;
        ask(&mut third).await;
        ends(used).await;
        let mut fourth = connect(at).await;
        ask(&mut fourth).await;
        ends(silent).await;
        ask(&mut third).await;
    }

    #[tokio::test]
    async fn clients_that_do_not_read_their_answers_hold_up_nobody_and_are_given_up() {
        let at = listen(LENIENT).await;
        let mut deaf = Vec::new();
        for _ in 0..LENIENT.connections_max {
            let mut connection = connect(at).await;
            connection.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            deaf.push(connection);
        }
        ask(&mut connect(at).await).await;

        let at = listen(Limits { stalled_write: Duration::from_millis(300), ..LENIENT }).await;
        let mut deaf = connect(at).await;
        deaf.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let mut answer = Vec::new();
        // Cut off, with an end or a reset.
        let _ = timeout(Duration::from_secs(30), deaf.read_to_end(&mut answer)).await.expect("it stays open");
        assert!(answer.len() < 32 << 20, "the whole answer was sent to a client that did not read");
    }
}
