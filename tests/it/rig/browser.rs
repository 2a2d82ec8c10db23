//! A real browser: `tests/rig/browser`.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What several readers see of the status page at `url`; screenshots are in `folder`. `None` if services are skipped.
pub fn page(url: &str, folder: &Path) -> Option<Value> {
    if super::skipped("Chromium") {
        return None;
    }
    let script = super::home().join("browser");
    let run = Command::new(&script).arg("page").arg(url).arg(folder).stdin(Stdio::null()).output();
    let run = run
        .unwrap_or_else(|e| panic!("{} does not run ({e}); install Python 3.11 or later", script.display()));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "no browser: {said}\n(ALLUVIA_SKIP_SERVICES=1 skips such tests)");
    Some(serde_json::from_slice(&run.stdout).unwrap_or_else(|e| panic!("{e}: {said}")))
}
