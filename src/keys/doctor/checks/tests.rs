//! Examinations of regions in which one thing is wrong.

use super::*;
use crate::{
    config::Heal,
    keys::{
        keyring::{KeyState, Limits, RotationId, RotationMode, strategies},
        signing::RefreshError,
        store::samples,
    },
    secret::system_rng,
};

const HOUR: Duration = Duration::from_hours(1);

const LIMITS: Limits = Limits {
    max_ttl: HOUR,
    max_staleness: Duration::from_hours(6),
    drain_margin: Duration::from_hours(24),
};

fn setup() -> Setup {
    Setup {
        manage: true,
        limits: LIMITS,
        reconcile_every: Duration::from_mins(1),
        store: "dir keys/us-west-2".to_owned(),
        secret_arn: None,
    }
}

fn policy() -> Policy {
    Policy {
        propagation_wait: Duration::from_mins(10),
        limits: LIMITS,
        heal: Heal::Reimport,
        every: None,
        has_canary: false,
    }
}

fn pair(position: usize, state: KeyPairState) -> KeyPairView {
    KeyPairView {
        arn: Some(strategies::arn(position)),
        name: String::new(),
        fingerprint: None,
        region: samples::region(),
        tags: std::collections::BTreeMap::new(),
        state,
        adopted: false,
        created_at: None,
        activated_at: None,
        retires_at: None,
    }
}

/// A region in which all is well: pair 0 signs.
fn well<'a>(
    setup: &'a Setup,
    policy: &'a Policy,
    pairs: &'a [KeyPairView],
    rotations: &'a [RotationView],
) -> Facts<'a> {
    let mut keyring = samples::empty();
    let id = samples::add_key(&mut keyring, 0);
    let version = keyring.version_mut(&id).unwrap();
    (version.state, version.arn) = (KeyState::Active, Some(strategies::arn(0)));
    version.activated_at = Some(samples::now() - HOUR * 48);
    Facts {
        setup,
        policy,
        read: Ok(()),
        keyring: Some(Arc::new(keyring.clone())),
        signer: Ok(strategies::arn(0)),
        report: Arc::default(),
        rotations,
        pairs,
        was_listed: true,
        skew: Some(Duration::ZERO),
        now: samples::now(),
    }
}

fn codes(facts: &Facts<'_>) -> Vec<(Severity, &'static str)> {
    let findings = judge(facts).into_iter();
    findings.map(|it| (it.severity, it.code.as_str())).filter(|it| it.0 != Severity::Ok).collect()
}

#[test]
fn where_all_is_well_nothing_is_wrong_and_each_check_says_so() {
    let (setup, policy, pairs) = (setup(), policy(), [pair(0, KeyPairState::Active)]);
    let findings = judge(&well(&setup, &policy, &pairs, &[]));
    let codes: Vec<_> = findings.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["keyring", "active_key", "quota", "clock"]);
    assert!(findings.iter().all(|it| it.severity == Severity::Ok), "{findings:?}");
}

#[test]
fn a_keyring_that_others_may_read_is_told_with_the_command_that_mends_it() {
    let (setup, policy) = (setup(), policy());
    let mut facts = well(&setup, &policy, &[], &[]);
    facts.read = Err(RefreshError::Store(StoreError::WidePermissions {
        path: "keys/us-west-2/keyring.json".to_owned(),
        mode: 0o644,
        mend: "chmod -R go-rwx keys/us-west-2".to_owned(),
    }));
    let findings = judge(&facts);
    assert_eq!(findings[0].code, FindingCode::WidePermissions);
    assert!(findings[0].detail.contains("chmod -R go-rwx"), "{findings:?}");
}

#[test]
fn a_full_quota_names_whose_pairs_fill_it() {
    use KeyPairState::{Active, Draining, Foreign, Pending};
    let (setup, policy) = (setup(), policy());
    for (states, expected) in [
        ([Active, Foreign, Foreign], Some(Severity::Error)),
        ([Active, Draining, Foreign], Some(Severity::Warning)),
        ([Active, Pending, Foreign], None),
    ] {
        let pairs: Vec<_> =
            states.into_iter().enumerate().map(|(at, state)| pair(at, state)).collect();
        let facts = well(&setup, &policy, &pairs, &[]);
        let found = judge(&facts).into_iter().find(|it| it.code == FindingCode::QuotaFull);
        assert_eq!(found.as_ref().map(|it| it.severity), expected, "{states:?}");
        if expected == Some(Severity::Error) {
            let detail = found.unwrap().detail;
            assert!(detail.contains(strategies::arn(1).as_str()), "{detail}");
            assert!(!detail.contains(strategies::arn(0).as_str()), "{detail}");
        }
    }
}

