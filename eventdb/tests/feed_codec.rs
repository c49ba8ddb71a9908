//! The feed's items, and writers that race for the end of a partition.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use eventdb::internals::feed::append::{PartitionAppend, Refusal};
use eventdb::internals::feed::chunk::{self, Chunk, End, Tag};
use eventdb::internals::schema::feed;
use eventdb::{Event, FeedEntry, Listing};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_dynamo::{AttributeValue, Item};
use serde_json::json;

fn event(subject: &str, revision: Option<u64>, ty: &str, id: &str, time: i64) -> Event {
    let mut event = Event::builder()
        .id(id)
        .source("https://library.example.com")
        .ty(ty)
        .subject(subject)
        .time(DateTime::<Utc>::from_timestamp_millis(time).unwrap())
        .data(json!({}))
        .build();
    event.revision = revision;
    event
}

fn entry(subject: &str, revision: u64) -> FeedEntry {
    let id = format!("{subject}#{revision}");
    FeedEntry::new(
        &event(subject, Some(revision), "book.borrowed", &id, 1_738_074_600_000),
        None,
        Listing::Published,
    )
}

fn offset(item: &Item) -> u64 {
    let Some(AttributeValue::N(offset)) = item.get(feed::OFFSET) else { panic!("{item:?}") };
    offset.parse().unwrap()
}

/// Bytes of an item, as DynamoDB counts at most.
fn size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len() + 1,
        other => panic!("{other:?}"),
    };
    item.iter().map(|(name, attribute)| name.len() + value(attribute)).sum()
}

#[test]
fn the_stored_form_is_fixed() {
    let usual = event("book:1", Some(7), "book.borrowed", "evt-1", 1_738_074_600_000);
    let legacy = event("book:1", None, "book.returned", "evt-0", 5);
    let entries = [
        FeedEntry::new(&usual, Some("1738074600000_book.borrowed"), Listing::Published),
        FeedEntry::new(&legacy, Some("5_book.returned"), Listing::Adopted),
    ];
    assert_eq!(entries[0].sort_key_by_time(), "1738074600000_book.borrowed");
    assert_eq!(entries[1].sort_key_by_time(), "5_book.returned");
    let end = End { offset: 12, tag: Tag::from_text("before") };
    let append = PartitionAppend::new(3, entries.clone(), 1_738_074_600_123, end).unwrap();
    let mut item = append.next_chunk().unwrap();
    let decoded = Chunk::decode(&item).unwrap();
    assert_eq!(decoded.entries, entries);
    assert_eq!(decoded.end().offset, 14);
    item.insert(feed::TAG.to_owned(), AttributeValue::S("own".to_owned()));
    let expected: BTreeMap<&str, AttributeValue> = BTreeMap::from([
        ("partition", AttributeValue::S("3".to_owned())),
        ("offset", AttributeValue::N("12".to_owned())),
        ("length", AttributeValue::N("2".to_owned())),
        ("tag", AttributeValue::S("own".to_owned())),
        ("previous_tag", AttributeValue::S("before".to_owned())),
        ("listed_at", AttributeValue::N("1738074600123".to_owned())),
        (
            "entries",
            AttributeValue::S(
                concat!(
                    r#"[{"subject":"book:1","revision":7,"type":"book.borrowed","id":"evt-1","time":1738074600000},"#,
                    r#"{"subject":"book:1","type":"book.returned","id":"evt-0","time":5,"time_type":"5_book.returned","listing":"adopted"}]"#,
                )
                .to_owned(),
            ),
        ),
    ]);
    assert_eq!(
        item.iter().map(|(name, value)| (name.as_str(), value.clone())).collect::<BTreeMap<_, _>>(),
        expected
    );
    let header = chunk::encode_header(4, 1_738_074_600_000);
    let decoded = chunk::decode_header(&header).unwrap();
    assert_eq!(decoded.partitions, 4);
    let expected: BTreeMap<&str, AttributeValue> = BTreeMap::from([
        ("partition", AttributeValue::S("$feed".to_owned())),
        ("offset", AttributeValue::N("0".to_owned())),
        ("partitions", AttributeValue::N("4".to_owned())),
        ("tag", AttributeValue::S(decoded.tag.to_string())),
        ("created_at", AttributeValue::N("1738074600000".to_owned())),
    ]);
    assert_eq!(
        header
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect::<BTreeMap<_, _>>(),
        expected
    );
}

#[test]
fn what_is_not_a_chunk_is_refused_with_the_reason() {
    let append = PartitionAppend::new(0, [entry("book:1", 1)], 1, End::default()).unwrap();
    let good = append.next_chunk().unwrap();
    let text = |text: &str| Some(AttributeValue::S(text.to_owned()));
    let number = |text: &str| Some(AttributeValue::N(text.to_owned()));
    for (name, value, reason) in [
        ("tag", None, "`tag` is missing"),
        ("tag", number("1"), "`tag` isn't text"),
        ("tag", text(""), "`tag` isn't a tag"),
        ("previous_tag", text(" "), "`previous_tag` isn't a tag"),
        ("offset", number("1.5"), "`offset` is 1.5; it must be a whole number"),
        ("offset", text("0"), "`offset` isn't a number"),
        ("length", number("0"), "`length` is 0"),
        ("length", number("2"), "`entries` has 1 entries, but `length` is another number"),
        ("length", number("18446744073709551616"), "must be a whole number"),
        ("partition", text("$feed"), "`partition` isn't the number of a partition"),
        ("listed_at", None, "`listed_at` is missing"),
        ("entries", text("[{}]"), "`entries` isn't an array of entries: missing field `subject`"),
        ("entries", text("secret"), "`entries` isn't an array of entries"),
    ] {
        let mut item = good.clone();
        match value {
            Some(value) => item.insert(name.to_owned(), value),
            None => item.remove(name),
        };
        let error = Chunk::decode(&item).unwrap_err();
        assert!(error.reason.contains(reason), "{name}: {error}");
    }
    let mut item = good;
    item.insert(feed::OFFSET.to_owned(), AttributeValue::N(u64::MAX.to_string()));
    assert!(Chunk::decode(&item).is_err());
    let mut header = chunk::encode_header(0, 1);
    let error = chunk::decode_header(&header).unwrap_err().to_string();
    assert_eq!(
        error,
        "the feed's item with partition \"$feed\" and offset 0 can't be read: it has 0 partitions; \
         it must have 1 to 256"
    );
    header.remove(feed::PARTITIONS);
    assert!(chunk::decode_header(&header).is_err());
    let mut header = chunk::encode_header(4, 1);
    header.remove(feed::TAG);
    assert!(chunk::decode_header(&header).unwrap_err().to_string().contains("`tag` is missing"));
}

