//! The messages of the benchmark: five shapes, and ways to spoil a message of the first.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A shape of message; every run makes the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Device events of ~240 bytes, the workload W1.
    W1,
    /// 100 columns of mixed types.
    Wide,
    /// Structs in structs and arrays of structs.
    Deep,
    /// Long texts, some with escapes and characters beyond ASCII.
    Strings,
    /// Arrays of numbers of all kinds.
    Numbers,
}

/// All shapes; the first is W1.
pub(crate) const SHAPES: &[Shape] = &[Shape::W1, Shape::Wide, Shape::Deep, Shape::Strings, Shape::Numbers];

/// What makes a message malformed.
pub(crate) type Spoil = fn(&mut Vec<u8>);

/// Ways to make a message of W1 malformed.
pub(crate) const SPOILERS: &[(&str, Spoil)] = &[
    ("with a bad field", |message| {
        let at = find(message, b"\"temperature\":");
        message.splice(at + 14..at + 15, *b"\"x\",\"_\":1");
    }),
    ("cut at three quarters", |message| message.truncate(message.len() * 3 / 4)),
    ("with a bad word at the end", |message| {
        let at = find(message, b"\"lon\":");
        message.splice(at + 6..at + 7, *b"tru");
    }),
    ("no JSON at all", |message| message[0] = b'x'),
];

fn find(message: &[u8], part: &[u8]) -> usize {
    message.windows(part.len()).position(|window| window == part).expect("a message of W1 has every field")
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shape::W1 => "w1",
            Shape::Wide => "wide",
            Shape::Deep => "deep",
            Shape::Strings => "strings",
            Shape::Numbers => "numbers",
        })
    }
}

impl Shape {
    /// The schema as DDL.
    pub(crate) fn schema(&self) -> String {
        match self {
            Shape::W1 => "event_id STRING, device STRING, status STRING, temperature DOUBLE, humidity DOUBLE, \
                          battery INT, seq BIGINT, event_time TIMESTAMP, location STRUCT<lat: DOUBLE, lon: DOUBLE>"
                .to_owned(),
            Shape::Wide => {
                let types = ["STRING", "BIGINT", "DOUBLE", "BOOLEAN", "INT"];
                let columns = (0..100).map(|n| format!("column_{n} {}", types[n % types.len()]));
                columns.collect::<Vec<_>>().join(", ")
            }
            Shape::Deep => "id BIGINT, a STRUCT<x: INT, b: STRUCT<y: STRING, c: STRUCT<z: DOUBLE, d: STRUCT<w: BOOLEAN, \
                            e: ARRAY<STRUCT<k: STRING, v: ARRAY<INT>>>>>>>"
                .to_owned(),
            Shape::Strings => "id STRING, title STRING, body STRING, tags ARRAY<STRING>, author STRUCT<name: STRING, \
                               mail: STRING>"
                .to_owned(),
            Shape::Numbers => {
                "id BIGINT, small ARRAY<INT>, large ARRAY<BIGINT>, short ARRAY<DOUBLE>, exact ARRAY<DOUBLE>".to_owned()
            }
        }
    }

    /// `count` messages.
    pub(crate) fn messages(&self, count: usize) -> Vec<Vec<u8>> {
        let mut random = StdRng::seed_from_u64(42);
        (0..count).map(|n| self.message(n, &mut random).into_bytes()).collect()
    }

    fn message(&self, n: usize, random: &mut StdRng) -> String {
        match self {
            Shape::W1 => w1(n, random),
            Shape::Wide => wide(n, random),
            Shape::Deep => deep(n, random),
            Shape::Strings => strings(n, random),
            Shape::Numbers => numbers(n, random),
        }
    }
}

fn w1(n: usize, random: &mut StdRng) -> String {
    let status = ["ok", "warning", "failed", "offline"][random.random_range(0..4)];
    format!(
        r#"{{"event_id":"{:08x}-{:04x}-4{:03x}-{:016x}","device":"device-{:05}","status":"{status}","temperature":{:.2},"humidity":{:.1},"battery":{},"seq":{n},"event_time":"2026-11-{:02}T{:02}:{:02}:{:02}.{:03}Z","location":{{"lat":{:.6},"lon":{:.6}}}}}"#,
        random.random::<u32>(),
        random.random::<u16>(),
        random.random_range(0..4096),
        random.random::<u64>(),
        random.random_range(0..10_000),
        random.random_range(-20.0..45.0),
        random.random_range(0.0..100.0),
        random.random_range(0..101),
        random.random_range(1..29),
        random.random_range(0..24),
        random.random_range(0..60),
        random.random_range(0..60),
        random.random_range(0..1000),
        random.random_range(-90.0..90.0),
        random.random_range(-180.0..180.0),
    )
}

fn wide(n: usize, random: &mut StdRng) -> String {
    let columns = (0..100).map(|column| {
        let value = match column % 5 {
            0 => format!("\"value {}\"", random.random_range(0..100_000)),
            1 => (n * 1000 + column).to_string(),
            2 => format!("{:.3}", random.random_range(-1000.0..1000.0)),
            3 => random.random::<bool>().to_string(),
            _ if random.random_range(0..10) == 0 => "null".to_owned(),
            _ => random.random_range(-100_000..100_000).to_string(),
        };
        format!("\"column_{column}\":{value}")
    });
    format!("{{{}}}", columns.collect::<Vec<_>>().join(","))
}

fn deep(n: usize, random: &mut StdRng) -> String {
    let items = (0..4).map(|item| {
        let values: Vec<String> = (0..5).map(|_| random.random_range(0..1000).to_string()).collect();
        format!(r#"{{"k":"key{item}","v":[{}]}}"#, values.join(","))
    });
    let items = items.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"id":{n},"a":{{"x":{},"b":{{"y":"text {}","c":{{"z":{:.4},"d":{{"w":true,"e":[{items}]}}}}}}}}}}"#,
        random.random_range(0..1000),
        random.random_range(0..1000),
        random.random_range(0.0..1.0),
    )
}

fn strings(n: usize, random: &mut StdRng) -> String {
    const WORDS: [&str; 10] =
        ["river", "delta", "grün", "stream", "of", "the", r#"\"quoted\""#, "sediment", "東京", r"line\n"];
    let mut words = |count: usize| {
        (0..count).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect::<Vec<_>>().join(" ")
    };
    format!(
        r#"{{"id":"message-{n}","title":"{}","body":"{}","tags":["{}","{}"],"author":{{"name":"{}","mail":"reader{n}@example.org"}}}}"#,
        words(6),
        words(120),
        words(1),
        words(1),
        words(2),
    )
}

fn numbers(n: usize, random: &mut StdRng) -> String {
    let mut list = |make: &mut dyn FnMut(&mut StdRng) -> String| {
        (0..12).map(|_| make(random)).collect::<Vec<_>>().join(",")
    };
    format!(
        r#"{{"id":{n},"small":[{}],"large":[{}],"short":[{}],"exact":[{}]}}"#,
        list(&mut |random| random.random_range(-1000..1000).to_string()),
        list(&mut |random| random.random::<i64>().to_string()),
        list(&mut |random| format!("{:.2}", random.random_range(-1e4..1e4))),
        list(&mut |random| format!("{}", random.random_range(-1.0..1.0))),
    )
}
