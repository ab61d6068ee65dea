//! Reads all channels of a region at start, so that the first viewers of each find it remembered.
//!
//! A page of `ListChannels`, then its channels as refreshes that nobody waits for: callers are served
//! first, and the pace is that of all lookups. Public channels are left out; that a channel is public
//! is believed for seconds only.

use std::time::Duration;

use futures_util::future::join_all;

use super::{LookupError, flights::Outcome, gather::Gatherer};
use crate::ivs::{
    ChannelSummary, IvsError,
    arn::ChannelArn,
    budget::{Budget, Stopwatch},
};

/// How long to wait after what could not be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Reads every private channel of the region, however long it takes IVS to answer. Returns how many
/// it read.
pub(super) async fn warm_up(gatherer: &Gatherer) -> usize {
    let settings = gatherer.shared().settings;
    let (mut pages, mut read, mut next_token) = (Pages::new(settings.calls_per_second), 0, None);
    loop {
        match pages.next(gatherer, next_token.clone()).await {
            Ok((channels, token)) => {
                let channels = channels.into_iter().filter(|channel| channel.authorized);
                read += read_all(gatherer, channels.map(|channel| channel.arn).collect()).await;
                next_token = token;
                let full = u64::try_from(read).unwrap_or(u64::MAX) >= settings.capacity;
                if next_token.is_none() || full {
                    return read;
                }
            }
            Err(error) => {
                tracing::warn!(
                    event = "warm_up_failed",
                    region = %gatherer.region(),
                    %error,
                    "cannot list channels; retrying"
                );
                // A token may be what IVS does not take any more.
                next_token = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads those of the channels that are not remembered, again after a pause where IVS does not tell.
/// Returns how many there are.
async fn read_all(gatherer: &Gatherer, mut channels: Vec<ChannelArn>) -> usize {
    let mut read = 0;
    loop {
        channels.retain(|arn| gatherer.shared().memory.seen(arn).is_none());
        let waits = channels.iter().map(|arn| {
            // Without room for it, it is not read this time.
            let flight = gatherer.fetch_in_background(arn);
            async { flight?.outcome().await }
        });
        let outcomes = join_all(waits).await;
        read += outcomes.iter().flatten().flatten().count();
        let mut outcomes = outcomes.into_iter();
        channels.retain(|_| !is_told(outcomes.next().flatten().as_ref()));
        if channels.is_empty() {
            return read;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether IVS told of the channel; that it is absent or hidden will do.
fn is_told(outcome: Option<&Outcome>) -> bool {
    match outcome {
        Some(Ok(_) | Err(LookupError::NotFound | LookupError::Denied)) => true,
        None | Some(Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. })) => false,
    }
}

/// The pages of a list, at the pace of a lookup.
struct Pages {
    budget: Budget,
    stopwatch: Stopwatch,
}

impl Pages {
    fn new(calls_per_second: f64) -> Self {
        Self { budget: Budget::new(calls_per_second), stopwatch: Stopwatch::start() }
    }

    async fn next(
        &mut self,
        gatherer: &Gatherer,
        token: Option<String>,
    ) -> Result<(Vec<ChannelSummary>, Option<String>), IvsError> {
        let pass = loop {
            match self.budget.take(self.stopwatch.elapsed()) {
                Ok(pass) => break pass,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        };
        let page = gatherer.source().list_channels(token).await;
        let throttled = matches!(page, Err(IvsError::Throttled));
        self.budget.answered(pass, self.stopwatch.elapsed(), throttled);
        page
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::future::BoxFuture;
    use tokio_util::task::TaskTracker;

    use super::{
        super::{
            Settings,
            gather::Shared,
            memory::Memory,
            source::{ChannelSource, ListedPage},
            tests::SETTINGS,
        },
        *,
    };
    use crate::{
        clock::{Clock, Timestamp},
        ivs::{BatchGetChannel, Channel},
        telemetry::metrics::Metrics,
    };

    /// Lists what it was told to; a batch has every channel, but for the first ones that fail. Alone,
    /// a channel is absent or hidden.
    #[derive(Debug)]
    struct Listing {
        pages: Mutex<VecDeque<ListedPage>>,
        failures: Mutex<VecDeque<IvsError>>,
        listed: Mutex<Vec<(Option<String>, Duration)>>,
        batches: Mutex<Vec<usize>>,
        singles: AtomicUsize,
        time: Stopwatch,
    }

    impl ChannelSource for Listing {
        fn get_channel<'a>(
            &'a self,
            _: &'a ChannelArn,
        ) -> BoxFuture<'a, Result<Channel, IvsError>> {
            let gone = self.singles.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            let error = if gone { IvsError::NotFound } else { denied() };
            Box::pin(async { Err(error) })
        }

        fn batch_get_channel<'a>(
            &'a self,
            arns: &'a [ChannelArn],
        ) -> BoxFuture<'a, Result<BatchGetChannel, IvsError>> {
            self.batches.lock().unwrap().push(arns.len());
            if let Some(failure) = self.failures.lock().unwrap().pop_front() {
                return Box::pin(async { Err(failure) });
            }
            let channel = |arn: &ChannelArn| Channel {
                arn: arn.clone(),
                name: String::new(),
                authorized: true,
                channel_type: String::new(),
                latency_mode: String::new(),
                playback_url: String::new(),
            };
            let channels = arns.iter().map(channel).collect();
            Box::pin(async { Ok(BatchGetChannel { channels, errors: Vec::new() }) })
        }

        fn list_channels(&self, token: Option<String>) -> BoxFuture<'_, ListedPage> {
            self.listed.lock().unwrap().push((token, self.time.elapsed()));
            let page = self.pages.lock().unwrap().pop_front().unwrap();
            Box::pin(async { page })
        }
    }

    type Page = (Vec<ChannelSummary>, Option<String>);

    fn page(ids: std::ops::Range<u32>, authorized: bool, next: Option<&str>) -> Page {
        let channel = |id| ChannelSummary { arn: arn(id), name: String::new(), authorized };
        (ids.map(channel).collect(), next.map(ToOwned::to_owned))
    }

    fn arn(id: u32) -> ChannelArn {
        format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
    }

    fn denied() -> IvsError {
        IvsError::Denied { code: "AccessDeniedException".to_owned(), message: String::new() }
    }

    fn bench(
        pages: impl IntoIterator<Item = ListedPage>,
        failures: impl IntoIterator<Item = IvsError>,
    ) -> (Gatherer, Arc<Listing>) {
        let listing = Arc::new(Listing {
            pages: Mutex::new(pages.into_iter().collect()),
            failures: Mutex::new(failures.into_iter().collect()),
            listed: Mutex::default(),
            batches: Mutex::default(),
            singles: AtomicUsize::new(0),
            time: Stopwatch::start(),
        });
        let settings = Settings { calls_per_second: 4.0, ..SETTINGS };
        let shared = Shared {
            settings,
            memory: Memory::new(settings.capacity),
            clock: Clock::manual(Timestamp::from_unix_seconds(0)).0,
            tasks: TaskTracker::new(),
            metrics: Metrics::default(),
        };
        let source: Arc<dyn ChannelSource> = Arc::clone(&listing) as Arc<dyn ChannelSource>;
        (Gatherer::new(Arc::new(shared), "us-west-2".parse().unwrap(), source), listing)
    }

    async fn warmed(pages: impl IntoIterator<Item = ListedPage>) -> Arc<Listing> {
        let (gatherer, listing) = bench(pages, []);
        warm_up(&gatherer).await;
        assert!(remembers(&gatherer, 0));
        listing
    }

    fn remembers(gatherer: &Gatherer, id: u32) -> bool {
        gatherer.shared().memory.seen(&arn(id)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn every_private_channel_of_every_page_is_read_at_an_even_pace() {
        let listing = warmed([
            Ok(page(0..100, true, Some("two"))),
            Ok(page(100..200, false, Some("three"))),
            Ok(page(200..220, true, None)),
        ])
        .await;
        assert_eq!(*listing.batches.lock().unwrap(), [50, 50, 20]);
        let listed = listing.listed.lock().unwrap();
        let tokens: Vec<_> = listed.iter().map(|it| it.0.as_deref()).collect();
        assert_eq!(tokens, [None, Some("two"), Some("three")]);
        assert!(listed.windows(2).all(|it| it[1].1 >= it[0].1 + Duration::from_millis(250)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_breaks_off_is_begun_again_after_a_pause() {
        let listing = warmed([
            Ok(page(0..10, true, Some("two"))),
            Err(IvsError::TimedOut),
            Ok(page(0..10, true, Some("two"))),
            Ok(page(10..20, true, None)),
        ])
        .await;
        assert_eq!(*listing.batches.lock().unwrap(), [10, 10], "nothing is read twice");
        let listed = listing.listed.lock().unwrap();
        assert_eq!(listed[2].0, None);
        assert!(listed[2].1 >= listed[1].1 + PAUSE);
    }
    #[tokio::test(start_paused = true)]
    async fn channels_that_could_not_be_read_are_read_before_the_next_page() {
        let pages = [Ok(page(0..60, true, Some("two"))), Ok(page(60..70, true, None))];
        let (gatherer, listing) = bench(pages, [IvsError::TimedOut, IvsError::Throttled]);
        assert_eq!(warm_up(&gatherer).await, 70);
        assert!((0..70).all(|id| remembers(&gatherer, id)));
        let listed = listing.listed.lock().unwrap();
        assert_eq!(listed.len(), 2, "no page is listed again for it");
        assert!(listed[1].1 >= PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn channels_for_which_there_is_no_room_are_read_later() {
        let (gatherer, _) = bench([Ok(page(0..10, true, None))], []);
        let mut others = 1000..;
        while gatherer.fetch_in_background(&arn(others.next().unwrap())).is_some() {}
        assert_eq!(warm_up(&gatherer).await, 10);
        assert!((0..10).all(|id| remembers(&gatherer, id)));
    }

    #[tokio::test(start_paused = true)]
    async fn channels_that_are_absent_or_hidden_are_given_up() {
        let pages = [Ok(page(0..10, true, Some("two"))), Ok(page(10..20, true, None))];
        // The batch of the first page, and each part of it.
        let (gatherer, listing) = bench(pages, std::iter::repeat_with(denied).take(9));
        assert_eq!(warm_up(&gatherer).await, 10);
        assert_eq!(listing.singles.load(Ordering::SeqCst), 10, "each once");
        assert!(!remembers(&gatherer, 0) && remembers(&gatherer, 10));
    }
}
