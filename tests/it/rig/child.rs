//! Child processes that never outlive the test binary.
//!
//! Linux ends a child by `PR_SET_PDEATHSIG` when the *thread* that started it ends, and a test is a thread: so all
//! children are started by one thread that lives as long as the process.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

type Job = Box<dyn FnOnce() + Send>;

/// Starts `command` so that it is killed when this process ends, however it ends.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    let (answer, answered) = channel();
    let job = Box::new(move || {
        // The receiver is waiting below; it cannot be gone.
        let _ = answer.send(command.spawn());
    });
    starter().send(job).expect("the starter thread lives as long as the process");
    answered.recv().expect("the starter thread answers each job")
}

fn starter() -> &'static Sender<Job> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::Builder::new()
            .name("rig-starter".into())
            .spawn(move || queue.iter().for_each(|job| job()))
            .expect("a thread can be started");
        jobs
    })
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: prctl is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

/// The lines of a child's output, read by a thread of their own: they can be waited for within a bound, and the child never
/// blocks on a full pipe.
pub fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (read, lines) = unbounded();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            if read.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// Runs `command` to its end, as [`Command::output`] does. One that takes longer than `bound` is killed, and the test fails
/// with what it said.
pub fn output(mut command: Command, bound: Duration) -> io::Result<Output> {
    let what = format!("{command:?}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = spawn(command)?;
    let stdout = whole(process.stdout.take().expect("stdout is piped"));
    let stderr = whole(process.stderr.take().expect("stderr is piped"));
    // They end with the process, unless one that it has started holds them.
    let all = |output: &Receiver<Vec<u8>>| output.recv_timeout(Duration::from_secs(10));
    let end = Instant::now() + bound;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            process.kill()?;
            process.wait()?;
            let said = all(&stderr).unwrap_or_default();
            panic!("{what} did not end within {bound:?}; it said\n{}", String::from_utf8_lossy(&said));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let said = |output: &Receiver<Vec<u8>>| {
        all(output).unwrap_or_else(|e| panic!("{what} has ended, and its output has not: {e}"))
    };
    Ok(Output { status, stdout: said(&stdout), stderr: said(&stderr) })
}

/// All that an output holds, when it has ended.
fn whole(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (read, all) = unbounded();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read ends it, too.
        let _ = output.read_to_end(&mut bytes);
        let _ = read.send(bytes);
    });
    all
}

/// Sends a signal (`libc::SIG…`) to a child that was not waited for yet.
pub fn signal(child: &Child, number: libc::c_int) {
    // SAFETY: kill takes no pointers; the pid is ours until it is waited for, which needs `&mut Child`.
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, number) };
    assert_eq!(sent, 0, "signal {number} to {}: {}", child.id(), io::Error::last_os_error());
}
