//! Problem documents (RFC 9457).
//!
//! [`ProblemType`] is the one table of problems: the status, title, log level and documentation of each
//! derive from it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::tokens::grant::Violation;

/// How the log shows a problem.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The caller can fix it.
    Info,
    /// The operator should check it when it lasts.
    Warn,
    /// A defect of this service.
    Error,
}

/// What the table says of one problem.
#[derive(Clone, Copy, Debug)]
pub struct ProblemSpec {
    /// The last part of the type URI, and the `code` member. Part of the API.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// One line for people, the same for every occurrence.
    pub title: &'static str,
    /// What the documentation page says.
    pub explanation: &'static str,
    /// How the log shows it.
    pub severity: Severity,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $variant:ident $code:literal $status:literal $severity:ident $title:literal $explanation:literal;)+) => {
        /// The kinds of problem that this API reports.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum ProblemType {
            $($(#[$doc])* $variant,)+
        }

        impl ProblemType {
            /// Every problem, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What is fixed about it.
            pub const fn spec(self) -> ProblemSpec {
                match self {
                    $(Self::$variant => ProblemSpec {
                        code: $code,
                        status: $status,
                        title: $title,
                        explanation: $explanation,
                        severity: Severity::$severity,
                    },)+
                }
            }
        }
    };
}

problems! {
    /// The request is not valid HTTP.
    BadRequest "bad_request" 400 Info "Not a valid HTTP request"
        "The request breaks a rule of HTTP (RFC 9112): its head cannot be parsed, its framing is contradictory, or it does not have exactly one valid `Host` header. The detail names the rule.";
    /// The head is larger than the service reads.
    HeadTooLarge "head_too_large" 431 Info "The request head is too large"
        "The request line and the headers together may have 64 KiB, and there may be 100 headers. Send large input in the body.";
    /// A transfer coding that the service does not support.
    NotImplemented "not_implemented" 501 Info "The transfer coding is not supported"
        "The only transfer coding that the service supports is `chunked`. Send the body without another one.";
    /// The body did not arrive in time.
    RequestTimeout "request_timeout" 408 Info "The body was too slow"
        "The body took longer than nine tenths of `server.request_timeout` to arrive. The connection is closed. Send the request again on a faster connection, or split a batch.";
    /// The body cannot be read as a JSON object.
    InvalidJson "invalid_json" 400 Info "The body is not a JSON object"
        "The body is not JSON, is not an object, or contains the same member twice. Send one JSON object in UTF-8.";
    /// No credential, or one that is not accepted.
    Unauthenticated "unauthenticated" 401 Info "No valid credential"
        "Send `Authorization: Bearer ipa_…` once. Create a credential with `ivs-playback-auth clients create`. The response is the same for an unknown, revoked or mistyped credential.";
    /// The client may not do this.
    Forbidden "forbidden" 403 Info "Not allowed"
        "The credential is valid, but its scopes or policy do not allow this call. The detail names the rule.";
    /// The viewer was revoked and is denied new tokens for a period.
    ViewerDenied "viewer_denied" 403 Info "The viewer is denied new tokens for a period"
        "The viewer's sessions on this channel were revoked with `denyFor`. A new token can be minted after that period.";
    /// No such channel.
    ChannelNotFound "channel_not_found" 404 Info "No such channel"
        "The channel is neither an ARN that Amazon IVS knows nor an alias of `[channels.aliases]`. Absence is remembered for `channels.not_found_for`.";
    /// No such key pair.
    KeyPairNotFound "key_pair_not_found" 404 Info "No such key pair"
        "Neither the keyring nor Amazon IVS has a key pair with this ARN or fingerprint.";
    /// No such rotation.
    RotationNotFound "rotation_not_found" 404 Info "No such rotation"
        "The keyring keeps the last 20 rotations, and this is not one of them.";
    /// No such path.
    NotFound "not_found" 404 Info "No such path"
        "There is nothing at this path. `/openapi.json` lists the paths.";
    /// The path exists, the method does not.
    MethodNotAllowed "method_not_allowed" 405 Info "Method not allowed"
        "The path exists, but not for this method. The `allow` header lists the methods.";
    /// The body is larger than `server.max_body`.
    BodyTooLarge "body_too_large" 413 Info "The body is too large"
        "The body exceeds `server.max_body`. Split a batch into several requests.";
    /// The body is not declared as JSON.
    UnsupportedMediaType "unsupported_media_type" 415 Info "The body is not declared as JSON"
        "Send `content-type: application/json`, and the body without a content coding such as `gzip`.";
    /// The channel plays without a token.
    ChannelNotPrivate "channel_not_private" 409 Info "The channel is public"
        "The channel plays without a token, so a token for it would protect nothing. Make it private with `aws ivs update-channel --arn ARN --authorized`, or set `tokens.public_channels = \"mint\"` until then.";
    /// The key pair signs, is retiring, or is being changed.
    KeyPairInUse "key_pair_in_use" 409 Info "The key pair is in use"
        "The key pair signs tokens, or tokens that it signed may still be used. Rotate first; a draining pair can be deleted with `force=true`, which ends its tokens.";
    /// A rotation of the region is in progress.
    RotationInProgress "rotation_in_progress" 409 Info "A rotation is in progress"
        "`rotationId` names it. Wait for it, cancel it, or use mode `emergency`, which is always accepted.";
    /// Amazon IVS accepts no more key pairs in this region.
    KeyPairQuota "key_pair_quota" 409 Warn "No room for another key pair"
        "Amazon IVS allows three playback key pairs per region, and the quota cannot be raised. Delete a key pair that no one signs with.";
    /// The viewer was revoked up to the highest session version.
    SessionVersionsExhausted "session_versions_exhausted" 409 Info "No session version is left for the viewer"
        "The viewer was revoked on the channel up to version 2147483647, the highest one that a token may have, so no token for this viewer can play on the channel. Use another `viewerId`.";
    /// A member breaks a rule.
    InvalidRequest "invalid_request" 422 Info "The request is invalid"
        "`errors` lists every broken rule with a JSON Pointer to its member. For a body that does not have the shape of its schema, it lists only the first fault.";
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused "idempotency_key_reused" 422 Info "The idempotency key was used for another request"
        "The same `Idempotency-Key` was sent with another body before. Use a new key for a new request.";
    /// The client calls too often.
    RateLimited "rate_limited" 429 Info "Too many requests"
        "Wait for the number of seconds in `retry-after`.";
    /// Something in this service failed.
    Internal "internal" 500 Error "Internal error"
        "This is a defect of the service. The log has the cause under the same request id.";
    /// No key can sign for the channel's region.
    NoActiveKey "no_active_key" 503 Warn "No key pair can sign"
        "The region has no active key pair, or its keyring could not be read for longer than `keys.max_staleness`. Run `ivs-playback-auth keys status`; `ivs-playback-auth keys rotate` creates the first key.";
    /// The call budget of Amazon IVS is used up.
    IvsThrottled "ivs_throttled" 503 Warn "Amazon IVS throttles"
        "The account's call rate is used up, and the channel is not in the cache. Try again after `retry-after`.";
    /// Amazon IVS cannot be reached or fails.
    IvsUnavailable "ivs_unavailable" 503 Warn "Amazon IVS is unavailable"
        "Amazon IVS could not be reached, denied the call, or failed, and the answer is not in the cache. Try again after `retry-after`.";
    /// More requests are in flight than this process accepts.
    Overloaded "overloaded" 503 Warn "Overloaded"
        "More requests are in flight, or more viewer sessions wait to be revoked, than this process accepts. Try again after `retry-after`, or run more replicas.";
    /// The audit log cannot be written, and nothing may go unrecorded.
    AuditUnavailable "audit_unavailable" 503 Warn "The audit log cannot be written"
        "`audit.on_failure` is `deny`, and the audit log cannot be written. The log of the service says why. Try again after `retry-after`.";
    /// The key store or the deny list cannot be used.
    StoreUnavailable "store_unavailable" 503 Warn "The store is unavailable"
        "The key store, or the file of denied viewers, cannot be read or written, for example because its disk is full. The log names the file and the cause. Try again after `retry-after`.";
    /// The request took longer than `server.request_timeout`.
    Timeout "timeout" 504 Warn "Timed out"
        "The request took longer than `server.request_timeout`, or a viewer session was not revoked within 60 s. Retrying is safe: minting issues another token, and revoking twice has no further effect.";
}

