//! Names and limits that several parts of the product must agree on.
//!
//! The crate, the publisher and the deployment all take their names from here. The constants are
//! written to `eventdb/schema.json`, which the CDK construct imports. A test fails if that file is
//! out of date, and prints the command that renews it.

use serde_json::{Value, json};

/// Attribute names of the items in the table.
///
/// `type`, `time`, `data` and `source` are [reserved words] in DynamoDB's expressions, so an
/// expression must refer to them by an alias.
///
/// [reserved words]: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
pub mod attribute {
    /// Partition key (String): the entity that the event is about.
    pub const SUBJECT: &str = "subject";
    /// Sort key of a table by time (String): `{time in milliseconds, 13 digits}_{type}`.
    pub const TIME_TYPE: &str = "time_type";
    /// The event's id (String), partition key of [`index::ALL_EVENTS_BY_ID`](super::index::ALL_EVENTS_BY_ID).
    pub const ID: &str = "id";
    /// The event's type (String), sort key of [`index::SUBJECT_EVENTS_BY_TYPE`](super::index::SUBJECT_EVENTS_BY_TYPE).
    pub const TYPE: &str = "type";
    /// Where the event comes from (String), a URI-reference.
    pub const SOURCE: &str = "source";
    /// When the event happened (Number), in milliseconds since 1970-01-01T00:00:00Z.
    pub const TIME: &str = "time";
    /// The payload: a Map in a table by time, JSON text (String) in a table by revision.
    pub const DATA: &str = "data";
    /// Partition key of [`index::ALL_EVENTS_BY_TIME`](super::index::ALL_EVENTS_BY_TIME) (String). In a
    /// table by time, the constant [`ALL_EVENTS`](super::ALL_EVENTS). In a table by revision, one of
    /// [`ALL_EVENTS_PARTITIONS`](super::ALL_EVENTS_PARTITIONS) values, `all-00`, `all-01`, …, by the
    /// CRC-32 of the subject.
    pub const PK_ALL: &str = "pk_all";
    /// Position of the event in its subject (Number): 1, 2, 3, … The sort key of a table by revision.
    pub const REVISION: &str = "revision";
    /// Media type of the payload (String), where the writer gave one.
    pub const DATACONTENTTYPE: &str = "datacontenttype";
    /// URI of the payload's schema (String), where the writer gave one.
    pub const DATASCHEMA: &str = "dataschema";
    /// CloudEvents extension attributes (Map), such as `traceparent`.
    pub const EXTENSIONS: &str = "extensions";
    /// On an event whose data was erased: when (Number), in milliseconds, by the clock of the caller.
    pub const ERASED: &str = "erased";
    /// On a head item and a snapshot: the time of the last event (Number), in milliseconds.
    pub const LAST_TIME: &str = "last_time";
    /// On a head item and a snapshot: the id of the last event (String).
    pub const LAST_ID: &str = "last_id";
    /// On the head of a subject whose first events were stored without a head: how many events it
    /// had when the head was added (Number). Their rows have no revision.
    pub const LEGACY_EVENTS: &str = "legacy_events";
    /// On a snapshot: the aggregate's state (String), as JSON.
    pub const STATE: &str = "state";
    /// On a snapshot: the version of the state's schema (Number).
    pub const STATE_VERSION: &str = "state_version";
    /// On an id guard: the subject of the guarded event (String).
    pub const EVENT_SUBJECT: &str = "event_subject";
    /// On an id guard of a table by time: the sort key of the guarded event (String).
    pub const EVENT_TIME_TYPE: &str = "event_time_type";
    /// On an id guard of a table by revision: the revision of the guarded event (Number).
    pub const EVENT_REVISION: &str = "event_revision";
    /// On a command's guard: the keys of its events (String), a JSON array of pairs of a subject and a
    /// sort key, both as text.
    pub const EVENTS: &str = "events";
    /// On a snapshot of a table by revision: the revision of the last event in the state (Number).
    pub const STATE_REVISION: &str = "state_revision";
    /// On a snapshot of a table by revision: the name of the aggregate (String).
    pub const AGGREGATE: &str = "aggregate";
    /// On the first event of a subject in a table by revision, and on the head of a subject in a table by
    /// time: partition key of [`index::ALL_SUBJECTS`](super::index::ALL_SUBJECTS) (String), one of
    /// `subjects-00`, `subjects-01`, …, by the CRC-32 of the subject.
    pub const SUBJECT_PARTITION: &str = "subject_partition";
    /// On the head of a subject in a table by time: the subject (String), the sort key of
    /// [`index::ALL_SUBJECTS`](super::index::ALL_SUBJECTS). A subject of more than
    /// [`limit::SORT_KEY_BYTES`](super::limit::SORT_KEY_BYTES) isn't in the index, and its head doesn't
    /// have this attribute. [`SUBJECT`] can't be the sort key there: DynamoDB refuses items whose value
    /// is too long for the key of an index.
    pub const LISTED_SUBJECT: &str = "listed_subject";
}

