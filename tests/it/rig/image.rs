//! A release of the built binary (`packaging/dist`) and the image of the Dockerfile with it (`tests/rig/image`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::Alluvia;

/// The folder of a release of the built binary, made once.
pub fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let folder = super::broker::own_folder().join("release");
        package(&folder);
        folder
    })
}

/// Makes a release of the built binary in `folder`; returns what the script says.
pub fn package(folder: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/dist");
    let mut command = Command::new(script);
    command.args(["--binary", env!("CARGO_BIN_EXE_alluvia"), "--level", "1", "--into"]).arg(folder);
    output(command, "packaging/dist needs Python 3.11, cargo and binutils")
}

/// An image, and a copy of its files to start it from. Dropping it removes both.
pub struct Image {
    name: String,
    files: PathBuf,
    /// What `tests/rig/image build` says: name, size, configuration.
    pub facts: Value,
    _folder: tempfile::TempDir,
}

impl Image {
    /// Builds the Dockerfile's image with the built binary; `None` if services are skipped.
    pub fn build(name: &str) -> Option<Image> {
        if super::skipped("buildah") {
            return None;
        }
        let text = script(&["build".as_ref(), release().as_os_str(), name.as_ref()]);
        let facts = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let files = folder.path().join("files");
        std::fs::create_dir(&files).expect("a folder can be made");
        script(&["unpack".as_ref(), name.as_ref(), files.as_os_str()]);
        Some(Image { name: name.to_owned(), files, facts, _folder: folder })
    }

    /// Whether this is a machine on which an image can be built and started; says so past the capture of test output.
    pub fn possible() -> bool {
        // SAFETY: only asks who we are.
        let root = unsafe { libc::geteuid() } == 0;
        let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let possible = root && system.contains("VERSION_CODENAME=bookworm");
        if !possible {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {name}: an image is built by root on Debian 12, with the base of that release"
            );
        }
        possible
    }

    /// Starts its program as Kubernetes would under the chart's security context.
    pub fn start(&self, container: &Container) -> Alluvia {
        let mounts: serde_json::Map<String, Value> = container
            .mounts
            .iter()
            .map(|mount| (mount.at.clone(), mount.host.display().to_string().into()))
            .collect();
        let read_only: Vec<&str> =
            container.mounts.iter().filter(|mount| mount.read_only).map(|mount| mount.at.as_str()).collect();
        let environment: serde_json::Map<String, Value> =
            container.environment.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        let spec = json!({
            "args": container.arguments, "env": environment, "mounts": mounts, "readOnly": read_only,
        });
        let mut command = Command::new(super::home().join("image"));
        command.arg("start").arg(&self.files).arg(spec.to_string());
        Alluvia::from_command(command)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut command = Command::new(super::home().join("image"));
        let _ = command.args(["remove", &self.name]).stdin(Stdio::null()).output();
    }
}

/// What a pod adds to its image.
#[derive(Default)]
pub struct Container {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
}

/// A folder or file of the host in a container.
pub struct Mount {
    pub at: String,
    pub host: PathBuf,
    pub read_only: bool,
}

impl Container {
    /// A folder that the image's user may write to.
    pub fn writable(&mut self, at: &str, host: &Path) {
        std::fs::create_dir_all(host).expect("a folder can be made");
        std::os::unix::fs::chown(host, Some(65532), Some(65532)).expect("root may give a folder away");
        self.mounts.push(Mount { at: at.to_owned(), host: host.to_owned(), read_only: false });
    }
}

fn script(arguments: &[&std::ffi::OsStr]) -> String {
    let mut command = Command::new(super::home().join("image"));
    command.args(arguments);
    output(command, "ALLUVIA_SKIP_SERVICES=1 skips such tests")
}

fn output(mut command: Command, hint: &str) -> String {
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.unwrap_or_else(|e| panic!("{command:?} does not run ({e}); {hint}"));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}\n({hint})");
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}
