//! Arbitrary keyrings for property tests.

use std::{sync::LazyLock, time::Duration};

use proptest::prelude::*;

use super::{Claim, ClaimOp, KeyState, KeyVersion, Keyring, VersionId};
use crate::{
    clock::Timestamp, ivs::arn::PlaybackKeyArn, keys::material::PrivateKey, secret::system_rng,
};

/// Keys are made once: a property test needs that they differ, not that they are new.
pub(crate) static KEYS: LazyLock<Vec<PrivateKey>> = LazyLock::new(|| {
    std::iter::repeat_with(|| PrivateKey::generate(&mut system_rng()).unwrap()).take(8).collect()
});

pub(crate) const EPOCH: i64 = 1_795_337_700;

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..100_000_i64).prop_map(|offset| Timestamp::from_unix_seconds(EPOCH + offset))
}

pub(crate) fn arn(position: usize) -> PlaybackKeyArn {
    format!("arn:aws:ivs:us-west-2:123456789012:playback-key/key{position}").parse().unwrap()
}

/// A keyring that keeps all rules, of up to as many versions as there are [`KEYS`].
pub(crate) fn keyring() -> impl Strategy<Value = Keyring> {
    let version = (
        prop::sample::select(KeyState::ALL.to_vec()),
        any::<(bool, bool, bool, bool)>(),
        timestamp(),
        prop::option::of(timestamp()),
    );
    let versions = prop::collection::vec(version, 0..KEYS.len());
    (versions, 1..100_000_u64, 1..100_000_u64).prop_map(
        |(versions, max_staleness, drain_margin)| {
            let region = "us-west-2".parse().unwrap();
            let mut keyring = Keyring::new(region, Duration::from_hours(1), &mut system_rng());
            keyring.max_staleness = Duration::from_secs(max_staleness);
            keyring.drain_margin = Duration::from_secs(drain_margin);
            keyring.account_id = Some("123456789012".parse().unwrap());
            let mut active_seen = false;
            for (position, (state, (public_only, adopted, compromised, claimed), at, end)) in
                versions.into_iter().enumerate()
            {
                let key = &KEYS[position];
                let mut version =
                    KeyVersion::new(key.public_key().clone(), true, at, &mut system_rng());
                version.state = state;
                if state == KeyState::Active && std::mem::replace(&mut active_seen, true) {
                    version.state = KeyState::Imported;
                }
                version.adopted = adopted;
                version.compromised = compromised && version.state != KeyState::Active;
                let retired = version.state == KeyState::Retired;
                if retired || public_only && version.state != KeyState::Active {
                    version.has_private_key = false;
                }
                if version.state != KeyState::Pending {
                    version.arn = Some(arn(position));
                    version.imported_at = Some(at);
                }
                version.retires_at = end;
                if version.state == KeyState::Draining {
                    version.retires_at = Some(end.unwrap_or(at));
                }
                if claimed && !retired {
                    let by = super::DriverId::random(&mut system_rng());
                    version.claim = Some(Claim { op: ClaimOp::Import, by, until: at });
                }
                keyring.keys.push(version);
            }
            keyring
        },
    )
}

/// A version id that no keyring has.
pub(crate) fn stranger() -> VersionId {
    VersionId::random(&mut system_rng())
}
