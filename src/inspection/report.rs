//! An inspection in progress: each step adds its findings and what it could not check.

use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    ivs::arn::{ChannelArn, PlaybackKeyArn},
    tokens::{
        claims::LARGE_TOKEN,
        payload::{ALLOW_ORIGIN, CHANNEL_ARN, SINGLE_USE_UUID, VIEWER_ID},
        token_id,
    },
};

use super::{
    ChannelFacts, Context, Finding, FindingCode, Input, Inspection, NotChecked, Severity, Subject,
    claims,
    compact::UnverifiedToken,
    edge::{Beside, Refusal},
    signature,
    sketch::Sketch,
    source::UrlFacts,
};

/// An inspection in progress.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    not_checked: Vec<NotChecked>,
    header: Option<Map<String, Value>>,
    claims: Option<Map<String, Value>>,
    token_id: Option<String>,
    key_pair_arn: Option<PlaybackKeyArn>,
    url: Option<Sketch>,
    token: Option<Sketch>,
}

impl Report {
    /// Adds the faults of the URL itself.
    pub(super) fn url(&mut self, text: &str, url: &UrlFacts, context: &Context<'_>) {
        self.url = Some(Sketch::of_url(text, url, false));
        if let Some(fault) = url.fault {
            self.findings.push(Finding::new(FindingCode::UrlMalformed, fault.to_string()));
        } else if url.token.is_none() {
            // A public channel plays without a token.
            if context.channel == Some(ChannelFacts::Public) {
                return self.channel(context.channel);
            }
            let situation = "The URL has no token.";
            self.findings.push(Finding::new(FindingCode::TokenMissing, situation));
        }
    }

    pub(super) fn no_token(&mut self, input: &Input) {
        if matches!(input.subject, Some(Subject::Token(_))) {
            let situation = "The token is empty.";
            self.findings.push(Finding::new(FindingCode::TokenMissing, situation));
        }
        self.not_checked.push(NotChecked::Token);
    }

    /// Inspects the token and returns whether it is a JWT.
    pub(super) fn token(
        &mut self,
        token: &str,
        input: &Input,
        url: Option<&UrlFacts>,
        context: &Context<'_>,
        now: Timestamp,
    ) -> bool {
        self.token_id = Some(token_id(token));
        self.token = Some(Sketch::of_token(token));
        let parsed = match UnverifiedToken::parse(token) {
            Ok(parsed) => parsed,
            Err(unreadable) => {
                let finding = Finding::new(FindingCode::NotAJwt, unreadable.cause.to_string());
                self.findings.push(finding.within(unreadable.cause.part()));
                self.not_checked.push(NotChecked::Signature);
                (self.header, self.claims) = (unreadable.header, unreadable.claims);
                return false;
            }
        };
        let channels: Vec<ChannelArn> =
            input.channel.iter().chain(url.and_then(|url| url.channel.as_ref())).cloned().collect();

        self.signature(&parsed, &channels, context);
        let request = claims::Request { channels: &channels, origin: input.origin.as_deref() };
        self.findings.extend(claims::check(&parsed.claims, &request, now));
        self.channel(context.channel);
        if token.len() > LARGE_TOKEN {
            let situation = format!(
                "The token has {} bytes; IVS may refuse tokens of more than {LARGE_TOKEN} bytes.",
                token.len()
            );
            self.findings.push(Finding::new(FindingCode::TokenOver2Kb, situation));
        }
        if let Some((text, url)) = input.url().zip(url)
            && url.segment
            && parsed.claims.contains_key(SINGLE_USE_UUID)
        {
            self.url = Some(Sketch::of_url(text, url, true));
            let situation =
                "This is a segment, and fetching the playlist already used the single-use token.";
            self.findings.push(Finding::new(FindingCode::UrlMalformed, situation));
        }
        self.unseen(&parsed.claims, input.origin.is_some());
        (self.header, self.claims) = (Some(parsed.header), Some(parsed.claims));
        true
    }

    fn signature(
        &mut self,
        token: &UnverifiedToken<'_>,
        channels: &[ChannelArn],
        context: &Context<'_>,
    ) {
        let named = || token.claims.get(CHANNEL_ARN)?.as_str()?.parse().ok();
        let channel = channels.first().cloned().or_else(named);
        let verdict = signature::check(token, channel.as_ref(), context.keys);
        self.findings.extend(verdict.findings);
        if !verdict.checked {
            self.not_checked.push(NotChecked::Signature);
        }
        if let Some(signer) = verdict.signer {
            self.key_pair_arn.clone_from(&signer.arn);
        }
        if verdict.key_pair_unchecked {
            self.not_checked.push(NotChecked::KeyPair);
        }
    }

    fn channel(&mut self, facts: Option<ChannelFacts>) {
        let (code, situation) = match facts {
            None => return self.not_checked.push(NotChecked::Channel),
            Some(ChannelFacts::Private) => return,
            Some(ChannelFacts::Public) => (
                FindingCode::ChannelPublic,
                "The channel plays without a token, so this one has no effect.",
            ),
            Some(ChannelFacts::Absent) => (
                FindingCode::ChannelMismatch,
                "IVS does not have this channel; it may have been deleted.",
            ),
        };
        if !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Finding::new(code, situation).about(CHANNEL_ARN));
        }
    }

    /// Adds what only the request or IVS could show.
    fn unseen(&mut self, claims: &Map<String, Value>, origin_known: bool) {
        let allows_some = claims.get(ALLOW_ORIGIN).is_some_and(|allowed| allowed != "*");
        for (unseen, what) in [
            (allows_some && !origin_known, NotChecked::Origin),
            (claims.contains_key(VIEWER_ID), NotChecked::Session),
            (claims.contains_key(SINGLE_USE_UUID), NotChecked::SingleUse),
        ] {
            if unseen {
                self.not_checked.push(what);
            }
        }
    }

    /// Adds the likely causes of the edge's answer that are not among the findings yet.
    pub(super) fn edge_error(&mut self, body: &str, readable: Option<bool>) {
        let beside = Beside {
            readable,
            findings: &self.findings,
            not_checked: &self.not_checked,
            claims: self.claims.as_ref(),
        };
        let causes = Refusal::read(body).map(|refusal| refusal.causes(&beside));
        for finding in causes.unwrap_or_default() {
            match self.findings.iter_mut().find(|known| known.code == finding.code) {
                // The finding from the token is more precise, but the refusal makes it an error.
                Some(known) => known.severity = Severity::Error,
                None => self.findings.push(finding),
            }
        }
        if !self.has_error() {
            self.not_checked.push(NotChecked::EdgeError);
        }
    }

    fn has_error(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    pub(super) fn conclude(mut self) -> Inspection {
        self.findings.sort_by_key(|finding| finding.severity);
        Inspection {
            valid: match (self.has_error(), self.not_checked.as_slice()) {
                (true, _) => Some(false),
                (false, []) => Some(true),
                (false, _) => None,
            },
            findings: self.findings,
            not_checked: self.not_checked,
            header: self.header,
            claims: self.claims,
            token_id: self.token_id,
            key_pair_arn: self.key_pair_arn,
            url: self.url,
            token: self.token,
        }
    }
}
