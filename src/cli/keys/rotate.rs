//! `keys rotate`: begins a rotation, or goes on with one, and takes its steps in this process.

use std::{fmt, time::Duration};

use clap::{Args, ValueEnum};

use super::{Changed, Context, Failure, confirmed, is_shared, moment, note};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{KeyState, Keyring, RotationId, RotationMode},
        lifecycle::{
            requests::{Begin, Begun},
            view::{NextStep, Phase, RotationView},
        },
        operations::OperationError,
        rotator::Goal,
    },
};

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(in crate::cli) struct RotateArgs {
    /// The key leaked: put a new one in its place and delete its pair at once, which ends its tokens
    #[arg(long)]
    pub(super) emergency: bool,
    /// How far to follow: until the new key signs, or until the old pair is deleted
    #[arg(long, value_enum, default_value_t = Wait::Active)]
    wait: Wait,
    /// Return when it is begun; a process with keys.manage = true goes on with it
    #[arg(long, conflicts_with = "wait")]
    detach: bool,
    /// For cron: begin only where the active key is older, such as 30d; else go on with what is
    /// under way, or do nothing
    #[arg(long, value_name = "D", conflicts_with = "emergency", value_parser = crate::cli::duration)]
    if_older_than: Option<Duration>,
    /// Go on although IVS has pairs whose keyring was lost
    #[arg(long)]
    new_keyring: bool,
    /// Confirm an emergency without being asked; required where stdin is not a terminal
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Wait {
    Active,
    Retired,
}

/// What `--if-older-than` asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Due {
    Begin,
    /// A rotation is under way whose new key does not sign yet.
    GoOn(RotationId),
    /// The active key is young enough.
    Nothing {
        age: Duration,
    },
}

