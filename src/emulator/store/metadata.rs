//! Timed metadata of live streams: what `PutMetadata` was given, in order, for the edge to deliver.
//!
//! It belongs to a stream. It is kept for as long as a player may still be behind, and at most until
//! the stream ends.

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

/// What was put on the live stream of a channel after the piece with number `after`, in order; from
/// the start where that is 0.
pub(in crate::emulator) fn since(
    view: &impl View,
    channel: &str,
    after: u64,
) -> Result<Vec<Metadata>, StoreError> {
    let metadata = view.table(METADATA)?;
    let mut found = Vec::new();
    for entry in metadata.range((channel, after.saturating_add(1))..=(channel, u64::MAX))? {
        let (key, value) = entry?;
        let (at, text) = value.value();
        found.push(Metadata {
            sequence: key.value().1,
            at: Timestamp::from_unix_millis(at),
            text: text.to_owned(),
        });
    }
    Ok(found)
}

/// Forgets the metadata of a stream that has ended.
pub(in crate::emulator) fn forget(
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

fn all_of(channel: &str) -> std::ops::RangeInclusive<(&str, u64)> {
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
                let all = since(txn, "a", 0)?;
                let texts: Vec<&str> = all.iter().map(|piece| piece.text.as_str()).collect();
                assert_eq!(texts, ["one", "two"]);
                assert_eq!(all[1].at, at(1_003));
                assert_eq!(since(txn, "a", all[0].sequence)?, all[1..]);
                assert_eq!(since(txn, "a", all[1].sequence)?, []);
                put(txn, "a", "three", at(1_002 + KEPT_MILLIS))?;
                let texts = since(txn, "a", 0)?.into_iter().map(|piece| piece.text);
                assert_eq!(texts.collect::<Vec<_>>(), ["two", "three"]);
                forget(txn, "a")?;
                assert_eq!(since(txn, "a", 0)?, []);
                assert_eq!(since(txn, "b", 0)?.len(), 1);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
