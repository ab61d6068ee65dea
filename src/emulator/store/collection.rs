//! Records in collections: listed in the order of creation, and found by name.
//!
//! [`Record`] gives the collection of a record ("the channels of this region") and its name (its
//! ARN). Sequence numbers are never reused, so a page of a list can start after the number of a
//! record that was removed.

use std::{borrow::Cow, collections::BTreeMap};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{META, StoreError, View};

/// Collection and sequence number to the record, in JSON.
pub(super) const RECORDS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("records");
/// Name to collection and sequence number.
pub(super) const NAMES: TableDefinition<'_, &str, (&str, u64)> = TableDefinition::new("names");
const LAST_SEQUENCE: &str = "last-sequence";

/// The tags of a resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// A record that a collection can contain.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Returns the collection that it is in.
    fn collection(&self) -> String;
    /// Returns its name, which is unique over all collections.
    fn name(&self) -> Cow<'_, str>;
}

/// A record with its tags, which the tag operations change for every kind of record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Tagged<T> {
    pub(crate) tags: Tags,
    pub(crate) record: T,
}

impl<T> From<T> for Tagged<T> {
    fn from(record: T) -> Self {
        Self { tags: Tags::new(), record }
    }
}

/// A page of a collection.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// The records, the oldest first.
    pub(crate) items: Vec<Tagged<T>>,
    /// The sequence number after which the next page begins, if there is one.
    pub(crate) next: Option<u64>,
}

/// Adds a record at the end of its collection.
pub(crate) fn insert<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let sequence = next_sequence(transaction)?;
    insert_at(transaction, sequence, entry)
}

/// Adds a record at the head of its collection. Every record of that collection must be added like
/// this.
pub(crate) fn insert_first<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let sequence = u64::MAX - next_sequence(transaction)?;
    insert_at(transaction, sequence, entry)
}

/// Returns a number that no other record has had.
pub(super) fn next_sequence(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    let mut meta = transaction.open_table(META)?;
    let last = meta.get(LAST_SEQUENCE)?.map_or(0, |last| last.value());
    meta.insert(LAST_SEQUENCE, last + 1)?;
    // It would take centuries of writes to get there.
    Ok(u64::try_from(last + 1).unwrap_or(u64::MAX))
}

fn insert_at<T: Record>(
    transaction: &WriteTransaction,
    sequence: u64,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let collection = entry.record.collection();
    let key = (collection.as_str(), sequence);
    transaction.open_table(NAMES)?.insert(entry.record.name().as_ref(), key)?;
    transaction.open_table(RECORDS)?.insert(key, serde_json::to_vec(entry)?.as_slice())?;
    Ok(())
}

/// Replaces the record of the same name.
pub(crate) fn replace<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    set(transaction, &entry.record.name(), entry)
}

/// Returns the record of that name.
pub(crate) fn find<T: DeserializeOwned>(
    view: &impl View,
    name: &str,
) -> Result<Option<Tagged<T>>, StoreError> {
    let names = view.table(NAMES)?;
    let Some(place) = names.get(name)? else { return Ok(None) };
    let records = view.table(RECORDS)?;
    let entry = records.get(place.value())?;
    Ok(entry.map(|bytes| serde_json::from_slice(bytes.value())).transpose()?)
}

/// Removes the record of that name. Returns whether it existed.
pub(crate) fn remove(transaction: &WriteTransaction, name: &str) -> Result<bool, StoreError> {
    let mut names = transaction.open_table(NAMES)?;
    let mut records = transaction.open_table(RECORDS)?;
    let Some(place) = names.remove(name)? else { return Ok(false) };
    records.remove(place.value())?;
    Ok(true)
}

/// Removes every record of a collection.
pub(crate) fn remove_all<T: Record>(
    transaction: &WriteTransaction,
    collection: &str,
) -> Result<(), StoreError> {
    for entry in all::<T>(transaction, collection)? {
        remove(transaction, &entry.record.name())?;
    }
    Ok(())
}

/// Returns every record of a collection.
pub(crate) fn all<T: Record>(
    view: &impl View,
    collection: &str,
) -> Result<Vec<Tagged<T>>, StoreError> {
    page(view, collection, 0, usize::MAX, |_| true).map(|page| page.items)
}

/// Returns every record of one kind, over all regions and accounts.
pub(crate) fn all_regions<T: Record>(
    view: &impl View,
    kind: &str,
) -> Result<Vec<Tagged<T>>, StoreError> {
    let records = view.table(RECORDS)?;
    let mut found = Vec::new();
    for entry in records.iter()? {
        let (key, value) = entry?;
        let collection = key.value().0;
        if collection.rsplit_once('/').is_some_and(|(_, last)| last == kind) {
            found.push(serde_json::from_slice(value.value())?);
        }
    }
    Ok(found)
}

