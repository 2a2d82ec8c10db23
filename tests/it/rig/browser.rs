//! A real browser: `tests/rig/browser`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::child;

/// How long a look may take, and to fetch the browser for the first one.
const BOUND: Duration = Duration::from_secs(600);

/// What several readers see of the status page at `url`; screenshots are in `folder`. `None` if services are skipped.
pub fn page(url: &str, folder: &Path) -> Option<Value> {
    if super::skipped("Chromium") {
        return None;
    }
    let script = super::home().join("browser");
    let mut command = Command::new(&script);
    command.arg("page").arg(url).arg(folder).stdin(Stdio::null());
    let run = child::output(command, BOUND)
        .unwrap_or_else(|e| panic!("{} does not run ({e}); install Python 3.11 or later", script.display()));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "no browser: {said}\n(ALLUVIA_SKIP_SERVICES=1 skips such tests)");
    Some(serde_json::from_slice(&run.stdout).unwrap_or_else(|e| panic!("{e}: {said}")))
}
