//! Queries of the table and its indexes. Building one sends nothing.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Select};

use crate::schema::{self, attribute, index, limit};
use crate::store::layout::SdkItem;
use crate::store::table::ROWS_PER_PAGE;

pub(crate) fn string(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// The character after `9`. It sorts after every sort key that begins with a time.
const AFTER_ALL_TIMES: &str = ":";

/// It sorts before every other sort key, because a key can't be empty.
const LOWEST: &str = "\u{0}";

/// A range of times: from `since`, inclusive, to `until`, exclusive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TimeRange {
    /// Milliseconds.
    pub(crate) since: Option<i64>,
    /// Milliseconds.
    pub(crate) until: Option<i64>,
}

impl TimeRange {
    /// Whether the range contains no time at all.
    pub(crate) fn is_empty(&self) -> bool {
        matches!((self.since, self.until), (Some(since), Some(until)) if since >= until)
    }

    /// Whether the range contains a time. An unknown time counts as contained.
    pub(crate) fn holds(&self, time: Option<i64>) -> bool {
        time.is_none_or(|time| {
            self.since.is_none_or(|since| time >= since)
                && self.until.is_none_or(|until| time < until)
        })
    }
}

/// A query, ready to be sent. All attribute names are aliased, because many are reserved words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    index: Option<&'static str>,
    consistent: bool,
    key_condition: String,
    filter: Option<String>,
    projection: Option<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    select: Option<Select>,
    pub(crate) backwards: bool,
    limit: Option<i32>,
    start_key: Option<SdkItem>,
}

/// One page of rows, and the key after which the next page starts, if any.
pub(crate) struct Page {
    pub(crate) items: Vec<SdkItem>,
    pub(crate) next: Option<SdkItem>,
}

impl Query {
    fn new(partition_key: &str, value: &str) -> Self {
        Self {
            index: None,
            consistent: true,
            key_condition: "#partition = :partition".to_owned(),
            filter: None,
            projection: None,
            names: HashMap::from([("#partition".to_owned(), partition_key.to_owned())]),
            values: HashMap::from([(":partition".to_owned(), string(value))]),
            select: None,
            backwards: false,
            limit: None,
            start_key: None,
        }
    }

    /// The rows of a subject in the order of their keys, strongly consistent.
    pub(crate) fn of_subject(subject: &str) -> Self {
        Self::new(attribute::SUBJECT, subject)
    }

    /// The rows of a subject in a table by revision, from a revision on, strongly consistent. It always
    /// names the sort key, so a table by time refuses it.
    pub(crate) fn of_subject_from(subject: &str, revision: u64) -> Self {
        let query = Self::new(attribute::SUBJECT, subject);
        query.in_range(attribute::REVISION, Some(number(revision)), None)
    }

    /// The snapshots of a subject in a table by time, strongly consistent.
    pub(crate) fn of_snapshots_by_time(subject: &str) -> Self {
        let partition = format!("{}{subject}", schema::HEAD_PREFIX);
        let prefix = schema::SNAPSHOT_SORT_KEY_PREFIX;
        // `0` follows `/`.
        let after = prefix.replace('/', "0");
        Self::new(attribute::SUBJECT, &partition).in_range(
            attribute::TIME_TYPE,
            Some(string(prefix)),
            Some(string(after)),
        )
    }

    /// Keeps only the rows of one type. DynamoDB still reads and charges the others.
    pub(crate) fn filtered_by_type(mut self, ty: &str) -> Self {
        self.filter = Some("#type = :type".to_owned());
        self.names.insert("#type".to_owned(), attribute::TYPE.to_owned());
        self.values.insert(":type".to_owned(), string(ty));
        self
    }

