//! The endpoint that a region's clients call, for errors about it.

use std::sync::{Arc, OnceLock};

use aws_sdk_ivs::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
};
use url::Url;

/// The endpoint of a region's clients, known from their first call. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoint(Arc<OnceLock<String>>);

impl Endpoint {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl Intercept for Endpoint {
    fn name(&self) -> &'static str {
        "Endpoint"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.get_or_init(|| {
            // Scheme, host and port: a user name and a password stay out of errors.
            let url = context.request().uri().parse::<Url>();
            url.map_or_else(|_| "its endpoint".to_owned(), |url| url.origin().ascii_serialization())
        });
        Ok(())
    }
}
