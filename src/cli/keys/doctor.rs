//! `keys doctor`: what is wrong with a region's keys, and what to do about it.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Context, Failure, in_each_region, note};
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
struct Body {
    region: Region,
    account: Option<AccountId>,
    store: String,
    healthy: bool,
    #[serde(flatten)]
    examination: Examination,
}

/// `keys doctor`
pub(super) fn doctor(contexts: &[Context<'_>], args: &DoctorArgs) -> Result<(), Failure> {
    let regions = in_each_region(contexts, |context| Ok(context.examine(args)))?;
    if contexts.iter().any(|context| context.global.json()) {
        regions.print_json(contexts)?;
    } else {
        for (position, body) in regions.results.iter().enumerate() {
            if position > 0 {
                output::line("")?;
            }
            show(body)?;
        }
    }
    let mut permissions = regions.results.iter().flat_map(|body| &body.examination.permissions);
    if !args.simulate && permissions.any(|permission| permission.answer == Answer::Unknown) {
        note("\"unknown\" permissions were not tested; run `keys doctor --simulate` to ask IAM.");
    }
    let is_healthy = regions.results.iter().all(|body| body.healthy);
    if is_healthy { Ok(()) } else { Err(Failure::Negative) }
}

impl Context<'_> {
    fn examine(&self, args: &DoctorArgs) -> Body {
        let account = self.runtime.block_on(self.app.api().ivs.account()).ok();
        let doctor = self.make_doctor(account.as_ref());
        let examination = self.runtime.block_on(doctor.examine(args.simulate));
        let (region, store) = (self.region.clone(), doctor.setup.store);
        Body { region, account, store, healthy: examination.is_healthy(), examination }
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

fn show(body: &Body) -> Result<(), Failure> {
    let account = body.account.as_ref().map_or("not known yet", AccountId::as_str);
    output::line(&format!("region   {}", body.region))?;
    output::line(&format!("account  {account}"))?;
    output::line(&format!("store    {}", body.store))?;
    output::line("")?;
    for finding in &body.examination.findings {
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
        &body.examination.permissions.iter().map(row).collect::<Vec<_>>(),
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
