//! The table of what `/readyz`, `keys status` and `keys doctor` can report: each finding is declared once, with its
//! code, severity, effect on readiness and documentation. The second part of `docs/findings.md` is generated from it.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{ivs::arn::PlaybackKeyArn, prose::sentence};

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is here.
    pub severity: Severity,
    /// What was found.
    pub code: FindingCode,
    /// What is wrong and what to do about it, in whole sentences. May name ARNs and files.
    pub detail: String,
    /// The same for callers who may not see ARNs and files.
    #[serde(skip)]
    pub public_detail: String,
    /// The one pair concerned.
    #[serde(skip)]
    pub pair: Option<PlaybackKeyArn>,
}

impl Finding {
    /// Describes this case in `situation`. The advice of the table is appended.
    pub fn new(code: FindingCode, situation: impl AsRef<str>) -> Self {
        Self::complete(code, format!("{} {}", sentence(situation.as_ref()), code.spec().fix))
    }

    /// Describes this case in `detail`, which needs no advice of the table.
    pub fn complete(code: FindingCode, detail: impl AsRef<str>) -> Self {
        let FindingSpec { severity, title, fix, .. } = code.spec();
        let detail = sentence(detail.as_ref());
        Self { severity, code, detail, public_detail: format!("{title}. {fix}"), pair: None }
    }

    /// Describes a case about which there is nothing more to say than the table does.
    pub fn of(code: FindingCode) -> Self {
        Self::new(code, code.spec().title)
    }

    /// Shows the detail to every caller: it names no ARN and no file.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.public_detail.clone_from(&self.detail);
        self
    }

    /// Names the one pair concerned.
    #[must_use]
    pub fn about(mut self, pair: &PlaybackKeyArn) -> Self {
        self.pair = Some(pair.clone());
        self
    }

    /// Replaces the severity of the table.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The clock of this machine differs too much from that of IVS for any step of a rotation.
    pub(crate) fn clock_skew(skew: Duration) -> Self {
        let seconds = skew.as_secs();
        let situation = format!(
            "the clock of this machine differs by {seconds} s from that of IVS, so rotations wait here"
        );
        Self::new(FindingCode::ClockSkew, situation).public()
    }

    /// IVS has pairs that do not belong to this keyring.
    pub(crate) fn foreign_key_pairs(pairs: impl fmt::Display) -> Self {
        let situation = format!("IVS has playback key pairs that are not in this keyring: {pairs}");
        Self::new(FindingCode::ForeignKeyPairs, situation)
    }

    /// IVS has pairs of a keyring of ours that the store lacks.
    pub(crate) fn lost_keyring(pairs: impl fmt::Display) -> Self {
        let situation =
            format!("IVS has playback key pairs of a keyring that this store lacks: {pairs}");
        Self::new(FindingCode::LostKeyring, situation)
    }

    /// No key signs, and [`Finding::lost_keyring`] names the ways out: `keys rotate` alone would refuse.
    pub fn no_key_of_lost_keyring() -> Self {
        let detail = "no key signs, because the keyring was lost; see lost_keyring";
        Self::complete(FindingCode::NoActiveKey, detail).public()
    }

    /// IVS does not have the pair that signs.
    pub(crate) fn active_key_pair_missing(arn: &PlaybackKeyArn) -> Self {
        let situation = format!("{arn} signs, but IVS does not have it: someone deleted it");
        Self::new(FindingCode::ActiveKeyPairMissing, situation).about(arn)
    }

    /// IVS does not have a pair that does not sign.
    pub(crate) fn key_pair_missing(arn: &PlaybackKeyArn) -> Self {
        let situation = format!("IVS does not have {arn}: someone deleted it");
        Self::new(FindingCode::KeyPairMissing, situation).about(arn)
    }

    /// A pair is another key in IVS than in the keyring.
    pub(crate) fn fingerprint_mismatch(arn: Option<&PlaybackKeyArn>) -> Self {
        let pair = arn.map_or("a key pair", PlaybackKeyArn::as_str);
        let situation =
            format!("{pair} is another key in IVS than in the keyring, so it is not used");
        Self { pair: arn.cloned(), ..Self::new(FindingCode::FingerprintMismatch, situation) }
    }

    /// A rotation waits because IVS has no slot for the new key.
    pub(crate) fn no_slot(foreign: impl fmt::Display) -> Self {
        let situation = format!(
            "IVS has no slot for a new key: it allows three pairs per region, and these are not in this \
             keyring: {foreign}"
        );
        Self::new(FindingCode::RotationStuck, situation)
    }

    /// A rotation waits because the canary channel does not play with the new key.
    pub(crate) fn canary_stuck() -> Self {
        Self::new(FindingCode::RotationStuck, "the canary channel does not play with the new key")
            .public()
    }

    /// The drain of an adopted pair is over, but its other signer may still use it.
    pub(crate) fn awaits_release(arn: &PlaybackKeyArn) -> Self {
        let detail = format!(
            "{arn} was adopted, and its drain is over. Once no other signer uses it, confirm that with \
             `keys release {arn}`"
        );
        Self::complete(FindingCode::AwaitsRelease, detail).about(arn)
    }

    /// IVS has a key of this keyring twice.
    pub(crate) fn duplicate_key_pair(arn: &PlaybackKeyArn) -> Self {
        let situation = format!("IVS has a key of this keyring twice; {arn} is the second pair");
        Self::new(FindingCode::DuplicateKeyPair, situation).about(arn)
    }
}

