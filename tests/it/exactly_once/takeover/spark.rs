//! Spark's own streaming queries, run by `tests/rig/spark_stream.py`: one Spark serves the whole test binary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::Value;

use crate::rig::child;

/// The batches that Spark ran (with `numInputRows` and `endOffset`), or what it said instead.
pub fn query(query: &Value) -> Result<Vec<Value>, String> {
    static SPARK: OnceLock<Mutex<Option<Spark>>> = OnceLock::new();
    let mut spark = SPARK.get_or_init(Mutex::default).lock().unwrap_or_else(|e| e.into_inner());
    let answer = spark.get_or_insert_with(Spark::start).ask(query);
    match answer["batches"].as_array() {
        Some(batches) => Ok(batches.clone()),
        None => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
    }
}

struct Spark {
    _process: Child,
    queries: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Spark {
    fn start() -> Spark {
        let home = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig");
        let mut command = Command::new(format!("{home}/readers"));
        command.args(["python", &format!("{home}/spark_stream.py"), "--serve"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = child::spawn(command).expect("tests/rig/readers starts; it needs python3");
        let queries = process.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut spark = Spark { _process: process, queries, answers };
        spark
            .answer()
            .expect("Spark starts (tests/rig/readers python tests/rig/spark_stream.py says why not)");
        spark
    }

    fn ask(&mut self, query: &Value) -> Value {
        writeln!(self.queries, "{query}").expect("Spark listens");
        self.answer().expect("Spark answers each query")
    }

    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok().filter(|n| *n > 0)?;
        Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("Spark said {line}: {e}")))
    }
}
