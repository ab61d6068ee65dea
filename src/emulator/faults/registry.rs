//! The faults that are set, and the decision which of them strike a call.
//!
//! Delays add up, and `accept_duplicates` applies next to any other fault. Of the other kinds, the
//! first fault that was set and is due strikes.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};

use super::strike::{BatchFlaw, Ending, Refusal, Strike};
use crate::ivs::arn::Region;

/// The name of playback requests in `operations`.
pub(super) const PLAYBACK: &str = "Playback";

/// Which calls a fault strikes, and how.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) effect: Effect,
    pub(super) operations: Operations,
    pub(super) region: Option<Region>,
    /// The most calls that are struck.
    pub(super) count: Option<u64>,
    /// How long calls are struck.
    pub(super) lasts: Option<Duration>,
    /// Strikes every n-th call; 1 for all.
    pub(super) every: u64,
    /// How many calls pass before the first is counted.
    pub(super) skip: u64,
    /// The members of the request that set the fault.
    pub(super) given: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub(super) enum Operations {
    /// Every operation of the control plane.
    All,
    /// These, which may include [`PLAYBACK`].
    Named(Vec<String>),
}

/// What happens to a call that is struck.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// `ImportPlaybackKeyPair` accepts a public key that was imported before.
    AcceptDuplicates,
    /// One item of a batch response is wrong.
    Flawed(BatchFlaw),
    /// The call is executed; headers and half of the body are sent, then the connection closes.
    Cut,
    /// The call is executed, and its response is sent late.
    LateAnswer(Duration),
    /// The call is executed, and its response is never sent.
    LostAnswer,
    /// The call is refused and not executed.
    Refuse(Refusal),
    /// The call is executed late.
    Slow(Duration),
}

impl Effect {
    /// Returns whether it applies next to any other effect.
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

/// How many of the faults that ended are kept, the latest ones, to show what they struck.
const MAX_ENDED: usize = 100;

/// The faults that are set. Times are those of [`crate::clock::Clock::monotonic`].
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    last_id: u64,
    faults: Vec<SetFault>,
}

/// A fault that was set, and what it has done.
#[derive(Clone, Debug)]
pub(super) struct SetFault {
    pub(super) id: u64,
    pub(super) fault: Fault,
    ends: Option<Duration>,
    /// The calls that it could strike while it was active.
    pub(super) matched: u64,
    pub(super) struck: u64,
}

impl Faults {
    /// Decides what happens to a call that arrives now.
    pub(crate) fn strike(&self, operation: &str, region: Option<&Region>, now: Duration) -> Strike {
        let (mut strike, mut decided) = (Strike::default(), false);
        for set in &mut self.lock().faults {
            let additional = set.fault.effect.is_additional();
            if (decided && !additional)
                || !set.is_active(now)
                || !set.fault.applies_to(operation, region)
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

    pub(super) fn set(&self, fault: Fault, now: Duration) -> SetFault {
        let mut registered = self.lock();
        registered.forget_ended(now);
        registered.last_id += 1;
        let ends = fault.lasts.map(|lasts| now.saturating_add(lasts));
        let set = SetFault { id: registered.last_id, fault, ends, matched: 0, struck: 0 };
        registered.faults.push(set.clone());
        set
    }

    pub(super) fn all(&self) -> Vec<SetFault> {
        self.lock().faults.clone()
    }

    /// Removes the fault of that id. Returns whether it existed.
    pub(super) fn remove(&self, id: u64) -> bool {
        let faults = &mut self.lock().faults;
        let before = faults.len();
        faults.retain(|set| set.id != id);
        faults.len() < before
    }

    pub(super) fn clear(&self) {
        self.lock().faults.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock()
    }
}

impl Registered {
    /// Limits how many faults each call is matched against.
    fn forget_ended(&mut self, now: Duration) {
        let ended = self.faults.iter().filter(|set| !set.is_active(now)).count();
        let mut surplus = ended.saturating_sub(MAX_ENDED);
        self.faults.retain(|set| {
            let is_kept = surplus == 0 || set.is_active(now);
            surplus -= usize::from(!is_kept);
            is_kept
        });
    }
}

impl SetFault {
    /// Returns whether it may still strike.
    pub(super) fn is_active(&self, now: Duration) -> bool {
        self.ends.is_none_or(|ends| now < ends)
            && self.fault.count.is_none_or(|count| self.struck < count)
    }

    /// Returns whether the call that was matched last is struck.
    fn is_due(&self) -> bool {
        let counted = self.matched.saturating_sub(self.fault.skip);
        counted > 0 && counted.is_multiple_of(self.fault.every)
    }
}

impl Fault {
    fn applies_to(&self, operation: &str, region: Option<&Region>) -> bool {
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

    /// Returns for each of `calls` calls whether it was cut.
    fn cuts(fault: Fault, calls: usize) -> Vec<bool> {
        let faults = Faults::default();
        faults.set(fault, NOW);
        let strikes = (0..calls).map(|_| faults.strike("GetChannel", None, NOW));
        strikes.map(|strike| strike.ending == Ending::Cut).collect()
    }

    #[test]
    fn count_every_and_skip_select_calls() {
        let cut = || fault(Effect::Cut);
        assert_eq!(cuts(cut(), 3), [true, true, true]);
        assert_eq!(cuts(Fault { count: Some(1), ..cut() }, 3), [true, false, false]);
        assert_eq!(cuts(Fault { every: 2, ..cut() }, 4), [false, true, false, true]);
        assert_eq!(cuts(Fault { skip: 2, ..cut() }, 4), [false, false, true, true]);
        let once_later = Fault { skip: 1, every: 2, count: Some(1), ..cut() };
        assert_eq!(cuts(once_later, 6), [false, false, true, false, false, false]);
    }

    #[test]
    fn fault_applies_to_its_operations_and_region() {
        let (here, there): (Region, Region) =
            ("us-west-2".parse().unwrap(), "eu-west-1".parse().unwrap());
        let all =
            Fault { operations: Operations::All, region: Some(here.clone()), ..fault(Effect::Cut) };
        assert!(all.applies_to("GetStream", Some(&here)));
        assert!(!all.applies_to("GetStream", Some(&there)));
        assert!(!all.applies_to("GetStream", None));
        assert!(!all.applies_to(PLAYBACK, Some(&here)), "playback must be named");
        assert!(!fault(Effect::Cut).applies_to("ListChannels", Some(&here)));
    }

    #[test]
    fn fault_ends_by_time_or_removal() {
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
        assert!(faults.set(fault(Effect::Cut), NOW).id > id, "an id is never reused");
        faults.clear();
        assert_eq!(ending(0), Ending::Whole);
    }

    #[test]
    fn latest_ended_faults_are_kept() {
        let faults = Faults::default();
        let lasting = faults.set(fault(Effect::AcceptDuplicates), NOW).id;
        let once = || Fault { count: Some(1), ..fault(Effect::Cut) };
        for _ in 0..MAX_ENDED + 5 {
            faults.set(once(), NOW);
            faults.strike("GetChannel", None, NOW);
        }
        let latest = faults.set(once(), NOW).id;
        let all = faults.all();
        assert_eq!(all.len(), MAX_ENDED + 2);
        assert_eq!((all[0].id, all[1].id), (lasting, lasting + 6));
        assert_eq!(all.last().map(|set| set.id), Some(latest));
    }

    #[test]
    fn delays_add_up_and_first_other_fault_strikes() {
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
