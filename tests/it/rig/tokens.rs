//! Tokens for the rig's brokers: JSON Web Tokens, signed by openssl with the key that the broker knows, or with another.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::Broker;

/// A token for the listener `tokens`, signed with the key under `key` in `broker.json` (`/tokens/key`, `/tokens/forgedKey`).
pub fn signed(broker: &Broker, key: &str, audience: &str, life: Duration) -> (String, SystemTime) {
    let now = SystemTime::now();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": broker.fact("/tokens/keyId") });
    let claims = json!({
        "sub": "rig", "scope": "read", "aud": audience, "iss": broker.fact("/tokens/issuer"),
        "iat": seconds(now), "nbf": seconds(now), "exp": seconds(now + life),
    });
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign", broker.fact(key)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl starts");
    openssl.stdin.take().expect("stdin is piped").write_all(signed.as_bytes()).expect("openssl reads");
    let signature = openssl.wait_with_output().expect("openssl ends");
    assert!(signature.status.success(), "openssl signs");
    (format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.stdout)), now + life)
}
