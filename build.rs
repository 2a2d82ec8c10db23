//! Names the commit that is built, as `ALLUVIA_BUILD_COMMIT`; `src/model/build.rs` shows it. Never makes a build fail.
//!
//! The environment's `ALLUVIA_COMMIT` wins: an image is built without `.git`. Else an optimised build asks git, and runs this
//! again when the commit or the sources change. A debug build does not ask, so that a commit makes no one compile again.

use std::path::Path;
use std::process::Command;

const UNKNOWN: &str = "unknown";
/// What the program is made of, so that a change of it shows in the name of the commit.
const SOURCES: [&str; 4] = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    println!("cargo:rerun-if-env-changed=ALLUVIA_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("ALLUVIA_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let optimised = std::env::var("PROFILE").is_ok_and(|profile| profile != "debug");
    let commit = given.or_else(|| if optimised { of_checkout() } else { None });
    println!("cargo:rustc-env=ALLUVIA_BUILD_COMMIT={}", commit.as_deref().unwrap_or(UNKNOWN).trim());
}

/// The commit of the checkout whose root this package is, with `-dirty` behind it if the sources differ from it.
fn of_checkout() -> Option<String> {
    let package = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let root = git(&["rev-parse", "--show-toplevel"])?;
    // Sources that were unpacked inside another repository are not of its commits.
    if Path::new(&root).canonicalize().ok()? != Path::new(&package).canonicalize().ok()? {
        return None;
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let mut watched: Vec<String> = SOURCES.map(str::to_owned).into();
    watched.extend(["HEAD", "logs/HEAD", "packed-refs"].iter().filter_map(|name| git_path(name)));
    watched.extend(git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|name| git_path(&name)));
    // Cargo takes a path that is not there for one that has changed, each time.
    for path in watched.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    let changes = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git_path(name: &str) -> Option<String> {
    git(&["rev-parse", "--git-path", name])
}

/// What git answers; `None` without git, or if it refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| text.trim().to_owned())
}
