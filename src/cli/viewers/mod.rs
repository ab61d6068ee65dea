//! `viewers revoke`.

mod list;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Read as _, Write as _},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::list::{BadLine, Entry};
use super::{Failure, Global, output};
use crate::{
    app::{App, KeyAccess},
    http::viewer_sessions::{Denied, Item, RevocationResponse, judge, revoke_judged},
    revocation::{MAX_SESSIONS, Progress, Wanted},
};

/// The most that is read of a list, in bytes: about a million viewers.
const MAX_LIST: u64 = 128 * 1024 * 1024;

/// How often progress is told on a terminal, and elsewhere.
const TICK: Duration = Duration::from_millis(500);
const LINE_EVERY: usize = MAX_SESSIONS;

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
                        A list has a viewer a line, with commas or tabs between the fields, or as JSON:\n  \
                        demo,alice\n  demo,bob,1795337700\n  \
                        {\"channel\": \"demo\", \"viewerId\": \"carol\", \"denyFor\": 3600}\n\
                        The third field is the session version; JSON has the members of the HTTP API. Blank \
                        lines, lines that begin with #, and the heading channel,viewerId,version are left \
                        out. Where a line is bad, nobody is revoked.\n\n\
                        About 45 viewers are revoked in a second. Once more does no harm. Exit code 1 when \
                        a viewer was not revoked."
)]
pub(super) struct RevokeArgs {
    /// A channel ARN, or an alias of the configuration
    #[arg(long, requires = "viewer_id")]
    channel: Option<String>,
    /// The viewer, as in the token
    #[arg(long, requires = "channel")]
    viewer_id: Option<String>,
    /// Sessions of this version and of lower ones; without it all until now
    #[arg(long, value_name = "N", requires = "channel")]
    version: Option<i64>,
    /// A list of viewers; `-` reads standard input
    #[arg(long, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// Let the service on this machine mint no new token for them, such as 1h; needs
    /// `viewers.local_deny`
    #[arg(long, value_name = "D", value_parser = super::whole_seconds)]
    deny_for: Option<Duration>,
}

pub(super) fn run(global: &Global, command: ViewersCommand) -> Result<(), Failure> {
    match command {
        ViewersCommand::Revoke(args) => run_revoke(global, &args),
    }
}

fn run_revoke(global: &Global, args: &RevokeArgs) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    if args.deny_for.is_some() && !config.viewers.local_deny {
        return Err(Failure::Usage(
            "--deny-for needs viewers.local_deny = true, here and in the service, which must be the \
             only one that mints"
                .to_owned(),
        ));
    }
    // Before anything is asked of AWS.
    let list = args.file.as_ref().map(|_| args.read_list()).transpose()?;
    let (runtime, app) = super::components(&config, KeyAccess::LookOnly)?;
    let items = match list {
        Some(list) => judge_list(&app, args, list)?,
        None => vec![judge_one(&app, args)?],
    };
    announce(&runtime, &app, &items);
    if let Err(error) = app.read_denials() {
        // Viewers are revoked all the same; only who is denied already is not known.
        output::note(&error.to_string());
    }
    let response = revoke(&runtime, &app, items)?;
    for region in app.api().ivs.names() {
        if let Some(skew) = app.api().clock_skew(region) {
            output::note(&format!(
                "the clock of this machine is {skew} that of Amazon IVS in {region}; synchronise it \
                 with NTP"
            ));
        }
    }
    if global.json() {
        output::json(&response)?;
    } else {
        tell(&response, args)?;
    }
    if response.errors.is_empty() { Ok(()) } else { Err(Failure::Negative) }
}

impl RevokeArgs {
    /// The viewer session of the flags.
    fn body(&self) -> Value {
        let mut body = json!({ "channel": self.channel, "viewerId": self.viewer_id });
        if let (Some(version), Some(members)) = (self.version, body.as_object_mut()) {
            members.insert("viewerSessionVersionsLessThanOrEqualTo".to_owned(), version.into());
        }
        self.with_denial(body)
    }

    /// A line that says for how long itself is left as it is.
    fn with_denial(&self, mut body: Value) -> Value {
        if let (Some(deny_for), Some(members)) = (self.deny_for, body.as_object_mut()) {
            members.entry("denyFor").or_insert_with(|| deny_for.as_secs().into());
        }
        body
    }

    /// What `--file` is, for people.
    fn place(&self) -> String {
        match &self.file {
            Some(path) if path.as_os_str() != "-" => path.display().to_string(),
            Some(_) | None => "standard input".to_owned(),
        }
    }

    fn read_list(&self) -> Result<Vec<u8>, Failure> {
        let mut content = Vec::new();
        let read = match &self.file {
            Some(path) if path.as_os_str() != "-" => std::fs::File::open(path)
                .and_then(|file| file.take(MAX_LIST + 1).read_to_end(&mut content)),
            Some(_) | None => std::io::stdin().take(MAX_LIST + 1).read_to_end(&mut content),
        };
        let unreadable =
            |reason: &dyn std::fmt::Display| format!("cannot read {}: {reason}", self.place());
        read.map_err(|error| Failure::Usage(unreadable(&error)))?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > MAX_LIST {
            return Err(Failure::Usage(unreadable(&"it is over 128 MiB; split it")));
        }
        Ok(content)
    }
}

fn judge_one(app: &App, args: &RevokeArgs) -> Result<Item, Failure> {
    let item = judge(app.api(), args.body());
    match item.refusal() {
        Some(refusal) => Err(super::refused(refusal)),
        None => Ok(item),
    }
}

