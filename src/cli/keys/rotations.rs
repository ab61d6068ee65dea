//! `keys rotate|cancel|rollback|release`.

use std::{pin::pin, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{Context, Failure, is_shared, moment};
use crate::{
    cli::output::{self, Confirmation, Progress, note, span},
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{KeyState, Keyring, RotationId, RotationMode},
        rotation::{
            Begin, Begun, Goal, OperationError, Refusal, Report,
            view::{NextStep, Phase, RotationView},
        },
    },
    service::key_pairs::KeyPairError,
};

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArgs {
    /// The key leaked: sign with a new one at once and delete the old pair, which ends its tokens
    #[arg(long)]
    pub(super) emergency: bool,
    /// How long to wait: until the new key signs, or until the old pair is deleted
    #[arg(long, value_enum, default_value_t = Wait::Active)]
    wait: Wait,
    /// Return once the rotation has started; a process with keys.manage = true completes it
    #[arg(long, conflicts_with = "wait")]
    detach: bool,
    /// For cron: start a rotation only if the active key is older, such as 30d; otherwise continue the
    /// one in progress, or do nothing
    #[arg(long, value_name = "D", conflicts_with = "emergency", value_parser = crate::cli::duration)]
    if_older_than: Option<Duration>,
    /// Continue even if IVS has key pairs from a lost keyring
    #[arg(long)]
    new_keyring: bool,
    #[command(flatten)]
    pub(super) confirmation: Confirmation,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Wait {
    Active,
    Retired,
}

/// What `--if-older-than` asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Due {
    Start,
    /// A rotation is in progress whose new key does not sign yet.
    Continue(RotationId),
    /// The active key is young enough.
    Nothing {
        age: Duration,
    },
}

