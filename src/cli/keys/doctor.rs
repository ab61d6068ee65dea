//! `keys doctor`: problems with a region's keys, and how to fix them.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::{Context, Failure, account_text, in_each_region, note};
use crate::{
    app::key_limits,
    cli::output,
    ivs::arn::{AccountId, Region},
    keys::{
        KeyStore,
        doctor::{Answer, Doctor, Examination, Permission, Setup},
        finding::Finding,
        store::secrets_manager::secret_name,
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct DoctorArgs {
    /// Ask IAM which permissions these credentials have (iam:SimulatePrincipalPolicy)
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
pub(super) async fn doctor(contexts: &[Context<'_>], args: &DoctorArgs) -> Result<(), Failure> {
    let regions = in_each_region(contexts, async |context| Ok(context.examine(args).await)).await?;
    regions.print(contexts, text)?;
    let mut permissions = regions.results.iter().flat_map(|body| &body.examination.permissions);
    if !args.simulate && permissions.any(|permission| permission.answer == Answer::Unknown) {
        note("\"unknown\" permissions were not tested; run `keys doctor --simulate` to ask IAM.");
    }
    let is_healthy = regions.results.iter().all(|body| body.healthy);
    if is_healthy { Ok(()) } else { Err(Failure::Negative) }
}

impl Context<'_> {
    async fn examine(&self, args: &DoctorArgs) -> Body {
        let account = self.account().await;
        let doctor = self.make_doctor(account.as_ref());
        let examination = doctor.examine(args.simulate).await;
        let (region, store) = (self.region().clone(), doctor.setup.store);
        Body { region, account, store, healthy: examination.is_healthy(), examination }
    }

    fn make_doctor(&self, account: Option<&AccountId>) -> Doctor {
        let api = self.app.api();
        Doctor {
            manager: Arc::clone(&self.keys.manager),
            signing_keys: Arc::clone(&api.keys),
            ivs: api.ivs.clone(),
            clock: api.clock.clone(),
            setup: Setup {
                manage: self.config.keys.manage,
                limits: key_limits(self.config),
                reconcile_every: self.config.rotation.reconcile_every,
                store: self.app.store_of(self.region()),
                secret_arn: self.secret_arn(account),
            },
        }
    }

    /// Returns the ARN as policies name it: AWS ends the ARN of a secret with six random characters.
    fn secret_arn(&self, account: Option<&AccountId>) -> Option<String> {
        let (keys, region) = (&self.config.keys, self.region());
        let account = account.map_or("*", AccountId::as_str);
        (keys.store == KeyStore::SecretsManager).then(|| {
            let name = secret_name(&keys.secret_name, region, Some(account));
            format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????")
        })
    }
}

fn text(body: &Body) -> String {
    let fields = output::fields(&[
        ("region", body.region.to_string()),
        ("account", account_text(body.account.as_ref())),
        ("store", body.store.clone()),
    ]);
    let finding = |finding: &Finding| {
        (finding.severity.as_str(), format!("{}: {}", finding.code, finding.detail))
    };
    let findings: Vec<_> = body.examination.findings.iter().map(finding).collect();
    let permission = |permission: &Permission| {
        let answer = match permission.answer {
            Answer::Allowed => "allowed",
            Answer::Denied => "denied",
            Answer::Unknown => "unknown",
        };
        [answer, permission.purpose, permission.action].map(str::to_owned)
    };
    let permissions: Vec<_> = body.examination.permissions.iter().map(permission).collect();
    let permissions = output::table(["PERMISSION", "TO", "ACTION"], &permissions);
    [fields, output::fields(&findings), permissions].join("\n\n")
}