impl ProblemType {
    /// The `type` member: a page that this binary serves.
    pub fn type_uri(self) -> String {
        format!("/docs/errors/{}", self.spec().code)
    }

    /// The problem with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|problem| problem.spec().code == code)
    }
}

/// The wire form of a problem.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "type": "/docs/errors/invalid_request", "title": "The request is invalid", "status": 422,
    "detail": "viewerId has more than 40 characters.", "code": "invalid_request",
    "requestId": "4e0c3c2a9d3f4c63a7a4e5d0c1b2a3f4",
    "errors": [{"pointer": "/viewerId", "detail": "viewerId has more than 40 characters."}]
}))]
pub struct Problem {
    /// A URI reference that names the kind of problem and is served as a page.
    #[schema(format = "uri-reference")]
    pub r#type: String,
    /// One line, the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened here and what to do next.
    pub detail: String,
    /// Stable, to branch on.
    #[schema(value_type = ProblemType)]
    pub code: &'static str,
    /// Identifies the request in this service's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// Every member that breaks a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
    /// How many seconds to wait. Only in the results of a batch; elsewhere it is the header `retry-after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after: Option<u64>,
    /// The rotation in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rotation_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for problem in ProblemType::ALL {
            assert_eq!(ProblemType::from_code(problem.spec().code), Some(*problem));
        }
    }
}
