//! Situations that are rare enough to be written down one by one.

use std::time::Duration;

use super::{
    Begin, Begun, Now, Observation, Plan, Policy, Refusal, Situation, Step, plan, requests,
    transitions,
};
use crate::{
    clock::Timestamp,
    ivs::KeyPairSummary,
    keys::{
        Heal,
        finding::Finding,
        keyring::{
            DriverId, KeyState, Keyring, Limits, Rotation, RotationMode, VersionId, strategies,
        },
        material::PrivateKey,
        store::samples,
    },
    secret::system_rng,
};

/// A keyring, and what IVS was seen to have.
struct Scene {
    keyring: Keyring,
    observation: Observation,
    policy: Policy,
    driver: DriverId,
    /// How far our clock is ahead of IVS's.
    ahead: Duration,
}

impl Scene {
    fn new() -> Self {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let policy = Policy {
            propagation_wait: Duration::from_mins(10),
            limits: Limits {
                max_ttl: Duration::from_hours(1),
                max_staleness: Duration::from_hours(6),
                drain_margin: Duration::from_hours(24),
            },
            heal: Heal::Reimport,
            every: None,
            has_canary: false,
        };
        let observation = Observation { listed_at: Some(samples::now()), ..Observation::default() };
        let driver = DriverId::random(&mut system_rng());
        Self { keyring, observation, policy, driver, ahead: Duration::ZERO }
    }

    /// A version in this state, whose pair IVS has unless it is pending.
    fn with(&mut self, state: KeyState) -> VersionId {
        let position = self.keyring.keys.len();
        let id = samples::add_key(&mut self.keyring, position);
        let version = self.keyring.version_mut(&id).unwrap();
        version.state = state;
        if state == KeyState::Pending {
            return id;
        }
        version.arn = Some(strategies::arn(position));
        version.imported_at = Some(samples::now());
        if matches!(state, KeyState::Draining | KeyState::Retiring) {
            version.retires_at = Some(samples::now() + Duration::from_hours(31));
            version.drain_seen_at = Some(samples::now());
        }
        if state == KeyState::Retiring {
            version.has_private_key = false;
        }
        self.list(&id, position);
        id
    }

    /// IVS has a pair with the tags of this version.
    fn list(&mut self, id: &VersionId, position: usize) {
        let tags = self.keyring.pair_tags(self.keyring.version(id).unwrap());
        let pair = KeyPairSummary { arn: strategies::arn(position), name: String::new(), tags };
        self.observation.listed.push(pair);
    }

    fn with_foreign(&mut self, pairs: usize) {
        let first = 200 + self.observation.listed.len();
        self.observation.listed.extend((first..first + pairs).map(|position| KeyPairSummary {
            arn: strategies::arn(position),
            name: "theirs".to_owned(),
            tags: [].into(),
        }));
    }

    /// IVS does not list the pair of this version any more.
    fn unlist(&mut self, id: &VersionId) {
        let arn = self.keyring.version(id).unwrap().arn.clone().unwrap();
        self.observation.listed.retain(|pair| pair.arn != arn);
    }

    fn rotate(&mut self, mode: RotationMode, from: &VersionId, to: &VersionId) -> Step {
        let rotation = Rotation::new(mode, "test", to.clone(), samples::now(), &mut system_rng());
        let id = rotation.id.clone();
        self.keyring.record_rotation(Rotation { from: Some(from.clone()), ..rotation });
        Step::Activate(id)
    }

    fn now(&self) -> Timestamp {
        samples::now() + self.ahead
    }

    fn plan(&self) -> Plan {
        plan(&Situation {
            now: Now::exact(self.now(), samples::now()),
            keyring: &self.keyring,
            observation: &self.observation,
            policy: &self.policy,
            driver: &self.driver,
            canary: None,
            schedule_delay: Duration::ZERO,
            waits_for_other_region: false,
        })
    }

    fn steps(&self) -> Vec<Step> {
        self.plan().steps.into_iter().map(|planned| planned.step).collect()
    }

    fn ask(&self, mode: RotationMode) -> Result<Begun, Refusal> {
        let request =
            Begin { mode, requested_by: "test".to_owned(), idempotency: None, new_keyring: false };
        let new = PrivateKey::generate(&mut system_rng()).unwrap();
        let mut keyring = self.keyring.clone();
        requests::begin(
            &mut keyring,
            &request,
            new.public_key(),
            &self.observation,
            &self.driver,
            self.now(),
        )
    }
}

#[test]
fn an_emergency_activates_only_what_ivs_has() {
    let mut scene = Scene::new();
    let (from, to) = (scene.with(KeyState::Active), scene.with(KeyState::Imported));
    let activate = scene.rotate(RotationMode::Emergency, &from, &to);
    assert_eq!(scene.steps(), std::slice::from_ref(&activate));

    // Another key than the keyring says.
    scene.observation.distrusted.insert(to.clone());
    assert_eq!(scene.steps(), []);
    scene.observation.distrusted.clear();

    // Denied once: it is looked at again. Denied twice: it is put back first.
    scene.unlist(&to);
    assert_eq!(scene.steps(), []);
    scene.observation.gone.insert(strategies::arn(1));
    assert_eq!(scene.steps(), [Step::Reimport(to)]);
}

