//! `eventdb doctor`: examine a table that was inherited, restored or written by other programs.

use clap::Args;
use eventdb::{Examination, FeedCursor, FeedError, PositionExamination};
use serde_json::json;

use crate::connection::{Session, Store};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::positions::Positions;
use crate::progress;
use crate::verbs::{Ended, Outcome};

/// Examines the whole table: indexes, stream, point-in-time recovery and protection; every row, the heads
/// of subjects, snapshots and guards. On demand also the feed, and the positions of read models.
///
/// It says of each finding what to do. With --write, it repairs what is safe: it moves heads forward to the
/// last event, removes snapshots of events that are gone, and enters subjects that the index of subjects
/// lacks. A subject of the original library gets its head for that: stop that library first. Each repair is
/// one conditional write, so an interruption leaves none half done. Afterwards the same command begins
/// anew: it reads the whole table again, 1 read unit per 4 KB, finds in order what was repaired, and
/// repairs the rest. A file has no settings to examine.
///
/// Exit status 1 if it finds something that isn't repaired. Policy: DoctorPolicyArn; with --write,
/// RepairPolicyArn; with --positions, also `dynamodb:DescribeTable` and `Scan` on that table, which the
/// store's policies can't know.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Compare the feed with the table, too: whether it lists what the table doesn't have, as after a
    /// restore. It reads every listed event.
    #[arg(long)]
    with_feed: bool,
    /// Compare the positions of the read models in this table, too: whether the store has the events at
    /// which they are. It can be given several times. It reads the whole table, and for each position an
    /// event.
    #[arg(long, value_name = "TABLE")]
    positions: Vec<String>,
    /// Check that a reader of the feed can go on after this cursor. It can be given several times.
    #[arg(long = "cursor", value_name = "CURSOR")]
    cursors: Vec<FeedCursor>,
    /// Leave out the settings of the table.
    #[arg(long)]
    without_settings: bool,
    /// Repair what is safe.
    #[arg(long)]
    write: bool,
}

/// What was found, in the order in which it is examined.
struct Found {
    table: Examination,
    positions: Vec<PositionExamination>,
    /// Cursors after which a reader can't go on.
    cursors: Vec<FeedError>,
}

/// Runs the command.
///
/// # Errors
/// If the table, the feed or the positions can't be read.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    interrupt::listen();
    tell(format_args!("examining `{}` ({})", store.table, store.layout));
    let examining = progress::of_read_units(
        &session.meter,
        store.read_units,
        examine(&arguments, session, &store),
    );
    let found = tokio::select! {
        found = examining => found?,
        () = interrupt::requested() => {
            let failure = Failure::new("interrupted before the end, so nothing was found out");
            return Err(failure.advice("What was repaired stays. Repeat the command.").into());
        }
    };
    found.print(output)?;
    let repairable = found.table.findings.iter();
    let repairable = repairable
        .filter(|finding| finding.problem.is_repairable() && !finding.is_repaired)
        .count();
    if repairable > 0 && !arguments.write {
        tell(format_args!("{repairable} of them may be repaired by --write."));
    }
    Ok(if found.is_clean() { Outcome::Fine } else { Outcome::Found })
}