/// All of the list, or every line that is bad.
fn judge_list(app: &App, args: &RevokeArgs, list: Vec<u8>) -> Result<Vec<Item>, Failure> {
    let (entries, mut bad) = list::parse(&list);
    drop(list);
    let mut items = Vec::with_capacity(entries.len());
    for Entry { line, body } in entries {
        let item = judge(app.api(), args.with_denial(body));
        match item.fault() {
            Some(fault) => bad.push(BadLine { line, fault }),
            None => items.push(item),
        }
    }
    let place = args.place();
    if !bad.is_empty() {
        bad.sort_by_key(|bad| bad.line);
        let faults: Vec<_> =
            bad.iter().map(|bad| format!("\n  {place}:{}: {}", bad.line, bad.fault)).collect();
        let lines = if bad.len() == 1 { "line is" } else { "lines are" };
        return Err(Failure::Usage(format!(
            "nobody was revoked, because {} {lines} bad:{}",
            bad.len(),
            faults.concat()
        )));
    }
    if items.is_empty() {
        return Err(Failure::Usage(format!("{place} names no viewers")));
    }
    Ok(items)
}

/// Says where viewers are about to be revoked, before they are.
fn announce(runtime: &Runtime, app: &App, items: &[Item]) {
    let mut regions: BTreeMap<_, usize> = BTreeMap::new();
    let channels = items.iter().filter_map(Item::wanted).map(|wanted: &Wanted| &wanted.channel);
    let mut account = None;
    for channel in channels {
        *regions.entry(channel.region()).or_default() += 1;
        // Channels of other accounts are refused, once it is known whose credentials these are.
        account = Some(channel.account());
    }
    let known = runtime.block_on(app.api().ivs.account()).ok();
    let account = known.as_ref().or(account).map(ToString::to_string).unwrap_or_default();
    let regions: Vec<_> = match regions.len() {
        1 => regions.keys().map(ToString::to_string).collect(),
        _ => regions.iter().map(|(region, viewers)| format!("{region} ({viewers})")).collect(),
    };
    let plural = if items.len() == 1 { "" } else { "s" };
    write_stderr(&format!(
        "revoking {} viewer session{plural}: account {account}, region {}\n",
        items.len(),
        regions.join(", ")
    ));
}

/// In requests of the size that the HTTP API takes, one after the other.
fn revoke(runtime: &Runtime, app: &App, items: Vec<Item>) -> Result<RevocationResponse, Failure> {
    let total = items.len();
    let mut items = items.into_iter().peekable();
    let mut response = RevocationResponse::default();
    let mut ended = 0;
    while items.peek().is_some() {
        let some: Vec<_> = items.by_ref().take(MAX_SESSIONS).collect();
        let count = some.len();
        let progress = Progress::default();
        let revoked = runtime.block_on(async {
            let mut revoked =
                pin!(revoke_judged(app.api(), crate::cli::operator(), some, progress.clone()));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut revoked => return outcome,
                    () = tokio::time::sleep(TICK) => count_on(ended + progress.ended(), total),
                }
            }
        });
        // Nobody else is in this process, so that there is room.
        let revoked = revoked.map_err(|full| {
            Failure::failed(format!("only the first {ended} of {total} were sent: {full}"))
        })?;
        response.extend(revoked);
        ended += count;
        told(ended, total);
    }
    Ok(response)
}

/// On a terminal, how far it is.
fn count_on(ended: usize, total: usize) {
    if std::io::stderr().is_terminal() {
        // To the first column, and clear what was there.
        write_stderr(&format!("\r\x1b[2K  {ended} of {total}"));
    }
}

/// Elsewhere a line for each request of many.
fn told(ended: usize, total: usize) {
    if std::io::stderr().is_terminal() {
        write_stderr("\r\x1b[2K");
    } else if total > LINE_EVERY {
        write_stderr(&format!("{ended} of {total}\n"));
    }
}

/// Progress that cannot be shown does not keep viewers from being revoked.
fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// What became of them, for people.
fn tell(response: &RevocationResponse, args: &RevokeArgs) -> Result<(), Failure> {
    for error in &response.errors {
        let (channel, viewer_id) = (error.channel.as_deref(), error.viewer_id.as_deref());
        let (channel, viewer_id) = (channel.unwrap_or_default(), viewer_id.unwrap_or_default());
        write_stderr(&format!("{channel} {viewer_id}: {}\n", error.message));
    }
    let (revoked, denied) = (
        response.revoked,
        response.results.iter().filter(|session| session.denied != Denied::No).count(),
    );
    let playable_from = response.results.iter().map(|session| session.playable_from).max();
    let playable_from = playable_from.map(|at| at.to_string()).unwrap_or_default();
    if args.file.is_none() {
        return match (revoked, args.deny_for) {
            (0, _) => Ok(()),
            (_, Some(time)) => output::line(&format!(
                "Revoked. The service on this machine gives the viewer no new token for {}.",
                output::span(time)
            )),
            (_, None) if denied > 0 => output::line(
                "Revoked. The viewer can get no new token from the service on this machine: an \
                 earlier denial still holds.",
            ),
            (_, None) => output::line(&format!(
                "Revoked. The viewer can get a new token, which plays if it is minted from \
                 {playable_from} on; add --deny-for 1h to keep them out."
            )),
        };
    }
    output::line(&format!("Revoked {revoked} of {}.", revoked + response.errors.len()))?;
    if denied > 0 {
        output::line(&format!(
            "The service on this machine gives {denied} of them no new token for their time."
        ))?;
    }
    if revoked > denied {
        output::line(&format!(
            "{} of them can get a new token, which plays if it is minted from {playable_from} on; add \
             --deny-for 1h to keep them out.",
            revoked - denied
        ))?;
    }
    Ok(())
}
