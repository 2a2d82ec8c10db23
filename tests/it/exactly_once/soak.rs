//! Everything at once, seeded: kills, stops, freezes, zombies, broker crashes, failing storage, while messages (some of
//! them malformed) keep coming. `make soak MINUTES=20 SEED=1` runs it for long, optimised as a release is; the ordinary
//! run is short. Beside the process that is ill-treated runs a witness on tables of its own, under the same broker and
//! the same failing storage, that nobody kills: its memory is what must stay flat. A third one merges the same topic into a
//! table with a row for each device; it is killed too, and loses its local disk.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::rig::{Alluvia, Broker, resident};
use crate::scene::{BOUND, Scene};

const PARTITIONS: u32 = 4;
/// More than a process of this stream ever holds.
const PEAK_MIB: u64 = 128;

/// The memory of a process in MiB, at each step.
#[derive(Default)]
struct Memory(Vec<u64>);

impl Memory {
    /// Median and peak of each third. In the first a process warms up.
    fn thirds(&self) -> [(u64, u64); 3] {
        let of = |third: usize| {
            let mut part = self.0[self.0.len() * third / 3..self.0.len() * (third + 1) / 3].to_vec();
            part.sort_unstable();
            (part.get(part.len() / 2).copied().unwrap_or(0), part.last().copied().unwrap_or(0))
        };
        [of(0), of(1), of(2)]
    }

    /// In the last third a process holds what it held in the middle one. A run of a few minutes is warming up all along.
    /// The peak goes with what waits in the topic after a pause: never more than a stream holds that has all waiting
    /// that may be fetched (`limits` measures it).
    fn check_flat(&self, who: &str, minutes: f64) {
        let within = if minutes < 5.0 { 64 } else { 8 };
        let [_, (median, _), (median_late, _)] = self.thirds();
        assert!(median_late <= median + within, "memory of {who} grew: {:?}", self.0);
        let peak = self.0.iter().max().copied().unwrap_or_default();
        assert!(peak < PEAK_MIB, "the peak memory of {who} is {peak} MiB: {:?}", self.0);
    }
}

fn number(variable: &str, default: f64) -> f64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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

/// Asks a process to stop, which must end well; one that has just been started may not listen yet.
fn stop(program: Alluvia) {
    program.terminate();
    let ended = program.wait(BOUND);
    if ended.status.signal() != Some(libc::SIGTERM) {
        ended.success();
    }
}

