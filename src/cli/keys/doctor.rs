//! `keys doctor`: what is wrong with a region's keys, and what to do about it.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Context, Failure, note};
use crate::{
    app::key_limits,
    cli::output,
    config::KeyStore,
    ivs::arn::{AccountId, Region},
    keys::{
        doctor::{Answer, Doctor, Examination, Permission, Setup, Severity},
        store::secrets_manager::secret_name,
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct DoctorArgs {
    /// Ask IAM what these credentials may do (iam:SimulatePrincipalPolicy)
    #[arg(long)]
    simulate: bool,
}

/// The result as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    region: &'a Region,
    account: Option<AccountId>,
    store: &'a str,
    healthy: bool,
    #[serde(flatten)]
    examination: &'a Examination,
}

impl Context<'_> {
    pub(super) fn doctor(&self, args: &DoctorArgs) -> Result<(), Failure> {
        let account = self.runtime.block_on(self.app.api().ivs.account()).ok();
        let doctor = self.make_doctor(account.as_ref());
        let examination = self.runtime.block_on(doctor.examine(args.simulate));
        if self.global.json() {
            output::json(&Body {
                region: &self.region,
                account,
                store: &doctor.setup.store,
                healthy: examination.is_healthy(),
                examination: &examination,
            })?;
        } else {
            let account = account.as_ref().map_or("not known yet", AccountId::as_str);
            output::line(&format!("region   {}", self.region))?;
            output::line(&format!("account  {account}"))?;
            output::line(&format!("store    {}", doctor.setup.store))?;
            output::line("")?;
            show(&examination)?;
        }
        if !args.simulate && examination.permissions.iter().any(|it| it.answer == Answer::Unknown) {
            note("What is unknown was not tried; keys doctor --simulate asks IAM.");
        }
        if examination.is_healthy() { Ok(()) } else { Err(Failure::Negative) }
    }

    fn make_doctor(&self, account: Option<&AccountId>) -> Doctor {
        let api = self.app.api();
        Doctor {
            rotator: Arc::clone(&self.rotator),
            signing_keys: Arc::clone(&api.keys),
            inventory: Arc::clone(&api.inventory),
            ivs: api.ivs.clone(),
            clock: api.clock.clone(),
            setup: Setup {
                manage: self.config.keys.manage,
                limits: key_limits(self.config),
                reconcile_every: self.config.rotation.reconcile_every,
                store: self.app.store_of(&self.region),
                secret_arn: self.secret_arn(account),
            },
        }
    }

    /// As policies name it: AWS ends the ARN of a secret with six characters of its choice.
    fn secret_arn(&self, account: Option<&AccountId>) -> Option<String> {
        let (keys, region) = (&self.config.keys, &self.region);
        let account = account.map_or("*", AccountId::as_str);
        (keys.store == KeyStore::SecretsManager).then(|| {
            let name = secret_name(&keys.secret_name, region, Some(account));
            format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????")
        })
    }
}

fn show(examination: &Examination) -> Result<(), Failure> {
    for finding in &examination.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Ok => "ok",
        };
        output::line(&format!("{severity:7}  {}: {}", finding.code, finding.detail))?;
    }
    output::line("")?;
    output::table(
        &["PERMISSION", "TO", "ACTION"],
        &examination.permissions.iter().map(row).collect::<Vec<_>>(),
    )
}

fn row(permission: &Permission) -> Vec<String> {
    let answer = match permission.answer {
        Answer::Allowed => "allowed",
        Answer::Denied => "denied",
        Answer::Unknown => "unknown",
    };
    vec![answer.to_owned(), permission.purpose.to_owned(), permission.action.to_owned()]
}
