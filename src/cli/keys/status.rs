//! `keys status`: the state of a region's keys. Changes nothing.

use serde::Serialize;

use super::{Context, Failure, account_text, in_each_region, is_shared, moment, pairs, rotations};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    ivs::arn::{AccountId, PlaybackKeyArn, Region},
    keys::{
        finding::FindingCode,
        rotation::{KeyPairState, KeyPairView, view::RotationView},
    },
    service::key_pairs::Listing,
};

/// How many finished rotations the text shows; the JSON has all of them.
const FINISHED_SHOWN: usize = 1;

/// The result as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    region: Region,
    account: Option<AccountId>,
    store: String,
    /// When IVS listed its pairs; `None` if it could not be queried.
    checked_at: Option<Timestamp>,
    active_key_pair: Option<KeyPairView>,
    /// For how many seconds it has been active.
    active_for: Option<u64>,
    key_pairs: Vec<KeyPairView>,
    rotations: Vec<RotationView>,
    findings: Vec<FindingBody>,
    #[serde(skip)]
    now: Timestamp,
    /// Pairs that wait for `keys release` when they have drained.
    #[serde(skip)]
    shared: Vec<PlaybackKeyArn>,
    /// The keyring and IVS were compared.
    #[serde(skip)]
    was_compared: bool,
}

#[derive(Serialize)]
struct FindingBody {
    code: FindingCode,
    detail: String,
    /// A rotation cannot continue without help.
    stuck: bool,
}

/// `keys status`
pub(super) async fn status(contexts: &[Context<'_>]) -> Result<(), Failure> {
    let regions = in_each_region(contexts, Context::status).await?;
    regions.print(contexts, Status::text)?;
    let was_compared = regions.results.iter().all(|status| status.was_compared);
    if was_compared && !regions.has_failed { Ok(()) } else { Err(Failure::Negative) }
}

impl Context<'_> {
    async fn status(&self) -> Result<Status, Failure> {
        let keyring = self.keyring().await?;
        // The report says why it failed.
        let was_compared = self.keys.manager.reconcile().await.failure.is_none();
        let rotations = self.keys.manager.rotations().await?;
        let Listing { key_pairs, checked_at, .. } = self.keys.known();
        // A pair that IVS lacks is called missing, and still signs for a while.
        let active = keyring.as_ref().and_then(|keyring| keyring.active());
        let active = active.and_then(|active| {
            key_pairs.iter().find(|pair| pair.fingerprint == Some(active.fingerprint)).cloned()
        });
        let now = self.now();
        let activated_at = active.as_ref().and_then(|pair| pair.activated_at);
        let arns = key_pairs.iter().filter_map(|pair| pair.arn.as_ref());
        let shared = arns.filter(|arn| is_shared(keyring.as_deref(), Some(arn))).cloned().collect();
        let report = self.keys.manager.report();
        let findings = report.all().map(|finding| FindingBody {
            code: finding.code,
            detail: finding.detail.clone(),
            stuck: finding.code.holds_up_rotations(),
        });
        Ok(Status {
            region: self.region().clone(),
            account: self.account().await,
            store: self.app.store_of(self.region()),
            checked_at,
            active_key_pair: active,
            active_for: activated_at.map(|at| now.saturating_since(at).as_secs()),
            key_pairs,
            rotations,
            findings: findings.collect(),
            now,
            shared,
            was_compared,
        })
    }
}

impl Status {
    fn text(&self) -> String {
        let mut fields = vec![
            ("region", self.region.to_string()),
            ("account", account_text(self.account.as_ref())),
            ("store", self.store.clone()),
            ("active", self.active()),
        ];
        let draining = self.key_pairs.iter().filter(|pair| pair.state == KeyPairState::Draining);
        fields.extend(draining.map(|pair| ("draining", self.drain(pair))));
        let mut paragraphs = vec![output::fields(&fields)];
        let is_open = |rotation: &&RotationView| !rotation.phase.is_over();
        let finished = self.rotations.iter().filter(|rotation| !is_open(rotation));
        let shown = self.rotations.iter().filter(is_open).chain(finished.take(FINISHED_SHOWN));
        paragraphs.extend(shown.map(|rotation| rotations::text(rotation, self.now)));
        if !self.key_pairs.is_empty() {
            paragraphs.push(pairs::table(&self.key_pairs));
        }
        if !self.findings.is_empty() {
            let finding = |finding: &FindingBody| {
                ("finding", format!("{}: {}", finding.code, finding.detail))
            };
            paragraphs.push(output::fields(&self.findings.iter().map(finding).collect::<Vec<_>>()));
        }
        paragraphs.join("\n\n")
    }

    fn active(&self) -> String {
        let Some(pair) = &self.active_key_pair else {
            if self.findings.iter().any(|finding| finding.code == FindingCode::LostKeyring) {
                return "none; the keyring may be lost, see below".to_owned();
            }
            return format!("none; create one with keys rotate --region {}", self.region);
        };
        let arn = pair.arn.as_ref().map(ToString::to_string).unwrap_or_default();
        let since = pair.activated_at.map(|at| {
            format!(", signing since {at} (for {})", span(self.now.saturating_since(at)))
        });
        let adopted = if pair.adopted { ", adopted" } else { "" };
        format!("{arn}{}{adopted}", since.unwrap_or_default())
    }

    fn drain(&self, pair: &KeyPairView) -> String {
        let arn = pair.arn.as_ref().map(ToString::to_string).unwrap_or_default();
        let until = pair.retires_at.map(|at| format!(", until {}", moment(at, self.now)));
        let is_shared = pair.arn.as_ref().is_some_and(|arn| self.shared.contains(arn));
        let release = if is_shared { ", then until keys release" } else { "" };
        format!("{arn}{}{release}", until.unwrap_or_default())
    }
}
