//! `emulator`: the emulated IVS alone, until a signal.

use std::{net::SocketAddr, time::Duration};

use super::{
    StartError,
    connection::{ConnectionSettings, TimeLimits},
    open_files::OpenFiles,
    serve::{Running, announce},
    server::Listener,
    signals::StopSignals,
};
use crate::{
    clock::Clock,
    emulator::{Emulator, Options},
    http::health::ShutdownFlag,
    telemetry::{Instruments, print},
};

/// Those of the token service by default.
const LIMITS: TimeLimits = TimeLimits {
    keep_alive: Duration::from_secs(75),
    header: Duration::from_secs(10),
    write: Duration::from_secs(30),
};

/// Requests in flight may take this long when the emulator stops.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What `emulator` is told.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What to emulate.
    pub emulator: Options,
}

/// Runs the emulated IVS until a signal.
///
/// # Errors
///
/// Its state cannot be opened, or the port cannot be listened on.
pub async fn run_emulator(options: EmulatorOptions, clock: Clock) -> Result<(), StartError> {
    let mut signals = StopSignals::new().map_err(StartError::Signals)?;
    let listener = Listener::bind(options.listen, "--listen")?;
    print("An emulated Amazon IVS, for development and tests; not for production.");
    warn_if_public(options.listen);
    let emulator = Emulator::open(options.emulator, clock.clone())?;
    let max_connections = OpenFiles::raise().max_connections(0, 1)?;
    let connections = connections(max_connections, Instruments::new(clock));
    announce(&listener, &connections);
    let mut running = Running::start_with(listener, emulator.router(), connections);
    tokio::select! {
        ended = running.ended() => return Err(ended),
        _ = signals.next() => {}
    }
    running.stop(GRACE).await;
    Ok(())
}

pub(super) fn connections(max_connections: usize, instruments: Instruments) -> ConnectionSettings {
    ConnectionSettings {
        name: "emulator",
        limits: LIMITS,
        max_connections,
        tls: None,
        problems: false,
        stopping: ShutdownFlag::default(),
        instruments,
    }
}

pub(super) fn warn_if_public(listen: SocketAddr) {
    if !listen.ip().is_loopback() {
        tracing::warn!(
            event = "public_listener",
            %listen,
            "reachable from other machines without protection"
        );
    }
}