impl Context<'_> {
    pub(super) async fn rotate(&self, args: &RotateArgs) -> Result<(), Failure> {
        self.announce(if args.emergency { "Rotating because a key leaked" } else { "Rotating" })
            .await;
        let mut leaked = Vec::new();
        if args.emergency {
            leaked = self.keyring().await?.map(|keyring| signed(&keyring)).unwrap_or_default();
            let question = format!("End every token of {}?", list(&leaked));
            if !leaked.is_empty() && !args.confirmation.confirms(&question) {
                return Err(Failure::Failed("nothing was changed".to_owned()));
            }
        }
        let Some(id) = self.rotation_to_follow(args).await? else { return Ok(()) };
        if args.detach {
            return self.detach(&id).await;
        }
        let goal = match args.wait {
            Wait::Active if !args.emergency => Goal::Active,
            Wait::Active | Wait::Retired => Goal::Retired,
        };
        let rotation = self.follow(&id, goal).await?;
        let failed = matches!(rotation.phase, Phase::Cancelled | Phase::Failed);
        if !failed && !leaked.is_empty() {
            let refresh_every = self.config.keys.refresh_every;
            note(&format!(
                "The old pairs are deleted. Waiting {} (keys.refresh_every) until every replica has \
                 read the keyring.",
                span(refresh_every)
            ));
            tokio::time::sleep(refresh_every).await;
        }
        if self.global.json() {
            output::json(&rotation)?;
        }
        match rotation.phase {
            Phase::Cancelled | Phase::Failed => Err(Failure::Failed(format!(
                "rotation {id} {}{}",
                rotation.phase.word(),
                rotation.error.map(|error| format!(": {}", error.detail)).unwrap_or_default()
            ))),
            Phase::Generating | Phase::Importing | Phase::Propagating => Ok(()),
            Phase::Draining | Phase::Retiring | Phase::Done if args.emergency => {
                self.explain(&format!("{} signs.", new_arn(&rotation)))?;
                if leaked.is_empty() { Ok(()) } else { self.explain(&self.cost(&leaked).await?) }
            }
            Phase::Draining | Phase::Retiring | Phase::Done => {
                let keyring = self.keyring().await?;
                self.explain(&conclusion(&rotation, keyring.as_deref(), self.now()))
            }
        }
    }

    /// Returns the rotation that the command starts or continues; `None` if it has nothing to follow.
    async fn rotation_to_follow(&self, args: &RotateArgs) -> Result<Option<RotationId>, Failure> {
        let Some(limit) = args.if_older_than else {
            return Ok(Some(self.start(args).await?));
        };
        self.require_management()?;
        let why = match due(self.keyring().await?.as_deref(), limit, self.now()) {
            Due::Start => match self.start(args).await {
                Err(KeyPairError::Operation(OperationError::Refused(
                    Refusal::RotationInProgress { .. },
                ))) => {
                    "the key before the active one still drains, and IVS has no slot for another"
                        .to_owned()
                }
                started => return Ok(Some(started?)),
            },
            Due::Continue(id) => {
                note(&format!("Rotation {id} is in progress; continuing with it."));
                return Ok(Some(id));
            }
            Due::Nothing { age } => format!(
                "the active key has signed for {}, which is less than {}",
                span(age),
                span(limit)
            ),
        };
        note(&format!("No rotation started: {why}."));
        self.take_due_steps().await?;
        Ok(None)
    }

    async fn start(&self, args: &RotateArgs) -> Result<RotationId, KeyPairError> {
        let request = Begin {
            mode: if args.emergency { RotationMode::Emergency } else { RotationMode::Graceful },
            requested_by: "cli".to_owned(),
            idempotency: None,
            new_keyring: args.new_keyring,
        };
        let key_pairs = &self.app.api().key_pairs;
        let (begun, recorded) = key_pairs.start_rotation(self.keys, self.operator, request).await?;
        if let Err(error) = recorded {
            // The rotation has started and must be followed to its end.
            note(&KeyPairError::Unrecorded(error).to_string());
        }
        let id = begun.id();
        note(&match begun {
            Begun::New(_) => format!("Rotation {id} started."),
            Begun::Known(_) | Begun::UnderWay(_) => {
                format!("Rotation {id} is already in progress; continuing with it.")
            }
        });
        Ok(id.clone())
    }

    /// No rotation starts, but an old pair whose time has come is deleted: perhaps no other process does.
    async fn take_due_steps(&self) -> Result<(), Failure> {
        let look = self.keys.manager.reconcile().await;
        if let Some(failure) = look.failure {
            return Err(failure.into());
        }
        if look.steps > 0 {
            note(&format!("Steps that were due: {}.", look.steps));
        }
        match self.keys.manager.rotations().await?.into_iter().next() {
            Some(last) => self.print(&last),
            None if self.global.json() => output::json(&Value::Null),
            None => Ok(()),
        }
    }

    async fn detach(&self, id: &RotationId) -> Result<(), Failure> {
        self.keys.manager.leave_rotation(id.clone()).await?;
        let rotation = self.keys.manager.rotation(id).await?;
        note(
            "A process that manages these keys completes the rotation: `serve` with keys.manage = true \
             within rotation.reconcile_every, or the next `keys rotate`.",
        );
        self.print(&rotation)
    }

    /// Takes the steps of a rotation until `goal`, and shows its progress.
    async fn follow(&self, id: &RotationId, goal: Goal) -> Result<RotationView, Failure> {
        let mut progress = Progress::default();
        let mut last: Option<RotationView> = None;
        let (send, mut changes) = tokio::sync::mpsc::unbounded_channel();
        let mut drive = pin!(self.keys.manager.drive(id, goal, |rotation| {
            // Its receiver lives as long as this future.
            let _ = send.send(rotation.clone());
        }));
        let reason = loop {
            tokio::select! {
                biased;
                Some(rotation) = changes.recv() => {
                    progress.line(&stage(&rotation, self.now()));
                    let stuck = needs_help(&rotation, goal, &self.keys.manager.report()).map(str::to_owned);
                    last = Some(rotation);
                    if let Some(stuck) = stuck {
                        break stuck;
                    }
                }
                ended = &mut drive => match ended {
                    Ok(rotation) => {
                        progress.clear();
                        return Ok(rotation);
                    }
                    Err(error) => break error.to_string(),
                },
                () = tokio::time::sleep(Progress::TICK) => {
                    if let Some(at) = last.as_ref().and_then(|rotation| rotation.next_at) {
                        let left = at.saturating_since(self.now());
                        let is_due = left < Duration::from_secs(1);
                        progress.status(&if is_due { "due".to_owned() } else { format!("{} left", span(left)) });
                    }
                }
            }
        };
        progress.clear();
        if let Some(rotation) = last.filter(|_| self.global.json()) {
            output::json(&rotation)?;
        }
        Err(Failure::Failed(format!(
            "{}; the next process that manages these keys continues the rotation, and `keys status` \
             shows its progress",
            reason.trim_end_matches('.')
        )))
    }

    /// Returns what an emergency rotation cost.
    async fn cost(&self, leaked: &[PlaybackKeyArn]) -> Result<String, Failure> {
        let keyring = self.keyring().await?;
        let max_staleness =
            keyring.map_or(self.config.keys.max_staleness, |keyring| keyring.max_staleness);
        Ok(format!(
            "What it cost:\n\
             - Tokens of {} no longer start playback.\n\
             - The same applies to tokens that other replicas signed with the old key before they read \
             the new keyring: for up to {} (keys.refresh_every), and up to {} (keys.max_staleness) on a \
             replica that cannot reach the store. Their callers must request new tokens.\n\
             - The playback edge learns of a deletion after a delay that IVS does not document; until \
             then the old tokens still start playback.\n\
             - Sessions that play continue until they are revoked (`viewers revoke`).",
            list(leaked),
            span(self.config.keys.refresh_every),
            span(max_staleness)
        ))
    }

    pub(super) async fn cancel(&self, id: &RotationId) -> Result<(), Failure> {
        self.announce("Cancelling a rotation").await;
        self.keys.cancel_rotation(self.operator, id.clone()).await?;
        self.finish(id).await
    }

    pub(super) async fn roll_back(&self) -> Result<(), Failure> {
        self.announce("Rolling back").await;
        let id = self.keys.roll_back(self.operator, "cli".to_owned()).await?;
        note(&format!(
            "The old key signs again; replicas read this within {} (keys.refresh_every). The other key \
             drains now.",
            span(self.config.keys.refresh_every)
        ));
        self.finish(&id).await
    }

    pub(super) async fn release(&self, arn: &PlaybackKeyArn) -> Result<(), Failure> {
        self.announce("Releasing an adopted key").await;
        self.keys.release(self.operator, arn.clone()).await?;
        self.try_steps().await;
        note(&after_release(self.keyring().await?.as_deref(), arn));
        self.get(arn.as_str()).await
    }

    /// Takes the steps that a change made due, and prints the rotation.
    async fn finish(&self, id: &RotationId) -> Result<(), Failure> {
        self.try_steps().await;
        self.print(&self.keys.manager.rotation(id).await?)
    }

    async fn try_steps(&self) {
        if let Some(failure) = self.keys.manager.reconcile().await.failure {
            note(&format!("{failure}; the next process that manages these keys does the rest."));
        }
    }

    fn print(&self, rotation: &RotationView) -> Result<(), Failure> {
        self.global.print(rotation, || text(rotation, self.now()))
    }
}

