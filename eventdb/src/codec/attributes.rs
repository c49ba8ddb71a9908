//! The attributes of a row that is being read.

use std::collections::HashMap;

use serde_dynamo::{AttributeValue, Item};

/// A row has some ten attributes. A list of so few is searched sooner than a hash table, and it is made
/// of what the AWS client has read without hashing every name once more.
pub(crate) struct Attributes(Vec<(String, AttributeValue)>);

impl Attributes {
    pub(crate) fn of(attributes: impl IntoIterator<Item = (String, AttributeValue)>) -> Self {
        Self(attributes.into_iter().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value)
    }

    /// The attribute, which is then no longer in the list.
    pub(crate) fn take(&mut self, name: &str) -> Option<AttributeValue> {
        let place = self.0.iter().position(|(of, _)| of == name)?;
        Some(self.0.swap_remove(place).1)
    }

    pub(crate) fn put(&mut self, name: &str, value: AttributeValue) {
        self.0.push((name.to_owned(), value));
    }

    pub(crate) fn into_item(self) -> Item {
        self.0.into_iter().collect::<HashMap<_, _>>().into()
    }
}
