//! What the calls of a region's client show: the endpoint that they go to, and the clock of IVS.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use aws_sdk_ivs::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use url::Url;

use super::server_time::{ServerTime, parse_date};
use crate::clock::{Clock, Moment};

/// Observes every call of a client that it is added to. Clones share what they observe.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    clock: Clock,
    observed: Arc<Observed>,
}

#[derive(Debug, Default)]
struct Observed {
    endpoint: OnceLock<String>,
    server_time: ArcSwapOption<ServerTime>,
}

/// When an attempt of a call was sent.
#[derive(Clone, Copy, Debug)]
struct Asked(std::time::Duration);

impl Storable for Asked {
    type Storer = StoreReplace<Self>;
}

impl Observer {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, observed: Arc::default() }
    }

    /// Returns the endpoint, for errors about it; `None` before the first call.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.observed.endpoint.get().map(String::as_str)
    }

    /// Returns the time of the last answer; `None` before the first one.
    pub(super) fn server_time(&self) -> Option<ServerTime> {
        self.observed.server_time.load().as_deref().copied()
    }
}

impl Intercept for Observer {
    fn name(&self) -> &'static str {
        "Observer"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Asked(self.clock.monotonic()));
        self.observed.endpoint.get_or_init(|| {
            // Scheme, host and port: errors must not contain a user name or a password.
            let url = context.request().uri().parse::<Url>();
            url.map_or_else(|_| "its endpoint".to_owned(), |url| url.origin().ascii_serialization())
        });
        Ok(())
    }

    // Before the answer is parsed, so that errors and broken answers count too.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date").and_then(parse_date)
            && let Some(Asked(asked)) = config.load::<Asked>().copied()
        {
            let time = ServerTime { date, asked, received: Moment::of(&self.clock) };
            self.observed.server_time.store(Some(Arc::new(time)));
        }
        Ok(())
    }
}