/// Names of the table's indexes.
pub mod index {
    /// Global: all events in the order of their time. It projects whole items in a table by time, and
    /// keys, id and type in a table by revision.
    pub const ALL_EVENTS_BY_TIME: &str = "AllEventsByTime";
    /// Global: an event by its id; projects keys only.
    pub const ALL_EVENTS_BY_ID: &str = "AllEventsById";
    /// Local, only in a table by time: the events of one type of a subject; projects keys only.
    pub const SUBJECT_EVENTS_BY_TYPE: &str = "SubjectEventsByType";
    /// Global: all subjects; projects keys only. A table by time from before this index can be without it.
    pub const ALL_SUBJECTS: &str = "AllSubjects";
}

/// Value of [`attribute::PK_ALL`] on every event of a table by time, and on nothing else. In a table
/// by revision, the value begins with it.
pub const ALL_EVENTS: &str = "all";

/// Number of values of [`attribute::SUBJECT_PARTITION`] and, in a table by revision, of
/// [`attribute::PK_ALL`]. It can't change: readers of all subjects and events query each of them.
pub const ALL_EVENTS_PARTITIONS: u32 = 16;
/// Beginning of the values of [`attribute::PK_ALL`] in a table by revision, before the two digits.
pub const ALL_EVENTS_PREFIX: &str = "all-";
/// Beginning of the values of [`attribute::SUBJECT_PARTITION`], before the two digits.
pub const SUBJECT_PARTITION_PREFIX: &str = "subjects-";

/// Subjects that begin with this are reserved for the store. Callers can't use them.
pub const RESERVED_SUBJECT_PREFIX: &str = "$";

/// Partition key of a subject's head item: this prefix, then the subject.
pub const HEAD_PREFIX: &str = "$head/";
/// Sort key of every head item.
pub const HEAD_SORT_KEY: &str = "$head";
/// In a table by time, the sort key of a snapshot: this prefix, then the name of the aggregate. Its
/// partition key is that of the subject's head item.
pub const SNAPSHOT_SORT_KEY_PREFIX: &str = "$snapshot/";
/// In a table by revision, the partition key of a subject's snapshots: this prefix, then the subject.
/// Their sort keys are numbers made from the names of the aggregates.
pub const SNAPSHOT_PREFIX: &str = "$snapshot/";

/// Partition key of an id guard: this prefix, then `{source}#{id}`, where `%` and `#` in the
/// source are percent-encoded so that the first `#` separates the two.
pub const ID_GUARD_PREFIX: &str = "$id/";
/// Sort key of every id guard in a table by time.
pub const ID_GUARD_SORT_KEY: &str = "$id";
/// Sort key of every id guard in a table by revision.
pub const ID_GUARD_REVISION: u64 = 0;

/// Partition key of a command's guard: this prefix, then `{source}#{command}`, escaped as for an id
/// guard.
pub const COMMAND_PREFIX: &str = "$command/";
/// Sort key of every command's guard in a table by time.
pub const COMMAND_SORT_KEY: &str = "$command";
/// Sort key of every command's guard in a table by revision.
pub const COMMAND_REVISION: u64 = 0;

