//! `viewers revoke`.

mod list;

use std::{collections::BTreeMap, io::IsTerminal as _, path::PathBuf, pin::pin, time::Duration};

use clap::{ArgGroup, Args, Subcommand};

use super::{
    Failure, Global,
    output::{self, Progress},
};
use crate::{
    api::viewer_session::{Denied, RevocationResponse, ViewerSessionRequest},
    app::{App, KeyAccess},
    clock::Clock,
    revocation::{MAX_SESSIONS, Progress as SessionsEnded},
    service::{
        Error,
        revocation::{Session, message},
    },
};

/// The largest list, in bytes: about a million viewers.
const MAX_LIST: u64 = 128 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum ViewersCommand {
    /// End the sessions of a viewer, or of a list of viewers
    Revoke(RevokeArgs),
}

// Its --version is that of sessions.
#[derive(Args, Debug)]
#[command(disable_version_flag = true)]
#[command(group = ArgGroup::new("whom").required(true).args(["channel", "file"]))]
#[command(
    after_help = "Examples:\n  ivs-playback-auth viewers revoke --channel demo --viewer-id alice\n  \
                        ivs-playback-auth viewers revoke --channel demo --viewer-id alice --deny-for 1h\n  \
                        ivs-playback-auth viewers revoke --file banned.csv\n\n\
                        A list has one viewer per line, with commas or tabs between the fields, or as JSON:\n  \
                        demo,alice\n  demo,bob,1795337700\n  \
                        {\"channel\": \"demo\", \"viewerId\": \"carol\", \"denyFor\": 3600}\n\
                        The third field is the session version; JSON has the members of the HTTP API. Blank \
                        lines, lines that begin with #, and the heading channel,viewerId,version are \
                        ignored. If a line is invalid, no viewer is revoked.\n\n\
                        About 45 viewers are revoked per second. It is safe to repeat the command. The exit \
                        code is 1 if a viewer was not revoked."
)]
pub(super) struct RevokeArgs {
    /// A channel ARN or a configured alias
    #[arg(long, requires = "viewer_id")]
    channel: Option<String>,
    /// The viewer, as in the token
    #[arg(long, requires = "channel")]
    viewer_id: Option<String>,
    /// End the sessions up to this version; the default is all sessions until now
    #[arg(long, value_name = "N", requires = "channel")]
    version: Option<i64>,
    /// A list of viewers; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Deny the viewers new tokens of the service on this machine for this long, such as 1h; needs
    /// `viewers.local_deny`
    #[arg(long, value_name = "D", value_parser = super::whole_seconds)]
    deny_for: Option<Duration>,
}

pub(super) async fn run(global: &Global, command: ViewersCommand) -> Result<(), Failure> {
    let ViewersCommand::Revoke(args) = command;
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    if args.deny_for.is_some() && !config.viewers.local_deny {
        return Err(Failure::Usage(
            "--deny-for needs viewers.local_deny = true, here and in the service, which must be the \
             only one that mints"
                .to_owned(),
        ));
    }
    // Before AWS is queried.
    let list = args.file.as_ref().map(|file| super::read_input(file, MAX_LIST)).transpose()?;
    let app = App::for_command(&config, KeyAccess::LookOnly, Clock::system()).await?;
    let sessions = match (&args.file, list) {
        (Some(file), Some(list)) => sessions_of_list(&app, &args, &super::place(file), &list)?,
        (Some(_) | None, _) => vec![session_of_flags(&app, &args)?],
    };
    announce(&app, &sessions).await;
    if let Err(error) = app.read_denials() {
        // Viewers are revoked anyway; only earlier denials are not known.
        output::note(&error.to_string());
    }
    let response = revoke(&app, sessions).await?;
    for region in app.api().ivs.names() {
        if let Some(skew) = app.api().clock_skew(region) {
            output::note(&format!(
                "the clock of this machine is {skew} that of Amazon IVS in {region}; synchronise it \
                 with NTP"
            ));
        }
    }
    for error in &response.errors {
        let (channel, viewer_id) = (error.channel.as_deref(), error.viewer_id.as_deref());
        let (channel, viewer_id) = (channel.unwrap_or_default(), viewer_id.unwrap_or_default());
        output::note(&format!("{channel} {viewer_id}: {}", error.message));
    }
    global.print(&response, || summary(&response, &args))?;
    if response.errors.is_empty() { Ok(()) } else { Err(Failure::Negative) }
}

fn session_of_flags(app: &App, args: &RevokeArgs) -> Result<Session, Failure> {
    let session = ViewerSessionRequest {
        channel: args.channel.clone().unwrap_or_default(),
        viewer_id: args.viewer_id.clone().unwrap_or_default(),
        viewer_session_versions_less_than_or_equal_to: args.version,
        deny_for: None,
    };
    check(app, args, session).map_err(|error| super::refused(&error))
}