/// Waits until `done` holds of the process.
fn wait_until(done: impl Fn() -> bool, what: &str, program: &mut Alluvia) {
    let start = Instant::now();
    while !done() {
        let ended = program.ended();
        let why = if ended { "it has ended".to_owned() } else { format!("not within {BOUND:?}") };
        let over = ended || start.elapsed() >= BOUND;
        assert!(!over, "{what}: {why}; it said:\n{}", program.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether process `pid` owns the stream in `folder`: the newest lease names it.
fn owns(pid: u32, folder: &Path) -> bool {
    let Ok(leases) = std::fs::read_dir(folder.join("checkpoint/alluvia/lease")) else { return false };
    let newest = leases.flatten().map(|lease| lease.path()).filter(|path| path.extension().is_none()).max();
    let owner = newest.and_then(|lease| std::fs::read_to_string(lease).ok());
    owner.is_some_and(|owner| owner.contains(&format!("\"pid\":{pid},")))
}

/// The scene's stream, as one that goes on whatever fails.
fn endless(scene: &Scene) -> String {
    let endless = scene
        .endless_yaml()
        .replace("50 ms", "100 ms")
        // Few files to read at a start, or so many starts fail by a storage fault that none gets to work.
        .replace("checkpointInterval: '2'", "checkpointInterval: '10'");
    // A short backoff: twelve failed starts in a row would else make a pause of minutes, and a backlog as large.
    format!("{endless}    restart: {{ maxAttempts: 1000, backoff: 1 ms }}\n")
}

#[test]
fn soak_with_kills_freezes_and_broker_crashes_ends_with_table_equal_to_topic() {
    let Some(mut broker) = Broker::private() else { return };
    let minutes = number("ALLUVIA_SOAK_MINUTES", 0.5);
    let seed = number("ALLUVIA_SOAK_SEED", 1.0) as u64;
    println!("soak: {minutes} minutes, seed {seed}");
    let scene = Scene::new(&broker, "soak", PARTITIONS, 1_000, 3_000);
    let endless = endless(&scene);
    let (folder, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (merging, merged) = (Scene::newest_yaml(&endless), tempfile::tempdir().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let mut did = [0_u32; 6];
    let mut merge_kills = 0;
    let mut witness = start(&endless, apart.path(), &mut random);
    let mut program = start(&endless, folder.path(), &mut random);
    let mut merger = start(&merging, merged.path(), &mut random);
    let (mut ill_treated, mut undisturbed) = (Memory::default(), Memory::default());
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    while Instant::now() < end {
        scene.produce(&broker, random.random_range(500..5_000));
        std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
        for (memory, process) in [(&mut ill_treated, &program), (&mut undisturbed, &witness)] {
            memory.0.extend(resident(process.pid()).map(|bytes| bytes >> 20));
        }
        match random.random_range(0..20) {
            0..=3 => {
                program.kill();
                program = start(&endless, folder.path(), &mut random);
                did[0] += 1;
            }
            4..=5 => {
                stop(program);
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
                // Frozen, replaced by one of the same name, and woken while that one works. Until it has the lease it
                // would replace its successor, and rightly.
                let pid = program.pid();
                wait_until(|| owns(pid, folder.path()), "it owns the stream", &mut program);
                scene.produce(&broker, 1_000);
                program.pause();
                let successor = start(&endless, folder.path(), &mut random);
                std::thread::sleep(Duration::from_millis(random.random_range(50..1_500)));
                program.resume();
                scene.produce(&broker, 1_000);
                let zombie = std::mem::replace(&mut program, successor).wait(BOUND);
                assert_eq!(zombie.code(), 5, "{}", zombie.stderr);
                did[4] += 1;
            }
            10 => {
                broker.kill();
                broker.start();
                did[3] += 1;
            }
            12..=14 => {
                merger.kill();
                if random.random_range(0..2) == 0 {
                    let _ = std::fs::remove_dir_all(merged.path().join("index"));
                }
                merger = start(&merging, merged.path(), &mut random);
                merge_kills += 1;
            }
            // Left alone, it gets to the end of the topic.
            11 => {
                wait_until(|| scene.is_taken(folder.path()), "it has read all there is", &mut program);
                did[5] += 1;
            }
            _ => {}
        }
        assert!(!program.ended(), "it ended by itself:\n{}", program.stderr());
        assert!(!witness.ended(), "the witness ended by itself:\n{}", witness.stderr());
        assert!(!merger.ended(), "the merging stream ended by itself:\n{}", merger.stderr());
    }
    wait_until(|| scene.is_taken(folder.path()), "it has read all there is", &mut program);
    wait_until(|| scene.is_taken(apart.path()), "the witness has read all there is", &mut witness);
    wait_until(|| scene.is_taken(merged.path()), "the merging stream has read all there is", &mut merger);
    stop(program);
    stop(witness);
    stop(merger);
    let [kills, stops, freezes, crashes, zombies, ends] = did;
    println!(
        "soak: {} messages, {merge_kills} kills of the merging stream, {kills} kills, {stops} stops, {freezes} freezes, {zombies} zombies, {crashes} broker crashes, \
         {ends} times left alone until all was read",
        scene.events(),
    );
    for (memory, who) in [(&ill_treated, "the ill-treated process"), (&undisturbed, "the witness")] {
        println!("soak: RSS of {who} in MiB, median and peak of each third: {:?}", memory.thirds());
    }
    scene.finish(folder.path(), "the soak");
    scene.finish(apart.path(), "the witness");
    scene.check_newest(merged.path(), "the merging stream");
    ill_treated.check_flat("the ill-treated process", minutes);
    undisturbed.check_flat("the witness", minutes);
}