/// Returns the pairs of keys whose tokens may still be valid.
fn signed(keyring: &Keyring) -> Vec<PlaybackKeyArn> {
    let signed = |state| matches!(state, KeyState::Active | KeyState::Draining);
    let versions = keyring.keys.iter().filter(|version| signed(version.state));
    versions.filter_map(|version| version.arn.clone()).collect()
}

fn due(keyring: Option<&Keyring>, limit: Duration, now: Timestamp) -> Due {
    let Some(keyring) = keyring else { return Due::Start };
    let mut latest = keyring.rotations.iter().rev();
    if let Some(rotation) = latest.find(|rotation| rotation.is_before_activation()) {
        return Due::Continue(rotation.id.clone());
    }
    let activated_at =
        keyring.active().map(|active| active.activated_at.unwrap_or(active.created_at));
    match activated_at.map(|at| now.saturating_since(at)) {
        Some(age) if age < limit => Due::Nothing { age },
        Some(_) | None => Due::Start,
    }
}

/// Returns why a rotation does not reach `goal` by itself, if it does not.
fn needs_help<'a>(rotation: &RotationView, goal: Goal, report: &'a Report) -> Option<&'a str> {
    let holds_up = report.holds_up(rotation).filter(|_| !goal.is_reached(rotation));
    holds_up.map(|finding| finding.detail.as_str())
}

