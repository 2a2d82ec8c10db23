//! The fast path and `exact` answer alike, whatever the message: mutations, many of them.
//!
//! `ALLUVIA_MUTATIONS` says how many (default 100,000), `ALLUVIA_SEED` where to begin; both are printed.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::decode::json::utf8;

const SCHEMAS: &[&str] = &[
    "a INT, b STRING, c DOUBLE, d DECIMAL(10,2), e DATE, f TIMESTAMP, g TIMESTAMP_NTZ, h BINARY, i BOOLEAN, \
     s STRUCT<x: INT, y: STRUCT<z: STRING, l: ARRAY<INT>>, t: STRING>, l ARRAY<STRUCT<p: INT, q: STRING>>, \
     m MAP<STRING, INT>, n MAP<STRING, STRUCT<u: INT, v: STRING>>, _corrupt_record STRING",
    "a STRING, b STRING, c STRING, s STRING, l STRING, m STRING, z STRING",
    "l ARRAY<STRING>, s STRUCT<y: STRUCT<l: ARRAY<DOUBLE>>>, a TINYINT, c FLOAT, b BIGINT, z SMALLINT",
    "ARRAY<STRUCT<a: INT, b: STRING>>",
    "ARRAY<INT>",
    "MAP<STRING, STRUCT<x: INT, y: STRING>>",
];

const MESSAGES: &[&str] = &[
    r#"{"a":1,"b":"x","c":-1.5e3,"d":12.345,"e":"2026-01-02","f":"2026-01-02T03:04:05.678Z","g":"2026-01-02T03:04:05","h":"AQID","i":true,"s":{"x":5,"y":{"z":"w","l":[1,2,3]},"t":"u"},"l":[{"p":1,"q":"r"},{"p":2}],"m":{"k":1,"j":2},"n":{"k":{"u":1,"v":"w"}}}"#,
    r#"{ "b" : "caf\u00e9 \ud83d\ude00 \"q\" \\ \/ \n" , "extra" : { "deep" : [ 1 , "two" , null , { } , [ ] ] } , "a" : 128 }"#,
    r#"{"a":"x","b":17,"c":"NaN","d":"1,234.5","e":"bad","f":1767322845,"s":7,"l":"no","m":{"k":"x"},"z":true}"#,
    r#"{"l":[1,"x",null,2.50],"s":{"x":"bad","y":[1],"z":{"a":{"b":[[[]]]}}},"a":1,"a":"y","a":3}"#,
    r#"[{"a":1,"b":"x"},{"a":"y"},null,{"b":2}]"#,
    "[1,2,null,300,-0]",
    "{\"b\":\"gr\u{fc}n \u{6771}\u{4eac} \u{1f600}\",'c':2,\"i\":NaN,\"c\":-Infinity,\"h\":\"AQ\"}",
    r#"{"a":tru,"b":nul,"s":{"x":1,"y":{"z":falsee}},"l":[tru,1],"n":{"k":{"u":1x}}}"#,
    "  ",
];

const PARTS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"'",
    b"null",
    b"true",
    b"1e5",
    b"-0",
    b"0",
    b".5",
    b"\\u12",
    b"\\ud83d",
    b"/",
    b"#",
    b"\n",
    b"\t",
    b"\x00",
    b"\x80",
    b"\xe2\x82",
    b"\xf0\x9f\x98\x80",
    b"9999999999999999999",
    b"\"a\":",
    b"\"s\":{",
    b"\"l\":[",
    b"NaN",
    b"+INF",
    b"x",
    b" ",
];

fn mutated(random: &mut StdRng) -> Vec<u8> {
    let mut message = MESSAGES[random.random_range(0..MESSAGES.len())].as_bytes().to_vec();
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..=message.len());
        let until = (at + random.random_range(0..6)).min(message.len());
        match random.random_range(0..8) {
            0 => message.truncate(at),
            1 => drop(message.drain(at..until)),
            2 => {
                let other = MESSAGES[random.random_range(0..MESSAGES.len())].as_bytes();
                let from = random.random_range(0..other.len());
                let end = (from + random.random_range(0..40)).min(other.len());
                message.splice(at..until, other[from..end].iter().copied());
            }
            3 if at < message.len() => message[at] = random.random(),
            4 if at < message.len() => message[at] ^= 1 << random.random_range(0..8),
            _ => {
                let part = PARTS[random.random_range(0..PARTS.len())];
                message.splice(at..at, part.iter().copied());
            }
        }
    }
    message
}

