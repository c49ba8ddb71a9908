//! Where an event stands in the feed.

use axum::extract::{Query, State};
use eventdb::aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use eventdb::aws_sdk_dynamodb::types::AttributeValue;
use eventdb::chrono::{DateTime, Utc};
use eventdb::internals::feed::chunk::{Chunk, decode_header};
use eventdb::internals::feed::partition_of;
use eventdb::internals::schema::feed;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, answer, shown};
use crate::explorer::Explored;
use crate::problem::Problem;
use crate::store::{Reader, Row, number};

/// Most chunks that are read once the place is known.
const CHUNKS: i32 = 25;
/// How much earlier than its time an event may be listed: clocks differ.
const MILLISECONDS_EARLIER: i64 = 60_000;

/// Which event is looked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    subject: String,
    id: String,
    time: DateTime<Utc>,
    revision: Option<u64>,
}

/// Looks for an event among those that were listed from a minute before its time on.
///
/// Chunks are listed in the order of the publisher's clock, so the beginning is found by halving: some
/// 20 requests for a million chunks.
pub(crate) async fn feed_place(
    State(explored): State<Explored>,
    Query(choice): Query<Choice>,
) -> Answer {
    let Some(table) = &explored.store.feed else {
        return Err(Problem::not_found("The page was opened without a feed."));
    };
    let mut reader = explored.store.reader();
    let header = reader.item(table, key(feed::HEADER, 0)).await?;
    let Some(header) = header else {
        return Ok(answer(&explored, &reader, json!({ "partitions": 0 })));
    };
    let header = decode_header(&header.into())
        .map_err(|error| Problem::of("the feed can't be read", &error))?;
    let partition = partition_of(&choice.subject, header.partitions);
    let from = choice.time.timestamp_millis().saturating_sub(MILLISECONDS_EARLIER);
    let begin = first_listed_since(&mut reader, table, partition, from).await?;
    let chunks = chunks(&reader, table, partition, begin).limit(CHUNKS);
    let found = reader.query(chunks).await?;
    for row in found.rows {
        let chunk = Chunk::decode(&row.into())
            .map_err(|error| Problem::of("the feed can't be read", &error))?;
        let is_event = |entry: &&eventdb::FeedEntry| {
            entry.subject == choice.subject
                && entry.id == choice.id
                && entry.revision == choice.revision
        };
        let Some(place) = chunk.entries.iter().position(|entry| is_event(&entry)) else { continue };
        let offset = chunk.offset.saturating_add(u64::try_from(place).unwrap_or_default());
        let listed = chunk.entries.get(place).map(|entry| entry.listing);
        let body = json!({
            "partitions": header.partitions,
            "partition": partition,
            "offset": offset,
            "listing": listed,
            "listedAt": DateTime::from_timestamp_millis(chunk.listed_at).map(shown),
        });
        return Ok(answer(&explored, &reader, body));
    }
    let body = json!({
        "partitions": header.partitions,
        "partition": partition,
        "isWholeRest": found.next.is_none(),
    });
    Ok(answer(&explored, &reader, body))
}

/// An offset before which no chunk was listed at this time or later.
async fn first_listed_since(
    reader: &mut Reader<'_>,
    table: &str,
    partition: u32,
    time: i64,
) -> Result<u64, Problem> {
    let last = chunks(reader, table, partition, 0).scan_index_forward(false).limit(1);
    let last = reader.query(last).await?.rows;
    let offset_of = |row: &Row| number::<u64>(row, feed::OFFSET).unwrap_or_default();
    let (mut low, mut high) = (0, last.first().map(offset_of).unwrap_or_default());
    while low < high {
        let middle = low + (high - low) / 2;
        let query = chunks(reader, table, partition, middle).limit(1);
        let rows = reader.query(query).await?.rows;
        let Some(chunk) = rows.first() else { break };
        let is_earlier = number::<i64>(chunk, feed::LISTED_AT).is_none_or(|at| at < time);
        match is_earlier {
            true => low = offset_of(chunk).max(middle).saturating_add(1),
            false => high = middle,
        }
    }
    Ok(low)
}

/// The chunks of a partition from an offset on.
fn chunks(reader: &Reader<'_>, table: &str, partition: u32, offset: u64) -> QueryFluentBuilder {
    reader
        .store
        .client
        .query()
        .table_name(table)
        .consistent_read(true)
        .key_condition_expression("#partition = :partition AND #offset >= :offset")
        .expression_attribute_names("#partition", feed::PARTITION)
        .expression_attribute_names("#offset", feed::OFFSET)
        .expression_attribute_values(":partition", AttributeValue::S(partition.to_string()))
        .expression_attribute_values(":offset", AttributeValue::N(offset.to_string()))
}

fn key(partition: &str, offset: u64) -> Row {
    Row::from([
        (feed::PARTITION.to_owned(), AttributeValue::S(partition.to_owned())),
        (feed::OFFSET.to_owned(), AttributeValue::N(offset.to_string())),
    ])
}
