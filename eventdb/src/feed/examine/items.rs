//! Whether every item of the table is as the store writes it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::codec::{item, message};
use crate::feed::examine::listing::Listing;
use crate::feed::examine::{Examination, Finding, Problem};
use crate::feed::verify::subjects::{Damage, DamagedSubject, Subjects};
use crate::schema::{self, attribute};
use crate::store::error::Error;
use crate::store::items::{ItemKind, kind};
use crate::store::layout::by_time::head::Head;
use crate::store::layout::{EventKey, SdkItem, TableLayout};
use crate::store::read::fetch_events::FetchEvents;
use crate::store::read::query::Query;
use crate::store::read::{decode, revision_of_item, time_of};
use crate::store::table::Table;
use crate::store::table::scan::{Scan, Segment};

/// Subjects that are looked at together.
pub(super) const CONCURRENT_SUBJECTS: usize = 16;

/// Items of a page that need another look.
#[derive(Default)]
struct Waiting {
    /// Subjects and the revisions of their heads.
    heads: Vec<(String, u64)>,
    /// Keys of snapshots, their subjects and revisions.
    snapshots: Vec<(SdkItem, String, u64)>,
    /// Partition keys of guards, and the keys of their events.
    guards: Vec<(String, Vec<EventKey>)>,
}

pub(super) async fn examine(
    table: &Table,
    repairs: bool,
    found: &mut Examination,
) -> Result<(), Error> {
    let mut subjects = Subjects::of(table.clone());
    let mut listing = Listing::of(table, repairs).await?;
    let mut last: Option<(String, Option<i64>)> = None;
    let mut start = None;
    loop {
        let scan = Scan { segment: Segment::WHOLE_TABLE, consistent: true, attributes: None };
        let page = table.begin().scan(&scan, start).await?;
        let mut waiting = Waiting::default();
        for row in page.items {
            let (subject, sort_key) = table.layout().event_key(&row).unwrap_or_default();
            match kind(&row) {
                ItemKind::Event | ItemKind::Foreign => {
                    let time = time_of(&row);
                    let is_of_last = last.as_ref().is_some_and(|(of, _)| *of == subject);
                    let has_time_of_last = is_of_last
                        && time.is_some()
                        && last.as_ref().is_some_and(|(_, of)| *of == time);
                    let problems = examine_row(table, &row, has_time_of_last, found);
                    let revision = revision_of_item(&row);
                    listing.row(&subject, revision, &problems);
                    if kind(&row) == ItemKind::Event {
                        found.events += 1;
                        subjects.add(&subject, revision).await?;
                    }
                    for problem in problems {
                        found.add(Finding {
                            sort_key: Some(sort_key.clone()),
                            ..Finding::of_subject(subject.clone(), problem)
                        });
                    }
                    last = Some((subject, time));
                }
                ItemKind::Head => {
                    found.heads += 1;
                    let of = subject.strip_prefix(schema::HEAD_PREFIX).unwrap_or_default();
                    match Head::read(&row) {
                        Some(head) => {
                            listing.head(&row, of);
                            waiting.heads.push((of.to_owned(), head.revision));
                        }
                        None => {
                            let reason = "it isn't a readable head of a subject".to_owned();
                            found.add(Finding::of_subject(subject, Problem::Unreadable(reason)));
                        }
                    }
                }
                ItemKind::Snapshot => {
                    found.snapshots += 1;
                    waiting.snapshots.extend(snapshot(table.layout(), row, &subject));
                }
                ItemKind::Guard => {
                    found.guards += 1;
                    waiting.guards.push((subject.clone(), guarded(table.layout(), &subject, &row)));
                }
                ItemKind::Reserved => {
                    found.add(Finding {
                        sort_key: Some(sort_key),
                        ..Finding::of_subject(subject, Problem::Unknown)
                    });
                }
            }
        }
        examine_waiting(table, waiting, repairs, found).await?;
        take_damaged(table, &mut subjects, repairs, found).await?;
        listing.look(table).await?;
        match page.next {
            Some(next) => start = Some(next),
            None => break,
        }
    }
    subjects.finish().await?;
    take_damaged(table, &mut subjects, repairs, found).await?;
    listing.end_of_subject();
    listing.look(table).await?;
    listing.finish(found);
    Ok(())
}

fn examine_row(
    table: &Table,
    row: &SdkItem,
    has_time_of_last: bool,
    found: &mut Examination,
) -> Vec<Problem> {
    if kind(row) == ItemKind::Foreign {
        return vec![Problem::Foreign];
    }
    let mut problems = Vec::new();
    let is_by_time = table.layout() == TableLayout::ByTime;
    let sort_key = row.get(attribute::TIME_TYPE).and_then(|key| key.as_s().ok());
    if is_by_time && sort_key.is_some_and(|key| !item::sorts_by_time(key)) {
        problems.push(Problem::OldTime);
    }
    if is_by_time && has_time_of_last {
        problems.push(Problem::AmbiguousTime);
    }
    found.erased += u64::from(row.contains_key(attribute::ERASED));
    match decode(row.clone()) {
        Ok(event) => {
            found.without_revision += u64::from(event.revision.is_none());
            let (bytes, most) = (message::largest_size(&event), table.message_bytes());
            if bytes > most {
                problems.push(Problem::TooLarge { bytes, most });
            }
        }
        Err(invalid) => problems.push(Problem::Unreadable(invalid.reason)),
    }
    problems
}

