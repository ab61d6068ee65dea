//! Minting: from a request to a token, with a record of every decision.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::{Channels, Error, check_count, requester};
use crate::{
    access::audit::{Actor, AuditLog, Kind, Outcome, Record},
    api::{BatchRequest, ChannelFreshness, MintRequest, Minted, json::Fault, problem::ProblemType},
    channels::{ChannelRefError, LookupForMint},
    clock::Moment,
    ivs::IvsRegions,
    keys::{signing::Signer, signing::SigningKeys},
    revocation::ViewerSessions,
    secret::system_rng,
    telemetry::Instruments,
    tokens::{
        PublicChannels, Warning,
        grant::{Grant, Policy, Terms, Violation},
        mint::{Issue, MintError, check_size, prepare},
        playback_url,
    },
};

/// The most requests in one batch (contract).
const MAX_BATCH: usize = 500;

/// Mints tokens.
#[derive(Debug)]
pub struct Minting {
    /// The clock and the metrics.
    pub instruments: Instruments,
    /// Records every decision.
    pub audit: AuditLog,
    /// The channels to mint for.
    pub channels: Arc<Channels>,
    /// Each region's active signer.
    pub keys: Arc<SigningKeys>,
    /// The regions, for their clocks.
    pub ivs: IvsRegions,
    /// The viewers who are denied tokens, and the versions up to which they were revoked.
    pub viewers: ViewerSessions,
    /// Lifetimes of tokens.
    pub policy: Policy,
    /// What to do with a request for a public channel.
    pub public_channels: PublicChannels,
}

impl Minting {
    /// Mints a token. The audit log and the metrics count the decision, also for a request without the shape
    /// of its schema.
    ///
    /// # Errors
    ///
    /// The request breaks rules, its channel or viewer is refused, or a dependency failed.
    pub async fn mint(
        &self,
        caller: &Actor,
        request: Result<MintRequest, Fault>,
    ) -> Result<Minted, Error> {
        let outcome = self.decide(caller, request).await;
        if let Actor::Client { client, .. } = caller {
            let word = outcome.as_ref().map_or_else(Error::code, |_| "minted");
            self.instruments.metrics.mint(client.id().as_str(), word);
        }
        outcome
    }

    /// Mints up to 500 tokens, in the order of the requests. One refused request does not fail the others.
    ///
    /// # Errors
    ///
    /// The batch is empty or too large.
    pub async fn mint_batch(
        &self,
        caller: &Actor,
        batch: BatchRequest,
    ) -> Result<Vec<Result<Minted, Error>>, Error> {
        check_count("requests", &batch.requests, MAX_BATCH)?;
        let mints = batch.requests.into_iter().map(|item| self.mint(caller, item.read));
        // All at once: they wait for the same few calls to IVS.
        Ok(stream::iter(mints).buffered(MAX_BATCH).collect().await)
    }

    async fn decide(
        &self,
        caller: &Actor,
        request: Result<MintRequest, Fault>,
    ) -> Result<Minted, Error> {
        // Before the work: a sink that is known to be broken costs no signature.
        self.audit.check()?;
        let clock = &self.instruments.clock;
        let started = clock.monotonic();
        let grant = request
            .map_err(|fault| Error::invalid(vec![fault.into()]))
            .and_then(|request| self.grant(request));
        let issued = match &grant {
            Ok(grant) => self.issue(caller, grant).await,
            Err(error) => Err(error.clone()),
        };
        let took = clock.monotonic().saturating_sub(started);
        let (granted, signed) = (grant.as_ref().ok(), issued.as_ref().ok());
        let fingerprint = signed.map(|issued| issued.signer.fingerprint().to_string());
        let outcome = if signed.is_some() { Outcome::Minted } else { Outcome::Refused };
        let viewer = granted.and_then(|grant| grant.terms.viewer());
        self.audit
            .record(&Record {
                channel_arn: granted.map(|grant| &grant.channel),
                region: granted.map(|grant| grant.channel.region()),
                viewer_id: viewer.map(|viewer| viewer.id().as_str()),
                viewer_session_version: signed.and_then(|issued| issued.body.viewer_session_version),
                token_id: signed.map(|issued| issued.body.token_id.as_str()),
                key_pair_arn: signed.map(|issued| issued.signer.arn()),
                key_fingerprint: fingerprint.as_deref(),
                ttl_seconds: granted.map(|grant| grant.terms.ttl().as_secs()),
                code: issued.as_ref().err().map(Error::code),
                channel_freshness: signed.map(|issued| issued.body.channel_freshness.as_str()),
                duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                ..Record::new(clock.now(), caller, (Kind::Mint, "mint"), outcome)
            })
            // No token leaves without its record if `audit.on_failure` is "deny".
            .await?;
        issued.map(|issued| issued.body)
    }

