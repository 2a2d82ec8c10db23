//! The stand-in for Entra ID and for the metadata service of a machine (`tests/rig/entra`), running.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{Broker, child};

/// It gives tokens for the broker and for Azure Storage while the file of its secret is there. Dropped, it ends.
pub struct Entra {
    process: Child,
    /// `https://localhost:PORT`, the authority.
    pub url: String,
    /// `http://127.0.0.1:PORT`, the metadata service.
    pub metadata: String,
    answers: BufReader<ChildStdout>,
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
        let mut answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut url = || {
            let mut line = String::new();
            answers.read_line(&mut line).expect("it prints its addresses");
            line.trim().to_owned()
        };
        let (url, metadata) = (url(), url());
        Entra { process, url, metadata, answers }
    }

    /// Waits for an answer with this status.
    pub fn wait_for(&mut self, status: &str) {
        let mut line = String::new();
        while line.trim() != status {
            line.clear();
            assert!(
                self.answers.read_line(&mut line).expect("it prints its answers") > 0,
                "the endpoint has ended"
            );
        }
    }
}

impl Drop for Entra {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
