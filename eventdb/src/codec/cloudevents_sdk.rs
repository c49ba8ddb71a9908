//! Conversion to and from the event of the official SDK, the crate `cloudevents-sdk`.

use serde_json::Value;

use crate::event::Event;

impl TryFrom<Event> for cloudevents::Event {
    type Error = serde_json::Error;

    /// The same event for the SDK; the revision becomes the extension `sequence`.
    fn try_from(event: Event) -> Result<Self, Self::Error> {
        serde_json::from_value(serde_json::to_value(event)?)
    }
}

impl TryFrom<cloudevents::Event> for Event {
    type Error = serde_json::Error;

    /// The same event for the store. It must have a subject, a time and a JSON object as its data.
    fn try_from(mut event: cloudevents::Event) -> Result<Self, Self::Error> {
        use serde::de::Error as _;
        // The SDK may hold JSON data as bytes or text, but we need the object.
        let (media_type, schema, data) = event.take_data();
        let data: Value = match data {
            Some(data) => data.try_into()?,
            None => return Err(serde_json::Error::custom("`data` is missing")),
        };
        let mut members = match serde_json::to_value(&event)? {
            Value::Object(members) => members,
            _ => return Err(serde_json::Error::custom("the event isn't an object")),
        };
        members.insert("data".to_owned(), data);
        if let Some(media_type) = media_type {
            members.insert("datacontenttype".to_owned(), media_type.into());
        }
        if let Some(schema) = schema {
            members.insert("dataschema".to_owned(), schema.to_string().into());
        }
        // The SDK's integers have 64 bits, those of CloudEvents 32. Larger ones are refused here.
        serde_json::from_value(Value::Object(members))
    }
}
