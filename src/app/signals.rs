//! The signals that a server handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, which asks for configuration to be read again. From then on it does not end the process.
///
/// # Errors
///
/// The operating system refuses the handler.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// SIGTERM and SIGINT, from the moment this is made.
#[derive(Debug)]
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Begins to listen, so that a signal from now on is not lost.
    ///
    /// # Errors
    ///
    /// The operating system refuses the handler.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
