//! Prometheus' own tools: `tests/rig/prometheus`.

use std::io::Write;
use std::process::{Command, Stdio};

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
