//! The thread that writes audit lines, and goes on trying when it cannot.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering, mpsc::Receiver},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::State;

/// A batch is written once it is this large, in bytes.
const LARGEST_BATCH: usize = 1 << 20;

/// A line that is to be written.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) line: Vec<u8>,
    /// Who waits for that; dropped where it is lost.
    pub(super) waits: Option<oneshot::Sender<()>>,
}

pub(super) struct Writer<O> {
    pub(super) lines: Receiver<Queued>,
    /// Opens the sink, anew for each batch.
    pub(super) open: O,
    pub(super) state: Arc<State>,
    /// How many lines have been written.
    pub(super) progress: watch::Sender<u64>,
    /// How long to wait after a failed write.
    pub(super) retry_after: Duration,
}

impl<O, W> Writer<O>
where
    O: FnMut() -> io::Result<W>,
    W: Write,
{
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
                for waits in waiting {
                    // Who was refused meanwhile, or went away, waits no more.
                    let _ = waits.send(());
                }
            }
            self.progress.send_modify(|written| *written += count);
        }
    }

    /// Writes the batch, however often that takes, unless nobody is left to wait for it. Says whether it
    /// is written.
    fn write_batch(&mut self, batch: &[u8]) -> bool {
        let mut rest = batch;
        while let Err(error) = (self.open)().and_then(|mut sink| write_rest(&mut sink, &mut rest)) {
            if !self.state.broken.send_replace(true) {
                tracing::error!(
                    event = "audit_failing",
                    %error,
                    "cannot write the audit log; retrying"
                );
            }
            if self.state.closed.load(Ordering::Relaxed) {
                tracing::error!(
                    event = "audit_records_lost",
                    bytes = rest.len(),
                    "audit records were lost at shutdown"
                );
                return false;
            }
            std::thread::park_timeout(self.retry_after);
        }
        if self.state.broken.send_replace(false) {
            tracing::info!(event = "audit_recovered", "the audit log can be written again");
        }
        true
    }
}

/// Writes `rest`, which shrinks by what is written, so that a further try writes nothing twice.
fn write_rest(sink: &mut impl Write, rest: &mut &[u8]) -> io::Result<()> {
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
