//! Rules between keys. Each is judged only where the keys that it needs could be read, so that one
//! mistake is not reported twice.

use std::time::Duration;

use super::{
    environment::CLIENTS,
    parse::{self, Parsed},
    reader::Reader,
    sections::SinkKind,
    settings::Value,
};
use crate::ivs::arn::ChannelArn;

/// No lifetime of a token may be over a year: an old key is kept in IVS for as long.
const LONGEST_TTL: Duration = Duration::from_hours(366 * 24);

/// Three attempts of a call must end within the part of a claim that is kept for it
/// (`keys::operations`): two processes would import one key.
const LONGEST_IVS_TIMEOUT: Duration = Duration::from_secs(10);

/// For as long after a revocation the viewer can start nothing. Clocks with NTP differ by far less.
const WIDEST_CLOCKS: Duration = Duration::from_hours(1);

/// Records every rule that is broken.
pub(super) fn check(reader: &mut Reader<'_>, has_inline_clients: bool) {
    at_most(reader, "tokens.default_ttl", "tokens.max_ttl", parse::lifetime);
    at_most(reader, "channels.fresh_for", "channels.stale_for", parse::duration);
    at_most(reader, "channels.gather", "channels.deadline", parse::duration);
    at_most(reader, "keys.refresh_every", "keys.max_staleness", parse::period);
    if reader.peek("tokens.max_ttl", parse::lifetime).is_some_and(|ttl| ttl > LONGEST_TTL) {
        reader.problem("tokens.max_ttl", "must be at most a year, \"366d\".");
    }
    if reader.peek("ivs.timeout", parse::period).is_some_and(|it| it > LONGEST_IVS_TIMEOUT) {
        reader.problem("ivs.timeout", "must be at most \"10s\", so that claims outlive calls.");
    }
    if reader.peek("viewers.clock_allowance", parse::seconds).is_some_and(|it| it > WIDEST_CLOCKS) {
        reader
            .problem("viewers.clock_allowance", "must be at most \"1h\". Set the clocks instead.");
    }
    if has_inline_clients && reader.is_set_by_variable("access.clients") {
        reader.problem("access.clients", &format!("is set, and {CLIENTS} too. Unset one of them."));
    }
    listeners_do_not_collide(reader);
    tls_files_are_a_pair(reader);
    audit_file_has_a_path(reader);
    aliases_are_served(reader);
    canary_is_a_channel(reader);
}

fn at_most(
    reader: &mut Reader<'_>,
    lesser: &str,
    greater: &str,
    parse: fn(&Value) -> Parsed<Duration>,
) {
    if let (Some(less), Some(more)) = (reader.peek(lesser, parse), reader.peek(greater, parse))
        && less > more
    {
        let message = format!("must not be longer than {greater}. Lower it, or raise {greater}.");
        reader.problem(lesser, &message);
    }
}

/// Two listeners cannot have one port, unless on different addresses of this machine.
fn listeners_do_not_collide(reader: &mut Reader<'_>) {
    let main = reader.peek("server.listen", parse::address);
    let operations = reader.peek("server.operations_listen", parse::optional_address);
    if let (Some(main), Some(Some(operations))) = (main, operations)
        && main.port() == operations.port()
        // Port 0 takes a free one each time.
        && main.port() != 0
        && (main.ip() == operations.ip()
            || main.ip().is_unspecified()
            || operations.ip().is_unspecified())
    {
        reader.problem(
            "server.operations_listen",
            "takes the port of server.listen. Choose another port.",
        );
    }
}

fn tls_files_are_a_pair(reader: &mut Reader<'_>) {
    let cert = reader.peek("server.tls_cert", parse::optional_path);
    let key = reader.peek("server.tls_key", parse::optional_path);
    match (cert, key) {
        (Some(Some(_)), Some(None)) => {
            reader.problem("server.tls_cert", "needs server.tls_key beside it.");
        }
        (Some(None), Some(Some(_))) => {
            reader.problem("server.tls_key", "needs server.tls_cert beside it.");
        }
        _ => {}
    }
}

fn audit_file_has_a_path(reader: &mut Reader<'_>) {
    let kind = reader.peek("audit.sink", parse::choice);
    let path = reader.peek("audit.path", parse::optional_path);
    if kind == Some(SinkKind::File) && path == Some(None) {
        reader.problem("audit.sink", "is \"file\" and needs audit.path beside it.");
    }
}

/// An alias of another region or account could never be minted for.
fn aliases_are_served(reader: &mut Reader<'_>) {
    for (key, _) in reader.entries("channels.aliases") {
        if let Some(arn) = reader.peek(&key, parse::channel_arn) {
            channel_is_served(reader, &key, &arn);
        }
    }
}

/// A canary that is no channel of this service would be noticed in the middle of a rotation.
fn canary_is_a_channel(reader: &mut Reader<'_>) {
    const KEY: &str = "rotation.canary_channel";
    let Some(Some(text)) = reader.peek(KEY, parse::optional_text) else { return };
    if reader.entries("channels.aliases").iter().any(|(_, alias)| *alias == text) {
        return;
    }
    match text.parse() {
        Ok(arn) => channel_is_served(reader, KEY, &arn),
        Err(_) => {
            reader.problem(KEY, "must be the ARN of a channel, or an alias of [channels.aliases].");
        }
    }
}

fn channel_is_served(reader: &mut Reader<'_>, key: &str, arn: &ChannelArn) {
    let regions = reader.peek("ivs.regions", parse::regions).unwrap_or_default();
    let account = reader.peek("ivs.account_id", parse::optional_account).flatten();
    if !regions.is_empty() && !regions.contains(arn.region()) {
        let region = arn.region();
        reader.problem(key, &format!("is in {region}. Add {region} to ivs.regions."));
    }
    if account.as_ref().is_some_and(|account| account != arn.account()) {
        reader.problem(key, "belongs to another account than ivs.account_id.");
    }
}
