//! The four calls to IVS that key pairs need, as a trait.
//!
//! [`RegionalIvs`] implements it, and so does the model of IVS in the simulation of rotations, which runs
//! hours of several processes under paused time and loses answers. All other tests use the emulator.

use std::{collections::BTreeMap, fmt, pin::Pin, time::Duration};

use crate::{
    clock::Moment,
    clock::Timestamp,
    ivs::{
        IvsError, KeyPair, KeyPairSummary, RegionalIvs,
        arn::{PlaybackKeyArn, Region},
    },
};

/// How many playback key pairs IVS allows per region (Service Quotas; not adjustable).
pub const KEY_PAIR_QUOTA: usize = 3;

/// A pair as messages name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairName {
    /// Its ARN.
    pub arn: PlaybackKeyArn,
    /// Its name in IVS.
    pub name: String,
}

impl PairName {
    pub(in crate::keys) fn of(pair: &KeyPairSummary) -> Self {
        Self { arn: pair.arn.clone(), name: pair.name.clone() }
    }
}

/// Pairs as messages list them.
pub(in crate::keys) struct Names<'a>(pub(in crate::keys) &'a [PairName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pair) in self.0.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{}", pair.arn)?;
            // IVS's pattern for names allows nothing that could confuse a terminal.
            if !pair.name.is_empty() {
                write!(f, " ({})", pair.name)?;
            }
        }
        Ok(())
    }
}

/// What the methods of [`KeyPairService`] return.
pub type ServiceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, IvsError>> + Send + 'a>>;

/// The key pairs of one region in IVS.
pub trait KeyPairService: fmt::Debug + Send + Sync {
    /// The region.
    fn region(&self) -> &Region;

    /// `ListPlaybackKeyPairs`, all pages.
    fn list(&self) -> ServiceFuture<'_, Vec<KeyPairSummary>>;

    /// `GetPlaybackKeyPair`
    fn get<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, KeyPair>;

    /// `ImportPlaybackKeyPair`; after an outage the pair may have been imported.
    fn import<'a>(
        &'a self,
        public_key_pem: &'a str,
        name: &'a str,
        tags: &'a BTreeMap<String, String>,
    ) -> ServiceFuture<'a, KeyPair>;

    /// `DeletePlaybackKeyPair`
    fn delete<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, ()>;

    /// Returns the time of IVS's clock at `now`, or up to a second less; `None` before its first answer.
    fn time(&self, now: Moment) -> Option<Timestamp>;

    /// Returns how far our wall clock differs from IVS's at `now` at least; `None` before its first answer.
    fn skew(&self, now: Moment) -> Option<Duration>;
}

impl KeyPairService for RegionalIvs {
    fn region(&self) -> &Region {
        self.region()
    }

    fn list(&self) -> ServiceFuture<'_, Vec<KeyPairSummary>> {
        Box::pin(self.list_playback_key_pairs())
    }

    fn get<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, KeyPair> {
        Box::pin(self.get_playback_key_pair(arn))
    }

    fn import<'a>(
        &'a self,
        public_key_pem: &'a str,
        name: &'a str,
        tags: &'a BTreeMap<String, String>,
    ) -> ServiceFuture<'a, KeyPair> {
        Box::pin(self.import_playback_key_pair(public_key_pem, name, tags))
    }

    fn delete<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, ()> {
        Box::pin(self.delete_playback_key_pair(arn))
    }

    fn time(&self, now: Moment) -> Option<Timestamp> {
        self.server_time().map(|time| time.at(now))
    }

    fn skew(&self, now: Moment) -> Option<Duration> {
        self.server_time().map(|time| time.skew_from(now))
    }
}
