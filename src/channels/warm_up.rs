//! Reads all channels of a region at start, so that the first viewers of each find it remembered.
//!
//! Reads a page of `ListChannels`, then its channels as background lookups: callers are served first, at the
//! pace of all lookups. Public channels are left out, because that a channel is public is remembered for seconds
//! only.

use std::time::Duration;

use futures_util::future::join_all;

use super::{LookupError, lookups::Lookups, memory::Outcome};
use crate::ivs::{arn::ChannelArn, dispatch::Pacer};

/// How long to wait after a page or channels that could not be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Reads every private channel of the region, however long it takes IVS to answer. Returns how many
/// it read.
pub(super) async fn warm_up(lookups: &Lookups) -> usize {
    let settings = &lookups.calls().shared.settings;
    // Pages count against the rate of lookups, too.
    let pacer = Pacer::new("ListChannels", settings.calls_per_second);
    let (mut read, mut next_token) = (0, None);
    loop {
        let page = async { lookups.calls().source.list_channels(next_token).await };
        match pacer.call(page).await {
            Ok((channels, token)) => {
                let channels = channels.into_iter().filter(|channel| channel.authorized);
                read += read_all(lookups, channels.map(|channel| channel.arn).collect()).await;
                next_token = token;
                let is_full = u64::try_from(read).unwrap_or(u64::MAX) >= settings.capacity;
                if next_token.is_none() || is_full {
                    return read;
                }
            }
            Err(error) => {
                let (event, region) = ("warm_up_failed", &lookups.calls().region);
                tracing::warn!(event, %region, %error, "cannot list channels; retrying");
                // IVS may no longer accept the token.
                next_token = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Reads those of the channels that are not remembered, again after a pause if IVS does not answer.
/// Returns how many it read.
async fn read_all(lookups: &Lookups, mut channels: Vec<ChannelArn>) -> usize {
    let mut read = 0;
    loop {
        channels.retain(|arn| lookups.calls().shared.memory.seen(arn).is_none());
        let waits = lookups
            .submit(channels.clone(), None)
            .into_iter()
            .map(async |mut wait| wait.outcome().await.unwrap_or_else(|reason| Err(reason.into())));
        let outcomes: Vec<Outcome> = join_all(waits).await;
        read += outcomes.iter().flatten().count();
        let mut outcomes = outcomes.into_iter();
        channels.retain(|_| !outcomes.next().is_some_and(|outcome| is_answered(&outcome)));
        if channels.is_empty() {
            return read;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns whether IVS answered for the channel, even if it is absent or hidden.
fn is_answered(outcome: &Outcome) -> bool {
    match outcome {
        Ok(_) | Err(LookupError::NotFound | LookupError::Denied) => true,
        Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. }) => false,
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
            lookups::{Shared, lookups},
            memory::Memory,
            source::{ChannelSource, ListedPage},
            tests::SETTINGS,
        },
        *,
    };
    use crate::{
        clock::{Clock, Timestamp},
        ivs::{BatchGetChannel, Channel, ChannelSummary, IvsError, dispatch::budget::Stopwatch},
        telemetry::metrics::Metrics,
    };

    /// Lists these pages; a batch has every channel, except for the first ones, which fail. Alone, a
    /// channel is absent or hidden.
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
    ) -> (Lookups, Arc<Listing>) {
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
            memory: Memory::new(SETTINGS.capacity),
            clock: Clock::manual(Timestamp::from_unix_seconds(0)).0,
            metrics: Metrics::default(),
        };
        let source: Arc<dyn ChannelSource> = Arc::clone(&listing) as Arc<dyn ChannelSource>;
        let region = "us-west-2".parse().unwrap();
        let lookups = lookups(Arc::new(shared), region, source, TaskTracker::new());
        (lookups, listing)
    }

    async fn warmed(pages: impl IntoIterator<Item = ListedPage>) -> Arc<Listing> {
        let (lookups, listing) = bench(pages, []);
        warm_up(&lookups).await;
        assert!(remembers(&lookups, 0));
        listing
    }

    fn remembers(lookups: &Lookups, id: u32) -> bool {
        lookups.calls().shared.memory.seen(&arn(id)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn private_channels_of_all_pages_are_read_at_an_even_pace() {
        let listing = warmed([
            Ok(page(0..100, true, Some("two"))),
            Ok(page(100..200, false, Some("three"))),
            Ok(page(200..220, true, None)),
        ])
        .await;
        assert_eq!(*listing.batches.lock().unwrap(), [50, 50, 20]);
        let listed = listing.listed.lock().unwrap();
        let tokens: Vec<_> = listed.iter().map(|page| page.0.as_deref()).collect();
        assert_eq!(tokens, [None, Some("two"), Some("three")]);
        assert!(listed.windows(2).all(|pair| pair[1].1 >= pair[0].1 + Duration::from_millis(250)));
    }

    #[tokio::test(start_paused = true)]
    async fn interrupted_list_is_read_again_after_a_pause() {
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
        let (lookups, listing) = bench(pages, [IvsError::TimedOut, IvsError::Throttled]);
        assert_eq!(warm_up(&lookups).await, 70);
        assert!((0..70).all(|id| remembers(&lookups, id)));
        let listed = listing.listed.lock().unwrap();
        assert_eq!(listed.len(), 2, "no page is listed again for it");
        assert!(listed[1].1 >= PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn channels_without_room_in_the_queue_are_read_later() {
        let (lookups, _) = bench([Ok(page(0..10, true, None))], []);
        let mut others = 1000..;
        let is_queued = |id| lookups.submit([arn(id)], None)[0].known().is_none();
        while is_queued(others.next().unwrap()) {}
        assert_eq!(warm_up(&lookups).await, 10);
        assert!((0..10).all(|id| remembers(&lookups, id)));
    }

    #[tokio::test(start_paused = true)]
    async fn absent_or_hidden_channels_are_given_up() {
        let pages = [Ok(page(0..10, true, Some("two"))), Ok(page(10..20, true, None))];
        // The batch of the first page, and each part of it.
        let (lookups, listing) = bench(pages, std::iter::repeat_with(denied).take(9));
        assert_eq!(warm_up(&lookups).await, 10);
        assert_eq!(listing.singles.load(Ordering::SeqCst), 10, "each once");
        assert!(!remembers(&lookups, 0) && remembers(&lookups, 10));
    }
}
