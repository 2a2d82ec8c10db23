//! A door in front of Azurite's HTTP listener: requests are counted by kind, come late, get no answer, or another one.
//!
//! Requests and answers of HTTP/1.1 are passed on whole. What is signed of a request is not its host, so signatures hold. On request
//! listings name folders, as those of an account with a hierarchical namespace do.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::azurite::Azurite;

/// What becomes of a request that a rule meets.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Not done, and this status.
    Status(u16),
    /// Done, and this status.
    DoneAs(u16),
    /// Done, and the connection ends without an answer.
    DoneAndLost,
    /// Neither done nor answered, while the client waits.
    Silence,
}

/// A rule: requests of `kind` whose path has `fragment` in it, from the `first` hit on, `count` of them.
#[derive(Clone, Debug)]
struct Rule {
    kind: &'static str,
    fragment: String,
    first: u64,
    count: u64,
    answer: Answer,
    met: u64,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<(&'static str, String)>,
    delay: Duration,
    /// Nothing is passed on, on any connection.
    dead: bool,
    /// Folders, `CONTAINER/FOLDER`, that listings name.
    folders: Vec<String>,
    /// How often a listing named one.
    folders_named: u64,
}

/// The door. It stands until the test binary ends.
pub struct BlobProxy {
    endpoint: String,
    state: Arc<Mutex<State>>,
}

impl BlobProxy {
    /// A door in front of `azurite`, which is spoken to over HTTP.
    pub fn new(azurite: &Azurite) -> BlobProxy {
        let target = azurite.address().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("a bound socket");
        let state: Arc<Mutex<State>> = Arc::default();
        let proxy =
            BlobProxy { endpoint: format!("http://{own}/{}", azurite.account()), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, target) = (Arc::clone(&state), target.clone());
                // A connection that either side ends is no failure.
                thread::spawn(move || drop(serve(&client, &target, &state)));
            }
        });
        proxy
    }

    /// One behind which every request comes late, and one in many fails, is lost, or is answered as Azure answers under load.
    pub fn slow_and_failing(azurite: &Azurite) -> BlobProxy {
        let proxy = BlobProxy::new(azurite);
        proxy.delay(Duration::from_millis(3));
        for (kind, first) in
            [("create", 7), ("get", 23), ("put", 11), ("list", 13), ("create", 61), ("lease", 29)]
        {
            for hit in 0..60 {
                let answer = match hit % 3 {
                    0 => Answer::Status(503),
                    1 => Answer::DoneAndLost,
                    _ => Answer::DoneAs(500),
                };
                proxy.answer(kind, "", first + hit * 97, 1, answer);
            }
        }
        proxy
    }

    /// The account's endpoint, through the door.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Answers `count` requests of `kind` (see [`kind`]) with `fragment` in their path in this way, from the `first` (of 1) on.
    pub fn answer(&self, kind: &'static str, fragment: &str, first: u64, count: u64, answer: Answer) {
        let rule = Rule { kind, fragment: fragment.into(), first, count, answer, met: 0 };
        self.lock().rules.push(rule);
    }

    /// Holds each request back for so long.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// From now on nothing is answered, on connections that are open and on new ones; or again.
    pub fn dead(&self, dead: bool) {
        self.lock().dead = dead;
    }

    /// From now on listings of what is above a folder of a container name it, if they have no delimiter.
    pub fn name_folder(&self, container: &str, folder: &str) {
        self.lock().folders.push(format!("{container}/{folder}"));
    }

    /// How many folders listings have named.
    pub fn folders_named(&self) -> u64 {
        self.lock().folders_named
    }

    /// Forgets rules and requests.
    pub fn forget(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.seen.clear();
    }

    /// The requests so far: kind and path.
    pub fn seen(&self) -> Vec<(&'static str, String)> {
        self.lock().seen.clone()
    }

    /// The same, counted by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.lock().seen.iter().for_each(|(kind, _)| *counts.entry(*kind).or_default() += 1);
        counts
    }
}

struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
    kind: &'static str,
    path: String,
    query: BTreeMap<String, String>,
}

fn serve(client: &TcpStream, target: &str, state: &Mutex<State>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(&server));
    let (mut to_client, mut to_server) = (client, &server);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    while let Some(request) = request(&mut from_client)? {
        let (answer, delay) = meet(state, &request);
        thread::sleep(delay);
        wait_while_dead(state);
        match answer {
            Some(Answer::Silence) => loop {
                // Until the client has had enough: then the read ends.
                let mut byte = [0];
                match from_client.read(&mut byte) {
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(_) => {}
                }
            },
            Some(Answer::Status(status)) => {
                refuse(&mut to_client, status)?;
                continue;
            }
            _ => {}
        }
        to_server.write_all(&request.head)?;
        to_server.write_all(&request.body)?;
        let mut whole = Vec::new();
        response(&mut from_server, &request, &mut whole)?;
        if request.kind == "list" {
            name_folders(state, &request, &mut whole)?;
        }
        match answer {
            Some(Answer::DoneAndLost) => return client.shutdown(Shutdown::Both),
            Some(Answer::DoneAs(status)) => refuse(&mut to_client, status)?,
            _ => {
                wait_while_dead(state);
                to_client.write_all(&whole)?;
            }
        }
    }
    Ok(())
}

/// Counts a request and says what is to become of it.
fn meet(state: &Mutex<State>, request: &Request) -> (Option<Answer>, Duration) {
    let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
    state.seen.push((request.kind, request.path.clone()));
    let delay = state.delay;
    for rule in &mut state.rules {
        if rule.kind == request.kind && request.path.contains(&rule.fragment) {
            rule.met += 1;
            if rule.met >= rule.first && rule.met < rule.first + rule.count {
                return (Some(rule.answer), delay);
            }
        }
    }
    (None, delay)
}

