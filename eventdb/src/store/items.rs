//! What an item of a table of events is. Copying, verifying, exporting and examining all ask this.

use crate::schema::{self, attribute};
use crate::store::layout::SdkItem;

/// What an item is, by its key and by whether the stream passes it to the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// It is published, so it should be readable as an event.
    Event,
    /// The end of a subject.
    Head,
    /// The state of an aggregate.
    Snapshot,
    /// What prevents an event's id, or a command, from being stored twice.
    Guard,
    /// Its key is reserved for the store, but this version doesn't know what it is.
    Reserved,
    /// Something else. Another program has written it.
    Foreign,
}

/// What an item is. It looks only at its key and at `pk_all`.
pub(crate) fn kind(item: &SdkItem) -> ItemKind {
    if is_published(item) {
        return ItemKind::Event;
    }
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let subject = text(attribute::SUBJECT).map_or("", String::as_str);
    // In a table by time, snapshots are in the partitions of the heads.
    let is_snapshot_by_time = text(attribute::TIME_TYPE)
        .is_some_and(|key| key.starts_with(schema::SNAPSHOT_SORT_KEY_PREFIX));
    let begins_with = |prefix: &str| subject.starts_with(prefix);
    if begins_with(schema::SNAPSHOT_PREFIX) || is_snapshot_by_time {
        ItemKind::Snapshot
    } else if begins_with(schema::HEAD_PREFIX) {
        ItemKind::Head
    } else if begins_with(schema::ID_GUARD_PREFIX) || begins_with(schema::COMMAND_PREFIX) {
        ItemKind::Guard
    } else if begins_with(schema::RESERVED_SUBJECT_PREFIX) {
        ItemKind::Reserved
    } else {
        ItemKind::Foreign
    }
}

/// Whether a subject begins as the keys of the store's own items do. The store refuses such subjects;
/// another program can have written one.
pub(crate) fn is_like_own_item(subject: &str) -> bool {
    let prefixes = [
        schema::HEAD_PREFIX,
        schema::SNAPSHOT_PREFIX,
        schema::ID_GUARD_PREFIX,
        schema::COMMAND_PREFIX,
    ];
    prefixes.iter().any(|prefix| subject.starts_with(prefix))
}

/// Whether the filter of the stream passes the item to the publisher.
fn is_published(item: &SdkItem) -> bool {
    let partition = item.get(attribute::PK_ALL).and_then(|value| value.as_s().ok());
    partition.is_some_and(|partition| partition.starts_with(schema::ALL_EVENTS))
}

#[cfg(test)]
mod tests {
    use super::{ItemKind, kind};
    use crate::store::layout::SdkItem;
    use crate::store::read::query::string;

    fn item(attributes: &[(&str, &str)]) -> SdkItem {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), string(*value))).collect()
    }

    #[test]
    fn the_key_and_the_publication_tell_what_an_item_is() {
        for (attributes, expected) in [
            (&[("subject", "book:1"), ("pk_all", "all")][..], ItemKind::Event),
            (&[("subject", "$book"), ("pk_all", "all-07")], ItemKind::Event),
            (&[("subject", "$head/book:1"), ("pk_all", "all")], ItemKind::Event),
            (&[("subject", "$head/book:1"), ("time_type", "$head")], ItemKind::Head),
            (&[("subject", "$head/book:1"), ("time_type", "$snapshot/Book")], ItemKind::Snapshot),
            (&[("subject", "$snapshot/book:1")], ItemKind::Snapshot),
            (&[("subject", "$id/x#y")], ItemKind::Guard),
            (&[("subject", "$command/x#y")], ItemKind::Guard),
            (&[("subject", "$new/x")], ItemKind::Reserved),
            (&[("subject", "book:1"), ("pk_all", "other")], ItemKind::Foreign),
            (&[("subject", "book:1"), ("time_type", "0000000000001_a")], ItemKind::Foreign),
            (&[], ItemKind::Foreign),
        ] {
            assert_eq!(kind(&item(attributes)), expected, "{attributes:?}");
        }
    }
}
