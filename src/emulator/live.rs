//! Streams that go live and end, whoever says so: `/_emulator/streams`, `--auto-live`, `StopStream`.

use redb::WriteTransaction;

use super::{
    EmulatorError, Shared, ids,
    store::{
        StoreError, View, collection,
        records::{Channel, LiveStream, StreamSession},
        viewers,
    },
};
use crate::{
    clock::Timestamp,
    ivs::arn::{ChannelArn, ResourceKind},
};

/// The stream of the channel, where it is live.
pub(super) fn find(view: &impl View, channel: &str) -> Result<Option<LiveStream>, StoreError> {
    Ok(collection::find(view, &LiveStream::name_of(channel))?.map(|entry| entry.record))
}

/// Puts a channel live. One that is live goes on as it is.
pub(super) fn start(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    now: Timestamp,
) -> Result<LiveStream, StoreError> {
    if let Some(stream) = find(transaction, channel.as_str())? {
        return Ok(stream);
    }
    let stream =
        LiveStream { channel_arn: channel.clone(), stream_id: ids::stream_id()?, start_time: now };
    collection::insert(transaction, &stream.clone().into())?;
    begin_session(transaction, &stream)?;
    Ok(stream)
}

/// Ends the stream of a channel, where it is live.
pub(super) fn stop(
    transaction: &WriteTransaction,
    channel: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(stream) = find(transaction, channel)? else { return Ok(()) };
    collection::remove(transaction, &LiveStream::name_of(channel))?;
    let name = StreamSession::name_of(channel, &stream.stream_id);
    if let Some(mut session) = collection::find::<StreamSession>(transaction, &name)? {
        session.record.end_time = Some(now);
        collection::replace(transaction, &session)?;
    }
    Ok(())
}

/// Writes down that the stream began, and with which settings.
fn begin_session(transaction: &WriteTransaction, stream: &LiveStream) -> Result<(), StoreError> {
    let channel = collection::find::<Channel>(transaction, stream.channel_arn.as_str())?;
    let Some(channel) = channel else { return Ok(()) };
    let configuration = &channel.record.recording_configuration_arn;
    let session = StreamSession {
        stream_id: stream.stream_id.clone(),
        start_time: stream.start_time,
        end_time: None,
        recording_configuration: collection::find(transaction, configuration)?,
        channel,
    };
    collection::insert_first(transaction, &session.into())
}

/// Puts every channel live, in every region of every account that the file knows.
pub(super) fn start_all(shared: &Shared) -> Result<(), EmulatorError> {
    shared.store.write(|transaction| {
        for channel in
            collection::everywhere::<Channel>(transaction, ResourceKind::Channel.as_str())?
        {
            start(transaction, &channel.record.arn, shared.clock.now())?;
        }
        Ok(())
    })
}

/// Forgets the single-use ids of tokens that have long expired.
pub(super) fn prune_spent(shared: &Shared) -> Result<(), EmulatorError> {
    shared.store.write(|transaction| Ok(viewers::prune_spent(transaction, shared.clock.now())?))
}
