//! Faults on demand: `/_emulator/faults`.
//!
//! Whoever builds on IVS has to know what their code does when IVS is slow, throttles, fails, hangs
//! up in the middle or carries out a call and never says so. A [`Fault`] says which calls it strikes
//! and how; [`Faults`] decides for each call, and the [`Strike`] that comes out is applied to the
//! answer by [`strike`]. Faults are kept in memory alone, so that a restart is always a way out.
//!
//! Delays add up and duplicates are accepted beside anything else. Of the other kinds the first
//! fault that was set and is due strikes.

mod input;
mod service;
mod strike;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};

use self::strike::{BatchFlaw, Ending, Refusal};
pub(super) use self::{
    service::{playback, router},
    strike::{Distortion, Strike},
};
use crate::ivs::arn::Region;

/// What playback requests are called where operations are named.
pub(super) const PLAYBACK: &str = "Playback";

/// Which calls are struck, and how.
#[derive(Clone, Debug)]
struct Fault {
    effect: Effect,
    operations: Operations,
    region: Option<Region>,
    /// How many calls are struck at most.
    count: Option<u64>,
    /// For how long calls are struck.
    lasts: Option<Duration>,
    /// Each how manieth call is struck; 1 for all.
    every: u64,
    /// How many calls go by before the first is struck or counted.
    skip: u64,
    /// What the fault was asked for with, to show it.
    given: Map<String, Value>,
}

#[derive(Clone, Debug)]
enum Operations {
    /// Every operation of the control plane.
    All,
    /// These, which may hold [`PLAYBACK`].
    Named(Vec<String>),
}

/// What happens to a call that is struck.
#[derive(Clone, Debug)]
enum Effect {
    /// `ImportPlaybackKeyPair` takes a public key that is there already.
    AcceptDuplicates,
    /// Not every item of a batch is answered as it should.
    Flawed(BatchFlaw),
    /// The call is carried out; headers and half of the body are sent, then nothing.
    Cut,
    /// The call is carried out and answered late.
    LateAnswer(Duration),
    /// The call is carried out and never answered.
    LostAnswer,
    /// The call is refused, and not carried out.
    Refuse(Refusal),
    /// The call is carried out late.
    Slow(Duration),
}

impl Effect {
    /// Whether it strikes beside any other.
    const fn is_additional(&self) -> bool {
        matches!(self, Self::AcceptDuplicates | Self::LateAnswer(_) | Self::Slow(_))
    }

    fn add_to(&self, strike: &mut Strike) {
        match self {
            Self::AcceptDuplicates => strike.distortion.accept_duplicates = true,
            Self::Cut => strike.ending = Ending::Cut,
            Self::Flawed(flaw) => strike.distortion.flaw = Some(flaw.clone()),
            Self::LateAnswer(delay) => strike.after = strike.after.saturating_add(*delay),
            Self::LostAnswer => strike.ending = Ending::Lost,
            Self::Refuse(refusal) => strike.refusal = Some(refusal.clone()),
            Self::Slow(delay) => strike.before = strike.before.saturating_add(*delay),
        }
    }
}

/// How many faults that have ended are remembered, the latest ones, to show what they struck.
const ENDED_MAX: usize = 100;

/// The faults that are set. Times are those of [`crate::clock::Clock::monotonic`].
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    last_id: u64,
    faults: Vec<SetFault>,
}

/// A fault that was set, with what it has done.
#[derive(Clone, Debug)]
struct SetFault {
    id: u64,
    fault: Fault,
    ends: Option<Duration>,
    /// Calls that it could strike, while it was active.
    matched: u64,
    struck: u64,
}

impl Faults {
    /// What becomes of a call that arrives now.
    pub(super) fn strike(&self, operation: &str, region: Option<&Region>, now: Duration) -> Strike {
        let (mut strike, mut decided) = (Strike::default(), false);
        for set in &mut self.lock().faults {
            let additional = set.fault.effect.is_additional();
            if (decided && !additional)
                || !set.is_active(now)
                || !set.fault.concerns(operation, region)
            {
                continue;
            }
            set.matched += 1;
            if set.is_due() {
                set.struck += 1;
                set.fault.effect.add_to(&mut strike);
                decided |= !additional;
            }
        }
        strike
    }

    fn set(&self, fault: Fault, now: Duration) -> SetFault {
        let mut registered = self.lock();
        registered.forget_ended(now);
        registered.last_id += 1;
        let ends = fault.lasts.map(|lasts| now.saturating_add(lasts));
        let set = SetFault { id: registered.last_id, fault, ends, matched: 0, struck: 0 };
        registered.faults.push(set.clone());
        set
    }

    fn all(&self) -> Vec<SetFault> {
        self.lock().faults.clone()
    }

    /// Ends the fault of that id; whether there was one.
    fn remove(&self, id: u64) -> bool {
        let faults = &mut self.lock().faults;
        let before = faults.len();
        faults.retain(|set| set.id != id);
        faults.len() < before
    }

    fn clear(&self) {
        self.lock().faults.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        // No code that holds the lock can leave a fault half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    /// Keeps each call from being held against every fault that ever was.
    fn forget_ended(&mut self, now: Duration) {
        let ended = self.faults.iter().filter(|set| !set.is_active(now)).count();
        let mut surplus = ended.saturating_sub(ENDED_MAX);
        self.faults.retain(|set| {
            let is_kept = surplus == 0 || set.is_active(now);
            surplus -= usize::from(!is_kept);
            is_kept
        });
    }
}

impl SetFault {
    /// Whether it may still strike.
    fn is_active(&self, now: Duration) -> bool {
        self.ends.is_none_or(|ends| now < ends)
            && self.fault.count.is_none_or(|count| self.struck < count)
    }

