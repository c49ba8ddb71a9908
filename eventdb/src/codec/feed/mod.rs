//! The feed's items: chunks of entries, and the header. No I/O.
//!
//! The feed is a table next to the events' table. It lists which events were published, in partitions.
//! A partition is a sequence of chunks. The offset of a chunk is the number of entries before it, so
//! a chunk can only be put where the last one ends. `docs/decisions/0057-the-feed.md` has the reasons.

pub mod append;
pub mod chunk;
pub mod cursor;
pub mod entry;
pub mod read;

/// The partition that lists the events of a subject: the CRC-32 (ISO-HDLC) of its UTF-8 text, modulo
/// the number of partitions.
pub fn partition_of(subject: &str, partitions: u32) -> u32 {
    crc32fast::hash(subject.as_bytes()) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    /// These values can't change: they decide where stored entries are.
    #[test]
    fn the_partition_of_a_subject_is_fixed() {
        // The check value of CRC-32/ISO-HDLC is 0xCBF43926.
        assert_eq!(partition_of("123456789", u32::MAX), 0xCBF4_3926);
        let of_four = ["book:1", "book:2", "book:3", "reader:42", "Büch:ß", ""];
        assert_eq!(of_four.map(|subject| partition_of(subject, 4)), [1, 3, 1, 0, 2, 0]);
        assert_eq!(partition_of("book:1", 0), 0);
    }
}
