//! `keys cancel|rollback|release`, and a rotation as these commands show it.

use super::{Changed, Context, Failure, moment, note};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{KeyState, Keyring, RotationId, RotationMode},
        lifecycle::view::RotationView,
    },
};

impl Context<'_> {
    pub(super) fn cancel(&self, id: &RotationId) -> Result<(), Failure> {
        self.announce("Cancelling a rotation");
        let cancelled = self.operations().cancel_rotation(id.clone());
        self.runtime.block_on(cancelled).map_err(Failure::failed)?;
        let changed = Changed { rotation: Some(id), ..Changed::default() };
        self.record("rotation_cancelled", &changed)?;
        // The key that was made for it goes.
        self.take_steps();
        let view = self.runtime.block_on(self.rotator.rotation(id)).map_err(Failure::failed)?;
        self.print_rotation(&view)
    }

    pub(super) fn roll_back(&self) -> Result<(), Failure> {
        self.announce("Rolling back");
        let rolled_back = self.operations().roll_back("cli".to_owned());
        let id = self.runtime.block_on(rolled_back).map_err(Failure::failed)?;
        let changed = Changed { rotation: Some(&id), ..Changed::default() };
        self.record("rotation_rolled_back", &changed)?;
        self.take_steps();
        let view = self.runtime.block_on(self.rotator.rotation(&id)).map_err(Failure::failed)?;
        note(&format!(
            "The old key signs again; replicas learn of it within {} (keys.refresh_every). The other \
             one drains now.",
            span(self.config.keys.refresh_every)
        ));
        self.print_rotation(&view)
    }

    pub(super) fn release(&self, arn: &PlaybackKeyArn) -> Result<(), Failure> {
        self.announce("Releasing an adopted key");
        let released = self.operations().release(arn.clone());
        self.runtime.block_on(released).map_err(Failure::failed)?;
        self.record("key_pair_released", &Changed { arn: Some(arn), ..Changed::default() })?;
        self.take_steps();
        note(&after_release(self.keyring()?.as_deref(), arn));
        self.get(arn.as_str())
    }

    /// Does what can be done at once. Where that fails, whoever manages these keys does it later.
    fn take_steps(&self) {
        let look = self.runtime.block_on(self.rotator.look());
        if let Some(failure) = look.failure {
            note(&format!("{failure}; what is left to do, the next process does."));
        }
    }

    /// A rotation as the result of a command.
    pub(super) fn print_rotation(&self, view: &RotationView) -> Result<(), Failure> {
        if self.global.json() { output::json(view) } else { self.show_rotation(view) }
    }

    /// A rotation for people.
    pub(super) fn show_rotation(&self, view: &RotationView) -> Result<(), Failure> {
        let now = self.app.api().clock.now();
        for (label, text) in lines(view, now) {
            output::line(&format!("{label:8}  {text}"))?;
        }
        Ok(())
    }
}

/// What becomes of a pair that no other signer uses any more.
fn after_release(keyring: Option<&Keyring>, arn: &PlaybackKeyArn) -> String {
    let version = keyring.and_then(|keyring| keyring.by_arn(arn));
    match version.map(|version| (version.state, version.retires_at)) {
        Some((KeyState::Draining, Some(at))) => format!(
            "It is deleted at {at}, when the last token has expired that its other signer may have \
             made just now."
        ),
        Some((KeyState::Active, _)) => {
            "It signs. The next keys rotate exchanges it, and deletes it after its drain."
                .to_owned()
        }
        _ => "It is deleted like a key that was made here.".to_owned(),
    }
}

fn lines(view: &RotationView, now: Timestamp) -> Vec<(&'static str, String)> {
    let mode = match view.mode {
        RotationMode::Graceful => "",
        RotationMode::Emergency => " (emergency)",
    };
    let mut lines = vec![
        ("rotation", format!("{}{mode}", view.id)),
        ("phase", format!("{} since {}", view.phase.word(), view.since)),
    ];
    if let Some(next) = view.next_step {
        let when = view.next_at.map(|at| format!(" at {}", moment(at, now)));
        lines.push(("next", format!("{}{}", next.word(), when.unwrap_or_default())));
    }
    for (label, arn) in [("new", &view.new_key_pair_arn), ("old", &view.old_key_pair_arn)] {
        lines.extend(arn.as_ref().map(|arn| (label, arn.to_string())));
    }
    if let Some(error) = &view.error {
        lines.push(("error", format!("{}: {}", error.code, error.detail)));
    }
    lines
}
