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
    keys::{
        finding::{Finding, FindingCode},
        signing::RegionStatus,
    },
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

    fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let status = self.lock();
        let Some(Certificate { expires, fault }) = &*status else { return Vec::new() };
        let mut findings = Vec::new();
        if let Some(fault) = fault {
            let detail = format!(
                "The TLS certificate cannot be reloaded, so the old one stays in use: {fault}"
            );
            findings.push(Finding::complete(FindingCode::TlsNotReloaded, detail));
        }
        if *expires <= now {
            let situation = format!("The TLS certificate expired at {expires}");
            findings.push(Finding::new(FindingCode::TlsCertificateExpired, situation).public());
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

/// What is wrong, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessFinding)]
pub struct FindingBody {
    code: FindingCode,
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
        let findings = findings(&api, &region_status);
        let may_mint = region_status.signer.is_ok() && api.audit.check().is_ok();
        let status = match (may_mint, findings.is_empty()) {
            (true, true) => Status::Ready,
            (true, false) => Status::Degraded,
            (false, _) => Status::Unready,
        };
        let findings = bodies(findings, may_see_arns);
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

/// Everything that is wrong in a region. Without a signer the region is not ready; every other finding
/// degrades it.
fn findings(api: &Api, status: &RegionStatus) -> Vec<Finding> {
    let region = &status.region;
    let mut findings = Vec::new();
    match (&status.signer, &status.failing) {
        (Err(reason), _) => findings.push(reason.finding()),
        (Ok(_), Some((since, error))) => findings.push(error.finding(*since)),
        (Ok(_), None) => {}
    }
    findings.extend(outage(api, region));
    findings.extend(clock_skew(api, region));
    // Records wait and are lost in the end; under `audit.on_failure = "deny"` nothing is minted meanwhile.
    findings.extend(api.audit.is_failing().then(|| Finding::of(FindingCode::AuditUnavailable)));
    findings.extend(api.certificate.findings(api.clock.now()));
    findings.extend(api.registry.fault().map(|fault| {
        let detail =
            format!("The clients cannot be reloaded, so the old ones stay in effect. {fault}");
        Finding::complete(FindingCode::ClientsNotReloaded, detail)
    }));
    let Some(keys) = api.key_managers.get(region) else { return findings };
    let report = keys.report();
    if report.is_keyring_lost() {
        for finding in &mut findings {
            if finding.code == FindingCode::NoActiveKey {
                *finding = Finding::no_key_of_lost_keyring();
            }
        }
    }
    // What the signer or the clock reports is not reported again.
    let known: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    findings.extend(report.all().filter(|finding| !known.contains(&finding.code)).cloned());
    findings
}

/// One body per code, with the details of all its findings.
fn bodies(findings: Vec<Finding>, may_see_arns: bool) -> Vec<FindingBody> {
    let mut bodies: Vec<FindingBody> = Vec::new();
    for Finding { code, detail, public_detail, .. } in findings {
        let detail = if may_see_arns { detail } else { public_detail };
        match bodies.iter_mut().find(|body| body.code == code) {
            Some(body) if body.detail.contains(&detail) => {}
            Some(body) => {
                body.detail.push(' ');
                body.detail.push_str(&detail);
            }
            None => bodies.push(FindingBody { code, detail }),
        }
    }
    bodies
}

/// Tokens are issued by IVS's clock meanwhile, but everything else of this process goes by its own.
fn clock_skew(api: &Api, region: &Region) -> Option<Finding> {
    let skew = api.clock_skew(region)?;
    let situation = format!(
        "The clock of this service is {skew} that of Amazon IVS. Until they agree, tokens are issued by \
         Amazon IVS's clock, rotations may wait, and a revocation may keep its viewer out on other \
         replicas for as long as the clocks differ"
    );
    Some(Finding::new(FindingCode::ClockSkew, situation).public())
}

/// Tokens are minted from the cache meanwhile, so this takes no replica out of service.
fn outage(api: &Api, region: &Region) -> Option<Finding> {
    let outage = api.ivs.region(region)?.outage()?;
    Some(Finding::of(match &*outage {
        IvsError::Throttled => FindingCode::IvsThrottled,
        IvsError::Denied { .. } => FindingCode::IvsDenied,
        IvsError::NoCredentials => FindingCode::IvsNoCredentials,
        IvsError::Unavailable { .. }
        | IvsError::TimedOut
        | IvsError::NotFound
        | IvsError::Conflict { .. }
        | IvsError::QuotaExceeded { .. }
        | IvsError::Invalid { .. } => FindingCode::IvsUnavailable,
    }))
}
