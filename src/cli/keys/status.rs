//! `keys status`: how a region's keys stand. Nothing is changed.

use std::sync::Arc;

use serde::Serialize;

use super::{Context, Failure, in_each_region, is_shared, moment, pairs};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    ivs::arn::{AccountId, Region},
    keys::{
        inventory::{KeyPairState, KeyPairView},
        keyring::Keyring,
        lifecycle::view::RotationView,
        rotator::{Report, ReportedFinding},
    },
};

/// How many rotations that ended are shown to people; all are in the JSON.
const ENDED_SHOWN: usize = 1;

/// The result as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    region: Region,
    account: Option<AccountId>,
    store: String,
    /// When IVS listed its pairs; `None` where it could not be asked.
    checked_at: Option<Timestamp>,
    /// The pair that signs.
    active_key_pair: Option<KeyPairView>,
    /// Since how long it signs, in seconds.
    active_for: Option<u64>,
    key_pairs: Vec<KeyPairView>,
    rotations: Vec<RotationView>,
    findings: Vec<FindingBody>,
}

#[derive(Serialize)]
struct FindingBody {
    code: &'static str,
    detail: String,
    /// A rotation does not go on without help.
    stuck: bool,
}

impl From<&ReportedFinding> for FindingBody {
    fn from(finding: &ReportedFinding) -> Self {
        let ReportedFinding { code, detail, is_stuck, .. } = finding;
        Self { code, detail: detail.clone(), stuck: *is_stuck }
    }
}

/// One region's body, and what it does not contain.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    body: Body,
    #[serde(skip)]
    keyring: Option<Arc<Keyring>>,
    #[serde(skip)]
    context: &'a Context<'a>,
    /// Keyring and IVS were compared.
    #[serde(skip)]
    was_compared: bool,
}

/// `keys status`
pub(super) fn status(contexts: &[Context<'_>]) -> Result<(), Failure> {
    let regions = in_each_region(contexts, Context::status)?;
    if contexts.iter().any(|context| context.global.json()) {
        regions.print_json(contexts)?;
    } else {
        for (position, status) in regions.results.iter().enumerate() {
            if position > 0 {
                output::line("")?;
            }
            status.context.show_status(&status.body, status.keyring.as_deref())?;
        }
    }
    let was_compared = regions.results.iter().all(|status| status.was_compared);
    if was_compared && !regions.has_failed { Ok(()) } else { Err(Failure::Negative) }
}

impl Context<'_> {
    fn status(&self) -> Result<Status<'_>, Failure> {
        let keyring = self.keyring()?;
        // Why it failed is in the report.
        let was_compared = self.runtime.block_on(self.rotator.look()).failure.is_none();
        let rotations = self.runtime.block_on(self.rotator.rotations()).map_err(Failure::failed)?;
        let api = self.app.api();
        let (key_pairs, checked_at) = api.inventory.key_pairs(&self.region);
        let signing = keyring.as_ref().and_then(|keyring| keyring.active());
        // One that IVS lacks is called missing, and signs on for a while.
        let active_key_pair = signing.and_then(|active| {
            key_pairs.iter().find(|pair| pair.fingerprint == Some(active.fingerprint)).cloned()
        });
        let activated_at = active_key_pair.as_ref().and_then(|pair| pair.activated_at);
        let report: &Report = &self.rotator.report();
        let body = Body {
            region: self.region.clone(),
            account: self.runtime.block_on(api.ivs.account()).ok(),
            store: self.app.store_of(&self.region),
            checked_at,
            active_key_pair,
            active_for: activated_at.map(|at| api.clock.now().saturating_since(at).as_secs()),
            key_pairs,
            rotations,
            findings: report.all().map(FindingBody::from).collect(),
        };
        Ok(Status { body, keyring, context: self, was_compared })
    }

    fn show_status(&self, body: &Body, keyring: Option<&Keyring>) -> Result<(), Failure> {
        let account = body.account.as_ref().map_or("not known yet", AccountId::as_str);
        output::line(&format!("region    {}", body.region))?;
        output::line(&format!("account   {account}"))?;
        output::line(&format!("store     {}", body.store))?;
        output::line(&format!("active    {}", self.active(body)))?;
        let drains = body.key_pairs.iter().filter(|it| it.state == KeyPairState::Draining);
        for pair in drains {
            let release = is_shared(keyring, pair.arn.as_ref());
            let release = if release { ", then until keys release" } else { "" };
            output::line(&format!("draining  {}{release}", self.drain(pair)))?;
        }
        let is_open = |view: &&RotationView| !view.phase.is_over();
        let ended = body.rotations.iter().filter(|view| !is_open(view)).take(ENDED_SHOWN);
        for view in body.rotations.iter().filter(is_open).chain(ended) {
            output::line("")?;
            self.show_rotation(view)?;
        }
        if !body.key_pairs.is_empty() {
            output::line("")?;
            pairs::show_table(&body.key_pairs)?;
        }
        if !body.findings.is_empty() {
            output::line("")?;
        }
        for finding in &body.findings {
            output::line(&format!("finding   {}: {}", finding.code, finding.detail))?;
        }
        Ok(())
    }

    fn active(&self, body: &Body) -> String {
        let Some(pair) = &body.active_key_pair else {
            let region = &self.region;
            if body.findings.iter().any(|it| it.code == "lost_keyring") {
                return "none; its keyring may be lost, see below".to_owned();
            }
            return format!("none; make one with keys rotate --region {region}");
        };
        let arn = pair.arn.as_ref().map(ToString::to_string).unwrap_or_default();
        let since = pair.activated_at.map(|at| {
            let age = self.app.api().clock.now().saturating_since(at);
            format!(", signs since {at} (for {})", span(age))
        });
        let adopted = if pair.adopted { ", adopted" } else { "" };
        format!("{arn}{}{adopted}", since.unwrap_or_default())
    }

    fn drain(&self, pair: &KeyPairView) -> String {
        let arn = pair.arn.as_ref().map(ToString::to_string).unwrap_or_default();
        let now = self.app.api().clock.now();
        let until = pair.retires_at.map(|at| format!(", until {}", moment(at, now)));
        format!("{arn}{}", until.unwrap_or_default())
    }
}