/// Returns the phase of a rotation, what comes next, and when.
fn stage(rotation: &RotationView, now: Timestamp) -> String {
    let when = rotation.next_at.map(|at| format!(" at {}", moment(at, now))).unwrap_or_default();
    let next = match rotation.next_step {
        Some(NextStep::Import) => "the new key is imported next",
        Some(NextStep::Activate) => "the new key starts to sign",
        Some(NextStep::Release) => "an operator must state that no other signer uses the old key",
        Some(NextStep::Retire | NextStep::Delete) => "the old pair is deleted",
        None => "nothing is left to do",
    };
    let error = rotation.error.as_ref().map(|error| format!(". {}", error.detail));
    format!("{}: {next}{when}{}", rotation.phase.word(), error.unwrap_or_default())
}

/// Returns what a graceful rotation led to.
fn conclusion(rotation: &RotationView, keyring: Option<&Keyring>, now: Timestamp) -> String {
    let new = new_arn(rotation);
    let Some(old) = &rotation.old_key_pair_arn else {
        return format!("{new} signs. It is the region's first key.");
    };
    if rotation.phase == Phase::Done {
        return format!("{new} signs, and {old} is deleted.");
    }
    let until = match (rotation.next_step, rotation.next_at) {
        (Some(NextStep::Retire), Some(at)) => {
            format!(" until {}, while its tokens expire", moment(at, now))
        }
        _ => String::new(),
    };
    let deletion = if is_shared(keyring, Some(old)) {
        format!(
            "It was adopted, so it is deleted only after `keys release {old}` has stated that no other \
             signer uses it."
        )
    } else {
        "Then a process that manages these keys deletes it: `serve`, or the next \
         `keys rotate --if-older-than`."
            .to_owned()
    };
    format!(
        "{new} has signed since {}.\n{old} drains{until}. {deletion}\n\
         Until then the old key can sign again: keys rollback --region {}",
        rotation.since, rotation.region
    )
}

/// Returns what happens to a pair that no other signer uses.
fn after_release(keyring: Option<&Keyring>, arn: &PlaybackKeyArn) -> String {
    let version = keyring.and_then(|keyring| keyring.by_arn(arn));
    match version.map(|version| (version.state, version.retires_at)) {
        Some((KeyState::Draining, Some(at))) => format!(
            "It is deleted at {at}, when the last token has expired that its other signer may have \
             signed just now."
        ),
        Some((KeyState::Active, _)) => {
            "It signs. The next `keys rotate` replaces it and deletes it after it has drained."
                .to_owned()
        }
        _ => "It is deleted like a key that was generated here.".to_owned(),
    }
}