/// The feed's table: which events were published, in an order that can be followed.
pub mod feed {
    /// Partition key (String): a partition of the feed as a decimal number, `0`, `1`, …, or [`HEADER`].
    pub const PARTITION: &str = "partition";
    /// Sort key (Number): how many entries precede the chunk in its partition.
    pub const OFFSET: &str = "offset";
    /// On a chunk: the number of its entries (Number).
    pub const LENGTH: &str = "length";
    /// On a chunk and on the header: a random text that no other item has (String).
    pub const TAG: &str = "tag";
    /// On a chunk, except the first of its partition: the tag of the chunk before it (String).
    pub const PREVIOUS_TAG: &str = "previous_tag";
    /// On a chunk: when it was made (Number), in milliseconds, by the publisher's clock.
    pub const LISTED_AT: &str = "listed_at";
    /// On a chunk: its entries (String), a JSON array.
    pub const ENTRIES: &str = "entries";
    /// Partition key of the header, the item that is written when the feed is created. Its sort key
    /// is 0.
    pub const HEADER: &str = "$feed";
    /// On the header: the number of partitions (Number). It never changes.
    pub const PARTITIONS: &str = "partitions";
    /// On the header: when the feed was created (Number), in milliseconds, by the publisher's clock.
    pub const CREATED_AT: &str = "created_at";
    /// Partition key of the mark that says that the feed lists all events of the store, including those
    /// that are older than the feed. Its sort key is 0.
    pub const COMPLETE: &str = "$complete";
    /// Partition key of the item that says when each segment of the table of events was verified. Its
    /// sort key is 0.
    pub const VERIFICATION: &str = "$verification";
    /// On that item: when each segment was verified (List of Numbers), in milliseconds.
    pub const CHECKED: &str = "checked";
    /// On that item: how many unpublished events each segment had (List of Numbers).
    pub const UNPUBLISHED: &str = "unpublished";
    /// Partition key of acknowledgements: rows that will never be published. Their sort keys are numbers
    /// from 0.
    pub const ACKNOWLEDGED: &str = "$acknowledged";
    /// On an acknowledgement: the subject of the row (String).
    pub const ACKNOWLEDGED_SUBJECT: &str = "subject";
    /// On an acknowledgement: the sort key of the row as text (String).
    pub const ACKNOWLEDGED_SORT_KEY: &str = "sort_key";
    /// On an acknowledgement: the id of the row, if it has one (String).
    pub const ACKNOWLEDGED_ID: &str = "id";
    /// On an acknowledgement: why the row isn't published (String).
    pub const ACKNOWLEDGED_REASON: &str = "reason";
    /// On an acknowledgement: when it was made (Number), in milliseconds.
    pub const ACKNOWLEDGED_AT: &str = "acknowledged_at";
    /// Number of partitions of a new feed, unless another one is chosen.
    pub const DEFAULT_PARTITIONS: u32 = 4;
    /// Most partitions of a feed.
    pub const MOST_PARTITIONS: u32 = 256;
    /// Most bytes of a chunk's item.
    pub const CHUNK_BYTES: usize = 100 * 1024;
}

/// Environment variables that the publisher function reads.
pub mod environment {
    /// Required: the ARN of the topic that events are published to.
    pub const EVENT_TOPIC_ARN: &str = "EVENT_TOPIC_ARN";
    /// Optional: `ERROR`, `WARN`, `INFO` (the default), `DEBUG` or `TRACE`.
    pub const LOG_LEVEL: &str = "LOG_LEVEL";
    /// Optional: the most bytes that the topic accepts in a message, if it is configured to accept
    /// more than [`limit::MESSAGE_BYTES`](super::limit::MESSAGE_BYTES).
    pub const MESSAGE_BYTES: &str = "MESSAGE_BYTES";
    /// Optional: the name of the feed's table. Without it, no feed is written.
    pub const FEED_TABLE: &str = "FEED_TABLE";
    /// The name of the table of events. A function with it verifies instead of publishing.
    pub const EVENT_TABLE: &str = "EVENT_TABLE";
    /// Optional, to verify: the layout of the table of events, `byTime` (the default) or `byRevision`.
    pub const TABLE_LAYOUT: &str = "TABLE_LAYOUT";
    /// Optional, to verify: how far back events are compared by the index, in seconds.
    pub const VERIFICATION_WINDOW: &str = "VERIFICATION_WINDOW";
    /// Optional, to verify: the time between the two looks, in seconds. Default: 300.
    pub const SECOND_LOOK_AFTER: &str = "SECOND_LOOK_AFTER";
    /// Optional: the number of partitions with which the publisher creates the feed. An existing feed
    /// keeps its number. Default: [`feed::DEFAULT_PARTITIONS`](super::feed::DEFAULT_PARTITIONS).
    pub const FEED_PARTITIONS: &str = "FEED_PARTITIONS";
}

