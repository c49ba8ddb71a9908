//! Reading one event by its id, and the events of a subject, of a type, or of all subjects.

pub(crate) mod fetch_event;
pub(crate) mod fetch_events;
pub(crate) mod query;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::codec::item::{self, InvalidItem};
use crate::event::Event;
use crate::store::layout::SdkItem;

/// Reads the event of a row from the AWS client.
pub(crate) fn decode(row: SdkItem) -> Result<Event, InvalidItem> {
    if row.values().all(is_known) {
        return item::decode(row.into());
    }
    let (known, unknown): (SdkItem, SdkItem) =
        row.into_iter().partition(|(_, value)| is_known(value));
    let name = unknown.keys().next().map_or("?", String::as_str);
    let reason = format!("`{name}` has a type that this version of the AWS client doesn't know");
    Err(InvalidItem { item: known.into(), reason })
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
