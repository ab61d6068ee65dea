//! Properties of plans over arbitrary keyrings, IVS states, clocks and policies.

use std::{collections::BTreeSet, time::Duration};

use proptest::{prelude::*, strategy::ValueTree as _};

use super::{
    Begin, Now, Observation, Plan, Policy, Refusal, Situation, Step, Wait, invariants, plan,
    requests, transitions,
};
use crate::{
    clock::Timestamp,
    ivs::{KeyPairSummary, arn::PlaybackKeyArn},
    keys::{
        Heal,
        finding::FindingCode,
        keyring::{
            DriverId, KEYRING_TAG, KeyState, Keyring, Limits, Rotation, RotationMode, VERSION_TAG,
            VersionId, strategies,
        },
        material::PrivateKey,
        service::KEY_PAIR_QUOTA,
    },
    secret::system_rng,
};

/// More steps than any way to rest has.
const WAY_TO_REST: usize = 200;

/// A keyring, and an IVS that agrees with it more or less.
#[derive(Clone, Debug)]
struct World {
    keyring: Keyring,
    pairs: Vec<KeyPairSummary>,
    now: Timestamp,
    /// How far our clock is from IVS's, in milliseconds.
    skew: i64,
    policy: Policy,
    driver: DriverId,
    imports: usize,
    /// Recorded pairs that IVS lacks and has denied only once.
    suspects: BTreeSet<PlaybackKeyArn>,
    /// A version that is another key in IVS.
    distrusted: BTreeSet<VersionId>,
}

impl World {
    fn observation(&self) -> Observation {
        Observation {
            listed: self.pairs.clone(),
            listed_at: Some(self.own_now()),
            gone: self.missing().filter(|arn| !self.suspects.contains(arn)).collect(),
            distrusted: self.distrusted.clone(),
        }
    }

    /// The recorded pairs that IVS lacks.
    fn missing(&self) -> impl Iterator<Item = PlaybackKeyArn> {
        let recorded = self.keyring.present().filter_map(|version| version.arn.clone());
        recorded.filter(|arn| !self.has(arn))
    }

    fn has(&self, arn: &PlaybackKeyArn) -> bool {
        self.pairs.iter().any(|pair| pair.arn == *arn)
    }