#[test]
fn an_emergency_makes_a_slot_for_a_pair_that_is_put_back() {
    let mut scene = Scene::new();
    let (from, to) = (scene.with(KeyState::Active), scene.with(KeyState::Imported));
    let draining = scene.with(KeyState::Draining);
    scene.rotate(RotationMode::Emergency, &from, &to);
    scene.unlist(&to);
    scene.observation.gone.insert(strategies::arn(1));
    scene.with_foreign(1);
    assert_eq!(scene.steps(), [Step::Retire(draining.clone())]);

    scene.unlist(&draining);
    scene.keyring.retire(&draining, samples::now());
    scene.with_foreign(1);
    assert_eq!(scene.steps(), [Step::Withdraw(from)]);
}

#[test]
fn an_emergency_waits_for_no_clock_to_free_a_slot() {
    let mut scene = Scene::new();
    let (from, to) = (scene.with(KeyState::Active), scene.with(KeyState::Pending));
    let retiring = scene.with(KeyState::Retiring);
    scene.with_foreign(1);
    scene.ahead = Duration::from_hours(12);
    assert_eq!(scene.steps(), []);
    scene.rotate(RotationMode::Emergency, &from, &to);
    assert_eq!(scene.steps(), [Step::Delete(retiring)]);
}

#[test]
fn a_full_ivs_has_room_for_a_key_that_it_has_already() {
    for mode in [RotationMode::Graceful, RotationMode::Emergency] {
        let mut scene = Scene::new();
        scene.with_foreign(2);
        let pending = scene.with(KeyState::Pending);
        // The answer to its import was lost.
        scene.list(&pending, 0);
        assert!(matches!(scene.ask(mode), Ok(Begun::New(_))), "{mode:?}");

        scene.observation.listed.pop();
        scene.with_foreign(1);
        assert!(matches!(scene.ask(mode), Err(Refusal::Quota { .. })), "{mode:?}");
    }
}

#[test]
fn another_key_than_the_keyring_says_is_told_until_it_is_deleted() {
    let mut scene = Scene::new();
    let id = scene.with(KeyState::Imported);
    scene.observation.distrusted.insert(id.clone());
    let mismatch = Finding::fingerprint_mismatch(Some(&strategies::arn(0)));
    assert_eq!(scene.plan().findings, [mismatch]);
    scene.unlist(&id);
    scene.keyring.retire(&id, samples::now());
    assert_eq!(scene.plan().findings, []);
}

#[test]
fn process_with_smaller_limits_keeps_the_drain_that_the_keyring_records() {
    let mut scene = Scene::new();
    let (from, to) = (scene.with(KeyState::Active), scene.with(KeyState::Imported));
    let activate = scene.rotate(RotationMode::Graceful, &from, &to);
    // Another process signs with a keyring for 12 hours after it was read.
    let recorded = Limits { max_staleness: Duration::from_hours(12), ..scene.policy.limits };
    scene.keyring.set_limits(recorded);
    scene.policy.limits = Limits {
        max_ttl: Duration::from_mins(1),
        max_staleness: Duration::from_mins(1),
        drain_margin: Duration::from_mins(1),
    };
    let now = Now::exact(scene.now(), scene.now());
    let retires_at = |scene: &Scene| scene.keyring.version(&from).unwrap().retires_at.unwrap();
    transitions::apply(&activate, &mut scene.keyring, now, &scene.policy);
    let promised = Duration::from_hours(12 + 1 + 24);
    assert!(retires_at(&scene) >= scene.now() + promised);
    assert_eq!(scene.keyring.limits(), scene.policy.limits, "an activation lowers them");

    // The write of the activation took an hour: the drain counts from when it is first seen.
    let held_up = Duration::from_hours(1);
    scene.ahead = held_up;
    let now = Now::exact(scene.now(), scene.now());
    transitions::apply(&Step::ConfirmDrain(from.clone()), &mut scene.keyring, now, &scene.policy);
    assert!(retires_at(&scene) >= scene.now() + promised);
}

#[test]
fn process_with_larger_limits_lengthens_the_drain_that_it_begins() {
    let mut scene = Scene::new();
    let (from, to) = (scene.with(KeyState::Active), scene.with(KeyState::Imported));
    let activate = scene.rotate(RotationMode::Graceful, &from, &to);
    scene.policy.limits.drain_margin = Duration::from_hours(48);
    let now = Now::exact(scene.now(), scene.now());
    transitions::apply(&activate, &mut scene.keyring, now, &scene.policy);
    let retires_at = scene.keyring.version(&from).unwrap().retires_at.unwrap();
    assert!(retires_at >= scene.now() + Duration::from_hours(6 + 1 + 48));
    assert_eq!(scene.keyring.limits(), scene.policy.limits);
}