/// Returns a rotation as text.
pub(super) fn text(rotation: &RotationView, now: Timestamp) -> String {
    let mode = match rotation.mode {
        RotationMode::Graceful => "",
        RotationMode::Emergency => " (emergency)",
    };
    let mut fields = vec![
        ("rotation", format!("{}{mode}", rotation.id)),
        ("phase", format!("{} since {}", rotation.phase.word(), rotation.since)),
    ];
    if let Some(next) = rotation.next_step {
        let when = rotation.next_at.map(|at| format!(" at {}", moment(at, now)));
        fields.push(("next", format!("{}{}", next.word(), when.unwrap_or_default())));
    }
    for (label, arn) in [("new", &rotation.new_key_pair_arn), ("old", &rotation.old_key_pair_arn)] {
        fields.extend(arn.as_ref().map(|arn| (label, arn.to_string())));
    }
    let error = rotation.error.as_ref();
    fields.extend(error.map(|error| ("error", format!("{}: {}", error.code, error.detail))));
    output::fields(&fields)
}

fn new_arn(rotation: &RotationView) -> &str {
    rotation.new_key_pair_arn.as_ref().map_or("the new pair", PlaybackKeyArn::as_str)
}

fn list(arns: &[PlaybackKeyArn]) -> String {
    arns.iter().map(PlaybackKeyArn::as_str).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{
            finding::Finding,
            keyring::{Rotation, VersionId, strategies},
            store::samples,
        },
        secret::system_rng,
    };

    const LIMIT: Duration = Duration::from_hours(30 * 24);

    fn active_since(age: Duration) -> Keyring {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let version = keyring.version_mut(&id).unwrap();
        version.state = KeyState::Active;
        version.activated_at = Some(samples::now() - age);
        keyring
    }

    #[test]
    fn rotation_is_due_when_active_key_is_old_enough() {
        let judge = |keyring: &Keyring| due(Some(keyring), LIMIT, samples::now());
        assert_eq!(due(None, LIMIT, samples::now()), Due::Start);
        assert_eq!(judge(&samples::empty()), Due::Start);
        assert_eq!(judge(&active_since(LIMIT)), Due::Start);
        let age = Duration::from_hours(1);
        assert_eq!(judge(&active_since(age)), Due::Nothing { age });
    }

    #[test]
    fn rotation_in_progress_is_continued() {
        for age in [Duration::ZERO, LIMIT * 2] {
            let mut keyring = active_since(age);
            let to = VersionId::random(&mut system_rng());
            let mode = RotationMode::Graceful;
            let rotation = Rotation::new(mode, "test", to, samples::now(), &mut system_rng());
            let id = rotation.id.clone();
            keyring.record_rotation(rotation);
            assert_eq!(due(Some(&keyring), LIMIT, samples::now()), Due::Continue(id));
        }
    }

    fn view(phase: Phase, next_step: NextStep) -> RotationView {
        RotationView {
            id: RotationId::random(&mut system_rng()),
            region: samples::region(),
            mode: RotationMode::Graceful,
            phase,
            since: samples::now(),
            next_step: Some(next_step),
            next_at: Some(samples::now() + Duration::from_mins(10)),
            new_key_pair_arn: Some(strategies::arn(1)),
            old_key_pair_arn: Some(strategies::arn(0)),
            error: None,
        }
    }

    #[test]
    fn stage_names_next_step_and_time() {
        let view = view(Phase::Propagating, NextStep::Activate);
        assert_eq!(
            stage(&view, samples::now() + Duration::from_secs(19)),
            "propagating: the new key starts to sign at 2026-11-22T09:05:00Z (in 9 min 41 s)"
        );
    }

    #[test]
    fn only_finding_before_the_goal_needs_help() {
        let finding = Finding::awaits_release(&strategies::arn(0));
        let report = Report { findings: vec![finding], ..Report::default() };
        let view = view(Phase::Draining, NextStep::Release);
        let reason = needs_help(&view, Goal::Retired, &report);
        assert!(reason.is_some_and(|reason| reason.contains("keys release")), "{reason:?}");
        assert_eq!(needs_help(&view, Goal::Active, &report), None);
        assert_eq!(needs_help(&view, Goal::Retired, &Report::default()), None);
    }
}
