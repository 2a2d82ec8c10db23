//! Spark's `socket` source: lines of text from a server, for trying things out.
//!
//! Columns `value STRING` and, with `includeTimestamp`, `timestamp TIMESTAMP`. At most once, as in Spark: a line that
//! was read and not committed when the process ended is lost, which the next start records as a loss. An
//! offset is the number of lines. Lines wait in memory until their batch is committed; when too many wait, no more
//! are taken from the server. Unlike Spark, which has no bound, a line has a longest length.

mod lines;

use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;

use self::lines::{LINE_BYTES_MAX, Lines, read_lines};
use super::{
    Admission, Available, From, Intake, Position, ReadOutcome, Source, SourceOptions, SourceRange, Split,
    SplitReader, go_on,
};
use crate::config::SocketOptions;
use crate::model::{Error, Loss, MemoryAccount, Notes, Offset, OffsetRange, Result, TopicPartition};

/// Lines of one Arrow batch, and bytes of them beyond which it takes no further line.
const BATCH_LINES: i64 = 16 * 1024;
const BATCH_BYTES: usize = 1024 * 1024;
/// How long each address of the server is waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The asking side; a thread of its own reads the lines.
pub struct SocketSource {
    options: SocketOptions,
    lines: Arc<Lines>,
    /// The thread's, which closes it when it ends.
    connection: Weak<TcpStream>,
}

impl SocketSource {
    /// Connects.
    ///
    /// # Errors
    /// `Unavailable` if no server listens.
    pub fn open(options: &SocketOptions) -> Result<SocketSource> {
        let SocketOptions { host, port, .. } = options;
        let socket = connect(host, *port).map_err(|e| {
            Error::unavailable(format!("no server answers at {host}:{port}"))
                .source(e)
                .hint("check source.options.host and port")
        })?;
        let lines = Arc::new(Lines::default());
        let wanted = Arc::clone(&lines);
        let read = Arc::new(socket);
        let connection = Arc::downgrade(&read);
        std::thread::Builder::new()
            .name("socket".into())
            .spawn(move || read_lines(read, &wanted))
            .map_err(|e| Error::unavailable("cannot start a thread for the socket").source(e))?;
        Ok(SocketSource { options: options.clone(), lines, connection })
    }
}

/// A connection to one of the host's addresses. A host that does not answer is not waited for as long as the system would.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

