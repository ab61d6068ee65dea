//! The directory under paused time, against a model of IVS with weather.
//!
//! Clients look channels up at random moments while the model delays, throttles, fails, and gives odd answers;
//! one of them may send many made-up ARNs. Whatever happens:
//!
//! - no second at IVS sees more calls of an operation than `channels.calls_per_second`
//! - no caller waits past its deadline, and none is left without an answer
//! - no answer is wrong: a channel is found as it is, and only what is absent is not found
//! - no honest client starves: in fair weather each of its lookups succeeds, in any other most do
//!
//! It is not a failure that the sender of made-up ARNs is refused, or that a lookup fails because IVS fails.
//!
//! A world is made from its seed alone. A failure names the seed; put it into [`SEEDS`] to replay it.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::task::TaskTracker;

use super::{
    super::source::{ChannelSource, ListedPage},
    *,
};
use crate::{
    clock::{Clock, ManualClock, Timestamp},
    ivs::{
        BatchError, BatchGetChannel, Channel as IvsChannel, IvsError,
        arn::ChannelArn,
        dispatch::{Route, budget::Stopwatch},
    },
    telemetry::metrics::Metrics,
};

const SEEDS: Range<u64> = 0..40;

/// How long clients ask, and how long a caller waits.
const SHOW: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(5);

/// The timer's grain: a caller cannot leave more exactly.
const GRAIN: Duration = Duration::from_millis(2);

/// What IVS does to calls, in percent but for the first.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Every so many calls; 0 is never.
    throttled: usize,
    failed: u32,
    /// Answered after 1 to 6 s; the client gives up after 5.
    slow: u32,
    /// Of the items of a batch: left out, answered twice, or with an unheard-of code.
    odd: u32,
}

impl Weather {
    const FAIR: Self = Self { throttled: 0, failed: 0, slow: 0, odd: 0 };
    const ALL: [Self; 5] = [
        Self::FAIR,
        Self { throttled: 2, ..Self::FAIR },
        Self { failed: 15, ..Self::FAIR },
        Self { slow: 20, ..Self::FAIR },
        Self { throttled: 20, failed: 5, slow: 5, odd: 2 },
    ];

    fn is_fair(self) -> bool {
        self.throttled == 0 && self.failed + self.slow + self.odd == 0
    }
}

/// IVS: channels whose id begins with `p` are private, with `o` open, with `d` denied; no others
/// exist.
#[derive(Debug)]
struct Model {
    weather: Weather,
    rng: Mutex<StdRng>,
    time: Stopwatch,
    /// When calls arrived.
    arrivals: Mutex<Vec<(Route, Duration)>>,
}

impl Model {
    fn draw(&self, range: Range<u32>) -> u32 {
        self.rng.lock().unwrap().random_range(range)
    }

    fn happens(&self, percent: u32) -> bool {
        self.draw(0..100) < percent
    }

    /// The way there and back, and what the weather does meanwhile.
    async fn travel(&self, route: Route) -> Result<(), IvsError> {
        // A new connection, now and then.
        let there = if self.happens(5) { 950 } else { 100 };
        sleep(Duration::from_millis(self.draw(1..there).into())).await;
        let calls = {
            let mut arrivals = self.arrivals.lock().unwrap();
            arrivals.push((route, self.time.elapsed()));
            arrivals.len()
        };
        let back = if self.happens(self.weather.slow) { 1000..6000 } else { 1..100 };
        let back = Duration::from_millis(self.draw(back).into());
        sleep(back.min(Duration::from_secs(5))).await;
        if back >= Duration::from_secs(5) {
            Err(IvsError::TimedOut)
        } else if calls.checked_rem(self.weather.throttled) == Some(0) {
            Err(IvsError::Throttled)
        } else if self.happens(self.weather.failed) {
            Err(IvsError::Unavailable { reason: "the weather".to_owned() })
        } else {
            Ok(())
        }
    }
}

fn channel(arn: &ChannelArn) -> Result<IvsChannel, IvsError> {
    match arn.id().as_bytes().first() {
        Some(kind @ (b'p' | b'o')) => Ok(IvsChannel {
            arn: arn.clone(),
            name: String::new(),
            authorized: *kind == b'p',
            channel_type: "STANDARD".to_owned(),
            latency_mode: "LOW".to_owned(),
            playback_url: format!("https://play.test/{}", arn.id()),
        }),
        Some(b'd') => {
            let (code, message) = ("AccessDeniedException".to_owned(), String::new());
            Err(IvsError::Denied { code, message })
        }
        _ => Err(IvsError::NotFound),
    }
}

