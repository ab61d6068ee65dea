//! Standard error and standard output of a server. A pipe that no one reads must not hold it up, so that
//! threads of their own write to both.

use std::{
    io::{self, Write},
    sync::{
        LazyLock, OnceLock,
        mpsc::{self, Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

/// Log lines that may wait for standard error.
const LINES: usize = 8192;

/// How long the writer of a non-blocking pipe waits before it tries again.
const PIPE_PAUSE: Duration = Duration::from_millis(10);

/// How often the end of the queue is tried for while there is no room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// How long a server waits for standard output to take a line.
const STDOUT_PATIENCE: Duration = Duration::from_secs(1);

/// Log lines of this process that were lost, because they came faster than they could be written or because
/// standard error failed.
pub(super) static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

static STDERR: OnceLock<LogQueue> = OnceLock::new();

/// Lines on their way to a thread that writes them. A line for which there is no room is dropped.
#[derive(Clone, Debug)]
pub(super) struct LogQueue {
    queue: SyncSender<Message>,
    dropped: Counter,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Answered once everything before it was written or dropped.
    Flush(mpsc::Sender<()>),
}

impl LogQueue {
    /// The queue of standard error.
    pub(super) fn of_stderr() -> io::Result<Self> {
        let queue = Self::start(io::stderr(), LINES, DROPPED.clone())?;
        Ok(STDERR.get_or_init(|| queue).clone())
    }

    fn start(
        sink: impl Write + Send + 'static,
        capacity: usize,
        dropped: Counter,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(capacity);
        let counter = dropped.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || Writer { sink, is_torn: false, dropped }.run(&messages))?;
        Ok(Self { queue, dropped: counter })
    }

    /// Waits until the lines queued so far were written, for at most about `patience`.
    fn flush(&self, patience: Duration) {
        let (done, written) = mpsc::channel();
        let mut message = Message::Flush(done);
        let mut left = patience;
        while let Err(TrySendError::Full(refused)) = self.queue.try_send(message) {
            message = refused;
            left = left.saturating_sub(ROOM_PAUSE);
            if left.is_zero() {
                return;
            }
            thread::sleep(ROOM_PAUSE);
        }
        // Whatever is left then is lost: the process must end.
        let _ = written.recv_timeout(left);
    }
}

impl Write for LogQueue {
    /// Takes one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<W> {
    sink: W,
    /// The last line was written in part.
    is_torn: bool,
    dropped: Counter,
}

impl<W: Write> Writer<W> {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut reported = self.dropped.get();
        while let Ok(message) = messages.recv() {
            match message {
                Message::Line(line) => {
                    if self.write(&line).is_err() {
                        self.dropped.inc();
                        continue;
                    }
                    let dropped = self.dropped.get();
                    if dropped > reported {
                        let lines = dropped - reported;
                        reported = dropped;
                        tracing::warn!(event = "log_lines_dropped", lines, "log lines were lost");
                    }
                }
                Message::Flush(done) => {
                    // The caller may have lost its patience.
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another holder of the pipe may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(PIPE_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Writes a line for people to standard error, in order with the log.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    // No one is left to tell when standard error is gone.
    let _ = match STDERR.get() {
        Some(queue) => queue.clone().write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
}

/// Waits until what was logged is written, for at most about `patience`.
pub fn flush(patience: Duration) {
    if let Some(queue) = STDERR.get() {
        queue.flush(patience);
    }
}

/// Writes a line of a server to standard output. Returns once it is written, or after a second: its reader
/// decides when it is, and lines keep their order.
pub fn print(text: &str) {
    let line = format!("{text}\n");
    let (done, written) = mpsc::channel();
    let write = move || {
        let mut stdout = io::stdout().lock();
        // A reader that closed the pipe has seen enough.
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        let _ = done.send(());
    };
    if thread::Builder::new().name("stdout".to_owned()).spawn(write).is_ok() {
        let _ = written.recv_timeout(STDOUT_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A pipe that is stalled or broken while it is told so.
    #[derive(Clone, Default)]
    struct Pipe {
        gate: Arc<Mutex<()>>,
        is_broken: Arc<AtomicBool>,
        text: Arc<Mutex<String>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _passed = self.gate.lock().unwrap();
            let mut text = self.text.lock().unwrap();
            if self.is_broken.load(Ordering::SeqCst) && text.len() % 8 >= 4 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let some = &bytes[..bytes.len().min(4)];
            text.push_str(std::str::from_utf8(some).unwrap());
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue(pipe: &Pipe, capacity: usize) -> LogQueue {
        LogQueue::start(pipe.clone(), capacity, Counter::default()).unwrap()
    }

    #[test]
    fn stalled_pipe_drops_and_counts_lines_and_holds_no_one_up() {
        let pipe = Pipe::default();
        let mut queue = queue(&pipe, 2);
        let stalled = pipe.gate.lock().unwrap();
        for _ in 0..100 {
            queue.write_all(b"a line\n").unwrap();
        }
        queue.flush(Duration::from_millis(20));
        // At most two wait, and one is with the writer.
        assert!((97..=98).contains(&queue.dropped.get()), "{}", queue.dropped.get());
        drop(stalled);
        queue.flush(PATIENCE);
        let written = 100 - usize::try_from(queue.dropped.get()).unwrap();
        assert_eq!(*pipe.text.lock().unwrap(), "a line\n".repeat(written));
    }

    #[test]
    fn broken_pipe_drops_lines_and_the_next_one_begins_on_a_new_line() {
        let pipe = Pipe::default();
        let mut queue = queue(&pipe, 100);
        pipe.is_broken.store(true, Ordering::SeqCst);
        queue.write_all(b"first\n").unwrap();
        queue.write_all(b"second\n").unwrap();
        queue.flush(PATIENCE);
        assert_eq!(queue.dropped.get(), 2);
        pipe.is_broken.store(false, Ordering::SeqCst);
        queue.write_all(b"third\n").unwrap();
        queue.flush(PATIENCE);
        assert_eq!(*pipe.text.lock().unwrap(), "firs\nthird\n");
    }
}