async fn examine(
    arguments: &Arguments,
    session: &Session,
    store: &Store,
) -> Result<Found, Failure> {
    let mut examine = store.db.examine();
    if arguments.without_settings || session.is_embedded() {
        examine = examine.without_settings();
    }
    if arguments.with_feed {
        examine = examine.feed(&session.feed().await?);
    }
    if arguments.write {
        examine = examine.repair();
    }
    // A mistake in a name is said before the table is read.
    let mut tables = Vec::new();
    for table in &arguments.positions {
        tables.push((table, Positions::open(session.dynamodb.clone(), table).await?));
    }
    let mut cursors = Vec::new();
    if !arguments.cursors.is_empty() {
        let feed = session.feed().await?;
        for cursor in &arguments.cursors {
            match feed.check(cursor).await {
                Ok(()) => {}
                Err(error @ FeedError::OtherFeed { .. }) => cursors.push(error),
                Err(error) => return Err(Failure::of("the feed can't be read", &error)),
            }
        }
    }
    let table =
        examine.await.map_err(|error| Failure::of("the table can't be examined", &error))?;
    let mut positions = Vec::new();
    for (table, of_table) in tables {
        let stored = of_table.stored(&session.meter);
        positions.push(store.db.examine_positions(stored).await.map_err(|error| {
            Failure::of(format!("the positions in the table `{table}` can't be examined"), &error)
        })?);
    }
    Ok(Found { table, positions, cursors })
}

impl Found {
    fn is_clean(&self) -> bool {
        self.table.is_clean()
            && self.positions.iter().all(PositionExamination::is_clean)
            && self.cursors.is_empty()
    }

    fn print(&self, output: &mut Output) -> Result<(), Ended> {
        let table = &self.table;
        for finding in &table.findings {
            let problem = &finding.problem;
            let line = json!({
                "kind": "finding", "name": problem.name(), "subject": finding.subject,
                "sortKey": finding.sort_key, "readModel": null, "text": problem.to_string(),
                "advice": problem.advice(), "repairable": problem.is_repairable(),
                "repaired": finding.is_repaired,
            });
            let text = visible(&finding.to_string());
            match finding.is_repaired {
                true => output.line(&line, text)?,
                false => output.line(&line, format_args!("{text}\n    {}", problem.advice()))?,
            }
        }
        for finding in self.positions.iter().flat_map(|examined| &examined.findings) {
            let problem = &finding.problem;
            let line = json!({
                "kind": "finding", "name": problem.name(), "subject": finding.subject,
                "sortKey": null, "readModel": finding.read_model, "text": problem.to_string(),
                "advice": problem.advice(), "repairable": false, "repaired": false,
            });
            let text = visible(&finding.to_string());
            output.line(&line, format_args!("{text}\n    {}", problem.advice()))?;
        }
        for error in &self.cursors {
            let text = format!("a reader can't go on after the cursor: {error}");
            let advice = "let its reader follow the feed from the beginning";
            let line = json!({
                "kind": "finding", "name": "cursorOfOtherFeed", "subject": null, "sortKey": null,
                "readModel": null, "text": text, "advice": advice, "repairable": false,
                "repaired": false,
            });
            output.line(&line, format_args!("{text}\n    {advice}"))?;
        }
        self.print_total(output)
    }

    fn print_total(&self, output: &mut Output) -> Result<(), Ended> {
        let Self { table, positions, cursors } = self;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let findings = positions.iter().map(|examined| count(examined.findings.len()));
        let findings = count(table.findings.len()) + findings.sum::<u64>() + count(cursors.len());
        let more = positions.iter().map(|examined| examined.more_findings);
        let more = table.more_findings + more.sum::<u64>();
        let examined: u64 = positions.iter().map(|examined| examined.positions).sum();
        let line = json!({
            "kind": "examination", "events": table.events, "withoutRevision": table.without_revision,
            "erased": table.erased, "heads": table.heads, "snapshots": table.snapshots,
            "guards": table.guards, "positions": examined, "findings": findings,
            "moreFindings": more, "repaired": table.repaired,
        });
        let positions = match positions.is_empty() {
            true => String::new(),
            false => format!(", {examined} positions"),
        };
        let text = format!(
            "{} events ({} without a revision, {} erased), {} heads, {} snapshots, {} guards{positions}: \
             {} findings, {} repaired",
            table.events,
            table.without_revision,
            table.erased,
            table.heads,
            table.snapshots,
            table.guards,
            findings.saturating_add(more),
            table.repaired
        );
        output.line(&line, text)?;
        Ok(())
    }
}
