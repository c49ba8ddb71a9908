//! `eventdb doctor`: examine a table that was inherited, restored or written by other programs.

use clap::Args;
use eventdb::Examination;
use serde_json::json;

use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell, visible};
use crate::progress;
use crate::verbs::{Ended, Outcome};

/// Examines the whole table: indexes, stream, point-in-time recovery and protection; every row, the heads
/// of subjects, snapshots and guards.
///
/// It says of each finding what to do. With --write, it repairs what is safe: it moves heads forward to the
/// last event, and removes snapshots of events that are gone. Interrupted, the same command begins anew;
/// what was repaired stays. A file has no settings to examine.
///
/// Exit status 1 if it finds something that isn't repaired. Policy: DoctorPolicyArn; with --write,
/// RepairPolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Compare the feed with the table, too: whether it lists what the table doesn't have, as after a
    /// restore. It reads every listed event.
    #[arg(long)]
    with_feed: bool,
    /// Leave out the settings of the table.
    #[arg(long)]
    without_settings: bool,
    /// Repair what is safe.
    #[arg(long)]
    write: bool,
}

/// Runs the command.
///
/// # Errors
/// If the table or the feed can't be read.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
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
    tell(format_args!("examining `{}` ({})", store.table, store.layout));
    let examining =
        progress::of_read_units(&session.meter, store.read_units, examine.into_future());
    let found = tokio::select! {
        found = examining => found,
        () = interrupt::requested() => {
            let failure = Failure::new("interrupted before the end, so nothing was found out");
            return Err(failure.advice("What was repaired stays. Repeat the command.").into());
        }
    };
    let found = found.map_err(|error| Failure::of("the table can't be examined", &error))?;
    print(&found, output)?;
    let repairable = found
        .findings
        .iter()
        .filter(|finding| finding.problem.is_repairable() && !finding.is_repaired)
        .count();
    if repairable > 0 && !arguments.write {
        tell(format_args!("{repairable} of them may be repaired by --write."));
    }
    Ok(if found.is_clean() { Outcome::Fine } else { Outcome::Found })
}

fn print(found: &Examination, output: &mut Output) -> Result<(), Ended> {
    for finding in &found.findings {
        let problem = &finding.problem;
        let line = json!({
            "kind": "finding", "name": problem.name(), "subject": finding.subject,
            "sortKey": finding.sort_key, "text": problem.to_string(), "advice": problem.advice(),
            "repairable": problem.is_repairable(), "repaired": finding.is_repaired,
        });
        let text = visible(&finding.to_string());
        match finding.is_repaired {
            true => output.line(&line, text)?,
            false => output.line(&line, format_args!("{text}\n    {}", problem.advice()))?,
        }
    }
    let line = json!({
        "kind": "examination", "events": found.events, "withoutRevision": found.without_revision,
        "erased": found.erased, "heads": found.heads, "snapshots": found.snapshots,
        "guards": found.guards, "findings": found.findings.len(),
        "moreFindings": found.more_findings, "repaired": found.repaired,
    });
    let text = format!(
        "{} events ({} without a revision, {} erased), {} heads, {} snapshots, {} guards: {} findings, {} \
         repaired",
        found.events,
        found.without_revision,
        found.erased,
        found.heads,
        found.snapshots,
        found.guards,
        u64::try_from(found.findings.len()).unwrap_or(u64::MAX).saturating_add(found.more_findings),
        found.repaired
    );
    output.line(&line, text)?;
    Ok(())
}