impl Context<'_> {
    pub(super) fn rotate(&self, args: &RotateArgs) -> Result<(), Failure> {
        if args.emergency {
            return self.rotate_at_once(args);
        }
        self.announce("Rotating");
        let id = match args.if_older_than {
            None => self.begin(args)?,
            Some(limit) => match self.due(limit)? {
                Due::Begin => match self.begin_if_possible(args)? {
                    Some(id) => id,
                    None => {
                        return self.do_nothing(
                            "the key before the active one still drains, and IVS has no slot for \
                             another",
                        );
                    }
                },
                Due::GoOn(id) => {
                    note(&format!("Rotation {id} is under way; this goes on with it."));
                    id
                }
                Due::Nothing { age } => {
                    let (age, limit) = (span(age), span(limit));
                    let why =
                        format!("the active key has signed for {age}, which is less than {limit}");
                    return self.do_nothing(&why);
                }
            },
        };
        if args.detach {
            return self.leave(&id);
        }
        let goal = match args.wait {
            Wait::Active => Goal::Active,
            Wait::Retired => Goal::Retired,
        };
        let view = self.follow(&id, goal)?;
        if self.global.json() {
            output::json(&view)?;
        }
        self.conclude(&view)
    }

    /// Begins, or says that another one is under way.
    fn begin(&self, args: &RotateArgs) -> Result<RotationId, Failure> {
        self.try_begin(args).map_err(Failure::failed)
    }

    /// `None` where no slot is free before an old key of ours has drained.
    fn begin_if_possible(&self, args: &RotateArgs) -> Result<Option<RotationId>, Failure> {
        match self.try_begin(args) {
            Ok(id) => Ok(Some(id)),
            Err(OperationError::RotationInProgress { .. }) => Ok(None),
            Err(error) => Err(Failure::failed(error)),
        }
    }

    fn try_begin(&self, args: &RotateArgs) -> Result<RotationId, OperationError> {
        let mode = if args.emergency { RotationMode::Emergency } else { RotationMode::Graceful };
        let request = Begin {
            mode,
            requested_by: "cli".to_owned(),
            idempotency: None,
            new_keyring: args.new_keyring,
        };
        let begun = self.runtime.block_on(self.operations().begin_rotation(request))?;
        let id = begun.id();
        if let Begun::New(id) = &begun {
            let changed = Changed { rotation: Some(id), mode: Some(mode), ..Changed::default() };
            // The rotation has begun, and must be followed to its end.
            if let Err(Failure::Failed(message)) = self.record("rotation_started", &changed) {
                note(&message);
            }
        }
        note(&match &begun {
            Begun::New(_) => format!("Rotation {id} is begun."),
            Begun::Known(_) | Begun::UnderWay(_) => {
                format!("Rotation {id} is under way already; this goes on with it.")
            }
        });
        Ok(id.clone())
    }

    fn due(&self, limit: Duration) -> Result<Due, Failure> {
        if !self.operations().manages() {
            return Err(Failure::failed(OperationError::NotManaged));
        }
        Ok(due(self.keyring()?.as_deref(), limit, self.app.api().clock.now()))
    }

    /// Nothing is begun. What is due all the same is done: an old pair whose time has come goes,
    /// since nobody else may be there to delete it.
    fn do_nothing(&self, why: &str) -> Result<(), Failure> {
        note(&format!("No rotation is begun: {why}."));
        let look = self.runtime.block_on(self.rotator.look());
        if let Some(failure) = look.failure {
            return Err(Failure::failed(failure));
        }
        if look.steps > 0 {
            note(&format!("Steps that were due: {}.", look.steps));
        }
        let rotations = self.runtime.block_on(self.rotator.rotations()).map_err(Failure::failed)?;
        if self.global.json() {
            return output::json(&rotations.first());
        }
        rotations.first().map_or(Ok(()), |last| self.show_rotation(last))
    }

    fn leave(&self, id: &RotationId) -> Result<(), Failure> {
        let left = self.operations().leave_rotation(id.clone());
        self.runtime.block_on(left).map_err(Failure::failed)?;
        let view = self.runtime.block_on(self.rotator.rotation(id)).map_err(Failure::failed)?;
        note(
            "A process that manages these keys goes on with it: serve with keys.manage = true within \
             rotation.reconcile_every, or the next keys rotate.",
        );
        self.print_rotation(&view)
    }

    /// What the end of [`Context::follow`] means, for people.
    fn conclude(&self, view: &RotationView) -> Result<(), Failure> {
        let new = arn_or(view.new_key_pair_arn.as_ref(), "the new pair");
        let old = arn_or(view.old_key_pair_arn.as_ref(), "the old pair");
        match view.phase {
            Phase::Cancelled | Phase::Failed => Err(ended_badly(view)),
            Phase::Generating | Phase::Importing | Phase::Propagating => Ok(()),
            Phase::Done if view.old_key_pair_arn.is_none() => {
                self.tell(&format!("{new} signs. It is the region's first key."))
            }
            Phase::Done => self.tell(&format!("{new} signs, and {old} is deleted.")),
            Phase::Draining | Phase::Retiring => {
                self.tell(&format!("{new} signs since {}.", view.since))?;
                self.tell(&self.what_drains(view, old)?)?;
                self.tell(&format!(
                    "Until then the old key can sign again: keys rollback --region {}",
                    self.region
                ))
            }
        }
    }

    fn what_drains(&self, view: &RotationView, old: &str) -> Result<String, Failure> {
        let until = match (view.next_step, view.next_at) {
            (Some(NextStep::Retire), Some(at)) => {
                let until = moment(at, self.app.api().clock.now());
                format!("{old} drains until {until}, while its tokens expire")
            }
            _ => format!("{old} drains"),
        };
        if is_shared(self.keyring()?.as_deref(), view.old_key_pair_arn.as_ref()) {
            return Ok(format!(
                "{until}. It was adopted: it is deleted only after keys release {old} has said that \
                 no other signer uses it."
            ));
        }
        Ok(format!(
            "{until}. Then whatever process manages these keys deletes it: serve, or the next keys \
             rotate --if-older-than."
        ))
    }

    /// `--emergency`: the leaked key and all older ones go at once.
    fn rotate_at_once(&self, args: &RotateArgs) -> Result<(), Failure> {
        self.announce("Rotating at once, since a key leaked");
        let keyring = self.keyring()?;
        let cut: Vec<_> = keyring.iter().flat_map(|keyring| signed(keyring)).cloned().collect();
        let question = format!("End every token of {}?", Arns(&cut));
        if !args.yes && !cut.is_empty() && !confirmed(&question) {
            return Err(Failure::Failed("nothing was changed".to_owned()));
        }
        let id = self.begin(args)?;
        if args.detach {
            return self.leave(&id);
        }
        let view = self.follow(&id, Goal::Retired)?;
        if matches!(view.phase, Phase::Cancelled | Phase::Failed) {
            if self.global.json() {
                output::json(&view)?;
            }
            return Err(ended_badly(&view));
        }
        let refresh_every = self.config.keys.refresh_every;
        if !cut.is_empty() {
            note(&format!(
                "The old pairs are deleted. Waiting {} (keys.refresh_every) until every replica has \
                 read the keyring.",
                span(refresh_every)
            ));
            // A timer is made where the runtime is.
            self.runtime.block_on(async { tokio::time::sleep(refresh_every).await });
        }
        if self.global.json() {
            output::json(&view)?;
        }
        self.tell(&format!("{} signs.", arn_or(view.new_key_pair_arn.as_ref(), "The new pair")))?;
        let max_staleness =
            keyring.map_or(self.config.keys.max_staleness, |keyring| keyring.max_staleness);
        if cut.is_empty() { Ok(()) } else { self.tell_cost(&cut, max_staleness) }
    }

    fn tell_cost(&self, cut: &[PlaybackKeyArn], max_staleness: Duration) -> Result<(), Failure> {
        self.tell("What it cost:")?;
        self.tell(&format!("- Tokens of {} no longer start playback.", Arns(cut)))?;
        self.tell(&format!(
            "- Nor do those that other replicas signed with the old key until they read the keyring: \
             up to {} (keys.refresh_every), and up to {} (keys.max_staleness) on one that cannot \
             reach the store. Their callers must ask for new tokens.",
            span(self.config.keys.refresh_every),
            span(max_staleness)
        ))?;
        self.tell(
            "- The playback edge learns of a deletion with a delay that IVS does not document; until \
             then the old tokens still start playback.",
        )?;
        self.tell(
            "- Sessions that play go on until they are revoked (StartViewerSessionRevocation).",
        )
    }
}

