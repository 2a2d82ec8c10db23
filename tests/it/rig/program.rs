//! Alluvia as a process of its own: started with arguments or a stream file, watched, signalled, waited for within a bound.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::child;

/// A running `alluvia`. Dropping it kills it.
pub struct Alluvia {
    process: Child,
    stdout: Arc<Said>,
    stderr: Arc<Said>,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; panics when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {:?}: {}", self.status.signal(), self.stderr))
    }

    /// Panics with what was said unless the exit code is 0.
    pub fn success(self) -> Ended {
        assert!(self.status.success(), "{}\nstdout:\n{}\nstderr:\n{}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Alluvia {
    /// `alluvia run FILE`, with `yaml` as the file `stream.yaml` in `folder`, which is also the working directory.
    pub fn run(yaml: &str, folder: &Path) -> Alluvia {
        Alluvia::run_with(yaml, folder, &[])
    }

    /// As [`Alluvia::run`] with further environment variables.
    pub fn run_with(yaml: &str, folder: &Path, environment: &[(&str, &str)]) -> Alluvia {
        let file = folder.join("stream.yaml");
        fs::write(&file, yaml).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        Alluvia::start([OsStr::new("run"), file.as_os_str()], folder, environment)
    }

    /// Any command line, in `folder`.
    pub fn start<A: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
        environment: &[(&str, &str)],
    ) -> Alluvia {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alluvia"));
        // Many run at once: the default addresses are for the one that asks for them.
        command.env("ALLUVIA_LISTEN", "off").env("ALLUVIA_CONTROL_LISTEN", "off");
        command.args(arguments).current_dir(folder).envs(environment.iter().copied());
        Alluvia::from_command(command)
    }

    /// A command that becomes the program.
    pub fn from_command(mut command: Command) -> Alluvia {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = child::spawn(command).expect("the program starts");
        let stdout = Said::listen(process.stdout.take().expect("stdout is piped"));
        let stderr = Said::listen(process.stderr.take().expect("stderr is piped"));
        Alluvia { process, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the end, at most for `bound`: then it is killed and the test fails with what it said.
    pub fn wait(mut self, bound: Duration) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a child can be waited for") {
                break status;
            }
            if start.elapsed() > bound {
                child::signal(&self.process, libc::SIGKILL);
                let said = self.stderr.all(false);
                panic!(
                    "alluvia did not end within {bound:?}; stdout:\n{}\nstderr:\n{said}",
                    self.stdout.all(false)
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Ended { status, stdout: self.stdout.all(true), stderr: self.stderr.all(true) }
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.process.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until a line on stdout or stderr holds `text`; returns the first such line. Panics with what was said when
    /// none comes within `bound`, or none can come any more.
    pub fn wait_for(&self, text: &str, bound: Duration) -> String {
        let start = Instant::now();
        loop {
            // Looked at before the lines, which may come with the end.
            let ended = self.stdout.closed() && self.stderr.closed();
            let found = self.stderr.find(text, Duration::from_millis(20));
            if let Some(line) = found.or_else(|| self.stdout.find(text, Duration::ZERO)) {
                return line;
            }
            let why = if ended { "it has ended".to_owned() } else { format!("not within {bound:?}") };
            let over = ended || start.elapsed() >= bound;
            assert!(!over, "a line with `{text}`: {why}; stderr:\n{}", self.stderr.all(false));
        }
    }

    /// What it has said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.all(false)
    }

    /// What it has said on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.all(false)
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(self) -> Ended {
        child::signal(&self.process, libc::SIGKILL);
        self.wait(Duration::from_secs(60))
    }

    /// SIGTERM; does not wait.
    pub fn terminate(&self) {
        child::signal(&self.process, libc::SIGTERM);
    }

    /// SIGINT, as Ctrl-C; does not wait.
    pub fn interrupt(&self) {
        child::signal(&self.process, libc::SIGINT);
    }

    /// SIGSTOP: a machine asleep.
    pub fn pause(&self) {
        child::signal(&self.process, libc::SIGSTOP);
    }

    /// SIGCONT after [`Alluvia::pause`].
    pub fn resume(&self) {
        child::signal(&self.process, libc::SIGCONT);
    }
}

impl Drop for Alluvia {
    fn drop(&mut self) {
        // Already waited for: both are no-ops.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lines of one output, read by a thread of their own so that the process never blocks on a full pipe.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    closed: bool,
}

impl Said {
    fn listen(output: impl Read + Send + 'static) -> Arc<Said> {
        let said = Arc::new(Said::default());
        let writer = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                writer.lock().text.push(String::from_utf8_lossy(&line).into_owned());
                writer.more.notify_all();
            }
            writer.lock().closed = true;
            writer.more.notify_all();
        });
        said
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().expect("no one panics while holding the lines")
    }

    /// Everything so far; `to_the_end` first waits (10 s at most) for the end of the output.
    fn all(&self, to_the_end: bool) -> String {
        let lines = self.lock();
        let bound = Duration::from_secs(if to_the_end { 10 } else { 0 });
        let (lines, _) = self.more.wait_timeout_while(lines, bound, |l| !l.closed).expect("as in lock");
        lines.text.join("\n")
    }

    /// Whether the last line was said.
    fn closed(&self) -> bool {
        self.lock().closed
    }

    fn find(&self, text: &str, bound: Duration) -> Option<String> {
        let found = |lines: &Lines| lines.text.iter().find(|line| line.contains(text)).cloned();
        let lines = self.lock();
        let (lines, _) =
            self.more.wait_timeout_while(lines, bound, |l| found(l).is_none()).expect("as in lock");
        found(&lines)
    }
}