impl ChannelSource for Model {
    fn get_channel<'a>(
        &'a self,
        arn: &'a ChannelArn,
    ) -> BoxFuture<'a, Result<IvsChannel, IvsError>> {
        Box::pin(async move {
            self.travel(Route::Single).await?;
            channel(arn)
        })
    }

    fn batch_get_channel<'a>(
        &'a self,
        arns: &'a [ChannelArn],
    ) -> BoxFuture<'a, Result<BatchGetChannel, IvsError>> {
        Box::pin(async move {
            assert!((1..=50).contains(&arns.len()), "IVS takes 1 to 50");
            self.travel(Route::Batch).await?;
            let mut answer = BatchGetChannel::default();
            for arn in arns {
                let error = |code: &str| BatchError {
                    arn: arn.to_string(),
                    code: code.to_owned(),
                    message: String::new(),
                };
                if self.happens(self.weather.odd) {
                    match self.draw(0..3) {
                        0 => {}
                        1 => answer.errors.extend([error("404"), error("404")]),
                        _ => answer.errors.push(error("unheard-of")),
                    }
                    continue;
                }
                match channel(arn) {
                    Ok(channel) => answer.channels.push(channel),
                    Err(IvsError::NotFound) => answer.errors.push(error("404")),
                    Err(_) => answer.errors.push(error("403")),
                }
            }
            Ok(answer)
        })
    }

    fn list_channels(&self, _: Option<String>) -> BoxFuture<'_, ListedPage> {
        Box::pin(async { Ok((Vec::new(), None)) })
    }
}

/// Somebody's lookup.
#[derive(Debug)]
struct Visit {
    client: String,
    arn: ChannelArn,
    start: Duration,
}

/// How it went.
#[derive(Debug)]
struct Report {
    visit: Visit,
    waited: Duration,
    answer: Result<bool, LookupError>,
}

/// A world and its visitors.
#[derive(Debug)]
struct World {
    weather: Weather,
    calls_per_second: f64,
    visits: Vec<Visit>,
}

impl World {
    fn from_seed(rng: &mut StdRng) -> Self {
        let weather = Weather::ALL[rng.random_range(0..Weather::ALL.len())];
        let calls_per_second = [1.0, 2.0, 2.5, 4.0, 5.0][rng.random_range(0..5)];
        let mut visits = Vec::new();
        let millis = u64::try_from(SHOW.as_millis()).unwrap();
        for client in 0..rng.random_range(1..6) {
            // About two a second, of channels of its own and of channels that all ask for.
            for _ in 0..40 {
                let own = if rng.random() { client.to_string() } else { "all".to_owned() };
                let id = format!("{own}-{}", rng.random_range(0..50));
                let kind = ["p", "p", "p", "o", "x"][rng.random_range(0..5)];
                let start = Duration::from_millis(rng.random_range(0..millis));
                visits.push(Visit::new(&format!("client-{client}"), &format!("{kind}{id}"), start));
            }
        }
        // A show begins: everybody at once, for one channel.
        let begins = Duration::from_millis(rng.random_range(0..millis));
        visits.extend((0..200).map(|_| Visit::new("show", "p-show", begins)));
        if rng.random() {
            for number in 0..rng.random_range(500..3000) {
                let kind = if rng.random_range(0..50) == 0 { "d" } else { "x" };
                let start = Duration::from_millis(rng.random_range(0..millis));
                visits.push(Visit::new("sprayer", &format!("{kind}-{number}"), start));
            }
        }
        Self { weather, calls_per_second, visits }
    }

