//! What each component is given of the configuration, which it never sees itself.

use super::KeyAccess;
use crate::{
    channels::Settings as ChannelSettings,
    config::Config,
    http::Limits,
    ivs::AwsSettings,
    keys::{
        keyring::Limits as KeyLimits, lifecycle::Policy as RotationPolicy,
        signing::SigningKeysSettings,
    },
    revocation::Settings as RevocationSettings,
    tokens::grant::Policy as TokenPolicy,
};

pub(super) fn aws(config: &Config) -> AwsSettings {
    AwsSettings {
        regions: match &config.ivs.region {
            Some(region) => vec![region.clone()],
            None => config.ivs.regions.clone(),
        },
        account_id: config.ivs.account_id.clone(),
        profile: config.ivs.profile.clone(),
        endpoint_url: config.ivs.endpoint_url.clone(),
        timeout: config.ivs.timeout,
    }
}

/// Whether key pairs may be changed.
pub(super) fn manages(config: &Config, access: KeyAccess) -> bool {
    config.keys.manage && access == KeyAccess::Managed
}

pub(super) fn signing_keys(config: &Config, access: KeyAccess) -> SigningKeysSettings {
    SigningKeysSettings {
        refresh_every: config.keys.refresh_every,
        max_staleness: config.keys.max_staleness,
        limits: match access {
            KeyAccess::Managed => key_limits(config),
            // A process that signs nothing requires nothing of the keyring.
            KeyAccess::LookOnly => KeyLimits::default(),
        },
        manage: manages(config, access),
        heal_wait: config.rotation.heal_wait,
    }
}

/// What the keyring records the largest value of.
pub(crate) fn key_limits(config: &Config) -> KeyLimits {
    let limits = KeyLimits {
        max_ttl: config.tokens.max_ttl,
        max_staleness: config.keys.max_staleness,
        drain_margin: config.rotation.drain_margin,
    };
    limits.in_whole_seconds()
}

/// What rotations of a region depend on; the canary, where there is one, tells of its own region.
pub(super) fn rotation(config: &Config, has_canary: bool) -> RotationPolicy {
    RotationPolicy {
        propagation_wait: config.rotation.propagation_wait,
        limits: key_limits(config),
        heal: config.keys.heal,
        every: config.rotation.every,
        has_canary,
    }
}

pub(super) fn channels(config: &Config) -> ChannelSettings {
    let channels = &config.channels;
    ChannelSettings {
        fresh_for: channels.fresh_for,
        stale_for: channels.stale_for,
        not_found_for: channels.not_found_for,
        capacity: channels.capacity,
        calls_per_second: channels.calls_per_second,
        gather: channels.gather,
        deadline: channels.deadline,
        on_unavailable: channels.on_unavailable,
    }
}

/// `is_command`: this process mints nothing, so that others must learn who is denied.
pub(super) fn viewers(config: &Config, is_command: bool) -> RevocationSettings {
    RevocationSettings {
        clock_allowance: config.viewers.clock_allowance,
        deny_list: config.viewers.local_deny.then(|| config.viewers.deny_list.clone()),
        minted_elsewhere: is_command,
    }
}

pub(super) fn tokens(config: &Config) -> TokenPolicy {
    TokenPolicy {
        default_ttl: config.tokens.default_ttl,
        max_ttl: config.tokens.max_ttl,
        stamp_session_version: config.tokens.stamp_session_version,
    }
}

pub(super) fn limits(config: &Config) -> Limits {
    Limits { max_body: config.server.max_body, request_timeout: config.server.request_timeout }
}
