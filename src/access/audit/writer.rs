//! The thread that writes audit records, and keeps trying while it cannot.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
};

use tokio::sync::{oneshot, watch};

use super::{RETRY_AFTER, State};

/// A batch is written once it is this large, in bytes.
const LARGEST_BATCH: usize = 1 << 20;

/// A record that is to be written.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) line: Vec<u8>,
    /// Notified once that is done; dropped where the record is lost.
    pub(super) waits: Option<oneshot::Sender<()>>,
}

pub(super) struct Writer<W> {
    pub(super) lines: Receiver<Queued>,
    /// Writes lines to the sink, and removes from them what was written.
    pub(super) write: W,
    pub(super) state: Arc<State>,
    /// How many records were written or lost.
    pub(super) progress: watch::Sender<u64>,
}

impl<W: FnMut(&mut &[u8]) -> io::Result<()>> Writer<W> {
    /// Writes until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.lines.recv() {
            let mut batch = first.line;
            let mut waiting: Vec<_> = first.waits.into_iter().collect();
            let mut count = 1;
            while batch.len() < LARGEST_BATCH
                && let Ok(next) = self.lines.try_recv()
            {
                batch.extend_from_slice(&next.line);
                waiting.extend(next.waits);
                count += 1;
            }
            if self.write_batch(&batch) {
                self.state.metrics.audit_records("written", count);
                for waits in waiting {
                    // The caller may have been refused meanwhile, or may be gone.
                    let _ = waits.send(());
                }
            } else {
                self.state.metrics.audit_records("lost", count);
            }
            self.progress.send_modify(|written| *written += count);
        }
    }

    /// Writes the batch, however often that takes, unless the process ends. Returns whether it is written.
    fn write_batch(&mut self, batch: &[u8]) -> bool {
        let mut rest = batch;
        while let Err(error) = self.attempt(&mut rest) {
            self.state.broken.send_replace(true);
            self.state.report_failure(&error.to_string());
            if self.state.closed.load(Ordering::Relaxed) {
                let bytes = rest.len();
                tracing::error!(
                    event = "audit_records_lost",
                    bytes,
                    "audit records were lost at shutdown"
                );
                return false;
            }
            std::thread::park_timeout(RETRY_AFTER);
        }
        self.state.broken.send_replace(false);
        self.state.report_recovery();
        true
    }

    fn attempt(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        self.state.write_begins();
        let written = (self.write)(rest);
        self.state.write_ends();
        written
    }
}

/// Writes `rest`, which shrinks by what is written, so that a further attempt writes nothing twice.
pub(super) fn write_rest(sink: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match sink.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}
