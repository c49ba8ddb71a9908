//! What a FIFO topic or queue needs of an event next to its message.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Most characters of a message group id and of a deduplication id:
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatchRequestEntry.html>
const ID_CHARACTERS: usize = 128;

/// The subject if it is a valid message group id, otherwise its hash.
pub fn message_group_id(subject: &str) -> String {
    // SNS and SQS allow "alphanumeric characters and punctuation" in ASCII.
    if subject.len() <= ID_CHARACTERS && subject.bytes().all(|byte| byte.is_ascii_graphic()) {
        subject.to_owned()
    } else {
        HEXLOWER.encode(&Sha256::digest(subject))
    }
}

/// A hash of source and id, which together identify an event. The length of the source distinguishes
/// pairs that would be equal when joined.
///
/// With the name of a replay, it differs from that of the event's publication and of other replays.
/// Otherwise a queue would drop the message, if it had the event in the last five minutes.
pub fn deduplication_id(source: &str, id: &str, replay: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(source.len().to_be_bytes());
    hash.update(source);
    hash.update(id);
    if let Some(replay) = replay {
        // No id contains it.
        hash.update([0]);
        hash.update(replay);
    }
    HEXLOWER.encode(&hash.finalize())
}
