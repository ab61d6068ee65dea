//! The settings that decide how long an old key is kept, and on which all processes must agree.

use std::{fmt, time::Duration};

use super::Keyring;
use crate::{clock::whole_seconds, keys::finding::FindingCode};

/// `maxStaleness` of a keyring that does not contain it.
pub(super) const MAX_STALENESS: Duration = Duration::from_hours(6);

/// `drainMargin` of a keyring that does not contain it.
pub(super) const DRAIN_MARGIN: Duration = Duration::from_hours(24);

/// How long tokens live and how long a keyring is used. A keyring records the largest values of all
/// processes that sign with it: a process raises them before it signs, and an activation lowers them.
/// So a process with smaller values cannot delete a key that another one still signs with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// `tokens.max_ttl`: the longest lifetime of a token.
    pub max_ttl: Duration,
    /// `keys.max_staleness`: how long after it was read a keyring is used for signing.
    pub max_staleness: Duration,
    /// `rotation.drain_margin`: how much longer than its last token a key is kept.
    pub drain_margin: Duration,
}

/// A configured value that is larger than the one that the keyring records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnrecordedLimit {
    /// The configuration key.
    pub key: &'static str,
    /// The code under which it is reported.
    pub code: FindingCode,
    /// The value of this process.
    pub configured: Duration,
    /// The value that the keyring records.
    pub recorded: Duration,
}

impl Limits {
    /// The larger of both values of each limit.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            max_ttl: self.max_ttl.max(other.max_ttl),
            max_staleness: self.max_staleness.max(other.max_staleness),
            drain_margin: self.drain_margin.max(other.drain_margin),
        }
    }

    /// The same limits as the keyring writes them: in whole seconds, rounded up.
    #[must_use]
    pub fn in_whole_seconds(self) -> Self {
        let round = |duration| Duration::from_secs(whole_seconds(duration));
        Self {
            max_ttl: round(self.max_ttl),
            max_staleness: round(self.max_staleness),
            drain_margin: round(self.drain_margin),
        }
    }

    /// Each of these limits that is larger than `recorded` says.
    pub fn beyond(self, recorded: Self) -> impl Iterator<Item = UnrecordedLimit> {
        let limits = [
            ("tokens.max_ttl", FindingCode::MaxTtlNotRecorded, self.max_ttl, recorded.max_ttl),
            (
                "keys.max_staleness",
                FindingCode::MaxStalenessNotRecorded,
                self.max_staleness,
                recorded.max_staleness,
            ),
            (
                "rotation.drain_margin",
                FindingCode::DrainMarginNotRecorded,
                self.drain_margin,
                recorded.drain_margin,
            ),
        ];
        limits.into_iter().filter(|(_, _, configured, recorded)| configured > recorded).map(
            |(key, code, configured, recorded)| UnrecordedLimit { key, code, configured, recorded },
        )
    }
}

impl fmt::Display for UnrecordedLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, configured, recorded, .. } = self;
        write!(
            f,
            "{key} is {} s in this process and {} s in the keyring, and with keys.manage = false \
             this process cannot raise it there; lower it, or start a process with keys.manage = true \
             and the same value",
            configured.as_secs(),
            recorded.as_secs()
        )
    }
}

impl Keyring {
    /// The recorded limits.
    pub fn limits(&self) -> Limits {
        Limits {
            max_ttl: self.max_ttl,
            max_staleness: self.max_staleness,
            drain_margin: self.drain_margin,
        }
    }

    /// Records these limits.
    pub fn set_limits(&mut self, limits: Limits) {
        let Limits { max_ttl, max_staleness, drain_margin } = limits.in_whole_seconds();
        (self.max_ttl, self.max_staleness, self.drain_margin) =
            (max_ttl, max_staleness, drain_margin);
    }

    /// Records those of these limits that are larger than the recorded ones.
    pub fn raise_limits(&mut self, limits: Limits) {
        self.set_limits(self.limits().max(limits));
    }
}
