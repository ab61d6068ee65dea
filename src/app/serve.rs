//! `serve`: the token service until a signal.
//!
//! On SIGTERM or SIGINT the process stops in steps: not ready at once, then it serves on for
//! `drain_delay`, so that load balancers notice; then it takes no new connection and finishes what
//! is in flight (revocations also where the caller is gone), for at most `shutdown_grace`; then
//! background tasks end and the audit log is
//! written out. A second signal skips what is left of a step.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{signal::unix::Signal, sync::watch, task::JoinHandle};

use super::{
    App, StartError,
    connection::{ConnectionSettings, Stage, TimeLimits},
    open_files::OpenFiles,
    preflight::preflight,
    server::{self, Listener},
    signals::{self, StopSignals},
    tls::ServerTls,
};
use crate::{clock::Clock, config::Config, telemetry};

/// Connections of `server.operations_listen`, of which there need to be few.
const OPERATIONS_CONNECTIONS: usize = 64;

/// How long a scrape that is under way may take at the end.
const OPERATIONS_GRACE: Duration = Duration::from_secs(1);

/// How long background tasks may take to end, within what is left of `server.shutdown_grace`; they hold
/// no unsaved state. The rest of a grace is not theirs: an orchestrator kills whatever outlives it.
const TASKS_GRACE: Duration = Duration::from_secs(5);

/// What they and the audit log have all the same.
const LAST_GRACE: Duration = Duration::from_millis(500);

/// What is kept of `server.shutdown_grace` for the last log lines.
const LOG_RESERVE: Duration = Duration::from_millis(600);

/// Runs the token service until a signal.
///
/// # Errors
///
/// It cannot start, or its listener breaks.
pub async fn serve(config: Config, clock: Clock) -> Result<(), StartError> {
    let signals = StopSignals::new().map_err(StartError::Signals)?;
    let hangups = signals::hangups().map_err(StartError::Signals)?;
    let max_connections = OpenFiles::raise().max_connections(config.server.max_connections, 1)?;
    preflight(&config).await.into_result()?;
    let listener = Listener::bind(config.server.listen, "--listen")?;
    let operations = config.server.operations_listen;
    let operations = operations.map(|it| Listener::bind(it, "server.operations_listen"));
    let operations = operations.transpose()?;
    let app = App::for_serve(&config, clock).await?;
    let operations = operations.map(|listener| start_operations(listener, &app, &config));
    let running = Running::start(listener, &app, app.router(), &config, max_connections, hangups)?;
    app.log_start(&running.url(), operations.as_ref().map(Running::url).as_deref());
    app.start_background();
    let stopped = running.until_stopped(app, signals, &config);
    let Some(mut operations) = operations else { return stopped.await };
    tokio::select! {
        stopped = stopped => stopped?,
        ended = operations.ended() => return Err(ended),
    }
    // Last, so that it is seen from there how the rest ends.
    operations.stop(OPERATIONS_GRACE).await;
    Ok(())
}

/// Plain HTTP: what stands there is no secret, and who scrapes it often knows no private authority.
fn start_operations(listener: Listener, app: &App, config: &Config) -> Running {
    let settings = ConnectionSettings {
        name: "operations",
        max_connections: OPERATIONS_CONNECTIONS,
        ..connections(app, config)
    };
    let operations = Running::start_with(listener, app.operations_router(), settings);
    // Standard output tells one address, that of the API.
    tracing::info!(
        event = "operations_listening",
        url = operations.url(),
        "serving metrics without a credential"
    );
    operations
}

fn url_of(listener: &Listener, settings: &ConnectionSettings) -> String {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", listener.address())
}

/// Prints where a port is served.
pub(super) fn announce(listener: &Listener, settings: &ConnectionSettings) {
    telemetry::print(&format!("listening on {}", url_of(listener, settings)));
}

/// How connections of the API are treated, as far as the configuration says.
fn connections(app: &App, config: &Config) -> ConnectionSettings {
    let server = &config.server;
    ConnectionSettings {
        name: "api",
        limits: TimeLimits {
            keep_alive: server.keep_alive,
            header: server.header_timeout,
            write: server.write_timeout,
        },
        max_connections: 1,
        tls: None,
        problems: true,
        stopping: app.api().shutdown.clone(),
        instruments: app.instruments(),
    }
}

/// A served port.
pub(super) struct Running {
    url: String,
    stage: watch::Sender<Stage>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Announces the port and serves it. In this order, so that no audit record comes first on standard output;
    /// the kernel accepts connections already.
    pub(super) fn start(
        listener: Listener,
        app: &App,
        router: Router,
        config: &Config,
        max_connections: usize,
        hangups: Signal,
    ) -> Result<Self, StartError> {
        let load = |files| ServerTls::load(files, app.api().certificate.clone(), app.instruments());
        let tls = config.server.tls().as_ref().map(load).transpose()?.map(Arc::new);
        app.start_reloading(hangups, tls.clone());
        let settings = ConnectionSettings { max_connections, tls, ..connections(app, config) };
        announce(&listener, &settings);
        Ok(Self::start_with(listener, router, settings))
    }

    pub(super) fn start_with(
        listener: Listener,
        router: Router,
        settings: ConnectionSettings,
    ) -> Self {
        let url = url_of(&listener, &settings);
        let (stage, reached) = watch::channel(Stage::Serving);
        #[expect(clippy::disallowed_methods, reason = "the server itself; its end is awaited")]
        let task = tokio::spawn(server::serve(listener, router, settings, reached));
        Self { url, stage, task }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Serves until a signal, then stops in steps.
    pub(super) async fn until_stopped(
        mut self,
        app: App,
        mut signals: StopSignals,
        config: &Config,
    ) -> Result<(), StartError> {
        let signal = tokio::select! {
            ended = self.ended() => return Err(ended),
            signal = signals.next() => signal,
        };
        app.begin_shutdown();
        let drain_delay = config.server.drain_delay;
        tracing::info!(
            event = "shutdown_started",
            signal,
            drainSeconds = drain_delay.as_secs(),
            "shutting down"
        );
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            _ = signals.next() => {}
        }
        let grace = config.server.shutdown_grace;
        let clock = app.api().clock.clone();
        let end = clock.monotonic() + grace;
        self.stage.send_replace(Stage::Closing);
        // A little before connections are cut, so that who still waits is told what is left.
        let drained = app.drain(grace.mul_f64(0.9));
        tokio::select! {
            (_, ()) = async { tokio::join!(&mut self.task, drained) } => {}
            () = tokio::time::sleep(grace) => {}
            _ = signals.next() => {}
        }
        self.stage.send_replace(Stage::Cut);
        let left = end.saturating_sub(clock.monotonic());
        let left = left.saturating_sub(LOG_RESERVE);
        app.end(left.clamp(LAST_GRACE, TASKS_GRACE)).await;
        tracing::info!(event = "stopped", "stopped");
        Ok(())
    }

    /// Waits for an end that nobody asked for.
    pub(super) async fn ended(&mut self) -> StartError {
        let cause = match (&mut self.task).await {
            Ok(Ok(())) => std::io::Error::other("it stopped by itself"),
            Ok(Err(error)) => error,
            Err(error) => std::io::Error::other(error),
        };
        StartError::Ended(cause)
    }

    /// Takes no new connection and finishes what is in flight, for at most `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.stage.send_replace(Stage::Closing);
        if tokio::time::timeout(grace, &mut self.task).await.is_err() {
            self.stage.send_replace(Stage::Cut);
        }
    }
}