#[test]
fn no_pair_is_named_for_deletion_while_the_keyring_cannot_be_read() {
    let (setup, policy) = (setup(), policy());
    let pairs = [0, 1, 2].map(|at| pair(at, KeyPairState::Foreign));
    let mut facts = well(&setup, &policy, &pairs, &[]);
    (facts.read, facts.keyring) = (Err(RefreshError::TimedOut), None);
    let findings = judge(&facts);
    let quota = findings.iter().find(|it| it.code == FindingCode::QuotaFull).unwrap();
    assert_eq!(quota.severity, Severity::Warning);
    for at in 0..3 {
        assert!(!quota.detail.contains(strategies::arn(at).as_str()), "{}", quota.detail);
    }
    assert!(!quota.detail.contains("elete"), "{}", quota.detail);
}

#[test]
fn a_clock_is_judged_by_what_it_does_to_tokens_and_to_rotations() {
    let (setup, policy) = (setup(), policy());
    let mut facts = well(&setup, &policy, &[], &[]);
    for (seconds, expected) in [
        (3, vec![]),
        (4, vec![(Severity::Warning, "clock_skew")]),
        (11, vec![(Severity::Error, "clock_skew")]),
        (7 * 3600, vec![(Severity::Error, "clock_skew")]),
    ] {
        facts.skew = Some(Duration::from_secs(seconds));
        assert_eq!(codes(&facts), expected, "{seconds}");
    }
}

#[test]
fn a_pair_that_is_not_listed_is_told_once() {
    let (setup, policy) = (setup(), policy());
    let pairs = [pair(0, KeyPairState::Missing), pair(1, KeyPairState::Missing)];
    let mut facts = well(&setup, &policy, &pairs, &[]);
    let (active, other) = ("active_key_pair_missing", "key_pair_missing");
    assert_eq!(codes(&facts), [(Severity::Error, active), (Severity::Warning, other)]);
    let known = Finding::active_key_pair_missing(&strategies::arn(0));
    facts.report = Arc::new(Report { findings: vec![known], ..Report::default() });
    assert_eq!(codes(&facts), [(Severity::Error, active), (Severity::Warning, other)]);
}

#[test]
fn a_rotation_that_nobody_drives_is_told() {
    let (setup, policy) = (setup(), policy());
    let mut view = RotationView {
        id: RotationId::random(&mut system_rng()),
        region: samples::region(),
        mode: RotationMode::Graceful,
        phase: Phase::Propagating,
        since: samples::now() - HOUR,
        next_step: Some(NextStep::Activate),
        next_at: Some(samples::now() - Duration::from_mins(2)),
        new_key_pair_arn: None,
        old_key_pair_arn: None,
        error: None,
    };
    let stalled = |view: &RotationView| {
        let rotations = std::slice::from_ref(view);
        codes(&well(&setup, &policy, &[], rotations))
            .contains(&(Severity::Error, "rotation_stalled"))
    };
    assert!(!stalled(&view));
    view.next_at = Some(samples::now() - Duration::from_mins(4));
    assert!(stalled(&view));
    // Somebody must say that the other signer is gone; nobody is late.
    view.next_step = Some(NextStep::Release);
    assert!(!stalled(&view));
    view.phase = Phase::Retiring;
    assert!(stalled(&view));
    view.phase = Phase::Done;
    assert!(!stalled(&view));
}

#[test]
fn a_schedule_that_nobody_keeps_is_told() {
    let (setup, mut policy) = (setup(), policy());
    policy.every = Some(HOUR * 40);
    assert_eq!(codes(&well(&setup, &policy, &[], &[])), [(Severity::Warning, "rotation_overdue")]);
    policy.every = Some(HOUR * 47);
    assert_eq!(codes(&well(&setup, &policy, &[], &[])), []);
}

#[test]
fn a_process_that_may_not_raise_limits_is_told_that_it_would_refuse_to_sign() {
    let (mut setup, policy) = (setup(), policy());
    setup.limits =
        Limits { max_ttl: HOUR * 1000, max_staleness: HOUR * 1000, drain_margin: HOUR * 1000 };
    assert_eq!(codes(&well(&setup, &policy, &[], &[])), []);
    setup.manage = false;
    assert_eq!(
        codes(&well(&setup, &policy, &[], &[])),
        [
            (Severity::Error, "max_ttl_not_recorded"),
            (Severity::Error, "max_staleness_not_recorded"),
            (Severity::Error, "drain_margin_not_recorded"),
        ]
    );
}

#[test]
fn pairs_of_another_keyring_are_no_error_where_ours_signs() {
    let (setup, policy) = (setup(), policy());
    let mut facts = well(&setup, &policy, &[], &[]);
    let lost = Finding::lost_keyring(strategies::arn(1));
    facts.report = Arc::new(Report { findings: vec![lost], ..Report::default() });
    assert_eq!(codes(&facts), [(Severity::Warning, "lost_keyring")]);
    facts.signer = Err(NoSigner::EmptyKeyring { region: samples::region() });
    assert_eq!(
        codes(&facts),
        [(Severity::Error, "no_active_key"), (Severity::Error, "lost_keyring")]
    );
}
