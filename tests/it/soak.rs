//! Everything at once, seeded: kills, stops, freezes, broker crashes, failing storage, while messages keep coming. `make soak
//! MINUTES=20 SEED=1` runs it for long against the release binary; the ordinary run is short.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::ingest::{COLUMNS, w1_yaml};
use crate::rig::{Alluvia, Broker, Message, Placed, delta_digest, digest_of, workload};

const BOUND: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 4;

fn number(variable: &str, default: f64) -> f64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a process holds in memory now, in MiB; 0 when it has ended.
fn rss_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Storage that fails now and then, in every way; without the feature it is sound.
const FAULTS: &str = "create * 2% reject; create * 2% do-and-fail; create * 3% delay=40; complete * 2% do-and-fail; \
                      get * 1% reject; list * 1% reject; put * 2% do-and-fail; delete * 2% reject";

fn start(yaml: &str, folder: &Path, random: &mut StdRng) -> Alluvia {
    let seed = random.random::<u32>().to_string();
    let environment =
        [("ALLUVIA_STORE_FAULTS", FAULTS), ("ALLUVIA_STORE_SEED", &seed), ("ALLUVIA_OWNER", "pod-0")];
    Alluvia::run_with(yaml, folder, &environment)
}

fn send(broker: &Broker, topic: &str, sent: &mut Vec<Placed>, count: u64) {
    let from = sent.len() as u64;
    sent.extend(broker.produce(topic, (from..from + count).map(|seq| Message::event(7, seq, PARTITIONS))));
}

fn wanted(topic: &str, sent: &[Placed]) -> crate::rig::Digest {
    let mut value = Vec::new();
    digest_of(sent.iter().enumerate().map(|(seq, place)| {
        value.clear();
        workload::write_event(&mut value, 7, seq as u64);
        let event: Value = serde_json::from_slice(&value).expect("the workload is JSON");
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let (partition, offset) = (place.partition.to_string(), place.offset.to_string());
        [topic.to_owned(), partition, offset, text("event_id"), text("device"), event["seq"].to_string()]
    }))
}

#[test]
fn soak_with_kills_freezes_and_broker_crashes_ends_with_table_equal_to_topic() {
    let Some(mut broker) = Broker::private() else { return };
    let minutes = number("ALLUVIA_SOAK_MINUTES", 0.5);
    let seed = number("ALLUVIA_SOAK_SEED", 1.0) as u64;
    println!("soak: {minutes} minutes, seed {seed}");
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("soak", i32::try_from(PARTITIONS).unwrap());
    let endless = w1_yaml(
        &broker,
        &topic,
        ", maxOffsetsPerTrigger: 3000",
        "    restart: { maxAttempts: 1000, backoff: 100 ms }\n",
    )
    .replace("trigger: availableNow", "trigger: { processingTime: 100 milliseconds }")
    // Few files to read at a start, or so many starts fail by a storage fault that none gets to work.
    .replace("path: ./table }", "path: ./table, tableProperties: { delta.checkpointInterval: '10' } }");
    assert!(endless.contains("checkpointInterval"));
    let (mut random, mut sent, mut rss) = (StdRng::seed_from_u64(seed), Vec::new(), Vec::new());
    let mut did = [0_u32; 5];
    let mut program = start(&endless, folder.path(), &mut random);
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    while Instant::now() < until {
        let count = random.random_range(500..5_000);
        send(&broker, &topic, &mut sent, count);
        std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
        rss.push(rss_mib(program.pid()));
        match random.random_range(0..20) {
            0..=3 => {
                program.kill();
                program = start(&endless, folder.path(), &mut random);
                did[0] += 1;
            }
            4..=5 => {
                program.terminate();
                program.wait(BOUND).success();
                program = start(&endless, folder.path(), &mut random);
                did[1] += 1;
            }
            6..=7 => {
                program.pause();
                std::thread::sleep(Duration::from_millis(random.random_range(50..1_500)));
                program.resume();
                did[2] += 1;
            }
            8..=9 => {
                // Frozen, replaced by one of the same name, and woken while that one works.
                program.pause();
                let successor = start(&endless, folder.path(), &mut random);
                std::thread::sleep(Duration::from_millis(random.random_range(50..1_500)));
                program.resume();
                send(&broker, &topic, &mut sent, 1_000);
                let zombie = std::mem::replace(&mut program, successor).wait(BOUND);
                assert_eq!(zombie.code(), 5, "{}", zombie.stderr);
                did[4] += 1;
            }
            10 => {
                broker.kill();
                broker.start();
                did[3] += 1;
            }
            _ => {}
        }
        assert!(!program.ended(), "it ended by itself:\n{}", program.stderr());
    }
    program.terminate();
    program.wait(BOUND).success();
    let rest = endless.replace("trigger: { processingTime: 100 milliseconds }", "trigger: availableNow");
    Alluvia::run(&rest, folder.path()).wait(BOUND).success();
    let [kills, stops, freezes, crashes, zombies] = did;
    let (first, second) = rss.split_at(rss.len() / 2);
    println!("soak: RSS in MiB, at each step: {rss:?}");
    let most = |part: &[u64]| part.iter().max().copied().unwrap_or(0);
    println!(
        "soak: {} messages, {kills} kills, {stops} stops, {freezes} freezes, {zombies} zombies, {crashes} broker crashes; peak RSS {} MiB in the first half, {} MiB in the second",
        sent.len(),
        most(first),
        most(second)
    );
    let there = delta_digest(&folder.path().join("table"), &COLUMNS);
    assert!(there.same_rows(&wanted(&topic, &sent)), "{there:?}");
    assert!(most(second) <= most(first).max(64) * 2, "memory grew: {rss:?}");
}
