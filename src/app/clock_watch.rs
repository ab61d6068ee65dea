//! Compares our clock with that of IVS while the service runs, and logs what it finds.
//!
//! Every answer of IVS tells its time, and the key managers call IVS every `rotation.reconcile_every`, also
//! in a process that does not manage keys. When the last answer no longer says what IVS's clock shows
//! (none came for an hour, our clock was set, or the machine slept), the manager is asked to call again.

use std::{collections::BTreeMap, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Moment,
    http::Api,
    ivs::{Clocks, arn::Region},
};

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// While IVS does not answer, it is not asked for the time more often than this.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// What the log was told about one region.
#[derive(Debug, Default)]
struct Watched {
    is_skewed: bool,
    asked: Option<Duration>,
}

/// What changed.
#[derive(Debug, Eq, PartialEq)]
enum Change {
    None,
    Skewed,
    Agrees,
}

impl Watched {
    /// While IVS's clock is not known, what was logged last stays.
    fn update(&mut self, clocks: Clocks, allowance: Duration) -> Change {
        if !clocks.is_known() {
            return Change::None;
        }
        let is_skewed = clocks.skew_over(allowance).is_some();
        match (std::mem::replace(&mut self.is_skewed, is_skewed), is_skewed) {
            (false, true) => Change::Skewed,
            (true, false) => Change::Agrees,
            (true, true) | (false, false) => Change::None,
        }
    }

    fn may_ask(&mut self, now: Duration) -> bool {
        let may = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_EVERY);
        if may {
            self.asked = Some(now);
        }
        may
    }
}

/// Watches the clock until `stop`.
pub(super) async fn run(api: Api, stop: CancellationToken) {
    let mut regions: BTreeMap<Region, Watched> = BTreeMap::new();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        for region in api.ivs.names() {
            let now = Moment::of(&api.clock);
            let clocks = api.ivs.clocks(region, now);
            let watched = regions.entry(region.clone()).or_default();
            match watched.update(clocks, api.revocations.sessions.clock_allowance()) {
                Change::None => {}
                Change::Skewed => tracing::warn!(
                    event = "clock_skew",
                    %region,
                    offset_ms = clocks.offset_millis().unwrap_or_default(),
                    "the clock differs from that of Amazon IVS; synchronise it with NTP"
                ),
                Change::Agrees => tracing::info!(
                    event = "clock_skew_ended",
                    %region,
                    "the clock agrees with that of Amazon IVS again"
                ),
            }
            if !clocks.is_known()
                && watched.may_ask(now.monotonic)
                && let Some(keys) = api.key_managers.get(region)
            {
                keys.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, ivs::ServerTime};

    /// Our clock is so many seconds ahead of that of an answer which just came, or came long ago.
    fn clocks(ahead: u64, is_known: bool) -> Clocks {
        let date = Timestamp::from_unix_seconds(1_795_337_700);
        let wall = date + Duration::from_secs(ahead);
        let received = Moment { wall, monotonic: Duration::ZERO };
        let age = if is_known { Duration::ZERO } else { Duration::from_hours(2) };
        let answer = ServerTime { date, asked: Duration::ZERO, received };
        Clocks::new(Moment { wall: wall + age, monotonic: age }, Some(answer))
    }

    #[test]
    fn each_difference_is_logged_once_and_so_is_its_end() {
        let mut watched = Watched::default();
        let mut update =
            |ahead, is_known| watched.update(clocks(ahead, is_known), Duration::from_secs(5));
        assert_eq!(update(0, true), Change::None);
        assert_eq!(update(1200, true), Change::Skewed);
        assert_eq!(update(1300, true), Change::None);
        // An outage of IVS is no end of it.
        assert_eq!(update(0, false), Change::None);
        assert_eq!(update(3, true), Change::Agrees);
        assert_eq!(update(3, true), Change::None);
    }

    #[test]
    fn ivs_is_asked_for_its_time_at_intervals() {
        let mut watched = Watched::default();
        let asked =
            [0, 5, 29, 30, 35, 60].map(|second| watched.may_ask(Duration::from_secs(second)));
        assert_eq!(asked, [true, false, false, true, false, true]);
    }
}
