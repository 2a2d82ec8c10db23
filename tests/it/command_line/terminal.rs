//! What a person sees who runs the program on a terminal: log lines above the live progress, a bar, an error said once.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use super::ingest_of_no_topic;
use crate::rig::{Broker, Message, child, until};
use crate::scene::BOUND;

/// Runs the program with a terminal as its standard error until it ends; returns its exit code and what the terminal got.
fn on_a_terminal(arguments: &[&str], folder: &Path) -> (i32, String) {
    let (mut ours, mut theirs) = (0, 0);
    let mut size = libc::winsize { ws_row: 40, ws_col: 140, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills both numbers, reads the size, and needs no name or settings.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &raw mut size,
        )
    };
    assert_eq!(opened, 0, "no terminal");
    // SAFETY: both are open, and no one else's.
    let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_alluvia"));
    command.args(arguments).current_dir(folder).env("TERM", "xterm").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::from(theirs));
    let mut process = child::spawn(command).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut terminal, mut bytes, mut buffer) = (File::from(ours), Vec::new(), [0; 4096]);
        // The end of the other side is an error here.
        while let Ok(count @ 1..) = terminal.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let status = until("the end of the program", BOUND, || process.try_wait().unwrap());
    // The terminal ends with the last process that has it.
    (status.code().unwrap(), reader.join().unwrap())
}

/// The lines that stand on a screen after it got `text`.
fn screen(text: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                assert_eq!(chars.next(), Some('['), "an escape that is not known");
                let mut number = String::new();
                while let Some(digit) = chars.next_if(|c| c.is_ascii_digit() || *c == '?' || *c == ';') {
                    number.push(digit);
                }
                let count = number.parse().unwrap_or(1);
                match chars.next() {
                    Some('A') => row = row.saturating_sub(count),
                    Some('B') => row += count,
                    Some('K') => lines[row].clear(),
                    // Colours, and the cursor shown or hidden.
                    Some('m' | 'h' | 'l') => {}
                    other => panic!("escape {number}{other:?} is not known"),
                }
            }
            c => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        while lines.len() <= row {
            lines.push(Vec::new());
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn log_lines_pass_above_the_bar_of_a_bounded_run() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("terminal", 2), tempfile::tempdir().unwrap());
    let message = |id: u64| {
        let text = if id % 1000 == 7 { "{".to_owned() } else { format!("{{\"id\":{id}}}") };
        Message::new(text).partition((id % 2) as i32)
    };
    broker.produce(&topic, (0..200_000).map(message));
    let (code, said) = on_a_terminal(
        &[
            "ingest",
            "--bootstrap-servers",
            broker.bootstrap(),
            "--topic",
            &topic,
            "--schema",
            "id INT",
            "--table",
            "./table",
            "--name",
            "orders",
            "--dead-letter",
            "./dead",
            "--option",
            "maxOffsetsPerTrigger=20000",
        ],
        folder.path(),
    );
    assert_eq!(code, 0, "{said}");
    // A bar with the share, the rate and the time left was drawn.
    let drawn = said
        .split(['\r', '\n'])
        .find(|line| line.contains("/200,000 records, "))
        .unwrap_or_else(|| panic!("no bar in {said}"));
    assert!(
        drawn.contains("orders ") && drawn.contains('%') && drawn.contains("/s, ") && drawn.contains(" left"),
        "{drawn}"
    );
    // Every log line stands alone, and of the bar nothing is left.
    let screen = screen(&said);
    let logged: Vec<&String> = screen.iter().filter(|line| line.contains("records were rejected")).collect();
    assert!(!logged.is_empty(), "{screen:#?}");
    for line in &screen {
        let log = line.contains(" INFO ") || line.contains(" WARN ");
        assert!(!log || line.starts_with("20"), "in the middle of a line: {line}");
        assert!(!line.contains(" left"), "the bar is still there: {line}");
    }
    let summary = screen.iter().rfind(|line| !line.is_empty()).unwrap();
    assert!(summary.starts_with("orders: 200,000 records read, 199,800 rows written"), "{summary}");
}

#[test]
fn a_fatal_error_is_said_once() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = on_a_terminal(&ingest_of_no_topic(broker), folder.path());
    assert_eq!(code, 2, "{said}");
    let screen = screen(&said);
    let errors: Vec<&String> = screen.iter().filter(|line| line.contains("no-such-topic")).collect();
    assert_eq!(errors.len(), 1, "{screen:#?}");
    assert!(errors[0].starts_with("alluvia: stream table: "), "{}", errors[0]);
}
