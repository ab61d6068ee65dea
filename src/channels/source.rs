//! The calls of IVS that lookups need; a simulation implements them too.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::ivs::{
    BatchGetChannel, Channel, ChannelSummary, IvsError, RegionalIvs, arn::ChannelArn,
};

/// The channels of one region.
pub(super) trait ChannelSource: fmt::Debug + Send + Sync {
    /// `GetChannel`, made once.
    fn get_channel<'a>(&'a self, arn: &'a ChannelArn) -> BoxFuture<'a, Result<Channel, IvsError>>;

    /// `BatchGetChannel` of 1 to 50 channels, made once.
    fn batch_get_channel<'a>(
        &'a self,
        arns: &'a [ChannelArn],
    ) -> BoxFuture<'a, Result<BatchGetChannel, IvsError>>;

    /// `ListChannels`: one page, and the token of the next one.
    fn list_channels(&self, next_token: Option<String>) -> BoxFuture<'_, ListedPage>;
}

pub(super) type ListedPage = Result<(Vec<ChannelSummary>, Option<String>), IvsError>;

impl ChannelSource for RegionalIvs {
    fn get_channel<'a>(&'a self, arn: &'a ChannelArn) -> BoxFuture<'a, Result<Channel, IvsError>> {
        Box::pin(self.get_channel(arn))
    }

    fn batch_get_channel<'a>(
        &'a self,
        arns: &'a [ChannelArn],
    ) -> BoxFuture<'a, Result<BatchGetChannel, IvsError>> {
        Box::pin(self.batch_get_channel(arns))
    }

    fn list_channels(&self, next_token: Option<String>) -> BoxFuture<'_, ListedPage> {
        Box::pin(self.list_channels(next_token))
    }
}
