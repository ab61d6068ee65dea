//! Following a rotation whose steps this process takes, and telling how far it is.

use std::{
    io::{IsTerminal, Write},
    pin::pin,
    time::Duration,
};

use super::{Context, Failure, moment};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    keys::{
        keyring::RotationId,
        lifecycle::view::{NextStep, RotationView},
        rotator::{Goal, Report},
    },
};

/// How often the time that is left is written anew on a terminal.
const TICK: Duration = Duration::from_secs(1);

/// What is left to whoever follows, when this process gives up.
const GOES_ON: &str = "what was begun goes on with the next process that manages these keys, and \
                       `keys status` shows how far it is";

impl Context<'_> {
    /// Takes the steps of a rotation until `goal`.
    pub(super) fn follow(&self, id: &RotationId, goal: Goal) -> Result<RotationView, Failure> {
        let clock = &self.app.api().clock;
        let mut progress = Progress::default();
        let mut last = None;
        let reason = self.runtime.block_on(async {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            // Nobody listens any more only where this future is dropped.
            let mut drive = pin!(self.rotator.drive(id, goal, |view| {
                let _ = tell.send(view.clone());
            }));
            loop {
                tokio::select! {
                    biased;
                    Some(view) = told.recv() => {
                        progress.tell(&view, clock.now());
                        let report = self.rotator.report();
                        let stuck = needs_help(&view, goal, &report).map(str::to_owned);
                        last = Some(view);
                        if stuck.is_some() {
                            return stuck;
                        }
                    }
                    ended = &mut drive => match ended {
                        Ok(view) => {
                            last = Some(view);
                            return None;
                        }
                        Err(error) => return Some(format!("{error}.")),
                    },
                    () = tokio::time::sleep(TICK) => progress.tick(clock.now()),
                }
            }
        });
        progress.end();
        match (reason, last) {
            (None, Some(view)) => Ok(view),
            (reason, last) => {
                if let Some(view) = last.filter(|_| self.global.json()) {
                    output::json(&view)?;
                }
                let reason = reason.unwrap_or_default();
                Err(Failure::Failed(format!("{}; {GOES_ON}", reason.trim_end_matches('.'))))
            }
        }
    }
}

/// Why a rotation does not come to `goal` by itself, if it does not.
fn needs_help<'a>(view: &RotationView, goal: Goal, report: &'a Report) -> Option<&'a str> {
    let holds_up = report.holds_up(view).filter(|_| !goal.is_reached(view));
    holds_up.map(|finding| finding.detail.as_str())
}

/// Lines on stderr; on a terminal with the time that is left below.
#[derive(Default)]
struct Progress {
    next_at: Option<Timestamp>,
    is_counting: bool,
}

impl Progress {
    fn tell(&mut self, view: &RotationView, now: Timestamp) {
        self.end();
        self.next_at = view.next_at;
        write_stderr(&format!("{}\n", stage(view, now)));
    }

    fn tick(&mut self, now: Timestamp) {
        if let Some(next_at) = self.next_at.filter(|_| std::io::stderr().is_terminal()) {
            let left = next_at.saturating_since(now);
            let left = if left < TICK { "due".to_owned() } else { format!("{} left", span(left)) };
            // To the first column, and clear what was there.
            write_stderr(&format!("\r\x1b[2K  {left}"));
            self.is_counting = true;
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_counting) {
            write_stderr("\r\x1b[2K");
        }
    }
}

/// Progress that cannot be shown does not keep a rotation from going on.
fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Where a rotation is, what comes next, and when.
fn stage(view: &RotationView, now: Timestamp) -> String {
    let when = view.next_at.map(|at| format!(" at {}", moment(at, now)));
    let when = when.unwrap_or_default();
    let next = match view.next_step {
        Some(NextStep::Import) => "the new key is imported next",
        Some(NextStep::Activate) => "the new key begins to sign",
        Some(NextStep::Release) => "somebody must say that no other signer uses the old key",
        Some(NextStep::Retire | NextStep::Delete) => "the old pair is deleted",
        None => "nothing is left to do",
    };
    let why = view.error.as_ref().map(|error| format!(". {}", error.detail)).unwrap_or_default();
    format!("{}: {next}{when}{why}", view.phase.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{
        keyring::{RotationMode, strategies},
        lifecycle::{Finding, view::Phase},
        store::samples,
    };
    use crate::secret::system_rng;

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
    fn a_line_says_what_comes_next_and_when() {
        let view = view(Phase::Propagating, NextStep::Activate);
        assert_eq!(
            stage(&view, samples::now() + Duration::from_secs(19)),
            "propagating: the new key begins to sign at 2026-11-22T09:05:00Z (in 9 min 41 s)"
        );
    }

    #[test]
    fn what_comes_after_the_goal_ends_no_wait() {
        let finding = Finding::AwaitsRelease(strategies::arn(0));
        let report = Report { findings: vec![(&finding).into()], ..Report::default() };
        let view = view(Phase::Draining, NextStep::Release);
        let reason = needs_help(&view, Goal::Retired, &report);
        assert!(reason.is_some_and(|it| it.contains("keys release")), "{reason:?}");
        assert_eq!(needs_help(&view, Goal::Active, &report), None);
        assert_eq!(needs_help(&view, Goal::Retired, &Report::default()), None);
    }
}
