//! Spent single-use ids and revoked viewer sessions.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

use super::{StoreError, View};
use crate::{clock::Timestamp, ivs::arn::ChannelArn};

/// Region and account, and the UUID, to the `exp` of the token that spent it.
pub(super) const SPENT: TableDefinition<'_, (&str, u128), i64> = TableDefinition::new("spent");
/// Channel ARN and viewer id to the highest revoked session version.
pub(super) const REVOKED: TableDefinition<'_, (&str, &str), i64> = TableDefinition::new("revoked");

/// How long a single-use id is kept after the `exp` of its token, in seconds. An expired token cannot
/// be used again; the day covers two tokens that were given the same id by mistake.
const KEPT_SECONDS: i64 = 24 * 3600;

/// Returns whether a token with this single-use id has played.
pub(crate) fn is_spent(
    view: &impl View,
    channel: &ChannelArn,
    id: Uuid,
) -> Result<bool, StoreError> {
    let spent = view.table(SPENT)?;
    Ok(spent.get((scope(channel).as_str(), id.as_u128()))?.is_some())
}

/// Spends a single-use id.
pub(crate) fn spend(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    id: Uuid,
    expires_at: i64,
) -> Result<(), StoreError> {
    let mut spent = transaction.open_table(SPENT)?;
    spent.insert((scope(channel).as_str(), id.as_u128()), expires_at)?;
    Ok(())
}

/// Removes the single-use ids of tokens that expired long ago.
pub(crate) fn prune_spent(
    transaction: &WriteTransaction,
    now: Timestamp,
) -> Result<(), StoreError> {
    let oldest = now.unix_seconds().saturating_sub(KEPT_SECONDS);
    transaction.open_table(SPENT)?.retain(|_, expires_at| expires_at >= oldest)?;
    Ok(())
}

/// Revokes the viewer's sessions on the channel up to `version`. A lower version than before has no
/// effect.
pub(crate) fn revoke(
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

/// Returns whether a version of the viewer's session on the channel is revoked.
pub(crate) fn is_revoked(
    view: &impl View,
    channel: &ChannelArn,
    viewer_id: &str,
    version: i64,
) -> Result<bool, StoreError> {
    let revocations = view.table(REVOKED)?;
    let revoked = revocations.get((channel.as_str(), viewer_id))?;
    Ok(revoked.is_some_and(|revoked| version <= revoked.value()))
}

/// Removes the revocations of a channel that is being deleted.
pub(crate) fn forget_channel(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
) -> Result<(), StoreError> {
    // No text sorts between the ARN and this bound, so the range covers every viewer id.
    let after = format!("{channel}\0");
    let viewers = (channel.as_str(), "")..(after.as_str(), "");
    transaction.open_table(REVOKED)?.retain_in(viewers, |_, _| false)?;
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
    fn id_stays_spent_until_a_day_after_exp() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        store
            .write(|txn| {
                spend(txn, &channel("a"), id, 1_000)?;
                prune_spent(txn, Timestamp::from_unix_seconds(1_000 + KEPT_SECONDS))?;
                assert!(is_spent(txn, &channel("a"), id)?);
                assert!(is_spent(txn, &channel("b"), id)?, "one id is one use in the account");
                assert!(!is_spent(txn, &channel("a"), other)?);
                prune_spent(txn, Timestamp::from_unix_seconds(1_001 + KEPT_SECONDS))?;
                assert!(!is_spent(txn, &channel("a"), id)?);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }

    #[test]
    fn revocation_only_grows_and_is_removed_with_channel() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .write(|txn| {
                let (a, b) = (channel("a"), channel("b"));
                revoke(txn, &a, "v", 7)?;
                revoke(txn, &a, "v", 3)?;
                revoke(txn, &a, "\u{1f600}", 1)?;
                revoke(txn, &b, "v", 0)?;
                assert!(is_revoked(txn, &a, "v", 7)? && !is_revoked(txn, &a, "v", 8)?);
                assert!(is_revoked(txn, &a, "\u{1f600}", 1)?);
                assert!(!is_revoked(txn, &a, "w", i64::MIN)?);
                forget_channel(txn, &a)?;
                assert!(!is_revoked(txn, &a, "v", i64::MIN)?);
                assert!(!is_revoked(txn, &a, "\u{1f600}", i64::MIN)?);
                assert!(is_revoked(txn, &b, "v", 0)? && !is_revoked(txn, &b, "v", 1)?);
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }
}
