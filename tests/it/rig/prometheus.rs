//! A real Prometheus and its own tools: `tests/rig/prometheus`.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::http::get;
use super::{child, until};

const BOUND: Duration = Duration::from_secs(60);

/// A Prometheus that scrapes one program. Dropping it ends it.
pub struct Prometheus {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// One that scrapes `target` and evaluates the rules of a file; returns when it has scraped. `None` if services are skipped.
    pub fn scraping(target: &str, rules: &str) -> Option<Prometheus> {
        if super::skipped("Prometheus") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // To install it may take longer than it may to start.
        super::prepare("prometheus");
        let mut command = Command::new(super::home().join("prometheus"));
        command.arg("run").arg(folder.path()).args([target, rules]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let process = child::spawn(command).expect("tests/rig/prometheus starts; it needs python3");
        let told = folder.path().join("address");
        let mut prometheus = Prometheus { process, address: String::new(), _folder: folder };
        until("a Prometheus that listens", BOUND, || {
            let ended = prometheus.process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "Prometheus has ended; its words are above");
            prometheus.address = std::fs::read_to_string(&told).ok()?;
            std::net::TcpStream::connect(&prometheus.address).ok()
        });
        until("the first scrape", BOUND, || {
            let up = prometheus.query("up == 1");
            (up.len() == 1).then_some(())
        });
        Some(prometheus)
    }

    /// The series of an expression now: labels and value. Panics if it is no expression.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let encoded: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = get(&self.address, &format!("/api/v1/query?query={encoded}"));
        // It answers 503 while it starts.
        if answer.status == 503 {
            return Vec::new();
        }
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().expect("a vector has series");
        let value =
            |series: &Value| series["value"][1].as_str().expect("a sample").parse().expect("a number");
        series.iter().map(|series| (series["metric"].clone(), value(series))).collect()
    }

    /// The one value of an expression; `None` if it has no series.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let found = self.query(expression);
        assert!(found.len() < 2, "{expression}: {found:?}");
        found.first().map(|(_, value)| *value)
    }

    /// The rules: name and how their last evaluation went, `ok` or an error.
    pub fn rules(&self) -> Vec<(String, String)> {
        let answer = get(&self.address, "/api/v1/rules").json();
        let groups = answer["data"]["groups"].as_array().expect("rules are in groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("a group has rules"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules.map(|rule| (text(&rule["name"]), text(&rule["health"]) + &text(&rule["lastError"]))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `promtool ARGUMENTS` says of `input`; panics if it is not content. Returns whether it was asked, and not skipped.
pub fn promtool(arguments: &[&str], input: &str) -> bool {
    if super::skipped("Prometheus") {
        return false;
    }
    let script = super::home().join("prometheus");
    let mut command = Command::new(&script);
    command.arg("promtool").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command
        .spawn()
        .unwrap_or_else(|e| panic!("{} does not run ({e}); install Python 3.11 or later", script.display()));
    process.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("the input is taken");
    let ended = process.wait_with_output().expect("a child can be waited for");
    let said =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(
        ended.status.success(),
        "promtool {arguments:?}: {said}\n(ALLUVIA_SKIP_SERVICES=1 skips such tests)"
    );
    true
}
