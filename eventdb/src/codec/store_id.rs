//! Which store an event comes from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::schema::limit;

/// Which store an event comes from: every published message says it, as the CloudEvents attribute
/// `eventstore`, and every [`Position`](crate::Position) keeps it.
///
/// It is the ARN of the table's stream, which holds account, region, table, and the time at which
/// the stream was switched on. So it stays the same over redeployments, and it is another one for
/// another table, for a table that was removed and made again under the same name, and for a table
/// that was restored from a backup. It changes too when the stream of a table is switched off and on
/// again, which no deployment does by itself.
///
/// It is compared as a whole. A store that isn't published from a DynamoDB stream may use any text of
/// printable ASCII characters but `"` and `\`, of at most
/// [`STORE_ID_BYTES`](limit::STORE_ID_BYTES) bytes.
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
    if *.has_other_characters { " and other characters than it may" } else { "" },
    most = limit::STORE_ID_BYTES
)]
#[non_exhaustive]
pub struct InvalidStoreId {
    /// How long the text is.
    pub bytes: usize,
    /// Whether it has characters that aren't allowed.
    pub has_other_characters: bool,
}

/// What stands in the ARN of a stream between the table's ARN and the time.
const STREAM: &str = "/stream/";

impl StoreId {
    /// The text.
    ///
    /// ```
    /// # let store: eventdb::StoreId = "library".parse()?;
    /// assert_eq!(store.as_str(), "library");
    /// # Ok::<(), eventdb::InvalidStoreId>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ARN of the table; of a text that isn't the ARN of a stream, the text.
    ///
    /// Where two ids differ but their tables don't, the table was removed and made again, or its
    /// stream was switched off and on.
    ///
    /// ```
    /// # let store: eventdb::StoreId = "library".parse()?;
    /// assert_eq!(store.table(), "library");
    /// # Ok::<(), eventdb::InvalidStoreId>(())
    /// ```
    pub fn table(&self) -> &str {
        self.0.split_once(STREAM).map_or(&self.0, |(table, _)| table)
    }
}

impl FromStr for StoreId {
    type Err = InvalidStoreId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // So that it is as long in JSON as it is here.
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
    fn what_json_would_escape_is_no_store_id() {
        for text in ["", "a\"b", "a\\b", "a b", "a\nb", "ä", &"a".repeat(385)] {
            assert!(text.parse::<StoreId>().is_err(), "{text:?}");
        }
    }
}
