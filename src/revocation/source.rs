//! The calls of IVS that revocations need; a simulation implements them too.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::{
    clock::Moment,
    ivs::{Clocks, IvsError, RegionalIvs, ViewerSession, ViewerSessionError},
};

/// The calls that revoke in one region. Each is made once.
pub(super) trait RevocationSource: fmt::Debug + Send + Sync {
    /// `StartViewerSessionRevocation`.
    fn revoke_one<'a>(&'a self, session: &'a ViewerSession) -> BoxFuture<'a, Result<(), IvsError>>;

    /// `BatchStartViewerSessionRevocation` of 1 to 20 sessions. Returns those that were not revoked.
    fn revoke_batch<'a>(
        &'a self,
        sessions: &'a [ViewerSession],
    ) -> BoxFuture<'a, Result<Vec<ViewerSessionError>, IvsError>>;

    /// Returns our clock at `now`, and what is known of IVS's.
    fn clocks(&self, now: Moment) -> Clocks;
}

impl RevocationSource for RegionalIvs {
    fn revoke_one<'a>(&'a self, session: &'a ViewerSession) -> BoxFuture<'a, Result<(), IvsError>> {
        Box::pin(self.start_viewer_session_revocation(session))
    }

    fn revoke_batch<'a>(
        &'a self,
        sessions: &'a [ViewerSession],
    ) -> BoxFuture<'a, Result<Vec<ViewerSessionError>, IvsError>> {
        Box::pin(self.batch_start_viewer_session_revocation(sessions))
    }

    fn clocks(&self, now: Moment) -> Clocks {
        self.clocks(now)
    }
}
