//! The rig: real parts for the integration tests. A Kafka broker, our own binary as a process, readers no one here wrote.
//!
//! `Broker::shared()` is one broker for the whole test binary, with topics of unique names; `Broker::private()` is one
//! to stop, kill and start again. Every process started here dies with the test binary. A service that can't be had
//! fails the test and says what to install; only `ALLUVIA_SKIP_SERVICES=1` skips, loudly. Nothing here knows Alluvia's code.

pub mod azurite;
pub mod blob_proxy;
pub mod broker;
pub mod browser;
pub mod chart;
pub mod child;
pub mod cluster;
pub mod digest;
pub mod disk;
pub mod entra;
pub mod http;
pub mod image;
pub mod produce;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod readers;
pub mod spark;
pub mod tokens;
#[path = "../../../benches/e2e/workload.rs"]
pub mod workload;

pub use azurite::{Azurite, Scheme};
pub use blob_proxy::{Answer, BlobProxy};
pub use broker::Broker;
pub use cluster::Cluster;
pub use digest::{Digest, digest_of};
pub use disk::Disk;
pub use entra::Entra;
pub use produce::{Message, Placed, Transaction};
pub use program::{Alluvia, Ended};
pub use proxy::Proxy;
pub use readers::{
    delta_checkpoint, delta_digest, delta_log, delta_optimize, delta_rows, delta_vacuum, delta_writes,
    readers_agree, row_counts, spark_count, spark_filters_agree, spark_history, spark_insists, spark_merge,
    spark_sql,
};
pub use spark::Spark;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether tests that need a service are to be skipped; says so past the capture of test output.
pub fn skipped(service: &str) -> bool {
    let skip = std::env::var_os("ALLUVIA_SKIP_SERVICES").is_some_and(|v| v == "1");
    if skip {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {name}: needs {service}, and ALLUVIA_SKIP_SERVICES=1 is set"
        );
    }
    skip
}

/// The folder `tests/rig` of the repository.
fn home() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig"))
}

/// Has a script of `tests/rig` fetch what it needs into the cache; else says why not (a tool is missing, a registry can't be reached).
fn prepare(script: &str) {
    let path = home().join(script);
    let made = Command::new(&path).arg("prepare").stdin(Stdio::null()).output();
    let made = made
        .unwrap_or_else(|e| panic!("{} does not run ({e}); install Python 3.11 or later", path.display()));
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(
        made.status.success(),
        "no {script}: {said}
(ALLUVIA_SKIP_SERVICES=1 skips such tests)"
    );
}

/// The bytes that a process holds in memory now; `None` when it has ended.
pub fn resident(pid: u32) -> Option<u64> {
    memory_of(pid, "VmRSS:")
}

/// The bytes that a process has allocated and touched, without the pages of its program file; `None` when it has ended.
pub fn allocated(pid: u32) -> Option<u64> {
    memory_of(pid, "RssAnon:")
}

fn memory_of(pid: u32, kind: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(kind))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Asks `probe` until it answers `Some`, at most for `bound`; panics with `what` when it never does.
pub fn until<T>(what: &str, bound: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < bound, "{what}: not within {bound:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
