//! The stand-in for Entra ID and for the metadata service of a machine (`tests/rig/entra`), running.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::{Broker, child};

/// How long its addresses, and an answer of a kind that must come, are waited for.
const BOUND: Duration = Duration::from_secs(120);

/// It gives tokens for the broker and for Azure Storage while the file of its secret is there. Dropped, it ends.
pub struct Entra {
    process: Child,
    /// `https://localhost:PORT`, the authority.
    pub url: String,
    /// `http://127.0.0.1:PORT`, the metadata service.
    pub metadata: String,
    answers: Receiver<String>,
}

impl Entra {
    /// Tokens that hold for `life` seconds, for the application whose secret is in the file `secret`.
    pub fn start(broker: &Broker, secret: &Path, life: u32) -> Entra {
        Entra::start_with(broker, secret, life, &[])
    }

    /// The same with more arguments.
    pub fn start_with(broker: &Broker, secret: &Path, life: u32, more: &[&str]) -> Entra {
        let mut command = Command::new(super::home().join("entra"));
        command.arg("--broker").arg(broker.home()).arg("--secret-file").arg(secret).args(more);
        command.args(["--lifetime", &life.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = child::spawn(command).expect("tests/rig/entra starts");
        let answers = child::lines(process.stdout.take().expect("stdout is piped"));
        let url = || {
            let line = answers.recv_timeout(BOUND);
            line.unwrap_or_else(|e| panic!("tests/rig/entra does not print its addresses: {e}"))
        };
        let (url, metadata) = (url(), url());
        Entra { process, url, metadata, answers }
    }

    /// Waits for an answer with this status.
    pub fn wait_for(&mut self, status: &str) {
        let end = Instant::now() + BOUND;
        loop {
            match self.answers.recv_deadline(end) {
                Ok(answer) if answer.trim() == status => return,
                Ok(_) => {}
                Err(e) => panic!("no answer {status} of the endpoint within {BOUND:?}: {e}"),
            }
        }
    }
}

impl Drop for Entra {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
