//! A real Apache Kafka broker: the folder, ports and Java process that `tests/rig/kafka run` makes.
//!
//! The script decides versions, ports and settings; here are only its life and the admin calls that tests need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::{child, until};

const START_BOUND: Duration = Duration::from_secs(60);
const CALL_BOUND: Duration = Duration::from_secs(60);
/// How long a broker may take that is asked to stop, and one of Kafka's own tools.
const STOP_BOUND: Duration = Duration::from_secs(120);
const TOOL_BOUND: Duration = Duration::from_secs(120);
/// How long the partitions of new topics, thousands in one test, may take to have leaders on a busy machine.
const LEADERS_BOUND: Duration = Duration::from_secs(120);

/// One broker with its data. Dropping it kills the process and removes the data.
pub struct Broker {
    home: PathBuf,
    /// The folder of the broker whose cluster this one joins.
    beside: Option<PathBuf>,
    process: Option<Child>,
    facts: Value,
}

impl Broker {
    /// The broker that all tests of this binary share; `None` only when services are skipped on purpose.
    pub fn shared() -> Option<&'static Broker> {
        static SHARED: OnceLock<Mutex<Option<&'static Broker>>> = OnceLock::new();
        if super::skipped("a Kafka broker") {
            return None;
        }
        // A test that fails while starting poisons nothing: the next one tries, and fails with the same words.
        let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
        Some(*shared.get_or_insert_with(|| Box::leak(Box::new(Broker::new(None)))))
    }

    /// A broker of one's own, to stop, kill and start again.
    pub fn private() -> Option<Broker> {
        (!super::skipped("a Kafka broker")).then(|| Broker::new(None))
    }

    /// A second broker of this one's cluster, node 2, that is no controller.
    pub fn beside(&self) -> Broker {
        Broker::new(Some(self.home.clone()))
    }

    fn new(beside: Option<PathBuf>) -> Broker {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let home = own_folder().join(format!("broker-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        super::prepare("kafka");
        let mut broker = Broker { home, beside, process: None, facts: Value::Null };
        broker.start();
        broker
    }

    /// Starts it (again): same ports, same data. Returns when it answers.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let mut command = Command::new(super::home().join("kafka"));
        command.arg("run").arg("--dir").arg(&self.home).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::inherit());
        if let Some(other) = &self.beside {
            command.arg("--beside").arg(other);
        }
        self.process = Some(child::spawn(command).expect("tests/rig/kafka starts; it needs python3"));
        until("the broker's addresses", START_BOUND, || {
            self.assert_alive();
            self.home.join("broker.json").exists().then_some(())
        });
        self.facts = read_json(&self.home.join("broker.json"));
        let admin = self.admin();
        until("a broker that answers", START_BOUND, || {
            self.assert_alive();
            let metadata = admin.inner().fetch_metadata(None, Duration::from_millis(500)).ok()?;
            (!metadata.brokers().is_empty()).then_some(())
        });
    }

    fn assert_alive(&mut self) {
        let process = self.process.as_mut().expect("started by the caller");
        if let Some(status) = process.try_wait().expect("a child can be waited for") {
            let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            panic!(
                "the broker ended with {status}:\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        self.end(libc::SIGTERM);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.end(libc::SIGKILL);
    }

    /// Sends a signal to a broker that runs, and waits for the end.
    fn end(&mut self, number: libc::c_int) {
        let mut process = self.process.take().expect("the broker runs");
        child::signal(&process, number);
        until("a broker that has ended", STOP_BOUND, || {
            process.try_wait().expect("a child can be waited for")
        });
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&self) {
        child::signal(self.process.as_ref().expect("the broker runs"), libc::SIGSTOP);
    }

    /// SIGCONT after [`Broker::pause`].
    pub fn resume(&self) {
        child::signal(self.process.as_ref().expect("the broker runs"), libc::SIGCONT);
    }

    /// What one of Kafka's own tools prints, by `tests/rig/kafka tool`; what it says instead, if it fails.
    pub fn tool(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(super::home().join("kafka"));
        command.args(["tool", "--dir"]).arg(&self.home).args(arguments).stdin(Stdio::null());
        let ended = child::output(command, TOOL_BOUND).expect("tests/rig/kafka starts; it needs python3");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match ended.status.success() {
            true => Ok(text(&ended.stdout)),
            false => Err(text(&ended.stdout) + &text(&ended.stderr)),
        }
    }

    /// The broker's folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `host:port` of the plain listener.
    pub fn bootstrap(&self) -> &str {
        self.fact("/bootstrap/plaintext")
    }

    /// What `broker.json` says under a JSON pointer, e.g. `/bootstrap/eventhubs`, `/eventhubs/password`, `/ca`, `/scram/user`.
    pub fn fact(&self, pointer: &str) -> &str {
        self.facts
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("broker.json has no {pointer}"))
    }

    /// A client configuration with the plain bootstrap address.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap()).set("broker.address.family", "v4");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = self.client();
        // While the broker starts, refused connections are no news.
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg).set("reconnect.backoff.max.ms", "250");
        config.create().expect("an admin client needs no connection")
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(CALL_BOUND)).operation_timeout(Some(CALL_BOUND))
    }

    /// Makes a topic with a unique name that begins with `hint`; returns the name.
    pub fn topic(&self, hint: &str, partitions: i32) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{hint}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.create_topic(&name, partitions, &[]);
        name
    }

    /// Makes a topic with Kafka's topic configs, e.g. `("cleanup.policy", "compact")`; returns when its leaders are known.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        let made = block_on(admin.create_topics([&topic], &Self::options())).expect("create a topic");
        made.into_iter().for_each(|r| drop(r.unwrap_or_else(|e| panic!("create topic {e:?}"))));
        self.await_partitions(&admin, name, partitions);
    }

    /// Makes many topics by one request; returns when the leaders of the last are known.
    pub fn create_topics(&self, names: &[String], partitions: i32) {
        let topics: Vec<NewTopic<'_>> =
            names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
        let admin = self.admin();
        let made = block_on(admin.create_topics(&topics, &Self::options())).expect("create topics");
        made.into_iter().for_each(|r| drop(r.unwrap_or_else(|e| panic!("create topic {e:?}"))));
        let last = names.last().expect("a topic");
        self.await_partitions(&admin, last, partitions);
    }

    /// Makes a topic with a partition on each of `brokers`, the nodes' ids; waits until they have joined.
    pub fn create_topic_on(&self, name: &str, brokers: &[i32]) {
        let replicas: Vec<[i32; 1]> = brokers.iter().map(|id| [*id]).collect();
        let replicas: Vec<&[i32]> = replicas.iter().map(<[i32; 1]>::as_slice).collect();
        let topic = NewTopic::new(name, brokers.len() as i32, TopicReplication::Variable(&replicas));
        let admin = self.admin();
        until("a topic on those brokers", START_BOUND, || {
            block_on(admin.create_topics([&topic], &Self::options())).ok()?.pop()?.ok()
        });
        self.await_partitions(&admin, name, brokers.len() as i32);
    }

    /// Raises the number of partitions to `total`.
    pub fn add_partitions(&self, name: &str, total: i32) {
        let admin = self.admin();
        let wanted = NewPartitions::new(name, total as usize);
        let made = block_on(admin.create_partitions([&wanted], &Self::options())).expect("add partitions");
        made.into_iter().for_each(|r| drop(r.unwrap_or_else(|e| panic!("add partitions {e:?}"))));
        self.await_partitions(&admin, name, total);
    }

    fn await_partitions(&self, admin: &AdminClient<DefaultClientContext>, name: &str, partitions: i32) {
        until("a topic with leaders", LEADERS_BOUND, || {
            let metadata = admin.inner().fetch_metadata(Some(name), CALL_BOUND).ok()?;
            let known = metadata.topics().first()?.partitions();
            (known.len() == partitions as usize && known.iter().all(|p| p.leader() >= 0)).then_some(())
        });
    }

    /// Deletes a topic; returns when the broker no longer names it.
    pub fn delete_topic(&self, name: &str) {
        let admin = self.admin();
        let gone = block_on(admin.delete_topics(&[name], &Self::options())).expect("delete a topic");
        gone.into_iter().for_each(|r| drop(r.unwrap_or_else(|e| panic!("delete topic {e:?}"))));
        until("a deleted topic", CALL_BOUND, || {
            let metadata = admin.inner().fetch_metadata(None, CALL_BOUND).ok()?;
            metadata.topics().iter().all(|t| t.name() != name).then_some(())
        });
    }

    /// Deletes the records before `offset` (all of them: `Offset::End`) of one partition.
    pub fn delete_records(&self, name: &str, partition: i32, before: Offset) {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(name, partition, before).expect("a valid offset");
        let done = block_on(self.admin().delete_records(&wanted, &Self::options())).expect("delete records");
        done.elements().iter().for_each(|e| e.error().unwrap_or_else(|e| panic!("delete records: {e}")));
    }

    /// Per partition the log start and the high watermark, as the broker says now.
    pub fn offsets(&self, name: &str) -> BTreeMap<i32, (i64, i64)> {
        let admin = self.admin();
        let metadata = admin.inner().fetch_metadata(Some(name), CALL_BOUND).expect("metadata");
        let partitions = metadata.topics().first().expect("the topic asked for").partitions();
        let bounds = |id| admin.inner().fetch_watermarks(name, id, CALL_BOUND).expect("watermarks");
        partitions.iter().map(|p| (p.id(), bounds(p.id()))).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A broker that has ended by itself is no second fault: a test that fails already would end all others.
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// The folder of this process for servers; those of processes that ended are removed, as a shared broker is never dropped.
pub(super) fn own_folder() -> PathBuf {
    static SWEPT: OnceLock<PathBuf> = OnceLock::new();
    let folder = SWEPT.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rig");
        for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
            let pid = entry.file_name().to_string_lossy().parse::<libc::pid_t>();
            // SAFETY: signal 0 only asks whether the process exists.
            if pid.is_ok_and(|pid| unsafe { libc::kill(pid, 0) } != 0) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        root.join(std::process::id().to_string())
    });
    folder.clone()
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
