//! Streams: the live ones, their sessions, and the timed metadata that `PutMetadata` adds.
//!
//! Metadata is kept for as long as a player may still lag behind, at most as long as its channel.
//! The streams of a channel do not overlap, so the time of a piece tells which one it belongs to.

use std::ops::{Range, RangeInclusive};

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{
    StoreError, View, collection,
    records::{Channel, LiveStream, StreamSession},
};
use crate::{
    clock::Timestamp,
    emulator::ids,
    ivs::arn::{ChannelArn, ResourceKind},
};

/// Channel ARN and sequence number to the instant in milliseconds since the Unix epoch, and the text.
pub(super) const METADATA: TableDefinition<'_, (&str, u64), (i64, &str)> =
    TableDefinition::new("metadata");

/// How long a piece is kept, in milliseconds. Playlists show far less.
const KEPT_MILLIS: i64 = 5 * 60 * 1000;

/// A piece of metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Metadata {
    /// Increases from piece to piece, with gaps. Unique in the whole store.
    pub(crate) sequence: u64,
    /// When it was put, to the millisecond.
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

/// Returns the stream of a channel if it is live.
pub(crate) fn find_live(view: &impl View, channel: &str) -> Result<Option<LiveStream>, StoreError> {
    Ok(collection::find(view, &LiveStream::name_of(channel))?.map(|entry| entry.record))
}

/// Puts a channel live and begins a session. A live stream continues unchanged.
pub(crate) fn start(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    now: Timestamp,
) -> Result<LiveStream, StoreError> {
    if let Some(stream) = find_live(transaction, channel.as_str())? {
        return Ok(stream);
    }
    let stream =
        LiveStream { channel_arn: channel.clone(), stream_id: ids::stream_id()?, start_time: now };
    collection::insert(transaction, &stream.clone().into())?;
    if let Some(channel) = collection::find::<Channel>(transaction, channel.as_str())? {
        let configuration = &channel.record.recording_configuration_arn;
        let session = StreamSession {
            stream_id: stream.stream_id.clone(),
            start_time: now,
            end_time: None,
            recording_configuration: collection::find(transaction, configuration)?,
            channel,
        };
        collection::insert_first(transaction, &session.into())?;
    }
    Ok(stream)
}

/// Puts every channel live, in every region of every account in the store.
pub(crate) fn start_all(transaction: &WriteTransaction, now: Timestamp) -> Result<(), StoreError> {
    let kind = ResourceKind::Channel.as_str();
    for channel in collection::all_regions::<Channel>(transaction, kind)? {
        start(transaction, &channel.record.arn, now)?;
    }
    Ok(())
}

/// Ends the stream of a channel if it is live.
pub(crate) fn stop(
    transaction: &WriteTransaction,
    channel: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(stream) = find_live(transaction, channel)? else { return Ok(()) };
    collection::remove(transaction, &LiveStream::name_of(channel))?;
    let name = StreamSession::name_of(channel, &stream.stream_id);
    if let Some(mut session) = collection::find::<StreamSession>(transaction, &name)? {
        session.record.end_time = Some(now);
        collection::replace(transaction, &session)?;
    }
    Ok(())
}

/// Adds a piece of metadata to the live stream of a channel.
pub(crate) fn put_metadata(
    transaction: &WriteTransaction,
    channel: &str,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sequence = collection::next_sequence(transaction)?;
    let mut metadata = transaction.open_table(METADATA)?;
    let oldest = now.unix_millis().saturating_sub(KEPT_MILLIS);
    metadata.retain_in(all_of(channel), |_, (at, _)| at >= oldest)?;
    metadata.insert((channel, sequence), (now.unix_millis(), text))?;
    Ok(())
}

/// Returns the metadata of a channel within a period, in order. Older pieces are not read.
pub(crate) fn metadata_within(
    view: &impl View,
    channel: &str,
    period: &Range<Timestamp>,
) -> Result<Vec<Metadata>, StoreError> {
    let metadata = view.table(METADATA)?;
    let mut found = Vec::new();
    for entry in metadata.range(all_of(channel))?.rev() {
        let (key, value) = entry?;
        let (at, text) = value.value();
        let at = Timestamp::from_unix_millis(at);
        if at < period.start {
            break;
        }
        if at < period.end {
            found.push(Metadata { sequence: key.value().1, at, text: text.to_owned() });
        }
    }
    found.reverse();
    Ok(found)
}

/// Removes the sessions and the metadata of a channel that is being deleted.
pub(crate) fn forget_channel(
    transaction: &WriteTransaction,
    channel: &str,
) -> Result<(), StoreError> {
    collection::remove_all::<StreamSession>(transaction, &StreamSession::of(channel))?;
    transaction.open_table(METADATA)?.retain_in(all_of(channel), |_, _| false)?;
    Ok(())
}

fn all_of(channel: &str) -> RangeInclusive<(&str, u64)> {
    (channel, 0)..=(channel, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::Store, *};

    #[test]
    fn metadata_is_kept_in_order_for_five_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let at = Timestamp::from_unix_millis;
        store
            .write(|txn| {
                put_metadata(txn, "a", "one", at(1_001))?;
                put_metadata(txn, "b", "other", at(1_002))?;
                put_metadata(txn, "a", "two", at(1_003))?;
                let within = |channel: &str, from: i64, until: i64| {
                    metadata_within(txn, channel, &(at(from)..at(until)))
                };
                let all = within("a", 0, i64::MAX)?;
                let texts: Vec<&str> = all.iter().map(|piece| piece.text.as_str()).collect();
                assert_eq!(texts, ["one", "two"]);
                assert_eq!(all[1].at, at(1_003));
                assert_eq!(within("a", 1_001, 1_004)?, all);
                assert_eq!(within("a", 1_001, 1_003)?, all[..1]);
                assert_eq!(within("a", 1_002, 1_004)?, all[1..]);
                assert_eq!(within("a", 1_004, i64::MAX)?, []);
                put_metadata(txn, "a", "three", at(1_002 + KEPT_MILLIS))?;
                let texts = within("a", 0, i64::MAX)?.into_iter().map(|piece| piece.text);
                assert_eq!(texts.collect::<Vec<_>>(), ["two", "three"]);
                forget_channel(txn, "a")?;
                assert_eq!(within("a", 0, i64::MAX)?, []);
                assert_eq!(within("b", 0, i64::MAX)?.len(), 1);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
