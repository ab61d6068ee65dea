//! What may be done with a remembered channel. Pure: ages in, a verdict out.

use std::time::Duration;

use super::Settings;

/// What to do with a remembered channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Serve it.
    Fresh,
    /// Serve it, and refresh it meanwhile.
    Stale,
    /// Ask IVS before anything is answered.
    Expired,
}

/// Judges a channel that was fetched `age` ago. `authorized` is whether it demands a token: only
/// such an answer permits a mint, and only what permits is served stale.
pub(super) fn judge(authorized: bool, age: Duration, settings: &Settings) -> Verdict {
    if !authorized {
        return if age < settings.not_found_for { Verdict::Fresh } else { Verdict::Expired };
    }
    if age < settings.fresh_for {
        Verdict::Fresh
    } else if age < settings.stale_for {
        Verdict::Stale
    } else {
        Verdict::Expired
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channels::tests::SETTINGS;

    fn after(authorized: bool, seconds: u64) -> Verdict {
        judge(authorized, Duration::from_secs(seconds), &SETTINGS)
    }

    #[test]
    fn a_private_channel_is_fresh_then_stale_then_expired() {
        assert_eq!(after(true, 0), Verdict::Fresh);
        assert_eq!(after(true, 59), Verdict::Fresh);
        assert_eq!(after(true, 60), Verdict::Stale);
        assert_eq!(after(true, 86_399), Verdict::Stale);
        assert_eq!(after(true, 86_400), Verdict::Expired);
    }

    #[test]
    fn that_a_channel_is_public_is_asked_again_soon() {
        assert_eq!(after(false, 9), Verdict::Fresh);
        assert_eq!(after(false, 10), Verdict::Expired);
    }

    proptest! {
        #[test]
        fn nothing_gets_better_with_age(
            authorized: bool,
            ages in (0_u64..200_000, 0_u64..200_000),
            settings in (0_u64..100_000, 0_u64..100_000, 0_u64..100_000),
        ) {
            let settings = Settings {
                fresh_for: Duration::from_secs(settings.0),
                stale_for: Duration::from_secs(settings.1),
                not_found_for: Duration::from_secs(settings.2),
                ..SETTINGS
            };
            let rank = |age: u64| match judge(authorized, Duration::from_secs(age), &settings) {
                Verdict::Fresh => 0,
                Verdict::Stale => 1,
                Verdict::Expired => 2,
            };
            prop_assert!(rank(ages.0.min(ages.1)) <= rank(ages.0.max(ages.1)));
        }
    }
}