    /// Lets everybody visit, and returns what they tell and when calls arrived at IVS.
    async fn run(self, rng: StdRng) -> (Vec<Report>, Vec<(Route, Duration)>) {
        let time = Stopwatch::start();
        let model = Arc::new(Model {
            weather: self.weather,
            rng: Mutex::new(rng),
            time,
            arrivals: Mutex::default(),
        });
        let settings = Settings {
            calls_per_second: self.calls_per_second,
            gather: Duration::from_millis(5),
            deadline: DEADLINE,
            fresh_for: Duration::from_secs(3),
            not_found_for: Duration::from_secs(2),
            ..SETTINGS
        };
        let (clock, hands) = Clock::manual(Timestamp::from_unix_seconds(1_795_337_700));
        let source: Arc<dyn ChannelSource> = Arc::clone(&model) as Arc<dyn ChannelSource>;
        let region = "us-west-2".parse().unwrap();
        let tasks = TaskTracker::new();
        let directory = ChannelDirectory::with_sources(
            [(region, source)],
            settings,
            clock,
            &tasks,
            Metrics::default(),
        );
        let mut visits = JoinSet::new();
        for visit in self.visits {
            visits.spawn(visit.pay(directory.clone(), time));
        }
        let reports = tokio::select! {
            biased;
            reports = visits.join_all() => reports,
            () = turn(hands) => unreachable!("the clock goes on for ever"),
        };
        tasks.close();
        tasks.wait().await;
        let arrivals = std::mem::take(&mut *model.arrivals.lock().unwrap());
        (reports, arrivals)
    }
}

/// Keeps the clock that decides freshness in step with the timer.
async fn turn(hands: ManualClock) {
    let tick = Duration::from_millis(20);
    loop {
        sleep(tick).await;
        hands.advance(tick);
    }
}

impl Visit {
    fn new(client: &str, id: &str, start: Duration) -> Self {
        let arn = format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}");
        Self { client: client.to_owned(), arn: arn.parse().unwrap(), start }
    }

    async fn pay(self, directory: ChannelDirectory, time: Stopwatch) -> Report {
        sleep(self.start).await;
        let began = time.elapsed();
        let answer = directory.lookup(&self.arn, Requester::client(&self.client)).await;
        let waited = time.elapsed().saturating_sub(began);
        Report { visit: self, waited, answer: answer.map(|found| found.channel.authorized) }
    }
}

/// What must hold in every world.
fn judge(
    weather: Weather,
    calls_per_second: f64,
    visits: usize,
    reports: &[Report],
    mut arrivals: Vec<(Route, Duration)>,
) -> Result<(), String> {
    let demand = |holds: bool, fault: &dyn Fn() -> String| holds.then_some(()).ok_or_else(fault);
    demand(reports.len() == visits, &|| format!("{} of {visits} answered", reports.len()))?;
    arrivals.sort_by_key(|(_, at)| *at);
    for route in [Route::Batch, Route::Single] {
        let at: Vec<_> = arrivals.iter().filter(|it| it.0 == route).map(|it| it.1).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small rate")]
        let most = calls_per_second as usize;
        for window in at.windows(most + 1) {
            let crowded = window[most] <= window[0] + Duration::from_secs(1);
            demand(!crowded, &|| format!("{route:?} at {window:?}"))?;
        }
    }
    let mut honest: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for report in reports {
        demand(report.waited <= DEADLINE + GRAIN, &|| format!("late: {report:?}"))?;
        let kind = report.visit.arn.id().as_bytes()[0];
        let let_down = match report.answer {
            Ok(authorized) => {
                demand(kind == if authorized { b'p' } else { b'o' }, &|| format!("{report:?}"))?;
                false
            }
            Err(LookupError::NotFound) => {
                demand(kind == b'x', &|| format!("{report:?}"))?;
                false
            }
            Err(LookupError::Denied) => {
                demand(kind == b'd', &|| format!("{report:?}"))?;
                false
            }
            Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. }) => true,
        };
        if report.visit.client != "sprayer" {
            let (asked, failed) = honest.entry(&report.visit.client).or_default();
            *asked += 1;
            *failed += usize::from(let_down);
        }
    }
    for (client, (asked, failed)) in honest {
        // The show is one lookup, and bad luck may meet it.
        let half = if client == "show" { asked } else { asked / 2 };
        let tolerated = if weather.is_fair() { 0 } else { half };
        demand(failed <= tolerated, &|| format!("{client} starves: {failed} of {asked} failed"))?;
    }
    Ok(())
}

#[test]
fn every_world_keeps_the_rules() {
    for seed in SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::from_seed(&mut rng);
        let (weather, rate, visits) = (world.weather, world.calls_per_second, world.visits.len());
        let (reports, arrivals) = runtime.block_on(world.run(rng));
        if let Err(fault) = judge(weather, rate, visits, &reports, arrivals) {
            panic!("seed {seed} ({weather:?}, {rate} calls a second): {fault}");
        }
    }
}
