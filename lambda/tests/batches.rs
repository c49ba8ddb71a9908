//! Whole batches through the handler: checkpoints, order, packing, repetitions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::dynamodb::EventRecord;
use common::{
    ScriptedTopic, Step, deadline, event_record, event_record_with, payload, poison_record, record,
    sequence_number,
};
use eventdb_publisher::handler::{HandlerError, handle};
use eventdb_publisher::publish::{ATTEMPTS, REQUESTS_IN_FLIGHT};
use eventdb_publisher::record::{Record, read};
use eventdb_publisher::topic::{Limits, limit};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Handles the records and returns the position to resume from, if there is one.
async fn resume_position(topic: &ScriptedTopic, records: &[Value]) -> Option<usize> {
    let (checkpoint, metrics) = handle(topic, payload(records), deadline()).await;
    let checkpoint = checkpoint.unwrap();
    let number = checkpoint.sequence_number()?;
    assert!(metrics.failed > 0);
    (0..records.len()).find(|position| sequence_number(*position) == number)
}

fn distinct_subjects(count: usize) -> Vec<Value> {
    (0..count).map(|position| event_record(position, &format!("book:{position}"), 1)).collect()
}

#[tokio::test]
async fn an_empty_batch_succeeds_without_a_request() {
    let topic = ScriptedTopic::default();
    let (checkpoint, metrics) = handle(&topic, r#"{"Records":[]}"#, deadline()).await;
    assert_eq!(serde_json::to_string(&checkpoint.unwrap()).unwrap(), r#"{"batchItemFailures":[]}"#);
    assert_eq!((metrics.published, metrics.skipped, metrics.failed), (0, 0, 0));
    assert!(topic.requests().is_empty());
}

#[tokio::test]
async fn what_is_no_new_event_is_skipped() {
    let image =
        |subject: &str| json!({ "subject": { "S": subject }, "time_type": { "S": "$head" } });
    let event = event_record(2, "book:1", 1)["dynamodb"]["NewImage"].clone();
    let mut other = event.clone();
    other["pk_all"] = json!({ "S": "snapshots" });
    let records = [
        record(0, "INSERT", &image("$head/book:1")),
        record(1, "INSERT", &image("$id/https://library.example.com#1")),
        record(2, "MODIFY", &event),
        record(3, "REMOVE", &event),
        record(4, "INSERT", &other),
        event_record(5, "book:1", 1),
    ];
    let topic = ScriptedTopic::default();
    let (checkpoint, metrics) = handle(&topic, payload(&records), deadline()).await;
    assert_eq!(checkpoint.unwrap().sequence_number(), None);
    assert_eq!((metrics.published, metrics.skipped, metrics.failed), (1, 5, 0));
}

/// The record of the same event in a table by revision.
fn record_by_revision(position: usize, subject: &str, revision: u64, data: &str) -> Value {
    let mut image = event_record(position, subject, revision)["dynamodb"]["NewImage"].take();
    let image_members = image.as_object_mut().unwrap();
    image_members.remove("time_type");
    let partition = eventdb::internals::item::partition_of(subject);
    let partition = eventdb::internals::item::all_events_partition(partition);
    image_members.insert("pk_all".to_owned(), json!({ "S": partition }));
    image_members.insert("data".to_owned(), json!({ "S": data }));
    let mut record = record(position, "INSERT", &image);
    record["dynamodb"]["Keys"] =
        json!({ "subject": image["subject"], "revision": image["revision"] });
    record
}

#[tokio::test]
async fn the_message_is_the_same_from_a_table_of_either_layout() {
    let by_time = ScriptedTopic::default();
    let records = [event_record(0, "book:1", 1), event_record(1, "bücher:📚", 2)];
    handle(&by_time, payload(&records), deadline()).await.0.unwrap();
    let by_revision = ScriptedTopic::default();
    let data = r#"{"n":1}"#;
    let records =
        [record_by_revision(0, "book:1", 1, data), record_by_revision(1, "bücher:📚", 2, data)];
    let (checkpoint, metrics) = handle(&by_revision, payload(&records), deadline()).await;
    assert_eq!(checkpoint.unwrap().sequence_number(), None);
    assert_eq!((metrics.published, metrics.skipped, metrics.failed), (2, 0, 0));
    assert_eq!(*by_revision.bodies.lock().unwrap(), *by_time.bodies.lock().unwrap());
}

#[tokio::test]
async fn text_of_a_row_by_revision_is_published_byte_for_byte() {
    let texts = [
        "{ \"b\": 1.50,\r\n\t\"a\": [ 1E+2, -0 ] }",
        r#" {"z":"\u00e4\/\u0000\ud83d\udcda ä","a":{"z":1,"b":18446744073709551615}} "#,
        "{}",
    ];
    for text in texts {
        let topic = ScriptedTopic::default();
        let records = [record_by_revision(0, "book:1", 1, text)];
        let (_, metrics) = handle(&topic, payload(&records), deadline()).await;
        assert_eq!((metrics.published, metrics.failed), (1, 0), "{text}");
        let body = topic.bodies.lock().unwrap().join("");
        assert!(body.ends_with(&format!(",\"data\":{text}}}")), "{body}");
        let read: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read["data"], serde_json::from_str::<Value>(text).unwrap());
    }
    // A message can't have these two characters. Their escapes mean the same.
    let topic = ScriptedTopic::default();
    let records = [record_by_revision(0, "book:1", 1, "{\"a\":\"\u{fffe}\u{ffff}\"}")];
    handle(&topic, payload(&records), deadline()).await.0.unwrap();
    let body = topic.bodies.lock().unwrap().join("");
    assert!(body.ends_with(r#","data":{"a":"\ufffe\uffff"}}"#), "{body}");
}

#[tokio::test]
async fn text_that_readers_would_read_differently_is_not_published() {
    for (text, problem) in [
        (r#"{"a":1,"a":2}"#, "two members"),
        (r#"{"a":"\ud800"}"#, "hex escape"),
        (r#"{"a":12345678901234567890123}"#, "rounded"),
        ("[]", "object"),
        ("{} {}", "trailing"),
    ] {
        let record = record_by_revision(0, "book:1", 1, text);
        let record: EventRecord = serde_json::from_value(record).unwrap();
        let Record::Unpublishable(row) = read(0, record) else { panic!("{text}") };
        assert!(row.reason.starts_with("`data` ") && row.reason.contains(problem), "{row:?}");
    }
}

#[tokio::test]
async fn a_bad_row_by_revision_holds_back_the_revisions_after_it() {
    // Its revision has more digits than the others, so the order isn't that of text.
    let records: Vec<Value> = [8, 11, 9, 10]
        .into_iter()
        .enumerate()
        .map(|(position, revision)| {
            let data = if revision == 10 { "{" } else { "{}" };
            record_by_revision(position, "book:1", revision, data)
        })
        .collect();
    let topic = ScriptedTopic::default();
    let (checkpoint, metrics) = handle(&topic, payload(&records), deadline()).await;
    assert_eq!((metrics.published, metrics.failed), (2, 2));
    assert_eq!(checkpoint.unwrap().sequence_number(), Some(&*common::sequence_number(1)));
    // One in a partition that isn't the subject's would be read by nobody.
    let mut strange = record_by_revision(0, "book:1", 1, "{}");
    strange["dynamodb"]["NewImage"]["pk_all"] = json!({ "S": "all-99" });
    let (_, metrics) = handle(&ScriptedTopic::default(), payload(&[strange]), deadline()).await;
    assert_eq!((metrics.published, metrics.failed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_any_position_gives_exactly_that_checkpoint() {
    for position in 0..25 {
        for step in [Step::Refuse, Step::Pass, Step::Omit, Step::RefuseRequest] {
            let topic = ScriptedTopic::with_always(&format!("book:{position}#1"), step);
            let resume = resume_position(&topic, &distinct_subjects(25)).await;
            assert_eq!(resume, Some(position), "{step:?}");
            assert_eq!(topic.accepted().len(), 24, "the others are published, {step:?}");
        }
    }
}

#[tokio::test]
async fn an_unreadable_row_at_any_position_gives_exactly_that_checkpoint() {
    for position in 0..25 {
        let mut records = distinct_subjects(25);
        records[position] = poison_record(position, "book:x", 1);
        let topic = ScriptedTopic::default();
        assert_eq!(resume_position(&topic, &records).await, Some(position));
        assert_eq!(topic.accepted().len(), 24);
    }
}

#[tokio::test]
async fn an_unreadable_row_holds_back_the_later_events_of_its_subject_only() {
    let records = [
        event_record(0, "book:1", 1),
        event_record(1, "book:1", 3),
        poison_record(2, "book:1", 2),
        event_record(3, "book:2", 1),
        event_record(4, "book:1", 4),
    ];
    let topic = ScriptedTopic::default();
    // Revision 3 arrived before the unreadable revision 2, so the batch must be resumed there.
    assert_eq!(resume_position(&topic, &records).await, Some(1));
    let accepted: HashSet<_> = topic.accepted().into_iter().collect();
    assert_eq!(accepted, HashSet::from(["book:1#1".to_owned(), "book:2#1".to_owned()]));
}

#[tokio::test]
async fn a_row_without_an_image_is_no_success() {
    let mut record = event_record(0, "book:1", 1);
    record["dynamodb"].as_object_mut().unwrap().remove("NewImage");
    assert_eq!(resume_position(&ScriptedTopic::default(), &[record]).await, Some(0));
}

#[tokio::test]
async fn swapped_revisions_are_sent_in_order() {
    let records = [(0, 8), (1, 9), (2, 10), (3, 7)]
        .map(|(position, revision)| event_record(position, "book:1", revision));
    let topic = ScriptedTopic::default();
    assert_eq!(resume_position(&topic, &records).await, None);
    assert_eq!(topic.accepted(), ["book:1#7", "book:1#8", "book:1#9", "book:1#10"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_an_earlier_failure_of_its_subject() {
    let records = [
        event_record(0, "book:1", 8),
        event_record(1, "book:2", 1),
        event_record(2, "book:3", 1),
        event_record(3, "book:1", 7),
    ];
    for step in [Step::Refuse, Step::Pass, Step::Omit, Step::RefuseRequest] {
        let topic = ScriptedTopic::with_always("book:1#7", step);
        assert_eq!(resume_position(&topic, &records).await, Some(0), "{step:?}");
        assert!(!topic.accepted().contains(&"book:1#8".to_owned()), "{step:?}");
    }
}

#[tokio::test]
async fn legacy_rows_are_sent_in_the_order_of_their_keys() {
    let mut records =
        [event_record(0, "book:1", 2), event_record(1, "book:1", 1), event_record(2, "book:1", 3)];
    for record in &mut records[..2] {
        record["dynamodb"]["NewImage"].as_object_mut().unwrap().remove("revision");
    }
    let topic = ScriptedTopic::default();
    assert_eq!(resume_position(&topic, &records).await, None);
    assert_eq!(topic.accepted(), ["book:1#1", "book:1#2", "book:1#3"]);
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_is_repeated_within_the_call() {
    for step in [Step::Pass, Step::Omit, Step::FailBefore, Step::FailAfter] {
        let topic = ScriptedTopic::with_script([step, Step::Accept, step]);
        let records = [event_record(0, "book:1", 1), event_record(1, "book:2", 1)];
        assert_eq!(resume_position(&topic, &records).await, None, "{step:?}");
        let accepted: HashSet<_> = topic.accepted().into_iter().collect();
        assert_eq!(accepted.len(), 2, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn repetitions_have_a_bound() {
    let topic = ScriptedTopic::with_always("book:0#1", Step::Pass);
    assert_eq!(resume_position(&topic, &distinct_subjects(1)).await, Some(0));
    assert_eq!(topic.requests().len(), ATTEMPTS as usize);
}

#[tokio::test]
async fn a_refused_entry_is_sent_once() {
    let topic = ScriptedTopic::with_always("book:0#1", Step::Refuse);
    assert_eq!(resume_position(&topic, &distinct_subjects(10)).await, Some(0));
    assert_eq!(topic.requests(), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_takes_nothing_is_not_pressed() {
    for (step, most) in [(Step::Deny, REQUESTS_IN_FLIGHT), (Step::FailBefore, 4 * 6)] {
        let script = std::iter::repeat_n(step, 100_000);
        let topic = ScriptedTopic::with_script(script);
        assert_eq!(resume_position(&topic, &distinct_subjects(1_000)).await, Some(0));
        assert!(topic.requests().len() <= most, "{step:?}: {}", topic.requests().len());
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_kept_and_what_was_not_sent_is_reported() {
    let topic = ScriptedTopic { latency: Duration::from_secs(1), ..ScriptedTopic::default() };
    let records: Vec<_> =
        (0..30).map(|position| event_record(position, "book:1", position as u64 + 1)).collect();
    let started = Instant::now();
    let deadline = started + Duration::from_millis(3_500);
    let (checkpoint, metrics) = handle(&topic, payload(&records), deadline).await;
    assert_eq!(started.elapsed(), Duration::from_millis(3_500));
    assert_eq!(checkpoint.unwrap().sequence_number(), Some(sequence_number(3).as_str()));
    assert_eq!((metrics.published, metrics.failed), (3, 27));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_sends_nothing() {
    let topic = ScriptedTopic::default();
    let (checkpoint, _) = handle(&topic, payload(&distinct_subjects(3)), Instant::now()).await;
    assert_eq!(checkpoint.unwrap().sequence_number(), Some(sequence_number(0).as_str()));
    assert!(topic.requests().is_empty());
}

#[tokio::test]
async fn a_failure_without_a_sequence_number_fails_the_invocation() {
    for number in [Value::Null, json!("")] {
        let mut records = [event_record(0, "book:1", 1), poison_record(1, "book:2", 1)];
        records[1]["dynamodb"]["SequenceNumber"] = number;
        let (result, metrics) =
            handle(&ScriptedTopic::default(), payload(&records), deadline()).await;
        assert!(matches!(result, Err(HandlerError::MissingSequenceNumber(_))));
        assert_eq!(metrics.published, 1, "the metrics are there all the same");
    }
    let mut record = event_record(0, "book:1", 1);
    record["dynamodb"]["SequenceNumber"] = Value::Null;
    assert_eq!(resume_position(&ScriptedTopic::default(), &[record]).await, None);
}

#[tokio::test]
async fn a_payload_that_is_no_batch_fails_without_being_quoted() {
    let payload = r#"{"Records":[{"eventName":"INSERT","dynamodb":"secret"}]}"#;
    let (result, _) = handle(&ScriptedTopic::default(), payload, deadline()).await;
    let error = result.unwrap_err();
    assert!(!error.to_string().contains("secret") && error.to_string().contains("column"));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_records_take_a_tenth_of_the_requests() {
    let topic = ScriptedTopic { latency: Duration::from_millis(5), ..ScriptedTopic::default() };
    let records: Vec<_> = (0..10_000)
        .map(|position| {
            event_record(position, &format!("book:{}", position % 300), position as u64 / 300 + 1)
        })
        .collect();
    assert_eq!(resume_position(&topic, &records).await, None);
    assert_eq!(topic.accepted().len(), 10_000);
    assert_eq!(topic.requests().len(), 1_000);
    assert_eq!(topic.most_under_way.load(Ordering::SeqCst), REQUESTS_IN_FLIGHT);
}

#[tokio::test]
async fn one_subject_is_sent_one_by_one() {
    let records: Vec<_> =
        (0..100).map(|position| event_record(position, "book:1", position as u64 + 1)).collect();
    let topic = ScriptedTopic::default();
    assert_eq!(resume_position(&topic, &records).await, None);
    assert_eq!(topic.requests(), [1; 100]);
    assert_eq!(topic.most_under_way.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn each_message_says_which_store_it_comes_from() {
    let stream =
        "arn:aws:dynamodb:eu-west-1:123456789012:table/Events/stream/2025-01-28T14:00:00.000";
    let mut unknown = event_record(1, "book:2", 1);
    unknown.as_object_mut().unwrap().remove("eventSourceARN");
    let topic = ScriptedTopic::default();
    let records = [event_record(0, "book:1", 1), unknown];
    assert_eq!(resume_position(&topic, &records).await, None);
    let bodies = topic.bodies.lock().unwrap();
    let stores = bodies.iter().map(|body| eventdb::ReceivedMessage::read(body).unwrap());
    let stores: HashSet<_> = stores
        .map(|message| (message.event.subject, message.store.map(|s| s.to_string())))
        .collect();
    let expected = [("book:1", Some(stream.to_owned())), ("book:2", None)];
    assert_eq!(stores, expected.map(|(subject, store)| (subject.to_owned(), store)).into());
}

/// Handles one record of an event with this time in the table and on the stream, both in
/// milliseconds.
async fn lags(event: i64, streamed: Option<i64>) -> Vec<u64> {
    let mut record = event_record(0, "book:1", 1);
    record["dynamodb"]["NewImage"]["time"] = json!({ "N": event.to_string() });
    record["dynamodb"]["NewImage"]["time_type"] = json!({ "S": format!("{event}_book.borrowed") });
    // AWS gives whole seconds.
    record["dynamodb"]["ApproximateCreationDateTime"] = json!(streamed.map(|time| time / 1_000));
    if streamed.is_none() {
        let change = record["dynamodb"].as_object_mut().unwrap();
        change.remove("ApproximateCreationDateTime");
    }
    let (_, metrics) = handle(&ScriptedTopic::default(), payload(&[record]), deadline()).await;
    assert_eq!(metrics.published, 1);
    metrics.lags
}

#[tokio::test]
async fn the_lag_counts_from_the_stream_and_not_from_the_event() {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    let now = now.timestamp_millis();
    let minute = 60_000;
    let of_2016 = 1_483_228_799_000;
    // An event that was imported this minute, and one from a clock that is an hour ahead.
    for event in [of_2016, now + 60 * minute] {
        let lag = lags(event, Some(now)).await;
        assert!(lag.iter().all(|lag| *lag < 60_000) && lag.len() == 1, "{lag:?}");
    }
    // If the event's time is in the stream's second, it counts.
    let long_ago = now / 1_000 * 1_000 - minute;
    let (early, late) =
        (lags(long_ago, Some(long_ago)).await, lags(long_ago + 900, Some(long_ago)).await);
    assert!((60_000..120_000).contains(&early[0]), "{early:?}");
    assert!(early[0] >= late[0] + 500, "{early:?} {late:?}");
    assert!(lags(now, None).await.is_empty(), "the record doesn't say when");
}

/// Text that makes the message of an event of `book:{n}`, n of one digit, this large.
fn filled(position: usize, size: usize) -> Value {
    let subject = format!("book:{position}");
    let record_of =
        |text: &str| event_record_with(position, &subject, 1, &json!({ "text": { "S": text } }));
    let size_of = |record: &Value| {
        let image = serde_json::from_value(record["dynamodb"]["NewImage"].clone()).unwrap();
        let store = record["eventSourceARN"].as_str().unwrap().parse().unwrap();
        eventdb::Message::of_store(&eventdb::internals::item::decode(image).unwrap(), &store).size()
    };
    let record = record_of(&"x".repeat(size - size_of(&record_of(""))));
    assert_eq!(size_of(&record), size);
    record
}

#[tokio::test]
async fn a_topic_with_limits_of_another_kind_gets_requests_within_them() {
    let limits = Limits { entries: 3, message_bytes: 2_000, request_bytes: 5_000 };
    let topic = ScriptedTopic { limits, ..ScriptedTopic::default() };
    let small: Vec<_> = (0..7).map(|position| filled(position, 1_000)).collect();
    assert_eq!(resume_position(&topic, &small).await, None);
    assert_eq!(topic.requests(), [3, 3, 1]);

    // The topic's size of a message, not of a request, decides what can't be published.
    let topic = ScriptedTopic { limits, ..ScriptedTopic::default() };
    let large = [filled(0, 2_000), filled(1, 2_000), filled(2, 2_000), filled(3, 2_001)];
    assert_eq!(resume_position(&topic, &large).await, Some(3));
    assert_eq!(topic.requests(), [2, 1]);
}

#[tokio::test]
async fn sizes_are_kept_to_the_byte() {
    for most in [limit::BYTES, 300_000, 1_048_576] {
        let limits = Limits { message_bytes: most, request_bytes: most, ..Limits::default() };
        let topic = || ScriptedTopic { limits, ..ScriptedTopic::default() };
        assert_eq!(resume_position(&topic(), &[filled(0, most)]).await, None);

        let too_large = [filled(0, 1_000), filled(1, most + 1), filled(2, 1_000)];
        assert_eq!(resume_position(&topic(), &too_large).await, Some(1));

        let half = most / 2;
        for (second, requests) in [(half, 1), (half + 1, 2)] {
            let topic = topic();
            assert_eq!(resume_position(&topic, &[filled(0, half), filled(1, second)]).await, None);
            assert_eq!(topic.requests().len(), requests);
        }
    }
}
