//! When a canary proves that IVS knows a new key.
//!
//! Each round fetches one playlist with three tokens: one of the active key, one of the new key, and
//! one of a throwaway key that IVS never had. The new key is known when its answer is the active
//! one's and not the throwaway's, [`ROUNDS`] times in a row, and a while has passed since. If the answers
//! for the active and the throwaway key are alike, the channel proves nothing (it is public, or not live),
//! and the fixed wait counts instead.

use std::time::Duration;

/// How many rounds in a row must agree.
pub const ROUNDS: u32 = 3;

/// What the edge answered to three tokens: anything that can be compared, such as a status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Round {
    /// The answer to the active key's token.
    pub active: u16,
    /// The answer to the new key's token.
    pub new: u16,
    /// The answer to the throwaway key's token.
    pub throwaway: u16,
}

/// What all rounds together prove.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing yet.
    Unknown,
    /// The new key plays.
    Known,
    /// The channel proves nothing.
    ProvesNothing,
    /// Too long without a proof.
    Stuck,
}

/// The rounds for one new key. Instants are on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    began: Duration,
    agreeing: u32,
    proves_nothing: bool,
    known_at: Option<Duration>,
}

impl Canary {
    /// A canary before its first round.
    pub const fn new(now: Duration) -> Self {
        Self { began: now, agreeing: 0, proves_nothing: false, known_at: None }
    }

    /// Records a round; `None` if the edge could not be asked.
    pub fn record(&mut self, round: Option<Round>, now: Duration) {
        let Some(round) = round else {
            self.agreeing = 0;
            return;
        };
        self.proves_nothing = round.active == round.throwaway;
        let agrees = round.new == round.active && round.new != round.throwaway;
        self.agreeing = if agrees { self.agreeing + 1 } else { 0 };
        if self.agreeing >= ROUNDS {
            self.known_at.get_or_insert(now);
        }
    }

    /// Returns how long IVS took to know the new key.
    pub fn measured(&self) -> Option<Duration> {
        self.known_at.map(|known_at| known_at.saturating_sub(self.began))
    }

    /// Returns what is proved at `now`.
    pub fn verdict(&self, now: Duration, settle: Duration, timeout: Duration) -> Verdict {
        match self.known_at {
            Some(known_at) if now.saturating_sub(known_at) >= settle => Verdict::Known,
            None if self.proves_nothing => Verdict::ProvesNothing,
            None if now.saturating_sub(self.began) >= timeout => Verdict::Stuck,
            Some(_) | None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_mins(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn round(active: u16, new: u16, throwaway: u16) -> Round {
        Round { active, new, throwaway }
    }

    #[test]
    fn three_rounds_running_and_a_while_make_it_known() {
        let mut canary = Canary::new(at(0));
        canary.record(Some(round(200, 200, 403)), at(1));
        canary.record(Some(round(200, 403, 403)), at(2));
        for second in 3..6 {
            assert_eq!(canary.measured(), None);
            canary.record(Some(round(200, 200, 403)), at(second));
        }
        assert_eq!(canary.measured(), Some(at(5)));
        assert_eq!(canary.verdict(at(34), SETTLE, TIMEOUT), Verdict::Unknown);
        assert_eq!(canary.verdict(at(35), SETTLE, TIMEOUT), Verdict::Known);
    }

    #[test]
    fn a_channel_that_answers_anyone_proves_nothing_and_silence_is_stuck() {
        let mut canary = Canary::new(at(0));
        canary.record(Some(round(404, 404, 404)), at(1));
        assert_eq!(canary.verdict(at(2), SETTLE, TIMEOUT), Verdict::ProvesNothing);
        // It came on the air.
        canary.record(Some(round(200, 403, 403)), at(3));
        assert_eq!(canary.verdict(at(4), SETTLE, TIMEOUT), Verdict::Unknown);
        canary.record(None, at(5));
        assert_eq!(canary.verdict(at(600), SETTLE, TIMEOUT), Verdict::Stuck);
    }
}
