//! Judges every token that was signed, by a model of the edge, when it was signed and at its last
//! second; and the end of a simulation.

use std::time::Duration;

use super::{REFRESH_EVERY, ivs::Pairs};
use crate::{
    clock::Timestamp,
    keys::{
        keyring::{KEYRING_TAG, KeyState, Keyring, RotationMode},
        material::Fingerprint,
        signing::NoSigner,
    },
};

/// How long IVS takes to tell its edges of a new pair.
pub(super) const EDGE_DELAY: Duration = Duration::from_mins(1);

/// A token that some viewer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) fingerprint: Fingerprint,
    pub(super) signed_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// A mint that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) replica: usize,
    /// `keys.max_staleness` of this process.
    pub(super) max_staleness: Duration,
    pub(super) at: Timestamp,
    pub(super) reason: NoSigner,
}

/// A time in which a process did not reach the store, or did not run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) replica: usize,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) tokens: Vec<Token>,
    pub(super) failures: Vec<Failure>,
    pub(super) outages: Vec<Outage>,
    /// When the clock of which process was set.
    pub(super) clock_jumps: Vec<(usize, Timestamp)>,
    /// Whether reads of the store may fail at any time.
    pub(super) is_stormy: bool,
}

impl Ledger {
    /// Whether the keyring of a process may be too old: for most of the time that it may be used it
    /// could not be read, or it aged in a moment. Bad weather alone does not do that.
    fn may_be_too_old(&self, failure: &Failure) -> bool {
        let since = failure.at - failure.max_staleness;
        let outages = self.outages.iter().filter(|it| it.replica == failure.replica);
        let lost: Duration =
            outages.map(|it| it.until.min(failure.at).saturating_since(it.from.max(since))).sum();
        let jumped = self.clock_jumps.iter().any(|(replica, at)| {
            *replica == failure.replica && failure.at.saturating_since(*at) < REFRESH_EVERY * 2
        });
        lost > failure.max_staleness / 2 || jumped
    }
}

/// What a simulation is judged by.
pub(super) struct Evidence<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) pairs: &'a Pairs,
    pub(super) history: &'a [(Timestamp, Keyring)],
}