/// The pairs of keys that signed tokens which may still be good.
fn signed(keyring: &Keyring) -> impl Iterator<Item = &PlaybackKeyArn> {
    keyring
        .keys
        .iter()
        .filter(|version| matches!(version.state, KeyState::Active | KeyState::Draining))
        .filter_map(|version| version.arn.as_ref())
}

fn due(keyring: Option<&Keyring>, limit: Duration, now: Timestamp) -> Due {
    let Some(keyring) = keyring else { return Due::Begin };
    let under_way = keyring.rotations.iter().rev().find(|it| it.is_before_activation());
    if let Some(rotation) = under_way {
        return Due::GoOn(rotation.id.clone());
    }
    let activated_at =
        keyring.active().map(|active| active.activated_at.unwrap_or(active.created_at));
    match activated_at.map(|at| now.saturating_since(at)) {
        Some(age) if age < limit => Due::Nothing { age },
        Some(_) | None => Due::Begin,
    }
}

fn ended_badly(view: &RotationView) -> Failure {
    let why = view.error.as_ref().map(|error| format!(": {}", error.detail)).unwrap_or_default();
    Failure::Failed(format!("rotation {} {}{why}", view.id, view.phase.word()))
}

fn arn_or<'a>(arn: Option<&'a PlaybackKeyArn>, otherwise: &'a str) -> &'a str {
    arn.map_or(otherwise, PlaybackKeyArn::as_str)
}

struct Arns<'a>(&'a [PlaybackKeyArn]);

impl fmt::Display for Arns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, arn) in self.0.iter().enumerate() {
            let and = if position > 0 { " and " } else { "" };
            write!(f, "{and}{arn}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{
        keyring::{Rotation, VersionId},
        store::samples,
    };
    use crate::secret::system_rng;

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
    fn only_a_key_that_is_old_enough_is_exchanged() {
        let judge = |keyring: &Keyring| due(Some(keyring), LIMIT, samples::now());
        assert_eq!(due(None, LIMIT, samples::now()), Due::Begin);
        assert_eq!(judge(&samples::empty()), Due::Begin);
        assert_eq!(judge(&active_since(LIMIT)), Due::Begin);
        let age = Duration::from_hours(1);
        assert_eq!(judge(&active_since(age)), Due::Nothing { age });
    }

    #[test]
    fn what_is_under_way_comes_first() {
        for age in [Duration::ZERO, LIMIT * 2] {
            let mut keyring = active_since(age);
            let to = VersionId::random(&mut system_rng());
            let mode = RotationMode::Graceful;
            let rotation = Rotation::new(mode, "test", to, samples::now(), &mut system_rng());
            let id = rotation.id.clone();
            keyring.record_rotation(rotation);
            assert_eq!(due(Some(&keyring), LIMIT, samples::now()), Due::GoOn(id));
        }
    }
}