impl Drop for SocketSource {
    /// Ends the connection, and with it the thread that reads it.
    fn drop(&mut self) {
        self.lines.close();
        if let Some(connection) = self.connection.upgrade() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl SourceOptions for SocketOptions {
    fn open(&self, _: bool) -> Result<Box<dyn Source>> {
        Ok(Box::new(SocketSource::open(self)?))
    }

    fn is_replayable(&self) -> bool {
        false
    }
}

fn number(offset: &Offset) -> Result<i64> {
    offset.to_value().as_i64().ok_or_else(|| {
        Error::config(format!("the checkpoint holds the offset of another source than socket: {offset}"))
            .hint("give the stream a checkpointLocation of its own")
    })
}

fn at(number: i64) -> Offset {
    Offset::of(number.into())
}

impl Source for SocketSource {
    fn description(&self) -> String {
        format!("TextSocketV2[host: {}, port: {}]", self.options.host, self.options.port)
    }

    fn initial_offset(&mut self) -> Result<Offset> {
        Ok(at(0))
    }

    fn latest_offset(&mut self, from: &Position, admission: &Admission<'_>) -> Result<Available> {
        let start = number(&from.offset)?;
        let bound = admission.last().map(number).transpose()?.unwrap_or(i64::MAX);
        let limited = |max: Option<u64>, end: i64| {
            let max = max.and_then(|max| i64::try_from(max).ok()).unwrap_or(i64::MAX);
            end.min(start.saturating_add(max)).max(start)
        };
        let mut waiting = self.lines.lock();
        waiting.number_from(start);
        let latest = waiting.end();
        let batch_end =
            limited(admission.default_max.filter(|_| !admission.is_unlimited()), latest.min(bound));
        let end = limited(admission.part_max, batch_end);
        if waiting.too_long && latest == start {
            let SocketOptions { host, port, .. } = &self.options;
            return Err(Error::data(format!(
                "the server at {host}:{port} sent more than {} MiB without the end of a line",
                LINE_BYTES_MAX >> 20
            ))
            .hint("the socket source reads lines of text that end with a newline"));
        }
        let range = SourceRange { start: at(start), end: at(end), notes: Notes::new() };
        Ok(Available {
            latest: at(latest),
            range: (end > start).then_some(range),
            lag: latest - end,
            is_cut: end < latest.min(bound),
            remainder: (end < batch_end).then(|| at(batch_end)),
            notes: Notes::new(),
            losses: Vec::new(),
            undecided: false,
        })
    }

    fn splits(&self, range: &SourceRange, lost: &[Loss], lanes: usize) -> Result<Vec<Vec<Split>>> {
        let mut shares = vec![Vec::new(); lanes.max(1)];
        let (from, until) = (number(&range.start)?, number(&range.end)?);
        let range = OffsetRange { partition: TopicPartition::new("socket", 0), from, until };
        if !range.is_empty() && !lost.iter().any(|loss| loss.range == range) {
            shares[0].push(Split { range, detail: String::new() });
        }
        Ok(shares)
    }

    /// The first reader's account counts the lines that wait.
    fn reader(&self, memory: &Arc<MemoryAccount>, _: Option<&Notes>) -> Result<Box<dyn SplitReader>> {
        let columns = self.options.columns();
        self.lines.lock().count_in(memory);
        Ok(Box::new(SocketReader { lines: Arc::clone(&self.lines), columns }))
    }

    /// Lines of a former process are lost.
    fn replay(&mut self, range: SourceRange) -> Result<(SourceRange, Vec<Loss>)> {
        let (from, until) = (number(&range.start)?, number(&range.end)?);
        let mut waiting = self.lines.lock();
        if waiting.numbered && waiting.first <= from && waiting.end() >= until {
            return Ok((range, Vec::new()));
        }
        waiting.number_from(until);
        let lost = OffsetRange { partition: TopicPartition::new("socket", 0), from, until };
        let why = format!(
            "lines {from} to {until} of the socket were not committed, and a socket is not read twice"
        );
        Ok((range, vec![Loss { range: lost, why }]))
    }

    fn preview(&mut self, _: From<'_>) -> Result<String> {
        Ok("connected".to_owned())
    }

    fn committed(&mut self, until: &Offset) -> Result<()> {
        let until = number(until)?;
        let mut waiting = self.lines.lock();
        // Told so at a start, before any line has its number: what waits comes behind it.
        waiting.number_from(until);
        waiting.drop_before(until);
        drop(waiting);
        self.lines.made_room();
        Ok(())
    }
}

/// The reading side: lines that wait.
struct SocketReader {
    lines: Arc<Lines>,
    columns: SchemaRef,
}

impl SocketReader {
    /// The rows of the lines from `from` to `until`, or of as many of them as fit one batch; their number, and the bytes of
    /// their text.
    fn rows(&self, from: i64, until: i64) -> Result<(RecordBatch, i64, u64)> {
        let mut values = StringBuilder::new();
        let mut times = Vec::new();
        let mut bytes = 0;
        for (line, time) in self.lines.lock().range(from, until.min(from + BATCH_LINES)) {
            values.append_value(line);
            times.push(*time);
            bytes += line.len();
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        let lines = times.len() as i64;
        let mut rows: Vec<ArrayRef> = vec![Arc::new(values.finish())];
        if self.columns.fields().len() > 1 {
            rows.push(Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")));
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), rows);
        let rows = rows.map_err(|e| Error::internal("make rows of the socket's lines").source(e))?;
        Ok((rows, lines, bytes as u64))
    }
}

impl SplitReader for SocketReader {
    fn read(
        &mut self,
        splits: &[Split],
        cancel: &AtomicBool,
        intake: &mut dyn Intake,
    ) -> Result<ReadOutcome> {
        let mut outcome = ReadOutcome::default();
        for Split { range, .. } in splits {
            let mut next = range.from;
            while next < range.until {
                go_on(cancel)?;
                let (rows, lines, bytes) = self.rows(next, range.until)?;
                if lines == 0 {
                    return Err(Error::unavailable(
                        "lines of the socket are gone before their batch was read",
                    ));
                }
                intake.rows(rows)?;
                outcome.records += lines as u64;
                outcome.bytes += bytes;
                next += lines;
            }
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use arrow::array::AsArray;

    use super::lines::{LINE_OVERHEAD_BYTES, WAITING_BYTES_MAX, Waiting};
    use super::*;
    use crate::model::Record;

    struct Values(Vec<String>);

    impl Intake for Values {
        fn record(&mut self, _: &Record<'_>) -> Result<()> {
            panic!("a socket has no records")
        }

        fn rows(&mut self, rows: RecordBatch) -> Result<()> {
            self.0.extend(rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
            Ok(())
        }
    }

    #[test]
    fn a_start_behind_committed_lines_drops_none_that_wait() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let options = SocketOptions { host: "127.0.0.1".into(), port, include_timestamp: false };
        let mut source = SocketSource::open(&options).unwrap();
        server.accept().unwrap().0.write_all(b"c\nd\ne\n").unwrap();
        let began = Instant::now();
        while source.lines.lock().lines.len() < 3 && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
        }
        source.committed(&at(2)).unwrap();
        let position = Position { offset: at(2), notes: Notes::new() };
        let available = source.latest_offset(&position, &Admission::default()).unwrap();
        assert_eq!(available.latest, at(5));
    }

    #[test]
    fn lines_are_read_once_each_and_those_of_a_former_process_are_losses() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = SocketOptions {
            host: "127.0.0.1".into(),
            port: server.local_addr().unwrap().port(),
            include_timestamp: true,
        };
        let mut source = SocketSource::open(&options).unwrap();
        server.accept().unwrap().0.write_all(b"a\r\nb\nc\n").unwrap();
        // The checkpoint knows of five lines, of which two were planned and not committed.
        let planned = SourceRange { start: at(3), end: at(5), notes: Notes::new() };
        let (range, lost) = source.replay(planned).unwrap();
        assert_eq!((lost[0].range.from, lost[0].range.until), (3, 5));
        assert!(source.splits(&range, &lost, 2).unwrap().iter().all(Vec::is_empty));
        let from = Position { offset: at(5), notes: Notes::new() };
        let since = Instant::now();
        let range = loop {
            let found = source.latest_offset(&from, &Admission::default()).unwrap();
            match found.range.filter(|range| range.end == at(8)) {
                Some(range) => break range,
                None => assert!(since.elapsed() < Duration::from_secs(10), "no lines"),
            }
            std::thread::yield_now();
        };
        let mut values = Values(Vec::new());
        let mut reader = source.reader(&MemoryAccount::new(0), None).unwrap();
        let share = source.splits(&range, &[], 2).unwrap().swap_remove(0);
        // Run again after an error it gives the same lines.
        for _ in 0..2 {
            values.0.clear();
            reader.read(&share, &AtomicBool::new(false), &mut values).unwrap();
            assert_eq!(values.0, ["a", "b", "c"]);
        }
        let (again, lost) = source.replay(range.clone()).unwrap();
        assert!(again == range && lost.is_empty(), "they still wait");
        source.committed(&at(8)).unwrap();
        assert_eq!(source.lines.lock().bytes(), 0);
    }

    /// A source, and the server's end of its connection.
    fn connected() -> (SocketSource, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let options = SocketOptions { host: "127.0.0.1".into(), port, include_timestamp: false };
        (SocketSource::open(&options).unwrap(), server.accept().unwrap().0)
    }

    /// Waits until `reached` says so.
    fn wait_for(source: &SocketSource, reached: impl Fn(&Waiting) -> bool) {
        let began = Instant::now();
        while !reached(&source.lines.lock()) {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes `bytes` again and again until the connection no longer takes them.
    fn until_refused(server: &mut TcpStream, bytes: &[u8]) -> io::Error {
        loop {
            if let Err(error) = server.write_all(bytes) {
                return error;
            }
        }
    }

    #[test]
    fn a_line_that_does_not_end_stops_the_stream_behind_the_lines_before_it() {
        let (mut source, mut server) = connected();
        let longest = "x".repeat(LINE_BYTES_MAX);
        let sender = std::thread::spawn(move || {
            server.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
            server.write_all(format!("{longest}\n").as_bytes()).unwrap();
            until_refused(&mut server, &[b'y'; 64 * 1024])
        });
        wait_for(&source, |waiting| waiting.too_long);
        assert_eq!(source.lines.lock().lines[0].0.len(), LINE_BYTES_MAX);
        let position = |line: i64| Position { offset: at(line), notes: Notes::new() };
        let first = source.latest_offset(&position(0), &Admission::default()).unwrap();
        assert_eq!(first.range.unwrap().end, at(1));
        source.committed(&at(1)).unwrap();
        let error = source.latest_offset(&position(1), &Admission::default()).err().unwrap();
        assert_eq!(error.kind(), crate::model::Kind::Data);
        assert!(error.to_string().contains("sent more than 8 MiB without the end of a line"), "{error}");
        // The source is still there; its connection is closed, and a server whose window was full is told so.
        let refused = sender.join().unwrap().kind();
        assert!(matches!(refused, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{refused}");
    }

    #[test]
    fn empty_lines_that_nobody_takes_stay_within_the_bound() {
        let (mut source, mut server) = connected();
        let lines_max = WAITING_BYTES_MAX.div_ceil(LINE_OVERHEAD_BYTES);
        let sender = std::thread::spawn(move || {
            until_refused(&mut server, &[b'\n'; 64 * 1024]);
        });
        wait_for(&source, |waiting| waiting.bytes() >= WAITING_BYTES_MAX);
        assert_eq!(source.lines.lock().lines.len(), lines_max);
        // Those that are committed make room.
        let from = Position { offset: at(0), notes: Notes::new() };
        source.latest_offset(&from, &Admission::default()).unwrap();
        source.committed(&at(1000)).unwrap();
        wait_for(&source, |waiting| waiting.bytes() >= WAITING_BYTES_MAX);
        assert_eq!(source.lines.lock().end(), lines_max as i64 + 1000);
        drop(source);
        sender.join().unwrap();
    }

    #[test]
    fn a_server_that_is_not_there_is_waited_for() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = SocketOptions { host: "127.0.0.1".into(), port, include_timestamp: false };
        let error = SocketSource::open(&options).err().unwrap();
        assert_eq!(error.kind(), crate::model::Kind::Unavailable, "{error}");
    }

    #[test]
    fn a_range_that_a_limit_cuts_says_so_and_one_that_ends_at_its_bound_does_not() {
        let (mut source, mut server) = connected();
        server.write_all(b"a\nb\nc\nd\n").unwrap();
        wait_for(&source, |waiting| waiting.end() == 4);
        let from = Position { offset: at(0), notes: Notes::new() };
        let bound = at(3);
        let mut cut = |unlimited, default_max, bound| {
            let admission = Admission { unlimited, default_max, bound, ..Admission::default() };
            let available = source.latest_offset(&from, &admission).unwrap();
            (available.range.unwrap().end, available.is_cut)
        };
        assert_eq!(cut(false, Some(2), None), (at(2), true));
        assert_eq!(cut(false, Some(2), Some(&bound)), (at(2), true));
        assert_eq!(cut(false, Some(3), Some(&bound)), (at(3), false));
        assert_eq!(cut(true, Some(2), None), (at(4), false));
        assert_eq!(cut(false, None, None), (at(4), false));
    }

    #[test]
    fn a_source_that_is_given_up_ends_its_connection() {
        let (source, mut server) = connected();
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        drop(source);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_batch_that_does_not_fit_in_memory_is_read_in_parts() {
        let (mut source, mut server) = connected();
        server.write_all(b"a\nb\nc\nd\n").unwrap();
        wait_for(&source, |waiting| waiting.end() == 4);
        let mut part = |start: i64, default_max, remainder: Option<&Offset>| {
            let from = Position { offset: at(start), notes: Notes::new() };
            let admission = Admission { default_max, part_max: Some(2), remainder, ..Admission::default() };
            let available = source.latest_offset(&from, &admission).unwrap();
            (available.range.map(|range| range.end), available.remainder)
        };
        assert_eq!(part(0, Some(3), None), (Some(at(2)), Some(at(3))));
        assert_eq!(part(2, Some(3), Some(&at(3))), (Some(at(3)), None));
        assert_eq!(part(3, Some(3), Some(&at(3))), (None, None), "nothing beyond the batch");
        assert_eq!(
            part(0, Some(1), Some(&at(4))),
            (Some(at(2)), Some(at(4))),
            "the limit has made the batch"
        );
    }

    /// Cancels the read when the first rows come.
    struct Cancelling<'a>(&'a AtomicBool, usize);

    impl Intake for Cancelling<'_> {
        fn record(&mut self, _: &Record<'_>) -> Result<()> {
            panic!("a socket has no records")
        }

        fn rows(&mut self, rows: RecordBatch) -> Result<()> {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            self.1 += rows.num_rows();
            Ok(())
        }
    }

    #[test]
    fn a_read_comes_in_batches_and_stops_between_two_of_them() {
        let (mut source, mut server) = connected();
        let long = "x".repeat(BATCH_BYTES);
        server.write_all(format!("{long}\nb\n{long}\n").as_bytes()).unwrap();
        wait_for(&source, |waiting| waiting.end() == 3);
        let from = Position { offset: at(0), notes: Notes::new() };
        let range = source.latest_offset(&from, &Admission::default()).unwrap().range.unwrap();
        let share = source.splits(&range, &[], 1).unwrap().swap_remove(0);
        let mut reader = source.reader(&MemoryAccount::new(1 << 20), None).unwrap();
        let cancel = AtomicBool::new(false);
        let mut first = Cancelling(&cancel, 0);
        let error = reader.read(&share, &cancel, &mut first).unwrap_err();
        assert_eq!((error.kind(), first.1), (crate::model::Kind::Unavailable, 1), "{error}");
        let mut all = Values(Vec::new());
        let outcome = reader.read(&share, &AtomicBool::new(false), &mut all).unwrap();
        assert_eq!((outcome.records, outcome.bytes), (3, 2 * BATCH_BYTES as u64 + 1));
        assert_eq!(all.0, [long.as_str(), "b", long.as_str()]);
    }

    #[test]
    fn lines_that_wait_are_counted_and_bounded_by_the_readers_account() {
        let (mut source, mut server) = connected();
        server.write_all(b"a\n").unwrap();
        wait_for(&source, |waiting| waiting.end() == 1);
        let account = MemoryAccount::new(4 * LINE_OVERHEAD_BYTES);
        let (_first, _second) =
            (source.reader(&account, None).unwrap(), source.reader(&account, None).unwrap());
        assert_eq!(account.used_bytes(), LINE_OVERHEAD_BYTES + 1);
        let from = Position { offset: at(0), notes: Notes::new() };
        source.latest_offset(&from, &Admission::default()).unwrap();
        server.write_all(b"b\nc\nd\ne\nf\n").unwrap();
        wait_for(&source, |waiting| waiting.end() == 4);
        // The reading thread waits for room; the fifth line comes when some are committed.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(source.lines.lock().end(), 4);
        assert_eq!(account.used_bytes(), 4 * (LINE_OVERHEAD_BYTES + 1));
        source.committed(&at(2)).unwrap();
        wait_for(&source, |waiting| waiting.end() == 6);
        drop(source);
        assert_eq!(account.used_bytes(), 0);
    }
}
