//! What is released: a build that names its commit, an archive with all that belongs to it, an image that starts without rights.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::operating::monitoring::Watched;
use crate::rig::http::get;
use crate::rig::image::{Container, Image, package, release};
use crate::rig::{Alluvia, until};

const BOUND: Duration = Duration::from_secs(60);

fn said(command: &mut Command) -> String {
    let ended = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

/// The build script in checkouts of its own, outside any, and beside a git that fails.
#[test]
fn a_build_names_its_commit_and_is_never_broken_for_it() {
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("build-script");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    said(Command::new(rustc).args(["--edition", "2024", source, "-o"]).arg(&script));
    let folder = scratch.path().join("checkout");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let run = |package: &Path, profile: &str, environment: &[(&str, &str)]| -> (String, BTreeSet<String>) {
        let mut command = Command::new(&script);
        command.current_dir(package).env_remove("ALLUVIA_COMMIT");
        command.env("CARGO_MANIFEST_DIR", package).env("PROFILE", profile).envs(environment.iter().copied());
        let text = said(&mut command);
        let lines = |key: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect()
        };
        let commit = lines("cargo:rustc-env=ALLUVIA_BUILD_COMMIT=");
        assert_eq!(commit.len(), 1, "{text}");
        (commit[0].clone(), lines("cargo:rerun-if-changed=").into_iter().collect())
    };
    let commit = |profile: &str| run(&folder, profile, &[]).0;

    assert_eq!(commit("release"), "unknown", "no checkout");
    assert_eq!(run(&folder, "release", &[("PATH", "")]).0, "unknown", "no git");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        said(Command::new("git").args(identity).args(arguments).current_dir(&folder))
    };
    git(&["init", "--quiet"]);
    assert_eq!(commit("release"), "unknown", "no commit yet");
    for name in ["src/lib.rs", "Cargo.toml", "Cargo.lock", "build.rs"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    let first = git(&["rev-parse", "--short=12", "HEAD"]);
    let (named, watched) = run(&folder, "release", &[]);
    assert_eq!(named, first);
    for path in ["src", "Cargo.toml", "Cargo.lock", "build.rs", ".git/HEAD", ".git/logs/HEAD"] {
        assert!(watched.contains(path), "a change of {path} names no new commit: {watched:?}");
    }
    assert!(
        watched.iter().all(|path| folder.join(path).exists()),
        "cargo would build each time: {watched:?}"
    );
    std::fs::write(folder.join("README.md"), "not part of the program").unwrap();
    assert_eq!(commit("release"), first);
    std::fs::write(folder.join("src/lib.rs"), "//! changed").unwrap();
    assert_eq!(commit("release"), format!("{first}-dirty"));
    git(&["commit", "--quiet", "-am", "second"]);
    assert_eq!(commit("release"), git(&["rev-parse", "--short=12", "HEAD"]));

    // A commit makes no debug build start over, and what is told wins.
    assert_eq!(run(&folder, "debug", &[]), ("unknown".to_owned(), ["build.rs".to_owned()].into()));
    assert_eq!(run(&folder, "debug", &[("ALLUVIA_COMMIT", "1a2b3c")]).0, "1a2b3c");
    assert_eq!(run(&folder, "release", &[("ALLUVIA_COMMIT", "1a2b3c")]).0, "1a2b3c");
    let unpacked = folder.join("vendor/alluvia");
    std::fs::create_dir_all(&unpacked).unwrap();
    assert_eq!(run(&unpacked, "release", &[]).0, "unknown", "the commit of another repository");
}

fn rate(listen: &str) -> String {
    format!(
        "streams:
  - name: ticks
    source: {{ format: rate, options: {{ rowsPerSecond: 100 }} }}
    sink: {{ format: delta, path: {listen}/ticks }}
    trigger: {{ processingTime: 50 ms }}
    checkpointLocation: {listen}/checkpoint
"
    )
}

