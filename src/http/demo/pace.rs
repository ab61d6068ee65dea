//! The rate of the page's own calls to Amazon IVS, whoever makes them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    http::problem::{ApiError, ProblemType},
};

/// A limit on the calls per second.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    a_second: usize,
    clock: Clock,
    /// When the last calls were let through, by the monotonic clock.
    latest: Arc<Mutex<VecDeque<Duration>>>,
}

impl Pace {
    pub(super) fn new(a_second: usize, clock: Clock) -> Self {
        Self { a_second, clock, latest: Arc::default() }
    }

    /// Lets a call through, or returns how long to wait.
    fn admit(&self) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut latest = self.latest.lock();
        latest.retain(|at| now.saturating_sub(*at) < Duration::from_secs(1));
        match latest.front() {
            Some(oldest) if latest.len() >= self.a_second => {
                Err((*oldest + Duration::from_secs(1)).saturating_sub(now))
            }
            _ => {
                latest.push_back(now);
                Ok(())
            }
        }
    }
}

/// Lets a request through, or refuses it with `rate_limited`.
pub(super) async fn keep(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    match pace.admit() {
        Ok(()) => next.run(request).await,
        Err(wait) => {
            let detail = format!(
                "The page may make this call {} times a second; wait a little.",
                pace.a_second
            );
            ApiError::new(ProblemType::RateLimited, detail).retry_after(wait).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_second_takes_so_many_and_no_more() {
        let (clock, manual) = Clock::manual(Timestamp::from_unix_seconds(0));
        let pace = Pace::new(2, clock);
        assert_eq!(pace.admit(), Ok(()));
        manual.advance(Duration::from_millis(400));
        assert_eq!(pace.admit(), Ok(()));
        assert_eq!(pace.admit(), Err(Duration::from_millis(600)));
        manual.advance(Duration::from_millis(600));
        assert_eq!(pace.admit(), Ok(()));
        assert_eq!(pace.admit(), Err(Duration::from_millis(400)));
    }
}
