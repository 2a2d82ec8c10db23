//! A door in front of a broker: requests are counted, answers come late by request, or as an older broker would give them.
//!
//! Frames of the Kafka protocol are passed on whole and in order. Answers are told by the correlation id of their
//! request. Where the broker names its own address, the door's stands instead, so that every connection comes by here.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::Broker;

/// Metadata, which is also what DescribeTopics asks.
pub const METADATA: i16 = 3;
/// ListOffsets.
pub const LIST_OFFSETS: i16 = 2;
const API_VERSIONS: i16 = 18;

/// The door. It stands until the test binary ends.
pub struct Proxy {
    bootstrap: String,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Rules {
    late: Mutex<HashMap<i16, Duration>>,
    highest: Mutex<HashMap<i16, i16>>,
    asked: Mutex<HashMap<i16, usize>>,
    /// A topic, and whether it is not known now.
    away: Mutex<Option<(String, bool)>>,
}

/// The broker's address and ours, as answers hold them: host, then port.
struct Addresses {
    theirs: Vec<u8>,
    ours: Vec<u8>,
}

impl Proxy {
    /// A door in front of the plain listener of `broker`.
    pub fn new(broker: &Broker) -> Proxy {
        let target = broker.bootstrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own_port = listener.local_addr().expect("a bound socket").port();
        let (host, port) = target.rsplit_once(':').expect("host:port");
        let address = |port: u16| [host.as_bytes(), &i32::from(port).to_be_bytes()].concat();
        let addresses =
            Arc::new(Addresses { theirs: address(port.parse().expect("a port")), ours: address(own_port) });
        let rules = Arc::new(Rules::default());
        let proxy = Proxy { bootstrap: format!("{host}:{own_port}"), rules: Arc::clone(&rules) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(&target) else { continue };
                pass(client, broker, &addresses, &rules);
            }
        });
        proxy
    }

    /// `host:port` of the door.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// From now on answers to the request `api` come this much later; those behind them in a connection too.
    pub fn late(&self, api: i16, by: Duration) {
        self.rules.late.lock().unwrap().insert(api, by);
    }

    /// How often clients have asked `api` so far.
    pub fn asked(&self, api: i16) -> usize {
        self.rules.asked.lock().unwrap().get(&api).copied().unwrap_or_default()
    }

    /// Until [`Proxy::recall`] the broker says of the topic that it does not know it: the door asks for one that is not there.
    pub fn forget(&self, topic: &str) {
        *self.rules.away.lock().unwrap() = Some((topic.to_owned(), true));
    }

    /// The topic is known again.
    pub fn recall(&self) {
        if let Some((_, away)) = self.rules.away.lock().unwrap().as_mut() {
            *away = false;
        }
    }

    /// On new connections the broker knows the request `api` up to `version` only.
    pub fn up_to_version(&self, api: i16, version: i16) {
        self.rules.highest.lock().unwrap().insert(api, version);
    }
}

/// Passes requests and answers of one connection on, until either side ends it.
fn pass(client: TcpStream, broker: TcpStream, addresses: &Arc<Addresses>, rules: &Arc<Rules>) {
    let asked: Arc<Mutex<HashMap<i32, (i16, i16)>>> = Arc::default();
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be cloned");
    let (mut from_client, mut to_broker, questions) = (clone(&client), clone(&broker), Arc::clone(&asked));
    let counted = Arc::clone(rules);
    thread::spawn(move || {
        let mut pass_on = || -> io::Result<()> {
            loop {
                let mut frame = frame(&mut from_client)?;
                let word = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
                let api = word(4);
                questions.lock().unwrap().insert(id(&frame[8..]), (api, word(6)));
                *counted.asked.lock().unwrap().entry(api).or_default() += 1;
                if let (METADATA, Some((topic, true))) = (api, &*counted.away.lock().unwrap()) {
                    replace(&mut frame, topic.as_bytes(), &stranger(topic));
                }
                to_broker.write_all(&frame)?;
            }
        };
        let _ = pass_on();
        let _ = to_broker.shutdown(Shutdown::Both);
    });
    let (mut from_broker, mut to_client) = (broker, client);
    let (send, receive) = channel::<(Instant, Vec<u8>)>();
    let (addresses, rules) = (Arc::clone(addresses), Arc::clone(rules));
    thread::spawn(move || -> io::Result<()> {
        loop {
            let mut frame = frame(&mut from_broker)?;
            let (api, version) = asked.lock().unwrap().remove(&id(&frame[4..])).unwrap_or_default();
            if api == API_VERSIONS {
                lower(&mut frame, version, &rules.highest.lock().unwrap());
            }
            replace(&mut frame, &addresses.theirs, &addresses.ours);
            if let (METADATA, Some((topic, _))) = (api, &*rules.away.lock().unwrap()) {
                replace(&mut frame, &stranger(topic), topic.as_bytes());
            }
            let late = rules.late.lock().unwrap().get(&api).copied().unwrap_or_default();
            if send.send((Instant::now() + late, frame)).is_err() {
                return Ok(());
            }
        }
    });
    thread::spawn(move || {
        for (due, frame) in receive {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to_client.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// One frame with its length in front.
fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let size = u32::from_be_bytes(length) as usize;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn id(bytes: &[u8]) -> i32 {
    i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A name of the same length that no topic has.
fn stranger(topic: &str) -> Vec<u8> {
    vec![b'Z'; topic.len()]
}

fn replace(frame: &mut [u8], old: &[u8], new: &[u8]) {
    let found: Vec<usize> =
        (0..(frame.len() + 1).saturating_sub(old.len())).filter(|&at| frame[at..].starts_with(old)).collect();
    for at in found {
        frame[at..at + new.len()].copy_from_slice(new);
    }
}

/// Lowers the highest versions in an answer to ApiVersions: length, correlation id, error, then an array of key, lowest,
/// highest; from version 3 on its length is a varint, and tags follow each entry.
fn lower(frame: &mut [u8], version: i16, highest: &HashMap<i16, i16>) {
    let (count, first, entry) = match version {
        0..=2 => (id(&frame[10..]) as usize, 14, 6),
        _ => {
            assert!(frame[10] < 0x80, "so many requests no broker knows");
            (usize::from(frame[10]).saturating_sub(1), 11, 7)
        }
    };
    for at in (0..count).map(|n| first + n * entry) {
        let key = i16::from_be_bytes([frame[at], frame[at + 1]]);
        if let Some(version) = highest.get(&key) {
            frame[at + 4..at + 6].copy_from_slice(&version.to_be_bytes());
        }
    }
}
