//! How long a key is kept after it ceased to sign.
//!
//! Tokens of a key may be signed until the last snapshot that shows it active is too old
//! (`maxStaleness`), and live for `maxTtl` after that, or for as long as those of an adopted key's
//! other signer. `drainMargin` is for clocks that differ and for edges that are slow. All three are
//! the keyring's, never those of the process that computes: others may sign for longer.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    keys::keyring::{KeyVersion, Keyring},
};

/// The longest that the write of an activation may have been under way without the drain being
/// lengthened for it, whatever the margin.
const HELD_UP_MAX: Duration = Duration::from_mins(1);

/// How far our clock and IVS's may be apart for steps that depend on time: a quarter of the margin.
pub fn skew_limit(drain_margin: Duration) -> Duration {
    drain_margin / 4 + super::DATE_RESOLUTION
}

/// How long after it ceased to sign the tokens of `version` may still be about to start playback.
pub fn duration(keyring: &Keyring, version: &KeyVersion) -> Duration {
    let after_staleness = keyring.max_staleness.saturating_add(after_last_token(keyring, version));
    after_staleness.max(version.longest_drain.unwrap_or_default())
}

/// The end of a drain that begins at `since`, and that of an earlier one where that is later.
pub fn end(keyring: &Keyring, version: &KeyVersion, since: Timestamp) -> Timestamp {
    let end = (since + duration(keyring, version)).floor_to_second();
    version.retires_at.map_or(end, |earlier| earlier.max(end))
}

/// The end of a drain that was first seen at `seen`: later than planned where the write that began
/// it was held up for longer than the margin makes good.
pub fn confirmed_end(keyring: &Keyring, version: &KeyVersion, seen: Timestamp) -> Timestamp {
    let tolerated = (keyring.drain_margin / 4).min(HELD_UP_MAX);
    let planned = version.retires_at.unwrap_or(seen);
    let from_seen = end(keyring, version, seen);
    if from_seen.saturating_since(planned) <= tolerated { planned } else { from_seen }
}

/// The end of the drain of an adopted version whose other signer is gone since `now`: its last token
/// may have been signed just before.
pub fn released_end(keyring: &Keyring, version: &KeyVersion, now: Timestamp) -> Timestamp {
    let end = (now + after_last_token(keyring, version)).floor_to_second();
    version.retires_at.map_or(end, |earlier| earlier.max(end))
}

/// How long a version is kept after its last token was signed.
fn after_last_token(keyring: &Keyring, version: &KeyVersion) -> Duration {
    let longest_token = version.longest_ttl.unwrap_or_default().max(keyring.max_ttl);
    longest_token.saturating_add(keyring.drain_margin)
}
