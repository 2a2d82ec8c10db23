//! The disk between the program and the kernel: what the program really asked of it, and calls that fail. Needs no rights.
//!
//! `tests/rig/disk.c` stands before the C library; its first lines say the rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Alluvia;

/// What is looked at: one folder, with a log of its own beside the files.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// The disk below `folder`.
    pub fn below(folder: &Path) -> Disk {
        Disk { folder: folder.canonicalize().expect("a folder that is there") }
    }

    /// `alluvia run` on it, with rules (`""` for none) and further environment variables. The log begins anew.
    pub fn run(&self, yaml: &str, rules: &str, environment: &[(&str, &str)]) -> Alluvia {
        let _ = fs::remove_file(self.log());
        let (log, folder, shim) = (self.log(), self.folder.clone(), shim());
        let text = |path: &PathBuf| path.to_str().expect("paths of tests are text").to_owned();
        let (log, root, shim) = (text(&log), text(&folder), text(shim));
        let ours = [
            ("LD_PRELOAD", shim.as_str()),
            ("ALLUVIA_DISK_ROOT", &root),
            ("ALLUVIA_DISK_LOG", &log),
            ("ALLUVIA_DISK", rules),
        ];
        Alluvia::run_with(yaml, &self.folder, &[&ours, environment].concat())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("disk.log")
    }

    /// The calls of the last run in their order, paths from the folder on, itself as `./`.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).expect("the shim made its log");
        let root = format!("{}/", self.folder.display());
        let itself = format!(" {root}");
        let refresh_log_segment = |line: &str| match line.strip_suffix(&itself) {
            Some(call) => format!("{call} ./"),
            None => line.replace(&root, ""),
        };
        text.lines().map(refresh_log_segment).collect()
    }
}

/// The compiled shim, made once and kept by what its source says.
fn shim() -> &'static PathBuf {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = super::home().join("disk.c");
        let text = fs::read(&source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &text);
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{id}.so"));
        if !made.exists() {
            let staged = made.with_extension(std::process::id().to_string());
            let mut compiler = Command::new("cc");
            compiler
                .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
                .arg(&staged)
                .arg(&source)
                .arg("-ldl");
            let said =
                compiler.output().unwrap_or_else(|e| panic!("cc does not run ({e}); install a C compiler"));
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
            fs::rename(&staged, &made).expect("one folder");
        }
        made
    })
}
