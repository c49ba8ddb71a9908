//! [`Cursor`]: where a read stopped, as text that a caller can keep and pass to a later read.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest text of a cursor: enough for the longest keys after encoding, and for the largest number of
/// partitions of a feed.
pub(crate) const LONGEST_TEXT: usize = 32 * 1024;

/// The position of the last row that a read returned.
///
/// Keep its text unchanged and pass it to `.after(..)` of the same kind of read of the same subject.
/// The text is URL-safe. It contains keys of the table, but no event data.
///
/// ```no_run
/// # async fn next_page(db: &eventdb::EventDb) -> Result<(), Box<dyn std::error::Error>> {
/// let page = db.fetch_events_for_subject("book:123").limit(50).await?;
/// let text = page.cursor.map(|cursor| cursor.to_string()); // for example, in a link
///
/// if let Some(text) = text {
///     let next = db.fetch_events_for_subject("book:123").limit(50).after(text.parse()?).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(crate) RowKeys);

/// The keys of a row, by the index that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RowKeys {
    #[serde(rename = "s")]
    Subject { subject: String, time_type: String },
    #[serde(rename = "t")]
    SubjectAndType { subject: String, ty: String, time_type: String },
    #[serde(rename = "a")]
    All { time: i64, subject: String, time_type: String },
    #[serde(rename = "r")]
    SubjectByRevision { subject: String, ty: Option<String>, revision: u64 },
    #[serde(rename = "p")]
    AllByRevision { time: i64, subject: String, revision: u64 },
    #[serde(rename = "l")]
    Subjects { subject: String },
}

/// A text that isn't a cursor, or a cursor of another read.
///
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The text was not written by this store, or was cut or changed since.
    #[error("this text isn't a cursor; give back unchanged what an earlier read returned")]
    Malformed,
    /// The cursor belongs to another kind of read, or to one of another subject or type.
    #[error(
        "the cursor belongs to another read; it must come from one of the same kind and subject"
    )]
    OtherRead,
}

/// Writes what a cursor holds as text that is safe in a URL.
pub(crate) fn write_text(held: &impl Serialize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let json = serde_json::to_vec(held).map_err(|_| fmt::Error)?;
    formatter.write_str(&BASE64URL_NOPAD.encode(&json))
}

/// Reads the text of [`write_text`].
pub(crate) fn read_text<Held: DeserializeOwned>(text: &str) -> Result<Held, CursorError> {
    if text.len() > LONGEST_TEXT {
        return Err(CursorError::Malformed);
    }
    let json = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| CursorError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| CursorError::Malformed)
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, formatter)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_text(text).map(Self)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    fn row_keys() -> impl Strategy<Value = RowKeys> {
        prop_oneof![
            any::<(String, String)>()
                .prop_map(|(subject, time_type)| RowKeys::Subject { subject, time_type }),
            any::<(String, String, String)>().prop_map(|(subject, ty, time_type)| {
                RowKeys::SubjectAndType { subject, ty, time_type }
            }),
            any::<(String, Option<String>, u64)>().prop_map(|(subject, ty, revision)| {
                RowKeys::SubjectByRevision { subject, ty, revision }
            }),
            any::<(i64, String, u64)>().prop_map(|(time, subject, revision)| {
                RowKeys::AllByRevision { time, subject, revision }
            }),
            any::<String>().prop_map(|subject| RowKeys::Subjects { subject }),
            any::<(i64, String, String)>().prop_map(|(time, subject, time_type)| {
                RowKeys::All { time, subject, time_type }
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_cursor_survives_as_text(keys in row_keys()) {
            let cursor = Cursor(keys);
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = text.parse::<Cursor>();
        }

        #[test]
        fn any_decoded_text_is_read_without_panic(bytes in any::<Vec<u8>>()) {
            let _ = BASE64URL_NOPAD.encode(&bytes).parse::<Cursor>();
        }
    }

    #[test]
    fn a_cut_or_overlong_text_is_malformed() {
        let text = Cursor(RowKeys::Subject {
            subject: "book:123".to_owned(),
            time_type: "1738074600000_book.borrowed".to_owned(),
        })
        .to_string();
        let cut = text.get(..text.len() - 2).expect("ASCII");
        assert_eq!(cut.parse::<Cursor>(), Err(CursorError::Malformed));
        assert_eq!("A".repeat(LONGEST_TEXT + 1).parse::<Cursor>(), Err(CursorError::Malformed));
        assert_eq!("".parse::<Cursor>(), Err(CursorError::Malformed));
    }
}
