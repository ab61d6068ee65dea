//! What no step may write, checked before it is written.
//!
//! The plan should never ask for any of this. These checks are independent of it, so that one mistake in the plan is an
//! error in the log rather than viewers who are locked out.

use std::time::Duration;

use super::{drain, now::Now};
use crate::keys::keyring::{KeyState, KeyVersion, Keyring, VersionId};

/// How much of what a plan computed may have passed until it is checked.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Why a step was not written. Only a bug in the plan leads to one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Violation {
    /// The active version would stop signing, and no other would sign.
    #[error("version {0} would stop signing, and no other would start")]
    ActiveLost(VersionId),
    /// A version would drain for less time than its tokens live.
    #[error("version {0} would drain too briefly")]
    DrainTooShort(VersionId),
    /// A version would retire before its tokens have expired.
    #[error("version {0} would retire while its tokens may still be used")]
    RetiresTooEarly(VersionId),
    /// A version would retire that another signer still uses.
    #[error("version {0} would retire, and another signer may still use it")]
    StillShared(VersionId),
    /// A version would begin to sign that was not imported.
    #[error("version {0} would sign before IVS has it")]
    SignsTooEarly(VersionId),
    /// Two rotations would lead to a new key at the same time.
    #[error("two rotations would be in progress at once")]
    TwoRotations,
}

/// Checks a step that leads from `before` to `after`.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check(before: &Keyring, after: &Keyring, now: Now) -> Result<(), Violation> {
    for version in &before.keys {
        if let Some(next) = after.version(&version.id) {
            check_version(before, after, (version, next), now)?;
        }
    }
    let under_way = after.rotations.iter().filter(|it| it.is_before_activation());
    if under_way.count() > 1 {
        return Err(Violation::TwoRotations);
    }
    Ok(())
}

fn check_version(
    before: &Keyring,
    after: &Keyring,
    (version, next): (&KeyVersion, &KeyVersion),
    now: Now,
) -> Result<(), Violation> {
    let id = || version.id.clone();
    let ceases = version.state == KeyState::Active && next.state != KeyState::Active;
    if ceases && after.active().is_none() && !next.compromised {
        return Err(Violation::ActiveLost(id()));
    }
    if next.state == KeyState::Draining && !next.compromised {
        let ends = next.retires_at.unwrap_or_else(|| now.earliest());
        let begins = version.state == KeyState::Active;
        let least = now.earliest() + drain::duration(before, version);
        let shortens = version.state == KeyState::Draining
            && version.retires_at.is_some_and(|earlier| ends < earlier);
        if shortens || begins && ends + TOLERANCE < least {
            return Err(Violation::DrainTooShort(id()));
        }
    }
    if version.state == KeyState::Draining && next.state == KeyState::Retiring && !next.compromised
    {
        let is_over = version.retires_at.is_some_and(|ends| ends <= now.earliest());
        if !is_over || version.drain_seen_at.is_none() {
            return Err(Violation::RetiresTooEarly(id()));
        }
        if version.is_shared() {
            return Err(Violation::StillShared(id()));
        }
    }
    let begins = version.state == KeyState::Imported && next.state == KeyState::Active;
    if begins && version.imported_at.is_none() {
        return Err(Violation::SignsTooEarly(id()));
    }
    Ok(())
}