    /// Whether the call that was matched last is one to strike.
    fn is_due(&self) -> bool {
        let counted = self.matched.saturating_sub(self.fault.skip);
        counted > 0 && counted.is_multiple_of(self.fault.every)
    }
}

impl Fault {
    fn concerns(&self, operation: &str, region: Option<&Region>) -> bool {
        let named = match &self.operations {
            Operations::All => operation != PLAYBACK,
            Operations::Named(names) => names.iter().any(|name| name == operation),
        };
        named && self.region.as_ref().is_none_or(|wanted| region == Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn fault(effect: Effect) -> Fault {
        Fault {
            effect,
            operations: Operations::Named(vec!["GetChannel".to_owned()]),
            region: None,
            count: None,
            lasts: None,
            every: 1,
            skip: 0,
            given: Map::new(),
        }
    }

    /// For each of `calls` calls, whether it was cut.
    fn cuts(fault: Fault, calls: usize) -> Vec<bool> {
        let faults = Faults::default();
        faults.set(fault, NOW);
        let strikes = (0..calls).map(|_| faults.strike("GetChannel", None, NOW));
        strikes.map(|strike| strike.ending == Ending::Cut).collect()
    }

    #[test]
    fn a_fault_strikes_the_calls_that_it_was_set_for() {
        let cut = || fault(Effect::Cut);
        assert_eq!(cuts(cut(), 3), [true, true, true]);
        assert_eq!(cuts(Fault { count: Some(1), ..cut() }, 3), [true, false, false]);
        assert_eq!(cuts(Fault { every: 2, ..cut() }, 4), [false, true, false, true]);
        assert_eq!(cuts(Fault { skip: 2, ..cut() }, 4), [false, false, true, true]);
        let once_later = Fault { skip: 1, every: 2, count: Some(1), ..cut() };
        assert_eq!(cuts(once_later, 6), [false, false, true, false, false, false]);
    }

    #[test]
    fn a_fault_concerns_operations_and_a_region() {
        let (here, there): (Region, Region) =
            ("us-west-2".parse().unwrap(), "eu-west-1".parse().unwrap());
        let all =
            Fault { operations: Operations::All, region: Some(here.clone()), ..fault(Effect::Cut) };
        assert!(all.concerns("GetStream", Some(&here)));
        assert!(!all.concerns("GetStream", Some(&there)));
        assert!(!all.concerns("GetStream", None));
        assert!(!all.concerns(PLAYBACK, Some(&here)), "playback is struck by name only");
        assert!(!fault(Effect::Cut).concerns("ListChannels", Some(&here)));
    }

    #[test]
    fn a_fault_ends_with_its_time_or_by_hand() {
        let faults = Faults::default();
        let timed = Fault { lasts: Some(Duration::from_secs(5)), ..fault(Effect::Cut) };
        faults.set(timed, NOW);
        let ending = |at| faults.strike("GetChannel", None, NOW + Duration::from_millis(at)).ending;
        assert_eq!(ending(4_999), Ending::Cut);
        assert_eq!(ending(5_000), Ending::Whole);
        let id = faults.set(fault(Effect::LostAnswer), NOW).id;
        assert_eq!(ending(5_000), Ending::Lost);
        assert!(faults.remove(id) && !faults.remove(id));
        assert_eq!(ending(5_000), Ending::Whole);
        assert!(faults.set(fault(Effect::Cut), NOW).id > id, "an id is never used twice");
        faults.clear();
        assert_eq!(ending(0), Ending::Whole);
    }

    #[test]
    fn of_those_that_ended_the_latest_are_remembered() {
        let faults = Faults::default();
        let lasting = faults.set(fault(Effect::AcceptDuplicates), NOW).id;
        let once = || Fault { count: Some(1), ..fault(Effect::Cut) };
        for _ in 0..ENDED_MAX + 5 {
            faults.set(once(), NOW);
            faults.strike("GetChannel", None, NOW);
        }
        let latest = faults.set(once(), NOW).id;
        let all = faults.all();
        assert_eq!(all.len(), ENDED_MAX + 2);
        assert_eq!((all[0].id, all[1].id), (lasting, lasting + 6));
        assert_eq!(all.last().map(|set| set.id), Some(latest));
    }

    #[test]
    fn delays_add_up_and_the_first_of_the_others_strikes() {
        let faults = Faults::default();
        let second = Duration::from_secs(1);
        for effect in [
            Effect::Slow(second),
            Effect::Cut,
            Effect::LostAnswer,
            Effect::Slow(second),
            Effect::LateAnswer(second),
            Effect::AcceptDuplicates,
        ] {
            faults.set(Fault { count: Some(1), ..fault(effect) }, NOW);
        }
        let first = faults.strike("GetChannel", None, NOW);
        assert_eq!((first.before, first.after), (second * 2, second));
        assert!(first.distortion.accept_duplicates);
        assert_eq!(first.ending, Ending::Cut);
        let next = faults.strike("GetChannel", None, NOW);
        assert_eq!((next.before, next.ending), (Duration::ZERO, Ending::Lost));
        assert_eq!(faults.all().iter().map(|set| set.matched).max(), Some(1));
    }
}