/// CloudEvents attributes that the store and its publisher add to an event. An event can't have an
/// extension with one of these names.
pub mod extension {
    /// The event's revision, padded with zeros to 20 digits.
    pub const SEQUENCE: &str = "sequence";
    /// On a published message: the store that the event comes from, as the ARN of the table's stream.
    pub const STORE: &str = "eventstore";
}

/// Names of the message attributes of each published event, for filters on subscriptions.
pub mod message_attribute {
    /// The event's id.
    pub const ID: &str = "id";
    /// The event's type.
    pub const TYPE: &str = "type";
    /// The event's time, RFC 3339 with milliseconds.
    pub const TIME: &str = "time";
    /// The event's source.
    pub const SOURCE: &str = "source";
    /// The event's subject.
    pub const SUBJECT: &str = "subject";
    /// The event's revision, written as in the message. Absent on legacy events.
    pub const SEQUENCE: &str = "sequence";
    /// Only on a message that was replayed into a queue: the name of the replay.
    pub const REPLAY: &str = "replay";
}

/// Metrics of the publisher function, written in CloudWatch's embedded metric format.
pub mod metric {
    /// Namespace of the metrics.
    pub const NAMESPACE: &str = "EventDB";
    /// The one dimension: the name of the publisher function.
    pub const FUNCTION_NAME_DIMENSION: &str = "FunctionName";
    /// Events that the topic has accepted (Count).
    pub const PUBLISHED_EVENTS: &str = "PublishedEvents";
    /// Records that aren't new events (Count).
    pub const SKIPPED_RECORDS: &str = "SkippedRecords";
    /// Records that were reported as failed (Count).
    pub const FAILED_RECORDS: &str = "FailedRecords";
    /// Time from an event's arrival in the table's stream to its publication (Milliseconds). For
    /// imported events with old times, it counts from their import.
    pub const PUBLISH_LAG: &str = "PublishLag";
    /// Events that the topic has accepted, but that couldn't be listed in the feed (Count). Lambda
    /// delivers their records again.
    pub const UNLISTED_EVENTS: &str = "UnlistedEvents";
    /// Stored events that the feed doesn't list, by the latest verification of each part of the table
    /// (Count).
    pub const UNPUBLISHED_EVENTS: &str = "UnpublishedEvents";
    /// Rows that can't be read as events, by a verification (Count).
    pub const INVALID_ROWS: &str = "InvalidRows";
    /// Subjects whose history isn't as the store writes it, by a verification (Count).
    pub const DAMAGED_SUBJECTS: &str = "DamagedSubjects";
    /// Age of the oldest verification of a part of the table (Seconds).
    pub const OLDEST_VERIFICATION: &str = "OldestVerification";
    /// The dimension of the metrics of a read model: its name.
    pub const READ_MODEL_DIMENSION: &str = "ReadModel";
    /// Published events that a read model lacks (Count), as `eventdb lag --metric` writes it.
    pub const LAG_EVENTS: &str = "LagEvents";
    /// Age of the oldest event that a read model lacks (Seconds), likewise; 0 if it lacks none.
    pub const LAG_AGE: &str = "LagAge";
}