/// Returns all sessions of a list, or reports every line that is invalid.
fn sessions_of_list(
    app: &App,
    args: &RevokeArgs,
    place: &str,
    list: &[u8],
) -> Result<Vec<Session>, Failure> {
    let (entries, mut bad) = list::parse(list);
    let mut sessions = Vec::with_capacity(entries.len());
    for (line, session) in entries {
        match check(app, args, session) {
            Ok(session) => sessions.push(session),
            Err(error) => bad.push((line, message(&error))),
        }
    }
    if !bad.is_empty() {
        bad.sort();
        let faults: Vec<_> =
            bad.iter().map(|(line, fault)| format!("\n  {place}:{line}: {fault}")).collect();
        let lines = if bad.len() == 1 { "line is" } else { "lines are" };
        return Err(Failure::Usage(format!(
            "no viewer was revoked, because {} {lines} invalid:{}",
            bad.len(),
            faults.concat()
        )));
    }
    if sessions.is_empty() {
        return Err(Failure::Usage(format!("{place} names no viewers")));
    }
    Ok(sessions)
}

/// Checks a session. Its own period of denial goes before that of the flags.
fn check(
    app: &App,
    args: &RevokeArgs,
    mut session: ViewerSessionRequest,
) -> Result<Session, Error> {
    let seconds = args.deny_for.map(|period| period.as_secs());
    let deny_for = seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
    session.deny_for = session.deny_for.or(deny_for);
    let wanted = app.api().revocations.check(&session)?;
    let ViewerSessionRequest { channel, viewer_id, .. } = session;
    Ok(Session { channel: Some(channel), viewer_id: Some(viewer_id), checked: Ok(wanted) })
}

/// Says where viewers are about to be revoked.
async fn announce(app: &App, sessions: &[Session]) {
    let mut regions: BTreeMap<_, usize> = BTreeMap::new();
    let mut account = None;
    for wanted in sessions.iter().filter_map(|session| session.checked.as_ref().ok()) {
        *regions.entry(wanted.channel.region()).or_default() += 1;
        // Channels of other accounts are refused once the account of the credentials is known.
        account = Some(wanted.channel.account());
    }
    let known = app.api().ivs.account().await.ok();
    let account = known.as_ref().or(account).map(ToString::to_string).unwrap_or_default();
    let regions: Vec<_> = match regions.len() {
        1 => regions.keys().map(ToString::to_string).collect(),
        _ => regions.iter().map(|(region, viewers)| format!("{region} ({viewers})")).collect(),
    };
    let plural = if sessions.len() == 1 { "" } else { "s" };
    output::note(&format!(
        "revoking {} viewer session{plural}: account {account}, region {}",
        sessions.len(),
        regions.join(", ")
    ));
}

/// Revokes the viewers in requests of the size that the HTTP API allows, one after the other.
async fn revoke(app: &App, sessions: Vec<Session>) -> Result<RevocationResponse, Failure> {
    let (total, mut ended) = (sessions.len(), 0);
    let mut sessions = sessions.into_iter().peekable();
    let mut response = RevocationResponse::default();
    let mut progress = Progress::default();
    while sessions.peek().is_some() {
        let some: Vec<_> = sessions.by_ref().take(MAX_SESSIONS).collect();
        let (count, counter) = (some.len(), SessionsEnded::default());
        let revocations = &app.api().revocations;
        let mut revoking = pin!(revocations.revoke(super::operator(), some, counter.clone()));
        let revoked = loop {
            tokio::select! {
                biased;
                outcome = &mut revoking => break outcome,
                () = tokio::time::sleep(Progress::TICK) => {
                    progress.status(&format!("{} of {total}", ended + counter.ended()));
                }
            }
        };
        progress.clear();
        // Nothing else in this process revokes, so there is room.
        let revoked = revoked.map_err(|full| {
            Failure::Failed(format!("only the first {ended} of {total} were sent: {full}"))
        })?;
        response.revoked += revoked.revoked;
        response.results.extend(revoked.results);
        response.errors.extend(revoked.errors);
        ended += count;
        if total > MAX_SESSIONS && !std::io::stderr().is_terminal() {
            progress.line(&format!("{ended} of {total}"));
        }
    }
    Ok(response)
}

/// Returns what happened to the viewers.
fn summary(response: &RevocationResponse, args: &RevokeArgs) -> String {
    let revoked = response.revoked;
    let denied = response.results.iter().filter(|session| session.denied != Denied::No).count();
    let playable_from = response.results.iter().map(|session| session.playable_from).max();
    let playable_from = playable_from.map(|at| at.to_string()).unwrap_or_default();
    let new_token = format!(
        "can get a new token, which plays if it is minted from {playable_from} on; add --deny-for 1h \
         to keep them out."
    );
    if args.file.is_none() && revoked == 1 {
        return match args.deny_for {
            Some(period) => format!(
                "Revoked. The service on this machine gives the viewer no new token for {}.",
                output::span(period)
            ),
            None if denied > 0 => {
                "Revoked. The viewer can get no new token from the service on this machine, because \
                 an earlier denial still applies."
                    .to_owned()
            }
            None => format!("Revoked. The viewer {new_token}"),
        };
    }
    let mut lines = vec![format!("Revoked {revoked} of {}.", revoked + response.errors.len())];
    if denied > 0 {
        lines.push(format!(
            "The service on this machine gives {denied} of them no new token while they are denied."
        ));
    }
    if revoked > denied {
        lines.push(format!("{} of them {new_token}", revoked - denied));
    }
    lines.join("\n")
}
