//! What is wrong with a region's keys, and what to do about it.
//!
//! [`Doctor::examine`] reads the keyring, compares it with IVS, holds the clock against that of IVS, and
//! calls what a process of this configuration must be able to read. It writes nothing and changes
//! nothing in IVS. What it saw is judged by pure functions: `checks` for keys, `permissions` for
//! what the credentials may do.

mod checks;
mod permissions;

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    finding::{Finding, FindingCode, Severity},
    keyring::Limits,
    rotation::{KeyManager, KeyPairState},
    signing::SigningKeys,
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    ivs::{IvsRegions, RegionalIvs},
};

use self::{checks::Facts, permissions::Reads};
pub use permissions::{Answer, Permission};

/// How a process of the examined configuration is set up, beyond what its manager knows.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `keys.manage`, whatever the manager may do.
    pub manage: bool,
    /// What the keyring must record before such a process signs.
    pub limits: Limits,
    /// `rotation.reconcile_every`
    pub reconcile_every: Duration,
    /// Where the keyring is, for people.
    pub store: String,
    /// The ARN of the keyring's secret, `?` for what AWS chose of it; where that is where it is.
    pub secret_arn: Option<String>,
}

/// Examines the keys of one region.
#[derive(Debug)]
pub struct Doctor {
    /// Compares keyring and IVS; it may not manage keys.
    pub manager: Arc<KeyManager>,
    /// Reads the keyring.
    pub signing_keys: Arc<SigningKeys>,
    /// IVS, and whose the credentials are.
    pub ivs: IvsRegions,
    /// The time.
    pub clock: Clock,
    /// What is expected.
    pub setup: Setup,
}

/// What an examination found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Examination {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What the credentials may do.
    pub permissions: Vec<Permission>,
}

impl Examination {
    /// Whether no finding is an error.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

impl Doctor {
    /// Looks at everything; with `simulate`, IAM is asked what nothing else tells of permissions.
    pub async fn examine(&self, simulate: bool) -> Examination {
        let region = self.manager.region();
        let read = self.signing_keys.refresh(region).await;
        // Now, since what was read may be too old after all that follows.
        let signer = self.signing_keys.status(region).signer.map(|signer| signer.arn().clone());
        // A failure is in the report. A reconciliation lists what IVS has, unless it failed before that.
        let reconciled = self.manager.reconcile().await;
        let listed = match reconciled.failure {
            None => Ok(()),
            Some(_) => self.manager.refresh_key_pairs().await,
        };
        let rotations = self.manager.rotations().await.unwrap_or_default();
        let account = self.ivs.account().await.ok().map(|account| account.to_string());
        let regional = self.ivs.region(region);
        let (pairs, checked_at) = self.manager.key_pairs();
        let now = Moment::of(&self.clock);
        let facts = Facts {
            setup: &self.setup,
            policy: self.manager.policy(),
            read,
            keyring: self.signing_keys.keyring(region),
            signer,
            report: self.manager.report(),
            rotations: &rotations,
            pairs: &pairs,
            was_listed: checked_at.is_some(),
            skew: regional.and_then(RegionalIvs::server_time).map(|time| time.skew_from(now)),
            now: now.wall,
        };
        let mut findings = checks::judge(&facts);
        let wanted = permissions::wanted(&self.setup);
        let mut reads = Reads::new();
        if let Some(regional) = regional {
            // What failed after the listing says nothing of it.
            let listed = if facts.was_listed { Ok(()) } else { listed };
            let pair = pairs.iter().find(|it| it.state != KeyPairState::Missing);
            let pair = pair.and_then(|it| it.arn.clone());
            reads = permissions::read(regional, account.as_deref(), listed, pair).await;
        }
        let denials = facts.keyring.as_deref().map(permissions::denials).unwrap_or_default();
        let mut simulated = None;
        if simulate {
            let asked = permissions::questions(&wanted, &self.setup, region, account.as_deref());
            match self.ivs.simulate(&asked, now.wall).await {
                Ok(decisions) => simulated = Some(decisions),
                Err(error) => findings
                    .push(Finding::complete(FindingCode::SimulationFailed, error.to_string())),
            }
        }
        let simulated = simulated.as_ref();
        let permissions = permissions::judge(&wanted, &reads, simulated, &denials);
        findings.extend(permissions::findings(&permissions));
        findings.sort_by_key(|finding| finding.severity);
        Examination { findings, permissions }
    }
}

/// How long something is overdue before nobody seems to be there to do it.
fn grace(setup: &Setup) -> Duration {
    (setup.reconcile_every * 3).max(Duration::from_mins(2))
}

/// Whether `at` is so long ago that whoever should have acted is not there.
fn is_overdue(at: Timestamp, now: Timestamp, setup: &Setup) -> bool {
    now.saturating_since(at) > grace(setup)
}