/// An event with the longest attributes, each character of which JSON escapes.
#[test]
fn the_largest_entries_fit_into_chunks() {
    let escaped = |bytes| "\u{1}".repeat(bytes);
    let largest =
        event(&escaped(2042), Some(u64::MAX), &escaped(1010), &escaped(2048), 9_999_999_999_999);
    let entry = FeedEntry::new(&largest, Some(&escaped(1024)), Listing::Adopted);
    let mut append =
        PartitionAppend::new(u32::MAX, vec![entry; 7], i64::MAX, End::default()).unwrap();
    let mut chunks = 0;
    while let Some(item) = append.next_chunk() {
        assert!(size(&item) <= feed::CHUNK_BYTES, "{}", size(&item));
        Chunk::decode(&item).unwrap();
        append.stored();
        chunks += 1;
    }
    assert_eq!(chunks, 4);
}

/// What happens to one put of a writer.
#[derive(Debug, Clone, Copy)]
enum Put {
    Answered,
    /// It is carried out, but the answer is lost.
    AnswerLost,
    /// It isn't carried out, and not answered.
    Lost,
}

fn writers() -> impl Strategy<Value = Vec<Vec<(u8, usize)>>> {
    // For each writer, subjects and the lengths of their ids: some need several chunks.
    vec(vec((0..5_u8, prop_oneof![9 => 1..40_usize, 1 => 20_000..60_000_usize]), 1..12), 1..6)
}

fn put() -> impl Strategy<Value = Put> {
    prop_oneof![4 => Just(Put::Answered), 1 => Just(Put::AnswerLost), 1 => Just(Put::Lost)]
}

proptest! {
    #[test]
    fn racing_writers_leave_a_dense_chain_with_every_entry_once(
        writers in writers(),
        turns in vec((any::<proptest::sample::Index>(), put()), 0..400),
    ) {
        let mut table: BTreeMap<u64, Item> = BTreeMap::new();
        let mut expected: Vec<Vec<FeedEntry>> = Vec::new();
        let mut appends: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(writer, entries)| {
                let entries: Vec<_> = entries
                    .iter()
                    .enumerate()
                    .map(|(n, (subject, length))| {
                        let id = format!("{writer}-{n}-{}", "x".repeat(*length));
                        let event = event(&format!("s:{subject}"), Some(1), "type", &id, 1);
                        FeedEntry::new(&event, None, Listing::Published)
                    })
                    .collect();
                expected.push(entries.clone());
                PartitionAppend::new(0, entries, 1, End::default()).unwrap()
            })
            .collect();
        let mut turns = turns.into_iter();
        loop {
            // When the script ends, the writers finish one after the other.
            let turn = turns.next().map(|(index, put)| (index.index(appends.len()), put));
            let open = appends.iter().position(|append| append.next_chunk().is_some());
            let (writer, put) = match (turn, open) {
                (_, None) => break,
                (Some(turn), _) => turn,
                (None, Some(writer)) => (writer, Put::Answered),
            };
            let append = &mut appends[writer];
            let Some(item) = append.next_chunk() else { continue };
            prop_assert!(size(&item) <= feed::CHUNK_BYTES);
            let offset = offset(&item);
            match (put, table.get(&offset).cloned()) {
                (Put::Lost, _) | (Put::AnswerLost, Some(_)) => {}
                (Put::AnswerLost, None) => drop(table.insert(offset, item)),
                (Put::Answered, None) => {
                    table.insert(offset, item);
                    append.stored();
                }
                (Put::Answered, Some(existing)) => {
                    let ours = Chunk::decode(&existing).unwrap().tag
                        == Chunk::decode(&item).unwrap().tag;
                    let refusal = append.refused(&existing).unwrap();
                    prop_assert_eq!(refusal, if ours { Refusal::IsOurs } else { Refusal::IsTaken });
                }
            }
        }
        let mut end = End::default();
        let mut listed = Vec::new();
        for item in table.values() {
            let chunk = Chunk::decode(item).unwrap();
            prop_assert_eq!((chunk.offset, &chunk.previous_tag), (end.offset, &end.tag));
            end = chunk.end();
            listed.extend(chunk.entries);
        }
        let writer_of = |entry: &FeedEntry| entry.id.split('-').next().unwrap().parse::<usize>().unwrap();
        for (writer, entries) in expected.iter().enumerate() {
            let own: Vec<_> = listed.iter().filter(|entry| writer_of(entry) == writer).collect();
            prop_assert_eq!(own, entries.iter().collect::<Vec<_>>(), "each once, in order");
        }
    }
}
