//! The answer to Lambda: the record from which it must deliver again.

use serde::Serialize;

/// The response of a function whose stream mapping has `ReportBatchItemFailures`. It contains no
/// record if all were published, and otherwise exactly one, the checkpoint.
///
/// Lambda would use the lowest sequence number of several, and would treat a null or empty one as the
/// failure of the whole batch:
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>
///
/// ```
/// use eventdb_publisher::checkpoint::Checkpoint;
///
/// let checkpoint = Checkpoint::new(&[2, 1], &["111", "222", "333"].map(|n| Some(n.to_owned())))?;
/// assert_eq!(
///     serde_json::to_string(&checkpoint)?,
///     r#"{"batchItemFailures":[{"itemIdentifier":"222"}]}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    batch_item_failures: Vec<ItemFailure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

/// The record to resume from has no sequence number. Then the invocation must fail, because an answer
/// without a sequence number would look like a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {position} of the batch failed, but it has no sequence number to resume from")]
pub struct MissingSequenceNumber {
    /// Position of the record in the batch.
    pub position: usize,
}

impl Checkpoint {
    /// The checkpoint of a batch: its earliest failed record.
    ///
    /// A batch has its records in the order of their sequence numbers. These numbers have up to 40
    /// digits, so positions are compared instead, and the number is passed on as text.
    ///
    /// # Errors
    /// If that record has no sequence number.
    ///
    /// ```
    /// use eventdb_publisher::checkpoint::Checkpoint;
    ///
    /// assert!(Checkpoint::new(&[0], &[None]).is_err());
    /// assert_eq!(Checkpoint::new(&[], &[None])?.sequence_number(), None);
    /// # Ok::<(), eventdb_publisher::checkpoint::MissingSequenceNumber>(())
    /// ```
    pub fn new(
        failed: &[usize],
        sequence_numbers: &[Option<String>],
    ) -> Result<Self, MissingSequenceNumber> {
        let Some(&position) = failed.iter().min() else {
            return Ok(Self { batch_item_failures: Vec::new() });
        };
        match sequence_numbers.get(position) {
            Some(Some(number)) if !number.is_empty() => Ok(Self {
                batch_item_failures: vec![ItemFailure { item_identifier: number.clone() }],
            }),
            _ => Err(MissingSequenceNumber { position }),
        }
    }

    /// The sequence number to resume from; `None` if the whole batch succeeded.
    pub fn sequence_number(&self) -> Option<&str> {
        self.batch_item_failures.first().map(|failure| failure.item_identifier.as_str())
    }
}
