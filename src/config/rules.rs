//! Rules between keys. Each is checked only where the keys that it needs could be read, so that one mistake is not
//! reported twice.

use std::time::Duration;

use super::{
    Config, Problem,
    environment::CLIENTS,
    keys::{ALIASES, alias_in},
    layers::{Layers, Origin},
};
use crate::{access::AuditSink, ivs::arn::ChannelArn, settings::is_name};

/// Returns a problem for every rule that is broken. `config` has the default of each key in `unreadable`.
pub(super) fn check(config: &Config, layers: &Layers, unreadable: &[Problem]) -> Vec<Problem> {
    let mut rules = Rules { layers, unreadable, problems: Vec::new() };
    rules.at_most(
        "tokens.default_ttl",
        config.tokens.default_ttl,
        "tokens.max_ttl",
        config.tokens.max_ttl,
    );
    let channels = &config.channels;
    rules.at_most(
        "channels.fresh_for",
        channels.fresh_for,
        "channels.stale_for",
        channels.stale_for,
    );
    rules.at_most("channels.gather", channels.gather, "channels.deadline", channels.deadline);
    let keys = &config.keys;
    rules.at_most(
        "keys.refresh_every",
        keys.refresh_every,
        "keys.max_staleness",
        keys.max_staleness,
    );
    let is_variable = |key: &str| {
        layers.get(key).is_some_and(|setting| matches!(setting.origin, Origin::Variable(_)))
    };
    if config.clients_inline.is_some() && is_variable("access.clients") {
        rules.broken(&["access.clients"], format!("is set, and {CLIENTS} too. Unset one of them."));
    }
    listeners_do_not_collide(config, &mut rules);
    tls_files_are_a_pair(config, &mut rules);
    if config.audit.sink == AuditSink::File && config.audit.path.is_none() {
        let message = "is \"file\" and needs audit.path beside it.";
        rules.broken(&["audit.sink", "audit.path"], message);
    }
    aliases_are_served(config, &mut rules);
    canary_is_a_channel(config, &mut rules);
    rules.problems
}

struct Rules<'a> {
    layers: &'a Layers,
    unreadable: &'a [Problem],
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// Reports that a rule on these keys is broken, at the first of them.
    fn broken(&mut self, keys: &[&str], message: impl Into<String>) {
        let is_unreadable = |problem: &Problem| {
            problem.key.as_deref().is_some_and(|unreadable| keys.contains(&unreadable))
        };
        if let Some(key) = keys.first()
            && !self.unreadable.iter().any(is_unreadable)
        {
            self.problems.push(self.layers.problem(key, message));
        }
    }

    fn at_most(&mut self, lesser: &str, less: Duration, greater: &str, more: Duration) {
        if less > more {
            let message =
                format!("must not be longer than {greater}. Lower it, or raise {greater}.");
            self.broken(&[lesser, greater], message);
        }
    }
}

/// Two listeners cannot have one port, unless on different addresses of this machine.
fn listeners_do_not_collide(config: &Config, rules: &mut Rules<'_>) {
    let main = config.server.listen;
    if let Some(operations) = config.server.operations_listen
        && main.port() == operations.port()
        // Port 0 takes a free one each time.
        && main.port() != 0
        && (main.ip() == operations.ip()
            || main.ip().is_unspecified()
            || operations.ip().is_unspecified())
    {
        rules.broken(
            &["server.operations_listen", "server.listen"],
            "takes the port of server.listen. Choose another port.",
        );
    }
}

fn tls_files_are_a_pair(config: &Config, rules: &mut Rules<'_>) {
    let mut needs = |key, other| rules.broken(&[key, other], format!("needs {other} beside it."));
    match (&config.server.tls_cert, &config.server.tls_key) {
        (Some(_), None) => needs("server.tls_cert", "server.tls_key"),
        (None, Some(_)) => needs("server.tls_key", "server.tls_cert"),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn aliases_are_served(config: &Config, rules: &mut Rules<'_>) {
    // By key rather than by value: an alias with a wrong name may have a wrong value, too.
    for (key, name) in rules.layers.iter().filter_map(|(key, _)| Some((key, alias_in(key)?))) {
        if !is_name(name) {
            let message = "must have a name of at most 64 characters: a-z, 0-9, - and _, beginning \
                           with a letter or digit.";
            rules.problems.push(rules.layers.problem(key, message));
        }
    }
    for (name, arn) in &config.channels.aliases {
        channel_is_served(config, rules, &format!("{ALIASES}.{name}"), arn);
    }
}

/// A canary that is not a channel of this service would be noticed only in the middle of a rotation.
fn canary_is_a_channel(config: &Config, rules: &mut Rules<'_>) {
    const KEY: &str = "rotation.canary_channel";
    let Some(canary) = &config.rotation.canary_channel else { return };
    if rules.layers.get(&format!("{ALIASES}.{canary}")).is_some() {
        return;
    }
    match canary.parse() {
        Ok(arn) => channel_is_served(config, rules, KEY, &arn),
        Err(_) => {
            rules
                .broken(&[KEY], "must be the ARN of a channel, or an alias of [channels.aliases].");
        }
    }
}

/// A channel of another region or account could never be minted for.
fn channel_is_served(config: &Config, rules: &mut Rules<'_>, key: &str, arn: &ChannelArn) {
    let (regions, region) = (&config.ivs.regions, arn.region());
    if !regions.is_empty() && !regions.contains(region) {
        let message = format!("is in {region}. Add {region} to ivs.regions.");
        rules.broken(&[key, "ivs.regions"], message);
    }
    if config.ivs.account_id.as_ref().is_some_and(|account| account != arn.account()) {
        let message = "belongs to another account than ivs.account_id.";
        rules.broken(&[key, "ivs.account_id"], message);
    }
}
