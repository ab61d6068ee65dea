//! Reads all channels of a region at start, so that the first viewers of each find it remembered.
//!
//! A page of `ListChannels`, then its channels as refreshes that nobody waits for: callers are served
//! first, and the pace is that of all lookups. Public channels are left out; that a channel is public
//! is believed for seconds only.

use std::time::Duration;

use futures_util::future::join_all;

use super::gather::Gatherer;
use crate::ivs::{
    ChannelSummary, IvsError,
    budget::{Budget, Stopwatch},
};

/// How long to wait after a page that could not be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Reads every private channel of the region, however long it takes IVS to answer. Returns how many
/// there are.
pub(super) async fn warm_up(gatherer: &Gatherer) -> usize {
    let settings = gatherer.shared().settings;
    let (mut pages, mut read, mut next_token) = (Pages::new(settings.calls_per_second), 0, None);
    loop {
        match pages.next(gatherer, next_token.clone()).await {
            Ok((channels, token)) => {
                let channels = channels.iter().filter(|channel| channel.authorized);
                let waits: Vec<_> = channels
                    .filter(|channel| gatherer.shared().memory.seen(&channel.arn).is_none())
                    .filter_map(|channel| gatherer.fetch_in_background(&channel.arn))
                    .collect();
                let outcomes = join_all(waits.into_iter().map(super::flights::Flight::outcome));
                read += outcomes.await.iter().flatten().flatten().count();
                next_token = token;
                let full = u64::try_from(read).unwrap_or(u64::MAX) >= settings.capacity;
                if next_token.is_none() || full {
                    return read;
                }
            }
            Err(error) => {
                tracing::warn!(region = %gatherer.region(), %error, "channels cannot be listed");
                // A token may be what IVS does not take any more.
                next_token = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
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
        sync::{Arc, Mutex},
    };

    use futures_util::future::BoxFuture;
    use tokio_util::task::TaskTracker;

    use super::{
        super::{
            ChannelDirectory, Requester, Settings,
            source::{ChannelSource, ListedPage},
            tests::SETTINGS,
        },
        *,
    };
    use crate::{
        clock::{Clock, Timestamp},
        ivs::{BatchGetChannel, Channel, arn::ChannelArn},
        telemetry::metrics::Metrics,
    };

    /// Has every channel, and lists what it was told to.
    #[derive(Debug)]
    struct Listing {
        pages: Mutex<VecDeque<ListedPage>>,
        listed: Mutex<Vec<(Option<String>, Duration)>>,
        batches: Mutex<Vec<usize>>,
        time: Stopwatch,
    }

    impl ChannelSource for Listing {
        fn get_channel<'a>(
            &'a self,
            _: &'a ChannelArn,
        ) -> BoxFuture<'a, Result<Channel, IvsError>> {
            unreachable!("a batch answers clearly")
        }

        fn batch_get_channel<'a>(
            &'a self,
            arns: &'a [ChannelArn],
        ) -> BoxFuture<'a, Result<BatchGetChannel, IvsError>> {
            self.batches.lock().unwrap().push(arns.len());
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

    async fn warmed(pages: impl IntoIterator<Item = ListedPage>) -> Arc<Listing> {
        let listing = Arc::new(Listing {
            pages: Mutex::new(pages.into_iter().collect()),
            listed: Mutex::default(),
            batches: Mutex::default(),
            time: Stopwatch::start(),
        });
        let source: Arc<dyn ChannelSource> = Arc::clone(&listing) as Arc<dyn ChannelSource>;
        let (clock, _) = Clock::manual(Timestamp::from_unix_seconds(0));
        let directory = ChannelDirectory::with_sources(
            [("us-west-2".parse().unwrap(), source)],
            Settings { calls_per_second: 4.0, ..SETTINGS },
            clock,
            TaskTracker::new(),
            Metrics::default(),
        );
        directory.warm_up().await;
        let batches = listing.batches.lock().unwrap().len();
        directory.lookup(&arn(0), Requester::LOCAL).await.unwrap();
        assert_eq!(listing.batches.lock().unwrap().len(), batches, "remembered");
        listing
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
}
