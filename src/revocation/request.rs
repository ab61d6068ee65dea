//! One request from its viewers to an outcome for each: deny, choose versions, revoke.

use std::{
    pin::{Pin, pin},
    sync::atomic::Ordering,
};

use tokio::{sync::oneshot, time::Sleep};

use super::{
    Admission, BOUND, LeftDenied, NotRevoked, Progress, RevokeError, Revoked, ViewerSessions,
    Wanted,
    denials::{self, Denial, NotDenied},
    lanes::Outcome,
    plan::Merged,
    versions::RevokedVersions,
};
use crate::{
    channels::Requester,
    clock::{Moment, Timestamp},
    ivs::{Clocks, ViewerSession, arn::ChannelArn},
    tokens::claims::ViewerId,
};

impl ViewerSessions {
    /// Denies, chooses versions and revokes, within [`BOUND`]: an outcome for each, in their order.
    pub async fn revoke(
        &self,
        wanted: Vec<Wanted>,
        admission: Admission,
        progress: Progress,
    ) -> Vec<Result<Revoked, NotRevoked>> {
        let mut over = pin!(tokio::time::sleep(BOUND));
        let denied = self.deny(&wanted, over.as_mut()).await;
        // After every denial.
        let now = Moment::of(&self.0.clock);
        let mut merged = Merged::default();
        let attempts: Vec<_> =
            wanted.into_iter().map(|it| self.attempt(it, denied, now, &mut merged)).collect();
        let mut ended = Vec::new();
        for outcome in self.send(merged.into_sessions()) {
            ended.push(self.hear(outcome, over.as_mut()).await);
            progress.0.fetch_add(1, Ordering::Relaxed);
        }
        for regional in self.0.regions.values() {
            regional.revoker.forget_abandoned();
        }
        drop(admission);
        attempts.into_iter().map(|attempt| attempt?.end(&ended, &self.0.versions)).collect()
    }