fn snapshot(layout: TableLayout, row: SdkItem, partition: &str) -> Option<(SdkItem, String, u64)> {
    let (prefix, revision) = match layout {
        TableLayout::ByTime => (schema::HEAD_PREFIX, attribute::REVISION),
        TableLayout::ByRevision => (schema::SNAPSHOT_PREFIX, attribute::STATE_REVISION),
    };
    let revision = row.get(revision)?.as_n().ok()?.parse().ok()?;
    let subject = partition.strip_prefix(prefix)?.to_owned();
    Some((layout.key_of(row), subject, revision))
}

/// The keys of the events that a guard names; none if it can't be read.
fn guarded(layout: TableLayout, partition: &str, guard: &SdkItem) -> Vec<EventKey> {
    if partition.starts_with(schema::COMMAND_PREFIX) {
        let keys = guard.get(attribute::EVENTS).and_then(|keys| keys.as_s().ok());
        return keys.and_then(|keys| serde_json::from_str(keys).ok()).unwrap_or_default();
    }
    let key = layout.guarded_key(guard).and_then(|key| layout.event_key(&key));
    key.into_iter().collect()
}

async fn examine_waiting(
    table: &Table,
    waiting: Waiting,
    repairs: bool,
    found: &mut Examination,
) -> Result<(), Error> {
    let Waiting { heads, snapshots, guards } = waiting;
    let without_events: Vec<Option<Finding>> = stream::iter(heads)
        .map(|(subject, revision)| {
            let table = table.clone();
            async move {
                let query = Query::of_subject(&subject).limited_to(Some(1));
                let page = table.begin().query(&query).await?;
                let is_empty = page.items.is_empty() && page.next.is_none();
                let problem = Problem::HeadWithoutEvents { revision };
                Ok::<_, Error>(is_empty.then(|| Finding::of_subject(subject, problem)))
            }
        })
        .buffered(CONCURRENT_SUBJECTS)
        .try_collect()
        .await?;
    without_events.into_iter().flatten().for_each(|finding| found.add(finding));

    let layout = table.layout();
    let end =
        |(_, subject, revision): &(SdkItem, String, u64)| layout.key_of_end(subject, *revision);
    let mut keys: BTreeSet<EventKey> = snapshots.iter().filter_map(end).collect();
    keys.extend(guards.iter().flat_map(|(_, keys)| keys.iter().cloned()));
    let rows = table.begin().all_rows(keys, true).await?;
    for snapshot in snapshots {
        let row = end(&snapshot).and_then(|key| rows.get(&key));
        let reached = row.and_then(|row| layout.read_end(row)).map_or(0, |(revision, _)| revision);
        let (key, subject, revision) = snapshot;
        if revision <= reached {
            continue;
        }
        if repairs {
            // A snapshot is only a cache, so nothing is lost if it was replaced meanwhile.
            table.begin().delete(key).await?;
        }
        let problem = Problem::SnapshotBeyond { revision };
        found.add(Finding { is_repaired: repairs, ..Finding::of_subject(subject, problem) });
    }
    for (partition, keys) in guards {
        if keys.is_empty() || keys.iter().any(|key| !rows.contains_key(key)) {
            found.add(Finding::of_subject(partition, Problem::GuardWithoutEvent));
        }
    }
    Ok(())
}

async fn take_damaged(
    table: &Table,
    subjects: &mut Subjects,
    repairs: bool,
    found: &mut Examination,
) -> Result<(), Error> {
    let mut by_subject = BTreeMap::<String, Vec<DamagedSubject>>::new();
    for damaged in std::mem::take(&mut subjects.damaged) {
        by_subject.entry(damaged.subject.clone()).or_default().push(damaged);
    }
    for (subject, damages) in by_subject {
        let head = match damages[..] {
            [DamagedSubject { damage: Damage::NewerThanHead { head, .. }, .. }] => Some(head),
            _ => None,
        };
        let is_repaired = match head {
            Some(head) if repairs => move_head(table, &subject, head).await?,
            _ => false,
        };
        for damaged in damages {
            let problem = Problem::Damaged(damaged);
            found.add(Finding { is_repaired, ..Finding::of_subject(subject.clone(), problem) });
        }
    }
    Ok(())
}

/// Moves the head of a subject forward to its last event. `false` if the subject has rows that can't be
/// read or counted, or somebody else writes to it.
async fn move_head(table: &Table, subject: &str, head: u64) -> Result<bool, Error> {
    let mut rows = FetchEvents::of_subject(table.clone(), subject.to_owned()).rows();
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        let Ok(event) = row else { return Ok(false) };
        // A head that is made counts the events without a revision, which this doesn't.
        if head == 0 && event.revision.is_none() {
            return Ok(false);
        }
        last = Some(event);
    }
    let Some(last) = last.filter(|last| last.revision.is_some_and(|revision| revision > head))
    else {
        return Ok(false);
    };
    table.layout().advance_end(table, &last).await
}
