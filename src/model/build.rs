//! What this build is: `alluvia --version` and the metric `alluvia_build_info` say the same of it.

use std::sync::LazyLock;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, with `-dirty` behind it if the sources were changed; `unknown` in a debug build and
/// outside a git checkout (`build.rs`).
pub const COMMIT: &str = env!("ALLUVIA_BUILD_COMMIT");

/// What was compiled in beside the release: comma-separated, or `none`.
pub const FEATURES: &str = if cfg!(debug_assertions) {
    "debug,failpoints"
} else if cfg!(feature = "failpoints") {
    "failpoints"
} else {
    "none"
};

/// All of it in one line, as it stands behind the program's name: `0.1.0 (commit 1a2b3c4d5e6f, features: none)`.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> =
        LazyLock::new(|| format!("{VERSION} (commit {COMMIT}, features: {FEATURES})"));
    &LINE
}
