//! Makes the calls of one operation within its quota, whoever in this process makes them.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use tokio::sync::Notify;

use super::{
    IvsError,
    budget::{Budget, Pass, Stopwatch},
};
use crate::secret::system_rng;

/// Attempts of a call, including the first.
pub(super) const ATTEMPTS: u32 = 3;

/// The longest random pause before the second attempt. It doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The turns of one operation in one region.
#[derive(Debug)]
pub(super) struct Pacer {
    /// The name of the operation.
    pub(super) operation: &'static str,
    budget: Mutex<Budget>,
    stopwatch: Stopwatch,
    /// Held while a caller waits for its turn, so that turns come in the order of the callers.
    line: tokio::sync::Mutex<()>,
    /// Notified when an answer may have made room for the next call.
    answered: Notify,
}

/// The operations that no other part of the program paces.
#[derive(Debug)]
pub(super) struct Pacers {
    pub(super) list_channels: Pacer,
    pub(super) list_streams: Pacer,
    pub(super) list_playback_key_pairs: Pacer,
    pub(super) get_playback_key_pair: Pacer,
    pub(super) import_playback_key_pair: Pacer,
    pub(super) delete_playback_key_pair: Pacer,
}

impl Pacers {
    /// Within IVS's quotas, in calls per second; without limit where `has_quotas` is false.
    pub(super) fn new(has_quotas: bool) -> Self {
        let pacer =
            |operation, quota| Pacer::new(operation, if has_quotas { quota } else { u32::MAX });
        Self {
            list_channels: pacer("ListChannels", 5),
            list_streams: pacer("ListStreams", 5),
            list_playback_key_pairs: pacer("ListPlaybackKeyPairs", 3),
            get_playback_key_pair: pacer("GetPlaybackKeyPair", 3),
            import_playback_key_pair: pacer("ImportPlaybackKeyPair", 3),
            delete_playback_key_pair: pacer("DeletePlaybackKeyPair", 3),
        }
    }
}

impl Pacer {
    /// One call per second is left to the rest of the account, such as a command beside `serve`.
    fn new(operation: &'static str, quota: u32) -> Self {
        Self {
            operation,
            budget: Mutex::new(Budget::of_quota(quota - 1, 1.0)),
            stopwatch: Stopwatch::start(),
            line: tokio::sync::Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Makes a call in its turn, and again after IVS throttled it or failed. All of it takes no longer
    /// than `limit`.
    pub(super) async fn call<T, F>(
        &self,
        limit: Duration,
        call: impl Fn() -> F,
    ) -> Result<T, IvsError>
    where
        F: Future<Output = Result<T, IvsError>>,
    {
        // Whoever never had a turn waited for the quota and not for IVS.
        let mut failure = IvsError::Throttled;
        let attempts = async {
            let mut attempt = 0;
            loop {
                let pass = self.turn().await;
                failure = IvsError::TimedOut;
                let outcome = call().await;
                let is_throttled = matches!(outcome, Err(IvsError::Throttled));
                self.budget().answered(pass, self.stopwatch.elapsed(), is_throttled);
                self.answered.notify_one();
                match outcome {
                    Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => failure = error,
                    outcome => return outcome,
                }
                let longest = PAUSE * (1 << attempt);
                attempt += 1;
                tokio::time::sleep(longest.mul_f64(system_rng().random_range(0.0..1.0))).await;
            }
        };
        // On the heap: callers would hold a large future.
        let outcome = tokio::time::timeout(limit, Box::pin(attempts)).await;
        outcome.unwrap_or(Err(failure))
    }

    async fn turn(&self) -> Pass {
        let _line = self.line.lock().await;
        loop {
            let wait = match self.budget().take(self.stopwatch.elapsed()) {
                Ok(pass) => return pass,
                Err(wait) => wait,
            };
            tokio::select! {
                () = self.answered.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn calls_of_all_callers_stay_within_the_quota() {
        let pacer = Pacer::new("ListPlaybackKeyPairs", 3);
        let sent = Mutex::new(Vec::new());
        let call = || async {
            sent.lock().push(pacer.stopwatch.elapsed());
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(())
        };
        let callers = join_all((0..20).map(|_| pacer.call(LIMIT, call))).await;
        assert!(callers.into_iter().all(|outcome| outcome == Ok(())));
        let sent = sent.into_inner();
        for window in sent.windows(3) {
            assert!(window[2] >= window[0] + Duration::from_secs(1), "{sent:?}");
        }
        assert!(sent[19] < Duration::from_secs(12), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_retried_in_turn_and_others_are_not() {
        for (error, expected) in [
            (IvsError::Throttled, ATTEMPTS),
            (IvsError::TimedOut, ATTEMPTS),
            (IvsError::NotFound, 1),
        ] {
            let pacer = Pacer::new("GetPlaybackKeyPair", 3);
            let calls = AtomicU32::new(0);
            let call = || async {
                calls.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(error.clone())
            };
            assert_eq!(pacer.call(LIMIT, call).await, Err(error.clone()));
            assert_eq!(calls.load(Ordering::SeqCst), expected, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_outlives_its_limit_has_timed_out() {
        let pacer = Pacer::new("GetPlaybackKeyPair", 3);
        let never = || std::future::pending::<Result<(), IvsError>>();
        let outcome = pacer.call(Duration::from_secs(5), never).await;
        assert_eq!(outcome, Err(IvsError::TimedOut));
    }
}
