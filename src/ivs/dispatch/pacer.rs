//! Paces the calls of operations that take no items: lists and key pairs.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::Notify;

use super::budget::{Budget, Pass, Stopwatch};
use crate::{ivs::IvsError, secret::system_rng};

/// Attempts of a call, including the first.
pub(in crate::ivs) const ATTEMPTS: u32 = 3;

/// The longest random pause before the second attempt. It doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the calls of one operation in one region within its quota, for the whole process, in the order of the
/// callers.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// The name of the operation.
    pub(in crate::ivs) operation: &'static str,
    budget: Mutex<Budget>,
    stopwatch: Stopwatch,
    /// Held while a caller waits for its slot, so that slots come in the order of the callers.
    queue: tokio::sync::Mutex<()>,
    /// Notified when an answer may allow the next call.
    answered: Notify,
}

impl Pacer {
    /// Returns a pacer of at most `calls_per_second`.
    pub(crate) fn new(operation: &'static str, calls_per_second: f64) -> Self {
        Self {
            operation,
            budget: Mutex::new(Budget::new(calls_per_second)),
            stopwatch: Stopwatch::start(),
            queue: tokio::sync::Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Makes one call in its slot.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, IvsError>>,
    ) -> Result<T, IvsError> {
        let pass = self.slot().await;
        let outcome = call.await;
        let throttled = matches!(outcome, Err(IvsError::Throttled));
        self.budget.lock().answered(pass, self.stopwatch.elapsed(), throttled, 0.0);
        self.answered.notify_one();
        outcome
    }

    /// Makes a call in its slot, and again after IVS throttled it or failed, within `limit` in all.
    pub(in crate::ivs) async fn call_with_retries<T, F>(
        &self,
        limit: Duration,
        call: impl Fn() -> F,
    ) -> Result<T, IvsError>
    where
        F: Future<Output = Result<T, IvsError>>,
    {
        // A call that never had a slot waited for the quota and not for IVS.
        let mut failure = IvsError::Throttled;
        let attempts = async {
            let mut attempt = 0;
            loop {
                let outcome = self.call(async {
                    failure = IvsError::TimedOut;
                    call().await
                });
                match outcome.await {
                    Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => failure = error,
                    outcome => return outcome,
                }
                let longest = PAUSE * (1 << attempt);
                attempt += 1;
                tokio::time::sleep(longest.mul_f64(system_rng().random_range(0.0..1.0))).await;
            }
        };
        // On the heap, because callers would hold a large future.
        let outcome = tokio::time::timeout(limit, Box::pin(attempts)).await;
        outcome.unwrap_or(Err(failure))
    }

    async fn slot(&self) -> Pass {
        let _queue = self.queue.lock().await;
        loop {
            let slot = self.budget.lock().take(self.stopwatch.elapsed());
            match slot {
                Ok(pass) => return pass,
                Err(wait) => tokio::select! {
                    () = self.answered.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn calls_of_all_callers_stay_within_the_rate() {
        let pacer = Pacer::new("ListPlaybackKeyPairs", 2.0);
        let sent = Mutex::new(Vec::new());
        let call = || async {
            sent.lock().push(pacer.stopwatch.elapsed());
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(())
        };
        let callers = join_all((0..20).map(|_| pacer.call_with_retries(LIMIT, call))).await;
        assert!(callers.into_iter().all(|outcome| outcome == Ok(())));
        let sent = sent.into_inner();
        for window in sent.windows(3) {
            assert!(window[2] >= window[0] + Duration::from_secs(1), "{sent:?}");
        }
        assert!(sent[19] < Duration::from_secs(12), "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_retried_and_others_are_not() {
        for (error, expected) in [
            (IvsError::Throttled, ATTEMPTS),
            (IvsError::TimedOut, ATTEMPTS),
            (IvsError::NotFound, 1),
        ] {
            let pacer = Pacer::new("ListPlaybackKeyPairs", 2.0);
            let calls = AtomicU32::new(0);
            let call = || async {
                calls.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(error.clone())
            };
            assert_eq!(pacer.call_with_retries(LIMIT, call).await, Err(error.clone()));
            assert_eq!(calls.load(Ordering::SeqCst), expected, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_outlives_its_limit_has_timed_out() {
        let pacer = Pacer::new("ListPlaybackKeyPairs", 2.0);
        let never = || std::future::pending::<Result<(), IvsError>>();
        let outcome = pacer.call_with_retries(Duration::from_secs(5), never).await;
        assert_eq!(outcome, Err(IvsError::TimedOut));
    }
}
