//! The rules of [`plan()`](super::plan), most urgent first.

use std::collections::BTreeSet;

use super::{
    HEAL_ONCE_IN, Plan, Planned, Situation, Step, Wait, canary::Verdict, change, drain, requests,
};
use crate::{
    config::Heal,
    ivs::arn::PlaybackKeyArn,
    keys::{
        finding::Finding,
        keyring::{KeyState, KeyVersion, Rotation, RotationMode},
        survey::{self, KEY_PAIR_QUOTA, Names, PairName},
    },
};

/// Makes one plan.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    it: &'a Situation<'a>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    pub(super) fn new(situation: &'a Situation<'a>) -> Self {
        Self { it: situation, plan: Plan::default() }
    }

    pub(super) fn run(mut self) -> Plan {
        self.report();
        let emergency = self.unfinished(RotationMode::Emergency);
        if let Some(skew) = self.it.now.skew
            && skew > drain::skew_limit(self.it.keyring.drain_margin)
        {
            self.plan.findings.push(Finding::clock_skew(skew));
            // What an emergency does depends on no clock, and cannot wait for one; nor can the
            // deletions that make room for it.
            if let Some(rotation) = emergency {
                self.emergency(rotation);
                self.deletions();
            }
            self.leaked();
            return self.plan;
        }
        if change::settled(self.it.keyring, self.it.now) {
            self.step(Step::Settle, "a rotation has nothing left to do");
        }
        if let Some(rotation) = emergency {
            self.emergency(rotation);
        }
        self.deletions();
        self.drains();
        self.strays();
        self.repairs();
        if emergency.is_none() {
            if let Some(rotation) = self.unfinished(RotationMode::Graceful) {
                self.graceful(rotation);
            } else {
                self.schedule();
            }
        }
        self.plan
    }

    /// What is wrong and nothing is done about.
    fn report(&mut self) {
        let lost = survey::lost(Some(self.it.keyring), &self.it.observed.listed);
        let mut foreign = self.foreign();
        foreign.retain(|pair| !lost.contains(pair));
        if !foreign.is_empty() {
            self.plan.findings.push(Finding::foreign_key_pairs(Names(&foreign)));
        }
        if !lost.is_empty() {
            self.plan.findings.push(Finding::lost_keyring(Names(&lost)));
        }
        let distrusted = &self.it.observed.distrusted;
        for version in self.it.keyring.present().filter(|it| distrusted.contains(&it.id)) {
            self.plan.findings.push(Finding::fingerprint_mismatch(version.arn.as_ref()));
        }
    }

    /// A leaked key is out of use as soon as there is another, and sooner where that needs its slot.
    fn emergency(&mut self, rotation: &Rotation) {
        let Some(to) = self.it.keyring.version(&rotation.to) else { return };
        match to.state {
            KeyState::Pending if self.waits_for_claim(to) => {}
            KeyState::Pending if self.has_slot_for(to) => {
                self.step(Step::Import(to.id.clone()), "the key that replaces a leaked one");
            }
            KeyState::Pending => self.make_slot(to),
            KeyState::Imported if self.it.observed.distrusted.contains(&to.id) => {}
            KeyState::Imported if self.is_gone(to) => {
                if self.has_slot_for(to) {
                    self.reimport(to);
                } else if !self.waits_for_claim(to) {
                    self.make_slot(to);
                }
            }
            // Looked at again first: with a key that IVS does not have, nobody would play.
            KeyState::Imported if !self.it.observed.has_pair_of(to) => {}
            KeyState::Imported => {
                let step = Step::Activate(rotation.id.clone());
                self.step(step, "the key that replaces a leaked one is in IVS");
            }
            KeyState::Active | KeyState::Draining | KeyState::Retiring | KeyState::Retired => {}
        }
    }

    /// Frees a slot for `to`: our draining keys go first, the leaked one last.
    fn make_slot(&mut self, to: &KeyVersion) {
        let with = |state: KeyState| {
            self.it
                .keyring
                .keys
                .iter()
                .find(|version| {
                    version.state == state
                        && version.id != to.id
                        && self.it.observed.has_pair_of(version)
                })
                .map(|version| version.id.clone())
        };
        if with(KeyState::Retiring).is_some() {
            // Its deletion is planned anyway.
            self.plan.waits.push(Wait::Slot);
        } else if let Some(id) = with(KeyState::Draining) {
            self.step(Step::Retire(id), "an emergency needs the slot of a draining key");
        } else if let Some(id) = with(KeyState::Active) {
            self.step(Step::Withdraw(id), "an emergency needs the slot of the leaked key");
        } else {
            self.no_slot();
        }
    }

    /// What remains of an emergency once its new key signs.
    fn leaked(&mut self) {
        for version in self.it.keyring.keys.iter().filter(|it| it.compromised) {
            match version.state {
                KeyState::Draining => {
                    self.step(Step::Retire(version.id.clone()), "it is compromised");
                }
                KeyState::Retiring => self.deletion(version),
                KeyState::Pending | KeyState::Imported | KeyState::Active | KeyState::Retired => {}
            }
        }
    }

    fn deletions(&mut self) {
        for version in self.it.keyring.keys.iter().filter(|it| it.state == KeyState::Retiring) {
            self.deletion(version);
        }
    }

    fn deletion(&mut self, version: &KeyVersion) {
        let foreign = version.foreign_claim(self.it.driver, self.it.now.earliest());
        if let Some(claim) = foreign {
            self.plan.waits.push(Wait::Claim(claim.until));
            return;
        }
        // A pair whose import nobody recorded shows only in a listing that is later than it.
        let claimed_until = version.claim.as_ref().map(|claim| claim.until);
        let is_listed_since = match (claimed_until, self.it.observed.listed_at) {
            (Some(until), Some(listed_at)) => until <= listed_at || self.is_own(version),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if version.arn.is_some() || is_listed_since {
            self.step(Step::Delete(version.id.clone()), "its pair is not needed any more");
        } else if let Some(until) = claimed_until {
            self.plan.waits.push(Wait::Claim(until));
        }
    }

    fn drains(&mut self) {
        for version in self.it.keyring.keys.iter().filter(|it| it.state == KeyState::Draining) {
            let retires_at = version.retires_at.unwrap_or_else(|| self.it.now.latest());
            if version.compromised {
                self.step(Step::Retire(version.id.clone()), "it is compromised");
            } else if version.drain_seen_at.is_none() {
                let step = Step::ConfirmDrain(version.id.clone());
                self.step(step, "its drain counts from when it is first seen");
            } else if self.it.now.earliest() < retires_at {
                self.plan.waits.push(Wait::Drain(retires_at));
            } else if let Some(arn) = version.arn.clone().filter(|_| version.is_shared()) {
                self.plan.findings.push(Finding::awaits_release(&arn));
                self.plan.waits.push(Wait::Release(arn));
            } else {
                self.step(Step::Retire(version.id.clone()), "every token that it signed expired");
            }
        }
    }

    /// Pairs of ours beside the recorded ones: IVS took an import twice, or one came late.
    fn strays(&mut self) {
        for version in &self.it.keyring.keys {
            let is_settled = match version.state {
                KeyState::Imported | KeyState::Active | KeyState::Draining => {
                    // While the pair is being put back, another one is the cure.
                    version.missing_since.is_none() && !self.is_gone(version)
                }
                KeyState::Retired => true,
                // An import or a deletion is to find them.
                KeyState::Pending => false,
                KeyState::Retiring => version.arn.is_some(),
            };
            let foreign = version.foreign_claim(self.it.driver, self.it.now.earliest());
            for arn in self.tagged(version) {
                let is_recorded = version.arn.as_ref() == Some(&arn);
                if is_recorded && version.state != KeyState::Retired {
                    continue;
                }
                if is_recorded || version.strays.contains(&arn) {
                    self.plan.findings.push(Finding::duplicate_key_pair(&arn));
                    let step = Step::DeleteStray(version.id.clone(), arn);
                    self.step(step, "IVS has a key of ours twice");
                } else if is_settled && let Some(claim) = foreign {
                    self.plan.waits.push(Wait::Claim(claim.until));
                } else if is_settled {
                    self.plan.findings.push(Finding::duplicate_key_pair(&arn));
                    let step = Step::NoteStray(version.id.clone(), arn);
                    self.step(step, "IVS has a key of ours twice");
                }
            }
        }
    }

    /// Pairs that somebody deleted in IVS.
    fn repairs(&mut self) {
        for version in self.it.keyring.present() {
            let Some(arn) = &version.arn else { continue };
            if version.missing_since.is_some() && self.it.observed.has(arn) {
                self.step(Step::Recover(version.id.clone()), "IVS has the pair after all");
                continue;
            }
            if !self.is_gone(version) {
                continue;
            }
            match version.state {
                KeyState::Active => {
                    self.plan.findings.push(Finding::active_key_pair_missing(arn));
                    self.repair_active(version);
                }
                KeyState::Imported => {
                    self.plan.findings.push(Finding::key_pair_missing(arn));
                    if self.it.policy.heal != Heal::Off && !self.ends_an_emergency(version) {
                        self.reimport(version);
                    }
                }
                KeyState::Draining => {
                    self.plan.findings.push(Finding::key_pair_missing(arn));
                }
                KeyState::Pending | KeyState::Retiring | KeyState::Retired => {}
            }
        }
    }

    fn repair_active(&mut self, version: &KeyVersion) {
        let steps_before = self.plan.steps.len();
        self.put_back_or_replace(version);
        // Its tokens are useless, so it signs only for a while where nothing can be done now.
        let is_helped = self.plan.steps.len() > steps_before;
        if !is_helped && version.missing_since.is_none() && self.it.policy.heal != Heal::Off {
            let step = Step::NoteMissing(version.id.clone());
            self.step(step, "somebody deleted its pair in IVS, and it cannot be put back now");
        }
    }

    fn put_back_or_replace(&mut self, version: &KeyVersion) {
        let now = self.it.now.earliest();
        let was_meant = version.healed_at.is_some_and(|healed_at| now < healed_at + HEAL_ONCE_IN);
        match self.it.policy.heal {
            Heal::Off => {}
            Heal::Replace => self.replace(version),
            Heal::Reimport if was_meant => self.replace(version),
            Heal::Reimport => self.reimport(version),
        }
    }

    fn replace(&mut self, version: &KeyVersion) {
        if self.unfinished(RotationMode::Emergency).is_some() {
            return;
        }
        if self.has_room_for(RotationMode::Emergency) {
            let step = Step::Replace(version.id.clone());
            self.step(step, "its pair was deleted in IVS, and is taken as meant to go");
        } else {
            self.no_slot();
        }
    }

    fn reimport(&mut self, version: &KeyVersion) {
        if self.waits_for_claim(version) {
            return;
        }
        if self.has_slot_for(version) {
            let step = Step::Reimport(version.id.clone());
            self.step(step, "somebody deleted its pair in IVS");
        } else {
            self.no_slot();
        }
    }

    fn graceful(&mut self, rotation: &Rotation) {
        let Some(to) = self.it.keyring.version(&rotation.to) else { return };
        match to.state {
            KeyState::Pending if self.waits_for_claim(to) => {}
            KeyState::Pending if self.has_slot_for(to) => {
                self.step(Step::Import(to.id.clone()), "the new key of a rotation");
            }
            KeyState::Pending => self.no_slot(),
            KeyState::Imported if self.it.observed.distrusted.contains(&to.id) => {}
            // Looked at again, or put back, first.
            KeyState::Imported if !self.it.observed.has_pair_of(to) => {}
            KeyState::Imported => self.await_propagation(rotation, to),
            KeyState::Active | KeyState::Draining | KeyState::Retiring | KeyState::Retired => {}
        }
    }

    fn await_propagation(&mut self, rotation: &Rotation, to: &KeyVersion) {
        let activate = Step::Activate(rotation.id.clone());
        if self.it.keyring.active().is_none() {
            self.step(activate, "no key signs, so nothing is gained by waiting");
            return;
        }
        let imported_at = to.imported_at.unwrap_or_else(|| self.it.now.latest());
        let known_at = imported_at + self.it.policy.propagation_wait;
        let has_waited = self.it.now.earliest() >= known_at;
        match self.it.canary {
            None | Some(Verdict::ProvesNothing) if has_waited => {
                self.step(activate, "the wait for IVS to know it everywhere is over");
            }
            Some(Verdict::Known) => self.step(activate, "the canary plays with it"),
            None | Some(Verdict::ProvesNothing) => {
                self.plan.waits.push(Wait::Propagation(known_at));
            }
            Some(Verdict::Unknown) => self.plan.waits.push(Wait::Canary),
            Some(Verdict::Stuck) => {
                self.plan.waits.push(Wait::Canary);
                self.plan.findings.push(Finding::canary_stuck());
            }
        }
    }

    fn schedule(&mut self) {
        let Some(every) = self.it.policy.every else { return };
        // Without an active key somebody makes the first one.
        let Some(active) = self.it.keyring.active() else { return };
        let Some(activated_at) = active.activated_at else { return };
        if active.missing_since.is_some() || self.is_gone(active) {
            return;
        }
        let due = activated_at + every + self.it.schedule_delay;
        if self.it.now.earliest() < due {
            self.plan.waits.push(Wait::Schedule(due));
        } else if self.it.waits_for_other_region {
            // Looked at again with the next reconciliation.
        } else if self.has_room_for(RotationMode::Graceful) {
            self.step(Step::Schedule, "the active key is as old as rotation.every");
        } else {
            self.no_slot();
        }
    }

    fn has_room_for(&self, mode: RotationMode) -> bool {
        requests::check_room_for(self.it.keyring, mode, self.it.observed).is_ok()
    }

    /// IVS has no room for a key that is to be imported.
    fn no_slot(&mut self) {
        self.plan.waits.push(Wait::Slot);
        let ending = |it: &KeyVersion| is_ending(it) && self.it.observed.has_pair_of(it);
        // One of ours makes room in time.
        if self.it.keyring.keys.iter().any(ending) {
            return;
        }
        let foreign = self.foreign();
        self.plan.findings.push(Finding::no_slot(Names(&foreign)));
    }

    fn has_slot_for(&self, version: &KeyVersion) -> bool {
        self.it.observed.listed.len() < KEY_PAIR_QUOTA || !self.tagged(version).is_empty()
    }

    fn waits_for_claim(&mut self, version: &KeyVersion) -> bool {
        let claim = version.foreign_claim(self.it.driver, self.it.now.earliest());
        let Some(until) = claim.map(|claim| claim.until) else { return false };
        self.plan.waits.push(Wait::Claim(until));
        true
    }

    fn is_own(&self, version: &KeyVersion) -> bool {
        version.claim.as_ref().is_some_and(|claim| claim.by == *self.it.driver)
    }

    /// Whether IVS does not have the recorded pair: it said so twice, or did before.
    fn is_gone(&self, version: &KeyVersion) -> bool {
        version.arn.as_ref().is_some_and(|arn| {
            let is_missing = version.missing_since.is_some() && !self.it.observed.has(arn);
            is_missing || self.it.observed.gone.contains(arn)
        })
    }

    fn tagged(&self, version: &KeyVersion) -> BTreeSet<PlaybackKeyArn> {
        survey::tagged(self.it.keyring, version, &self.it.observed.listed)
    }

    /// The pairs that are not of this keyring.
    fn foreign(&self) -> Vec<PairName> {
        let listed = self.it.observed.listed.iter();
        let foreign = listed.filter(|pair| survey::is_foreign(self.it.keyring, pair));
        foreign.map(survey::name_of).collect()
    }

    /// Whether an emergency leads to the version, and sees to its pair.
    fn ends_an_emergency(&self, version: &KeyVersion) -> bool {
        self.unfinished(RotationMode::Emergency).is_some_and(|it| it.to == version.id)
    }

    fn unfinished(&self, mode: RotationMode) -> Option<&'a Rotation> {
        let rotations = self.it.keyring.rotations.iter();
        rotations.rev().find(|it| it.is_before_activation() && it.mode == mode)
    }

    fn step(&mut self, step: Step, reason: &'static str) {
        if !self.plan.contains(&step) {
            self.plan.steps.push(Planned { step, reason });
        }
    }
}

fn is_ending(version: &KeyVersion) -> bool {
    matches!(version.state, KeyState::Draining | KeyState::Retiring)
}
