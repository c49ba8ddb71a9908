//! What can be wrong with a table, and what to do about it.

use std::fmt;

use crate::feed::verify::subjects::{Damage, DamagedSubject};

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// A setting of the table isn't what the store needs.
    Setting {
        /// A name for programs, such as `missingIndex`.
        name: &'static str,
        /// What is wrong.
        text: String,
    },
    /// A row should be an event and can't be read as one.
    Unreadable(String),
    /// A row isn't the store's: another program has written it.
    Foreign,
    /// An item with a key of the store that this version doesn't know.
    Unknown,
    /// The event is too large for the topic.
    TooLarge {
        /// Bytes of its message.
        bytes: usize,
        /// The limit that was given.
        most: usize,
    },
    /// By time: the sort key doesn't sort by its time, because the time has too few digits.
    OldTime,
    /// By time: the event before it has the same time, so that only their types order the two.
    AmbiguousTime,
    /// The history of a subject isn't as the store writes it.
    Damaged(DamagedSubject),
    /// By time: a head whose subject has no events.
    HeadWithoutEvents {
        /// The revision of the head.
        revision: u64,
    },
    /// By time: subjects with events that the index `AllSubjects` lacks, because their last events were
    /// stored before this version, or by the original library. Without the index, this isn't looked for.
    UnlistedSubjects {
        /// How many.
        subjects: u64,
        /// The first one that was found.
        first: String,
    },
    /// A snapshot includes events that the table doesn't have.
    SnapshotBeyond {
        /// The last revision that it includes.
        revision: u64,
    },
    /// The event of a guard isn't there.
    GuardWithoutEvent,
    /// The feed lists events that the table doesn't have, or has with other ids.
    FeedBeyond {
        /// How many.
        events: u64,
        /// The first one.
        first: String,
    },
}

impl Problem {
    /// A name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Setting { name, .. } => name,
            Self::Unreadable(_) => "unreadable",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::TooLarge { .. } => "tooLarge",
            Self::OldTime => "oldTime",
            Self::AmbiguousTime => "ambiguousTime",
            Self::Damaged(_) => "damagedSubject",
            Self::HeadWithoutEvents { .. } => "headWithoutEvents",
            Self::UnlistedSubjects { .. } => "unlistedSubjects",
            Self::SnapshotBeyond { .. } => "snapshotBeyond",
            Self::GuardWithoutEvent => "guardWithoutEvent",
            Self::FeedBeyond { .. } => "feedBeyond",
        }
    }

    /// Whether [`repair`](crate::Examine::repair) repairs it.
    pub fn is_repairable(&self) -> bool {
        match self {
            Self::SnapshotBeyond { .. } | Self::UnlistedSubjects { .. } => true,
            Self::Damaged(subject) => matches!(subject.damage, Damage::NewerThanHead { .. }),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Setting { .. } => {
                "set it in the deployment; a restored table doesn't get these settings back by itself"
            }
            Self::Unreadable(_) => {
                "it is never published and read models miss it: repair the row by hand, or acknowledge it \
                 with `eventdb verify acknowledge`"
            }
            Self::Foreign => {
                "find out which program writes it and let it use a separate table; then delete the row"
            }
            Self::Unknown => "a later version may have written it: use that version",
            Self::TooLarge { .. } => {
                "raise the limit of the topic (`maxMessageBytes`), or acknowledge it with `eventdb verify \
                 acknowledge`"
            }
            Self::OldTime => {
                "its subject can be read, but not appended to: export it, and import it into a new table"
            }
            Self::AmbiguousTime => {
                "reads order the two by their types: check that this is the order in which they happened"
            }
            Self::Damaged(subject) => match subject.damage {
                Damage::NewerThanHead { .. } => {
                    "an import was interrupted or another program has written: a repair moves the head to \
                     the last event, unless revisions are missing"
                }
                Damage::EndRemoved { .. } => {
                    "the last events are gone, as after a restore: restore them from a later backup or from \
                     an export with `eventdb import`; subscribers may have them already, so don't let \
                     others take their revisions"
                }
                _ => {
                    "restore the missing events from a backup or an export with `eventdb import`; \
                     `eventdb cat` shows the subject"
                }
            },
            Self::HeadWithoutEvents { .. } => {
                "all events of the subject are gone, as after a restore: import them, or use another \
                 subject"
            }
            Self::UnlistedSubjects { .. } => {
                "lists of subjects lack them: a repair enters them, except where rows can't be read or \
                 counted; so does their next append"
            }
            Self::SnapshotBeyond { .. } => {
                "it would hide that events are gone: a repair removes it, and the next load makes a new one"
            }
            Self::GuardWithoutEvent => {
                "a repetition of the append fails: import the event, or delete the guard, and the append \
                 can be made again"
            }
            Self::FeedBeyond { .. } => {
                "the table was restored to an earlier time than the feed: import the events, or deploy a \
                 new feed, adopt into it, and let readers begin anew; read models are ahead, too: rebuild \
                 them"
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { text, .. } => formatter.write_str(text),
            Self::Unreadable(reason) => write!(formatter, "it can't be read as an event: {reason}"),
            Self::Foreign => formatter.write_str("it isn't a row of the store"),
            Self::Unknown => formatter.write_str("this version doesn't know what it is"),
            Self::TooLarge { bytes, most } => write!(
                formatter,
                "its message can have {bytes} bytes, and the topic takes at most {most}"
            ),
            Self::OldTime => formatter.write_str("its sort key doesn't sort by its time"),
            Self::AmbiguousTime => {
                formatter.write_str("it has the same time as the event before it")
            }
            Self::Damaged(subject) => write!(formatter, "{subject}"),
            Self::HeadWithoutEvents { revision } => {
                write!(formatter, "its head is at revision {revision}, but it has no events")
            }
            Self::UnlistedSubjects { subjects, first } => write!(
                formatter,
                "subjects that have events and aren't in the index `AllSubjects`: {subjects}; the first: \
                 {first:?}"
            ),
            Self::SnapshotBeyond { revision } => write!(
                formatter,
                "a snapshot goes to revision {revision}, which the table doesn't have"
            ),
            Self::GuardWithoutEvent => {
                formatter.write_str("an id is guarded, but its event is gone")
            }
            Self::FeedBeyond { events, first } => write!(
                formatter,
                "the feed lists {events} events that the table doesn't have; the first: {first}"
            ),
        }
    }
}
