//! Timed metadata of live streams: what `PutMetadata` was given, in order, for the edge to deliver.
//!
//! It is kept for as long as a player may still be behind, and at most as long as its channel. Streams
//! of one channel follow each other, so that its time tells to which of them a piece belongs.

use std::ops::{Range, RangeInclusive};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{StoreError, View, collection};
use crate::clock::Timestamp;

/// Channel ARN and sequence number to the instant in milliseconds since the Unix epoch, and the text.
const METADATA: TableDefinition<'_, (&str, u64), (i64, &str)> = TableDefinition::new("metadata");

/// How long a piece is kept, in milliseconds. Playlists hold far less.
const KEPT_MILLIS: i64 = 5 * 60 * 1000;

/// A piece of metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::emulator) struct Metadata {
    /// Grows from piece to piece, with gaps. Unique in the whole store.
    pub(in crate::emulator) sequence: u64,
    /// When it was put, to the millisecond.
    pub(in crate::emulator) at: Timestamp,
    pub(in crate::emulator) text: String,
}

/// Adds a piece to the live stream of a channel.
pub(in crate::emulator) fn put(
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

/// What was put on a channel within a time, in order. Older pieces are not read.
pub(in crate::emulator) fn within(
    view: &impl View,
    channel: &str,
    time: &Range<Timestamp>,
) -> Result<Vec<Metadata>, StoreError> {
    let metadata = view.table(METADATA)?;
    let mut found = Vec::new();
    for entry in metadata.range(all_of(channel))?.rev() {
        let (key, value) = entry?;
        let (at, text) = value.value();
        let at = Timestamp::from_unix_millis(at);
        if at < time.start {
            break;
        }
        if at < time.end {
            found.push(Metadata { sequence: key.value().1, at, text: text.to_owned() });
        }
    }
    found.reverse();
    Ok(found)
}

/// Forgets the metadata of a channel that is being deleted.
pub(in crate::emulator) fn forget_channel(
    transaction: &WriteTransaction,
    channel: &str,
) -> Result<(), StoreError> {
    transaction.open_table(METADATA)?.retain_in(all_of(channel), |_, _| false)?;
    Ok(())
}

/// Makes the table.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(METADATA)?.len()?;
    Ok(())
}

fn all_of(channel: &str) -> RangeInclusive<(&str, u64)> {
    (channel, 0)..=(channel, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::Store, *};

    #[test]
    fn metadata_is_kept_in_order_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let at = Timestamp::from_unix_millis;
        store
            .write(|txn| {
                put(txn, "a", "one", at(1_001))?;
                put(txn, "b", "other", at(1_002))?;
                put(txn, "a", "two", at(1_003))?;
                let within = |channel: &str, from: i64, until: i64| {
                    within(txn, channel, &(at(from)..at(until)))
                };
                let all = within("a", 0, i64::MAX)?;
                let texts: Vec<&str> = all.iter().map(|piece| piece.text.as_str()).collect();
                assert_eq!(texts, ["one", "two"]);
                assert_eq!(all[1].at, at(1_003));
                assert_eq!(within("a", 1_001, 1_004)?, all);
                assert_eq!(within("a", 1_001, 1_003)?, all[..1]);
                assert_eq!(within("a", 1_002, 1_004)?, all[1..]);
                assert_eq!(within("a", 1_004, i64::MAX)?, []);
                put(txn, "a", "three", at(1_002 + KEPT_MILLIS))?;
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
