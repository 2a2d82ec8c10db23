//! The process in numbers: memory, CPU, file descriptors, as the kernel tells them under `/proc/self`.
//!
//! Read at a scrape. What can't be read (another system than Linux) has no sample.

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) start_seconds: Option<f64>,
}

impl Process {
    /// Reads it now.
    pub(crate) fn read() -> Process {
        let (page, ticks) = (system(libc::_SC_PAGESIZE), system(libc::_SC_CLK_TCK));
        let statm = text("/proc/self/statm");
        let stat = text("/proc/self/stat");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        let seconds = |ticks_counted: f64| ticks.map(|ticks| ticks_counted / ticks as f64);
        Process {
            resident_bytes: pages.zip(page).map(|(pages, page)| pages * page),
            cpu_seconds: field(&stat, 14).zip(field(&stat, 15)).and_then(|(u, s)| seconds(u + s)),
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: max_fds(),
            start_seconds: field(&stat, 22).and_then(seconds).zip(boot_seconds()).map(|(s, boot)| s + boot),
        }
    }
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Field `number` of `/proc/self/stat`, counted from 1. The second one, the program's name, may hold spaces.
fn field(stat: &str, number: usize) -> Option<f64> {
    let behind_name = &stat[stat.rfind(')')? + 1..];
    behind_name.split_whitespace().nth(number - 3)?.parse().ok()
}

fn boot_seconds() -> Option<f64> {
    text("/proc/stat").lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn system(name: libc::c_int) -> Option<u64> {
    // SAFETY: sysconf only reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(name) }).ok().filter(|value| *value > 0)
}

fn max_fds() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call fills the structure that it is given.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    (done == 0).then_some(limit.rlim_cur)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory_time_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 1 << 20);
        assert!(process.cpu_seconds.unwrap() >= 0.0);
        assert!(process.open_fds.unwrap() >= 3 && process.max_fds.unwrap() > process.open_fds.unwrap());
        let now = chrono::Utc::now().timestamp() as f64;
        let age = now - process.start_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 4242 1000 5";
        assert_eq!(
            (field(stat, 14), field(stat, 15), field(stat, 22)),
            (Some(250.0), Some(50.0), Some(4242.0))
        );
    }
}