    fn own_now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.now.unix_millis() + self.skew)
    }

    fn now(&self) -> Now {
        Now::exact(self.own_now(), self.now.floor_to_second())
    }

    fn plan(&self) -> Plan {
        let observation = self.observation();
        self.plan_for(&observation)
    }

    fn plan_for(&self, observation: &Observation) -> Plan {
        plan(&Situation {
            now: self.now(),
            keyring: &self.keyring,
            observation,
            policy: &self.policy,
            driver: &self.driver,
            canary: None,
            schedule_delay: Duration::ZERO,
            waits_for_other_region: false,
        })
    }

    /// Takes a step as the driver would, against the IVS of this world.
    fn take(&mut self, step: &Step) {
        let before = self.keyring.clone();
        let now = self.now();
        match step {
            Step::Import(id) | Step::Reimport(id) => self.import(id),
            Step::Delete(id) => {
                let version = self.keyring.version(id).unwrap().clone();
                assert_eq!(version.state, KeyState::Retiring);
                let mut ours = self.observation().tagged(&self.keyring, &version);
                ours.extend(version.arn);
                ours.extend(version.duplicates);
                self.pairs.retain(|pair| !ours.contains(&pair.arn));
                transitions::retired(&mut self.keyring, id, now.latest());
            }
            Step::DeleteDuplicate(id, arn) => {
                let version = self.keyring.version(id).unwrap();
                let is_recorded = version.arn.as_ref() == Some(arn);
                assert!(!is_recorded || version.state == KeyState::Retired, "{arn} is in use");
                self.pairs.retain(|pair| pair.arn != *arn);
            }
            Step::Schedule => self.begin(RotationMode::Graceful),
            Step::Replace(_) => self.begin(RotationMode::Emergency),
            Step::Settle
            | Step::RecordMissing(_)
            | Step::Recover(_)
            | Step::Activate(_)
            | Step::Withdraw(_)
            | Step::ConfirmDrain(_)
            | Step::Retire(_)
            | Step::RecordDuplicate(..) => {
                self.check_activation(step);
                transitions::apply(step, &mut self.keyring, now, &self.policy);
                assert_eq!(invariants::check(&before, &self.keyring, now), Ok(()));
                assert_ne!(before, self.keyring, "{step:?} changed nothing");
            }
        }
        assert_eq!(self.keyring.check(), Ok(()), "{step:?}");
        assert_eq!(before.check_successor(&self.keyring), Ok(()), "{step:?}");
        let actives = self.keyring.keys.iter().filter(|it| it.state == KeyState::Active);
        assert!(actives.count() <= 1);
    }

    /// A key that IVS does not have, or has otherwise, must not sign.
    fn check_activation(&self, step: &Step) {
        let Step::Activate(rotation) = step else { return };
        let rotation = self.keyring.rotations.iter().find(|it| it.id == *rotation).unwrap();
        let to = self.keyring.version(&rotation.to).unwrap();
        assert!(to.arn.as_ref().is_some_and(|arn| self.has(arn)), "IVS lacks {to:?}");
        assert!(!self.distrusted.contains(&to.id), "IVS has another key than {to:?}");
    }

    fn import(&mut self, id: &VersionId) {
        let version = self.keyring.version(id).unwrap().clone();
        let mut tagged = self.observation().tagged(&self.keyring, &version);
        tagged.retain(|arn| !version.duplicates.contains(arn));
        let arn = tagged.pop_first().unwrap_or_else(|| {
            assert!(self.pairs.len() < KEY_PAIR_QUOTA, "no slot for an import");
            self.imports += 1;
            let arn = strategies::arn(1000 + self.imports);
            let tags = self.keyring.pair_tags(&version);
            let name = version.name.clone();
            self.pairs.push(KeyPairSummary { arn: arn.clone(), name, tags });
            arn
        });
        let now = self.now().latest();
        let version = self.keyring.version_mut(id).unwrap();
        version.claim = None;
        version.arn = Some(arn);
        if version.state == KeyState::Pending {
            version.state = KeyState::Imported;
            version.imported_at = Some(now);
        } else {
            version.missing_since = None;
            version.healed_at = Some(now);
        }
    }

    fn begin(&mut self, mode: RotationMode) {
        self.ask(mode).unwrap();
    }

    fn ask(&mut self, mode: RotationMode) -> Result<(), Refusal> {
        let request =
            Begin { mode, requested_by: "test".to_owned(), idempotency: None, new_keyring: false };
        let key = PrivateKey::generate(&mut system_rng()).unwrap();
        let (observation, now) = (self.observation(), self.now().latest());
        let driver = self.driver.clone();
        requests::begin(&mut self.keyring, &request, key.public_key(), &observation, &driver, now)
            .map(|_| ())
    }

    /// Takes steps and lets time pass until nothing happens by itself any more.
    fn come_to_rest(&mut self) -> Plan {
        for _ in 0..WAY_TO_REST {
            let observation = self.observation();
            let plan = self.plan_for(&observation);
            if let Some(planned) = plan.steps.first() {
                self.take(&planned.step);
            } else if !self.suspects.is_empty() {
                // Looked at a second time.
                self.suspects.clear();
            } else if let Some(next_at) = plan.next_at() {
                self.now = self.now.max(next_at) + Duration::from_secs(1);
                self.skew = 0;
            } else {
                return plan;
            }
        }
        panic!("no rest: {:#?}", self.plan());
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..7200_u64, 0..30_000_u64, 0..100_000_u64).prop_map(
        |(max_ttl, max_staleness, drain_margin)| Limits {
            max_ttl: Duration::from_secs(max_ttl),
            max_staleness: Duration::from_secs(max_staleness),
            drain_margin: Duration::from_secs(drain_margin),
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let heal = prop::sample::select(vec![Heal::Reimport, Heal::Replace, Heal::Off]);
    (0..1000_u64, limits(), heal).prop_map(|(propagation_wait, limits, heal)| Policy {
        propagation_wait: Duration::from_secs(propagation_wait),
        limits,
        heal,
        every: None,
        has_canary: false,
    })
}

/// A pair of IVS for each version, for some; strays; foreign ones. Three at most.
fn world() -> impl Strategy<Value = World> {
    let picks = prop::collection::vec((0..12_usize, any::<bool>()), 0..6);
    let rotation = (0..8_usize, 0..8_usize, any::<bool>(), any::<bool>());
    let doubts = (any::<bool>(), prop::option::weighted(0.1, 0..8_usize));
    (
        strategies::keyring(),
        picks,
        prop::option::of(rotation),
        doubts,
        (policy(), limits()),
        0..200_000_i64,
        -4000..4000_i64,
    )
        .prop_map(
            |(mut keyring, picks, rotation, doubts, (policy, recorded), offset, skew)| {
                keyring.set_limits(recorded);
                let mut pairs: Vec<KeyPairSummary> = Vec::new();
                for (pick, is_stray) in picks {
                    let pair = match keyring.keys.get(pick) {
                        Some(version) => {
                            let recorded = version.arn.clone().filter(|_| !is_stray);
                            let arn = recorded.unwrap_or_else(|| strategies::arn(100 + pick));
                            let tags = keyring.pair_tags(version);
                            KeyPairSummary { arn, name: String::new(), tags }
                        }
                        None => KeyPairSummary {
                            arn: strategies::arn(200 + pick),
                            name: "theirs".to_owned(),
                            tags: std::collections::BTreeMap::new(),
                        },
                    };
                    if pairs.len() < KEY_PAIR_QUOTA && !pairs.iter().any(|it| it.arn == pair.arn) {
                        pairs.push(pair);
                    }
                }
                if let Some((to, from, is_emergency, is_active)) = rotation {
                    add_rotation(&mut keyring, to, from, is_emergency, is_active);
                }
                let (denied_once, distrusted) = doubts;
                let other_key = distrusted.and_then(|position| keyring.keys.get(position));
                let other_key = other_key.filter(|it| it.arn.is_some()).map(|it| it.id.clone());
                let mut world = World {
                    keyring,
                    pairs,
                    now: Timestamp::from_unix_seconds(strategies::EPOCH + offset),
                    skew,
                    policy,
                    driver: DriverId::random(&mut system_rng()),
                    imports: 0,
                    suspects: BTreeSet::new(),
                    distrusted: other_key.into_iter().collect(),
                };
                if denied_once {
                    world.suspects = world.missing().collect();
                }
                world
            },
        )
}

fn add_rotation(keyring: &mut Keyring, to: usize, from: usize, is_emergency: bool, active: bool) {
    let Some(to) = keyring.keys.get(to).filter(|it| it.has_private_key && !it.compromised) else {
        return;
    };
    let from = keyring.keys.get(from).filter(|it| it.id != to.id).map(|it| it.id.clone());
    let started_at = Timestamp::from_unix_seconds(strategies::EPOCH);
    let mode = if is_emergency { RotationMode::Emergency } else { RotationMode::Graceful };
    let rotation = Rotation {
        from,
        made: true,
        activated_at: active.then_some(started_at),
        ..Rotation::new(mode, "test", to.id.clone(), started_at, &mut system_rng())
    };
    keyring.record_rotation(rotation);
}

/// The pairs that no version of the keyring is or was.
fn foreign(world: &World) -> Vec<PlaybackKeyArn> {
    let foreign = world.observation().foreign(&world.keyring);
    foreign.into_iter().map(|pair| pair.arn).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Every step of every plan keeps all rules, whichever is taken first.
    #[test]
    fn every_step_keeps_the_rules(world in world()) {
        let plan = world.plan();
        for planned in &plan.steps {
            world.clone().take(&planned.step);
        }
    }

    /// From every state the plan comes to rest, and leaves nothing of ours behind that it need not.
    #[test]
    fn the_plan_comes_to_rest(mut world in world()) {
        let theirs = foreign(&world);
        let had_active = world.keyring.active().is_some();
        let is_emergency = world.keyring.rotations.iter()
            .any(|it| it.is_before_activation() && it.mode == RotationMode::Emergency);
        let plan = world.come_to_rest();

        prop_assert_eq!(foreign(&world), theirs, "a pair that is not ours was touched");
        prop_assert!(world.pairs.len() <= KEY_PAIR_QUOTA);
        let is_blocked = plan.findings.iter().any(|it| {
            matches!(it.code, FindingCode::RotationStuck | FindingCode::FingerprintMismatch)
        });
        if had_active && !is_blocked {
            prop_assert!(world.keyring.active().is_some() , "no key signs");
        }
        if had_active && !is_emergency {
            prop_assert!(world.keyring.active().is_some() || is_blocked);
        }
        for version in world.keyring.present() {
            match version.state {
                KeyState::Retiring => prop_assert!(false, "retiring at rest"),
                KeyState::Draining => prop_assert!(version.is_shared(), "drains for ever"),
                KeyState::Pending | KeyState::Imported | KeyState::Active | KeyState::Retired => {}
            }
            let tagged = world.observation().tagged(&world.keyring, version);
            let is_recorded = version.arn.as_ref().is_some_and(|arn| tagged.contains(arn));
            prop_assert!(tagged.len() <= 1 || !is_recorded, "IVS has a key of ours twice");
        }
        let under_way = world.keyring.rotations.iter().any(Rotation::is_before_activation);
        prop_assert!(!under_way || is_blocked || plan.waits.contains(&Wait::Slot)
            || world.policy.heal == Heal::Off, "a rotation stopped");
    }

    /// However often people ask for rotations, at most three pairs are ours, and rest is reached.
    #[test]
    fn requests_come_to_rest(
        mut world in world(),
        requests in prop::collection::vec((any::<bool>(), 0..6_usize), 0..5),
    ) {
        for (is_emergency, steps) in requests {
            let mode =
                if is_emergency { RotationMode::Emergency } else { RotationMode::Graceful };
            let before = world.keyring.clone();
            if world.ask(mode).is_err() {
                world.keyring = before;
            } else {
                prop_assert_eq!(world.keyring.check(), Ok(()));
                prop_assert_eq!(before.check_successor(&world.keyring), Ok(()));
            }
            for _ in 0..steps {
                if let Some(planned) = world.plan().steps.first().cloned() {
                    world.take(&planned.step);
                }
            }
        }
        world.come_to_rest();
        prop_assert!(world.pairs.len() <= KEY_PAIR_QUOTA);
    }

    /// Nothing retires by time that a snapshot of the last moment may still sign with.
    #[test]
    fn nothing_drains_too_briefly(mut world in world(), held_up in 0..400_000_u64) {
        let Some(active) = world.keyring.active().map(|it| it.id.clone()) else { return Ok(()) };
        let is_ours = world.ask(RotationMode::Graceful).is_ok();
        prop_assume!(is_ours);
        // Other processes sign with what the keyring records, whatever this one is configured with.
        let Limits { max_ttl, max_staleness, drain_margin } = world.keyring.limits();
        let mut last_signed = None;
        for _ in 0..WAY_TO_REST {
            let plan = world.plan();
            if let Some(planned) = plan.steps.first().cloned() {
                let state = |world: &World| world.keyring.version(&active).map(|it| it.state);
                let before = state(&world);
                let is_leaked = world.keyring.version(&active).is_none_or(|it| it.compromised);
                world.take(&planned.step);
                match (before, state(&world)) {
                    (Some(KeyState::Active), Some(KeyState::Draining)) => {
                        // The write that did this landed late, and the key signed until then.
                        world.now = world.now + Duration::from_secs(held_up);
                        last_signed = Some(world.now);
                    }
                    (Some(KeyState::Draining), Some(KeyState::Retiring)) if !is_leaked => {
                        let last = last_signed.unwrap();
                        // What the margin makes good: a write held up a little, clocks that differ.
                        let allowance = drain_margin / 2 + Duration::from_secs(2);
                        let tokens_live = max_staleness + max_ttl + drain_margin;
                        prop_assert!(world.now + allowance >= last + tokens_live);
                        return Ok(());
                    }
                    _ => {}
                }
            } else if let Some(next_at) = plan.next_at() {
                world.now = world.now.max(next_at) + Duration::from_secs(1);
                world.skew = 0;
            } else {
                return Ok(());
            }
        }
    }
}

#[test]
fn a_clock_that_is_far_off_takes_no_step_and_says_so() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..200 {
        let mut world = world().new_tree(&mut runner).unwrap().current();
        let off = world.keyring.drain_margin / 4 + Duration::from_secs(3);
        world.skew = i64::try_from(off.as_millis()).unwrap();
        let is_emergency = world
            .keyring
            .rotations
            .iter()
            .any(|it| it.is_before_activation() && it.mode == RotationMode::Emergency);
        let plan = world.plan();
        assert!(plan.findings.iter().any(|it| it.code == FindingCode::ClockSkew));
        let is_compromised = |id: &VersionId| world.keyring.version(id).unwrap().compromised;
        let leaked =
            |step: &Step| matches!(step, Step::Retire(id) | Step::Delete(id) if is_compromised(id));
        for planned in &plan.steps {
            assert!(is_emergency || leaked(&planned.step), "{planned:?}");
        }
    }
}

#[test]
fn pairs_of_another_keyring_are_not_ours() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..50 {
        let mut world = world().new_tree(&mut runner).unwrap().current();
        world.pairs.truncate(2);
        let theirs = strategies::arn(300);
        let tags = [(KEYRING_TAG, "another"), (VERSION_TAG, "another")];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let name = String::new();
        world.pairs.push(KeyPairSummary { arn: theirs.clone(), name, tags: tags.into() });
        world.come_to_rest();
        assert!(world.pairs.iter().any(|pair| pair.arn == theirs));
    }
}