impl Evidence<'_> {
    /// Everything that is wrong.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for token in &self.ledger.tokens {
            let last_second = token.expires_at - Duration::from_secs(1);
            for at in [token.signed_at, last_second] {
                let is_usable = at >= token.signed_at && at < token.expires_at;
                if is_usable
                    && !self.edge_knows(token.fingerprint, at)
                    && !self.is_excused(token, at)
                {
                    faults.push(format!("refused at {at}: {token:?}"));
                }
            }
        }
        faults.extend(
            self.ledger
                .failures
                .iter()
                .filter(|it| !self.may_fail(it))
                .map(|failure| format!("a mint failed at {}: {}", failure.at, failure.reason)),
        );
        faults
    }

    /// What is wrong once everything has come to rest.
    pub(super) fn leftovers(&self, now: Timestamp) -> Vec<String> {
        let mut faults = Vec::new();
        let (_, keyring) = self.history.last().unwrap();
        for version in keyring.present() {
            let is_done = match version.state {
                KeyState::Active | KeyState::Imported => true,
                KeyState::Draining => version.is_shared(),
                KeyState::Pending | KeyState::Retiring | KeyState::Retired => false,
            };
            if !is_done {
                faults.push(format!("left {:?}: {version:?}", version.state));
            }
            if version
                .arn
                .as_ref()
                .is_none_or(|arn| !self.pairs.there(now).any(|it| it.arn == *arn))
            {
                faults.push(format!("has no pair: {version:?}"));
            }
        }
        if keyring.active().is_none() {
            faults.push("no key signs".to_owned());
        }
        for pair in self.pairs.there(now) {
            let is_ours =
                pair.tags.get(KEYRING_TAG).is_some_and(|it| *it == keyring.id.to_string());
            if is_ours && keyring.by_arn(&pair.arn).is_none() {
                faults.push(format!("an orphan in IVS: {pair:?}"));
            }
        }
        for version in keyring.keys.iter().filter(|it| it.state == KeyState::Retired) {
            if version.has_private_key {
                faults.push(format!("a private key is left: {version:?}"));
            }
        }
        for rotation in keyring.rotations.iter().filter(|it| it.is_open()) {
            let waits =
                keyring.present().any(|it| it.state == KeyState::Draining && it.is_shared());
            if !waits {
                faults.push(format!("an open rotation: {rotation:?}"));
            }
        }
        faults
    }

    /// Whether the edge knows the key: IVS has it, and has had time to tell.
    fn edge_knows(&self, fingerprint: Fingerprint, at: Timestamp) -> bool {
        self.pairs.all.iter().any(|pair| {
            pair.fingerprint == fingerprint && pair.is_there(at) && pair.created + EDGE_DELAY <= at
        })
    }

    fn is_excused(&self, token: &Token, at: Timestamp) -> bool {
        let fingerprint = token.fingerprint;
        // Somebody deleted it in the console; until it was put back, or for good.
        let by_hand =
            self.pairs.all.iter().filter(|it| it.fingerprint == fingerprint && it.by_hand);
        let is_missing = by_hand.filter_map(|it| it.deleted).any(|deleted| {
            let later = self.pairs.all.iter().filter(|it| it.fingerprint == fingerprint);
            let put_back = later.map(|it| it.created).find(|created| *created >= deleted);
            at >= deleted && put_back.is_none_or(|put_back| at < put_back + EDGE_DELAY)
        });
        // It leaked, so its tokens are cut on purpose.
        let leaked_at = self.history.iter().find_map(|(written, keyring)| {
            let version = keyring.keys.iter().find(|it| it.fingerprint == fingerprint)?;
            version.compromised.then_some(*written)
        });
        // Nothing signed before it, or what did had leaked: there was nothing to wait with.
        let is_early = self.began_at_once(fingerprint)
            && self.pairs.all.iter().any(|pair| {
                pair.fingerprint == fingerprint
                    && pair.created <= at
                    && at < pair.created + EDGE_DELAY
            });
        is_missing || leaked_at.is_some_and(|leaked_at| at >= leaked_at) || is_early
    }

    /// Whether the key signed without waiting for IVS to tell its edges.
    fn began_at_once(&self, fingerprint: Fingerprint) -> bool {
        let began = self.history.iter().position(|(_, keyring)| {
            keyring.active().is_some_and(|it| it.fingerprint == fingerprint)
        });
        let Some(began) = began else { return false };
        let (_, keyring) = &self.history[began];
        let had_active =
            began.checked_sub(1).is_some_and(|before| self.history[before].1.active().is_some());
        let is_emergency = keyring.rotations.iter().any(|it| {
            it.mode == RotationMode::Emergency
                && keyring.version(&it.to).is_some_and(|it| it.fingerprint == fingerprint)
        });
        !had_active || is_emergency
    }

    fn may_fail(&self, failure: &Failure) -> bool {
        let at = |(written, _): &&(Timestamp, Keyring)| *written <= failure.at;
        match &failure.reason {
            NoSigner::TooOld { .. } => self.ledger.may_be_too_old(failure),
            // A process that just started, and whose first reads failed.
            NoSigner::NotRead { .. } => self.ledger.is_stormy,
            // Before the first key, or while a leaked one makes room.
            NoSigner::EmptyKeyring { .. } | NoSigner::NoActiveKey { .. } => {
                let recent = self.history.iter().rev().skip_while(|it| !at(it)).take(8);
                recent.clone().count() == 0
                    || self.history.iter().all(|it| !at(&it) || it.1.active().is_none())
                    || recent.clone().any(|(_, keyring)| keyring.active().is_none())
            }
            NoSigner::PairMissing { .. } => self.pairs.all.iter().any(|it| it.by_hand),
            NoSigner::UnknownRegion { .. }
            | NoSigner::FingerprintMismatch { .. }
            | NoSigner::Unusable { .. } => false,
        }
    }
}
