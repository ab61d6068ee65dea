//! `/healthz` and `/readyz`.
//!
//! Ready means that this process can sign for some region, and nothing else: an unreachable IVS
//! takes no replica out of service, since minting goes on from the cache. Everything that is not
//! as it should be is told as `degraded`, with status 200.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    extract::may_also,
    respond::{json, json_with, no_store},
};
use crate::{
    access::Scope,
    clock::Timestamp,
    ivs::{IvsError, arn::Region},
    keys::snapshot::{NoSigner, RefreshError, RegionStatus},
    service::public_reason,
};

/// Set once, when the process begins to shut down. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ShutdownFlag(Arc<AtomicBool>);

impl ShutdownFlag {
    /// From now on the process is not ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it began.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The state of the server's certificate, set by the part that loads it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct CertificateStatus(Arc<Mutex<Option<Certificate>>>);

#[derive(Debug)]
struct Certificate {
    expires: Timestamp,
    fault: Option<String>,
}

impl CertificateStatus {
    /// The certificate in use expires at `expires`; a newer one cannot be used because of `fault`.
    pub fn set(&self, expires: Timestamp, fault: Option<String>) {
        *self.lock() = Some(Certificate { expires, fault });
    }

    fn findings(&self, now: Timestamp, may_see_details: bool) -> Vec<FindingBody> {
        let status = self.lock();
        let Some(Certificate { expires, fault }) = &*status else { return Vec::new() };
        let mut findings = Vec::new();
        if let Some(fault) = fault {
            let detail = if may_see_details {
                format!("The certificate cannot be reloaded, so the old one stays in use: {fault}.")
            } else {
                "The certificate cannot be reloaded, so the old one stays in use; the log says why."
                    .to_owned()
            };
            findings.push(FindingBody { code: "tls_not_reloaded", detail });
        }
        if *expires <= now {
            let detail = format!("The certificate expired at {expires}; replace it.");
            findings.push(FindingBody { code: "tls_certificate_expired", detail });
        }
        findings
    }

    fn lock(&self) -> MutexGuard<'_, Option<Certificate>> {
        self.0.lock()
    }
}

/// The process is alive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "ok", "version": "0.1.0", "commit": "b5a053b"}))]
pub struct HealthBody {
    #[schema(inline)]
    status: Health,
    version: &'static str,
    /// The commit that it was built from, or `unknown`.
    commit: &'static str,
}

/// A process that answers is alive.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
}

/// The process is alive. The response does not depend on anything else.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getHealth", tag = "Operations", security(()),
    responses((status = 200, description = "Alive", body = HealthBody))
)]
pub async fn healthz() -> Response {
    let body = HealthBody {
        status: Health::Ok,
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("IVS_PLAYBACK_AUTH_COMMIT"),
    };
    no_store(json(&body))
}

/// Whether this process can do its work.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"status": "degraded", "regions": {"us-west-2": {
    "status": "degraded",
    "findings": [{"code": "ivs_unavailable", "detail": "Amazon IVS could not be reached at the last call."}]
}}}))]
pub struct ReadyBody {
    status: Status,
    /// By region.
    regions: BTreeMap<String, RegionBody>,
}

/// One region of [`ReadyBody`].
#[derive(Debug, Serialize, ToSchema)]
pub struct RegionBody {
    status: Status,
    findings: Vec<FindingBody>,
}

/// What is not as it should be, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessFinding)]
pub struct FindingBody {
    /// Stable, to branch on.
    code: &'static str,
    detail: String,
}

/// From best to worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Readiness)]
pub enum Status {
    /// Signs, and nothing is wrong.
    Ready,
    /// Something is wrong, but tokens can be minted.
    Degraded,
    /// Cannot sign.
    Unready,
}