#[test]
fn version_and_metrics_say_what_was_built() {
    let folder = tempfile::tempdir().unwrap();
    let line = Alluvia::start(["--version"], folder.path(), &[]).wait(BOUND).success().stdout;
    let (version, rest) = line.trim().strip_prefix("alluvia ").unwrap().split_once(" (commit ").unwrap();
    let (commit, features) = rest.strip_suffix(')').unwrap().split_once(", features: ").unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let compiled = if cfg!(debug_assertions) { "debug,failpoints" } else { features };
    assert_eq!(features, compiled);
    let watched = Watched::run(&rate("."), folder.path(), &[]);
    let metrics = get(&watched.observe, "/metrics").body;
    let info =
        format!("alluvia_build_info{{commit=\"{commit}\",features=\"{features}\",version=\"{version}\"}} 1");
    assert!(metrics.lines().any(|line| line == info), "{info} is not in\n{metrics}");
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

#[test]
fn a_release_holds_the_program_and_all_that_belongs_to_it() {
    let folder = release();
    let sums =
        said(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(folder));
    assert_eq!(sums.lines().filter(|line| line.ends_with(": OK")).count(), 3, "{sums}");
    let named = |suffix: &str| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect::<Vec<_>>().pop().unwrap()
    };
    let unpacked = tempfile::tempdir().unwrap();
    let archive = named(".tar.gz");
    said(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(unpacked.path()));
    let name = archive.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap().to_owned();
    assert!(name.starts_with(concat!("alluvia-", env!("CARGO_PKG_VERSION"), "-")), "{name}");
    let inside = unpacked.path().join(&name);
    let text =
        |path: &str| std::fs::read_to_string(inside.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();

    // The program runs, knows where its symbols are, and is the smaller for it.
    let program = inside.join("alluvia");
    assert_eq!(
        said(Command::new(&program).arg("--version")),
        said(Command::new(env!("CARGO_BIN_EXE_alluvia")).arg("--version"))
    );
    let sections = said(Command::new("readelf").arg("--sections").arg("--wide").arg(&program));
    assert!(sections.contains(".gnu_debuglink") && !sections.contains(".symtab"), "{sections}");
    let debug = said(Command::new("readelf").arg("--sections").arg("--wide").arg(named(".debug")));
    assert!(debug.contains(".debug_line") && debug.contains(".symtab"), "{debug}");
    assert!(size(&program) < size(Path::new(env!("CARGO_BIN_EXE_alluvia"))));

    // Completions and manual pages are those of this program.
    for file in ["alluvia.bash", "_alluvia", "alluvia.fish"] {
        assert!(text(&format!("completions/{file}")).contains("dead-letters"), "{file}");
    }
    let page = text("man/man1/alluvia.1");
    assert!(page.contains(".TH alluvia 1") && page.contains(env!("CARGO_PKG_VERSION")), "{page}");
    assert!(text("man/man1/alluvia-run.1").contains("wait\\-for\\-lease"));

    // The list of parts has each crate once, with licence and checksum, and none that only tests use.
    let parts: Value = serde_json::from_str(&std::fs::read_to_string(named(".cdx.json")).unwrap()).unwrap();
    assert_eq!((&parts["bomFormat"], &parts["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = parts["components"].as_array().unwrap();
    let names: BTreeSet<&str> = components.iter().map(|part| part["name"].as_str().unwrap()).collect();
    for used in ["rdkafka-sys", "openssl-src", "delta_kernel", "buoyant_kernel", "datafusion", "clap_derive"]
    {
        assert_eq!(names.contains(used), used != "delta_kernel", "{used}");
    }
    for of_tests in ["divan", "proptest"] {
        assert!(!names.contains(of_tests), "{of_tests}");
    }
    let references: BTreeSet<&str> =
        components.iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
    assert_eq!(references.len(), components.len());
    let licences = text("THIRD-PARTY.txt");
    for part in components {
        assert_eq!(part["hashes"][0]["content"].as_str().map(str::len), Some(64), "{part}");
        let expression = part["licenses"][0]["expression"].as_str().unwrap();
        let line = format!(
            "\n{} {}: {expression}\n",
            part["name"].as_str().unwrap(),
            part["version"].as_str().unwrap()
        );
        assert!(licences.contains(&line), "{line}");
    }
    for node in parts["dependencies"].as_array().unwrap() {
        for used in node["dependsOn"].as_array().unwrap() {
            assert!(references.contains(used.as_str().unwrap()), "{used} is not a component");
        }
    }
    for library in ["librdkafka/LICENSE)", "openssl/LICENSE.txt)", "mimalloc"] {
        assert!(licences.contains(library), "{library}");
    }

    // The same binary makes the same release.
    let again = tempfile::tempdir().unwrap();
    package(again.path());
    let sums = |folder: &Path| std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(folder), sums(again.path()));
}

#[test]
fn the_image_runs_read_only_without_rights_and_is_ready() {
    if !Image::possible() {
        return;
    }
    let Some(image) = Image::build("localhost/alluvia-test:release") else { return };
    let config = &image.facts["config"];
    assert_eq!((&config["User"], &config["WorkingDir"]), (&"65532:65532".into(), &"/data".into()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("streams.yaml");
    std::fs::write(&file, rate("/data")).unwrap();
    let mut container = Container {
        arguments: ["run", "/etc/alluvia/streams.yaml", "--listen=127.0.0.1:0"].map(str::to_owned).into(),
        environment: vec![("ALLUVIA_CONTROL_LISTEN".to_owned(), "off".to_owned())],
        ..Container::default()
    };
    let config =
        crate::rig::image::Mount { at: "/etc/alluvia/streams.yaml".to_owned(), host: file, read_only: true };
    container.mounts.push(config);
    container.writable("/data", &folder.path().join("data"));
    container.writable("/tmp", &folder.path().join("tmp"));
    let program = image.start(&container);
    let line = program.wait_for("the observe listener is ready", BOUND);
    let line: Value = serde_json::from_str(&line).unwrap();
    let address = line["address"].as_str().unwrap().to_owned();
    until("readiness", BOUND, || (get(&address, "/readyz").status == 200).then_some(()));
    until("rows in the table", BOUND, || {
        let rows = get(&address, "/api/v1/streams/ticks").json()["totals"]["outputRows"].as_u64();
        rows.filter(|rows| *rows > 0)
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    assert_eq!(value("Uid:"), "65532\t65532\t65532\t65532");
    for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(capabilities).trim_start_matches('0'), "", "{capabilities}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    let root = std::fs::read_to_string(format!("/proc/{}/mountinfo", program.pid())).unwrap();
    let mounted = |at: &str| {
        let line = root.lines().find(|line| line.split(' ').nth(4) == Some(at));
        line.unwrap_or_else(|| panic!("nothing is mounted at {at}:\n{root}"))
            .split(' ')
            .nth(5)
            .unwrap()
            .to_owned()
    };
    assert!(mounted("/").split(',').any(|option| option == "ro"), "{}", mounted("/"));
    println!("the image with this binary: {} bytes compressed", image.facts["compressedBytes"]);
    program.terminate();
    program.wait(BOUND).success();
}
