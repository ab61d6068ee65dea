//! Records in collections: in the order in which they were made, and found by name.
//!
//! A record says by [`Record`] which collection it is in ("the channels of this region") and which
//! name it has (its ARN). Sequence numbers are never used twice, so that a page of a list can go
//! on after one even when the record that had it is gone.

use std::{borrow::Cow, collections::BTreeMap};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{META, StoreError, View};

/// Collection and sequence number to the record, in JSON.
const RECORDS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("records");
/// Name to collection and sequence number.
const NAMES: TableDefinition<'_, &str, (&str, u64)> = TableDefinition::new("names");
const LAST_SEQUENCE: &str = "last-sequence";

/// The tags of a resource.
pub(in crate::emulator) type Tags = BTreeMap<String, String>;

/// What can be kept in a collection.
pub(in crate::emulator) trait Record: Serialize + DeserializeOwned {
    /// The collection that it is in.
    fn collection(&self) -> String;
    /// Its name, unique over all collections.
    fn name(&self) -> Cow<'_, str>;
}

/// A record with its tags, which the tag operations change whatever the record is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct Tagged<T> {
    pub(in crate::emulator) tags: Tags,
    pub(in crate::emulator) record: T,
}

impl<T> From<T> for Tagged<T> {
    /// Without tags.
    fn from(record: T) -> Self {
        Self { tags: Tags::new(), record }
    }
}

/// A part of a collection.
#[derive(Debug)]
pub(in crate::emulator) struct Page<T> {
    /// The records, the first made first.
    pub(in crate::emulator) items: Vec<Tagged<T>>,
    /// The sequence number after which the next page begins, where there is one.
    pub(in crate::emulator) next: Option<u64>,
}

/// Adds a record at the end of its collection.
pub(in crate::emulator) fn insert<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let sequence = next_sequence(transaction)?;
    insert_at(transaction, sequence, entry)
}

/// Adds a record at the head of its collection, which is then in the opposite order throughout: no
/// record of it may be added at the end.
pub(in crate::emulator) fn insert_first<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    let sequence = u64::MAX - next_sequence(transaction)?;
    insert_at(transaction, sequence, entry)
}

/// A number that no other record has had.
pub(super) fn next_sequence(transaction: &WriteTransaction) -> Result<u64, StoreError> {
    let mut meta = transaction.open_table(META)?;
    let last = meta.get(LAST_SEQUENCE)?.map_or(0, |last| last.value());
    meta.insert(LAST_SEQUENCE, last + 1)?;
    // A file would have to be written for centuries to get there.
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

/// Writes a record anew in the place of the one that has its name.
pub(in crate::emulator) fn replace<T: Record>(
    transaction: &WriteTransaction,
    entry: &Tagged<T>,
) -> Result<(), StoreError> {
    set(transaction, &entry.record.name(), entry)
}

/// The record of that name.
pub(in crate::emulator) fn find<T: Record>(
    view: &impl View,
    name: &str,
) -> Result<Option<Tagged<T>>, StoreError> {
    get(view, name)
}

/// Removes the record of that name; whether there was one.
pub(in crate::emulator) fn remove(
    transaction: &WriteTransaction,
    name: &str,
) -> Result<bool, StoreError> {
    let mut names = transaction.open_table(NAMES)?;
    let mut records = transaction.open_table(RECORDS)?;
    let Some(place) = names.remove(name)? else { return Ok(false) };
    records.remove(place.value())?;
    Ok(true)
}

/// Removes every record of a collection.
pub(in crate::emulator) fn remove_all<T: Record>(
    transaction: &WriteTransaction,
    collection: &str,
) -> Result<(), StoreError> {
    for entry in all::<T>(transaction, collection)? {
        remove(transaction, &entry.record.name())?;
    }
    Ok(())
}

/// Every record of a collection.
pub(in crate::emulator) fn all<T: Record>(
    view: &impl View,
    collection: &str,
) -> Result<Vec<Tagged<T>>, StoreError> {
    page(view, collection, 0, usize::MAX, |_| true).map(|page| page.items)
}

/// Every record of the collections whose names end in `/` and `kind`.
pub(in crate::emulator) fn everywhere<T: Record>(
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

/// At most `limit` records made after sequence number `after` that `keep` keeps.
pub(in crate::emulator) fn page<T: Record>(
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
        // Only a further record that belongs to the list makes a further page.
        if page.items.len() == limit {
            page.next = Some(last);
            break;
        }
        last = key.value().1;
        page.items.push(entry);
    }
    Ok(page)
}

/// How many records a collection has.
pub(in crate::emulator) fn count(view: &impl View, collection: &str) -> Result<usize, StoreError> {
    let records = view.table(RECORDS)?;
    Ok(records.range((collection, 0)..=(collection, u64::MAX))?.count())
}

/// The tags of whatever has that name.
pub(in crate::emulator) fn tags(view: &impl View, name: &str) -> Result<Option<Tags>, StoreError> {
    let entry: Option<Tagged<serde_json::Value>> = get(view, name)?;
    Ok(entry.map(|entry| entry.tags))
}

/// Sets the tags of what has that name.
pub(in crate::emulator) fn set_tags(
    transaction: &WriteTransaction,
    name: &str,
    tags: Tags,
) -> Result<(), StoreError> {
    match get::<serde_json::Value>(transaction, name)? {
        Some(entry) => set(transaction, name, &Tagged { tags, ..entry }),
        None => Ok(()),
    }
}

/// Makes the tables.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(RECORDS)?.len()?;
    transaction.open_table(NAMES)?.len()?;
    Ok(())
}

fn get<T: DeserializeOwned>(view: &impl View, name: &str) -> Result<Option<Tagged<T>>, StoreError> {
    let names = view.table(NAMES)?;
    let Some(place) = names.get(name)? else { return Ok(None) };
    let records = view.table(RECORDS)?;
    let entry = match records.get(place.value())? {
        Some(bytes) => Some(serde_json::from_slice(bytes.value())?),
        None => None,
    };
    Ok(entry)
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
    fn a_list_keeps_the_order_of_making_and_its_own_collection() {
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
    fn a_collection_can_be_in_the_opposite_order() {
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
    fn a_page_goes_on_after_a_record_that_was_removed() {
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
    fn records_and_tags_change_apart() {
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