fn decoder(schema: &str, options: &[(&str, &str)], on_malformed: OnMalformed) -> JsonDecoder {
    let map: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let policy = Policy { on_malformed, enforce_not_null: false };
    let data_type = DataType::of_from_json(schema).unwrap();
    JsonDecoder::for_root(&data_type, &JsonOptions::from_map(&map).unwrap().0, policy).unwrap()
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Row => "row",
        Outcome::KeptMalformed(_) => "kept",
        Outcome::Rejected(_) => "rejected",
        Outcome::Full => "full",
    }
}

/// The same schema three times: as it is, by `exact` alone, and with malformed messages rejected.
struct Trio {
    both: JsonDecoder,
    exact: JsonDecoder,
    strict: JsonDecoder,
}

impl Trio {
    fn push(&mut self, message: &[u8]) {
        let shown = || String::from_utf8_lossy(message);
        let ours = self.both.push(Some(message));
        let mut text = String::new();
        utf8::replace_bad(message, &mut text);
        let row = self.exact.rows();
        let exacts = self.exact.push_exact(row, &text);
        assert_eq!(kind(&ours), kind(&exacts), "{}", shown());
        let before = self.strict.rows();
        let strict = self.strict.push(Some(message));
        assert_eq!(matches!(ours, Outcome::Row), matches!(strict, Outcome::Row), "{}", shown());
        assert_eq!(self.strict.rows() - before, usize::from(strict == Outcome::Row), "{}", shown());
        if let (Outcome::KeptMalformed(ours), Outcome::KeptMalformed(exacts)) = (&ours, &exacts) {
            assert_eq!((ours.code, &ours.field), (exacts.code, &exacts.field), "{}", shown());
        }
    }

    fn compare(&mut self, messages: &[Vec<u8>]) {
        let (ours, exacts) = (self.both.finish_array().unwrap(), self.exact.finish_array().unwrap());
        self.strict.finish_array().unwrap();
        if ours.to_data() == exacts.to_data() {
            return;
        }
        for (n, message) in messages.iter().enumerate() {
            let same = ours.slice(n, 1).to_data() == exacts.slice(n, 1).to_data();
            assert!(same, "{}", String::from_utf8_lossy(message));
        }
    }
}

#[test]
fn every_mutation_is_read_alike_by_both_readers() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(default)
    };
    let (count, seed) = (number("ALLUVIA_MUTATIONS", 100_000), number("ALLUVIA_SEED", 1));
    println!("{count} mutations from seed {seed}");
    const LENIENT: &[(&str, &str)] = &[
        ("allowComments", "true"),
        ("allowUnquotedFieldNames", "true"),
        ("allowNumericLeadingZeros", "true"),
    ];
    const TIGHT: &[(&str, &str)] = &[("maxNestingDepth", "3"), ("maxNumLen", "5"), ("maxStringLen", "8")];
    let mut trios: Vec<Trio> = SCHEMAS
        .iter()
        .flat_map(|schema| [(schema, &[][..]), (schema, LENIENT), (schema, TIGHT)])
        .map(|(schema, options)| Trio {
            both: decoder(schema, options, OnMalformed::Keep),
            exact: decoder(schema, options, OnMalformed::Keep),
            strict: decoder(schema, options, OnMalformed::Reject),
        })
        .collect();
    const BATCH: u64 = 1000;
    let mut memory_max = 0;
    for batch in 0..count.div_ceil(BATCH) {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(batch));
        let which = batch as usize % trios.len();
        let trio = &mut trios[which];
        let messages: Vec<Vec<u8>> = (0..BATCH).map(|_| mutated(&mut random)).collect();
        messages.iter().for_each(|message| trio.push(message));
        memory_max = memory_max.max(trio.both.memory_bytes());
        trio.compare(&messages);
    }
    println!("at most {memory_max} bytes for {BATCH} messages");
    assert!(memory_max < 4 << 20);
}
