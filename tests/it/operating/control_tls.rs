//! TLS of the control listener.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::monitoring::BOUND;
use crate::rig::{Alluvia, until};

const STREAM: &str = "streams:
  - name: ticks
    source: { format: rate, options: { rowsPerSecond: 10 } }
    sink: { format: delta, path: ./ticks }
    checkpointLocation: ./checkpoint
    trigger: { processingTime: 50 ms }
";

/// Makes a certificate for 127.0.0.1 that signs itself, and no other: `server.pem` and `server-key.pem`.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", "server-key.pem", "-out", "server.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const FILES: [&str; 4] = ["--control-tls-certificate", "server.pem", "--control-tls-key", "server-key.pem"];

#[test]
fn a_stream_is_stopped_over_tls_also_after_the_certificate_was_renewed() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "first");
    std::fs::write(folder.path().join("s.yaml"), STREAM).unwrap();
    let listen = ["run", "s.yaml", "--listen", "off", "--control-listen", "127.0.0.1:0"];
    let program = Alluvia::start([&listen[..], &FILES].concat(), folder.path(), &[]);
    let line = program.wait_for("the control listener is ready", BOUND);
    let line: Value = serde_json::from_str(&line).unwrap();
    let url = format!("https://{}", line["address"].as_str().unwrap());
    let command = |arguments: &[&str], trusted: &str| {
        let environment =
            [("ALLUVIA_CONTROL_URL", &*url), ("ALLUVIA_URL", &*url), ("SSL_CERT_FILE", trusted)];
        Alluvia::start(arguments, folder.path(), &environment).wait(BOUND)
    };
    until("the stream runs", BOUND, || {
        let streams = command(&["streams", "--output", "json"], "server.pem");
        (streams.code() == 0 && streams.stdout.contains("running")).then_some(())
    });
    // Who does not trust the certificate does not get through, and neither does plain HTTP.
    std::fs::create_dir(folder.path().join("other")).unwrap();
    certificate(&folder.path().join("other"), "other");
    let distrusted = command(&["stop", "ticks"], "other/server.pem");
    assert_eq!(distrusted.code(), 3, "{}", distrusted.stderr);
    let plain = url.replace("https", "http");
    let plain = Alluvia::start(["stop", "ticks", "--control-url", &plain], folder.path(), &[]).wait(BOUND);
    assert_eq!(plain.code(), 3, "{}", plain.stderr);

    std::fs::copy(folder.path().join("server.pem"), folder.path().join("before.pem")).unwrap();
    certificate(folder.path(), "second");
    assert_eq!(command(&["streams"], "before.pem").code(), 3, "the old certificate is still shown");
    command(&["stop", "ticks"], "server.pem").success();
    program.wait(BOUND).success();
}

#[test]
fn files_that_make_no_identity_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "first");
    std::fs::write(folder.path().join("s.yaml"), STREAM).unwrap();
    std::fs::create_dir(folder.path().join("other")).unwrap();
    certificate(&folder.path().join("other"), "other");
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let start = |certificate: &str, key: &str| {
        let all = ["run", "s.yaml", "--listen", "off", "--control-listen", "127.0.0.1:0"];
        let files = ["--control-tls-certificate", certificate, "--control-tls-key", key];
        Alluvia::start([&all[..], &files].concat(), folder.path(), &[]).wait(BOUND)
    };
    for (certificate, key, named) in [
        ("gone.pem", "server-key.pem", "gone.pem"),
        ("empty.pem", "server-key.pem", "empty.pem"),
        ("server.pem", "server.pem", "server.pem"),
        ("server.pem", "other/server-key.pem", "the key must be that of the first certificate"),
    ] {
        let ended = start(certificate, key);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{certificate} {key}: {}", ended.stderr);
        assert!(!ended.stderr.contains("BEGIN"), "{}", ended.stderr);
    }
    let half = Alluvia::start(["run", "s.yaml", "--control-tls-key", "server-key.pem"], folder.path(), &[]);
    assert_eq!(half.wait(BOUND).code(), 2);
}
