//! The four calls to IVS that key pairs need, as a trait.
//!
//! [`RegionalIvs`] is what implements it. It is a trait for the sake of one test: the
//! simulation of rotations runs hours of several processes under paused time, against a model of IVS
//! that loses answers and shows old lists. Everything else speaks to the emulator over loopback.

use std::{collections::BTreeMap, fmt, pin::Pin, time::Duration};

use crate::{
    clock::Moment,
    clock::Timestamp,
    ivs::{
        IvsError, KeyPair, KeyPairSummary, RegionalIvs,
        arn::{PlaybackKeyArn, Region},
    },
};

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

    /// What IVS's clock says at `now`, or up to a second less; `None` before its first answer.
    fn time(&self, now: Moment) -> Option<Timestamp>;

    /// How far our wall clock is from IVS's at `now` at least; `None` before its first answer.
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
