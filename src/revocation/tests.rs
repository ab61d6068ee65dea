//! Revocation under paused time, against a model of IVS that counts calls as IVS does: in any window
//! of one second, when they arrive.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::{source::RevocationSource, *};
use crate::{
    clock::{Clock, Moment},
    ivs::{
        Clocks, IvsError, ViewerSession, ViewerSessionError,
        dispatch::{Route, budget::Stopwatch},
    },
    secret::seeded,
};

/// Returns the sessions of this viewer up to this version, on a channel of us-west-2.
pub(super) fn session(viewer: &str, versions_up_to: i32) -> ViewerSession {
    ViewerSession { channel: channel("us-west-2"), viewer_id: viewer.to_owned(), versions_up_to }
}

fn channel(region: &str) -> ChannelArn {
    format!("arn:aws:ivs:{region}:123456789012:channel/AbCdEfGh1234").parse().unwrap()
}

fn wanted(viewer: &str) -> Wanted {
    Wanted {
        channel: channel("us-west-2"),
        viewer: ViewerId::parse(viewer.to_owned()).unwrap(),
        version: Some(7),
        deny_for: None,
    }
}

fn many(prefix: &str, count: usize) -> Vec<Wanted> {
    (0..count).map(|number| wanted(&format!("{prefix}{number}"))).collect()
}

/// What IVS does to calls.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// Every so many calls is throttled whatever the rate; 0 is none.
    throttled_every: usize,
    /// In percent.
    failed: u32,
    /// The longest way there and the longest way back.
    latency: Duration,
    is_out: bool,
    /// How many call; 0 is one.
    processes: usize,
}

/// A model of IVS in one region.
#[derive(Debug)]
struct Model {
    time: Stopwatch,
    weather: Weather,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    arrived: HashMap<&'static str, VecDeque<Duration>>,
    calls: usize,
    /// Calls that are not answered yet.
    under_way: usize,
    /// Calls that were over the quota.
    over_quota: usize,
    /// The highest version of each viewer, and when it was revoked.
    revoked: HashMap<String, (i32, Duration)>,
}

