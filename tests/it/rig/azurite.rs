//! Azure Blob Storage as Azurite emulates it: the Node process that `tests/rig/azurite run` becomes.
//!
//! The script decides versions, ports and keys; here are only its life, containers, signatures, and how tables are read from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::digest::Digest;
use super::{child, readers, until};

const START_BOUND: Duration = Duration::from_secs(60);

/// How Azurite is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Account keys and signatures.
    Http,
    /// Tokens of Entra ID too, whose signatures it does not check.
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// One Azurite. Its blobs are in memory.
pub struct Azurite {
    scheme: Scheme,
    home: PathBuf,
    _process: Child,
    facts: Value,
}

impl Azurite {
    /// The one that all tests of this binary share; `None` only when services are skipped on purpose.
    pub fn shared(scheme: Scheme) -> Option<&'static Azurite> {
        static SHARED: [OnceLock<Mutex<Option<&'static Azurite>>>; 2] = [OnceLock::new(), OnceLock::new()];
        if super::skipped("Azurite") {
            return None;
        }
        let shared = SHARED[scheme as usize].get_or_init(Mutex::default);
        let mut shared = shared.lock().unwrap_or_else(|e| e.into_inner());
        Some(*shared.get_or_insert_with(|| Box::leak(Box::new(Azurite::start(scheme)))))
    }

    fn start(scheme: Scheme) -> Azurite {
        said(&mut script(&["prepare"]));
        let home = super::broker::own_folder().join("azurite");
        fs::create_dir_all(&home).expect("a folder for Azurite");
        let mut command = script(&["run", "--scheme", scheme.name(), "--dir"]);
        command.arg(&home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let process = child::spawn(command).expect("tests/rig/azurite starts; it needs python3");
        let facts = home.join(format!("{}.json", scheme.name()));
        until("Azurite's address", START_BOUND, || facts.exists().then_some(()));
        let text = fs::read_to_string(&facts).expect("Azurite's address");
        let facts = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let azurite = Azurite { scheme, home, _process: process, facts };
        until("an Azurite that answers", START_BOUND, || {
            let mut status = azurite.script("status", &["--scheme", scheme.name()]);
            status.output().is_ok_and(|ended| ended.status.success()).then_some(())
        });
        azurite
    }

    /// Makes a container with a unique name that begins with `hint`; returns the name.
    pub fn container(&self, hint: &str) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{hint}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        said(&mut self.script("container", &["--scheme", self.scheme.name(), &name]));
        name
    }

    /// A shared access signature for a container, with these permissions, that ends after `seconds` (or ended before).
    pub fn sas(&self, container: &str, permissions: &str, seconds: i64) -> String {
        let seconds = format!("--seconds={seconds}");
        said(&mut self.script("sas", &["--permissions", permissions, &seconds, container])).trim().to_owned()
    }

    /// The account's Blob endpoint.
    pub fn endpoint(&self) -> &str {
        self.fact("endpoint")
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.endpoint().split('/').nth(2).expect("an endpoint has a host")
    }

    pub fn account(&self) -> &str {
        self.fact("account")
    }

    pub fn key(&self) -> &str {
        self.fact("key")
    }

    /// The file of the CA that signed the HTTPS listener's certificate.
    pub fn ca(&self) -> &str {
        self.fact("ca")
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap_or_else(|| panic!("Azurite's facts have no {name}"))
    }

    fn script(&self, command: &str, arguments: &[&str]) -> Command {
        let mut script = script(&[command, "--dir"]);
        script.arg(&self.home).args(arguments);
        script
    }

    /// How Python `deltalake` reaches this Azurite.
    fn reader(&self) -> Vec<(&'static str, String)> {
        let root = self.endpoint().trim_end_matches(self.account()).trim_end_matches('/').to_owned();
        let options = serde_json::json!({
            "azure_storage_use_emulator": "true", "azure_storage_account_key": self.key(), "allow_invalid_certificates": "true",
        });
        vec![("AZURITE_BLOB_STORAGE_URL", root), ("ALLUVIA_STORAGE_OPTIONS", options.to_string())]
    }

    /// What the table at `az://CONTAINER/PATH` holds, as [`super::delta_digest`] says of one on disk.
    pub fn delta_digest(&self, table: &str, columns: &[&str]) -> Digest {
        let text = readers::read_delta_with("digest", Path::new(table), columns, &self.reader());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("read_delta.py digest said {text}: {e}"))
    }

    /// The rows of the table at `az://CONTAINER/PATH`, as [`super::delta_rows`] gives those of one on disk.
    pub fn delta_rows(&self, table: &str, columns: &[&str]) -> Vec<Value> {
        let text = readers::read_delta_with("rows", Path::new(table), columns, &self.reader());
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect()
    }

    /// The table at `az://CONTAINER/PATH` as it is called in [`super::spark_sql`], which then can read it.
    pub fn spark_table(&self, table: &str) -> String {
        assert!(self.scheme == Scheme::Http, "Spark reads by HTTP here");
        let port = self.address().split(':').nth(1).expect("an address has a port");
        let host = format!("{}.blob.localhost:{port}", self.account());
        readers::spark_sql(&format!("SET `fs.azure.account.key.{host}`=`{}`", self.key()));
        let (container, path) =
            (table.trim_start_matches("az://").split_once('/')).expect("a path in a container");
        format!("delta.`wasb://{container}@{host}/{path}`")
    }
}

fn script(arguments: &[&str]) -> Command {
    let mut script = Command::new(super::home().join("azurite"));
    script.args(arguments).stdin(Stdio::null());
    script
}

fn said(command: &mut Command) -> String {
    let ended = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?} does not run ({e}); install Python 3.11 or later"));
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {error}\n(ALLUVIA_SKIP_SERVICES=1 skips such tests)");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}