/// How bad a finding is, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Tokens cannot be signed or played, or soon cannot, or keys cannot be rotated.
    Error,
    /// Nothing is broken yet.
    Warning,
    /// As it should be.
    Ok,
}

impl Severity {
    /// The word in the output and in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Ok => "ok",
        }
    }
}

/// What a finding does to the readiness of its region.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// No key can sign, so the region is not ready.
    NotReady,
    /// The region is degraded.
    Degraded,
    /// Readiness does not contain the finding.
    Unaffected,
}

impl Effect {
    /// As the documentation writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "unready",
            Self::Degraded => "degraded",
            Self::Unaffected => "–",
        }
    }
}

/// An entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct FindingSpec {
    /// The code in the API.
    pub code: &'static str,
    /// How bad it is, unless the case says otherwise.
    pub severity: Severity,
    /// What it does to readiness.
    pub effect: Effect,
    /// The finding in one sentence, without ARNs, file names or full stop.
    pub title: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

macro_rules! findings {
    ($($(#[$doc:meta])* $variant:ident $code:literal $severity:ident $effect:ident $title:literal $fix:literal;)+) => {
        /// The code of a finding. A code is never renamed or reused.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum FindingCode {
            $($(#[$doc])* $variant,)+
        }

        impl FindingCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The entry of the table.
            pub const fn spec(self) -> FindingSpec {
                match self {
                    $(Self::$variant => FindingSpec {
                        code: $code,
                        severity: Severity::$severity,
                        effect: Effect::$effect,
                        title: $title,
                        fix: $fix,
                    },)+
                }
            }
        }
    };
}

findings! {
    /// No key can sign.
    NoActiveKey "no_active_key" Error NotReady "No key signs"
        "Create the first key with `keys rotate`.";
    /// The keyring cannot be read.
    KeyringUnreadable "keyring_unreadable" Error Degraded "The keyring cannot be read"
        "The log gives the cause. A keyring that was read before is used for `keys.max_staleness`; without one, nothing is signed.";
    /// The keyring was read too long ago.
    KeyringTooOld "keyring_too_old" Error NotReady "The keyring was read too long ago to sign with it, and cannot be read now"
        "The log gives the cause. Signing resumes as soon as the store can be read.";
    /// The active key cannot be used.
    KeyUnusable "key_unusable" Error NotReady "The active key cannot sign"
        "The log gives the cause. Replace the key with `keys rotate`.";
    /// The region is not configured.
    RegionNotServed "region_not_served" Error NotReady "The region is not configured"
        "Add it to `ivs.regions`.";
    /// `tokens.max_ttl` exceeds what the keyring records.
    MaxTtlNotRecorded "max_ttl_not_recorded" Error Degraded "`tokens.max_ttl` is larger than the value that the keyring records, and this process may not write the keyring, so it refuses to sign"
        "Lower it, or start a process with `keys.manage = true` and the same value.";
    /// `keys.max_staleness` exceeds what the keyring records.
    MaxStalenessNotRecorded "max_staleness_not_recorded" Error Degraded "`keys.max_staleness` is larger than the value that the keyring records, and this process may not write the keyring, so it refuses to sign"
        "Lower it, or start a process with `keys.manage = true` and the same value.";
    /// `rotation.drain_margin` exceeds what the keyring records.
    DrainMarginNotRecorded "drain_margin_not_recorded" Error Degraded "`rotation.drain_margin` is larger than the value that the keyring records, and this process may not write the keyring, so it refuses to sign"
        "Lower it, or start a process with `keys.manage = true` and the same value.";
    /// Other users may read the keyring.
    WidePermissions "wide_permissions" Error Unaffected "Other users of the machine may read the folder of private keys, so it is not used"
        "`keys doctor` prints the `chmod` command that fixes it.";
    /// The store cannot be used.
    StoreUnavailable "store_unavailable" Error Degraded "The key store cannot be read"
        "The log gives the cause.";
    /// The keyring and IVS could not be compared.
    NotReconciled "not_reconciled" Error Degraded "The keyring and IVS could not be compared"
        "The log gives the cause. The comparison is repeated every `rotation.reconcile_every`.";
    /// The credentials belong to another account than the keyring.
    OtherAccount "other_account" Error Degraded "The AWS credentials belong to another account than the keyring, so nothing is changed"
        "Use credentials of the keyring's account, or another store.";
    /// IVS has pairs of a keyring that the store lacks.
    LostKeyring "lost_keyring" Error Degraded "IVS has playback key pairs of a keyring that this store lacks"
        "It was lost, or belongs to another deployment. Point this process at the store that has it, or import its private key with `keys import --private-key FILE`. If no key signs, start over with `keys rotate --new-keyring`, and delete these pairs once their last token has expired.";
    /// The pair that signs was deleted in IVS.
    ActiveKeyPairMissing "active_key_pair_missing" Error Degraded "The active playback key pair was deleted in IVS"
        "A process with `keys.manage = true` restores it within minutes, as `keys.heal` says. If that takes longer than `rotation.heal_wait`, the region does not sign until it is restored.";
    /// Another pair was deleted in IVS.
    KeyPairMissing "key_pair_missing" Warning Degraded "A playback key pair that does not sign was deleted in IVS"
        "Tokens that it signed can no longer start playback. There is nothing else to do.";
    /// A pair is another key in IVS than in the keyring.
    FingerprintMismatch "fingerprint_mismatch" Error Degraded "A playback key pair is another key in IVS than in the keyring, so it is not used"
        "If it is the active pair, replace it with `keys rotate`; otherwise delete it with `keys delete ARN`. `keys list` shows which it is.";
    /// IVS has pairs that are not in the keyring.
    ForeignKeyPairs "foreign_key_pairs" Warning Degraded "IVS has playback key pairs that are not in this keyring"
        "They take up slots. Delete them with `keys delete ARN` once no one signs with them.";
    /// IVS has a key of the keyring twice.
    DuplicateKeyPair "duplicate_key_pair" Warning Degraded "IVS has a key of this keyring twice"
        "This happens when a response of IVS is lost. The service deletes the second pair.";
    /// A rotation cannot continue without help.
    RotationStuck "rotation_stuck" Error Degraded "A rotation cannot continue: IVS has no slot for the new key, or the canary channel does not play with it"
        "Free a slot with `keys delete ARN`, for a pair that no one signs with, or cancel the rotation with `keys cancel`. `keys status` shows which it is.";
    /// A step of a rotation or repair failed.
    RotationStepFailed "rotation_step_failed" Error Degraded "The last step of a rotation or repair failed"
        "The log gives the cause. The step is tried again.";
    /// The next step of a rotation is long overdue.
    RotationStalled "rotation_stalled" Error Unaffected "The next step of a rotation is long overdue, so no process takes it"
        "Start a process with `keys.manage = true`, or run `keys rotate --if-older-than 30d`, which continues the rotation.";
    /// An adopted key has drained.
    AwaitsRelease "awaits_release" Warning Degraded "The drain of an adopted playback key pair is over"
        "Once no other signer uses it, confirm that with `keys release ARN`.";
    /// No one began the scheduled rotation.
    RotationOverdue "rotation_overdue" Warning Unaffected "The active key is older than `rotation.every`"
        "Start a process with `keys.manage = true`, or run `keys rotate`.";
    /// IVS has no slot for another pair.
    QuotaFull "quota_full" Error Unaffected "All playback key pairs that IVS allows per region are used, so no rotation can begin"
        "Delete one that no one signs with, with `keys delete ARN`.";
    /// The clock differs from that of IVS.
    ClockSkew "clock_skew" Error Degraded "The clock of this machine differs from that of IVS"
        "Synchronize the clock with NTP.";
    /// The AWS credentials do not allow an action.
    PermissionDenied "permission_denied" Error Unaffected "The AWS credentials do not allow a required action"
        "Allow it in the policy of these credentials (docs/operations.md has the statements).";
    /// IAM could not be asked.
    SimulationFailed "simulation_failed" Warning Unaffected "IAM could not be asked what the credentials allow"
        "Run `keys doctor` without `--simulate`, or allow `iam:SimulatePrincipalPolicy`.";
    /// IVS throttles.
    IvsThrottled "ivs_throttled" Warning Degraded "Amazon IVS throttles this account's calls"
        "Tokens for cached channels are still minted.";
    /// IVS denied a call.
    IvsDenied "ivs_denied" Error Degraded "Amazon IVS denied the last call"
        "The log names the action; `keys doctor` lists what the credentials must allow.";
    /// There are no AWS credentials.
    IvsNoCredentials "ivs_no_credentials" Error Degraded "There are no AWS credentials to call Amazon IVS with"
        "Give this process a role, a profile or keys of AWS.";
    /// IVS could not be reached.
    IvsUnavailable "ivs_unavailable" Warning Degraded "Amazon IVS could not be reached at the last call"
        "Tokens for cached channels are still minted.";
    /// The audit log cannot be written.
    AuditUnavailable "audit_unavailable" Error Degraded "The audit log cannot be written"
        "The log gives the cause. With `audit.on_failure = \"deny\"`, nothing is minted meanwhile, so no region is ready.";
    /// The clients file cannot be used.
    ClientsNotReloaded "clients_not_reloaded" Error Degraded "The clients cannot be reloaded, so the old ones stay in effect"
        "The log gives the cause. A client that was revoked in the file can call until then.";
    /// The certificate files cannot be used.
    TlsNotReloaded "tls_not_reloaded" Warning Degraded "The TLS certificate cannot be reloaded, so the old one stays in use"
        "The log gives the cause.";
    /// The certificate has expired.
    TlsCertificateExpired "tls_certificate_expired" Error Degraded "The TLS certificate has expired"
        "Replace the files; the service reads them again every `access.reload_every`.";
    /// The keyring was read.
    Keyring "keyring" Ok Unaffected "The keyring was read"
        "There is nothing to do.";
    /// A key signs.
    ActiveKey "active_key" Ok Unaffected "A key signs"
        "There is nothing to do.";
    /// A rotation would find a slot.
    Quota "quota" Ok Unaffected "A rotation would find a slot for its new key"
        "There is nothing to do.";
    /// The clock agrees with that of IVS.
    Clock "clock" Ok Unaffected "The clock of this machine agrees with that of IVS"
        "There is nothing to do.";
}

impl FindingCode {
    /// The code as the API writes it.
    pub const fn as_str(self) -> &'static str {
        self.spec().code
    }

    /// Whether a rotation waits until someone resolves it.
    pub const fn holds_up_rotations(self) -> bool {
        matches!(
            self,
            Self::ClockSkew | Self::RotationStuck | Self::AwaitsRelease | Self::FingerprintMismatch
        )
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