/// Sizes and counts that DynamoDB, SNS and this store allow.
pub mod limit {
    /// Minimum number of characters of `id`, `type`, `subject` and `source`.
    pub const MINIMUM_CHARACTERS: usize = 3;
    /// Most bytes of a partition key: [quotas](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
    pub const PARTITION_KEY_BYTES: usize = 2048;
    /// Most bytes of a sort key: [quotas](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html).
    pub const SORT_KEY_BYTES: usize = 1024;
    /// Most bytes of a subject: the partition key of its head item is longer by a prefix.
    pub const SUBJECT_BYTES: usize = PARTITION_KEY_BYTES - super::HEAD_PREFIX.len();
    /// Most bytes of a subject in a table by revision: the partition key of its snapshots is longer by a
    /// prefix, and is the sort key of [`index::ALL_SUBJECTS`](super::index::ALL_SUBJECTS).
    pub const SUBJECT_BYTES_BY_REVISION: usize = SORT_KEY_BYTES - super::SNAPSHOT_PREFIX.len();
    /// Most bytes of a type: in the sort key, 13 digits and `_` precede it.
    pub const TYPE_BYTES: usize = SORT_KEY_BYTES - 14;
    /// Most bytes of an item (400 KB), including the copies of its keys in the local index.
    pub const ITEM_BYTES: usize = 400 * 1024;
    /// Deepest nesting of an item's attributes.
    pub const NESTING_LEVELS: usize = 32;
    /// Most significant digits of a number.
    pub const NUMBER_DIGITS: usize = 38;
    /// Most bytes of a message with its attributes (256 KiB): [SNS](https://docs.aws.amazon.com/sns/latest/api/API_Publish.html).
    pub const MESSAGE_BYTES: usize = 262_144;
    /// Most bytes of a message that a topic can be configured to accept (1 MiB): [large messages](https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html).
    pub const LARGEST_MESSAGE_BYTES: usize = 1_048_576;
    /// Most bytes of a store's id. The longest ARN of a stream has about 350.
    pub const STORE_ID_BYTES: usize = 384;
    /// Most actions of one transaction: [TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
    pub const TRANSACTION_ACTIONS: usize = 100;
    /// Most bytes of all items of one transaction (4 MB).
    pub const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
    /// Latest time of an event, in milliseconds: the last one with 13 digits (in the year 2286).
    pub const TIME_MILLISECONDS: i64 = 9_999_999_999_999;
}

/// The contents of `eventdb/schema.json`.
pub fn document() -> Value {
    json!({
        "comment": "Generated from eventdb/src/schema.rs by: cargo run -p eventdb --example write_schema",
        "tables": { "byTime": table_by_time(), "byRevision": table_by_revision() },
        "feed": {
            "partitionKey": { "name": feed::PARTITION, "type": "S" },
            "sortKey": { "name": feed::OFFSET, "type": "N" },
            "defaultPartitions": feed::DEFAULT_PARTITIONS,
            "mostPartitions": feed::MOST_PARTITIONS,
            "verification": feed::VERIFICATION,
        },
        "eventSourceFilter": {
            "eventName": ["INSERT"],
            "dynamodb": { "NewImage": { attribute::PK_ALL: { "S": [{ "prefix": ALL_EVENTS }] } } },
        },
        "itemPrefixes": {
            "head": HEAD_PREFIX,
            "idGuard": ID_GUARD_PREFIX,
            "command": COMMAND_PREFIX,
            "snapshot": SNAPSHOT_PREFIX,
        },
        "environment": {
            "eventTopicArn": environment::EVENT_TOPIC_ARN,
            "logLevel": environment::LOG_LEVEL,
            "messageBytes": environment::MESSAGE_BYTES,
            "feedTable": environment::FEED_TABLE,
            "feedPartitions": environment::FEED_PARTITIONS,
            "eventTable": environment::EVENT_TABLE,
            "tableLayout": environment::TABLE_LAYOUT,
            "verificationWindow": environment::VERIFICATION_WINDOW,
            "secondLookAfter": environment::SECOND_LOOK_AFTER,
        },
        "limits": {
            "messageBytes": limit::MESSAGE_BYTES,
            "largestMessageBytes": limit::LARGEST_MESSAGE_BYTES,
        },
        "extensions": { "sequence": extension::SEQUENCE, "store": extension::STORE },
        "messageAttributes": {
            "id": message_attribute::ID,
            "type": message_attribute::TYPE,
            "time": message_attribute::TIME,
            "source": message_attribute::SOURCE,
            "subject": message_attribute::SUBJECT,
            "sequence": message_attribute::SEQUENCE,
            "replay": message_attribute::REPLAY,
        },
        "metrics": {
            "namespace": metric::NAMESPACE,
            "functionNameDimension": metric::FUNCTION_NAME_DIMENSION,
            "publishedEvents": metric::PUBLISHED_EVENTS,
            "skippedRecords": metric::SKIPPED_RECORDS,
            "failedRecords": metric::FAILED_RECORDS,
            "publishLag": metric::PUBLISH_LAG,
            "unlistedEvents": metric::UNLISTED_EVENTS,
            "unpublishedEvents": metric::UNPUBLISHED_EVENTS,
            "invalidRows": metric::INVALID_ROWS,
            "damagedSubjects": metric::DAMAGED_SUBJECTS,
            "oldestVerification": metric::OLDEST_VERIFICATION,
        },
    })
}

