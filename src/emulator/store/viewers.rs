//! What viewers have used up: single-use ids that were spent, and sessions that were revoked.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::{StoreError, View};
use crate::{clock::Timestamp, ivs::arn::ChannelArn};

/// Region and account, and the UUID, to the `exp` of the token that spent it.
const SPENT: TableDefinition<'_, (&str, u128), i64> = TableDefinition::new("spent");
/// Channel ARN and viewer id to the highest session version that is revoked.
const REVOKED: TableDefinition<'_, (&str, &str), i64> = TableDefinition::new("revoked");

/// How long after its token's `exp` a single-use id is remembered, in seconds. A token cannot
/// come back after `exp`; the day is for two tokens that were given one id by mistake.
const REMEMBERED_SECONDS: i64 = 24 * 3600;

/// Whether a token with this single-use id has played.
pub(in crate::emulator) fn is_spent(
    view: &impl View,
    channel: &ChannelArn,
    id: Uuid,
) -> Result<bool, StoreError> {
    let spent = view.table(SPENT)?;
    Ok(spent.get((scope(channel).as_str(), id.as_u128()))?.is_some())
}

/// Spends a single-use id.
pub(in crate::emulator) fn spend(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    id: Uuid,
    expires_at: i64,
) -> Result<(), StoreError> {
    let mut spent = transaction.open_table(SPENT)?;
    spent.insert((scope(channel).as_str(), id.as_u128()), expires_at)?;
    Ok(())
}

/// Forgets the single-use ids of tokens that have long expired.
pub(in crate::emulator) fn prune_spent(
    transaction: &WriteTransaction,
    now: Timestamp,
) -> Result<(), StoreError> {
    let oldest = now.unix_seconds().saturating_sub(REMEMBERED_SECONDS);
    transaction.open_table(SPENT)?.retain(|_, expires_at| expires_at >= oldest)?;
    Ok(())
}

/// Revokes the viewer's sessions on the channel up to `version`. A lower version than before
/// gives nothing back.
pub(in crate::emulator) fn revoke(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    viewer_id: &str,
    version: i64,
) -> Result<(), StoreError> {
    let mut revoked = transaction.open_table(REVOKED)?;
    let key = (channel.as_str(), viewer_id);
    let before = revoked.get(key)?.map_or(i64::MIN, |version| version.value());
    revoked.insert(key, version.max(before))?;
    Ok(())
}

/// The highest revoked session version of the viewer on the channel.
pub(in crate::emulator) fn revoked_version(
    view: &impl View,
    channel: &ChannelArn,
    viewer_id: &str,
) -> Result<Option<i64>, StoreError> {
    let revoked = view.table(REVOKED)?;
    Ok(revoked.get((channel.as_str(), viewer_id))?.map(|version| version.value()))
}

/// Forgets the revocations of a channel that is being deleted.
pub(in crate::emulator) fn forget_channel(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
) -> Result<(), StoreError> {
    // The least text after the ARN bounds every viewer id, whatever it is.
    let after = format!("{channel}\0");
    let viewers = (channel.as_str(), "")..(after.as_str(), "");
    transaction.open_table(REVOKED)?.retain_in(viewers, |_, _| false)?;
    Ok(())
}

/// Makes the tables.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(SPENT)?.len()?;
    transaction.open_table(REVOKED)?.len()?;
    Ok(())
}

fn scope(channel: &ChannelArn) -> String {
    format!("{}/{}", channel.region(), channel.account())
}

#[cfg(test)]
mod tests {
    use super::{super::Store, *};

    fn channel(id: &str) -> ChannelArn {
        format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
    }

    #[test]
    fn an_id_stays_spent_until_its_token_is_long_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        store
            .write(|txn| {
                spend(txn, &channel("a"), id, 1_000)?;
                prune_spent(txn, Timestamp::from_unix_seconds(1_000 + REMEMBERED_SECONDS))?;
                assert!(is_spent(txn, &channel("a"), id)?);
                assert!(is_spent(txn, &channel("b"), id)?, "one id is one use in the account");
                assert!(!is_spent(txn, &channel("a"), other)?);
                prune_spent(txn, Timestamp::from_unix_seconds(1_001 + REMEMBERED_SECONDS))?;
                assert!(!is_spent(txn, &channel("a"), id)?);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }

    #[test]
    fn a_revocation_only_grows_and_goes_with_its_channel() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .write(|txn| {
                let (a, b) = (channel("a"), channel("b"));
                revoke(txn, &a, "v", 7)?;
                revoke(txn, &a, "v", 3)?;
                revoke(txn, &a, "\u{1f600}", 1)?;
                revoke(txn, &b, "v", 0)?;
                assert_eq!(revoked_version(txn, &a, "v")?, Some(7));
                assert_eq!(revoked_version(txn, &a, "w")?, None);
                forget_channel(txn, &a)?;
                assert_eq!(revoked_version(txn, &a, "v")?, None);
                assert_eq!(revoked_version(txn, &a, "\u{1f600}")?, None);
                assert_eq!(revoked_version(txn, &b, "v")?, Some(0));
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