/// Puts the folders below the prefix of a listing into its first page.
fn name_folders(state: &Mutex<State>, request: &Request, whole: &mut Vec<u8>) -> io::Result<()> {
    let mut state = state.lock().unwrap_or_else(|e| e.into_inner());
    let asked = |key: &str| request.query.get(key).map(String::as_str);
    if asked("delimiter").is_some() || asked("marker").is_some() {
        return Ok(());
    }
    let container = request.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let prefix = format!("{container}/{}", asked("prefix").unwrap_or_default());
    let below: Vec<String> =
        state.folders.iter().filter(|folder| folder.starts_with(&prefix)).cloned().collect();
    let entries: String = below
        .iter()
        .map(|folder| {
            let name = &folder[container.len() + 1..];
            format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>Sun, 29 Nov 2026 12:00:00 GMT</Last-Modified><Etag>0x8D0</Etag><ResourceType>directory</ResourceType><Content-Length>0</Content-Length><Content-Type>application/octet-stream</Content-Type></Properties></Blob>"
            )
        })
        .collect();
    let text = String::from_utf8_lossy(whole).into_owned();
    let (head, _) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let mut body = Vec::new();
    plain_body(&mut &whole[head.len() + 4..], head, &mut body)?;
    let body = String::from_utf8_lossy(&body);
    if below.is_empty() || !body.contains("<Blobs") {
        return Ok(());
    }
    state.folders_named += below.len() as u64;
    let body = match body.replacen("<Blobs/>", &format!("<Blobs>{entries}</Blobs>"), 1) {
        listed if listed.len() > body.len() => listed,
        _ => body.replacen("<Blobs>", &format!("<Blobs>{entries}"), 1),
    };
    let head: Vec<&str> = head
        .lines()
        .filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["transfer-encoding", "content-length"].contains(&name.as_str())
        })
        .collect();
    *whole = format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len()).into_bytes();
    Ok(())
}

fn wait_while_dead(state: &Mutex<State>) {
    while state.lock().unwrap_or_else(|e| e.into_inner()).dead {
        thread::sleep(Duration::from_millis(20));
    }
}

/// An answer in Azure's words.
fn refuse(to: &mut &TcpStream, status: u16) -> io::Result<()> {
    let code = match status {
        403 => "AuthorizationPermissionMismatch",
        409 => "BlobAlreadyExists",
        412 => "ConditionNotMet",
        503 => "ServerBusy",
        _ => "InternalError",
    };
    let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code></Error>");
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status} {code}\r\nx-ms-error-code: {code}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What a request is: `create` (put-if-absent), `put`, `part`, `complete`, `get`, `head`, `list`, `delete`, `lease`, `other`.
fn kind(method: &str, path: &str, creates: bool) -> &'static str {
    let asks = |what: &str| path.split(['?', '&']).any(|pair| pair == what);
    match method {
        "PUT" | "HEAD" if asks("comp=lease") || asks("comp=metadata") => "lease",
        "PUT" if asks("comp=block") => "part",
        "PUT" if asks("comp=blocklist") => "complete",
        "PUT" if path.contains("comp=") => "other",
        "PUT" if creates => "create",
        "PUT" => "put",
        "GET" if asks("comp=list") => "list",
        "GET" => "get",
        "HEAD" => "head",
        "POST" if asks("comp=batch") => "delete",
        "DELETE" => "delete",
        _ => "other",
    }
}

fn request(from: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let Some(head) = head(from)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&head).into_owned();
    let mut words = text.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let kind = kind(method, path, header(&text, "if-none-match").is_some());
    let mut body = Vec::new();
    read_body(from, &text, &mut body)?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Ok(Some(Request { path: path.to_owned(), query, head, body, kind }))
}

/// Reads an answer whole. One to HEAD has no body, whatever its head says.
fn response(from: &mut BufReader<&TcpStream>, request: &Request, whole: &mut Vec<u8>) -> io::Result<()> {
    let head = head(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let text = String::from_utf8_lossy(&head).into_owned();
    whole.extend(&head);
    if !request.head.starts_with(b"HEAD") {
        read_body(from, &text, whole)?;
    }
    Ok(())
}

fn head(from: &mut BufReader<&TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// By its length, or in chunks, which are passed on as they are.
fn read_body(from: &mut impl BufRead, head: &str, into: &mut Vec<u8>) -> io::Result<()> {
    each_part(from, head, |line, data, end| {
        into.extend([line, data, end].concat());
    })
}

/// The same, without the marks of chunks.
fn plain_body(from: &mut impl BufRead, head: &str, into: &mut Vec<u8>) -> io::Result<()> {
    each_part(from, head, |_, data, _| into.extend(data))
}

/// Calls `part` with each part of a body: the line before it, its bytes, and what ends it.
fn each_part(
    from: &mut impl BufRead,
    head: &str,
    mut part: impl FnMut(&[u8], &[u8], &[u8]),
) -> io::Result<()> {
    let is_chunked =
        header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if !is_chunked {
        let length = header(head, "content-length").and_then(|length| length.parse::<usize>().ok());
        let mut data = vec![0; length.unwrap_or(0)];
        from.read_exact(&mut data)?;
        part(&[], &data, &[]);
        return Ok(());
    }
    loop {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut data = vec![0; size + 2];
        from.read_exact(&mut data)?;
        part(&line, &data[..size], &data[size..]);
        if size == 0 {
            return Ok(());
        }
    }
}