fn table_by_time() -> Value {
    json!({
        "partitionKey": { "name": attribute::SUBJECT, "type": "S" },
        "sortKey": { "name": attribute::TIME_TYPE, "type": "S" },
        "streamViewType": "NEW_IMAGE",
        "globalSecondaryIndexes": [
            {
                "name": index::ALL_EVENTS_BY_TIME,
                "partitionKey": { "name": attribute::PK_ALL, "type": "S" },
                "sortKey": { "name": attribute::TIME, "type": "N" },
                "projectionType": "ALL",
            },
            {
                "name": index::ALL_EVENTS_BY_ID,
                "partitionKey": { "name": attribute::ID, "type": "S" },
                "projectionType": "KEYS_ONLY",
            },
            {
                "name": index::ALL_SUBJECTS,
                "partitionKey": { "name": attribute::SUBJECT_PARTITION, "type": "S" },
                "sortKey": { "name": attribute::LISTED_SUBJECT, "type": "S" },
                "projectionType": "KEYS_ONLY",
                "mayBeMissing": true,
            },
        ],
        "localSecondaryIndexes": [
            {
                "name": index::SUBJECT_EVENTS_BY_TYPE,
                "sortKey": { "name": attribute::TYPE, "type": "S" },
                "projectionType": "KEYS_ONLY",
            },
        ],
    })
}

fn table_by_revision() -> Value {
    json!({
        "partitionKey": { "name": attribute::SUBJECT, "type": "S" },
        "sortKey": { "name": attribute::REVISION, "type": "N" },
        "streamViewType": "NEW_IMAGE",
        "globalSecondaryIndexes": [
            {
                "name": index::ALL_EVENTS_BY_TIME,
                "partitionKey": { "name": attribute::PK_ALL, "type": "S" },
                "sortKey": { "name": attribute::TIME, "type": "N" },
                "projectionType": "INCLUDE",
                "nonKeyAttributes": [attribute::ID, attribute::TYPE],
                "canBeLeftOut": true,
            },
            {
                "name": index::ALL_EVENTS_BY_ID,
                "partitionKey": { "name": attribute::ID, "type": "S" },
                "projectionType": "KEYS_ONLY",
                "canBeLeftOut": true,
            },
            {
                "name": index::ALL_SUBJECTS,
                "partitionKey": { "name": attribute::SUBJECT_PARTITION, "type": "S" },
                "sortKey": { "name": attribute::SUBJECT, "type": "S" },
                "projectionType": "KEYS_ONLY",
                "canBeLeftOut": false,
            },
        ],
        "localSecondaryIndexes": [],
    })
}

/// [`document`] as the text of the file, with a newline at its end.
pub fn document_text() -> String {
    format!("{:#}\n", document())
}