impl Model {
    fn new(weather: Weather, seed: u64) -> Arc<Self> {
        seeded::seed(seed);
        Arc::new(Self {
            time: Stopwatch::start(),
            weather,
            state: Mutex::new(State {
                rng: StdRng::seed_from_u64(seed),
                arrived: HashMap::new(),
                calls: 0,
                under_way: 0,
                over_quota: 0,
                revoked: HashMap::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn some_of(&self, most: Duration) -> Duration {
        most.mul_f64(self.state().rng.random_range(0.0..=1.0))
    }

    /// The channel of viewers that begin with `bad-` is unknown to IVS, which refuses a batch with `poison`.
    async fn call(
        &self,
        route: Route,
        sessions: &[ViewerSession],
    ) -> Result<Vec<ViewerSessionError>, IvsError> {
        let size = if route == Route::Batch { 20 } else { 1 };
        assert!((1..=size).contains(&sessions.len()));
        let under_way = {
            let mut state = self.state();
            state.under_way += 1;
            state.under_way
        };
        assert!(under_way <= 7 * self.weather.processes.max(1), "{under_way} calls are unanswered");
        sleep(self.some_of(self.weather.latency)).await;
        let answer = self.carry_out(route, sessions);
        sleep(self.some_of(self.weather.latency)).await;
        self.state().under_way -= 1;
        answer
    }

    fn carry_out(
        &self,
        route: Route,
        sessions: &[ViewerSession],
    ) -> Result<Vec<ViewerSessionError>, IvsError> {
        let (now, weather) = (self.time.elapsed(), self.weather);
        let mut state = self.state();
        let state = &mut *state;
        if weather.is_out {
            return Err(IvsError::TimedOut);
        }
        state.calls += 1;
        let (name, quota) = if route == Route::Batch { ("batch", 2) } else { ("single", 10) };
        let window = state.arrived.entry(name).or_default();
        window.retain(|call| now.saturating_sub(*call) < Duration::from_secs(1));
        if window.len() >= quota {
            state.over_quota += 1;
            return Err(IvsError::Throttled);
        }
        window.push_back(now);
        if weather.throttled_every > 0 && state.calls.is_multiple_of(weather.throttled_every) {
            return Err(IvsError::Throttled);
        }
        let fails = state.rng.random_range(0..100) < weather.failed;
        if fails && state.rng.random_bool(0.5) {
            return Err(IvsError::Unavailable { reason: "the model".to_owned() });
        }
        if sessions.iter().any(|session| session.viewer_id == "poison") {
            return Err(IvsError::Invalid { message: "poison".to_owned() });
        }
        let mut errors = Vec::new();
        for session in sessions {
            if session.viewer_id.starts_with("bad-") {
                errors.push(ViewerSessionError {
                    channel: session.channel.to_string(),
                    viewer_id: session.viewer_id.clone(),
                    code: "403".to_owned(),
                });
                continue;
            }
            let version = session.versions_up_to;
            let known = state.revoked.entry(session.viewer_id.clone()).or_insert((version, now));
            known.0 = known.0.max(version);
        }
        // The answer is lost after all is done.
        if fails { Err(IvsError::TimedOut) } else { Ok(errors) }
    }
}

impl RevocationSource for Arc<Model> {
    fn revoke_one<'a>(&'a self, session: &'a ViewerSession) -> BoxFuture<'a, Result<(), IvsError>> {
        Box::pin(async move {
            match self.call(Route::Single, std::slice::from_ref(session)).await?.as_slice() {
                [] => Ok(()),
                _ => Err(IvsError::NotFound),
            }
        })
    }

    fn clocks(&self, now: Moment) -> Clocks {
        Clocks::new(now, None)
    }

    fn revoke_batch<'a>(
        &'a self,
        sessions: &'a [ViewerSession],
    ) -> BoxFuture<'a, Result<Vec<ViewerSessionError>, IvsError>> {
        Box::pin(self.call(Route::Batch, sessions))
    }
}

fn service(models: &[(&str, &Arc<Model>)]) -> ViewerSessions {
    let sources = models.iter().map(|(region, model)| {
        let source: Arc<dyn RevocationSource> = Arc::new(Arc::clone(model));
        (region.parse().unwrap(), source)
    });
    let settings = Settings {
        clock_allowance: Duration::from_secs(5),
        local_deny: false,
        deny_list: PathBuf::new(),
    };
    let (clock, _) = Clock::manual(Timestamp::from_unix_seconds(1_795_337_700));
    ViewerSessions::with_sources(sources, settings, false, clock, &TaskTracker::new())
}

type Outcomes = Vec<Result<Revoked, NotRevoked>>;

async fn revoke(service: &ViewerSessions, wanted: Vec<Wanted>) -> Outcomes {
    let admission = service.admit(&wanted).unwrap();
    service.revoke(wanted, admission, Progress::default()).await
}

fn errors(outcomes: &Outcomes) -> Vec<RevokeError> {
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(|left| left.error).collect()
}

#[tokio::test(start_paused = true)]
async fn five_hundred_are_revoked_in_under_15_s_and_inside_the_quotas() {
    for latency in [0, 20, 150] {
        let weather = Weather { latency: Duration::from_millis(latency), ..Weather::default() };
        let model = Model::new(weather, latency);
        let service = service(&[("us-west-2", &model)]);
        let outcomes = revoke(&service, many("v", 500)).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert!(model.time.elapsed() < Duration::from_secs(15), "{:?}", model.time.elapsed());
        let state = model.state();
        assert_eq!((state.over_quota, state.revoked.len()), (0, 500));
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_of_half_of_the_calls_only_costs_time() {
    let weather = Weather { throttled_every: 2, ..Weather::default() };
    let model = Model::new(weather, 1);
    let service = service(&[("us-west-2", &model)]);
    let mut all = many("v", 480);
    all.extend(many("bad-", 20));
    let outcomes = revoke(&service, all).await;
    assert_eq!(errors(&outcomes), [RevokeError::ChannelNotFound; 20]);
    assert!(outcomes[480..].iter().all(Result::is_err));
    assert!(model.time.elapsed() < Duration::from_secs(45), "{:?}", model.time.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_viewer_does_not_wait_behind_five_hundred() {
    let model = Model::new(Weather::default(), 1);
    let service = service(&[("us-west-2", &model)]);
    let many = revoke(&service, many("v", 500));
    let one = async {
        sleep(Duration::from_secs(2)).await;
        let began = model.time.elapsed();
        assert!(revoke(&service, vec![wanted("now")]).await[0].is_ok());
        model.time.elapsed().saturating_sub(began)
    };
    let (many, waited) = tokio::join!(many, one);
    assert!(many.iter().all(Result::is_ok));
    assert!(waited < Duration::from_millis(400), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn regions_have_quotas_of_their_own() {
    let (west, east) = (Model::new(Weather::default(), 1), Model::new(Weather::default(), 2));
    let service = service(&[("us-west-2", &west), ("us-east-1", &east)]);
    let mut all = many("v", 500);
    for (number, wanted) in all.iter_mut().enumerate() {
        if number % 2 == 1 {
            wanted.channel = channel("us-east-1");
        }
    }
    assert_eq!(errors(&revoke(&service, all).await), []);
    assert!(west.time.elapsed() < Duration::from_secs(8), "{:?}", west.time.elapsed());
    assert_eq!((west.state().revoked.len(), east.state().revoked.len()), (250, 250));
}

#[tokio::test(start_paused = true)]
async fn refused_session_fails_alone() {
    let model = Model::new(Weather::default(), 1);
    let service = service(&[("us-west-2", &model)]);
    let mut all = many("v", 40);
    all.insert(3, wanted("poison"));
    let outcomes = revoke(&service, all).await;
    assert_eq!(errors(&outcomes), [RevokeError::Invalid]);
    assert!(outcomes[3].is_err());
}

#[tokio::test(start_paused = true)]
async fn sessions_left_after_a_minute_are_returned_and_no_longer_sent() {
    let weather = Weather { throttled_every: 1, ..Weather::default() };
    let model = Model::new(weather, 1);
    let service = service(&[("us-west-2", &model)]);
    let outcomes = revoke(&service, many("v", 30)).await;
    assert_eq!(errors(&outcomes), [RevokeError::Overdue; 30]);
    assert!(model.time.elapsed() < BOUND + Duration::from_secs(1));
    let calls = model.state().calls;
    sleep(Duration::from_secs(30)).await;
    assert!(model.state().calls <= calls + 1, "no one waits for these any longer");
}

#[tokio::test(start_paused = true)]
async fn outage_is_reported_before_the_minute_is_over() {
    let weather = Weather { is_out: true, ..Weather::default() };
    let model = Model::new(weather, 1);
    let service = service(&[("us-west-2", &model)]);
    let outcomes = revoke(&service, many("v", 500)).await;
    assert_eq!(errors(&outcomes), [RevokeError::Unavailable; 500]);
    assert!(model.time.elapsed() < Duration::from_secs(30), "{:?}", model.time.elapsed());
}

#[tokio::test(start_paused = true)]
async fn full_queue_reports_when_to_retry_and_still_admits_a_single_viewer() {
    let model = Model::new(Weather::default(), 1);
    let service = service(&[("us-west-2", &model)]);
    let admitted: Vec<_> = (0..3).map(|_| service.admit(&many("v", 500)).unwrap()).collect();
    let full = service.admit(&many("v", 500)).unwrap_err();
    assert!(full.retry_after >= Duration::from_secs(1));
    assert!(full.retry_after < Duration::from_secs(15), "{full:?}");
    let more = service.admit(&many("v", 300)).unwrap();
    service.admit(&many("v", 21)).unwrap_err();
    service.admit(&many("v", 20)).unwrap();
    drop(admitted);
    service.admit(&many("v", 500)).unwrap();
    drop(more);
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_off_the_remaining_sessions_and_reports_them() {
    let model = Model::new(Weather::default(), 1);
    let service = service(&[("us-west-2", &model)]);
    let request = {
        let service = service.clone();
        async move { revoke(&service, many("v", 500)).await }
    };
    let request = service.in_background(request);
    sleep(Duration::from_millis(10)).await;
    service.drain(Duration::from_secs(5)).await;
    let outcomes = request.await.unwrap();
    let left = errors(&outcomes);
    assert!(left.len() > 200 && left.len() < 350, "{}", left.len());
    assert!(left.iter().all(|error| *error == RevokeError::Stopped));
    assert!(model.time.elapsed() < Duration::from_secs(6));

    // A request that ends in time is waited for.
    let request = {
        let service = tests::service(&[("us-west-2", &model)]);
        let other = service.clone();
        let request = service.in_background(async move { revoke(&other, many("w", 100)).await });
        service.drain(Duration::from_secs(10)).await;
        assert!(request.is_finished());
        request.await.unwrap()
    };
    assert_eq!(errors(&request), []);
}

#[tokio::test(start_paused = true)]
async fn several_processes_share_an_account() {
    let model = Model::new(Weather { processes: 3, ..Weather::default() }, 1);
    let requests = (0..3).map(|process| {
        let service = service(&[("us-west-2", &model)]);
        async move { revoke(&service, many(&format!("p{process}-"), 300)).await }
    });
    for outcomes in join_all(requests).await {
        assert_eq!(errors(&outcomes), []);
    }
    assert!(model.state().over_quota > 0);
    assert!(model.time.elapsed() < Duration::from_secs(40), "{:?}", model.time.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever callers and IVS do: each item has one outcome, what is said to be revoked is, the quota
    /// is kept, and nobody waits for longer than a minute.
    #[test]
    fn every_outcome_holds(
        requests in prop::collection::vec(
            (0_u64..20_000, prop::collection::vec((0_u16..60, 0_i32..4), 1..120)), 1..8,
        ),
        throttled_every in prop_oneof![Just(0_usize), 2_usize..10],
        failed in 0_u32..40,
        latency in 0_u64..400,
        seed: u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let latency = Duration::from_millis(latency);
            let model = Model::new(Weather { throttled_every, failed, latency, ..Weather::default() }, seed);
            let service = service(&[("us-west-2", &model)]);
            let request = |(pause, items): (u64, Vec<(u16, i32)>)| {
                let (service, model) = (&service, &model);
                async move {
                    sleep(Duration::from_millis(pause)).await;
                    let began = model.time.elapsed();
                    let item = |(viewer, version): &(u16, i32)| {
                        // Some are of an unknown channel.
                        let name = if *viewer < 5 { "bad-" } else { "v" };
                        Wanted { version: Some(*version), ..wanted(&format!("{name}{viewer}")) }
                    };
                    let outcomes = revoke(service, items.iter().map(item).collect()).await;
                    assert!(model.time.elapsed().saturating_sub(began) <= BOUND + Duration::from_millis(5));
                    assert_eq!(outcomes.len(), items.len());
                    for ((viewer, version), outcome) in items.iter().zip(outcomes) {
                        let state = model.state();
                        let known = state.revoked.get(&format!("v{viewer}")).map(|known| known.0);
                        match outcome {
                            Ok(revoked) => {
                                assert_eq!(revoked.version, *version);
                                assert!(known >= Some(*version));
                            }
                            Err(NotRevoked { error: RevokeError::ChannelNotFound, .. }) => {
                                assert!(*viewer < 5);
                            }
                            Err(NotRevoked { error, .. }) => assert!(matches!(
                                error,
                                RevokeError::Unavailable | RevokeError::Overdue
                            )),
                        }
                    }
                }
            };
            join_all(requests.into_iter().map(request)).await;
            assert_eq!(model.state().over_quota, 0);
        });
    }
}
