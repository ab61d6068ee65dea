//! What to do next about a region's keys. A pure function, in rules of which the most urgent come first.

use std::collections::BTreeSet;

use super::{
    canary::Verdict,
    drain, requests,
    situation::{HEAL_ONCE_IN, Situation},
    step::{Plan, Planned, Step, Wait},
    transitions,
};
use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::{
        Heal,
        finding::Finding,
        keyring::{KeyState, KeyVersion, Rotation, RotationMode},
        service::Names,
    },
};

/// Plans the steps for a region's keys.
pub fn plan(situation: &Situation<'_>) -> Plan {
    Planner { situation, plan: Plan::default() }.run()
}

/// Makes one plan.
#[derive(Debug)]
struct Planner<'a> {
    situation: &'a Situation<'a>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn run(mut self) -> Plan {
        self.report();
        let emergency = self.unfinished(RotationMode::Emergency);
        if let Some(skew) = self.situation.now.skew
            && skew > drain::skew_limit(self.situation.keyring.drain_margin)
        {
            self.plan.findings.push(Finding::clock_skew(skew));
            // An emergency depends on no clock, and cannot wait for one; nor can the deletions that make room for it.
            if let Some(rotation) = emergency {
                self.emergency(rotation);
                self.deletions();
            }
            self.leaked();
            return self.plan;
        }
        if transitions::settled(self.situation.keyring, self.situation.now) {
            self.step(Step::Settle, "a rotation has nothing left to do");
        }
        if let Some(rotation) = emergency {
            self.emergency(rotation);
        }
        self.deletions();
        self.drains();
        self.duplicates();
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

    /// Reports problems that the plan does not repair.
    fn report(&mut self) {
        let lost = self.situation.observation.lost(Some(self.situation.keyring));
        let mut foreign = self.situation.observation.foreign(self.situation.keyring);
        foreign.retain(|pair| !lost.contains(pair));
        if !foreign.is_empty() {
            self.plan.findings.push(Finding::foreign_key_pairs(Names(&foreign)));
        }
        if !lost.is_empty() {
            self.plan.findings.push(Finding::lost_keyring(Names(&lost)));
        }
        let distrusted = &self.situation.observation.distrusted;
        for version in self.situation.keyring.present().filter(|it| distrusted.contains(&it.id)) {
            self.plan.findings.push(Finding::fingerprint_mismatch(version.arn.as_ref()));
        }
    }

    /// Replaces a leaked key as soon as there is another, and removes it sooner if that one needs its slot.
    fn emergency(&mut self, rotation: &Rotation) {
        let Some(to) = self.situation.keyring.version(&rotation.to) else { return };
        match to.state {
            KeyState::Pending if self.waits_for_claim(to) => {}
            KeyState::Pending if self.has_slot_for(to) => {
                self.step(Step::Import(to.id.clone()), "the key that replaces a leaked one");
            }
            KeyState::Pending => self.make_slot(to),
            KeyState::Imported if self.situation.observation.distrusted.contains(&to.id) => {}
            KeyState::Imported if self.is_gone(to) => {
                if self.has_slot_for(to) {
                    self.reimport(to);
                } else if !self.waits_for_claim(to) {
                    self.make_slot(to);
                }
            }
            // Read again first: with a key that IVS does not have, no one could play.
            KeyState::Imported if !self.situation.observation.has_pair_of(to) => {}
            KeyState::Imported => {
                let step = Step::Activate(rotation.id.clone());
                self.step(step, "the key that replaces a leaked one is in IVS");
            }
            KeyState::Active | KeyState::Draining | KeyState::Retiring | KeyState::Retired => {}
        }
    }

    /// Frees a slot for `to`: draining keys are deleted first, the leaked one last.
    fn make_slot(&mut self, to: &KeyVersion) {
        let with = |state: KeyState| {
            self.situation
                .keyring
                .keys
                .iter()
                .find(|version| {
                    version.state == state
                        && version.id != to.id
                        && self.situation.observation.has_pair_of(version)
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

    /// Completes an emergency whose new key signs.
    fn leaked(&mut self) {
        for version in self.situation.keyring.keys.iter().filter(|it| it.compromised) {
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
        for version in
            self.situation.keyring.keys.iter().filter(|it| it.state == KeyState::Retiring)
        {
            self.deletion(version);
        }
    }

    fn deletion(&mut self, version: &KeyVersion) {
        let foreign = version.foreign_claim(self.situation.driver, self.situation.now.earliest());
        if let Some(claim) = foreign {
            self.plan.waits.push(Wait::Claim(claim.until));
            return;
        }
        // A pair whose import no process recorded shows only in a list that is later than the import.
        let claimed_until = version.claim.as_ref().map(|claim| claim.until);
        let is_listed_since = match (claimed_until, self.situation.observation.listed_at) {
            (Some(until), Some(listed_at)) => until <= listed_at || self.is_own(version),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if version.arn.is_some() || is_listed_since {
            self.step(Step::Delete(version.id.clone()), "its pair is no longer needed");
        } else if let Some(until) = claimed_until {
            self.plan.waits.push(Wait::Claim(until));
        }
    }

    fn drains(&mut self) {
        for version in
            self.situation.keyring.keys.iter().filter(|it| it.state == KeyState::Draining)
        {
            let retires_at = version.retires_at.unwrap_or_else(|| self.situation.now.latest());
            if version.compromised {
                self.step(Step::Retire(version.id.clone()), "it is compromised");
            } else if version.drain_seen_at.is_none() {
                let step = Step::ConfirmDrain(version.id.clone());
                self.step(step, "its drain counts from when it is first seen");
            } else if self.situation.now.earliest() < retires_at {
                self.plan.waits.push(Wait::Drain(retires_at));
            } else if let Some(arn) = version.arn.clone().filter(|_| version.is_shared()) {
                self.plan.findings.push(Finding::awaits_release(&arn));
                self.plan.waits.push(Wait::Release(arn));
            } else {
                self.step(Step::Retire(version.id.clone()), "every token that it signed expired");
            }
        }
    }

    /// Deletes duplicate pairs: IVS accepted an import twice, or carried one out late.
    fn duplicates(&mut self) {
        for version in &self.situation.keyring.keys {
            let is_settled = match version.state {
                KeyState::Imported | KeyState::Active | KeyState::Draining => {
                    // While the pair is being imported again, another one is the repair.
                    version.missing_since.is_none() && !self.is_gone(version)
                }
                KeyState::Retired => true,
                // An import or a deletion finds them.
                KeyState::Pending => false,
                KeyState::Retiring => version.arn.is_some(),
            };
            let foreign =
                version.foreign_claim(self.situation.driver, self.situation.now.earliest());
            for arn in self.tagged(version) {
                let is_recorded = version.arn.as_ref() == Some(&arn);
                if is_recorded && version.state != KeyState::Retired {
                    continue;
                }
                if is_recorded || version.duplicates.contains(&arn) {
                    self.plan.findings.push(Finding::duplicate_key_pair(&arn));
                    let step = Step::DeleteDuplicate(version.id.clone(), arn);
                    self.step(step, "IVS has a key of this keyring twice");
                } else if is_settled && let Some(claim) = foreign {
                    self.plan.waits.push(Wait::Claim(claim.until));
                } else if is_settled {
                    self.plan.findings.push(Finding::duplicate_key_pair(&arn));
                    let step = Step::RecordDuplicate(version.id.clone(), arn);
                    self.step(step, "IVS has a key of this keyring twice");
                }
            }
        }
    }

    /// Repairs pairs that were deleted in IVS.
    fn repairs(&mut self) {
        for version in self.situation.keyring.present() {
            let Some(arn) = &version.arn else { continue };
            if version.missing_since.is_some() && self.situation.observation.has(arn) {
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
                    if self.situation.policy.heal != Heal::Off && !self.ends_an_emergency(version) {
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
        self.reimport_or_replace(version);
        // Its tokens are useless, so it signs only for a while if nothing can be done now.
        let is_helped = self.plan.steps.len() > steps_before;
        if !is_helped && version.missing_since.is_none() && self.situation.policy.heal != Heal::Off
        {
            let step = Step::RecordMissing(version.id.clone());
            self.step(step, "its pair was deleted in IVS, and cannot be imported again now");
        }
    }

    fn reimport_or_replace(&mut self, version: &KeyVersion) {
        let now = self.situation.now.earliest();
        let was_meant = version.healed_at.is_some_and(|healed_at| now < healed_at + HEAL_ONCE_IN);
        match self.situation.policy.heal {
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
            self.step(step, "its pair was deleted in IVS, which is taken as intended");
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
            self.step(step, "its pair was deleted in IVS");
        } else {
            self.no_slot();
        }
    }

    fn graceful(&mut self, rotation: &Rotation) {
        let Some(to) = self.situation.keyring.version(&rotation.to) else { return };
        match to.state {
            KeyState::Pending if self.waits_for_claim(to) => {}
            KeyState::Pending if self.has_slot_for(to) => {
                self.step(Step::Import(to.id.clone()), "the new key of a rotation");
            }
            KeyState::Pending => self.no_slot(),
            KeyState::Imported if self.situation.observation.distrusted.contains(&to.id) => {}
            // Read again, or imported again, first.
            KeyState::Imported if !self.situation.observation.has_pair_of(to) => {}
            KeyState::Imported => self.await_propagation(rotation, to),
            KeyState::Active | KeyState::Draining | KeyState::Retiring | KeyState::Retired => {}
        }
    }

    fn await_propagation(&mut self, rotation: &Rotation, to: &KeyVersion) {
        let activate = Step::Activate(rotation.id.clone());
        if self.situation.keyring.active().is_none() {
            self.step(activate, "no key signs, so waiting gains nothing");
            return;
        }
        let imported_at = to.imported_at.unwrap_or_else(|| self.situation.now.latest());
        let known_at = imported_at + self.situation.policy.propagation_wait;
        let has_waited = self.situation.now.earliest() >= known_at;
        match self.situation.canary {
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
        let Some(every) = self.situation.policy.every else { return };
        // The operator makes the first key.
        let Some(active) = self.situation.keyring.active() else { return };
        let Some(activated_at) = active.activated_at else { return };
        if active.missing_since.is_some() || self.is_gone(active) {
            return;
        }
        let due = activated_at + every + self.situation.schedule_delay;
        if self.situation.now.earliest() < due {
            self.plan.waits.push(Wait::Schedule(due));
        } else if self.situation.waits_for_other_region {
            // The next reconciliation checks again.
        } else if self.has_room_for(RotationMode::Graceful) {
            self.step(Step::Schedule, "the active key is as old as rotation.every");
        } else {
            self.no_slot();
        }
    }

    fn has_room_for(&self, mode: RotationMode) -> bool {
        requests::check_room_for(self.situation.keyring, mode, self.situation.observation).is_ok()
    }

    /// Waits for a slot, and reports that unless one becomes free by itself.
    fn no_slot(&mut self) {
        self.plan.waits.push(Wait::Slot);
        let ending = |it: &KeyVersion| is_ending(it) && self.situation.observation.has_pair_of(it);
        // A pair of this keyring makes room in time.
        if self.situation.keyring.keys.iter().any(ending) {
            return;
        }
        let foreign = self.situation.observation.foreign(self.situation.keyring);
        self.plan.findings.push(Finding::no_slot(Names(&foreign)));
    }

    fn has_slot_for(&self, version: &KeyVersion) -> bool {
        self.situation.observation.has_slot() || !self.tagged(version).is_empty()
    }

    fn waits_for_claim(&mut self, version: &KeyVersion) -> bool {
        let claim = version.foreign_claim(self.situation.driver, self.situation.now.earliest());
        let Some(until) = claim.map(|claim| claim.until) else { return false };
        self.plan.waits.push(Wait::Claim(until));
        true
    }

    fn is_own(&self, version: &KeyVersion) -> bool {
        version.claim.as_ref().is_some_and(|claim| claim.by == *self.situation.driver)
    }

    /// Whether IVS does not have the recorded pair: it reported that twice, now or earlier.
    fn is_gone(&self, version: &KeyVersion) -> bool {
        version.arn.as_ref().is_some_and(|arn| {
            let is_missing =
                version.missing_since.is_some() && !self.situation.observation.has(arn);
            is_missing || self.situation.observation.gone.contains(arn)
        })
    }

    fn tagged(&self, version: &KeyVersion) -> BTreeSet<PlaybackKeyArn> {
        self.situation.observation.tagged(self.situation.keyring, version)
    }

    /// Whether an emergency leads to the version, and takes care of its pair.
    fn ends_an_emergency(&self, version: &KeyVersion) -> bool {
        self.unfinished(RotationMode::Emergency).is_some_and(|it| it.to == version.id)
    }

    fn unfinished(&self, mode: RotationMode) -> Option<&'a Rotation> {
        let rotations = self.situation.keyring.rotations.iter();
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