/// Returns at most `limit` of the records after sequence number `after` that pass `keep`.
pub(crate) fn page<T: Record>(
    view: &impl View,
    collection: &str,
    after: u64,
    limit: usize,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<T>, StoreError> {
    let records = view.table(RECORDS)?;
    let mut page = Page { items: Vec::new(), next: None };
    let mut last = after;
    let first = after.saturating_add(1);
    for entry in records.range((collection, first)..=(collection, u64::MAX))? {
        let (key, value) = entry?;
        let entry: Tagged<T> = serde_json::from_slice(value.value())?;
        if !keep(&entry.record) {
            continue;
        }
        // There is another page only if another record passes.
        if page.items.len() == limit {
            page.next = Some(last);
            break;
        }
        last = key.value().1;
        page.items.push(entry);
    }
    Ok(page)
}

/// Returns how many records a collection has.
pub(crate) fn count(view: &impl View, collection: &str) -> Result<usize, StoreError> {
    let records = view.table(RECORDS)?;
    Ok(records.range((collection, 0)..=(collection, u64::MAX))?.count())
}

/// Returns the tags of the record of that name, whatever its type.
pub(crate) fn tags(view: &impl View, name: &str) -> Result<Option<Tags>, StoreError> {
    Ok(find::<serde_json::Value>(view, name)?.map(|entry| entry.tags))
}

/// Sets the tags of the record of that name, whatever its type.
pub(crate) fn set_tags(
    transaction: &WriteTransaction,
    name: &str,
    tags: Tags,
) -> Result<(), StoreError> {
    match find::<serde_json::Value>(transaction, name)? {
        Some(entry) => set(transaction, name, &Tagged { tags, ..entry }),
        None => Ok(()),
    }
}

fn set<T: Serialize>(
    transaction: &WriteTransaction,
    name: &str,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let names = transaction.open_table(NAMES)?;
    let Some(place) = names.get(name)? else { return Ok(()) };
    let mut records = transaction.open_table(RECORDS)?;
    records.insert(place.value(), serde_json::to_vec(entry)?.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::Store, *};

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Thing {
        shelf: String,
        name: String,
    }

    impl Record for Thing {
        fn collection(&self) -> String {
            self.shelf.clone()
        }

        fn name(&self) -> Cow<'_, str> {
            (&self.name).into()
        }
    }

    fn thing(shelf: &str, name: &str) -> Tagged<Thing> {
        Tagged { tags: Tags::new(), record: Thing { shelf: shelf.into(), name: name.into() } }
    }

    fn with_store(test: impl FnOnce(&Store) -> Result<(), StoreError>) {
        let dir = tempfile::tempdir().unwrap();
        test(&Store::open(dir.path()).unwrap()).unwrap();
    }

    fn names(page: &Page<Thing>) -> Vec<&str> {
        page.items.iter().map(|entry| entry.record.name.as_str()).collect()
    }

    #[test]
    fn list_is_in_order_of_creation_within_its_collection() {
        with_store(|store| {
            store.write(|txn| {
                for name in ["z", "a", "m"] {
                    insert(txn, &thing("s", name))?;
                    insert(txn, &thing("ss", &format!("other {name}")))?;
                }
                Ok::<_, StoreError>(())
            })?;
            store.read(|view| {
                let first = page::<Thing>(view, "s", 0, 2, |_| true)?;
                assert_eq!(names(&first), ["z", "a"]);
                let second = page::<Thing>(view, "s", first.next.unwrap(), 2, |_| true)?;
                assert_eq!((names(&second), second.next), (vec!["m"], None));
                let kept = page::<Thing>(view, "s", 0, 1, |thing| thing.name == "a")?;
                assert_eq!((names(&kept), kept.next), (vec!["a"], None));
                assert_eq!(count(view, "s")?, 3);
                Ok(())
            })
        });
    }

    #[test]
    fn insert_first_lists_latest_first() {
        with_store(|store| {
            store.write(|txn| {
                for name in ["a", "b", "c"] {
                    insert_first(txn, &thing("s", name))?;
                }
                let first = page::<Thing>(txn, "s", 0, 2, |_| true)?;
                assert_eq!(names(&first), ["c", "b"]);
                insert_first(txn, &thing("s", "d"))?;
                let rest = page::<Thing>(txn, "s", first.next.unwrap(), 2, |_| true)?;
                assert_eq!((names(&rest), rest.next), (vec!["a"], None));
                Ok(())
            })
        });
    }

    #[test]
    fn page_starts_after_removed_record() {
        with_store(|store| {
            store.write(|txn| {
                for name in ["a", "b", "c"] {
                    insert(txn, &thing("s", name))?;
                }
                let first = page::<Thing>(txn, "s", 0, 1, |_| true)?;
                assert!(remove(txn, "a")?);
                assert!(!remove(txn, "a")?);
                remove(txn, "c")?;
                insert(txn, &thing("s", "d"))?;
                let rest = page::<Thing>(txn, "s", first.next.unwrap(), 9, |_| true)?;
                assert_eq!(names(&rest), ["b", "d"]);
                Ok(())
            })
        });
    }

    #[test]
    fn tags_and_record_change_separately() {
        with_store(|store| {
            store.write(|txn| {
                insert(txn, &thing("s", "a"))?;
                set_tags(txn, "a", Tags::from([("k".into(), "v".into())]))?;
                let mut entry = find::<Thing>(txn, "a")?.unwrap();
                assert_eq!(entry.record, thing("s", "a").record);
                assert_eq!(tags(txn, "a")?.unwrap().len(), 1);
                entry.tags.clear();
                replace(txn, &entry)?;
                assert_eq!(tags(txn, "a")?.unwrap().len(), 0);
                remove_all::<Thing>(txn, "s")?;
                assert!(tags(txn, "a")?.is_none());
                Ok(())
            })
        });
    }
}
