//! Spark, serving: a script of `tests/rig` that is asked and answers by lines of JSON, as long as the test binary runs.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde_json::Value;

use super::{child, readers};

/// How long a start and an answer may take.
const BOUND: Duration = Duration::from_secs(300);

/// Started when it is first asked, as that takes ten seconds; and again after it has failed.
pub struct Spark {
    script: &'static str,
    running: Mutex<Option<Running>>,
}

impl Spark {
    pub const fn serving(script: &'static str) -> Spark {
        Spark { script, running: Mutex::new(None) }
    }

    /// Asks, and waits for the answer. Panics with Spark's words when there is none.
    pub fn ask(&self, question: &Value) -> Value {
        let mut running = self.running.lock().unwrap_or_else(|e| e.into_inner());
        // Taken out while it is asked: one that does not answer is given up, or it would answer the next question with this.
        let mut spark = running.take().unwrap_or_else(|| Running::start(self.script));
        let answer = spark.ask(question);
        *running = Some(spark);
        answer
    }
}

struct Running {
    process: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    fn start(script: &str) -> Running {
        let mut command = readers::python(script);
        command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = child::spawn(command).expect("tests/rig/readers starts; it needs python3");
        let questions = process.stdin.take().expect("stdin is piped");
        let answers = child::lines(process.stdout.take().expect("stdout is piped"));
        let errors = child::lines(process.stderr.take().expect("stderr is piped"));
        let spark = Running { process, questions, answers, errors };
        spark.answer("its start");
        spark
    }

    fn ask(&mut self, question: &Value) -> Value {
        if let Err(error) = writeln!(self.questions, "{question}") {
            panic!("Spark does not listen: {error}; it said\n{}", self.said());
        }
        self.answer(&question.to_string())
    }

    fn answer(&self, to: &str) -> Value {
        let line = self.answers.recv_timeout(BOUND);
        let line = line.unwrap_or_else(|error| {
            panic!("no answer of Spark to {to} within {BOUND:?}: {error}; it said\n{}", self.said())
        });
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("Spark said {line}: {e}"))
    }

    /// The end of what it has said on stderr.
    fn said(&self) -> String {
        let next = || self.errors.recv_timeout(Duration::from_secs(1)).ok();
        let lines: Vec<String> = std::iter::from_fn(next).take(10_000).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