    /// Denies those of whom that is asked, until the time of the request is over.
    async fn deny(&self, wanted: &[Wanted], over: Pin<&mut Sleep>) -> Result<(), Undenied> {
        let now = self.0.clock.now();
        let denial = |it: &Wanted| {
            let duration = it.deny_for?;
            Some(Denial::new(it.channel.clone(), it.viewer.clone(), now, duration))
        };
        let new: Vec<_> = wanted.iter().filter_map(denial).collect();
        if new.is_empty() {
            return Ok(());
        }
        let Some(denials) = &self.0.denials else {
            return Err(Undenied { error: RevokeError::NotDenied, denial: LeftDenied::No });
        };
        let mut denying = denials.deny(new, now);
        let (error, denied) = tokio::select! {
            biased;
            denied = denying.wait() => (RevokeError::NotDenied, denied),
            error = self.cut_off(over) => (error, Err(denying.give_up())),
        };
        if let Err(NotDenied { perhaps }) = denied {
            let denial = if perhaps { LeftDenied::Perhaps } else { LeftDenied::No };
            return Err(Undenied { error, denial });
        }
        if self.0.settings.minted_elsewhere {
            // Until those who mint have looked into the file.
            tokio::time::sleep(2 * denials::LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Adds what is to be told to IVS to `merged`, unless the viewer had to be denied before and was
    /// not. From here on mints stamp a version above the one that is chosen, whatever IVS answers.
    fn attempt(
        &self,
        wanted: Wanted,
        denied: Result<(), Undenied>,
        now: Moment,
        merged: &mut Merged,
    ) -> Result<Attempt, NotRevoked> {
        let Wanted { channel, viewer, version, deny_for } = wanted;
        if deny_for.is_some() {
            denied.map_err(|Undenied { error, denial }| NotRevoked { error, version, denial })?;
        }
        // Perhaps of an earlier request: who asks is told what holds.
        let denials = self.0.denials.as_ref();
        let denied_until = denials.and_then(|it| it.denied_until(&channel, &viewer, now.wall));
        let Some(version) = self.choose_version(&channel, &viewer, version, now) else {
            let denial = denied_until.into();
            return Err(NotRevoked { error: RevokeError::Clock, version, denial });
        };
        let viewer_id = viewer.as_str().to_owned();
        let session =
            ViewerSession { channel: channel.clone(), viewer_id, versions_up_to: version };
        let place = merged.add(session);
        Ok(Attempt { place, channel, viewer, version, denied_until })
    }

    /// The version that was asked for, or one that covers every token that was stamped until now.
    /// `None` if the clock shows a time that is no version. Versions have 31 bits, which are enough
    /// until January 2038.
    fn choose_version(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        asked: Option<i32>,
        now: Moment,
    ) -> Option<i32> {
        let (versions, regional) = (&self.0.versions, self.0.regions.get(channel.region()));
        let clocks = regional.map_or_else(|| Clocks::new(now, None), |it| it.revoker.clocks(now));
        if let Some(version) = asked {
            versions.revoke_up_to(channel, viewer, version, clocks.issue_time());
            return Some(version);
        }
        let until_now = (clocks.latest() + self.0.settings.clock_allowance).unix_seconds();
        let until_now = i32::try_from(until_now).ok().filter(|version| *version >= 0)?;
        Some(versions.revoke_until_now(channel, viewer, until_now, clocks.issue_time()))
    }

    /// Has sessions revoked, as one line in each region. Says where each outcome will be heard, unless
    /// the region is not served.
    fn send(&self, sessions: Vec<ViewerSession>) -> Vec<Option<oneshot::Receiver<Outcome>>> {
        let number = self.0.next_request.fetch_add(1, Ordering::Relaxed).to_string();
        let line = Requester::client(&number).line();
        let push = |session: ViewerSession| {
            let regional = self.0.regions.get(session.channel.region())?;
            Some(regional.revoker.push(&line, session))
        };
        let outcomes = sessions.into_iter().map(push).collect();
        for regional in self.0.regions.values() {
            regional.revoker.serve();
        }
        outcomes
    }

    /// Waits for an outcome, until the time of its request is over.
    async fn hear(
        &self,
        outcome: Option<oneshot::Receiver<Outcome>>,
        over: Pin<&mut Sleep>,
    ) -> Outcome {
        let Some(mut outcome) = outcome else { return Err(RevokeError::Unavailable) };
        tokio::select! {
            biased;
            outcome = &mut outcome => outcome.unwrap_or(Err(RevokeError::Unavailable)),
            error = self.cut_off(over) => outcome.try_recv().unwrap_or(Err(error)),
        }
    }

    /// Waits until the time of a request is over, and says why.
    async fn cut_off(&self, over: Pin<&mut Sleep>) -> RevokeError {
        tokio::select! {
            biased;
            () = self.0.cut.cancelled() => RevokeError::Stopped,
            () = over => RevokeError::Overdue,
        }
    }
}

/// That viewers were not denied, so that they are not revoked either.
#[derive(Clone, Copy, Debug)]
struct Undenied {
    error: RevokeError,
    denial: LeftDenied,
}

/// A viewer who is being revoked.
#[derive(Debug)]
struct Attempt {
    /// Of the session that stands for it, among those that are sent.
    place: usize,
    channel: ChannelArn,
    viewer: ViewerId,
    version: i32,
    denied_until: Option<Timestamp>,
}

impl Attempt {
    /// With what became of each session that was sent.
    fn end(self, ended: &[Outcome], versions: &RevokedVersions) -> Result<Revoked, NotRevoked> {
        let Self { place, channel, viewer, version, denied_until } = self;
        match ended.get(place).copied().unwrap_or(Err(RevokeError::Unavailable)) {
            Ok(()) => {
                // Perhaps of another item or an earlier request.
                let last = versions.last(&channel, &viewer).map_or(version, |it| it.max(version));
                let playable_from = Timestamp::from_unix_seconds(i64::from(last) + 1);
                Ok(Revoked { version, playable_from, denied_until })
            }
            Err(error) => {
                let denial = denied_until.into();
                Err(NotRevoked { error, version: Some(version), denial })
            }
        }
    }
}
