//! What a refusal says about the table: that it isn't laid out as the store was told, or lacks an
//! index.

use std::error::Error as StdError;

use crate::schema::index;
use crate::store::error::{BoxError, Error};
use crate::store::layout::TableLayout;

/// Words of DynamoDB for a request whose keys aren't those of the table.
const OTHER_KEYS: [&str; 4] = [
    "key element does not match the schema",
    "Missing the key",
    "missed key schema element",
    "key condition not supported",
];

/// Words of DynamoDB for a read of an index that the table doesn't have.
const NO_INDEX: &str = "does not have the specified index";

/// The table has other keys than the layout.
#[derive(Debug, thiserror::Error)]
#[error(
    "the keys of the table aren't those of a table {opened}: if it is a table {other}, open it with \
     `with_layout(TableLayout::{name})`; otherwise check the name of the table"
)]
struct OtherLayout {
    opened: &'static str,
    other: &'static str,
    name: &'static str,
    #[source]
    source: BoxError,
}

/// The table was created without an index.
#[derive(Debug, thiserror::Error)]
#[error(
    "the table doesn't have the index that this read needs: add it to the table, or read the events of \
     each subject instead"
)]
struct NoIndex(#[source] BoxError);

/// What a table without the index of subjects can't do, and how it gets the index.
pub(crate) const WITHOUT_INDEX_OF_SUBJECTS: &str = "its subjects can't be listed; deploy the table with \
     the current construct, or add the index as in docs/operating.md, and then run `eventdb doctor \
     --write`, which enters the subjects that are there";

/// The table doesn't have the index of subjects.
#[derive(Debug, thiserror::Error)]
#[error("the table doesn't have the index `{}`: {WITHOUT_INDEX_OF_SUBJECTS}", index::ALL_SUBJECTS)]
struct NoIndexOfSubjects(#[source] BoxError);

/// Says of a refused read of the index of subjects how the table gets the index, if it lacks it.
pub(crate) fn explained_for_subjects(error: Error) -> Error {
    match error {
        Error::Refused { table, source } => match source.downcast::<NoIndex>() {
            Ok(no_index) => {
                let NoIndex(source) = *no_index;
                Error::Refused { table, source: Box::new(NoIndexOfSubjects(source)) }
            }
            Err(source) => Error::Refused { table, source },
        },
        error => error,
    }
}

/// Puts before a refusal what to repair, if its words tell.
pub(crate) fn explained(layout: TableLayout, source: BoxError) -> BoxError {
    let says = |words: &str| {
        let mut error: Option<&(dyn StdError + 'static)> = Some(&*source);
        while let Some(current) = error {
            if current.to_string().contains(words) {
                return true;
            }
            error = current.source();
        }
        false
    };
    if says(NO_INDEX) {
        return Box::new(NoIndex(source));
    }
    if OTHER_KEYS.into_iter().any(says) {
        let (opened, other, name) = layout.and_the_other();
        return Box::new(OtherLayout { opened, other, name, source });
    }
    source
}
