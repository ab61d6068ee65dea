//! The record of a rotation: the exchange of the key that signs.

use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use super::{RotationId, VersionId};
use crate::clock::Timestamp;

/// One rotation, from its start to its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// Its id.
    pub id: RotationId,
    /// How much time the old key is given.
    pub mode: RotationMode,
    /// The SHA-256 of the header `Idempotency-Key`, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key_hash: Option<String>,
    /// The SHA-256 of the request body, in hexadecimal, which distinguishes another request with the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    /// The client or command that asked.
    pub requested_by: String,
    /// The version that signed before; absent for a region's first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<VersionId>,
    /// The version that signs afterwards.
    pub to: VersionId,
    /// `to` was made for this rotation, so cancelling it retires the key.
    #[serde(default)]
    pub made: bool,
    /// When it was requested.
    pub started_at: Timestamp,
    /// When `to` began to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RotationOutcome>,
    /// Why it failed, or why it does not continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RotationFailure>,
}

impl Rotation {
    /// A rotation to `to` that begins now, under an id of its own, with nothing done yet.
    pub fn new(
        mode: RotationMode,
        requested_by: impl Into<String>,
        to: VersionId,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Self {
        Self {
            id: RotationId::random(rng),
            mode,
            idempotency_key_hash: None,
            request_hash: None,
            requested_by: requested_by.into(),
            from: None,
            to,
            made: false,
            started_at: now.floor_to_second(),
            activated_at: None,
            finished_at: None,
            outcome: None,
            error: None,
        }
    }

    /// Whether something is left to do.
    pub fn is_open(&self) -> bool {
        self.outcome.is_none()
    }

    /// Whether the new key is going to sign, but does not yet.
    pub fn is_before_activation(&self) -> bool {
        self.is_open() && self.activated_at.is_none()
    }

    /// Ends it.
    pub fn finish(&mut self, outcome: RotationOutcome, now: Timestamp) {
        self.clear_denial();
        self.outcome = Some(outcome);
        self.finished_at = Some(now.floor_to_second());
    }

    /// Removes the record of a denial.
    pub fn clear_denial(&mut self) {
        self.error.take_if(|error| error.words_of_denial().is_some());
    }
}

/// How much time a rotation gives the old key: `graceful` keeps it until its tokens have expired;
/// `emergency` ends them at once, because the key leaked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RotationMode {
    /// Until every token that it signed has expired.
    Graceful,
    /// None: it leaked.
    Emergency,
}

impl RotationMode {
    /// As in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Emergency => "emergency",
        }
    }
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationOutcome {
    /// The new key signs, and the old one is gone.
    Done,
    /// It was cancelled before the new key signed.
    Cancelled,
    /// It could not continue.
    Failed,
}

/// Why a rotation failed or is stuck.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = RotationError)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotationFailure {
    /// Stable, to branch on.
    pub code: String,
    /// What is wrong and what to do next.
    pub detail: String,
}

impl RotationFailure {
    const ACCESS_DENIED: &str = "access_denied";

    /// What follows AWS's words.
    const ALLOW_IT: &str = ". Once the policy of the credentials allows it, the rotation goes on.";

    /// The longest of AWS's words that is kept, in characters.
    const WORDS_KEPT: usize = 1000;

    /// AWS denied the next step, in these words.
    pub fn denied(words: &str) -> Self {
        let words: String = words.trim_end_matches('.').chars().take(Self::WORDS_KEPT).collect();
        let detail = format!("{words}{}", Self::ALLOW_IT);
        Self { code: Self::ACCESS_DENIED.to_owned(), detail }
    }

    /// The words of AWS, where it denied a step.
    pub fn words_of_denial(&self) -> Option<&str> {
        let is_denial = self.code == Self::ACCESS_DENIED;
        is_denial.then(|| self.detail.strip_suffix(Self::ALLOW_IT).unwrap_or(&self.detail))
    }
}