    /// The rows of one type of a subject, in no promised order, strongly consistent.
    pub(crate) fn of_subject_and_type(subject: &str, ty: &str) -> Self {
        let mut query = Self::new(attribute::SUBJECT, subject);
        query.index = Some(index::SUBJECT_EVENTS_BY_TYPE);
        // The index contains only keys; DynamoDB fetches the rest from the table.
        query.select = Some(Select::AllAttributes);
        query.key_condition.push_str(" AND #type = :type");
        query.names.insert("#type".to_owned(), attribute::TYPE.to_owned());
        query.values.insert(":type".to_owned(), string(ty));
        query
    }

    /// All rows in the order of their times, eventually consistent as all global indexes.
    pub(crate) fn of_all() -> Self {
        Self::of_all_in(schema::ALL_EVENTS)
    }

    /// The rows of one partition of the index of all events, in the order of their times.
    pub(crate) fn of_all_in(partition: &str) -> Self {
        let mut query = Self::new(attribute::PK_ALL, partition);
        query.index = Some(index::ALL_EVENTS_BY_TIME);
        query.consistent = false;
        query
    }

    /// The keys of one partition of the index of subjects, from a subject to another, both included. An
    /// empty text doesn't bound it.
    pub(crate) fn of_subjects_in(
        partition: &str,
        sort_key: &str,
        from: &str,
        to: Option<&str>,
    ) -> Self {
        let mut query = Self::new(attribute::SUBJECT_PARTITION, partition);
        query.index = Some(index::ALL_SUBJECTS);
        query.consistent = false;
        // The query always names the sort key, so a table of the other layout refuses it.
        let from = string(if from.is_empty() { LOWEST } else { from });
        query.in_range(sort_key, Some(from), to.map(string))
    }

    /// The keys of the rows with an id.
    pub(crate) fn of_id(id: &str) -> Self {
        let mut query = Self::new(attribute::ID, id);
        query.index = Some(index::ALL_EVENTS_BY_ID);
        query.consistent = false;
        query
    }

    /// Reads only the attributes that are needed to find the end of a history.
    pub(crate) fn keys_of_events(mut self) -> Self {
        self.projection = Some("#time, #id, #time_type".to_owned());
        self.names.insert("#time".to_owned(), attribute::TIME.to_owned());
        self.names.insert("#time_type".to_owned(), attribute::TIME_TYPE.to_owned());
        self.names.insert("#id".to_owned(), attribute::ID.to_owned());
        self
    }

    /// Narrows by the sort key of the table, which begins with the time.
    pub(crate) fn in_key_range(self, range: TimeRange) -> Self {
        // Without a bound, the lowest text: so the query always names the sort key, and a table by
        // revision refuses it.
        // A key has more than the 13 digits of a bound, so it is never equal to one. Times with more
        // digits or a sign don't sort as text, but this store never writes them.
        let bound = |time: i64| {
            string(if time > limit::TIME_MILLISECONDS {
                AFTER_ALL_TIMES.to_owned()
            } else {
                format!("{:013}", time.max(0))
            })
        };
        let since = range.since.filter(|since| *since > 0);
        let from = since.map_or_else(|| string(LOWEST), bound);
        self.in_range(attribute::TIME_TYPE, Some(from), range.until.map(bound))
    }

    /// Narrows by the time, the sort key of the index of all events.
    pub(crate) fn in_time_range(self, range: TimeRange) -> Self {
        let until = range.until.map(|time| number(time.saturating_sub(1)));
        self.in_range(attribute::TIME, range.since.map(number), until)
    }

    fn in_range(
        mut self,
        name: &str,
        from: Option<AttributeValue>,
        to: Option<AttributeValue>,
    ) -> Self {
        self.key_condition.push_str(match (&from, &to) {
            (None, None) => return self,
            (Some(_), None) => " AND #sort >= :from",
            (None, Some(_)) => " AND #sort <= :to",
            (Some(_), Some(_)) => " AND #sort BETWEEN :from AND :to",
        });
        self.names.insert("#sort".to_owned(), name.to_owned());
        for (alias, value) in [(":from", from), (":to", to)] {
            if let Some(value) = value {
                self.values.insert(alias.to_owned(), value);
            }
        }
        self
    }

