//! The id of the store that an event comes from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::schema::limit;

/// The id of the store that an event comes from. Every published message has it as the CloudEvents
/// attribute `eventstore`, and every [`Position`](crate::Position) keeps it.
///
/// It is the ARN of the table's stream, which contains the account, the region, the table and the
/// time at which the stream was enabled. So it stays the same when the stack is deployed again. It
/// differs for another table, for a table that was deleted and created again with the same name, and
/// for a table that was restored from a backup. It also changes if somebody disables and enables the
/// stream of a table, which a deployment doesn't do by itself.
///
/// Ids are compared as a whole. A store that isn't published from a DynamoDB stream may use any text
/// of 1 to 384 printable ASCII characters other than `"` and `\`.
///
/// ```
/// use eventdb::StoreId;
///
/// let store: StoreId =
///     "arn:aws:dynamodb:eu-west-1:111111111111:table/Events/stream/2025-01-28T14:00:00.000".parse()?;
/// assert_eq!(store.table(), "arn:aws:dynamodb:eu-west-1:111111111111:table/Events");
/// # Ok::<(), eventdb::InvalidStoreId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(Arc<str>);

/// A text that can't be a [`StoreId`].
///
/// ```
/// let error = "".parse::<eventdb::StoreId>().unwrap_err();
/// assert!(error.to_string().starts_with("the id of a store has 0 bytes"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the id of a store has {bytes} bytes{}; it must be the ARN of a table's stream, or 1 to {most} \
     printable ASCII characters other than quotation marks and backslashes",
    if *.has_other_characters { " and characters that aren't allowed" } else { "" },
    most = limit::STORE_ID_BYTES
)]
#[non_exhaustive]
pub struct InvalidStoreId {
    /// Length of the text in bytes.
    pub bytes: usize,
    /// Whether it has characters that aren't allowed.
    pub has_other_characters: bool,
}

/// The part of a stream's ARN between the table's ARN and the time.
const STREAM: &str = "/stream/";

impl StoreId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ARN of the table. If the id isn't the ARN of a stream, it is the whole id.
    ///
    /// If two ids differ but their tables are equal, the table was deleted and created again, or its
    /// stream was disabled and enabled.
    pub fn table(&self) -> &str {
        self.0.split_once(STREAM).map_or(&self.0, |(table, _)| table)
    }
}

impl FromStr for StoreId {
    type Err = InvalidStoreId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // JSON escapes none of these characters, so the id has the same length there.
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        let has_other_characters = !text.bytes().all(is_allowed);
        if has_other_characters || text.is_empty() || text.len() > limit::STORE_ID_BYTES {
            return Err(InvalidStoreId { bytes: text.len(), has_other_characters });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_arn_of_a_stream_is_a_store_id() {
        let table = "T".repeat(255);
        let arn = format!(
            "arn:aws-us-gov:dynamodb:ap-southeast-99:123456789012:table/{table}/stream/\
             2025-01-28T14:00:00.000"
        );
        let store: StoreId = arn.parse().expect("an ARN of AWS");
        assert_eq!(store.as_str(), arn);
    }

    #[test]
    fn text_that_json_would_escape_is_not_a_store_id() {
        for text in ["", "a\"b", "a\\b", "a b", "a\nb", "ä", &"a".repeat(385)] {
            assert!(text.parse::<StoreId>().is_err(), "{text:?}");
        }
    }
}