    /// Turns a request into a grant, reporting every broken rule at once.
    fn grant(&self, request: MintRequest) -> Result<Grant, Error> {
        let channel = self.channels.resolve(&request.channel);
        match (channel, Terms::parse(request, &self.policy)) {
            (Ok(channel), Ok(terms)) => {
                let grant = Grant { channel, terms };
                check_size(&grant).map_err(|violation| Error::invalid(vec![violation]))?;
                Ok(grant)
            }
            (Err(unresolved), Ok(_)) => Err(unresolved.into()),
            (channel, Err(mut violations)) => {
                violations.extend(channel.err().map(|unresolved| Violation {
                    pointer: "/channel".to_owned(),
                    detail: unresolved.to_string(),
                }));
                Err(Error::invalid(violations))
            }
        }
    }

    /// Looks the channel up, and signs: the part of a mint that may have to wait.
    async fn issue(&self, caller: &Actor, grant: &Grant) -> Result<Issued, Error> {
        // Before the lookup, so that a refusal does not reveal whether the channel exists.
        self.refuse_denied(grant)?;
        let found = self.channels.directory.lookup_for_mint(&grant.channel, requester(caller));
        let lookup = match found.await? {
            LookupForMint::Found(lookup) => Some(lookup),
            LookupForMint::Unverified => None,
        };
        let mut warnings = Vec::new();
        if lookup.as_ref().is_some_and(|lookup| !lookup.channel.authorized) {
            match self.public_channels {
                PublicChannels::Mint => warnings.push(Warning::channel_not_private()),
                PublicChannels::Refuse => return Err(not_private(grant)),
            }
        }
        let region = grant.channel.region();
        // Read together and before the signature: see `SigningKeys::signer`.
        let now = Moment::of(&self.instruments.clock);
        let signer = self.keys.signer(region, now.wall, now.monotonic).await?;
        if signer.arn().account() != grant.channel.account() {
            return Err(Error::from(ChannelRefError::OtherAccount {
                owner: grant.channel.account().clone(),
                own: signer.arn().account().clone(),
            }));
        }
        let clocks = self.ivs.clocks(region, now);
        if let Some(skew) = clocks.skew_over(self.viewers.clock_allowance()) {
            warnings.push(Warning::clock_skew(skew));
        }
        let viewer = grant.terms.viewer();
        let last_revoked =
            viewer.and_then(|viewer| self.viewers.last_revoked(&grant.channel, viewer.id()));
        let issue = Issue { at: clocks.issue_time(), last_revoked };
        let prepared = prepare(grant, &self.policy, issue, &mut system_rng()).map_err(refuse)?;
        let signature = signer.sign(prepared.message()).map_err(Error::internal)?;
        let minted = prepared.finish(&signature).map_err(refuse)?;
        // Again: a viewer who was denied after the check above may have been revoked by a version lower than
        // the one just stamped. One who is denied after this check is revoked by a higher one.
        self.refuse_denied(grant)?;
        let playback_url = lookup
            .as_ref()
            .map(|lookup| playback_url(&lookup.channel.playback_url, minted.token.expose()))
            .transpose()
            .map_err(Error::internal)?;
        warnings.extend(minted.warnings);
        let body = Minted {
            token: minted.token.expose().to_owned(),
            token_id: minted.token_id,
            issued_at: minted.issued_at,
            expires_at: minted.expires_at,
            expires_in: minted.expires_in.as_secs(),
            refresh_after: minted.refresh_after,
            channel_arn: grant.channel.to_string(),
            channel_freshness: lookup
                .map_or(ChannelFreshness::Unverified, |lookup| lookup.freshness.into()),
            playback_url: playback_url.map(String::from),
            key_pair_arn: signer.arn().to_string(),
            viewer_id: viewer.map(|viewer| viewer.id().as_str().to_owned()),
            viewer_session_version: minted.viewer_session_version,
            single_use_uuid: minted.single_use_uuid,
            warnings,
        };
        Ok(Issued { body, signer })
    }

    fn refuse_denied(&self, grant: &Grant) -> Result<(), Error> {
        let (Some(denials), Some(viewer)) = (self.viewers.denials(), grant.terms.viewer()) else {
            return Ok(());
        };
        let now = self.instruments.clock.now();
        match denials.denied_until(&grant.channel, viewer.id(), now) {
            None => Ok(()),
            Some(until) => Err(Error::new(
                ProblemType::ViewerDenied,
                format!(
                    "This viewer was revoked on the channel and gets no new token until {until}. Try \
                     again then."
                ),
            )),
        }
    }
}

/// A token, and the key that signed it.
struct Issued {
    body: Minted,
    signer: Arc<Signer>,
}

fn refuse(error: MintError) -> Error {
    match error {
        MintError::VersionsExhausted => Error::new(
            ProblemType::SessionVersionsExhausted,
            "This viewer was revoked on the channel up to the highest session version, so no token can \
             play. Use another viewerId.",
        ),
        MintError::Clock | MintError::Check(_) => Error::internal(error),
    }
}

fn not_private(grant: &Grant) -> Error {
    let detail = format!(
        "The channel {} plays without a token. Make it private with `aws ivs update-channel --arn {0} \
         --authorized`.",
        grant.channel
    );
    Error::new(ProblemType::ChannelNotPrivate, detail)
}
