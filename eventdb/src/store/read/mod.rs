//! Reading one event by its id, the events of a subject, of a type, or of all subjects, and what caused
//! an event.

pub(crate) mod fetch_event;
pub(crate) mod fetch_events;
pub(crate) mod fetch_subjects;
pub(crate) mod fetch_trace;
pub(crate) mod query;
pub(crate) mod trace;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::codec::item::{self, InvalidItem};
use crate::event::Event;
use crate::schema::attribute;
use crate::store::layout::SdkItem;

/// How often a page with a missing revision is read again before the event counts as removed.
pub(crate) const GAP_RETRIES: u32 = 3;

/// Waits before a page with a missing revision is read again. A query isn't isolated from concurrent
/// transactions, so the revision may be missing for a moment only.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-isolation>
pub(crate) async fn pause_before_reread(retry: u32) {
    tokio::time::sleep(Duration::from_millis(20 << retry)).await;
}

/// The revision of a row, if it is readable.
pub(crate) fn revision_of_item(item: &SdkItem) -> Option<u64> {
    item.get(attribute::REVISION)?.as_n().ok()?.parse().ok()
}

/// The time of a row in milliseconds, if it is readable.
pub(crate) fn time_of(item: &SdkItem) -> Option<i64> {
    item.get(attribute::TIME)?.as_n().ok()?.parse().ok()
}

/// Reads the event of a row from the AWS client.
pub(crate) fn decode(row: SdkItem) -> Result<Event, InvalidItem> {
    if row.values().all(is_known) {
        return item::decode_attributes(row.into_iter().map(|(name, value)| (name, value.into())));
    }
    let (known, unknown): (SdkItem, SdkItem) =
        row.into_iter().partition(|(_, value)| is_known(value));
    let name = unknown.keys().next().map_or("?", String::as_str);
    let reason = format!("`{name}` has a type that this version of the AWS client doesn't know");
    Err(InvalidItem { item: known.into(), reason })
}

/// The event of a row, and the first attribute that shows that it isn't a repetition of the given
/// event, if any. The data and the extensions of an erased event aren't compared.
pub(crate) fn decode_repetition(
    row: SdkItem,
    given: &Event,
) -> Result<(Event, Option<&'static str>), InvalidItem> {
    let is_erased = row.contains_key(attribute::ERASED);
    let stored = decode(row)?;
    let difference = match is_erased {
        true => given.difference(&with_contents_of(given, &stored)),
        false => given.difference(&stored),
    };
    Ok((stored, difference))
}

/// A stored event with the data and the extensions of another one, as if it weren't erased.
pub(crate) fn with_contents_of(given: &Event, stored: &Event) -> Event {
    let (data, extensions) = (given.data.clone(), given.extensions.clone());
    Event { data, extensions, ..stored.clone() }
}

/// Whether the AWS client knows the types of a value and of all values in it.
fn is_known(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::M(map) => map.values().all(is_known),
        AttributeValue::L(values) => values.iter().all(is_known),
        AttributeValue::B(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Bs(_)
        | AttributeValue::N(_)
        | AttributeValue::Ns(_)
        | AttributeValue::Null(_)
        | AttributeValue::S(_)
        | AttributeValue::Ss(_) => true,
        _ => false,
    }
}
