//! The door to IVS for revocations, as small as they need it, so that a simulation can stand behind it.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::{
    clock::Moment,
    ivs::{Clocks, IvsError, RegionalIvs, ViewerSession, ViewerSessionError},
};

/// What revokes in one region. Each call is made once.
pub(super) trait RevocationSource: fmt::Debug + Send + Sync {
    /// `StartViewerSessionRevocation`.
    fn revoke_one<'a>(&'a self, session: &'a ViewerSession) -> BoxFuture<'a, Result<(), IvsError>>;

    /// `BatchStartViewerSessionRevocation` of 1 to 20 sessions: those that were not revoked.
    fn revoke_batch<'a>(
        &'a self,
        sessions: &'a [ViewerSession],
    ) -> BoxFuture<'a, Result<Vec<ViewerSessionError>, IvsError>>;

    /// Our clock at `now`, and what is known of IVS's.
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