/// 503 only while this process can sign for no configured region, or is shutting down.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "Operations", security((), ("credential" = ["keys:read"])),
    responses(
        (status = 200, description = "Ready, or degraded. With keys:read, details name ARNs", body = ReadyBody),
        (status = 503, description = "Cannot sign, is shutting down, or cannot write audit records that must not be lost", body = ReadyBody)
    )
)]
pub async fn readyz(State(api): State<Api>, headers: HeaderMap) -> Response {
    // A wrong credential is nobody's here: a prober's header must not take a replica out of service.
    let may_see_arns = may_also(&headers, &api, Scope::KeysRead);
    let mut regions = BTreeMap::new();
    for region in api.ivs.names() {
        let region_status = api.keys.status(region);
        let findings = findings(&api, &region_status, may_see_arns);
        let may_mint = region_status.signer.is_ok() && api.audit.check().is_ok();
        let status = match (may_mint, findings.is_empty()) {
            (true, true) => Status::Ready,
            (true, false) => Status::Degraded,
            (false, _) => Status::Unready,
        };
        regions.insert(region.to_string(), RegionBody { status, findings });
    }
    let all = regions.values().map(|it| it.status);
    let status = if api.shutdown.is_set() || all.clone().all(|it| it == Status::Unready) {
        Status::Unready
    } else if all.clone().all(|it| it == Status::Ready) {
        Status::Ready
    } else {
        Status::Degraded
    };
    let code =
        if status == Status::Unready { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    no_store(json_with(code, &ReadyBody { status, regions }))
}

/// Everything that is not as it should be in a region. Whatever else is watched adds its line here;
/// none but the signer's makes the region unready.
fn findings(api: &Api, status: &RegionStatus, may_see_arns: bool) -> Vec<FindingBody> {
    let mut findings = signing(status, may_see_arns);
    findings.extend(outage(api, &status.region));
    findings.extend(clock_skew(api, &status.region));
    findings.extend(audit(api));
    findings.extend(api.certificate.findings(api.clock.now(), may_see_arns));
    findings.extend(clients_not_reloaded(api, may_see_arns));
    let drift = drift(api, &status.region, may_see_arns);
    // With a lost keyring, `keys rotate` refuses; that finding names the ways out.
    if drift.iter().any(|finding| finding.code == "lost_keyring")
        && let Some(no_key) = findings.iter_mut().find(|finding| finding.code == "no_active_key")
    {
        let detail = "No key signs, because the keyring was lost; see lost_keyring.";
        *no_key = FindingBody { code: no_key.code, detail: detail.to_owned() };
    }
    for finding in drift {
        // What the signer tells already is not told again.
        if findings.iter().all(|told| told.code != finding.code) {
            findings.push(finding);
        }
    }
    findings
}

/// What the last comparison of keyring and IVS found, a stuck rotation with its reason among it.
/// Findings of one code are one.
fn drift(api: &Api, region: &Region, may_see_arns: bool) -> Vec<FindingBody> {
    let Some(rotator) = api.rotators.get(region) else { return Vec::new() };
    let mut findings: Vec<FindingBody> = Vec::new();
    for found in rotator.report().all() {
        let detail = if may_see_arns { &found.detail } else { found.public_detail };
        match findings.iter_mut().find(|told| told.code == found.code) {
            Some(told) if told.detail.contains(detail) => {}
            Some(told) => {
                told.detail.push(' ');
                told.detail.push_str(detail);
            }
            None => findings.push(FindingBody { code: found.code, detail: detail.to_owned() }),
        }
    }
    findings
}

/// Tokens are issued by IVS's clock meanwhile, but everything else of this process goes by its own.
fn clock_skew(api: &Api, region: &Region) -> Option<FindingBody> {
    let skew = api.clock_skew(region)?;
    let detail = format!(
        "The clock of this service is {skew} that of Amazon IVS. Synchronise it with NTP. Until then, \
         tokens are issued by Amazon IVS's clock, rotations may wait, and a revocation may keep its \
         viewer out on other replicas for as long as the clocks differ."
    );
    Some(FindingBody { code: "clock_skew", detail })
}

/// Until the file can be used, a client that was revoked in it can still call.
fn clients_not_reloaded(api: &Api, may_see_details: bool) -> Option<FindingBody> {
    let fault = api.registry.fault()?;
    let detail = if may_see_details {
        format!("The clients cannot be reloaded, so the old ones stay in effect. {fault}")
    } else {
        "The clients cannot be reloaded, so the old ones stay in effect; the log says why."
            .to_owned()
    };
    Some(FindingBody { code: "clients_not_reloaded", detail })
}

/// Records wait and are lost in the end; under `audit.on_failure = "deny"` nothing is minted meanwhile.
fn audit(api: &Api) -> Option<FindingBody> {
    api.audit.is_failing().then(|| FindingBody {
        code: "audit_unavailable",
        detail: "The audit log cannot be written; the log of the service says why.".to_owned(),
    })
}

/// Tokens are minted from the cache meanwhile, so this takes no replica out of service.
fn outage(api: &Api, region: &Region) -> Option<FindingBody> {
    let outage = api.ivs.region(region)?.outage()?;
    let (code, detail) = match &*outage {
        IvsError::Throttled => ("ivs_throttled", "Amazon IVS throttles this account's calls."),
        IvsError::Denied { .. } => {
            ("ivs_denied", "Amazon IVS denied the last call; the log says which.")
        }
        IvsError::NoCredentials => {
            ("ivs_no_credentials", "There are no AWS credentials to call Amazon IVS with.")
        }
        IvsError::Unavailable { .. }
        | IvsError::TimedOut
        | IvsError::NotFound
        | IvsError::Conflict { .. }
        | IvsError::QuotaExceeded { .. }
        | IvsError::Invalid { .. } => {
            ("ivs_unavailable", "Amazon IVS could not be reached at the last call.")
        }
    };
    Some(FindingBody { code, detail: detail.to_owned() })
}

/// Names the reason why a keyring is not used.
fn unreadable(cause: &RefreshError) -> &'static str {
    match cause {
        RefreshError::UnrecordedLimit(limit) => limit.code,
        RefreshError::Store(_) | RefreshError::TimedOut | RefreshError::NotTried => {
            "keyring_unreadable"
        }
    }
}

/// Whether there is a signer, and whether its keyring can still be read.
fn signing(status: &RegionStatus, may_see_arns: bool) -> Vec<FindingBody> {
    let mut findings = Vec::new();
    if let Err(reason) = &status.signer {
        let code = match reason {
            NoSigner::EmptyKeyring { .. } | NoSigner::NoActiveKey { .. } => "no_active_key",
            NoSigner::FingerprintMismatch { .. } => "fingerprint_mismatch",
            NoSigner::PairMissing { .. } => "active_key_pair_missing",
            NoSigner::NotRead { cause, .. } => unreadable(cause),
            NoSigner::TooOld { .. } => "keyring_too_old",
            NoSigner::Unusable { .. } => "key_unusable",
            NoSigner::UnknownRegion { .. } => "region_not_served",
        };
        let detail = if may_see_arns { reason.to_string() } else { public_reason(reason) };
        findings.push(FindingBody { code, detail });
    }
    if let (Ok(_), Some((since, error))) = (&status.signer, &status.failing) {
        findings.push(FindingBody {
            code: unreadable(error),
            detail: if may_see_arns || matches!(error, RefreshError::UnrecordedLimit(_)) {
                format!("The keyring cannot be read since {since}: {error}.")
            } else {
                format!("The keyring cannot be read since {since}; the log says why.")
            },
        });
    }
    findings
}