    /// Filters rows by their time. DynamoDB still reads and charges the rows that it filters out.
    pub(crate) fn filtered_by_time(mut self, range: TimeRange) -> Self {
        let mut conditions = Vec::new();
        for (alias, comparison, time) in
            [(":since", ">=", range.since), (":until", "<", range.until)]
        {
            if let Some(time) = time {
                conditions.push(format!("#time {comparison} {alias}"));
                self.names.insert("#time".to_owned(), attribute::TIME.to_owned());
                self.values.insert(alias.to_owned(), number(time));
            }
        }
        self.filter = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        self
    }

    pub(crate) fn starting_after(mut self, key: SdkItem) -> Self {
        self.start_key = Some(key);
        self
    }

    /// The request in the form of the AWS client.
    pub(crate) fn on(&self, request: QueryFluentBuilder) -> QueryFluentBuilder {
        request
            .set_index_name(self.index.map(str::to_owned))
            .consistent_read(self.consistent)
            .key_condition_expression(&self.key_condition)
            .set_filter_expression(self.filter.clone())
            .set_projection_expression(self.projection.clone())
            .set_expression_attribute_names(Some(self.names.clone()))
            .set_expression_attribute_values(Some(self.values.clone()))
            .set_select(self.select.clone())
            .scan_index_forward(!self.backwards)
            .limit(self.limit.map_or(ROWS_PER_PAGE, |rows| rows.min(ROWS_PER_PAGE)))
            .set_exclusive_start_key(self.start_key.clone())
    }

    pub(crate) fn limited_to(mut self, rows: Option<usize>) -> Self {
        self.limit = rows.map(|rows| i32::try_from(rows).unwrap_or(i32::MAX));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: TimeRange = TimeRange { since: Some(5), until: Some(1_738_074_600_000) };

    /// Emulators are always consistent, so the test checks the request itself.
    #[test]
    fn reads_of_a_subject_are_strongly_consistent_and_those_of_global_indexes_cannot_be() {
        assert!(Query::of_subject("book:1").consistent);
        assert!(Query::of_subject_and_type("book:1", "book.borrowed").consistent);
        assert!(!Query::of_all().consistent);
        assert!(!Query::of_id("evt-1").consistent);
    }

    #[test]
    fn every_name_is_aliased_and_every_alias_is_defined() {
        let queries = [
            Query::of_subject("book:1").in_key_range(RANGE).keys_of_events(),
            Query::of_subject_and_type("book:1", "book.borrowed").filtered_by_time(RANGE),
            Query::of_all().in_time_range(RANGE),
            Query::of_id("evt-1"),
            Query::of_subjects_in("subjects-00", "listed_subject", "book:", Some("book;")),
        ];
        for query in queries {
            let parts = [Some(query.key_condition), query.filter, query.projection];
            let text = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let used: std::collections::BTreeSet<&str> = text
                .split([' ', ',', '(', ')', '='])
                .filter(|word| word.starts_with(['#', ':']))
                .collect();
            let defined = query.names.keys().chain(query.values.keys()).map(String::as_str);
            assert_eq!(used, defined.collect(), "{text}");
            for name in query.names.values() {
                assert!(!text.split(' ').any(|word| word == name), "{name} stands in {text}");
            }
        }
    }

    #[test]
    fn a_range_includes_its_start_and_excludes_its_end() {
        let of_keys = Query::of_subject("book:1").in_key_range(RANGE);
        assert_eq!(of_keys.values[":from"], string("0000000000005"));
        assert_eq!(of_keys.values[":to"], string("1738074600000"));
        let of_times = Query::of_all().in_time_range(RANGE);
        assert_eq!(of_times.values[":to"], number(1_738_074_599_999_i64));
    }
}
