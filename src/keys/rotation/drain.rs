//! How long a key is kept after it stopped signing.
//!
//! Tokens of a key may be signed until the last snapshot that shows it active is too old
//! (`maxStaleness`), and live for `maxTtl` after that, or for as long as those of an adopted key's
//! other signer. `drainMargin` is for clocks that differ and for edges that are slow. All three are
//! the keyring's, never those of the process that computes: others may sign for longer.

use std::time::Duration;

use super::now::DATE_RESOLUTION;
use crate::{
    clock::Timestamp,
    keys::keyring::{KeyVersion, Keyring},
};

/// How long the write of an activation may take without lengthening the drain, whatever the margin.
const HELD_UP_MAX: Duration = Duration::from_mins(1);

/// Returns how far our clock and IVS's may differ for steps that depend on time: a quarter of the margin.
pub fn skew_limit(drain_margin: Duration) -> Duration {
    drain_margin / 4 + DATE_RESOLUTION
}

/// Returns how long after it stopped signing the tokens of `version` may still start playback.
pub fn duration(keyring: &Keyring, version: &KeyVersion) -> Duration {
    let after_staleness = keyring.max_staleness.saturating_add(after_last_token(keyring, version));
    after_staleness.max(version.longest_drain.unwrap_or_default())
}

/// Returns the end of a drain that begins at `since`, or that of an earlier one if that is later.
pub fn end(keyring: &Keyring, version: &KeyVersion, since: Timestamp) -> Timestamp {
    let end = (since + duration(keyring, version)).floor_to_second();
    version.retires_at.map_or(end, |earlier| earlier.max(end))
}

/// Returns the end of a drain that was first seen at `seen`: later than planned if the write that began it was delayed by
/// more than the margin makes up for.
pub fn confirmed_end(keyring: &Keyring, version: &KeyVersion, seen: Timestamp) -> Timestamp {
    let tolerated = (keyring.drain_margin / 4).min(HELD_UP_MAX);
    let planned = version.retires_at.unwrap_or(seen);
    let from_seen = end(keyring, version, seen);
    if from_seen.saturating_since(planned) <= tolerated { planned } else { from_seen }
}

/// Returns the end of the drain of an adopted version whose other signer stopped at `now`: its last token may have been
/// signed just before.
pub fn released_end(keyring: &Keyring, version: &KeyVersion, now: Timestamp) -> Timestamp {
    let end = (now + after_last_token(keyring, version)).floor_to_second();
    version.retires_at.map_or(end, |earlier| earlier.max(end))
}

/// Returns how long a version is kept after its last token was signed.
fn after_last_token(keyring: &Keyring, version: &KeyVersion) -> Duration {
    let longest_token = version.longest_ttl.unwrap_or_default().max(keyring.max_ttl);
    longest_token.saturating_add(keyring.drain_margin)
}
